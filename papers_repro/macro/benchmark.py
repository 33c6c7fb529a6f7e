"""NAS-Bench-Macro's file: the accuracy of every network of the space, and the optimum under any budgets by enumeration.

The file is the benchmark's own (``nas-bench-macro_cifar10.json`` of github.com/xiusu/NAS-Bench-Macro, Apache-2.0); it is not
part of this library, and its path is given. Accuracies are means of three trainings on CIFAR-10.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from constrained_nas.problem import Budget, SearchProblem
from graphs import Architecture, MacroSpace
from graphs.costs import mac_cost, parameter_cost
from solvers.arrays import FloatArray

CostName = Literal["macs", "params", "both"]
_MOST_BYTES = 64_000_000  # the file has 1.2 MB
_FIELDS = {"mean_acc": (0.0, 100.0), "params": (1.0, 1e9), "flops": (1.0, 1e12)}


@dataclass(frozen=True, slots=True, eq=False)
class MacroTable:
    """Every network by rising code.

    Attributes:
        codes: of the networks; ``accuracies`` in %, ``params`` and ``macs`` (the file's ``flops``) are (networks,).
        place: of a code in the arrays.
    """

    codes: tuple[str, ...]
    accuracies: FloatArray
    params: FloatArray
    macs: FloatArray
    place: Mapping[str, int]

    def costs(self, cost: CostName) -> FloatArray:
        """(budgets, networks): multiply-adds, parameters, or both."""
        return np.stack({"macs": [self.macs], "params": [self.params], "both": [self.macs, self.params]}[cost])

    def limits(self, cost: CostName, share: float) -> FloatArray:
        """(budgets,) ``share`` of the way from the cheapest network to the costliest, in each cost; whole numbers."""
        rows = self.costs(cost)
        low, high = rows.min(1), rows.max(1)
        return np.floor(low + share * (high - low))

    def best(self, cost: CostName, limits: FloatArray) -> float:
        """Accuracy in % of the best network within the limits."""
        return float(self.accuracies[(self.costs(cost) <= limits[:, None]).all(0)].max())

    def problem(self, space: MacroSpace, cost: CostName, limits: FloatArray) -> SearchProblem:
        """The budgets on our own counts, which equal the file's."""
        models = {"macs": [mac_cost(space)], "params": [parameter_cost(space)], "both": [mac_cost(space), parameter_cost(space)]}
        pairs = zip(models[cost], limits.tolist(), strict=True)
        return SearchProblem(space.space, tuple(Budget(model, limit, model.unit) for model, limit in pairs))

    def accuracy(self, space: MacroSpace, architecture: Architecture) -> float:
        """In %."""
        return float(self.accuracies[self.place[space.code(architecture)]])


def benchmark_path(given: Path | None) -> Path:
    """The path that a script was given; it ends where there is none."""
    if given is None:
        raise SystemExit("--benchmark: give the path of nas-bench-macro_cifar10.json (github.com/xiusu/NAS-Bench-Macro)")
    return given


def read_benchmark(path: Path) -> MacroTable:
    """Read the benchmark's file.

    Raises:
        FileNotFoundError: there is no such file; says where it is to be had.
        ValueError: not the benchmark's JSON, or networks or numbers missing, out of range or too many; says which.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get nas-bench-macro_cifar10.json from github.com/xiusu/NAS-Bench-Macro")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes; NAS-Bench-Macro's file has some 1.2 MB")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not complete JSON: {error}") from error
    space = MacroSpace()
    if not isinstance(content, dict) or len(content) != space.architectures:
        got = f"{len(content)} entries" if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected an object of {space.architectures} networks, got {got}")
    codes = tuple(sorted(content))
    for code in codes:
        try:
            space.architecture(code)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    columns = {name: np.array([_number(path, code, content[code], name) for code in codes]) for name in _FIELDS}
    place = {code: index for index, code in enumerate(codes)}
    return MacroTable(codes, columns["mean_acc"], columns["params"], columns["flops"], place)


def _number(path: Path, code: str, entry: Any, name: str) -> float:
    value = entry.get(name) if isinstance(entry, dict) else None
    low, high = _FIELDS[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{path}: network {code}, {name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)

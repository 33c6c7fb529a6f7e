"""The cells of a sweep: budgets x tables x methods, each with a key that says everything its result depends on.

A budget is given as values (``params=20e3,30e3``) or evenly spaced (``latency_ms=2:6:10``: ten from 2 to 6); several budgets make
every combination. A key is a hash of the super-network's weights and of what made them (data, versions, threads), the table's
content, the budgets, the method with its settings, and the budgets that were searched where a cell is only projected: a result
under that key never has to be computed again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from torch import nn

from constrained_nas.budgets import name_among, read_amount
from constrained_nas.runs import BUDGET_NAMES, MethodName, RunSettings, digest, parse_budgets, plan_of
from constrained_nas.sweeps.names import SearchMode
from graphs.files import shortened

_MOST_LIMITS = 10_000
# What decides neither the search nor the test: where things lie, what is measured afterwards, how many processes load data; and
# data and threads, which are part of what made the weights.
_ELSEWHERE = {"budget", "table", "measure_table", "method", "measure", "confidence", "attempts", "rounds", "workers", "data_root"}
_ELSEWHERE |= {"data_cache", "test_references", "latency_device", "latency_batch", "latency_threads", "data", "threads"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One result: ``limits`` as (name, limit), ``searched`` those of its search, ``table`` a content hash or nothing."""

    method: MethodName
    table: str
    limits: tuple[tuple[str, float], ...]
    searched: tuple[tuple[str, float], ...]

    @property
    def how(self) -> Literal["searched", "projected", "drawn"]:
        """A search of its own, another's projected onto these limits, or a random network."""
        if self.method == "random":
            return "drawn"
        return "searched" if self.limits == self.searched else "projected"


def parse_grid(given: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
    """Every combination of the budgets' values, in the order given.

    Raises:
        ValueError: no ``NAME=LIMITS``, limits that are not positive numbers, a name given twice, or none at all.
    """
    values: dict[str, list[float]] = {}
    for text in given:
        typed, equals, limits = (part.strip() for part in text.partition("="))
        if not equals or not limits:
            raise ValueError(f"--budget {text}: expected NAME=LOW:HIGH:COUNT or NAME=LIMIT,LIMIT,..., e.g. latency_ms=2:6:10")
        try:
            name = name_among(typed, BUDGET_NAMES)
        except ValueError as error:
            raise ValueError(f"--budget {text}: {error}") from error
        if name in values:
            raise ValueError(f"--budget {text}: {name} has limits already; give all of them in one --budget")
        spread = _spread(text, limits, name) if ":" in limits else [part.strip() for part in limits.split(",") if part.strip()]
        values[name] = [parse_budgets((f"{name}={limit}",))[name] for limit in spread]
        if len(set(values[name])) < len(values[name]):
            raise ValueError(f"--budget {text}: the same limit twice")
    if not values:
        raise ValueError("no budget: give at least one, for example --budget latency_ms=2:6:10")
    if math.prod(map(len, values.values())) > _MOST_LIMITS:
        raise ValueError(f"--budget: at most {_MOST_LIMITS:,} combinations, got {math.prod(map(len, values.values())):,}")
    return [tuple(zip(values, combination, strict=True)) for combination in product(*values.values())]


def _spread(text: str, limits: str, name: str) -> list[str]:
    try:
        low, high, count = limits.split(":")
        ends, number = (read_amount(low, name), read_amount(high, name)), int(count)
    except ValueError as error:
        raise ValueError(f"--budget {text}: expected LOW:HIGH:COUNT, two numbers and how many limits, e.g. 2:6:10") from error
    if number > _MOST_LIMITS:
        raise ValueError(f"--budget {shortened(text, 60)}: at most {_MOST_LIMITS:,} values")
    if ends[0] > ends[1] and number >= 2:
        raise ValueError(f"--budget {text}: expected LOW below HIGH: did you mean {name}={high}:{low}:{count}?")
    if not (number >= 2 and ends[0] < ends[1] and all(map(math.isfinite, ends))):
        raise ValueError(f"--budget {text}: expected LOW below HIGH and at least 2 values")
    # Ten digits: 2:6:21 should say 2.4, not 2.4000000000000004; budgets are not known any better.
    return [f"{value:.10g}" for value in np.linspace(*ends, number)]


def cells_of(
    grid: Sequence[tuple[tuple[str, float], ...]],
    tables: Sequence[str],
    methods: Sequence[MethodName],
    mode: SearchMode,
    searched: Mapping[str, tuple[tuple[str, float], ...]],
) -> list[Cell]:
    """All cells, a table and a method after the other.

    Args:
        tables: content hashes; ``[""]`` without a table.
        mode: ``every`` cell searches, or each (table, method) ``once`` and its other cells are projected.
        searched: for ``once``: the budgets that are searched, by table.
    """
    cells = []
    for table, method, limits in product(tables, methods, grid):
        alone = mode == "every" or method == "random"
        cells.append(Cell(method, table, limits, limits if alone else searched[table]))
    return cells


def key_of(cell: Cell, weights: str, settings: str, test: bool) -> str:
    """The cell's key, 24 hexadecimal digits.

    Args:
        cell: which.
        weights: of the super-network, see :func:`weights_hash`, and of what made them.
        settings: see :func:`settings_key`.
        test: whether its network is tested.
    """
    return digest([weights, settings, cell.table, cell.method, sorted(cell.limits), sorted(cell.searched), test])


def settings_key(settings: RunSettings) -> str:
    """A hash of the settings that decide a search and a test."""
    values = plan_of(settings).settings.model_dump(mode="json")
    return digest({name: value for name, value in values.items() if name not in _ELSEWHERE})


def weights_hash(network: nn.Module) -> str:
    """A hash of a network's parameters and statistics, to the last bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:24]

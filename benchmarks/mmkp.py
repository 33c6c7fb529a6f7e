"""Public instances of the multiple-choice knapsack with several budgets: the library, HiGHS and CP-SAT under one time limit.

    python benchmarks/mmkp.py FOLDER --seconds 10                     a table: value and bound of each
    python benchmarks/mmkp.py FOLDER --only I07 INST01                some of them
    python benchmarks/mmkp.py FOLDER --solvers native --out mmkp.json one solver anew; rows of others stay in the file

The folder holds Khan's I01 to I06 in his format (`I01`) and the later sets one instance a file (`mmkp_a_07.txt` is I07,
`mmkp_b_01.txt` INST01, `mmkp_c_21.txt` INST21); numbers only, values are maximized.

Reference: Khan, Li, Manning and Akbar, Solving the knapsack problem for adaptive multimedia systems, 2002; Shojaei, Basten, Geilen
and Davoodi, 2013 (the later sets).
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

_ROOT = Path(__file__).resolve().parent.parent
if sys.path and Path(sys.path[0]).resolve() == _ROOT / "benchmarks":
    sys.path[0] = str(_ROOT)

import numpy as np
import tyro
from rich.console import Console

from benchmarks.general_solvers import ortools_answers
from benchmarks.instances import Instance
from benchmarks.machine import compile_kernels, machine, versions
from solvers import SolverError, project_to_budget

_LARGEST_FILE = 50_000_000  # bytes
_THREADS = 2  # of CP-SAT; the library's search runs beside HiGHS, which takes one thread
_SETS = {"a": "I", "b": "INST", "c": "INST"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one solver had after the limit: value and bound (None: no selection), how it ended, seconds, load of the machine."""

    instance: str
    solver: str
    value: float | None
    bound: float | None
    status: str
    seconds: float
    load: float


def read_instance(path: Path) -> tuple[list[list[float]], dict[int, list[list[float]]], dict[int, float]]:
    """Scores, costs by budget, and budgets of one file.

    Raises:
        ValueError: the file is no instance; it says what was expected.
    """
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path.name}: over {_LARGEST_FILE} bytes, which no public instance has")
    numbers: list[float] = []
    for word in path.read_text(encoding="utf-8").split():
        try:
            numbers.append(float(word))
        except ValueError:
            break  # Khan's files end in remarks
    khan = not path.suffix
    head = 3 if khan else 2
    if len(numbers) < head:
        raise ValueError(f"{path.name}: expected the numbers of groups and budgets, got {len(numbers)} numbers")
    groups, m = int(numbers[0]), int(numbers[2 if khan else 1])
    width = int(numbers[1]) if khan else 0
    at = head + m
    limits = numbers[head:at]
    scores: list[list[float]] = []
    costs: dict[int, list[list[float]]] = {row: [] for row in range(m)}
    for _ in range(groups):
        count = width if khan else int(numbers[at])
        options = np.array(numbers[at + 1 : at + 1 + count * (m + 1)])
        if count < 1 or len(options) != count * (m + 1):
            raise ValueError(f"{path.name}: group {len(scores)}: expected {count} options of {m + 1} numbers")
        options = options.reshape(count, m + 1)
        scores.append(options[:, 0].tolist())
        for row in range(m):
            costs[row].append(options[:, row + 1].tolist())
        at += 1 + count * (m + 1)
    return scores, costs, dict(enumerate(limits))


def instance_name(path: Path) -> str:
    """What the literature calls the instance in this file."""
    parts = path.stem.split("_")
    return path.name if len(parts) != 3 else _SETS.get(parts[1], parts[1]) + parts[2]


def run(
    folder: tyro.conf.Positional[Path],
    *,
    seconds: float = 10.0,
    only: tuple[str, ...] = (),
    solvers: tuple[Literal["native", "highs", "cp-sat"], ...] = ("native", "highs", "cp-sat"),
    out: Path | None = None,
) -> None:
    """Solve the instances of a folder by the library and by general solvers.

    Args:
        folder: where the instances lie.
        seconds: time limit of each solver.
        only: names of instances, such as I07; all without it.
        solvers: who solves them; "cp-sat" needs the dependency group `benchmarks`.
        out: write the rows as JSON as well; rows of other instances or solvers that are in this file stay.
    """
    console = Console()
    kept: dict[tuple[str, str], dict[str, object]] = {}
    if out is not None and out.exists():
        kept = {(row["instance"], row["solver"]): row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
    if "native" in solvers:  # nothing compiles inside a time limit
        compile_kernels()
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.stem[:1] in "Im")
    for path in files:
        name = instance_name(path)
        if only and name not in only:
            continue
        for solver in solvers:
            outcome = _solved(path, solver, seconds)
            value, bound = outcome.value, outcome.bound
            cells = ["-" if x is None else f"{x:.10g}" for x in (value, bound)]
            gap = "-" if value is None or bound is None else f"{(bound - value) / max(1.0, abs(value)):.3%}"
            console.print(f"{name} {solver} {' '.join(cells)} {gap} {outcome.status} {outcome.seconds:.2f} s", highlight=False)
            kept[name, solver] = asdict(outcome)
            if out is not None:  # after each: a run is long, and may be ended
                record = {"machine": machine(), "versions": versions(), "seconds": seconds, "threads": _THREADS}
                out.write_text(json.dumps(record | {"rows": list(kept.values())}, indent=1) + "\n", encoding="utf-8")


def _solved(path: Path, solver: Literal["native", "highs", "cp-sat"], seconds: float) -> Outcome:
    """One instance by one solver; what it chose is checked and summed here."""
    scores, costs, limits = read_instance(path)
    load, began = os.getloadavg()[0], time.perf_counter()
    if solver != "cp-sat":
        try:
            best = project_to_budget(scores, costs, limits, backend=solver, time_limit_seconds=seconds)
            value, bound, status = best.value, best.certificate.bound, str(best.status)
        except SolverError as error:
            value, bound, status = None, None, str(error)
        return Outcome(instance_name(path), solver, value, bound, status, time.perf_counter() - began, load)
    flat = np.array([value for row in scores for value in row])
    rows = [np.array([cost for row in costs[budget] for cost in row]) for budget in limits]
    instance = Instance(flat, rows[0], np.cumsum([0, *map(len, scores)]), limits[0])
    answer = ortools_answers("cp-sat", instance, costs=rows, budgets=list(limits.values()), seconds=seconds, workers=_THREADS)[0]
    value, status = None, "nothing found"
    if answer.choices is not None:
        picked = list(answer.choices)
        value = math.fsum(flat[picked].tolist())
        fits = all(math.fsum(row[picked].tolist()) <= limit for row, limit in zip(rows, limits.values(), strict=True))
        status = "does not fit" if not fits else "optimal" if answer.bound == value else "time limit"
    return Outcome(instance_name(path), solver, value, answer.bound, status, answer.seconds, load)


if __name__ == "__main__":
    tyro.cli(run)

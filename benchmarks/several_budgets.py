"""What people have under two budgets: layers that repeat, exactly or nearly, scores that follow both costs, and public instances.

Every draw is solved by the front door and by HiGHS in the same run. Times of programs that neither solves within the limit are the
limit, and say nothing: ``benchmarks/mmkp.py`` compares what each had found by then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.general_solvers import highs_mixed_integer
from benchmarks.instances import Instance
from benchmarks.mmkp import read_instance
from solvers import InfeasibleError, SolverError, Status, project_to_budget
from solvers.arrays import FloatArray

BLOCK_MB = (16.8, 4.2, 4.2, 16.8, 50.3, 50.3, 50.3)  # of the seven matrices of a transformer's block at 8 bits
BITS = (2, 3, 4, 8)
PROVEN = ("I01", "I02", "I05", "I06")  # public instances that are solved within seconds
FAMILIES = ("28 identical layers", "8 repeated blocks", "32 repeated blocks", "repeated blocks, noise", "two correlated budgets")
_TARGET = 1.0 / 1.5  # HiGHS's time over ours
_REPEATS = 3

Program = tuple[FloatArray, list[FloatArray], list[float], int]  # scores and costs of equal groups, budgets, options a group


def draw(family: str, seed: int) -> Program:
    """One program of a family.

    Raises:
        ValueError: an unknown family.
    """
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    if family == "two correlated budgets":
        groups, width = 20, 12
        costs = [rng.random(groups * width) for _ in range(2)]
        scores = costs[0] + costs[1] + 0.1 * rng.integers(1, 4, groups * width)
        share = 0.3
    else:
        sizes = {"28 identical layers": (16.8,) * 28, "32 repeated blocks": BLOCK_MB * 32}.get(family, BLOCK_MB * 8)
        groups, width = len(sizes), len(BITS)
        megabytes, bits = np.array(sizes)[:, None], np.array(BITS, dtype=float)
        noise = rng.uniform(0.8, 1.2, (groups, 1)) if "noise" in family else 1.0
        scores = (-megabytes * 4.0**-bits * noise).ravel()
        milliseconds = np.round(megabytes * (0.02 + 0.01 * bits + 0.05 * (bits == 3)), 3)  # odd widths unpack slowly
        costs, share = [np.round(megabytes * bits / 8.0, 3).ravel(), milliseconds.ravel()], float(rng.uniform(0.25, 0.5))
    budgets = []
    for row in costs:
        table = row.reshape(groups, width)
        least, most = math.fsum(table.min(axis=1)), math.fsum(table.max(axis=1))
        budgets.append(round(least + share * (most - least), 3))
    return scores, costs, budgets, width


def several_times(family: str, count: int, seed: int, limit: float) -> tuple[list[float], list[float], float, str, str, float]:
    """Seconds of ours and of HiGHS, how far ours is behind at worst, what it is against, a note, and the target ratio."""
    programs = []
    for number in range(count):
        scores, costs, budgets, width = draw(family, seed + number)
        programs.append((scores, costs, budgets, list(range(0, len(scores) + 1, width))))
    return _measured(programs, limit)


def public_times(folder: Path, limit: float) -> tuple[list[float], list[float], float, str, str, float]:
    """The same for the public instances that are solved within seconds."""
    programs = []
    for name in PROVEN:
        scores, costs, limits = read_instance(folder / name)
        flat = np.array([value for row in scores for value in row])
        rows = [np.array([value for row in costs[budget] for value in row]) for budget in limits]
        programs.append((flat, rows, list(limits.values()), np.cumsum([0, *map(len, scores)]).tolist()))
    return _measured(programs, limit)


def _measured(
    programs: Sequence[tuple[FloatArray, list[FloatArray], list[float], list[int]]], limit: float
) -> tuple[list[float], list[float], float, str, str, float]:
    ours, theirs, behind, unproven = [], [], 0.0, 0
    for scores, costs, budgets, offsets in programs:
        cuts = offsets[1:-1]
        tables = np.split(scores, cuts), {row: np.split(cost, cuts) for row, cost in enumerate(costs)}, dict(enumerate(budgets))
        seconds = []
        while len(seconds) < _REPEATS + 1 and sum(seconds) < limit:
            began = time.perf_counter()
            try:
                found = project_to_budget(*tables, time_limit_seconds=limit)
            except (InfeasibleError, SolverError):
                break
            seconds.append(time.perf_counter() - began)
        if not seconds:
            continue
        unproven += found.status is not Status.OPTIMAL
        ours.append(float(np.median(seconds[1:] or seconds)))  # the first may compile
        answer = highs_mixed_integer(Instance(scores, costs[0], np.array(offsets), budgets[0]), costs, budgets)
        theirs.append(min(answer.seconds, limit))
        if answer.choices is not None:
            picked = list(answer.choices)
            if all(math.fsum(row[picked].tolist()) <= budget for row, budget in zip(costs, budgets, strict=True)):
                better = math.fsum(scores[picked].tolist()) - found.value
                behind = max(behind, better / max(1.0, abs(found.value)))
    return ours, theirs, behind, "HiGHS MIP, gap 0", f"{unproven} not proven" if unproven else "", _TARGET

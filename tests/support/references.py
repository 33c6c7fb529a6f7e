"""Slow, plain references that the tests of every package compare with: enumeration, and HiGHS through ``scipy.optimize.milp``.

They share no code with ``solvers``. Every answer of a reference is re-costed with ``math.fsum`` before anyone compares with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from solvers.arrays import FloatArray

__all__ = [
    "FAMILIES",
    "as_written",
    "brute_force",
    "brute_force_constrained",
    "brute_force_staged",
    "brute_force_written",
    "compositions",
    "highs_lp",
    "highs_milp",
    "highs_milp_staged",
    "random_options",
    "sizes_to_offsets",
    "written_cost",
]

FAMILIES = ("uniform", "weak", "strong", "subset", "integer", "zero", "duplicates", "single", "proportional", "signed")


def sizes_to_offsets(sizes: Sequence[int]) -> NDArray[np.intp]:
    """Where each group starts, and the end."""
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.intp))])


def compositions(units: int, options: int) -> Iterator[tuple[int, ...]]:
    """Every way to share ``units`` among options."""
    if options == 1:
        yield (units,)
        return
    for first in range(units + 1):
        for rest in compositions(units - first, options - 1):
            yield (first, *rest)


def random_options(rng: np.random.Generator, sizes: Sequence[int], family: str) -> tuple[list[FloatArray], list[FloatArray]]:
    """Scores and costs, one array a group, of a named family of instances."""
    n = int(sum(sizes))
    costs, scores = rng.random(n), rng.random(n)
    if family == "weak":
        scores = costs + 0.1 * rng.random(n)
    elif family == "strong":
        scores = costs + 0.1 * rng.integers(1, 4, n)
    elif family == "subset":
        scores = costs.copy()
    elif family == "integer":
        costs, scores = rng.integers(0, 6, n).astype(float), rng.integers(-3, 6, n).astype(float)
    elif family == "zero":
        costs[rng.random(n) < 0.4] = 0.0
    elif family == "duplicates":
        costs, scores = rng.choice([0.1, 0.2, 0.3, 0.7], n), rng.choice([0.0, 0.1, 0.5], n)
    elif family == "single":
        keep = [1 if rng.random() < 0.5 else size for size in sizes]
        sizes = keep
    elif family == "proportional":
        scores = 3.7 * costs
    elif family == "signed":
        scores = rng.normal(size=n) * 10.0 ** rng.integers(-3, 4)
    cuts = sizes_to_offsets(sizes)
    pairs = list(itertools.pairwise(cuts))
    return [scores[a:b] for a, b in pairs], [costs[a:b] for a, b in pairs]


def brute_force(
    scores: Sequence[FloatArray], costs: Sequence[Sequence[FloatArray]], budgets: Sequence[float]
) -> tuple[float, tuple[int, ...]] | None:
    """The greatest summed score of one option a group whose costs fit every budget by ``math.fsum``; None if nothing fits.

    Args:
        scores: one array a group.
        costs: per budget, one array a group.
        budgets: one number a budget.
    """
    picks = list(itertools.product(*(range(len(row)) for row in scores)))
    tables = [(rows, budget, *_every_sum(rows)) for rows, budget in zip(costs, budgets, strict=True)]
    may = np.ones(len(picks), dtype=bool)
    for _, budget, totals, error in tables:
        may &= totals <= budget + error
    values, error = _every_sum(scores)
    best: tuple[float, tuple[int, ...]] | None = None
    for index in np.flatnonzero(may)[np.argsort(-values[may], kind="stable")].tolist():  # by falling value, of equals the first
        if best is not None and values[index] + error < best[0]:
            break
        value = _sum_of(scores, picks[index])
        if (best is None or value > best[0]) and all(
            totals[index] < budget - close or _sum_of(rows, picks[index]) <= budget for rows, budget, totals, close in tables
        ):
            best = (value, picks[index])
    return best


def brute_force_written(
    scores: Sequence[FloatArray], costs: Sequence[Sequence[FloatArray]], budgets: Sequence[float]
) -> tuple[float, tuple[int, ...]] | None:
    """The same by the rule of :func:`as_written`."""
    tables = [as_written(rows, budget) for rows, budget in zip(costs, budgets, strict=True)]
    return brute_force(scores, [rows for rows, _, _ in tables], [limit for _, limit, _ in tables])


def brute_force_constrained(
    scores: Sequence[FloatArray],
    costs: Sequence[Sequence[FloatArray]],
    bounds: Sequence[tuple[float, float]],
    *,
    links: Sequence[Sequence[int]] = (),
    needs: Sequence[tuple[tuple[int, int], tuple[int, int]]] = (),
    forbids: Sequence[tuple[tuple[int, int], tuple[int, int]]] = (),
) -> list[tuple[float, tuple[int, ...]]]:
    """Every selection that keeps all, with its summed score, by falling score and then by its options.

    Args:
        bounds: lower and upper, one pair a budget; infinite for none.
        links: groups that take the same option index.
        needs, forbids: pairs of (group, option).
    """
    tables = []
    for rows, (lower, upper) in zip(costs, bounds, strict=True):
        # The number of places is that of all numbers of a budget: both bounds go through as two more costs.
        ends = [np.array([x]) for x in (lower, upper) if math.isfinite(x)]
        units, _, unit = as_written([*rows, *ends])
        low, high = (
            (lower, upper) if unit == 1 else (float(Fraction(repr(x)) / unit) if math.isfinite(x) else x for x in (lower, upper))
        )
        tables.append((units[: len(rows)], low, high))
    found = []
    for pick in itertools.product(*(range(len(row)) for row in scores)):
        if any(len({pick[g] for g in link}) > 1 for link in links):
            continue
        if any(pick[g] == a and pick[h] != b for (g, a), (h, b) in needs):
            continue
        if any(pick[g] == a and pick[h] == b for (g, a), (h, b) in forbids):
            continue
        if all(low <= _sum_of(rows, pick) <= high for rows, low, high in tables):
            found.append((_sum_of(scores, pick), pick))
    return sorted(found, key=lambda each: (-each[0], each[1]))


def as_written(costs: Sequence[FloatArray], budget: float = math.inf) -> tuple[list[FloatArray], float, Fraction]:
    """Costs and budget in whole units where all are decimals of at most 15 digits, else as they are; and the size of a unit.

    This is the rule that ``project_to_budget`` states, by the decimal module.
    """
    numbers = [Decimal(repr(x)).normalize() for row in costs for x in row.tolist() if math.isfinite(x)]
    numbers += [Decimal(repr(float(budget))).normalize()] if math.isfinite(budget) else []
    places = max([0, *(-int(x.as_tuple().exponent) for x in numbers)])
    if any(len(x.as_tuple().digits) > 15 for x in numbers) or places > 22:
        return list(costs), budget, Fraction(1)
    units = [[int(Fraction(repr(x)) * 10**places) if math.isfinite(x) else math.inf for x in row.tolist()] for row in costs]
    if sum(max([0, *(x for x in row if x != math.inf)]) for row in units) > 2**53:
        return list(costs), budget, Fraction(1)
    limit = float(Fraction(repr(float(budget))) * 10**places) if math.isfinite(budget) else budget
    return [np.array(row, dtype=np.float64) for row in units], limit, Fraction(1, 10**places)


def written_cost(rows: Sequence[FloatArray], picks: Sequence[int], budget: float = math.inf) -> float:
    """What a selection costs as ``project_to_budget`` states it."""
    units, _, unit = as_written(rows, budget)
    total = _sum_of(units, picks)
    return float(Fraction(total) * unit)


def _sum_of(rows: Sequence[FloatArray], picks: Sequence[int]) -> float:
    return math.fsum(row[o] for row, o in zip(rows, picks, strict=True))


def _every_sum(rows: Sequence[FloatArray]) -> tuple[FloatArray, float]:
    """The sum of each selection of one entry a row, in the order of ``itertools.product``, and a bound on their rounding."""
    totals = np.zeros(1)
    for row in rows:
        totals = np.add.outer(totals, np.asarray(row)).ravel()
    return totals, len(rows) * 2.0**-52 * sum(float(np.abs(row).max()) for row in rows)


def _incidence(sizes: Sequence[int]) -> FloatArray:
    """Rows that sum each group."""
    matrix = np.zeros((len(sizes), int(sum(sizes))))
    for row, (first, last) in enumerate(itertools.pairwise(sizes_to_offsets(sizes))):
        matrix[row, first:last] = 1.0
    return matrix


def highs_lp(scores: Sequence[FloatArray], costs: Sequence[Sequence[FloatArray]], budgets: Sequence[float]) -> float | None:
    """Value of the linear relaxation, by HiGHS; None if infeasible."""
    sizes = [len(row) for row in scores]
    rows = np.array([np.concatenate(list(row)) for row in costs])
    answer = linprog(
        -np.concatenate(list(scores)), A_ub=rows, b_ub=budgets, A_eq=_incidence(sizes), b_eq=np.ones(len(sizes)), method="highs"
    )
    return -float(answer.fun) if answer.status == 0 else None


def highs_milp(
    scores: Sequence[FloatArray], costs: Sequence[Sequence[FloatArray]], budgets: Sequence[float]
) -> tuple[float, tuple[int, ...]] | None:
    """Best selection by HiGHS at gap 0, re-costed; None if it says infeasible. It may exceed a budget by its tolerance (1e-6)."""
    sizes = [len(row) for row in scores]
    rows = np.array([np.concatenate(list(row)) for row in costs])
    answer = milp(
        -np.concatenate(list(scores)),
        integrality=np.ones(sum(sizes)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(rows, -np.inf, budgets), LinearConstraint(_incidence(sizes), 1, 1)],
        options={"mip_rel_gap": 0.0},
    )
    if answer.x is None:
        return None
    choices = tuple(int(np.argmax(answer.x[a:b])) for a, b in itertools.pairwise(sizes_to_offsets(sizes)))
    return math.fsum(row[o] for row, o in zip(scores, choices, strict=True)), choices


def _staged_cost(
    depths: Sequence[int], picks: Sequence[Sequence[int]], times: Sequence[Sequence[FloatArray]], fixed: float
) -> float:
    """Cost of an architecture: the fixed part and the blocks that run."""
    parts = [fixed]
    for depth, chosen, stage in zip(depths, picks, times, strict=True):
        parts += [stage[block][chosen[block]] for block in range(depth)]
    return math.fsum(parts)


def brute_force_staged(
    alpha: Sequence[Sequence[FloatArray]],
    beta: Sequence[FloatArray],
    depths: Sequence[Sequence[int]],
    times: Sequence[Sequence[Sequence[FloatArray]]],
    fixed: Sequence[float],
    budgets: Sequence[float],
) -> float | None:
    """Best summed score of a staged space under bilinear budgets by enumeration; None if nothing fits.

    Args:
        alpha: alpha[s][b] scores of the configurations of block b of stage s.
        beta: beta[s] scores of the depth options; depths[s] how many blocks each runs.
        times: per budget, times[m][s][b] costs like alpha.
        fixed, budgets: one number a budget.

    A block that does not run takes its best score and costs nothing.
    """
    best: float | None = None
    for options in itertools.product(*(range(len(row)) for row in beta)):
        run = [depths[s][option] for s, option in enumerate(options)]
        spaces = [
            [range(len(block)) if b < run[s] else [int(np.argmax(block))] for b, block in enumerate(stage)]
            for s, stage in enumerate(alpha)
        ]
        for flat in itertools.product(*(space for stage in spaces for space in stage)):
            iterator = iter(flat)
            picks = [[next(iterator) for _ in stage] for stage in alpha]
            if any(_staged_cost(run, picks, t, f) > b for t, f, b in zip(times, fixed, budgets, strict=True)):
                continue
            value = math.fsum(
                [beta[s][option] for s, option in enumerate(options)]
                + [block[picks[s][b]] for s, stage in enumerate(alpha) for b, block in enumerate(stage)]
            )
            if best is None or value > best:
                best = value
    return best


def highs_milp_staged(
    alpha: Sequence[Sequence[FloatArray]],
    beta: Sequence[FloatArray],
    depths: Sequence[Sequence[int]],
    times: Sequence[Sequence[FloatArray]],
    fixed: float,
    budget: float,
) -> tuple[float, float] | None:
    """One bilinear budget as a MILP in (y, idle, beta), y being a configuration that runs; returns value and cost, re-costed."""
    columns: list[tuple[float, float]] = []  # score, cost
    equalities: list[tuple[dict[int, float], float]] = []
    runs: list[list[list[int]]] = []
    depth_columns: list[list[int]] = []
    for s, scores in enumerate(beta):
        depth_columns.append(list(range(len(columns), len(columns) + len(scores))))
        columns += [(float(score), 0.0) for score in scores]
        equalities.append((dict.fromkeys(depth_columns[s], 1.0), 1.0))
        runs.append([])
        for b, block in enumerate(alpha[s]):
            y = list(range(len(columns), len(columns) + len(block)))
            columns += [(float(score), float(t)) for score, t in zip(block, times[s][b], strict=True)]
            idle = len(columns)
            columns.append((float(np.max(block)), 0.0))
            runs[s].append(y)
            on = [column for column, depth in zip(depth_columns[s], depths[s], strict=True) if depth > b]
            equalities.append(({**dict.fromkeys(y, 1.0), **dict.fromkeys(on, -1.0)}, 0.0))
            equalities.append((dict.fromkeys([*y, idle], 1.0), 1.0))
    matrix = np.zeros((len(equalities), len(columns)))
    for row, (entries, _) in enumerate(equalities):
        for column, entry in entries.items():
            matrix[row, column] = entry
    right = np.array([rhs for _, rhs in equalities])
    score, cost = np.array(columns).T
    answer = milp(
        -score,
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(matrix, right, right), LinearConstraint(cost[None], -np.inf, budget - fixed)],
        options={"mip_rel_gap": 0.0},
    )
    if answer.x is None:
        return None
    support = np.flatnonzero(answer.x > 0.5)
    return math.fsum(score[support]), math.fsum([fixed, *cost[support]])

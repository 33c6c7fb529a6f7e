"""Programs with several budgets of which one decides: the exact method for one budget proves the bound and finds the selection.

Where the relaxation prices a single budget, the best selection under that budget alone is worth no less than any, and may meet
the others as well. Where it does not, and few options are near enough to its price, all selections of these are looked through
(``solvers.budgets.halves``). Where they are many, every group keeps only the options within a share of the room that the other
budgets leave above their cheapest: whatever is chosen of them meets those budgets, and the best of it under the one that decides
is a selection of the whole. Scores that follow a cost, which leave the bounds of a branch and bound no grip, have many selections
next to the best, so that some draw of the shares holds one.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 (relaxations that drop constraints).
"""

from __future__ import annotations

import math
import time

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.halves import by_halves
from solvers.budgets.scaled import ScaledProgram
from solvers.knapsack import Knapsack, exact_sum, solve_exact
from solvers.results import Status

_PRICED = 1e-9  # of the greatest price of a budget: less is none
_SECONDS = 1.0  # of one program
_DRAWS = 16
_SEED = 4


def by_one_budget(
    scaled: ScaledProgram, dual: FloatArray, known: IntArray | None, near: float, seconds: float
) -> tuple[IntArray | None, float]:
    """A selection (groups,) that is better than the ``known`` one if any was found, and a bound on all, in scaled values.

    Args:
        scaled: the program.
        dual: (m,) the multipliers of its relaxation.
        known: (groups,) a selection that fits.
        near: what is within so much of the bound ends the search.
        seconds: that all of it may take.
    """
    prices = dual * scaled.limits
    priced = np.flatnonzero(prices > _PRICED * float(prices.max(initial=0.0)))
    if len(priced) != 1 or len(dual) == 1:
        return None, math.inf
    deadline = time.perf_counter() + seconds
    row, limit = int(priced[0]), float(scaled.limits[priced[0]])
    worth = -math.inf if known is None else exact_sum(scaled.values[known])
    paid, others = np.ascontiguousarray(scaled.rows[:, row]), np.delete(scaled.rows, row, axis=1)
    found = solve_exact(Knapsack(scaled.values, paid, scaled.offsets), limit, time_limit_seconds=min(_SECONDS, seconds))
    bound = found.bound
    if scaled.fits(found.choices):
        return (found.choices if exact_sum(scaled.values[found.choices]) > worth else None), bound
    best, proven = by_halves(scaled, row, dual, known, near, deadline)
    if best is not None:
        known, worth = best, exact_sum(scaled.values[best])
    bound = min(bound, proven)
    least = np.minimum.reduceat(others, scaled.offsets[:-1])  # (groups, m - 1)
    rng, sizes = np.random.default_rng(_SEED), np.diff(scaled.offsets)
    for draw in range(_DRAWS):
        left = min(_SECONDS, deadline - time.perf_counter())
        if bound - worth <= near or left <= 0.0:
            break
        floor = least if known is None or draw % 2 else others[known]
        room = np.delete(scaled.limits, row) - floor.sum(axis=0)
        shares = (
            rng.exponential(size=len(sizes)) ** (1 + draw % 4) if draw > 1 else np.ones(len(sizes))
        )  # even, then ever fewer groups
        caps = floor + shares[:, None] / shares.sum() * np.maximum(room, 0.0)
        kept = np.flatnonzero((others <= np.repeat(caps, sizes, axis=0)).all(axis=1))
        cuts = np.searchsorted(kept, scaled.offsets)
        if not np.diff(cuts).all():
            continue
        part = solve_exact(Knapsack(scaled.values[kept], paid[kept], cuts), limit, cutoff=worth, time_limit_seconds=left)
        choices = kept[part.choices]
        if part.status is not Status.INFEASIBLE and part.value > worth and scaled.fits(choices):
            best = known = choices
            worth = exact_sum(scaled.values[choices])
            if math.isinf(proven):
                better, proven = by_halves(scaled, row, dual, known, near, deadline)
                bound = min(bound, proven)
                if better is not None:
                    best, worth = better, exact_sum(scaled.values[better])
    return best, bound

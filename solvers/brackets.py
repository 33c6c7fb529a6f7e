"""Bracketing the critical multiplier of a multiple-choice knapsack: the numpy path of ``solvers.kernels_relaxation``.

``sum_g max_o (v - lam * c)`` is piecewise linear in lam. From a multiplier that is too small and one that is large enough, the
lines that support it there intersect at the next one, and groups whose best option is the same on both sides are settled. The
exact answer is left to the hull steps of the others, so round-off in here decides nothing: options that tie for best count as
unsettled.

Reference: Dyer, An O(n) algorithm for the multiple-choice knapsack linear program, 1984.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from solvers.sets import FloatArray

if TYPE_CHECKING:
    from solvers.mckp import Knapsack

__all__ = ["bracket"]

_TIE = 8 * 2.0**-52  # options within this many roundings of a group's best tie with it
_PASSES = 60  # the lines meet long before
_WIDEN = 0.02  # first guess of how far the multiplier is from the one to start from
_PADDING = 4  # most cells a padded table may have per option; more raggedness is left to the hulls of all groups


def bracket(knapsack: Knapsack, budget: float, start: float) -> NDArray[np.bool_] | None:
    """Options (n,) that a vertex of the relaxation may hold; None where narrowing does not pay.

    Every group keeps at least its best option on the side where the budget holds; nothing is kept out that the relaxation at this
    budget needs. None as well if nothing fits or everything does.
    """
    sizes = np.diff(knapsack.offsets)
    widest, groups = int(sizes.max()), len(sizes)
    if widest * groups > _PADDING * len(knapsack.values):
        return None
    # (option, group): reductions over the short axis then run along the groups. Past a group's end its first option is repeated.
    position = np.arange(widest)[:, None]
    cells = knapsack.offsets[:-1] + np.where(position < sizes, position, 0)
    values, costs = knapsack.values[cells], knapsack.costs[cells]
    light = heavy = np.empty(0)
    multiplier, widen, low, high = start, _WIDEN, 0.0, math.inf
    while start > 0.0 and widen < 1.0 and not (len(light) and len(heavy)):
        least, most = _extremes(values, costs, multiplier)
        if _fits(most, budget):
            light, high, multiplier = least, multiplier, multiplier * (1.0 - widen)
        elif not _fits(least, budget):
            heavy, low, multiplier = most, multiplier, multiplier * (1.0 + widen)
        else:
            return _between(knapsack, least, most, sizes)
        widen *= 8.0
    if not len(light):
        light = costs.min(axis=0)
        if not _fits(light, budget):
            return None
    if not len(heavy):
        heavy = np.where(values == values.max(axis=0), costs, np.inf).min(axis=0)
        if _fits(heavy, budget):
            return None
    active = np.flatnonzero(light != heavy)
    values, costs = values[:, active], costs[:, active]
    for _ in range(_PASSES):
        gain = (_worth(values, costs, heavy[active]) - _worth(values, costs, light[active])).sum()
        extra = (heavy[active] - light[active]).sum()
        multiplier = float(gain / extra) if extra > 0.0 else 0.0
        if not low < multiplier < high:
            break
        least, most = _extremes(values, costs, multiplier)
        chosen = light.copy()  # of settled groups the choice
        chosen[active] = most
        above = not _fits(chosen, budget)
        chosen[active] = least
        below = _fits(chosen, budget)
        if above:
            heavy[active], low = most, multiplier
        if below:
            light[active] = least
            if above:
                break
            high = multiplier
        still = light[active] != heavy[active]
        active, values, costs = active[still], values[:, still], costs[:, still]
    return _between(knapsack, light, heavy, sizes)


def _extremes(values: FloatArray, costs: FloatArray, multiplier: float) -> tuple[FloatArray, FloatArray]:
    """The least and the greatest cost among each group's best options at ``multiplier``, ties included."""
    priced = multiplier * costs
    size = (np.abs(values) + np.abs(priced)).max(axis=0)
    reduced = values - priced
    best = reduced >= reduced.max(axis=0) - _TIE * size
    return np.where(best, costs, np.inf).min(axis=0), np.where(best, costs, -np.inf).max(axis=0)


def _fits(costs: FloatArray, budget: float) -> bool:
    """Whether the costs sum to the budget or less; summed carefully only where rounding could decide."""
    plain = float(costs.sum())
    if abs(plain - budget) > len(costs) * 2.0**-52 * float(np.abs(costs).sum()):
        return plain < budget
    return math.fsum(costs.tolist()) <= budget


def _worth(values: FloatArray, costs: FloatArray, at: FloatArray) -> FloatArray:
    """The best value of each group among its options of the cost ``at`` (groups,)."""
    return np.where(costs == at, values, -np.inf).max(axis=0)


def _between(knapsack: Knapsack, light: FloatArray, heavy: FloatArray, sizes: NDArray[np.intp]) -> NDArray[np.bool_]:
    return (knapsack.costs >= np.repeat(light, sizes)) & (knapsack.costs <= np.repeat(heavy, sizes))

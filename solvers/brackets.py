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
    widest = int(sizes.max())
    if widest * len(sizes) > _PADDING * len(knapsack.values):
        return None
    past = np.arange(widest) >= sizes[:, None]
    column = np.where(past, 0, knapsack.offsets[:-1, None] + np.arange(widest))
    values = np.where(past, -np.inf, knapsack.values[column])
    costs = np.where(past, 0.0, knapsack.costs[column])
    dear, cheap = np.where(past, -np.inf, costs), np.where(past, np.inf, costs)

    def extremes(multiplier: float) -> tuple[FloatArray, FloatArray]:
        """The least and the greatest cost among each group's best options at ``multiplier``, ties included."""
        priced = multiplier * costs
        size = np.where(past, 0.0, np.abs(values) + np.abs(priced)).max(axis=1)
        reduced = values - priced
        best = reduced >= (reduced.max(axis=1) - _TIE * size)[:, None]
        return np.where(best, cheap, np.inf).min(axis=1), np.where(best, dear, -np.inf).max(axis=1)

    light: FloatArray | None = None
    heavy: FloatArray | None = None
    multiplier, widen, low, high = start, _WIDEN, 0.0, math.inf
    while start > 0.0 and widen < 1.0 and (light is None or heavy is None):
        least, most = extremes(multiplier)
        if _sum(most) <= budget:
            light, high, multiplier = least, multiplier, multiplier * (1.0 - widen)
        elif _sum(least) > budget:
            heavy, low, multiplier = most, multiplier, multiplier * (1.0 + widen)
        else:
            return _between(knapsack, least, most, sizes)
        widen *= 8.0
    if light is None:
        light = cheap.min(axis=1)
        if not _sum(light) <= budget:
            return None
    if heavy is None:
        heavy = np.where(values == values.max(axis=1, keepdims=True), cheap, np.inf).min(axis=1)
        if _sum(heavy) <= budget:
            return None
    for _ in range(_PASSES):
        # Both sides' best values at the costs that bound them: ties at one cost are worth the same up to rounding.
        gain = (_worth(values, costs, heavy) - _worth(values, costs, light)).sum()
        extra = (heavy - light).sum()
        multiplier = float(gain / extra) if extra > 0.0 else 0.0
        if not low < multiplier < high:
            break
        least, most = extremes(multiplier)
        if _sum(most) <= budget:
            light, high = least, multiplier
        elif _sum(least) > budget:
            heavy, low = most, multiplier
        else:
            light, heavy = least, most
            break
    return _between(knapsack, light, heavy, sizes)


def _sum(costs: FloatArray) -> float:
    return math.fsum(costs.tolist())


def _worth(values: FloatArray, costs: FloatArray, at: FloatArray) -> FloatArray:
    """The best value of each group among its options of the cost ``at`` (groups,)."""
    return np.where(costs == at[:, None], values, -np.inf).max(axis=1)


def _between(knapsack: Knapsack, light: FloatArray, heavy: FloatArray, sizes: NDArray[np.intp]) -> NDArray[np.bool_]:
    return (knapsack.costs >= np.repeat(light, sizes)) & (knapsack.costs <= np.repeat(heavy, sizes))

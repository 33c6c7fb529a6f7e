"""Dominated options and upper hulls of a multiple-choice knapsack: the order in which its linear relaxation spends a budget.

Within a group only the options on the upper hull of (cost, value) can appear in the relaxation; going from one to the next is a
step with a slope, and steps of all groups are taken by falling slope.

Reference: Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from solvers.knapsack.program import Knapsack


@dataclass(frozen=True, slots=True, eq=False)
class Increments:
    """The upper hulls of all groups as steps from one hull option to the next, by falling slope.

    Within a group slopes fall strictly, so this order never takes a step before the one it builds on.

    Attributes:
        base: (groups,) each group's first hull option: its cheapest, the best valued of those.
        group, source, target: (steps,) the group of a step and the options it goes from and to.
        cost, value, slope: (steps,) what a step adds; both are positive.
    """

    base: IntArray
    group: IntArray
    source: IntArray
    target: IntArray
    cost: FloatArray
    value: FloatArray
    slope: FloatArray


def undominated(knapsack: Knapsack) -> IntArray:
    """Options that no other of their group beats in cost and value, grouped, by rising cost (and so rising value).

    Of options that are equal in both the first stays.
    """
    group = knapsack.group
    order = np.lexsort((-knapsack.values, knapsack.costs, group))
    v, g = knapsack.values[order], group[order]
    # A running maximum within groups without arithmetic on the values: their ranks are integers, and a group's ranks are lifted
    # above all of the groups before it.
    rank = np.empty(len(v), dtype=np.intp)
    rank[np.argsort(v, kind="stable")] = np.arange(len(v))
    rank += g * len(v)
    keep = rank == np.maximum.accumulate(rank)
    order, v, g = order[keep], v[keep], g[keep]
    repeated = (v[1:] == v[:-1]) & (g[1:] == g[:-1])  # equal values have different ranks
    return order[np.concatenate([[True], ~repeated])]


def increments(knapsack: Knapsack, frontier: IntArray | None = None) -> Increments:
    """The steps of every group's upper hull; ``frontier`` is ``undominated(knapsack)`` where it is known already."""
    group = knapsack.group
    points = undominated(knapsack) if frontier is None else frontier
    v, c, g = knapsack.values[points], knapsack.costs[points], group[points]
    first = np.concatenate([[True], g[1:] != g[:-1]])
    base = points[first]
    while True:
        rise, run, same = np.diff(v), np.diff(c), g[1:] == g[:-1]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            slope = rise / run  # across groups meaningless, masked below
        # A point on or under the chord of its neighbours is no vertex of the hull, whichever of them are dropped with it.
        sunk = same[:-1] & same[1:] & (slope[:-1] <= slope[1:])
        if not sunk.any():
            break
        keep = np.concatenate([[True], ~sunk, [True]])
        points, v, c, g = points[keep], v[keep], c[keep], g[keep]
    inside = np.flatnonzero(same)
    by_slope = inside[np.argsort(-slope[inside], kind="stable")]
    return Increments(base, g[by_slope], points[by_slope], points[by_slope + 1], run[by_slope], rise[by_slope], slope[by_slope])

"""Multiple-choice knapsack: one option a group, the greatest summed value within one budget.

``max sum_g v[g, o_g]  s.t.  sum_g c[g, o_g] <= budget`` is what every projection onto a budget comes down to. This module holds
the program as flat arrays, and its linear relaxation: dominated options go, each group's upper hull is walked in steps of falling
slope, and the step at which the budget ends is the only fractional one. So the answer is a vertex: at most one fractional group
with at most two non-zeros (HardCoRe-NAS, Theorem 3.1). ``solvers.mckp_exact`` solves the 0-1 program from here.

Reference: Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979; Pisinger, A minimal algorithm for the MCKP, 1995.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.results import Status
from solvers.sets import FloatArray

__all__ = [
    "Increments",
    "IntArray",
    "Knapsack",
    "Relaxation",
    "exact_sum",
    "greedy",
    "increments",
    "lagrangian_bound",
    "priced_budget",
    "relax",
    "undominated",
]

IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Knapsack:
    """Options in flat arrays: group g holds options ``offsets[g]:offsets[g + 1]``.

    Values (n,) and costs (n,) are finite, costs are not negative. :meth:`of` checks that.
    """

    values: FloatArray
    costs: FloatArray
    offsets: IntArray

    @classmethod
    def of(cls, values: ArrayLike, costs: ArrayLike, offsets: ArrayLike) -> Knapsack:
        """Check the arrays; they are kept as they are (float64 arrays are not copied).

        Raises:
            ValueError: shapes that do not meet, an empty group, values that are not finite, costs that are negative or not finite.
        """
        v, c = np.asarray(values, dtype=np.float64), np.asarray(costs, dtype=np.float64)
        cuts = np.asarray(offsets, dtype=np.intp)
        if v.ndim != 1 or v.shape != c.shape:
            raise ValueError(f"Knapsack: expected values and costs of one shape (n,), got {v.shape} and {c.shape}")
        if len(cuts) < 2 or cuts[0] != 0 or cuts[-1] != len(v) or (np.diff(cuts) < 1).any():
            raise ValueError(
                f"Knapsack: offsets must rise from 0 to {len(v)} with at least one option a group, got {cuts.tolist()}"
            )
        if not np.isfinite(v).all():
            raise ValueError("Knapsack: values must be finite; leave out the option that is forbidden")
        if not (np.isfinite(c).all() and (c >= 0).all()):
            raise ValueError("Knapsack: costs must be finite and not negative")
        return cls(v, c, cuts)

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.offsets) - 1

    @property
    def group(self) -> IntArray:
        """The group of each option, shape (n,)."""
        return np.repeat(np.arange(self.count), np.diff(self.offsets))

    def restrict(self, kept: IntArray) -> Knapsack:
        """The knapsack of the options ``kept`` (flat, grouped, at least one a group), in that order."""
        sizes = np.bincount(self.group[kept], minlength=self.count)
        return Knapsack(self.values[kept], self.costs[kept], np.concatenate([[0], np.cumsum(sizes)]))


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


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """A vertex of the linear relaxation with its dual.

    Attributes:
        status: OPTIMAL, or INFEASIBLE: then ``choices`` is the cheapest selection and the bound is -inf.
        choices: (groups,) flat options; in the fractional group the cheaper of the couple. They fit the budget.
        dearer: the other option of the couple, -1 where no group is fractional.
        fraction: the share of ``dearer``, in [0, 1).
        dual: value per unit of budget, >= 0.
        bound: the Lagrangian bound at ``dual``; it equals the relaxation's value up to rounding.
        steps: the hull steps, for those who go on from here.
        taken: how many of them fit.
    """

    status: Status
    choices: IntArray
    dearer: int
    fraction: float
    dual: float
    bound: float
    steps: Increments
    taken: int

    def point(self, knapsack: Knapsack) -> FloatArray:
        """The vertex itself, shape (n,)."""
        x = np.zeros(len(knapsack.values))
        x[self.choices] = 1.0
        if self.dearer >= 0:
            group = np.searchsorted(knapsack.offsets, self.dearer, side="right") - 1
            x[self.choices[group]] = 1.0 - self.fraction
            x[self.dearer] = self.fraction
        return x


def exact_sum(values: FloatArray) -> float:
    """The correctly rounded sum (``math.fsum``): the one sum that budgets are held to."""
    return math.fsum(values.tolist())


def undominated(knapsack: Knapsack) -> IntArray:
    """Options that no other of their group beats in cost and value, grouped, by rising cost (and so rising value).

    Of options that are equal in both the first stays.
    """
    values, costs, group = knapsack.values, knapsack.costs, knapsack.group
    order = np.lexsort((-values, costs, group))
    v, g = values[order], group[order]
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
    points = undominated(knapsack) if frontier is None else frontier
    v, c, g = knapsack.values[points], knapsack.costs[points], knapsack.group[points]
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


def lagrangian_bound(knapsack: Knapsack, budget: float, dual: float) -> float:
    """``dual * budget + sum_g max_o (v - dual * c)``: an upper bound on every selection that fits, for any dual >= 0."""
    best = np.maximum.reduceat(knapsack.values - dual * knapsack.costs, knapsack.offsets[:-1])
    return math.fsum([*best.tolist(), *priced_budget(budget, dual)])


def priced_budget(budget: float, dual: float) -> tuple[float, float]:
    """Two terms that sum to what the budget is worth at ``dual``; the second is the half ulp that correct rounding gives away.

    A selection fits if its sum *rounds* to the budget or less, so its exact cost may be half an ulp more.
    """
    return (dual * budget, dual * 0.5 * math.ulp(budget)) if dual else (0.0, 0.0)


def relax(knapsack: Knapsack, budget: float) -> Relaxation:
    """Solve the linear relaxation; the answer is a vertex and ties are broken by the order of groups and options.

    Args:
        knapsack: the options.
        budget: in the unit of the costs; infinite means none.

    Reference: HardCoRe-NAS, Theorem 3.1; Sinha and Zoltners 1979.
    """
    steps = increments(knapsack)
    base_cost = exact_sum(knapsack.costs[steps.base])
    if base_cost > budget:
        return Relaxation(Status.INFEASIBLE, steps.base, -1, 0.0, 0.0, -math.inf, steps, 0)
    reached = np.cumsum(steps.cost)
    taken = int(np.searchsorted(reached, budget - base_cost, side="right"))
    choices = _advance(steps, taken)
    # The running sum rounds; the budget is held to the exact one. Stepping back undoes what an ulp let through.
    while exact_sum(knapsack.costs[choices]) > budget:
        taken -= 1
        choices = _advance(steps, taken)
    if taken == len(steps.cost):
        return Relaxation(Status.OPTIMAL, choices, -1, 0.0, 0.0, lagrangian_bound(knapsack, budget, 0.0), steps, taken)
    room = math.fsum([budget, *(-knapsack.costs[choices]).tolist()])
    fraction = min(max(room / float(steps.cost[taken]), 0.0), 1.0 - 2.0**-53)  # below 1: a full step would have been taken
    dual = float(steps.slope[taken])
    dearer = int(steps.target[taken]) if fraction > 0.0 else -1
    return Relaxation(Status.OPTIMAL, choices, dearer, fraction, dual, lagrangian_bound(knapsack, budget, dual), steps, taken)


def greedy(knapsack: Knapsack, budget: float, relaxation: Relaxation) -> IntArray:
    """From the relaxation's integral part, take every later hull step that still fits, by falling slope.

    Starting at the cheapest selection instead takes the same steps, so this is the classical greedy method.

    Returns:
        (groups,) flat options that fit the budget.
    """
    steps = relaxation.steps
    choices = relaxation.choices.copy()
    room = budget - exact_sum(knapsack.costs[choices])
    position = relaxation.taken
    while True:
        fits = steps.cost[position:] <= room
        fits &= choices[steps.group[position:]] == steps.source[position:]  # its predecessor was taken
        hits = np.flatnonzero(fits)
        if not len(hits):
            return choices
        step = position + int(hits[0])
        previous = choices[steps.group[step]]
        choices[steps.group[step]] = steps.target[step]
        cost = exact_sum(knapsack.costs[choices])
        if cost > budget:  # the room was rounded up
            choices[steps.group[step]] = previous
        else:
            room = budget - cost
        position = step + 1


def _advance(steps: Increments, taken: int) -> IntArray:
    """The selection after the first ``taken`` steps."""
    choices = steps.base.copy()
    choices[steps.group[:taken]] = steps.target[:taken]  # of repeated indices the last, highest step stays
    return choices

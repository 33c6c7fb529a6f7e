"""Multiple-choice knapsack: one option a group, the greatest summed value within one budget.

``max sum_g v[g, o_g]  s.t.  sum_g c[g, o_g] <= budget`` is what every projection onto a budget comes down to. This module holds
the program as flat arrays, and its linear relaxation: dominated options go, each group's upper hull is walked in steps of falling
slope, and the step at which the budget ends is the only fractional one. So the answer is a vertex: at most one fractional group
with at most two non-zeros (HardCoRe-NAS, Theorem 3.1). ``solvers.mckp_exact`` solves the 0-1 program from here.

Reference: Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979; Pisinger, A minimal algorithm for the MCKP, 1995.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from solvers.brackets import bracket
from solvers.hulls import Increments, IntArray, increments, undominated
from solvers.kernels import Path, compiles, ready
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
    "relax_along",
    "undominated",
]

_NARROWED = 600  # options beyond which two brackets save more than they cost on the numpy path
_RUNNING = 1e-9  # of the running sum of up to millions of steps: far above its rounding, and only tried, never trusted


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
class Relaxation:
    """A vertex of the linear relaxation with its dual.

    Attributes:
        status: OPTIMAL, or INFEASIBLE: then ``choices`` is the cheapest selection and the bound is -inf.
        choices: (groups,) flat options; in the fractional group the cheaper of the couple. They fit the budget.
        dearer: the other option of the couple, -1 where no group is fractional.
        fraction: the share of ``dearer``, in [0, 1).
        dual: value per unit of budget, >= 0; as ``start`` it warms the next solve of a similar program.
        bound: the Lagrangian bound at ``dual``; it equals the relaxation's value up to rounding.
    """

    status: Status
    choices: IntArray
    dearer: int
    fraction: float
    dual: float
    bound: float

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


def lagrangian_bound(knapsack: Knapsack, budget: float, dual: float) -> float:
    """``dual * budget + sum_g max_o (v - dual * c)``: an upper bound on every selection that fits, for any dual >= 0."""
    best = np.maximum.reduceat(knapsack.values - dual * knapsack.costs, knapsack.offsets[:-1])
    return math.fsum([*best.tolist(), *priced_budget(budget, dual)])


def priced_budget(budget: float, dual: float) -> tuple[float, float]:
    """Two terms that sum to what the budget is worth at ``dual``; the second is the half ulp that correct rounding gives away.

    A selection fits if its sum *rounds* to the budget or less, so its exact cost may be half an ulp more.
    """
    return (dual * budget, dual * 0.5 * math.ulp(budget)) if dual else (0.0, 0.0)


def relax(knapsack: Knapsack, budget: float, *, start: float = 0.0, backend: Path = "native") -> Relaxation:
    """Solve the linear relaxation; the answer is a vertex.

    Steps of equal slope are taken in the order of groups, of equal options the first; neither ``start`` nor the path matters.

    Args:
        knapsack: the options.
        budget: in the unit of the costs; infinite means none.
        start: the multiplier to start from, such as the dual of a similar program; 0 where none is known.
        backend: "native" or "numpy", see ``solvers.kernels``.

    Reference: HardCoRe-NAS, Theorem 3.1; Sinha and Zoltners 1979.
    """
    if compiles(backend):
        from solvers import kernels_relaxation

        choices = np.empty(knapsack.count, dtype=np.intp)
        arrays = ready(knapsack.values), ready(knapsack.costs), ready(knapsack.offsets)
        state, dearer, fraction, dual = kernels_relaxation.relax(*arrays, float(budget), float(start), choices)
        if state == kernels_relaxation.INFEASIBLE:
            return Relaxation(Status.INFEASIBLE, choices, -1, 0.0, 0.0, -math.inf)
        if exact_sum(knapsack.costs[choices]) <= budget:  # two floats hold a sum to 106 bits: only a tie beyond them can fail
            bound = lagrangian_bound(knapsack, budget, dual)
            return Relaxation(Status.OPTIMAL, choices, int(dearer), float(fraction), float(dual), bound)
    between = bracket(knapsack, budget, start) if len(knapsack.values) > _NARROWED else None
    if between is not None:
        # Groups whose best options agree on both sides of the critical multiplier are settled; the others keep what lies between.
        kept = np.flatnonzero(between)
        part = increments(knapsack.restrict(kept))
        ends = kept[part.source], kept[part.target]
        narrowed = relax_along(knapsack, budget, replace(part, base=kept[part.base], source=ends[0], target=ends[1]))
        if narrowed.dual > 0.0:  # else the far side exceeded the budget by options that tie with hull points but are none
            return narrowed
    return relax_along(knapsack, budget, increments(knapsack))


def relax_along(knapsack: Knapsack, budget: float, steps: Increments) -> Relaxation:
    """The relaxation by taking ``steps`` from their base while they fit: all of ``increments(knapsack)``, or those that matter."""
    base_cost = exact_sum(knapsack.costs[steps.base])
    if base_cost > budget:
        return Relaxation(Status.INFEASIBLE, steps.base, -1, 0.0, 0.0, -math.inf)
    reached = np.cumsum(steps.cost)
    taken = int(np.searchsorted(reached, budget - base_cost, side="right"))
    choices = _advance(steps, taken)
    # The running sum rounds; the budget is held to the exact one. Steps that an ulp let through or kept out are corrected.
    while exact_sum(knapsack.costs[choices]) > budget:
        taken -= 1
        choices = _advance(steps, taken)
    while taken < len(steps.cost) and reached[taken] <= (budget - base_cost) * (1.0 + _RUNNING):
        further = _advance(steps, taken + 1)
        if exact_sum(knapsack.costs[further]) > budget:
            break
        taken, choices = taken + 1, further
    if taken == len(steps.cost):
        return Relaxation(Status.OPTIMAL, choices, -1, 0.0, 0.0, lagrangian_bound(knapsack, budget, 0.0))
    room = math.fsum([budget, *(-knapsack.costs[choices]).tolist()])
    fraction = min(max(room / float(steps.cost[taken]), 0.0), 1.0 - 2.0**-53)  # below 1: a full step would have been taken
    # A cost of 1e-300 asks for an infinite multiplier; any multiplier proves a bound, so one whose products fit a double will do.
    dual = min(float(steps.slope[taken]), 1e300 / max(1.0, abs(budget), float(np.abs(knapsack.costs).max())))
    dearer = int(steps.target[taken]) if fraction > 0.0 else -1
    return Relaxation(Status.OPTIMAL, choices, dearer, fraction, dual, lagrangian_bound(knapsack, budget, dual))


def greedy(knapsack: Knapsack, budget: float, relaxation: Relaxation, steps: Increments | None = None) -> IntArray:
    """From the relaxation's integral part, take every later hull step that still fits, by falling slope.

    Starting at the cheapest selection instead takes the same steps, so this is the classical greedy method.

    Args:
        knapsack, budget, relaxation: the program and its ``relax``.
        steps: ``increments(knapsack)`` where they are known already.

    Returns:
        (groups,) flat options that fit the budget.
    """
    steps = increments(knapsack) if steps is None else steps
    choices = relaxation.choices.copy()
    room = budget - exact_sum(knapsack.costs[choices])
    position = 0
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

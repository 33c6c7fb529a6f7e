"""The linear relaxation of a multiple-choice knapsack: dominated options go, and each group's upper hull is walked.

Steps are taken by falling slope, and the step at which the budget ends is the only fractional one. So the answer is a vertex: at
most one fractional group with at most two non-zeros (HardCoRe-NAS, Theorem 3.1). On the numpy path large programs are narrowed
first: ``sum_g max_o (v - lam * c)`` is piecewise linear in lam, and from a multiplier that is too small and one that is large
enough, the lines that support it there intersect at the next one; groups whose best option is the same on both sides are settled.
The exact answer is left to the hull steps of the others, so round-off there decides nothing: options that tie for best count as
unsettled.

Reference: Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979; Dyer, An O(n) algorithm for the multiple-choice knapsack
linear program, 1984; Pisinger, A minimal algorithm for the MCKP, 1995.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray, IntArray
from solvers.kernels import NativeBackend, as_kernel_input, run_kernel, uses_kernels
from solvers.knapsack.hulls import Increments, increments
from solvers.knapsack.program import Knapsack, exact_sum, lagrangian_bound
from solvers.results import Status

_NARROWED = 600  # options beyond which two brackets save more than they cost on the numpy path
_RUNNING = 1e-9  # of the running sum of up to millions of steps: far above its rounding, and only tried, never trusted
_TIE = 8 * 2.0**-52  # options within this many roundings of a group's best tie with it
_PASSES = 60  # the lines meet long before
_WIDEN = 0.02  # first guess of how far the multiplier is from the one to start from
_PADDING = 4  # most cells a padded table may have per option; more raggedness is left to the hulls of all groups


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """A vertex of the linear relaxation with its dual.

    Attributes:
        status: OPTIMAL, or INFEASIBLE: then ``choices`` is the cheapest selection and the bound is -inf.
        choices: (groups,) flat options; in the fractional group the cheaper of the couple. They fit the budget.
        costlier: the other option of the couple, -1 where no group is fractional.
        fraction: the share of ``costlier``, in [0, 1).
        dual: value per unit of budget, >= 0; as ``start`` it warms the next solve of a similar program.
        bound: the Lagrangian bound at ``dual``; it equals the relaxation's value up to rounding.
    """

    status: Status
    choices: IntArray
    costlier: int
    fraction: float
    dual: float
    bound: float

    def point(self, knapsack: Knapsack) -> FloatArray:
        """The vertex itself, shape (n,)."""
        x = np.zeros(len(knapsack.values))
        x[self.choices] = 1.0
        if self.costlier >= 0:
            group = np.searchsorted(knapsack.offsets, self.costlier, side="right") - 1
            x[self.choices[group]] = 1.0 - self.fraction
            x[self.costlier] = self.fraction
        return x


def relax(knapsack: Knapsack, budget: float, *, start: float = 0.0, backend: NativeBackend = "native") -> Relaxation:
    """Solve the linear relaxation; the answer is a vertex.

    Steps of equal slope are taken in the order of groups, of equal options the first; neither ``start`` nor the path matters.

    Args:
        knapsack: the options.
        budget: in the unit of the costs; infinite means none.
        start: the multiplier to start from, such as the dual of a similar program; 0 where none is known.
        backend: "native" or "numpy", see ``solvers.kernels``.

    Reference: HardCoRe-NAS, Theorem 3.1; Sinha and Zoltners 1979.

    Example:
        >>> knapsack = Knapsack.of([0.0, 3.0, 0.0, 2.0], [1.0, 4.0, 1.0, 2.0], [0, 2, 4])  # two groups of two options
        >>> relaxation = relax(knapsack, 4.5)
        >>> relaxation.point(knapsack).tolist(), relaxation.dual
        ([0.5, 0.5, 0.0, 1.0], 1.0)
    """
    if uses_kernels(backend):
        from solvers.kernels import relaxation as kernels

        choices = np.empty(knapsack.count, dtype=np.intp)
        arrays = as_kernel_input(knapsack.values), as_kernel_input(knapsack.costs), as_kernel_input(knapsack.offsets)
        arguments = *arrays, float(budget), float(start), choices
        state, costlier, fraction, dual = run_kernel(kernels.relax, len(knapsack.values), *arguments)
        if state == kernels.INFEASIBLE:
            return Relaxation(Status.INFEASIBLE, choices, -1, 0.0, 0.0, -math.inf)
        if exact_sum(knapsack.costs[choices]) <= budget:  # two floats hold a sum to 106 bits: only a tie beyond them can fail
            bound = lagrangian_bound(knapsack, budget, dual)
            return Relaxation(Status.OPTIMAL, choices, int(costlier), float(fraction), float(dual), bound)
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
    costlier = int(steps.target[taken]) if fraction > 0.0 else -1
    return Relaxation(Status.OPTIMAL, choices, costlier, fraction, dual, lagrangian_bound(knapsack, budget, dual))


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

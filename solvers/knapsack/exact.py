"""The exact 0-1 multiple-choice knapsack with one budget and real-valued costs.

The relaxation's dual prices the budget; a greedy selection improved by swaps is the incumbent; every option whose reduced cost
exceeds the gap between them is out. What survives, the core, is solved by dynamic programming over undominated states of cost and
value, group after group. A state is bounded by the relaxation of the groups still to come at the room it leaves them, a concave
piecewise linear function of that room; the integral part of the same relaxation completes it to a selection, which may raise the
incumbent.

Budgets are held to the correctly rounded sum of the costs (``math.fsum``). The states therefore carry their cost in two floats,
kept by the error-free TwoSum: the leading one is the rounded sum, so no selection that fits is lost to round-off and none that
exceeds the budget by an ulp is kept.

Reference: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 1995; Dyer, Kayal and Walker 1984 (bounds);
Knuth, TAOCP 2, Sec. 4.2.2 (TwoSum).

``solvers.kernels.exact`` is the same method compiled; what is below is the numpy path, except for the checks that both share.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import IntArray
from solvers.kernels import NativeBackend, as_kernel_input, interpreted, made, patience, uses_kernels
from solvers.knapsack import core
from solvers.knapsack.core import Core, Incumbent, Search
from solvers.knapsack.hulls import Increments, increments
from solvers.knapsack.program import Knapsack, exact_sum, fitting, priced_budget
from solvers.knapsack.relaxation import Relaxation, greedy, relax_along
from solvers.results import Status

_STATE_LIMIT = 1 << 19  # some 300 MB while a group of a dozen options is decided; what needs more needs cuts, not states
_SWAPS = 50  # rounds of one-swap improvement; each strictly improves, and few are ever needed
_EPSILON = 2.0**-52


@dataclass(frozen=True, slots=True, eq=False)
class ExactSelection:
    """What :func:`solve_exact` found.

    Attributes:
        status: OPTIMAL (gap <= 1e-9 max(1, |value|), or nothing beats the cutoff), INFEASIBLE, or TIME_LIMIT when the time or the
            number of states ran out.
        choices: (groups,) flat options, which fit; the cheapest selection where nothing does.
        value, bound: of ``choices``, and an upper bound on every selection that fits.
        dual: the relaxation's price of the budget.
        states: dynamic programming states kept in all.
    """

    status: Status
    choices: IntArray
    value: float
    bound: float
    dual: float
    states: int


def solve_exact(
    knapsack: Knapsack,
    budget: float,
    *,
    cutoff: float = -math.inf,
    time_limit_seconds: float | None = None,
    state_limit: int = _STATE_LIMIT,
    relaxation: Relaxation | None = None,
    backend: NativeBackend = "native",
) -> ExactSelection:
    """The most valuable selection that fits.

    Args:
        knapsack: the options.
        budget: in the unit of the costs; infinite means none.
        cutoff: selections of this value or less are of no interest: the answer may then be any selection that fits, and its bound
            says that nothing beats the cutoff.
        time_limit_seconds: stop after this time with the best selection so far and its true gap.
        state_limit: states kept at once; beyond it only the tens of thousands with the greatest bounds go on, and the gap says so.
        relaxation: ``relax(knapsack, budget)`` where it is known already.
        backend: "native" or "numpy", see ``solvers.kernels``.

    Example:
        >>> found = solve_exact(Knapsack.of([0.0, 3.0, 0.0, 2.0], [1.0, 4.0, 1.0, 2.0], [0, 2, 4]), 5.0)
        >>> found.choices.tolist(), found.value
        ([1, 2], 3.0)
    """
    if uses_kernels(backend):
        start = 0.0 if relaxation is None else relaxation.dual
        found = _compiled(knapsack, float(budget), start, float(cutoff), time_limit_seconds, state_limit)
        if found is not None:
            return found
    deadline = math.inf if time_limit_seconds is None else time.perf_counter() + time_limit_seconds
    kept = fitting(knapsack.costs[None], np.array([budget]), knapsack.offsets)
    if kept is None or len(kept) == len(knapsack.values):
        return _search(knapsack, budget, cutoff, deadline, state_limit, relaxation)
    found = _search(knapsack.restrict(kept), budget, cutoff, deadline, state_limit, None)
    return replace(found, choices=kept[found.choices])


def _search(
    knapsack: Knapsack, budget: float, cutoff: float, deadline: float, state_limit: int, relaxation: Relaxation | None
) -> ExactSelection:
    """The numpy path, for options that all fit beside the cheapest ones; ``solvers.kernels.exact`` says why it is as it is."""
    steps = increments(knapsack)
    relaxed = relax_along(knapsack, budget, steps) if relaxation is None else relaxation
    if relaxed.status is Status.INFEASIBLE:
        return _nothing_fits(knapsack, relaxed.choices)

    # Work on values below each group's best: differences keep their digits when all scores share a large offset.
    best = np.maximum.reduceat(knapsack.values, knapsack.offsets[:-1])
    lift = exact_sum(best)
    shifted = Knapsack(knapsack.values - np.repeat(best, np.diff(knapsack.offsets)), knapsack.costs, knapsack.offsets)
    incumbent = Incumbent(relaxed.choices, exact_sum(shifted.values[relaxed.choices]))
    reduced = shifted.values - relaxed.dual * shifted.costs
    top = np.maximum.reduceat(reduced, shifted.offsets[:-1])
    priced = priced_budget(budget, relaxed.dual)
    # Shifted values are not positive, so reduced ones are sums of equal signs and keep their relative precision.
    upper = math.fsum([*top.tolist(), *priced, 4 * _EPSILON * math.fsum([*(-top).tolist(), *priced])])
    loss = (np.repeat(top, np.diff(shifted.offsets)) - reduced) * (1.0 - 8 * _EPSILON)
    spread = -exact_sum(shifted.values[steps.base])  # what all budget in the world would add to the cheapest selection
    whole = max(spread, abs(lift), relaxed.dual * budget if relaxed.dual else 0.0) < 2.0**40 and not (knapsack.values % 1.0).any()
    cutoff = (math.floor(cutoff) if whole and math.isfinite(cutoff) else cutoff) - lift
    if upper > max(incumbent.value, cutoff):
        _improve(shifted, budget, relaxed, steps, incumbent)
    states, stopped, bound = 0, False, min(upper, 0.0)  # no shifted value is positive, whatever a multiplier proves
    while True:
        # Half the promised 1e-9 of the value, and no more of what is lost, so that scores may be scaled and shifted at will. Whole
        # values leave nothing strictly between two whole numbers; the guard keeps the rounding of bounds below what it sets aside.
        start = incumbent.value
        tolerance = goal = 1.0 - 2.0**-10 if whole else 5e-10 * min(-start, abs(lift + start))
        if bound <= max(start, cutoff) + tolerance:
            break
        alive = upper - loss > max(start, cutoff) + tolerance
        part = Core.of(shifted, np.flatnonzero(alive), relaxed.dual)
        noise = part.noise()
        tolerance = tolerance if whole else max(tolerance, noise)
        search = Search(shifted, budget, part, incumbent, cutoff, tolerance, deadline, state_limit)
        search.run(upper)
        states, stopped = states + search.kept, search.stopped
        found = max(float((upper - loss[~alive]).max(initial=-math.inf)), search.cut_off, incumbent.value)
        if not whole and found > incumbent.value - noise:
            found += noise
        bound = min(bound, found)
        # An option that loses a fortune blurs all bounds of its core. A better selection may exclude it: then once more.
        if stopped or incumbent.value == start or tolerance > noise or noise <= 2.0 * goal:
            break
    bound = max(bound, incumbent.value)
    answer = incumbent.choices, lift, incumbent.value, bound, cutoff + lift
    return _answer(knapsack, *answer, tolerance, whole, relaxed.dual, states, stopped)


def _compiled(
    knapsack: Knapsack, budget: float, start: float, cutoff: float, time_limit_seconds: float | None, state_limit: int
) -> ExactSelection | None:
    """The same by the kernels; None where there is a limit and machine code is being made, or where their two-float sums and the
    correctly rounded one disagree about the budget."""
    from solvers.kernels import exact as kernels_exact

    choices = np.empty(knapsack.count, dtype=np.intp)
    arrays = as_kernel_input(knapsack.values), as_kernel_input(knapsack.costs), as_kernel_input(knapsack.offsets)
    limits = state_limit, core.BEAM, core.HARD, core.TAIL
    seconds = math.inf if time_limit_seconds is None else float(time_limit_seconds)
    stopped, moment = True, patience(kernels_exact.solve, len(knapsack.values))
    if moment:
        began = time.perf_counter()
        with interpreted():
            found = kernels_exact.solve(*arrays, budget, start, cutoff, limits, min(seconds, moment), choices)
        stopped = found[-1] and moment < seconds
        seconds -= time.perf_counter() - began
    if stopped:
        arguments = *arrays, budget, start, cutoff, limits, seconds, choices
        machine = made(kernels_exact.solve, arguments, 0.0 if seconds < math.inf else math.inf)
        if machine is None:  # a limit is not spent on waiting for the compiler
            return None
        found = machine(*arguments)
    state, lift, best, bound, dual, tolerance, whole, states, stopped = found
    if state == kernels_exact.INFEASIBLE:
        return _nothing_fits(knapsack, choices)
    if exact_sum(knapsack.costs[choices]) > budget:
        return None
    if whole:
        cutoff = math.floor(cutoff) if math.isfinite(cutoff) else cutoff
    return _answer(knapsack, choices, lift, best, bound, cutoff, tolerance, whole, float(dual), states, stopped)


def _nothing_fits(knapsack: Knapsack, cheapest: IntArray) -> ExactSelection:
    return ExactSelection(Status.INFEASIBLE, cheapest, exact_sum(knapsack.values[cheapest]), -math.inf, 0.0, 0)


def _answer(
    knapsack: Knapsack,
    choices: IntArray,
    lift: float,
    best: float,
    bound: float,
    cutoff: float,
    tolerance: float,
    whole: bool,
    dual: float,
    states: int,
    stopped: bool,
) -> ExactSelection:
    """State what was found in the caller's values; ``best`` and ``bound`` are of values that sum to ``lift`` less."""
    value = exact_sum(knapsack.values[choices])
    if whole:
        bound = max(float(math.floor(lift + bound + 2.0**-10)), value)
    else:
        bound = math.nextafter(value + (bound - best), math.inf) if bound > best else value
    proven = not stopped and bound <= max(value, cutoff) + 2.0 * tolerance
    certified = bound - value <= 1e-9 * max(1.0, abs(value)) or proven
    return ExactSelection(Status.OPTIMAL if certified else Status.TIME_LIMIT, choices, value, bound, dual, states)


def _improve(knapsack: Knapsack, budget: float, relaxed: Relaxation, steps: Increments, incumbent: Incumbent) -> None:
    """Raise the incumbent: greedy, then the best single exchanges, from both sides of the fractional step."""
    starts = [greedy(knapsack, budget, relaxed, steps)]
    incumbent.offer(knapsack, budget, starts[0])
    group = knapsack.group
    if relaxed.costlier >= 0:
        beyond = relaxed.choices.copy()
        beyond[group[relaxed.costlier]] = relaxed.costlier
        starts.append(beyond)
    for choices in starts:
        for _ in range(_SWAPS):
            room = math.fsum([budget, *(-knapsack.costs[choices]).tolist()]) if math.isfinite(budget) else math.inf
            gain = knapsack.values - knapsack.values[choices][group]
            gain[knapsack.costs - knapsack.costs[choices][group] > room] = -math.inf
            swap = int(np.argmax(gain))
            if gain[swap] == -math.inf or (room >= 0 and gain[swap] <= 0):
                break
            choices = choices.copy()
            choices[group[swap]] = swap
            incumbent.offer(knapsack, budget, choices)

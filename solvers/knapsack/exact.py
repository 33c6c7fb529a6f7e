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
import threading
import time
from dataclasses import dataclass

import numpy as np

from solvers.arrays import IntArray
from solvers.kernels import NativeBackend, as_kernel_input, uses_kernels
from solvers.knapsack import core
from solvers.knapsack.core import Core, Incumbent, Search
from solvers.knapsack.hulls import Increments, increments
from solvers.knapsack.program import Knapsack, exact_sum, priced_budget
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
    steps = increments(knapsack)
    relaxed = relax_along(knapsack, budget, steps) if relaxation is None else relaxation
    if relaxed.status is Status.INFEASIBLE:
        return _nothing_fits(knapsack, relaxed.choices)

    # Work on values below each group's best: differences keep their digits when all scores share a large offset.
    best = np.maximum.reduceat(knapsack.values, knapsack.offsets[:-1])
    lift = exact_sum(best)
    shifted = Knapsack(knapsack.values - np.repeat(best, np.diff(knapsack.offsets)), knapsack.costs, knapsack.offsets)
    incumbent = Incumbent(relaxed.choices, exact_sum(shifted.values[relaxed.choices]))
    spread = -exact_sum(shifted.values[steps.base])  # what all budget in the world would add to the cheapest selection
    noise = 4 * _EPSILON * spread  # rounding of a sum of shifted values
    reduced = shifted.values - relaxed.dual * shifted.costs
    top = np.maximum.reduceat(reduced, shifted.offsets[:-1])
    upper = math.fsum([*top.tolist(), *priced_budget(budget, relaxed.dual)])
    if upper > incumbent.value + noise:
        _improve(shifted, budget, relaxed, steps, incumbent)
    # Half the promised 1e-9 of the value, and no more of the spread, so that scores may be scaled and shifted at will.
    tolerance = max(noise, 5e-10 * min(spread, abs(lift + incumbent.value)))
    # Whole values leave nothing strictly between two whole numbers: a state must promise a whole point more. The guard keeps the
    # rounding of bounds (2^-52 of their terms) below the 2^-10 set aside for it.
    whole = max(spread, abs(lift), relaxed.dual * budget if relaxed.dual else 0.0) < 2.0**40 and not (knapsack.values % 1.0).any()
    if whole:
        tolerance, cutoff = 1.0 - 2.0**-10, math.floor(cutoff) if math.isfinite(cutoff) else cutoff
    target = max(incumbent.value, cutoff - lift)

    states, stopped = 0, False
    if upper > target + tolerance:
        loss = np.repeat(top, np.diff(shifted.offsets)) - reduced
        alive = upper - loss > target + tolerance
        bound = max(incumbent.value, float((upper - loss[~alive]).max(initial=-math.inf)))
        open_part = Core.of(shifted, np.flatnonzero(alive), relaxed.dual)
        search = Search(shifted, budget, open_part, incumbent, cutoff - lift, tolerance, deadline, state_limit)
        search.run(upper)
        states, stopped = search.kept, search.stopped
        bound = min(upper, max(bound, search.cut_off, incumbent.value))
    else:
        bound = max(upper, incumbent.value)
    return _answer(knapsack, incumbent.choices, lift, bound, cutoff, tolerance, whole, relaxed.dual, relaxed.bound, states, stopped)


def _compiled(
    knapsack: Knapsack, budget: float, start: float, cutoff: float, time_limit_seconds: float | None, state_limit: int
) -> ExactSelection | None:
    """The same by the kernels; None where their two-float sums and the correctly rounded one disagree about the budget."""
    from solvers.kernels import exact as kernels_exact

    choices, stop = np.empty(knapsack.count, dtype=np.intp), np.zeros(1, dtype=np.bool_)
    arrays = as_kernel_input(knapsack.values), as_kernel_input(knapsack.costs), as_kernel_input(knapsack.offsets)
    limits = state_limit, core.BEAM, core.HARD, core.TAIL
    arguments = (*arrays, budget, start, cutoff, limits, stop, choices)
    if time_limit_seconds is None:
        found = kernels_exact.solve(*arguments)
    else:
        timer = threading.Timer(time_limit_seconds, stop.fill, (True,))  # kernels run without the interpreter's lock
        timer.daemon = True
        timer.start()
        try:
            found = kernels_exact.solve(*arguments)
        finally:
            timer.cancel()
    state, lift, bound, plain, dual, tolerance, whole, states, stopped = found
    if state == kernels_exact.INFEASIBLE:
        return _nothing_fits(knapsack, choices)
    if exact_sum(knapsack.costs[choices]) > budget:
        return None
    if whole:
        cutoff = math.floor(cutoff) if math.isfinite(cutoff) else cutoff
    return _answer(knapsack, choices, lift, bound, cutoff, tolerance, whole, dual, plain, states, stopped)


def _nothing_fits(knapsack: Knapsack, cheapest: IntArray) -> ExactSelection:
    return ExactSelection(Status.INFEASIBLE, cheapest, exact_sum(knapsack.values[cheapest]), -math.inf, 0.0, 0)


def _answer(
    knapsack: Knapsack,
    choices: IntArray,
    lift: float,
    bound: float,
    cutoff: float,
    tolerance: float,
    whole: bool,
    dual: float,
    relaxed_bound: float,
    states: int,
    stopped: bool,
) -> ExactSelection:
    """State what was found in the caller's values; ``bound`` is of values that sum to ``lift`` less."""
    value = exact_sum(knapsack.values[choices])
    bound = max(float(math.floor(lift + bound + 2.0**-10)) if whole else min(lift + bound, relaxed_bound), value)
    certified = bound - value <= 1e-9 * max(1.0, abs(value)) or (not stopped and bound <= max(value, cutoff) + tolerance)
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

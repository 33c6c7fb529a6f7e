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
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from solvers.mckp import (
    Increments,
    IntArray,
    Knapsack,
    Relaxation,
    exact_sum,
    greedy,
    increments,
    priced_budget,
    relax,
    undominated,
)
from solvers.results import Status
from solvers.sets import FloatArray

__all__ = ["ExactSelection", "solve_exact"]

_STATE_LIMIT = 2_000_000  # about 100 MB of states; the families that reach it need branch and bound with cuts anyway
_CHUNK = 1 << 20  # candidate states looked at together: bounds the memory of one expansion to some tens of MB
_SWAPS = 50  # rounds of one-swap improvement; each strictly improves, and few are ever needed
_EPSILON = 2.0**-52


@dataclass(frozen=True, slots=True, eq=False)
class ExactSelection:
    """What :func:`solve_exact` found.

    Attributes:
        status: OPTIMAL (gap <= 1e-9 max(1, |value|)), INFEASIBLE, or TIME_LIMIT when the time or the number of states ran out.
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


@dataclass(slots=True)
class _Incumbent:
    """The best selection so far: what the search may improve. ``value`` is of the shifted values."""

    choices: IntArray
    value: float

    def offer(self, knapsack: Knapsack, budget: float, choices: IntArray) -> bool:
        """Take ``choices`` if they fit and are better."""
        value = exact_sum(knapsack.values[choices])
        if value <= self.value or exact_sum(knapsack.costs[choices]) > budget:
            return False
        self.choices, self.value = choices, value
        return True


def solve_exact(
    knapsack: Knapsack,
    budget: float,
    *,
    cutoff: float = -math.inf,
    time_limit_seconds: float | None = None,
    state_limit: int = _STATE_LIMIT,
    relaxation: Relaxation | None = None,
) -> ExactSelection:
    """The most valuable selection that fits.

    Args:
        knapsack: the options.
        budget: in the unit of the costs; infinite means none.
        cutoff: selections of this value or less are of no interest: the answer may then be any selection that fits, and its bound
            says that nothing beats the cutoff.
        time_limit_seconds: stop after this time with the best selection so far and its true gap.
        state_limit: states kept at once; beyond it those with the lowest bounds are dropped, and the gap says so.
        relaxation: ``relax(knapsack, budget)`` where it is known already.
    """
    deadline = math.inf if time_limit_seconds is None else time.perf_counter() + time_limit_seconds
    relaxed = relax(knapsack, budget) if relaxation is None else relaxation
    if relaxed.status is Status.INFEASIBLE:
        value = exact_sum(knapsack.values[relaxed.choices])
        return ExactSelection(Status.INFEASIBLE, relaxed.choices, value, -math.inf, 0.0, 0)

    # Work on values below each group's best: differences keep their digits when all scores share a large offset.
    best = np.maximum.reduceat(knapsack.values, knapsack.offsets[:-1])
    lift = exact_sum(best)
    shifted = Knapsack(knapsack.values - np.repeat(best, np.diff(knapsack.offsets)), knapsack.costs, knapsack.offsets)
    incumbent = _Incumbent(relaxed.choices, exact_sum(shifted.values[relaxed.choices]))
    spread = -exact_sum(shifted.values[relaxed.steps.base])  # what all budget in the world would add to the cheapest selection
    noise = 4 * _EPSILON * spread  # rounding of a sum of shifted values
    reduced = shifted.values - relaxed.dual * shifted.costs
    top = np.maximum.reduceat(reduced, shifted.offsets[:-1])
    upper = math.fsum([*top.tolist(), *priced_budget(budget, relaxed.dual)])
    if upper > incumbent.value + noise:
        _improve(shifted, budget, relaxed, incumbent)
    # Half the promised 1e-9 of the value, and no more of the spread, so that scores may be scaled and shifted at will.
    tolerance = max(noise, 5e-10 * min(spread, abs(lift + incumbent.value)))
    target = max(incumbent.value, cutoff - lift)

    states, stopped = 0, False
    if upper > target + tolerance:
        loss = np.repeat(top, np.diff(shifted.offsets)) - reduced
        alive = upper - loss > target + tolerance
        bound = max(incumbent.value, float((upper - loss[~alive]).max(initial=-math.inf)))
        core = _Core.of(shifted, np.flatnonzero(alive), relaxed.dual)
        cut_off, states, stopped = _search(shifted, budget, core, incumbent, cutoff - lift, tolerance, upper, deadline, state_limit)
        bound = min(upper, max(bound, cut_off, incumbent.value))
    else:
        bound = max(upper, incumbent.value)
    value = exact_sum(knapsack.values[incumbent.choices])
    bound = max(lift + bound, value)
    certified = bound - value <= 1e-9 * max(1.0, abs(value)) or (not stopped and bound <= max(value, cutoff) + 2 * tolerance)
    return ExactSelection(Status.OPTIMAL if certified else Status.TIME_LIMIT, incumbent.choices, value, bound, relaxed.dual, states)


def _improve(knapsack: Knapsack, budget: float, relaxed: Relaxation, incumbent: _Incumbent) -> None:
    """Raise the incumbent: greedy, then the best single exchanges, from both sides of the fractional step."""
    starts = [greedy(knapsack, budget, relaxed)]
    incumbent.offer(knapsack, budget, starts[0])
    if relaxed.taken < len(relaxed.steps.cost):
        beyond = relaxed.choices.copy()
        beyond[relaxed.steps.group[relaxed.taken]] = relaxed.steps.target[relaxed.taken]
        starts.append(beyond)
    group = knapsack.group
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


@dataclass(frozen=True, slots=True, eq=False)
class _Remainder:
    """The relaxation of the groups still to come, as a function of the room they are left.

    From ``base`` (cost, value) on, value rises along ``gain`` at the breakpoints ``reach``, with ``slope`` between them.
    """

    base: IntArray
    cost: float
    value: float
    steps: IntArray
    reach: FloatArray
    gain: FloatArray
    slope: FloatArray

    def bounds(self, room: FloatArray, slack: float) -> tuple[IntArray, FloatArray, FloatArray]:
        """For rooms >= 0 beyond the base: whole steps that fit, value of that integral completion, value of the relaxation.

        The latter is a bound for the room and ``slack`` more: on a concave function, going on along a segment stays above it.
        """
        whole = np.searchsorted(self.reach, room, side="right") - 1
        completed = self.value + self.gain[whole]
        return whole, completed, completed + self.slope[whole] * (room + slack - self.reach[whole])


@dataclass(frozen=True, slots=True, eq=False)
class _Core:
    """The knapsack of the surviving options, in the order in which its open groups are decided."""

    knapsack: Knapsack
    origin: IntArray  # (options,) flat index in the knapsack it came from
    frontier: IntArray  # undominated options, grouped by rising cost
    firsts: IntArray  # (groups + 1,) where each group starts in the frontier
    order: IntArray  # open groups, first decided first
    stage: IntArray  # (groups,) position in the order, -1 where fixed
    steps: Increments

    @classmethod
    def of(cls, knapsack: Knapsack, kept: IntArray, dual: float) -> _Core:
        core = knapsack.restrict(kept)
        frontier = undominated(core)
        sizes = np.bincount(core.group[frontier], minlength=core.count)
        # Groups whose second thoughts cost most come first: they branch little, and the easy ones left over bound tightly.
        reduced = core.values[frontier] - dual * core.costs[frontier]
        firsts = np.concatenate([[0], np.cumsum(sizes)])
        top = np.maximum.reduceat(reduced, firsts[:-1])
        loss = np.repeat(top, sizes) - reduced
        loss[loss == 0.0] = math.inf
        second = np.minimum.reduceat(loss, firsts[:-1])
        open_groups = np.flatnonzero(sizes > 1)
        order = open_groups[np.argsort(-second[open_groups], kind="stable")]
        stage = np.full(core.count, -1)
        stage[order] = np.arange(len(order))
        return cls(core, kept, frontier, firsts, order, stage, increments(core, frontier))

    def remainder(self, stage: int) -> _Remainder:
        """The relaxation of the groups decided after ``stage``."""
        base = self.frontier[self.firsts[self.order[stage + 1 :]]]
        later = np.flatnonzero(self.stage[self.steps.group] > stage)
        return _Remainder(
            base,
            exact_sum(self.knapsack.costs[base]),
            exact_sum(self.knapsack.values[base]),
            later,
            np.concatenate([[0.0], np.cumsum(self.steps.cost[later])]),
            np.concatenate([[0.0], np.cumsum(self.steps.value[later])]),
            np.concatenate([self.steps.slope[later], [0.0]]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _States:
    """Partial selections: cost in two floats, value, bound, the state each extends and the option it adds."""

    hi: FloatArray
    lo: FloatArray
    value: FloatArray
    bound: FloatArray
    parent: IntArray
    option: IntArray

    def take(self, rows: IntArray) -> _States:
        return _States(self.hi[rows], self.lo[rows], self.value[rows], self.bound[rows], self.parent[rows], self.option[rows])

    @staticmethod
    def join(parts: list[_States]) -> _States:
        if len(parts) == 1:
            return parts[0]
        columns = zip(*((p.hi, p.lo, p.value, p.bound, p.parent, p.option) for p in parts), strict=True)
        return _States(*(np.concatenate(column) for column in columns))

    def pareto(self) -> IntArray:
        """Rows that no other beats in cost and value, by rising cost; of equal ones the first stays."""
        order = np.argsort(self.hi, kind="stable")
        hi = self.hi[order]
        if (hi[1:] == hi[:-1]).any():  # then the low parts decide, and the better value of two equal costs
            order = np.lexsort((-self.value, self.lo, self.hi))
        value = self.value[order]
        keep = np.ones(len(order), dtype=bool)
        keep[1:] = value[1:] > np.maximum.accumulate(value)[:-1]
        return order[keep]


def _search(
    knapsack: Knapsack,
    budget: float,
    core: _Core,
    incumbent: _Incumbent,
    cutoff: float,
    tolerance: float,
    upper: float,
    deadline: float,
    state_limit: int,
) -> tuple[float, int, bool]:
    """Dynamic programming over the core; returns a bound on all it cut off, the states it kept, and whether the time ran out."""
    costs, values = core.knapsack.costs, core.knapsack.values
    fixed = core.frontier[core.firsts[np.flatnonzero(core.stage < 0)]]
    start = exact_sum(costs[fixed])
    rest = math.fsum([*costs[fixed].tolist(), -start])
    none = np.zeros(1, dtype=np.intp)
    states = _States(np.array([start]), np.array([rest]), np.array([exact_sum(values[fixed])]), np.array([upper]), none, none)
    # A state's room is rounded three times, and a sum may exceed the budget by the half ulp that rounds away: in doubt, keep it.
    slack = 8 * _EPSILON * budget if math.isfinite(budget) else 0.0
    history: list[_States] = []
    cut_off, kept = -math.inf, 0
    for stage, group in enumerate(core.order.tolist()):
        remainder = core.remainder(stage)
        options = core.frontier[core.firsts[group] : core.firsts[group + 1]]
        parts: list[_States] = []
        chunk = max(1, _CHUNK // len(options))
        for first in range(0, len(states.hi), chunk):
            if time.perf_counter() > deadline:
                return max(cut_off, float(states.bound.max())), kept, True
            grown = _expand(states, slice(first, first + chunk), costs[options], values[options], options)
            room = (budget - remainder.cost) - grown.hi
            fits = room >= -slack if len(remainder.base) else grown.hi <= budget
            whole, completed, bound = remainder.bounds(np.maximum(room, 0.0), slack)
            completed = np.where(fits, grown.value + completed, -math.inf)
            bound = np.where(fits, grown.value + bound, -math.inf)
            best = int(np.argmax(completed))
            if completed[best] > max(incumbent.value, cutoff):
                chosen = [fixed, remainder.base, _trace(history, grown.option[best], grown.parent[best])]
                trial = np.empty(core.knapsack.count, dtype=np.intp)
                for part in chosen:
                    trial[core.knapsack.group[part]] = part
                filled = remainder.steps[: whole[best]]
                trial[core.steps.group[filled]] = core.steps.target[filled]
                incumbent.offer(knapsack, budget, core.origin[trial])
            keep = bound > max(incumbent.value, cutoff) + tolerance
            cut_off = max(cut_off, float(bound[~keep].max(initial=-math.inf)))
            rows = np.flatnonzero(keep)
            parts.append(_States(grown.hi, grown.lo, grown.value, bound, grown.parent, grown.option).take(rows))
        states = _States.join(parts)
        states = states.take(states.pareto())
        keep = states.bound > max(incumbent.value, cutoff) + tolerance  # the incumbent may have risen since
        cut_off = max(cut_off, float(states.bound[~keep].max(initial=-math.inf)))
        states = states.take(np.flatnonzero(keep))
        if len(states.hi) > state_limit:
            ranked = np.argsort(-states.bound, kind="stable")
            cut_off = max(cut_off, float(states.bound[ranked[state_limit]]))
            states = states.take(np.sort(ranked[:state_limit]))
        history.append(states)
        kept += len(states.hi)
        if not len(states.hi):
            break
    return cut_off, kept, False


def _expand(states: _States, window: slice, costs: FloatArray, values: FloatArray, options: IntArray) -> _States:
    """Every state of the window with every option; the bounds are still the parents'."""
    hi, lo = states.hi[window, None], states.lo[window, None]
    total = hi + costs
    virtual = total - hi
    error = (hi - (total - virtual)) + (costs - virtual)  # TwoSum: total + error is hi + costs exactly
    low = lo + error
    rounded = total + low
    rest = low - (rounded - total)
    rows = np.arange(len(states.hi))[window]
    return _States(
        rounded.ravel(),
        rest.ravel(),
        (states.value[window, None] + values).ravel(),
        np.repeat(states.bound[window], len(options)),
        np.repeat(rows, len(options)),
        np.tile(options, len(rows)),
    )


def _trace(history: list[_States], option: int, parent: int) -> IntArray:
    """The options of a state's path, latest first."""
    path = [int(option)]
    row = int(parent)
    for states in reversed(history):
        path.append(int(states.option[row]))
        row = int(states.parent[row])
    return np.array(path, dtype=np.intp)

"""The core of a multiple-choice knapsack, searched by dynamic programming: the part of ``solvers.knapsack.exact`` that can be hard.

States are partial selections, pruned by dominance and by the relaxation of what is still to come. Easy cores end after a handful of
states. When there are thousands, all selections of the last few groups are listed once; a state is then completed by the costliest
list entry that its room allows, so that millions of selections are tried at the price of a binary search each, and the last groups
are joined instead of expanded. On values proportional to costs, where no bound separates anything, this is what finds a selection
within the promised gap.

Reference: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 1995; Horowitz and Sahni, Computing
partitions with applications to the knapsack problem, JACM 1974 (the join).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.knapsack.hulls import Increments, increments, undominated
from solvers.knapsack.program import Knapsack, exact_sum
from solvers.knapsack.states import States, Tail, expand, trace

_CHUNK = 1 << 20  # candidate states looked at together: bounds the memory of one expansion to some tens of MB
HARD = 1024  # states that make a list of the last groups pay: making it takes some ms, as one expansion of so many does
TAIL = 1 << 16  # entries of that list before dominance; larger lists cost more to make than they save
BEAM = 1 << 15  # states kept at once after the state limit was reached
_TRIES = 3  # completions checked per expansion: the best one can fail only by round-off at the edge of its room
_EPSILON = 2.0**-52


@dataclass(slots=True)
class Incumbent:
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


@dataclass(frozen=True, slots=True, eq=False)
class Remainder:
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
    decided: FloatArray  # (2, breakpoints): cost and value of the whole steps in groups before the tail; see Search._complete
    head: tuple[float, float]  # base cost and value of those groups alone

    def bounds(self, room: FloatArray, slack: float) -> tuple[IntArray, FloatArray, FloatArray]:
        """For rooms >= 0 beyond the base: whole steps that fit, value of that integral completion, value of the relaxation.

        The latter is a bound for the room and ``slack`` more: on a concave function, going on along a segment stays above it.
        """
        whole = np.searchsorted(self.reach, room, side="right") - 1
        completed = self.value + self.gain[whole]
        with np.errstate(over="ignore"):  # an infinite bound is one
            return whole, completed, completed + self.slope[whole] * (room + slack - self.reach[whole])


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """The knapsack of the surviving options, in the order in which its open groups are decided."""

    knapsack: Knapsack
    origin: IntArray  # (options,) flat index in the knapsack it came from
    frontier: IntArray  # undominated options, grouped by rising cost
    firsts: IntArray  # (groups + 1,) where each group starts in the frontier
    order: IntArray  # open groups, first decided first
    stage: IntArray  # (groups,) position in the order, -1 where fixed
    steps: Increments

    @classmethod
    def of(cls, knapsack: Knapsack, kept: IntArray, dual: float) -> Core:
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

    def options(self, group: int) -> IntArray:
        """The undominated options of a group, by rising cost."""
        return self.frontier[self.firsts[group] : self.firsts[group + 1]]

    def noise(self) -> float:
        """The rounding of any sum of the core's values, or of its hull steps."""
        least = np.minimum.reduceat(self.knapsack.values, self.knapsack.offsets[:-1])
        return (self.knapsack.count + len(self.steps.cost) + 8) * _EPSILON * -exact_sum(least)

    def remainder(self, stage: int, tail: int) -> Remainder:
        """The relaxation of the groups decided after ``stage``, the last ``tail`` of which are also known as a list."""
        base = self.frontier[self.firsts[self.order[stage + 1 :]]]
        steps_stage = self.stage[self.steps.group]
        later = np.flatnonzero(steps_stage > stage)
        before_tail = steps_stage[later] < len(self.order) - tail
        head = base[: max(0, len(base) - tail)]
        decided = np.zeros((2, len(later) + 1))
        np.cumsum(np.where(before_tail, self.steps.cost[later], 0.0), out=decided[0, 1:])
        np.cumsum(np.where(before_tail, self.steps.value[later], 0.0), out=decided[1, 1:])
        return Remainder(
            base,
            exact_sum(self.knapsack.costs[base]),
            exact_sum(self.knapsack.values[base]),
            later,
            np.concatenate([[0.0], np.cumsum(self.steps.cost[later])]),
            np.concatenate([[0.0], np.cumsum(self.steps.value[later])]),
            np.concatenate([self.steps.slope[later], [0.0]]),
            decided,
            (exact_sum(self.knapsack.costs[head]), exact_sum(self.knapsack.values[head])),
        )


@dataclass(slots=True)
class Search:
    """One search: what it works on, and what it has learned so far.

    Attributes:
        knapsack, budget, core: the program (values may be shifted) and its core.
        incumbent: raised on the way.
        cutoff: only selections above it are of interest.
        tolerance: states that cannot beat the best by more are cut off.
        deadline: of ``time.perf_counter``.
        state_limit: states kept at once; beyond it those with the lowest bounds are dropped, and from then on only BEAM are kept.
        cut_off: greatest bound of all that was cut off or dropped so far.
        kept: states kept in all.
        stopped: the deadline passed.
    """

    knapsack: Knapsack
    budget: float
    core: Core
    incumbent: Incumbent
    cutoff: float
    tolerance: float
    deadline: float
    state_limit: int
    cut_off: float = -math.inf
    kept: int = 0
    stopped: bool = False

    @property
    def target(self) -> float:
        """What a selection must exceed."""
        return max(self.incumbent.value, self.cutoff)

    @property
    def slack(self) -> float:
        """Room given on top: a state's room is the rounded rest of many costs, and a sum may exceed the budget by an ulp's half."""
        terms = 8 + self.core.knapsack.count + len(self.core.steps.cost)
        return terms * _EPSILON * self.budget if math.isfinite(self.budget) else 0.0

    def run(self, upper: float) -> None:
        """Search the core, whose selections are all worth ``upper`` or less."""
        core, order = self.core, self.core.order.tolist()
        costs, values = core.knapsack.costs, core.knapsack.values
        fixed = core.frontier[core.firsts[np.flatnonzero(core.stage < 0)]]
        start = exact_sum(costs[fixed])
        rest = math.fsum([*costs[fixed].tolist(), -start])
        none = np.zeros(1, dtype=np.intp)
        states = States(np.array([start]), np.array([rest]), np.array([exact_sum(values[fixed])]), np.array([upper]), none, none)
        history: list[States] = []
        tail: Tail | None = None
        for stage, group in enumerate(order):
            if tail is not None and stage == len(order) - tail.count:
                self._join(states, history, tail, fixed)
                return
            if tail is None and len(states.hi) > HARD and stage + 1 < len(order):
                tail = Tail.of([core.options(later) for later in order[stage + 1 :]], costs, values, TAIL)
            parts: list[States] = []
            options = core.options(group)
            remainder = core.remainder(stage, 0 if tail is None else tail.count)
            chunk = max(1, _CHUNK // len(options))
            for first in range(0, len(states.hi), chunk):
                if time.perf_counter() > self.deadline:
                    self.cut_off = max(self.cut_off, float(states.bound.max()))
                    self.stopped = True
                    return
                grown = expand(states, slice(first, first + chunk), costs[options], values[options], options)
                parts.append(self._prune(grown, remainder, history, tail, fixed))
            states = States.join(parts)
            states = states.take(states.pareto())
            states = self._above(states)  # the incumbent may have risen since
            if len(states.hi) > self.state_limit:
                # With states dropped there is no proof left to lose: go on narrowly, for a good selection.
                self.state_limit = min(self.state_limit, BEAM)
                ranked = np.argsort(-states.bound, kind="stable")
                self.cut_off = max(self.cut_off, float(states.bound[ranked[self.state_limit]]))
                states = states.take(np.sort(ranked[: self.state_limit]))
            history.append(states)
            self.kept += len(states.hi)
            if not len(states.hi):
                return

    def _above(self, states: States) -> States:
        """The states whose bound beats the target; the others are cut off."""
        keep = states.bound > self.target + self.tolerance
        self.cut_off = max(self.cut_off, float(states.bound[~keep].max(initial=-math.inf)))
        return states.take(np.flatnonzero(keep))

    def _prune(self, grown: States, remainder: Remainder, history: list[States], tail: Tail | None, fixed: IntArray) -> States:
        """Bound the states, complete them, and keep those that may still beat the incumbent."""
        room = (self.budget - remainder.cost) - grown.hi
        fits = room >= -self.slack if len(remainder.base) else grown.hi <= self.budget
        whole, completed, bound = remainder.bounds(np.maximum(room, 0.0), self.slack)
        completed = np.where(fits, grown.value + completed, -math.inf)
        grown = States(grown.hi, grown.lo, grown.value, np.where(fits, grown.value + bound, -math.inf), grown.parent, grown.option)
        best = int(np.argmax(completed))
        if completed[best] > self.target:
            self._offer(grown, best, history, [fixed, remainder.base], remainder.steps[: whole[best]])
        if tail is None:
            return self._above(grown)
        rows = np.flatnonzero(grown.bound > self.target + self.tolerance)
        # The groups before the tail take their part of the relaxation's whole steps; the tail gets all the room that leaves.
        left = (self.budget - remainder.head[0]) - grown.hi[rows] - remainder.decided[0, whole[rows]]
        entry = tail.within(left)
        value = grown.value[rows] + remainder.head[1] + remainder.decided[1, whole[rows]] + tail.states.value[entry]
        value[entry < 0] = -math.inf
        for _ in range(_TRIES if len(rows) else 0):
            best = int(np.argmax(value))
            if value[best] <= self.target:
                break
            steps = remainder.steps[: whole[rows[best]]]
            head = remainder.base[: len(remainder.base) - tail.count]
            steps = steps[self.core.stage[self.core.steps.group[steps]] < len(self.core.order) - tail.count]
            self._offer(grown, int(rows[best]), history, [fixed, head, tail.options(int(entry[best]))], steps)
            value[best] = -math.inf
        return self._above(grown)

    def _join(self, states: States, history: list[States], tail: Tail, fixed: IntArray) -> None:
        """Complete every state by the tail's best selection that fits, best first, until none can beat the incumbent."""
        entry = tail.within(self.budget - states.hi + self.slack)
        bound = np.where(entry >= 0, states.value + tail.states.value[entry], -math.inf)
        # The states are joined as they are: the last of the history is the states themselves.
        while True:
            best = int(np.argmax(bound))
            if bound[best] <= self.target + self.tolerance:
                break
            chosen = [
                fixed,
                tail.options(int(entry[best])),
                trace(history[:-1], int(states.option[best]), int(states.parent[best])),
            ]
            self._take(chosen, np.empty(0, dtype=np.intp))
            entry[best] -= 1  # whether it failed by an ulp or was taken, the next one down is all that is left of this state
            bound[best] = states.value[best] + tail.states.value[entry[best]] if entry[best] >= 0 else -math.inf
        self.cut_off = max(self.cut_off, float(bound[best]))

    def _offer(self, grown: States, row: int, history: list[States], chosen: list[IntArray], steps: IntArray) -> None:
        """Offer a new state's path with the given options and hull steps of the groups it has not decided."""
        self._take([*chosen, trace(history, int(grown.option[row]), int(grown.parent[row]))], steps)

    def _take(self, chosen: list[IntArray], steps: IntArray) -> None:
        core = self.core
        trial = np.empty(core.knapsack.count, dtype=np.intp)
        for part in chosen:
            trial[core.knapsack.group[part]] = part
        trial[core.steps.group[steps]] = core.steps.target[steps]
        self.incumbent.offer(self.knapsack, self.budget, core.origin[trial])

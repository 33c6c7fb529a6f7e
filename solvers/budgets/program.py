"""Multiple-choice knapsack with any number of budgets.

``max sum_g v[g, o_g]  s.t.  sum_g c_j[g, o_g] <= budgets_j for every j``. With two budgets or more even a selection that fits is
hard to find, so the heuristics fall back on the exact method where their start does not fit. The native methods are
``solvers.budgets.search``; where numba is not installed, or on demand, a linear and a mixed-integer solver with strict
budgets take their place.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 and 11.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import BinaryAnswer, BinaryProgram, LinearModel, MilpBackend, Polyhedron, maximize_binary
from solvers.budgets.rational import maximize_exactly
from solvers.budgets.scaled import relax_budgets
from solvers.budgets.search import solve_budgets
from solvers.budgets.steering import TIME_LIMIT, UNSTEERED, Steering
from solvers.kernels import uses_kernels
from solvers.knapsack import Knapsack, exact_sum, fitting, increments, priced_budget
from solvers.results import SolverError, Status
from solvers.sets import Blocks, BudgetedBlocks

BudgetBackend = Literal["native", "highs", "scipy"]

_ACCURACY = 1e-9  # relative to a budget: weights of a vertex are accurate to about that
_ENUMERATED = 1 << 17  # selections: some ms
_CHECKED = 1 << 12  # selections that are looked at to check a solver with tolerances: less than it takes
_LARGEST = 1e300  # product of a multiplier with a cost
_MOST = 2.0**1000  # a merged cost of so many budgets is still finite
_FINER = 0.1  # of the scale: worth solving again
_MILP_TOLERANCE = 1e-9  # of HiGHS, on an objective scaled to 1
_INTERPRETED_NODES = 500  # some seconds of interpreted search, where HiGHS has an answer already


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedRelaxation:
    """The linear relaxation of a program with several budgets.

    Attributes:
        x: (n,) a vertex that was checked against the budgets; None where none exists or none was found.
        duals: (m,) multipliers, which prove the bound whether or not they are optimal.
        bound: the Lagrangian bound; -inf where nothing fits.
        impossible: nothing fits, proven beyond rounding.
    """

    x: FloatArray | None
    duals: FloatArray
    bound: float
    impossible: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedKnapsack:
    """Flat options with m budgets: values (n,), costs (m, n), budgets (m,), groups at ``offsets``. All finite but the budgets."""

    values: FloatArray
    costs: FloatArray
    budgets: FloatArray
    offsets: IntArray

    @property
    def sizes(self) -> IntArray:
        """Options a group."""
        return np.diff(self.offsets)

    def least_costs(self) -> list[float]:
        """The least that selections cost under each budget alone."""
        starts = self.offsets[:-1]
        return [exact_sum(np.minimum.reduceat(row, starts)) for row in self.costs]

    def fits(self, choices: IntArray) -> bool:
        """Whether flat ``choices`` meet every budget by their correctly rounded sums."""
        return all(exact_sum(row[choices]) <= limit for row, limit in zip(self.costs, self.budgets.tolist(), strict=True))

    def lagrangian_bound(self, duals: FloatArray) -> float:
        """``duals @ budgets + sum_g max_o (v - duals @ c)``, rounded up: a bound for any duals >= 0."""
        duals = self.usable(duals)
        priced = np.flatnonzero(duals)  # an infinite budget has the multiplier 0
        paid = duals[priced] @ self.costs[priced]
        reduced = self.values - paid + (len(priced) + 1) * 2.0**-52 * (np.abs(self.values) + paid)
        best = np.maximum.reduceat(reduced, self.offsets[:-1])
        terms = (priced_budget(float(self.budgets[row]), float(duals[row])) for row in priced)
        return math.nextafter(math.fsum([*best.tolist(), *itertools.chain.from_iterable(terms)]), math.inf)

    def usable(self, duals: FloatArray) -> FloatArray:
        """The multipliers, made smaller where a product with a cost or a budget would overflow: any prove a bound."""
        largest = np.maximum(self.costs.max(axis=1), np.where(np.isfinite(self.budgets), self.budgets, 0.0))
        return np.minimum(duals, _LARGEST / len(duals) / np.maximum(largest, 1.0))

    def relax(self, *, backend: BudgetBackend = "native", vertex: bool = True) -> BudgetedRelaxation:
        """The linear relaxation; by HiGHS where ``backend`` is not "native", or where the native descent finds no ``vertex``.

        The bound is recomputed from the multipliers whoever found them, and so is what the vertex costs.
        """
        duals = np.zeros(len(self.budgets))
        if backend == "native":
            impossible, x, found = relax_budgets(self.values, self.costs, self.budgets, self.offsets)
            duals = self.usable(found)
            if impossible:
                return BudgetedRelaxation(None, duals, -math.inf, impossible=True)
            if not vertex or (x is not None and self._holds(x)):
                return BudgetedRelaxation(x, duals, self.lagrangian_bound(duals))
        bound = self.lagrangian_bound(duals)
        finite = np.flatnonzero(np.isfinite(self.budgets))
        blocks = BudgetedBlocks.of(Blocks.of(self.sizes.tolist()), self.costs[finite], self.budgets[finite])
        shifted = self.values - np.repeat(np.maximum.reduceat(self.values, self.offsets[:-1]), self.sizes)
        try:
            answer = LinearModel.of(Polyhedron.of_budgeted_blocks(blocks)).minimize(-shifted)
        except SolverError:  # the search needs no vertex
            return BudgetedRelaxation(None, duals, bound)
        if answer.x is None or answer.certificate is None or answer.certificate.dual is None:
            return BudgetedRelaxation(None, duals, bound)
        others = np.zeros(len(self.budgets))
        others[finite] = np.maximum(-answer.certificate.dual[len(self.sizes) :], 0.0)
        others = self.usable(others)
        if (tighter := self.lagrangian_bound(others)) <= bound:
            duals, bound = others, tighter
        return BudgetedRelaxation(answer.x if self._holds(answer.x) else None, duals, bound)

    def relax_exactly(self) -> FloatArray | None:
        """A vertex (n,) of the relaxation by exact fractions, None where there is none; for small programs, and slow even there."""
        finite = np.flatnonzero(np.isfinite(self.budgets))
        rows = np.repeat(np.arange(len(self.sizes))[:, None] == np.arange(len(self.sizes)), self.sizes, axis=1).astype(float)
        right = [1.0] * len(self.sizes) + self.budgets[finite].tolist()
        found = maximize_exactly(self.values.tolist(), [*rows.tolist(), *self.costs[finite].tolist()], right, len(self.sizes))
        return None if found is None else np.array([float(share) for share in found[0]])

    def _holds(self, x: FloatArray) -> bool:
        """Whether ``x`` meets every budget, to the accuracy that its own entries have."""
        return bool((self.costs @ x <= self.budgets * (1.0 + _ACCURACY)).all())

    def solve(
        self, *, backend: BudgetBackend = "native", time_limit_seconds: float | None = None, steering: Steering = UNSTEERED
    ) -> BinaryAnswer:
        """The exact optimum; its support holds one option a group, in order.

        Args:
            backend: "native" is the branch and bound, compiled where numba is installed; interpreted it starts from HiGHS's answer.
            time_limit_seconds: stop then with the best selection so far and its true gap.
            steering: of the native search; the others do not look at it.

        Raises:
            SolverError: see :func:`solvers.backends.binary.maximize_binary`.
        """
        if backend != "native":
            try:
                answer = self._mixed_integer(backend, time_limit_seconds)
            except SolverError:  # its tolerances cannot tell costs apart: the native search can
                return self.solve(time_limit_seconds=time_limit_seconds)
            return self._checked(answer, time_limit_seconds)
        data = self.values, self.costs, self.budgets, self.offsets
        if uses_kernels(backend):
            found = solve_budgets(*data, time_limit_seconds=time_limit_seconds, steering=steering)
            duals = self.usable(found.duals)
            return BinaryAnswer(found.status, found.choices, found.value, found.bound, 0, duals, found.stopped)
        began = time.perf_counter()
        try:
            known = self._mixed_integer("highs", None if time_limit_seconds is None else 0.5 * time_limit_seconds)
        except SolverError:
            known = BinaryAnswer(Status.FEASIBLE, None, -math.inf, math.inf, 0)
        left = None if time_limit_seconds is None else max(1e-3, time_limit_seconds - (time.perf_counter() - began))
        trusted = known.status is Status.OPTIMAL
        if known.support is not None and (steering.start is None or known.value > exact_sum(self.values[steering.start])):
            steering = replace(steering, start=known.support)
        nodes = min(steering.node_limit, _INTERPRETED_NODES if trusted else math.inf)
        found = solve_budgets(*data, steering=replace(steering, node_limit=nodes), time_limit_seconds=left)
        status, bound, stopped = found.status, found.bound, found.stopped
        if stopped and trusted and found.value == known.value:
            status, bound, stopped = Status.OPTIMAL, min(bound, known.bound), ""
        return BinaryAnswer(status, found.choices, found.value, bound, 0, self.usable(found.duals), stopped)

    def _checked(self, answer: BinaryAnswer, time_limit_seconds: float | None) -> BinaryAnswer:
        """What a solver with tolerances says, proven where that is cheap; "nothing fits" only with a proof."""
        better = self.better_by_enumeration(-math.inf if answer.support is None else answer.value, _CHECKED)
        if better is None:
            return self.solve(time_limit_seconds=time_limit_seconds) if answer.status is Status.INFEASIBLE else answer
        while better is not None and len(better):
            answer = replace(answer, support=better, value=exact_sum(self.values[better]))
            better = self.better_by_enumeration(answer.value, _CHECKED)
        if answer.support is None:
            return replace(answer, status=Status.INFEASIBLE, bound=-math.inf)
        return replace(answer, status=Status.OPTIMAL, bound=answer.value)

    def _mixed_integer(self, backend: MilpBackend, time_limit_seconds: float | None) -> BinaryAnswer:
        """The same through a mixed-integer solver, whose tolerances are absolute: so the program is scaled to what matters.

        Options that fit beside no others are out; so are, once a selection is known, those that lose more by themselves. Where that
        leaves a finer scale, the program is solved again on it.
        """
        began = time.perf_counter()
        kept = fitting(self.costs, self.budgets, self.offsets)
        if kept is None:
            return BinaryAnswer(Status.INFEASIBLE, None, -math.inf, -math.inf, 0)
        best = np.maximum.reduceat(self.values[kept], np.searchsorted(kept, self.offsets)[:-1])
        # Values below each group's best: the solver sees no common offset, and its relative tolerances mean something.
        shifted = self.values - np.repeat(best, self.sizes)
        lift, answer, cuts = exact_sum(best), None, 0
        while True:
            offsets = np.searchsorted(kept, self.offsets)
            unit = -float(shifted[kept].min()) or 1.0
            rows = offsets, np.arange(len(kept)), np.ones(len(kept)), np.ones(len(self.sizes))
            program = BinaryProgram(shifted[kept] / unit, *rows, self.costs[:, kept], np.zeros(len(self.budgets)), self.budgets)
            left = None if time_limit_seconds is None else time_limit_seconds - (time.perf_counter() - began)
            found = maximize_binary(program, backend=backend, time_limit_seconds=left)
            cuts += found.cuts
            if found.support is None:
                break
            answer = replace(found, support=kept[found.support], value=exact_sum(shifted[kept[found.support]]))
            promising = kept[shifted[kept] >= answer.value]  # of a selection nothing is worth less than all of it
            finer = -float(shifted[promising].min(initial=0.0))
            if not 0.0 < finer < _FINER * unit or (left is not None and time.perf_counter() - began > 0.5 * left):
                break
            kept = promising
        if answer is None or answer.support is None:
            return replace(found, bound=lift + unit * found.bound if math.isfinite(found.bound) else found.bound, cuts=cuts)
        value = exact_sum(self.values[answer.support])
        # By the solver's own account: it leaves out what is better by less than its tolerance.
        above = unit * (max(0.0, found.bound - found.value) + _MILP_TOLERANCE) if answer.value < 0.0 else 0.0
        close = above <= 1e-9 * max(1.0, abs(value)) and found.status is not Status.TIME_LIMIT
        status = found.status if found.status is Status.TIME_LIMIT else Status.OPTIMAL if close else Status.FEASIBLE
        stopped = TIME_LIMIT * (status is Status.TIME_LIMIT)
        return BinaryAnswer(status, answer.support, value, value + above, cuts, stopped=stopped)

    def better_by_enumeration(self, worth: float, most: int = _ENUMERATED) -> IntArray | None:
        """A selection that fits and is worth more than ``worth``, empty where none is; None where over ``most`` are to be seen."""
        sizes = self.sizes
        if math.prod(sizes.tolist()) > most:
            return None
        values, sums = np.zeros(1), np.zeros((len(self.budgets), 1))
        for first, last in itertools.pairwise(self.offsets.tolist()):
            values = (values[:, None] + self.values[first:last]).ravel()
            sums = (sums[:, :, None] + self.costs[:, None, first:last]).reshape(len(sums), -1)
        rounding = 2.0**-52 * len(sizes)
        size = exact_sum(np.maximum.reduceat(np.abs(self.values), self.offsets[:-1]))
        limits = self.budgets * (1.0 + rounding)  # plain sums are this far off at most; what may fit is summed exactly
        hits = np.flatnonzero((values > worth - rounding * size) & (sums * (1.0 - rounding) <= limits[:, None]).all(axis=0))
        for hit in hits.tolist():
            picks = self.offsets[:-1] + np.array(np.unravel_index(hit, sizes.tolist()))
            if exact_sum(self.values[picks]) > worth and self.fits(picks):
                return picks
        return np.empty(0, dtype=np.intp)

    def restrict(self, kept: IntArray) -> BudgetedKnapsack:
        """The same with the options ``kept`` only (at least one a group)."""
        sizes = np.add.reduceat(np.isin(np.arange(len(self.values)), kept).astype(np.intp), self.offsets[:-1])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return BudgetedKnapsack(self.values[kept], self.costs[:, kept], self.budgets, offsets)

    def round_relaxation(self, relaxation: BudgetedRelaxation, *, backend: BudgetBackend = "native") -> IntArray | None:
        """Best selection that fits among the options the vertex uses; where none of them fits, the best of all; None if none.

        At a vertex of m budgets at most m groups are fractional, so the first program is tiny.
        """
        if relaxation.x is None:
            return None if relaxation.impossible else self.solve(backend=backend).support
        support = np.flatnonzero(relaxation.x > 1e-9)  # HiGHS is asked for 1e-10, weights of the native vertex are 1e-9 exact
        answer = self.restrict(support).solve(backend=backend)
        if answer.support is not None:
            return support[answer.support]
        return self.solve(backend=backend).support

    def greedy(self, *, backend: BudgetBackend = "native") -> IntArray | None:
        """From the cheapest selection by falling value per cost, all budgets merged into one by their sizes; None if nothing fits.

        Where the merged cheapest selection does not fit, the start is the exact one of least merged cost that does.
        """
        finite = np.isfinite(self.budgets)
        shift = -np.frexp(np.where(finite, self.budgets, 1.0))[1]  # powers of two: budgets of any size weigh alike, none overflows
        with np.errstate(over="ignore"):
            scaled = np.minimum(np.ldexp(self.costs, shift[:, None]), _MOST)
        merged = Knapsack(self.values, scaled[finite].sum(axis=0), self.offsets)
        steps = increments(merged)
        choices = steps.base.copy()
        if not self.fits(choices):
            cheapest = BudgetedKnapsack(-merged.costs, self.costs, self.budgets, self.offsets).solve(backend=backend)
            if cheapest.support is None:
                return None
            choices = cheapest.support.copy()
        room = self.budgets - np.array([exact_sum(row[choices]) for row in self.costs])
        undo: list[tuple[int, int]] = []
        for group, target in zip(steps.group.tolist(), steps.target.tolist(), strict=True):
            held = int(choices[group])
            extra = self.costs[:, target] - self.costs[:, held]
            if self.values[target] > self.values[held] and (extra <= room).all():
                undo.append((group, held))
                choices[group] = target
                room = room - extra
        while undo and not self.fits(choices):  # the running room rounds
            group, held = undo.pop()
            choices[group] = held
        return choices

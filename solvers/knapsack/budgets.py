"""Multiple-choice knapsack with any number of budgets.

``max sum_g v[g, o_g]  s.t.  sum_g c_j[g, o_g] <= budgets_j for every j``. With two budgets or more even a selection that fits is
hard to find, so the heuristics fall back on the exact method where their start does not fit. The native methods are
``solvers.knapsack.budgets_exact``; where numba is not installed, or on demand, a linear and a mixed-integer solver with strict
budgets take their place.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 and 11.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import BinaryAnswer, BinaryProgram, LinearModel, Polyhedron, maximize_binary
from solvers.kernels import uses_kernels
from solvers.knapsack.budgets_exact import relax_budgets, solve_budgets
from solvers.knapsack.hulls import increments
from solvers.knapsack.program import Knapsack, exact_sum, priced_budget
from solvers.results import Status
from solvers.sets import Blocks, BudgetedBlocks

BudgetBackend = Literal["native", "highs", "scipy"]


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedRelaxation:
    """A vertex ``x`` (n,) of the linear relaxation (None if infeasible), multipliers (m,) and the Lagrangian bound they prove."""

    x: FloatArray | None
    duals: FloatArray
    bound: float


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
        return [exact_sum(row) for row in np.minimum.reduceat(self.costs, self.offsets[:-1], axis=1)]

    def fits(self, choices: IntArray) -> bool:
        """Whether flat ``choices`` meet every budget by their correctly rounded sums."""
        return all(exact_sum(row[choices]) <= limit for row, limit in zip(self.costs, self.budgets.tolist(), strict=True))

    def lagrangian_bound(self, duals: FloatArray) -> float:
        """``duals @ budgets + sum_g max_o (v - duals @ c)``, rounded up: a bound for any duals >= 0."""
        priced = np.flatnonzero(duals)  # an infinite budget has the multiplier 0
        paid = duals[priced] @ self.costs[priced]
        reduced = self.values - paid + (len(priced) + 1) * 2.0**-52 * (np.abs(self.values) + paid)
        best = np.maximum.reduceat(reduced, self.offsets[:-1])
        terms = (priced_budget(float(self.budgets[row]), float(duals[row])) for row in priced)
        return math.nextafter(math.fsum([*best.tolist(), *itertools.chain.from_iterable(terms)]), math.inf)

    def relax(self, *, backend: BudgetBackend = "native") -> BudgetedRelaxation:
        """The linear relaxation, a vertex; by HiGHS, checked, unless ``backend`` is "native" and numba is installed.

        The bound is recomputed from the multipliers whoever found them.
        """
        if backend == "native" and uses_kernels(backend):
            feasible, x, duals = relax_budgets(self.values, self.costs, self.budgets, self.offsets)
            if x is not None or not feasible:
                return BudgetedRelaxation(x, duals, self.lagrangian_bound(duals) if feasible else -math.inf)
        finite = np.flatnonzero(np.isfinite(self.budgets))
        duals = np.zeros(len(self.budgets))
        blocks = BudgetedBlocks.of(Blocks.of(self.sizes.tolist()), self.costs[finite], self.budgets[finite])
        answer = LinearModel.of(Polyhedron.of_budgeted_blocks(blocks)).minimize(-self.values)
        if answer.x is None or answer.certificate is None or answer.certificate.dual is None:
            return BudgetedRelaxation(None, duals, -math.inf)
        duals[finite] = np.maximum(-answer.certificate.dual[len(self.sizes) :], 0.0)
        return BudgetedRelaxation(answer.x, duals, self.lagrangian_bound(duals))

    def solve(self, *, backend: BudgetBackend = "native", time_limit_seconds: float | None = None) -> BinaryAnswer:
        """The exact optimum; its support holds one option a group, in order.

        Args:
            backend: "native" is the compiled branch and bound, or "highs" where numba is not installed.
            time_limit_seconds: stop then with the best selection so far and its true gap.

        Raises:
            SolverError: see :func:`solvers.backends.binary.maximize_binary`.
        """
        if backend == "native" and uses_kernels(backend):
            found = solve_budgets(self.values, self.costs, self.budgets, self.offsets, time_limit_seconds=time_limit_seconds)
            if found.choices is None or self.fits(found.choices):
                return BinaryAnswer(found.status, found.choices, found.value, found.bound, 0)
            # Two floats carry 106 bits of a sum; where even those round to the other side, the other solver decides.
        return self._mixed_integer("scipy" if backend == "scipy" else "highs", time_limit_seconds)

    def _mixed_integer(self, backend: Literal["highs", "scipy"], time_limit_seconds: float | None) -> BinaryAnswer:
        """The same through a mixed-integer solver."""
        n, groups = len(self.values), len(self.sizes)
        # Values below each group's best: the solver sees no common offset, and its relative tolerances mean something.
        best = np.maximum.reduceat(self.values, self.offsets[:-1])
        shifted = self.values - np.repeat(best, self.sizes)
        fixed = np.zeros(len(self.budgets))
        program = BinaryProgram(shifted, self.offsets, np.arange(n), np.ones(n), np.ones(groups), self.costs, fixed, self.budgets)
        answer = maximize_binary(program, backend=backend, time_limit_seconds=time_limit_seconds)
        if answer.support is None:
            return replace(answer, bound=answer.bound + exact_sum(best))
        value = exact_sum(self.values[answer.support])
        bound = max(value, value + (answer.bound - answer.value))
        close = bound - value <= 1e-9 * max(1.0, abs(value))  # judged again: the shift changed what it is relative to
        status = Status.OPTIMAL if close and answer.status is Status.FEASIBLE else answer.status
        return replace(answer, value=value, bound=bound, status=status)

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
            return None
        support = np.flatnonzero(relaxation.x > 1e-9)  # HiGHS is asked for 1e-10, weights of the native vertex are 1e-9 exact
        answer = self.restrict(support).solve(backend=backend)
        if answer.support is not None:
            return support[answer.support]
        return self.solve(backend=backend).support

    def greedy(self, *, backend: BudgetBackend = "native") -> IntArray | None:
        """From the cheapest selection by falling value per cost, all budgets merged into one by their sizes; None if nothing fits.

        Where the merged cheapest selection does not fit, the start is the exact one of least merged cost that does.
        """
        weights = np.array([1.0 / b if 0.0 < b < math.inf else 1.0 if b == 0.0 else 0.0 for b in self.budgets.tolist()])
        merged = Knapsack(self.values, weights @ self.costs, self.offsets)
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

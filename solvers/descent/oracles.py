"""Linear minimization oracles: the vertex of a feasible set that a gradient likes least.

``min gradient @ x`` over a product of simplices takes the least entry of each block. With one budget more it is the linear
relaxation of a multiple-choice knapsack, ``solvers.knapsack.relaxation.relax``, whose values are what the blocks' totals save:
every block but one keeps one option, and one block at most is split between two (Theorem 3.1). Ties go to the lighter option,
then to the lower index. Each answer's multiplier is a start for the next. Several budgets go to HiGHS.

Reference: Nayman et al., HardCoRe-NAS, Eq. 11 and Theorem 3.1; Sinha and Zoltners, The multiple-choice knapsack problem, 1979;
Dyer, An O(n) algorithm for the multiple-choice knapsack linear program, 1984.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray
from solvers.backends import LinearProgramBackend, linear_program
from solvers.descent.answers import Batch, infeasible, no_batch, refuse, require_finite
from solvers.descent.hull_tables import HullTable
from solvers.kernels import NativeBackend, as_kernel_input, compiled, is_made, run_kernel, uses_kernels
from solvers.knapsack import Knapsack, exact_sum, first_best, relax, relax_along
from solvers.results import Certificate, Result, Status, minimized
from solvers.sets import Blocks, BudgetedBlocks

OracleBackend = NativeBackend | LinearProgramBackend

# A budget met with equality by the cheapest point can be missed by the round-off of its own sum (a few ulps times the number of
# blocks, far below this); a budget missed by more is infeasible.
_RELAXATION = 1e-10


class LinearOracle(Protocol):
    """Anything that minimizes a linear function over the feasible set it stands for."""

    def minimize(self, gradient: FloatArray) -> Result:
        """A vertex that minimizes ``gradient @ x`` (gradient (n,)), with the certificate of the linear program."""
        ...


@dataclass(frozen=True, slots=True)
class SimplexOracle:
    """The oracle of ``blocks`` alone: each block's whole total on its least entry, the first of equals.

    Example:
        >>> SimplexOracle(Blocks.of([2, 3])).minimize(np.array([1.0, 0.0, 3.0, 4.0, 2.0])).x.tolist()
        [0.0, 1.0, 0.0, 0.0, 1.0]
    """

    blocks: Blocks

    def minimize(self, gradient: FloatArray) -> Result:
        """Minimize ``gradient @ x``, gradient (dimension,).

        Raises:
            ValueError: a gradient of another shape, or NaN.
        """
        began = time.perf_counter()
        costs = np.asarray(gradient, dtype=np.float64)
        if costs.shape != (self.blocks.dimension,) or np.isnan(costs).any():
            refuse(costs, self.blocks.dimension)
        x = np.zeros(self.blocks.dimension)
        x[first_best(-costs, np.asarray(self.blocks.offsets))] = self.blocks.totals
        value = float(costs @ x)
        certificate = Certificate(value, value, 0.0, np.zeros(0), maximize=False)
        return Result(x, Status.OPTIMAL, certificate, 1, time.perf_counter() - began)


@dataclass(frozen=True, slots=True, eq=False)
class BudgetOracle:
    """The oracle of :class:`BudgetedBlocks`; what does not depend on the gradient is prepared once. Build it with :meth:`of`.

    ``dual`` in its certificates holds one multiplier >= 0 a budget: the fall of the optimum per unit of more budget.

    Example:
        >>> oracle = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([2, 2]), [1.0, 4.0, 1.0, 2.0], 4.5))
        >>> answer = oracle.minimize(np.array([0.0, -3.0, 0.0, -2.0]))
        >>> answer.x.tolist(), answer.certificate.dual.tolist()
        ([0.5, 0.5, 0.0, 1.0], [1.0])
    """

    feasible: BudgetedBlocks
    backend: OracleBackend
    _shape: tuple[int] = field(repr=False)
    _solve: Callable[[FloatArray, float], Result] = field(repr=False)
    _solve_many: Callable[[FloatArray, float], Batch | None] = field(repr=False)

    @classmethod
    def of(
        cls, feasible: BudgetedBlocks, backend: OracleBackend | None = None, *, relaxation: ArrayLike | None = None
    ) -> BudgetOracle:
        """Prepare the oracle.

        Args:
            feasible: the blocks and their budgets.
            backend: "native" (one budget, no LP solver: kernels where numba is installed, else numpy), "numpy" (the same without
                numba), "highs" (a persistent model), "scipy" (linprog), "cvxpy" (HiGHS simplex). None takes "native" for one budget
                and "highs" for several.
            relaxation: how far, in the budgets' own units (a number or (m,)), a budget may be exceeded when nothing else
                fits: the round-off of a sum that should meet it with equality. None means 1e-10 of each capacity's magnitude.
                Native only relaxes for the lightest point, so an answer that can fit does fit.

        Raises:
            ValueError: an unknown backend, or "native" or "numpy" with other than one budget.
        """
        rows = len(feasible.capacities)
        chosen: OracleBackend = backend or ("native" if rows == 1 else "highs")
        if chosen not in ("native", "numpy", "highs", "scipy", "cvxpy"):
            raise ValueError(f"backend: expected 'native', 'numpy', 'highs', 'scipy' or 'cvxpy', got {backend!r}")
        if chosen in ("native", "numpy") and rows != 1:
            raise ValueError(f"backend {chosen!r} solves one budget, got {rows}: use backend='highs'")
        slack = (
            _RELAXATION * np.abs(feasible.capacities)
            if relaxation is None
            else np.broadcast_to(np.asarray(relaxation, dtype=np.float64), (rows,))
        )
        shape = (feasible.blocks.dimension,)
        if chosen == "native" and uses_kernels(chosen):
            return cls(feasible, chosen, shape, *_by_kernels(feasible, float(slack[0])))
        if chosen == "native" or chosen == "numpy":
            return cls(feasible, chosen, shape, _by_numpy(feasible, float(slack[0])), lambda gradients, start: None)
        return cls(feasible, chosen, shape, _general(feasible, chosen, slack), lambda gradients, start: None)

    def minimize(self, gradient: FloatArray, *, start: float = 0.0) -> Result:
        """Minimize ``gradient @ x``, gradient (dimension,). Status.INFEASIBLE names the least cost where no point fits.

        Args:
            gradient: (dimension,).
            start: the multiplier to start from with one budget, ``certificate.dual[0]`` of a similar gradient; 0 where none is
                known. It saves time and does not change the answer. The other back ends keep a start of their own.

        Raises:
            ValueError: a gradient of another shape, NaN or infinite.
            SolverError: a back end fails.
        """
        costs = np.asarray(gradient, dtype=np.float64)
        if costs.shape != self._shape:
            refuse(costs, self._shape[0])
        return self._solve(costs, start)

    def minimize_many(self, gradients: ArrayLike, *, start: float = 0.0) -> Batch:
        """Minimize ``gradients @ x`` row by row, gradients (k, dimension), each from the multiplier of the one before.

        Raises:
            ValueError: gradients of another shape, NaN or infinite.
            SolverError: a back end fails.
        """
        began = time.perf_counter()
        rows = np.asarray(gradients, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1:] != self._shape:
            raise ValueError(f"gradients: expected shape (k, {self._shape[0]}), got {rows.shape}")
        together = self._solve_many(rows, start)
        if together is not None:
            return together
        x, primal, bound, violation = np.empty(rows.shape), *np.empty((3, len(rows)))
        dual = np.empty((len(rows), len(self.feasible.capacities)))
        for row, costs in enumerate(rows):
            answer = self._solve(costs, start)
            evidence = answer.certificate
            if answer.x is None or evidence is None or evidence.dual is None:
                return no_batch(self.feasible, len(rows), answer.message, time.perf_counter() - began)
            x[row], primal[row], bound[row], violation[row] = answer.x, evidence.primal, evidence.bound, evidence.violation
            dual[row] = evidence.dual
            start = float(evidence.dual[0])
        return Batch(Status.OPTIMAL, x, primal, bound, dual, violation, time.perf_counter() - began)


@dataclass(frozen=True, slots=True, eq=False)
class _OneBudget:
    """What does not depend on the gradient with one budget: everything is per unit of a block times its total."""

    weights: FloatArray  # (n,) of whole totals
    offsets: IntArray
    order: IntArray  # (n,): each block's options by rising weight, the first of equals first
    least: float  # of all points
    budget: float  # the capacity, or the least cost where that exceeds it by round-off only
    steepest: float  # the greatest multiplier whose products fit a float; any multiplier proves a bound

    @classmethod
    def of(cls, feasible: BudgetedBlocks, slack: float) -> _OneBudget:
        blocks, capacity = feasible.blocks, float(feasible.capacities[0])
        weights = feasible.weights[0] * np.repeat(blocks.totals, blocks.sizes)
        offsets = np.asarray(blocks.offsets, dtype=np.intp)
        order = np.lexsort((weights, np.repeat(np.arange(blocks.count), blocks.sizes)))
        least = exact_sum(weights[order[offsets[:-1]]])
        budget = least if capacity < least <= capacity + slack else capacity
        steepest = 1e300 / max(1.0, abs(budget), float(np.abs(weights).max()))
        return cls(weights, offsets, order, least, budget, steepest)


def _by_kernels(
    feasible: BudgetedBlocks, slack: float
) -> tuple[Callable[[FloatArray, float], Result], Callable[[FloatArray, float], Batch | None]]:
    """One budget, compiled."""
    from solvers.kernels import oracle as kernels

    fixed, n = _OneBudget.of(feasible, slack), feasible.blocks.dimension
    if fixed.least > fixed.budget:
        return _impossible(feasible)
    limits = fixed.budget, float(feasible.capacities[0]), fixed.steepest
    numbers = np.concatenate([limits, feasible.blocks.totals, fixed.weights])
    indices = np.concatenate([fixed.offsets, fixed.order])
    machine: Any = None  # code for one gradient, looked up once: a call takes a few microseconds

    def solve(gradient: FloatArray, start: float) -> Result:
        nonlocal machine
        began = time.perf_counter()
        x, dual = np.empty(n), np.empty(1)
        arguments = as_kernel_input(gradient), numbers, indices, start, x, dual
        if machine is None and is_made(kernels.minimize):
            machine = compiled(kernels.minimize)
        if machine is None:
            primal, bound, excess = run_kernel(kernels.minimize, n, *arguments)
        else:
            primal, bound, excess = machine(*arguments)
        if primal != primal:
            refuse(gradient, n)
        return minimized(x, primal, bound, excess if excess > 0.0 else 0.0, dual, began)

    def solve_many(gradients: FloatArray, start: float) -> Batch | None:
        began = time.perf_counter()
        points, duals, figures = np.empty(gradients.shape), np.empty((len(gradients), 1)), np.empty((len(gradients), 3))
        run_kernel(
            kernels.minimize_many, gradients.size, as_kernel_input(gradients), numbers, indices, start, points, duals, figures
        )
        if np.isnan(figures).any():
            refuse(gradients, n)
        primal, bound, excess = figures.T.copy()
        return Batch(Status.OPTIMAL, points, primal, bound, duals, np.maximum(excess, 0.0), time.perf_counter() - began)

    return solve, solve_many


def _by_numpy(feasible: BudgetedBlocks, slack: float) -> Callable[[FloatArray, float], Result]:
    """One budget in numpy, in the same units; small hulls come from a table of all pairs of options, larger ones from ``relax``."""
    fixed, blocks, capacity = _OneBudget.of(feasible, slack), feasible.blocks, float(feasible.capacities[0])
    if fixed.least > fixed.budget:
        return _impossible(feasible)[0]
    totals, per_unit, offsets = np.repeat(blocks.totals, blocks.sizes), feasible.weights[0], fixed.offsets
    hulls = HullTable.of(fixed.weights, offsets)

    def solve(gradient: FloatArray, start: float) -> Result:
        began = time.perf_counter()
        require_finite(gradient)
        program = Knapsack(-gradient * totals, fixed.weights, offsets)
        steps = None if hulls is None else hulls.increments(program.values)
        if steps is None:
            answer = relax(program, fixed.budget, start=start, backend="numpy")
        else:
            answer = relax_along(program, fixed.budget, steps)
        x, used = np.zeros(blocks.dimension), answer.choices
        x[used] = blocks.totals
        if answer.costlier >= 0:
            group = offsets.searchsorted(answer.costlier, side="right") - 1
            x[answer.costlier] = answer.fraction * blocks.totals[group]
            x[used[group]] = blocks.totals[group] - x[answer.costlier]
            used = np.append(used, answer.costlier)
        # Sums over the support only: a product of all n is left to threads that may have to wait for a processor.
        share = x[used]
        primal = float((gradient[used] * share).sum())
        excess = float((per_unit[used] * share).sum()) - capacity
        return minimized(x, primal, -answer.bound, max(0.0, excess), np.array([answer.dual]), began)

    return solve


def _impossible(
    feasible: BudgetedBlocks,
) -> tuple[Callable[[FloatArray, float], Result], Callable[[FloatArray, float], Batch | None]]:
    """Nothing fits, whatever the gradient."""

    def solve(gradient: FloatArray, start: float) -> Result:
        began = time.perf_counter()
        require_finite(gradient)
        return infeasible(feasible, 0, time.perf_counter() - began)

    def solve_many(gradients: FloatArray, start: float) -> Batch | None:
        began = time.perf_counter()
        require_finite(gradients)
        return no_batch(feasible, len(gradients), infeasible(feasible, 0, 0.0).message, time.perf_counter() - began)

    return solve, solve_many


def _general(feasible: BudgetedBlocks, backend: LinearProgramBackend, slack: FloatArray) -> Callable[[FloatArray, float], Result]:
    """Any number of budgets by an LP solver; only where that says infeasible are the budgets relaxed by ``slack``."""
    solve_strictly = linear_program(feasible, backend)
    solve_relaxed: Callable[[FloatArray], Result] | None = None

    def solve(gradient: FloatArray, start: float) -> Result:
        nonlocal solve_relaxed
        began = time.perf_counter()
        require_finite(gradient)
        result = solve_strictly(gradient)
        if result.status is Status.INFEASIBLE:
            if solve_relaxed is None:
                relaxed = BudgetedBlocks.of(feasible.blocks, feasible.weights, feasible.capacities + slack)
                solve_relaxed = linear_program(relaxed, backend)
            result = solve_relaxed(gradient)
        if result.x is None or result.certificate is None:
            return infeasible(feasible, result.iterations, time.perf_counter() - began)
        x = _tidy(feasible.blocks, result.x)
        evidence = result.certificate
        certificate = Certificate(float(gradient @ x), evidence.bound, feasible.violation(x), evidence.dual, maximize=False)
        return Result(x, result.status, certificate, result.iterations, time.perf_counter() - began)

    return solve


def _tidy(blocks: Blocks, x: FloatArray) -> FloatArray:
    """Take away the solver's round-off (1e-10 was asked): no share below 1e-12 of its block, sums exact but for one rounding."""
    share = np.where(x < 1e-12 * np.repeat(blocks.totals, blocks.sizes), 0.0, x)
    sums = np.add.reduceat(share, blocks.offsets[:-1])
    return share * np.repeat(blocks.totals / sums, blocks.sizes)

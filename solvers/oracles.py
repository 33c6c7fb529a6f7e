"""Linear minimisation oracles: the vertex of a feasible set that a gradient likes least.

``min gradient @ x`` over a product of simplices takes the least entry of each block. With one budget more it is the linear
relaxation of a multiple-choice knapsack, ``solvers.mckp.relax``, whose values are what the blocks' totals save: every block but one
keeps one option, and one block at most is split between two (Theorem 3.1). Ties go to the lighter option, then to the lower index.
Each answer's multiplier is a start for the next. Several budgets go to HiGHS.

Reference: Nayman et al., HardCoRe-NAS, Eq. 11 and Theorem 3.1; Sinha and Zoltners, The multiple-choice knapsack problem, 1979;
Dyer, An O(n) algorithm for the multiple-choice knapsack linear program, 1984.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.kernels import Path, compiles, ready
from solvers.linear_programs import LinearProgramBackend, linear_program
from solvers.mckp import Knapsack, exact_sum, relax
from solvers.results import Certificate, Result, Status
from solvers.sets import Blocks, BudgetedBlocks, FloatArray

__all__ = ["Batch", "BudgetOracle", "LinearOracle", "OracleBackend", "SimplexOracle"]

OracleBackend = Path | LinearProgramBackend
IntegerArray = NDArray[np.int64]

# A budget met with equality by the cheapest point can be missed by the round-off of its own sum (a few ulps times the number of
# blocks, far below this); a budget missed by more is infeasible.
_RELAXATION = 1e-10


class LinearOracle(Protocol):
    """Anything that minimises a linear function over the feasible set it stands for."""

    def minimise(self, gradient: FloatArray) -> Result:
        """A vertex that minimises ``gradient @ x`` (gradient (n,)), with the certificate of the linear program."""
        ...


@dataclass(frozen=True, slots=True)
class SimplexOracle:
    """The oracle of ``blocks`` alone: each block's whole total on its least entry, the first of equals."""

    blocks: Blocks

    def minimise(self, gradient: FloatArray) -> Result:
        """Minimise ``gradient @ x``, gradient (dimension,).

        Raises:
            ValueError: a gradient of another shape, or NaN.
        """
        began = time.perf_counter()
        costs = _gradient(gradient, self.blocks.dimension)
        padded, column = _by_block(self.blocks, costs)
        choice = padded.argmin(axis=1)
        x = np.zeros(self.blocks.dimension)
        x[column[np.arange(self.blocks.count), choice]] = self.blocks.totals
        value = float(costs @ x)
        certificate = Certificate(value, value, 0.0, np.zeros(0), maximise=False)
        return Result(x, Status.OPTIMAL, certificate, 1, time.perf_counter() - began)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Answers to k gradients.

    Attributes:
        status: of all of them: whether anything fits does not depend on the gradient.
        x: (k, dimension) vertices; None where nothing fits.
        primal, bound: (k,) objectives and lower bounds.
        dual: (k, m) multipliers >= 0.
        violation: (k,) greatest excess over a budget.
        seconds: what the call took.
        message: the least cost there is, where nothing fits.
    """

    status: Status
    x: FloatArray | None
    primal: FloatArray
    bound: FloatArray
    dual: FloatArray
    violation: FloatArray
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class BudgetOracle:
    """The oracle of :class:`BudgetedBlocks`; what does not depend on the gradient is prepared once. Build it with :meth:`of`.

    ``dual`` in its certificates holds one multiplier >= 0 a budget: the fall of the optimum per unit of more budget.
    """

    feasible: BudgetedBlocks
    backend: OracleBackend
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
        if chosen == "native" and compiles(chosen):
            return cls(feasible, chosen, *_by_kernels(feasible, float(slack[0])))
        if chosen == "native" or chosen == "numpy":
            return cls(feasible, chosen, _by_numpy(feasible, float(slack[0])), lambda gradients, start: None)
        return cls(feasible, chosen, _general(feasible, chosen, slack), lambda gradients, start: None)

    def minimise(self, gradient: FloatArray, *, start: float = 0.0) -> Result:
        """Minimise ``gradient @ x``, gradient (dimension,). Status.INFEASIBLE names the least cost where no point fits.

        Args:
            gradient: (dimension,).
            start: the multiplier to start from with one budget, ``certificate.dual[0]`` of a similar gradient; 0 where none is
                known. It saves time and does not change the answer. The other back ends keep a start of their own.

        Raises:
            ValueError: a gradient of another shape, NaN or infinite.
            SolverError: a back end fails.
        """
        costs = np.asarray(gradient, dtype=np.float64)
        if costs.shape != (self.feasible.blocks.dimension,):
            _refuse(costs, self.feasible.blocks.dimension)
        return self._solve(costs, start)

    def minimise_many(self, gradients: ArrayLike, *, start: float = 0.0) -> Batch:
        """Minimise ``gradients @ x`` row by row, gradients (k, dimension), each from the multiplier of the one before.

        Raises:
            ValueError: gradients of another shape, NaN or infinite.
            SolverError: a back end fails.
        """
        began = time.perf_counter()
        rows = np.asarray(gradients, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.feasible.blocks.dimension:
            raise ValueError(f"gradients: expected shape (k, {self.feasible.blocks.dimension}), got {rows.shape}")
        together = self._solve_many(rows, start)
        if together is not None:
            return together
        x, primal, bound, violation = np.empty(rows.shape), *np.empty((3, len(rows)))
        dual = np.empty((len(rows), len(self.feasible.capacities)))
        for row, costs in enumerate(rows):
            answer = self._solve(costs, start)
            evidence = answer.certificate
            if answer.x is None or evidence is None or evidence.dual is None:
                return _no_batch(self.feasible, len(rows), answer.message, time.perf_counter() - began)
            x[row], primal[row], bound[row], violation[row] = answer.x, evidence.primal, evidence.bound, evidence.violation
            dual[row] = evidence.dual
            start = float(evidence.dual[0])
        return Batch(Status.OPTIMAL, x, primal, bound, dual, violation, time.perf_counter() - began)


def _gradient(gradient: FloatArray, dimension: int) -> FloatArray:
    costs = np.asarray(gradient, dtype=np.float64)
    if costs.shape != (dimension,) or np.isnan(costs).any():
        _refuse(costs, dimension)
    return costs


def _finite(costs: FloatArray) -> None:
    """One pass: a sum is finite only if every term is; a sum that overflows takes the second, exact look."""
    if not math.isfinite(float(costs.sum())) and not np.isfinite(costs).all():
        _refuse(costs, costs.shape[-1])


def _refuse(costs: FloatArray, dimension: int) -> NoReturn:
    """Say what is wrong with a gradient."""
    if costs.shape[-1:] != (dimension,) or costs.ndim > 2:
        raise ValueError(f"gradient: expected shape ({dimension},), got {costs.shape}")
    position = np.argwhere(np.isnan(costs))
    if len(position):
        at = int(position[0][0]) if costs.ndim == 1 else tuple(position[0].tolist())
        raise ValueError(f"gradient: NaN at index {at}")
    raise ValueError("gradient: expected finite entries, got an infinite one")


def _columns(blocks: Blocks) -> tuple[IntegerArray, NDArray[np.bool_] | None]:
    """Column of each (block, option) in a point, (count, widest), and which cells lie past a block (None: none do)."""
    widest = max(blocks.sizes)
    if min(blocks.sizes) == widest:
        return np.arange(blocks.dimension).reshape(blocks.count, widest), None
    sizes = np.asarray(blocks.sizes)[:, None]
    past = np.arange(widest) >= sizes
    return np.where(past, 0, np.asarray(blocks.offsets[:-1])[:, None] + np.arange(widest)), past


def _by_block(blocks: Blocks, values: FloatArray) -> tuple[FloatArray, IntegerArray]:
    """``values`` as (count, widest), infinite past a block's end, and the columns they come from."""
    column, past = _columns(blocks)
    padded = values[column]
    if past is not None:
        padded[past] = np.inf
    return padded, column


def least_cost(feasible: BudgetedBlocks, row: int) -> float:
    """The least that any point of the blocks costs under budget ``row`` alone."""
    padded, _ = _by_block(feasible.blocks, feasible.weights[row])
    return float(padded.min(axis=1) @ feasible.blocks.totals)


def _infeasible(feasible: BudgetedBlocks, iterations: int, seconds: float) -> Result:
    """Name the budgets that cannot be met, or say that they clash."""
    least = [least_cost(feasible, row) for row in range(len(feasible.capacities))]
    missed = [
        f"budget {row} is {capacity!r}, the least cost there is is {cost!r}"
        for row, (capacity, cost) in enumerate(zip(feasible.capacities.tolist(), least, strict=True))
        if cost > capacity
    ]
    clash = f"each of the {len(least)} budgets can be met alone, not all together (least costs {least})"
    return Result(None, Status.INFEASIBLE, None, iterations, seconds, "; ".join(missed) or clash)


def _by_kernels(
    feasible: BudgetedBlocks, slack: float
) -> tuple[Callable[[FloatArray, float], Result], Callable[[FloatArray, float], Batch | None]]:
    """One budget, compiled: everything is per unit of a block times its total."""
    from solvers import kernels_oracle as kernels

    blocks, capacity = feasible.blocks, float(feasible.capacities[0])
    n, totals = blocks.dimension, blocks.totals.copy()
    offsets = np.asarray(blocks.offsets, dtype=np.intp)
    weights = feasible.weights[0] * np.repeat(totals, blocks.sizes)
    prepared = weights, totals, offsets, capacity, slack

    def solve(gradient: FloatArray, start: float) -> Result:
        began = time.perf_counter()
        x = np.empty(n)
        state, primal, bound, dual, excess = kernels.minimise(ready(gradient), *prepared, start, x)
        if state != kernels.FEASIBLE:
            if state == kernels.UNREADABLE:
                _refuse(gradient, n)
            return _infeasible(feasible, 0, time.perf_counter() - began)
        certificate = Certificate(primal, bound, max(0.0, excess), np.array([dual]), False)
        return Result(x, Status.OPTIMAL, certificate, 1, time.perf_counter() - began)

    def solve_many(gradients: FloatArray, start: float) -> Batch | None:
        began = time.perf_counter()
        points, figures = np.empty(gradients.shape), np.empty((len(gradients), 5))
        kernels.minimise_many(ready(gradients), *prepared, start, points, figures)
        if (figures[:, 0] == kernels.UNREADABLE).any():
            _refuse(gradients, n)
        if (figures[:, 0] == kernels.INFEASIBLE).any():
            message = _infeasible(feasible, 0, 0.0).message
            return _no_batch(feasible, len(gradients), message, time.perf_counter() - began)
        _, primal, bound, dual, excess = figures.T.copy()
        return Batch(Status.OPTIMAL, points, primal, bound, dual[:, None], np.maximum(excess, 0.0), time.perf_counter() - began)

    return solve, solve_many


def _by_numpy(feasible: BudgetedBlocks, slack: float) -> Callable[[FloatArray, float], Result]:
    """One budget through ``relax`` on its numpy path, in the same units."""
    blocks, capacity = feasible.blocks, float(feasible.capacities[0])
    totals = np.repeat(blocks.totals, blocks.sizes)
    offsets = np.asarray(blocks.offsets, dtype=np.intp)
    weights = feasible.weights[0] * totals

    def solve(gradient: FloatArray, start: float) -> Result:
        began = time.perf_counter()
        _finite(gradient)
        program, budget = Knapsack(-gradient * totals, weights, offsets), capacity
        answer = relax(program, budget, start=start, backend="numpy")
        if answer.status is Status.INFEASIBLE:
            budget = exact_sum(weights[answer.choices])
            if budget > capacity + slack:
                return _infeasible(feasible, 0, time.perf_counter() - began)
            answer = relax(program, budget, backend="numpy")
        x = np.zeros(blocks.dimension)
        x[answer.choices] = blocks.totals
        used = answer.choices
        if answer.dearer >= 0:
            group = np.searchsorted(offsets, answer.dearer, side="right") - 1
            x[answer.dearer] = answer.fraction * blocks.totals[group]
            x[answer.choices[group]] = blocks.totals[group] - x[answer.dearer]
            used = np.append(used, answer.dearer)
        # Sums over the support only: a product of all n is left to threads that may have to wait for a processor.
        primal = float((gradient[used] * x[used]).sum())
        excess = float((feasible.weights[0][used] * x[used]).sum()) - capacity
        certificate = Certificate(primal, -answer.bound, max(0.0, excess), np.array([answer.dual]), maximise=False)
        return Result(x, Status.OPTIMAL, certificate, 1, time.perf_counter() - began)

    return solve


def _no_batch(feasible: BudgetedBlocks, rows: int, message: str, seconds: float) -> Batch:
    figures, dual = np.full((3, rows), np.inf), np.zeros((rows, len(feasible.capacities)))
    return Batch(Status.INFEASIBLE, None, figures[0], figures[1], dual, figures[2], seconds, message)


def _general(feasible: BudgetedBlocks, backend: LinearProgramBackend, slack: FloatArray) -> Callable[[FloatArray, float], Result]:
    """Any number of budgets by an LP solver; only where that says infeasible are the budgets relaxed by ``slack``."""
    solve_strictly = linear_program(feasible, backend)
    solve_relaxed: Callable[[FloatArray], Result] | None = None

    def solve(gradient: FloatArray, start: float) -> Result:
        nonlocal solve_relaxed
        began = time.perf_counter()
        _finite(gradient)
        result = solve_strictly(gradient)
        if result.status is Status.INFEASIBLE:
            if solve_relaxed is None:
                relaxed = BudgetedBlocks.of(feasible.blocks, feasible.weights, feasible.capacities + slack)
                solve_relaxed = linear_program(relaxed, backend)
            result = solve_relaxed(gradient)
        if result.x is None or result.certificate is None:
            return _infeasible(feasible, result.iterations, time.perf_counter() - began)
        x = _tidy(feasible.blocks, result.x)
        evidence = result.certificate
        certificate = Certificate(float(gradient @ x), evidence.bound, feasible.violation(x), evidence.dual, maximise=False)
        return Result(x, result.status, certificate, result.iterations, time.perf_counter() - began)

    return solve


def _tidy(blocks: Blocks, x: FloatArray) -> FloatArray:
    """Take away the solver's round-off (1e-10 was asked): no share below 1e-12 of its block, sums exact but for one rounding."""
    share = np.where(x < 1e-12 * np.repeat(blocks.totals, blocks.sizes), 0.0, x)
    sums = np.add.reduceat(share, blocks.offsets[:-1])
    return share * np.repeat(blocks.totals / sums, blocks.sizes)

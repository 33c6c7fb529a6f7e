"""Linear minimisation oracles: the vertex of a feasible set that a gradient likes least.

``min gradient @ x`` over a product of simplices takes the least entry of each block. With one budget more it is the linear
relaxation of a multiple-choice knapsack, solved here without an LP solver: the Lagrangian ``min_x (gradient + lam * weights) @ x
- lam * capacity`` is concave and piecewise linear in the multiplier, and the walk below intersects its supporting lines from both
sides until they meet at the critical multiplier. There every block but one keeps one option, and one block at most is split
between two (Theorem 3.1). No hull is built and nothing is sorted. Ties go to the lighter option, then to the lower index. Several
budgets go to HiGHS.

Reference: Nayman et al., HardCoRe-NAS, Eq. 11 and Theorem 3.1; Sinha and Zoltners, The multiple-choice knapsack problem, 1979;
Dyer, An O(n) algorithm for the multiple-choice knapsack linear program, 1984.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.linear_programs import LinearProgramBackend, linear_program
from solvers.results import Certificate, Result, Status
from solvers.sets import Blocks, BudgetedBlocks, FloatArray

__all__ = ["BudgetOracle", "LinearOracle", "OracleBackend", "SimplexOracle"]

OracleBackend = Literal["native"] | LinearProgramBackend
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
class BudgetOracle:
    """The oracle of :class:`BudgetedBlocks`; what does not depend on the gradient is prepared once. Build it with :meth:`of`.

    ``dual`` in its certificates holds one multiplier >= 0 a budget: the fall of the optimum per unit of more budget.
    """

    feasible: BudgetedBlocks
    backend: OracleBackend
    _solve: Callable[[FloatArray], Result] = field(repr=False)

    @classmethod
    def of(
        cls, feasible: BudgetedBlocks, backend: OracleBackend | None = None, *, relaxation: ArrayLike | None = None
    ) -> BudgetOracle:
        """Prepare the oracle.

        Args:
            feasible: the blocks and their budgets.
            backend: "native" (one budget, no LP solver), "highs" (a persistent model), "scipy" (linprog), "cvxpy" (HiGHS simplex).
                None takes "native" for one budget and "highs" for several.
            relaxation: how far, in the budgets' own units (a number or (m,)), a budget may be exceeded when nothing else
                fits: the round-off of a sum that should meet it with equality. None means 1e-10 of each capacity's magnitude.
                Native only relaxes for the lightest point, so an answer that can fit does fit.

        Raises:
            ValueError: an unknown backend, or "native" with other than one budget.
        """
        rows = len(feasible.capacities)
        chosen: OracleBackend = backend or ("native" if rows == 1 else "highs")
        if chosen not in ("native", "highs", "scipy", "cvxpy"):
            raise ValueError(f"backend: expected 'native', 'highs', 'scipy' or 'cvxpy', got {backend!r}")
        if chosen == "native" and rows != 1:
            raise ValueError(f"backend 'native' solves one budget, got {rows}: use backend='highs'")
        slack = (
            _RELAXATION * np.abs(feasible.capacities)
            if relaxation is None
            else np.broadcast_to(np.asarray(relaxation, dtype=np.float64), (rows,))
        )
        solve = _native(feasible, float(slack[0])) if chosen == "native" else _general(feasible, chosen, slack)
        return cls(feasible, chosen, solve)

    def minimise(self, gradient: FloatArray) -> Result:
        """Minimise ``gradient @ x``, gradient (dimension,). Status.INFEASIBLE names the least cost where no point fits.

        Raises:
            ValueError: a gradient of another shape, NaN or infinite.
            SolverError: a back end fails.
        """
        costs = _gradient(gradient, self.feasible.blocks.dimension)
        if not np.isfinite(costs).all():
            raise ValueError("gradient: expected finite entries, got an infinite one")
        return self._solve(costs)


def _gradient(gradient: FloatArray, dimension: int) -> FloatArray:
    costs = np.asarray(gradient, dtype=np.float64)
    if costs.shape != (dimension,):
        raise ValueError(f"gradient: expected shape ({dimension},), got {costs.shape}")
    if np.isnan(costs).any():
        raise ValueError(f"gradient: NaN at index {int(np.isnan(costs).argmax())}")
    return costs


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


def _native(feasible: BudgetedBlocks, slack: float) -> Callable[[FloatArray], Result]:
    """Prepare the walk over multipliers for one budget; everything is per unit of a block times its total."""
    blocks, capacity = feasible.blocks, float(feasible.capacities[0])
    column, past = _columns(blocks)
    totals, block = blocks.totals[:, None], np.arange(blocks.count)
    weights = feasible.weights[0][column] * totals  # (count, widest)
    padded_weights = weights.copy() if past is None else np.where(past, np.inf, weights)
    least = padded_weights.min(axis=1)
    not_lightest = padded_weights > least[:, None]
    least_weight = float(least.sum())
    # A weight of 1e-300 asks for an infinite multiplier. Any multiplier proves a bound, so a product that still fits a double
    # will do.
    ceiling = 1e300 / max(1.0, float(np.abs(weights).max()), abs(capacity))

    def solve(gradient: FloatArray) -> Result:
        began = time.perf_counter()
        if least_weight > capacity + slack:
            return _infeasible(feasible, 0, time.perf_counter() - began)
        costs = gradient[column] * totals
        if past is not None:
            costs[past] = np.inf
        cheapest = costs.min(axis=1)
        heavy = np.where(costs > cheapest[:, None], np.inf, padded_weights).argmin(axis=1)  # multiplier 0
        heavy_weight = float(weights[block, heavy].sum())
        if heavy_weight <= capacity:
            x = _spread(blocks, column, heavy)
            return _certified(gradient, x, float(cheapest.sum()), 0.0, feasible, 1, began)
        light = np.where(not_lightest, np.inf, costs).argmin(axis=1)  # infinite multiplier
        light_weight, light_cost = least_weight, float(costs[block, light].sum())
        heavy_cost = float(cheapest.sum())
        if light_weight >= capacity:  # only the lightest point fits (or does, but for round-off)
            multiplier = min(_steepest(costs, weights, light, past), ceiling)
            bound = float((costs + multiplier * weights).min(axis=1).sum() - multiplier * capacity)
            return _certified(gradient, _spread(blocks, column, light), bound, multiplier, feasible, 1, began)
        iterations = 1
        while True:
            # light_weight < capacity < heavy_weight, and both choices minimise the Lagrangian, each at a multiplier of its side.
            multiplier = min((light_cost - heavy_cost) / (heavy_weight - light_weight), ceiling)
            lagrangian = costs + multiplier * weights
            choice = lagrangian.argmin(axis=1)
            weight, cost = float(weights[block, choice].sum()), float(costs[block, choice].sum())
            iterations += 1
            # A new line below both old ones lies strictly between them. Anything else means that they meet here, but for round-off.
            below = cost + multiplier * weight < light_cost + multiplier * light_weight
            if not (below and light_weight < weight < heavy_weight):
                break
            if weight <= capacity:
                light, light_weight, light_cost = choice, weight, cost
            else:
                heavy, heavy_weight, heavy_cost = choice, weight, cost
        bound = float(lagrangian.min(axis=1).sum() - multiplier * capacity)
        x = _between(blocks, column, weights, light, heavy, capacity)
        return _certified(gradient, x, bound, multiplier, feasible, iterations, began)

    return solve


def _steepest(costs: FloatArray, weights: FloatArray, light: IntegerArray, past: NDArray[np.bool_] | None) -> float:
    """The least multiplier at which the lightest choice minimises the Lagrangian: the greatest saving per unit of weight."""
    block = np.arange(len(light))
    heavier = weights - weights[block, light][:, None]
    saving = costs[block, light][:, None] - costs
    usable = heavier > 0 if past is None else (heavier > 0) & ~past
    with np.errstate(over="ignore"):
        slopes = np.divide(saving, heavier, out=np.zeros_like(saving), where=usable)
    return float(slopes.max(initial=0.0))


def _spread(blocks: Blocks, column: IntegerArray, choice: IntegerArray) -> FloatArray:
    x = np.zeros(blocks.dimension)
    x[column[np.arange(blocks.count), choice]] = blocks.totals
    return x


def _between(
    blocks: Blocks, column: IntegerArray, weights: FloatArray, light: IntegerArray, heavy: IntegerArray, capacity: float
) -> FloatArray:
    """Move blocks from their light to their heavy option, first blocks first, and split the one that meets the budget."""
    block = np.arange(blocks.count)
    light_weights, heavy_weights = weights[block, light], weights[block, heavy]
    # Sums after the first k moves, k = 0..count; the last exceeds the capacity, the first does not.
    after = light_weights.sum() + np.concatenate([[0.0], np.cumsum(heavy_weights - light_weights)])
    over = after[1:] > capacity
    if not over.any():  # summed in this order, all the heavy options fit after all
        return _spread(blocks, column, heavy)
    critical = int(over.argmax())
    x = _spread(blocks, column, np.where(block < critical, heavy, light))
    if light[critical] != heavy[critical]:
        share = (capacity - after[critical]) / (after[critical + 1] - after[critical])
        moved = min(max(float(share), 0.0), 1.0) * blocks.totals[critical]
        x[column[critical, light[critical]]] = blocks.totals[critical] - moved
        x[column[critical, heavy[critical]]] = moved
    return x


def _certified(
    gradient: FloatArray, x: FloatArray, bound: float, multiplier: float, feasible: BudgetedBlocks, iterations: int, began: float
) -> Result:
    excess = float(feasible.weights[0] @ x - feasible.capacities[0])
    certificate = Certificate(float(gradient @ x), bound, max(0.0, excess), np.array([multiplier]), maximise=False)
    return Result(x, Status.OPTIMAL, certificate, iterations, time.perf_counter() - began)


def _general(feasible: BudgetedBlocks, backend: LinearProgramBackend, slack: FloatArray) -> Callable[[FloatArray], Result]:
    """Any number of budgets by an LP solver; only where that says infeasible are the budgets relaxed by ``slack``."""
    solve_strictly = linear_program(feasible, backend)
    solve_relaxed: Callable[[FloatArray], Result] | None = None

    def solve(gradient: FloatArray) -> Result:
        nonlocal solve_relaxed
        began = time.perf_counter()
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

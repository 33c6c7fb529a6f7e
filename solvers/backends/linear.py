"""Linear programs over blocks under budgets by general solvers: HiGHS kept between solves, scipy's linprog, cvxpy.

The oracle with one budget needs none of them; they solve several budgets, and they are the references it is tested against. All end
in the simplex method, so the answer is a vertex, and every answer is checked by the bound its own multipliers prove.

Reference: Nayman et al., HardCoRe-NAS, Eq. 11 (the linear program of a Frank-Wolfe step).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from solvers.arrays import FloatArray
from solvers.backends.highs import LinearModel, silence_highs
from solvers.backends.polyhedron import Polyhedron
from solvers.results import Certificate, Result, SolverError, Status
from solvers.sets import BudgetedBlocks

LinearProgramBackend = Literal["highs", "scipy", "cvxpy"]

# Asked of the solvers on rows scaled to a greatest entry of 1, their finest setting.
_FEASIBILITY = 1e-10
# Accepted between an answer and the bound of its multipliers, relative to the greatest cost times the sum of the totals.
_ACCEPT = 1e-8


def linear_program(feasible: BudgetedBlocks, backend: LinearProgramBackend) -> Callable[[FloatArray], Result]:
    """Prepare ``min costs @ x`` over ``feasible`` and return the function that solves it for given costs (dimension,).

    Results hold a vertex, the bound of the multipliers, and as dual one multiplier >= 0 a budget. Status.INFEASIBLE has no point.
    The returned function raises SolverError where the back end fails or its answer does not pass the check.

    Raises:
        ValueError: an unknown backend.
    """
    prepare = {"highs": _highs, "scipy": _scipy, "cvxpy": _cvxpy}
    if backend not in prepare:
        raise ValueError(f"backend: expected 'highs', 'scipy' or 'cvxpy', got {backend!r}")
    return prepare[backend](Polyhedron.of_budgeted_blocks(feasible), feasible.blocks.count)


def _highs(polyhedron: Polyhedron, count: int) -> Callable[[FloatArray], Result]:
    model = LinearModel.of(polyhedron)

    def solve(costs: FloatArray) -> Result:
        result = model.minimize(costs)
        evidence = result.certificate
        if evidence is None or evidence.dual is None:
            return result
        dual = np.maximum(-evidence.dual[count:], 0.0)
        certificate = Certificate(evidence.primal, evidence.bound, evidence.violation, dual, maximize=False)
        return Result(result.x, result.status, certificate, result.iterations, result.seconds)

    return solve


def _scipy(polyhedron: Polyhedron, count: int) -> Callable[[FloatArray], Result]:
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    scaled, scale = polyhedron.scaled()
    shape = (len(scaled.row_lower), len(scaled.lower))
    matrix: Any = csr_array((scaled.values, scaled.indices, scaled.starts), shape=shape)  # linprog's stubs know dense arrays only
    bounds = list(zip(scaled.lower.tolist(), scaled.upper.tolist(), strict=True))

    def solve(costs: FloatArray) -> Result:
        began = time.perf_counter()
        unit = float(np.abs(costs).max(initial=0.0)) or 1.0
        answer = linprog(
            costs / unit,
            A_ub=matrix[count:],
            b_ub=scaled.row_upper[count:],
            A_eq=matrix[:count],
            b_eq=scaled.row_upper[:count],
            bounds=bounds,
            method="highs-ds",
            options={"primal_feasibility_tolerance": _FEASIBILITY, "dual_feasibility_tolerance": _FEASIBILITY},
        )
        if answer.status == 2:
            return _no_point(int(answer.nit), began)
        if answer.status != 0 or answer.x is None:
            raise SolverError(f"scipy.optimize.linprog: {answer.message}")
        multipliers = np.concatenate([answer.eqlin.marginals, answer.ineqlin.marginals])
        return _checked(scaled, scale, costs, unit, answer.x, multipliers, count, int(answer.nit), began)

    return solve


def _cvxpy(polyhedron: Polyhedron, count: int) -> Callable[[FloatArray], Result]:
    import cvxpy
    from scipy.sparse import csr_array

    silence_highs()
    scaled, scale = polyhedron.scaled()
    n = len(scaled.lower)
    matrix = csr_array((scaled.values, scaled.indices, scaled.starts), shape=(len(scaled.row_lower), n))
    x, direction = cvxpy.Variable(n), cvxpy.Parameter(n)
    sums = matrix[:count] @ x == scaled.row_upper[:count]
    budgets = matrix[count:] @ x <= scaled.row_upper[count:]
    problem = cvxpy.Problem(cvxpy.Minimize(direction @ x), [sums, budgets, x >= scaled.lower, x <= scaled.upper])
    tolerances = {"primal_feasibility_tolerance": _FEASIBILITY, "dual_feasibility_tolerance": _FEASIBILITY}

    def solve(costs: FloatArray) -> Result:
        began = time.perf_counter()
        unit = float(np.abs(costs).max(initial=0.0)) or 1.0
        direction.value = costs / unit
        try:
            problem.solve(solver=cvxpy.HIGHS, highs_options=tolerances)
        except cvxpy.SolverError as error:
            raise SolverError(f"cvxpy: {error}") from error
        steps = int(problem.solver_stats.num_iters or 0)
        if problem.status in (cvxpy.INFEASIBLE, cvxpy.settings.INFEASIBLE_OR_UNBOUNDED):  # the blocks are bounded
            return _no_point(steps, began)
        if x.value is None or sums.dual_value is None or budgets.dual_value is None:
            raise SolverError(f"cvxpy ended with '{problem.status}'")
        multipliers = -np.concatenate([np.atleast_1d(sums.dual_value), np.atleast_1d(budgets.dual_value)])
        return _checked(scaled, scale, costs, unit, x.value, multipliers, count, steps, began)

    return solve


def _checked(
    scaled: Polyhedron,
    scale: FloatArray,
    costs: FloatArray,
    unit: float,
    x: FloatArray,
    multipliers: FloatArray,
    count: int,
    iterations: int,
    began: float,
) -> Result:
    """Recompute the bound from ``multipliers`` (of scaled rows and costs, HiGHS's sign); refuse an answer that does not meet it."""
    multipliers = scaled.provable(multipliers)
    bound = scaled.dual_bound(costs / unit, multipliers)
    primal = float(costs @ x) / unit
    if scaled.residual(x) > _ACCEPT or abs(primal - bound) > _ACCEPT * max(1.0, float(np.abs(x).sum())):
        raise SolverError(f"the answer's objective {primal!r} does not meet the bound {bound!r} of its own multipliers")
    dual = np.maximum(-multipliers[count:] * unit / scale[count:], 0.0)
    certificate = Certificate(float(costs @ x), bound * unit, scaled.residual(x), dual, maximize=False)
    return Result(x, Status.OPTIMAL, certificate, iterations, time.perf_counter() - began)


def _no_point(iterations: int, began: float) -> Result:
    return Result(None, Status.INFEASIBLE, None, iterations, time.perf_counter() - began, "no point meets all budgets")


def least_by_scipy(
    costs: FloatArray,
    below: tuple[FloatArray, FloatArray],
    equal: tuple[FloatArray, FloatArray],
    bounds: Sequence[tuple[float, float | None]] = ((0.0, None),),
) -> float | None:
    """The least ``costs @ x`` with ``A x <= b`` (``below``) and ``A x = b`` (``equal``); None: no optimum was found.

    Args:
        costs: (n,), like all rows scaled to about 1 by the caller: HiGHS's tolerances are absolute.
        below, equal: a matrix (m, n) and its right-hand side (m,); ``equal`` may have no rows.
        bounds: of each variable, or one pair for all.

    Returns:
        minus infinity where the program is unbounded.
    """
    from scipy.optimize import linprog

    rows: dict[str, Any] = {"A_eq": equal[0], "b_eq": equal[1]} if len(equal[1]) else {}
    answer: Any = linprog(costs, A_ub=below[0], b_ub=below[1], bounds=bounds, method="highs", **rows)
    if answer.status == 3:
        return -math.inf
    return None if answer.fun is None else float(answer.fun)

"""Convex quadratic programs over blocks by cvxpy: a second opinion on the balanced start."""

from __future__ import annotations

import warnings

import numpy as np

from solvers.arrays import FloatArray
from solvers.results import SolverError
from solvers.sets import BudgetedBlocks


def minimize_by_clarabel(feasible: BudgetedBlocks, hessian: FloatArray) -> tuple[FloatArray, int]:
    """The point (n,) of least ``x' H x / 2`` in blocks under one budget, through cvxpy's interior-point method, and its iterations.

    Raises:
        SolverError: no accurate answer.
    """
    import cvxpy

    blocks = feasible.blocks
    x = cvxpy.Variable(blocks.dimension)
    sums = [cvxpy.sum(x[blocks.slice(block)]) == total for block, total in enumerate(blocks.totals.tolist())]
    scale = float(np.abs(feasible.weights).max()) or 1.0  # the solver's tolerance is absolute: the row's greatest entry becomes 1
    budget = (feasible.weights[0] / scale) @ x <= feasible.capacities[0] / scale
    problem = cvxpy.Problem(cvxpy.Minimize(0.5 * cvxpy.quad_form(x, cvxpy.psd_wrap(hessian))), [*sums, budget, x >= 0])
    try:
        with warnings.catch_warnings():  # what it warns of, an inaccurate answer, is an error below
            warnings.simplefilter("ignore")
            problem.solve(solver=cvxpy.CLARABEL)
    except cvxpy.SolverError as error:
        raise SolverError(f"cvxpy: {error}") from error
    if x.value is None or problem.status != cvxpy.OPTIMAL:
        raise SolverError(f"cvxpy ended with '{problem.status}'")
    return np.asarray(x.value, dtype=np.float64), int(problem.solver_stats.num_iters or 0)

"""Zero-one programs whose budgets hold strictly: mixed-integer solvers are exact up to a tolerance, budgets here are not.

``max objective @ x`` over binary x with equality rows and budgets ``fixed_j + costs_j @ x <= budgets_j``. HiGHS accepts a point
that exceeds a row by its tolerance; such a point is caught by ``math.fsum`` over its own costs, cut off (``sum of x over its
support <= size - 1``, which loses nothing else as costs are not negative) and the program is solved again. So the answer always
fits, and the bound remains one for the strict program.

Reference: Balas and Jeroslow, Canonical cuts on the unit hypercube, 1972 (the cut).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends.highs import MixedIntegerModel
from solvers.backends.polyhedron import Polyhedron
from solvers.results import SolverError, Status

MilpBackend = Literal["highs", "scipy"]

_MOST_CUTS = 30  # points within the solver's tolerance of a budget but beyond it; more of them means a hopeless scale


@dataclass(frozen=True, slots=True, eq=False)
class BinaryProgram:
    """``max objective @ x``, x in {0, 1}^n, with the equality rows (CSR) and ``fixed + costs @ x <= budgets``.

    Attributes:
        objective: (n,).
        starts, indices, values: the equality rows; starts has one entry more than ``right``.
        right: (rows,) what they equal.
        costs: (m, n), not negative.
        fixed, budgets: (m,); an infinite budget is none.
    """

    objective: FloatArray
    starts: IntArray
    indices: IntArray
    values: FloatArray
    right: FloatArray
    costs: FloatArray
    fixed: FloatArray
    budgets: FloatArray

    def fits(self, support: IntArray) -> bool:
        """Whether the point with ones at ``support`` meets every budget by its correctly rounded sum."""
        sums = (math.fsum([float(base), *row[support].tolist()]) for base, row in zip(self.fixed, self.costs, strict=True))
        return all(total <= limit for total, limit in zip(sums, self.budgets.tolist(), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class BinaryAnswer:
    """``support`` of the best point found (None if there is none), its value, a bound on all points that fit, and the cuts used.

    ``duals`` are multipliers of the budgets, where the solver has some; ``stopped`` is why it ended before a proof, if known.
    """

    status: Status
    support: IntArray | None
    value: float
    bound: float
    cuts: int
    duals: FloatArray | None = None
    stopped: str = ""


def maximize_binary(
    program: BinaryProgram, *, backend: MilpBackend = "highs", time_limit_seconds: float | None = None
) -> BinaryAnswer:
    """Solve the program to a gap of 0, by the solver's own account, with strict budgets.

    OPTIMAL means a proven gap of at most 1e-9 max(1, |value|); a solver that stops with a greater one gives FEASIBLE.

    Raises:
        SolverError: the solver fails, or keeps proposing points beyond a budget within its tolerance.
    """
    began = time.perf_counter()
    cuts: list[IntArray] = []
    while True:
        left = None if time_limit_seconds is None else max(0.01, time_limit_seconds - (time.perf_counter() - began))
        polyhedron = _polyhedron(program, cuts)
        solve = minimize_by_scipy if backend == "scipy" else _by_highs
        status, x, bound = solve(polyhedron, -program.objective, left)
        if x is None:
            return BinaryAnswer(status, None, -math.inf, -math.inf if status is Status.INFEASIBLE else -bound, len(cuts))
        support = np.flatnonzero(x > 0.5)
        if program.fits(support):
            value = math.fsum(program.objective[support].tolist())
            top = max(-bound, value)
            if status is Status.OPTIMAL and top - value > 1e-9 * max(1.0, abs(value)):
                status = Status.FEASIBLE
            return BinaryAnswer(status, support, value, top, len(cuts))
        cuts.append(support)
        if len(cuts) > _MOST_CUTS:
            raise SolverError(
                f"{backend}: {_MOST_CUTS} selections in turn exceeded a budget by less than the solver's tolerance, as costs "
                "differ by too little beside their size; use backend='native'"
            )


def _polyhedron(program: BinaryProgram, cuts: list[IntArray]) -> Polyhedron:
    """All rows in one matrix: equalities, budgets, cuts."""
    finite = np.flatnonzero(np.isfinite(program.budgets))
    row, column = np.nonzero(program.costs[finite])
    starts = [program.starts, program.starts[-1] + np.searchsorted(row, np.arange(1, len(finite) + 1))]
    if cuts:
        starts.append(program.starts[-1] + len(row) + np.cumsum([len(cut) for cut in cuts]))
    limits = (program.budgets - program.fixed)[finite]
    sizes = np.array([len(cut) - 1.0 for cut in cuts])
    return Polyhedron.from_csr(
        np.concatenate(starts),
        np.concatenate([program.indices, column, *cuts]),
        np.concatenate([program.values, program.costs[finite][row, column], np.ones(sum(len(cut) for cut in cuts))]),
        np.concatenate([program.right, np.full(len(limits) + len(cuts), -np.inf)]),
        np.concatenate([program.right, limits, sizes]),
        np.zeros(len(program.objective)),
        np.ones(len(program.objective)),
    )


def _by_highs(
    polyhedron: Polyhedron, costs: FloatArray, time_limit_seconds: float | None
) -> tuple[Status, FloatArray | None, float]:
    """Status, point and lower bound of the minimum, through highspy."""
    model = MixedIntegerModel.of(polyhedron, np.ones(len(costs), dtype=np.bool_))
    answer = model.minimize(costs, time_limit_seconds=time_limit_seconds)
    bound = None if answer.certificate is None else answer.certificate.bound
    return answer.status, answer.x, -math.inf if bound is None else bound


def minimize_by_scipy(
    polyhedron: Polyhedron, costs: FloatArray, time_limit_seconds: float | None
) -> tuple[Status, FloatArray | None, float]:
    """Status, point and lower bound of the least ``costs @ x`` with x whole, through ``scipy.optimize.milp``.

    Its tolerance on rows cannot be set: rows are scaled, and a point beyond one is for the caller to cut off.

    Raises:
        SolverError: scipy fails.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    scaled, _ = polyhedron.scaled()
    unit = float(np.abs(costs).max(initial=0.0)) or 1.0
    matrix: Any = csr_array((scaled.values, scaled.indices, scaled.starts), shape=(len(scaled.row_lower), len(costs)))
    limit = math.inf if time_limit_seconds is None else time_limit_seconds
    answer = milp(
        costs / unit,
        integrality=np.ones(len(costs), dtype=np.int64),
        bounds=Bounds(scaled.lower, scaled.upper),
        constraints=LinearConstraint(matrix, scaled.row_lower, scaled.row_upper),
        options={"mip_rel_gap": 0.0, "time_limit": limit},
    )
    statuses = {0: Status.OPTIMAL, 1: Status.TIME_LIMIT, 2: Status.INFEASIBLE}
    if answer.status not in statuses:
        raise SolverError(f"scipy.optimize.milp: {answer.message}")
    bound = answer.mip_dual_bound
    return statuses[answer.status], answer.x, -math.inf if bound is None else float(bound) * unit

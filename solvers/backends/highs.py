"""Linear, convex quadratic and mixed-integer programs through HiGHS, with every answer checked.

The program is ``min costs @ x (+ x' H x / 2)`` over a ``Polyhedron``. Rows and costs are scaled to a greatest entry of 1
before HiGHS sees them, because its tolerances are absolute: a latency in seconds and a count of MACs must get the same care. A
linear answer is accepted when it is primal feasible and its dual bound meets its objective; HiGHS 1.15.1 can return a wrong
objective after a hot start (its issue 3294), so an answer that fails the check is solved again cold, and only then given up.

Reference: Huangfu and Hall, Parallelizing the dual revised simplex method, 2018 (HiGHS); Neumaier and Shcherbina, Safe bounds in
linear and mixed-integer programming, 2004 (the bound recomputed from the multipliers).
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray
from solvers.backends.polyhedron import Polyhedron
from solvers.results import Certificate, Result, SolverError, Status

if TYPE_CHECKING:
    import highspy


# Asked of HiGHS on the scaled rows, its finest setting; iterates of Frank-Wolfe must stay feasible to 1e-9.
_FEASIBILITY = 1e-10
# A finer one than HiGHS 1.15.1's internal 1e-9 makes it prune optimal points of programs with continuous entries now and then.
_MIXED_FEASIBILITY = 1e-9
# Entries below it HiGHS takes for 0; its least setting.
_SMALLEST = 1e-12
# Its QP solver gets HiGHS's own default: a finer setting only makes it fail more often, as it does on budgets within a millionth of
# the least cost at any setting.
_QUADRATIC_FEASIBILITY = 1e-7
# Accepted of an answer, relative to the scale of the program: a factor 100 above what was asked, for the unscaled round-off.
_ACCEPT = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """A linear program that stays in HiGHS between solves: only the costs change. Build it with :meth:`of`."""

    polyhedron: Polyhedron
    _scaled: Polyhedron
    _scale: FloatArray
    _solver: highspy.Highs = field(repr=False)

    @classmethod
    def of(cls, polyhedron: Polyhedron) -> LinearModel:
        """Load ``polyhedron`` into a HiGHS model of its own."""
        scaled, scale = polyhedron.scaled()
        solver = _silent_solver()
        _check(solver.passModel(_linear_program(scaled, np.zeros(len(scaled.lower)))), "passModel")
        return cls(polyhedron, scaled, scale, solver)

    def minimize(self, costs: FloatArray) -> Result:
        """Minimize ``costs @ x`` (costs (n,)); ``x`` is a basic solution, a vertex of the polyhedron.

        The certificate's dual holds one multiplier a row in HiGHS's sign: the change of the optimum per unit of the row's bound.

        Raises:
            SolverError: HiGHS fails, says unbounded, or an answer fails the check after a cold solve.
        """
        began = time.perf_counter()
        unit = float(np.abs(costs).max(initial=0.0)) or 1.0
        scaled_costs = costs / unit
        n = len(costs)
        _check(self._solver.changeColsCost(n, np.arange(n, dtype=np.int32), scaled_costs), "changeColsCost")
        for attempt in ("hot", "cold"):
            if attempt == "cold":
                self._solver.clearSolver()
            _check(self._solver.run(), "run")
            status = _status(self._solver)
            if status is Status.INFEASIBLE:
                # A basis kept from another objective can only make this verdict less sure: ask again from nothing.
                if attempt == "cold":
                    return Result(None, status, None, _iterations(self._solver), time.perf_counter() - began, "HiGHS: infeasible")
                continue
            solution = self._solver.getSolution()
            x, multipliers = np.array(solution.col_value), self._scaled.provable(np.array(solution.row_dual))
            primal, bound = float(scaled_costs @ x), self._scaled.dual_bound(scaled_costs, multipliers)
            magnitude = max(1.0, float(np.abs(x).sum()))
            if self._scaled.residual(x) <= _ACCEPT and abs(primal - bound) <= _ACCEPT * magnitude:
                with np.errstate(over="ignore"):  # for the caller to make smaller
                    dual = multipliers * unit / self._scale
                certificate = Certificate(float(costs @ x), bound * unit, self.polyhedron.residual(x), dual, maximize=False)
                return Result(x, Status.OPTIMAL, certificate, _iterations(self._solver), time.perf_counter() - began)
        raise SolverError(f"HiGHS: objective {primal!r} against the bound {bound!r} of its own multipliers, after a cold solve")


def minimize_quadratic(polyhedron: Polyhedron, hessian: FloatArray, costs: FloatArray) -> Result:
    """Minimize ``x' hessian x / 2 + costs @ x`` with a symmetric positive semi-definite ``hessian`` (n, n).

    HiGHS has no dual certificate to offer here, so the bound is None, and its answer may exceed rows by 1e-7 of their greatest
    entry.

    Raises:
        SolverError: HiGHS fails or ends without an answer.
    """
    began = time.perf_counter()
    scaled, _ = polyhedron.scaled()
    solver = _silent_solver(_QUADRATIC_FEASIBILITY)
    _check(solver.passModel(_linear_program(scaled, costs)), "passModel")
    column, row = np.nonzero(np.triu(hessian))  # HiGHS wants the lower triangle by columns: the upper one by rows
    starts = np.searchsorted(column, np.arange(len(costs) + 1))
    values = hessian[column, row]
    kind = _highspy().HessianFormat.kTriangular.value
    _check(solver.passHessian(len(costs), len(values), kind, starts.astype(np.int32), row.astype(np.int32), values), "passHessian")
    _check(solver.run(), "run")
    status = _status(solver)
    seconds = time.perf_counter() - began
    if status is Status.INFEASIBLE:
        return Result(None, status, None, _iterations(solver), seconds, "HiGHS: infeasible")
    x = np.array(solver.getSolution().col_value)
    primal = float(x @ (0.5 * (hessian @ x) + costs))
    certificate = Certificate(primal, None, polyhedron.residual(x), None, maximize=False)
    return Result(x, status, certificate, _iterations(solver), seconds)


@dataclass(frozen=True, slots=True, eq=False)
class MixedIntegerModel:
    """A mixed-integer program that stays in HiGHS between solves: costs change and rows are added. Build it with :meth:`of`."""

    polyhedron: Polyhedron
    integer: NDArray[np.bool_]
    _solver: highspy.Highs = field(repr=False)

    @classmethod
    def of(cls, polyhedron: Polyhedron, integer: NDArray[np.bool_], *, threads: int = 0) -> MixedIntegerModel:
        """Load ``polyhedron`` into a HiGHS model of its own.

        Args:
            polyhedron: the feasible set.
            integer: (n,) which entries must be whole.
            threads: that HiGHS may take, 0 for its default; idle ones wait busily. HiGHS fixes the number for all runs from
                one thread, so only who runs it from a thread of its own is free to choose.
        """
        scaled, _ = polyhedron.scaled()
        solver = _silent_solver()
        for option, value in (
            ("mip_rel_gap", 0.0),
            ("mip_abs_gap", 0.0),
            ("mip_feasibility_tolerance", _MIXED_FEASIBILITY),
            ("small_matrix_value", _SMALLEST),
            ("threads", threads),
        ):
            _check(solver.setOptionValue(option, value), option)
        solver.HandleUserInterrupt = True  # lets another thread end it
        program = _linear_program(scaled, np.zeros(len(scaled.lower)))
        kinds = _highspy().HighsVarType
        program.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in integer]
        _check(solver.passModel(program), "passModel")
        return cls(polyhedron, integer, solver)

    def cancel(self) -> None:
        """End a running :meth:`minimize`, from another thread."""
        self._solver.cancelSolve()

    def add_row(self, indices: NDArray[np.integer[Any]], values: FloatArray, upper: float) -> None:
        """Add ``values @ x[indices] <= upper`` for all later solves."""
        _check(self._solver.addRow(-np.inf, float(upper), len(indices), indices.astype(np.int32), values), "addRow")

    def minimize(self, costs: FloatArray, *, time_limit_seconds: float | None = None, start: FloatArray | None = None) -> Result:
        """Minimize ``costs @ x`` to a gap of 0 unless the time limit ends it first; x comes back with its integers rounded.

        ``start`` (n,) is a feasible point to begin with. Recompute rows that must hold strictly. The bound is HiGHS's own account;
        iterations are its nodes.

        Raises:
            SolverError: HiGHS fails or says unbounded.
        """
        began = time.perf_counter()
        unit, n = float(np.abs(costs).max(initial=0.0)) or 1.0, len(costs)
        limit = np.inf if time_limit_seconds is None else float(time_limit_seconds)
        _check(self._solver.setOptionValue("time_limit", limit), "time_limit")
        _check(self._solver.changeColsCost(n, np.arange(n, dtype=np.int32), costs / unit), "changeColsCost")
        if start is not None:
            known = _highspy().HighsSolution()
            known.col_value = start.tolist()
            _check(self._solver.setSolution(known), "setSolution")
        _check(self._solver.run(), "run")
        status = _status(self._solver)
        info, seconds = self._solver.getInfo(), time.perf_counter() - began
        nodes = max(int(info.mip_node_count), 0)
        if status is Status.INFEASIBLE:
            return Result(None, status, None, nodes, seconds, "HiGHS: infeasible")
        values = np.array(self._solver.getSolution().col_value)
        if info.primal_solution_status != 2 or len(values) != n:  # 2 = a feasible point is there
            return Result(None, Status.TIME_LIMIT, None, nodes, seconds, "HiGHS: no point within the time limit")
        x = np.where(self.integer, np.round(values), values)
        bound = float(info.mip_dual_bound) * unit
        proven = bound if np.isfinite(bound) else None
        return Result(
            x, status, Certificate(float(costs @ x), proven, self.polyhedron.residual(x), None, maximize=False), nodes, seconds
        )


@functools.cache
def silence_highs() -> None:
    """Keep HiGHS's banner off standard output, in this process: for whoever makes a solver, or has cvxpy make one.

    HiGHS 1.16 prints it when the first solver of a process is made, before any option can be set. A solver of the bare class that
    :class:`highspy.Highs` extends waits until it runs, and by then it is told to print nothing; the banner counts as printed.
    """
    import highspy

    first = highspy.Highs.__mro__[1]()
    _check(first.setOptionValue("log_to_console", False), "log_to_console")
    _check(first.run(), "run")


def _highspy() -> Any:
    """The module, imported at the first use: it costs more than the rest of the package together."""
    import highspy

    return highspy


def _silent_solver(feasibility: float = _FEASIBILITY) -> highspy.Highs:
    silence_highs()
    solver = _highspy().Highs()
    for option, value in (
        ("output_flag", False),
        ("primal_feasibility_tolerance", feasibility),
        ("dual_feasibility_tolerance", feasibility),
    ):
        _check(solver.setOptionValue(option, value), option)
    return solver


def _linear_program(polyhedron: Polyhedron, costs: FloatArray) -> Any:
    module = _highspy()
    program = module.HighsLp()
    program.num_col_, program.num_row_ = len(costs), len(polyhedron.row_lower)
    program.col_cost_, program.col_lower_, program.col_upper_ = costs, polyhedron.lower, polyhedron.upper
    program.row_lower_, program.row_upper_ = polyhedron.row_lower, polyhedron.row_upper
    program.a_matrix_.format_ = module.MatrixFormat.kRowwise
    program.a_matrix_.num_col_, program.a_matrix_.num_row_ = program.num_col_, program.num_row_
    program.a_matrix_.start_ = polyhedron.starts.astype(np.int32)
    program.a_matrix_.index_ = polyhedron.indices.astype(np.int32)
    program.a_matrix_.value_ = polyhedron.values
    return program


def _status(solver: highspy.Highs) -> Status:
    """HiGHS's model status in our words.

    Raises:
        SolverError: unbounded, or an ending that holds no answer.
    """
    module = _highspy()
    status = solver.getModelStatus()
    if status == module.HighsModelStatus.kOptimal:
        return Status.OPTIMAL
    if status == module.HighsModelStatus.kInfeasible:
        return Status.INFEASIBLE
    late = module.HighsModelStatus.kTimeLimit, module.HighsModelStatus.kIterationLimit, module.HighsModelStatus.kInterrupt
    if status in late:
        return Status.TIME_LIMIT
    if status == module.HighsModelStatus.kUnboundedOrInfeasible:
        solver.setOptionValue("presolve", "off")  # presolve cannot tell the two apart, the simplex method can
        solver.clearSolver()
        solver.run()
        if solver.getModelStatus() == module.HighsModelStatus.kInfeasible:
            return Status.INFEASIBLE
    raise SolverError(f"HiGHS ended with '{solver.modelStatusToString(solver.getModelStatus())}'")


def _iterations(solver: highspy.Highs) -> int:
    info = solver.getInfo()
    return int(max(info.simplex_iteration_count, 0) + max(info.qp_iteration_count, 0))


def _check(status: Any, call: str) -> None:
    if status == _highspy().HighsStatus.kError:
        raise SolverError(f"HiGHS: {call} failed")

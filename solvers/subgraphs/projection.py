"""The connected sub-graph of greatest score that meets every budget, exactly, and the cheapest connected sub-graph.

A small mixed-integer program (rows in ``solvers.subgraphs.program``) whose budgets hold strictly: a point beyond a budget within
the solver's tolerance is caught by the correctly rounded sum of its costs, cut off (``sum of x over its edges <= their number -
1``, which loses nothing else, as costs only grow with the edges) and the program is solved again. So the answer always fits, and
the bound remains one.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.1 (the set; the paper itself has no projection); Balas and Jeroslow,
Canonical cuts on the unit hypercube, 1972.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import FloatArray, IntArray
from solvers.backends import MilpBackend, MixedIntegerModel, Polyhedron, minimize_by_scipy
from solvers.results import Certificate, Result, SolverError, Status
from solvers.sets import read_only
from solvers.subgraphs.program import SubgraphProgram

_MOST_CUTS = 500  # points within the solver's tolerance of a budget but beyond it; more of them means a hopeless scale
# Relative: what may remain between an optimal answer and its bound, by round-off alone.
_GAP = 1e-9


def project_subgraph(
    program: SubgraphProgram, scores: ArrayLike, *, backend: MilpBackend = "highs", time_limit_seconds: float | None = None
) -> Result:
    """Maximize the sum of ``scores`` (E,) over the connected sub-graphs of ``program`` that meet all its budgets.

    For many scores build a :class:`SubgraphModel` once; that saves the one to two milliseconds of loading the program.

    Returns:
        x (E,) of zeros and ones, required edges that run included, with a certificate (maximize; violation 0): OPTIMAL (gap at
        most 1e-9 relative, by the solver's account), FEASIBLE or TIME_LIMIT; INFEASIBLE with the least cost under each budget in
        the message.

    Raises:
        ValueError: scores of another shape or not finite, or an unknown back end.
        SolverError: the solver fails.

    Example:
        >>> triangle = [0, 0, 1], [1, 2, 2], 3, [[1.0, 3.0, 1.0]], np.zeros((1, 3)), [0.0], [4.0], np.zeros(3, dtype=bool)
        >>> result = project_subgraph(SubgraphProgram(*triangle), [1.0, 5.0, 1.0])
        >>> result.x.tolist(), result.certificate.primal
        ([0.0, 1.0, 0.0], 5.0)
    """
    return SubgraphModel.of(program, backend=backend).project(scores, time_limit_seconds=time_limit_seconds)


def cheapest_subgraph(program: SubgraphProgram, row: int = 0, *, backend: MilpBackend = "highs") -> Result:
    """The connected sub-graph that costs least under budget ``row``; the limits play no part in it.

    As no cost is negative that is a shortest path, found in exact arithmetic, unless required edges off the path run along with
    it: then it is a mixed-integer program, and the bound is the solver's.

    Returns:
        x (E,) with a certificate (minimize): primal is the cost, fixed part included, correctly rounded; violation the excess over
        the limits of all budgets.

    Raises:
        ValueError: no such budget.
        SolverError: the solver fails.

    Example:
        >>> triangle = [0, 0, 1], [1, 2, 2], 3, [[1.0, 3.0, 1.0]], np.zeros((1, 3)), [0.0], [4.0], np.zeros(3, dtype=bool)
        >>> cheapest_subgraph(SubgraphProgram(*triangle)).x.tolist()
        [1.0, 0.0, 1.0]
    """
    if not 0 <= row < len(program.limits):
        raise ValueError(f"row: expected a budget's number below {len(program.limits)}, got {row}")
    began = time.perf_counter()
    path = _shortest_path(program, row)
    running, nodes, bound = program.connected(path), 0, math.nan
    if (running == path).all():
        bound = program.totals(path)[row]
    else:
        running, bound, nodes = _cheapest_by_milp(program, row, backend)
    cost = program.totals(running)[row]
    bound = min(bound, cost)
    status = Status.OPTIMAL if cost - bound <= _GAP * max(1.0, abs(cost)) else Status.FEASIBLE
    certificate = Certificate(cost, bound, program.excess(running), None, maximize=False)
    return Result(running.astype(np.float64), status, certificate, nodes, time.perf_counter() - began)


@dataclass(frozen=True, slots=True, eq=False)
class SubgraphModel:
    """A program that stays in the solver between projections, with the cuts it has needed. Build it with :meth:`of`.

    Not to be used by two threads at once.

    Attributes:
        program: as given.
        backend: ``highs`` keeps its model; ``scipy`` builds it for every solve, for cross-checks.
        cheapest: the cheapest sub-graph under each budget.
    """

    program: SubgraphProgram
    backend: MilpBackend
    cheapest: tuple[Result, ...]
    _polyhedron: Polyhedron = field(repr=False)
    _model: MixedIntegerModel | None = field(repr=False)
    _cuts: list[IntArray] = field(repr=False)

    @classmethod
    def of(cls, program: SubgraphProgram, *, backend: MilpBackend = "highs") -> SubgraphModel:
        """Load ``program``.

        Raises:
            ValueError: an unknown back end.
        """
        if backend not in ("highs", "scipy"):
            raise ValueError(f"backend: expected 'highs' or 'scipy', got {backend!r}")
        cheapest = tuple(cheapest_subgraph(program, row, backend=backend) for row in range(len(program.limits)))
        polyhedron = program.polyhedron()
        whole = np.ones(len(polyhedron.lower), dtype=np.bool_)
        model = MixedIntegerModel.of(polyhedron, whole) if backend == "highs" else None
        return cls(program, backend, cheapest, polyhedron, model, [])

    def project(self, scores: ArrayLike, *, time_limit_seconds: float | None = None) -> Result:
        """The best sub-graph that fits, as :func:`project_subgraph` says.

        Raises:
            ValueError: scores of another shape or not finite.
            SolverError: the solver fails.
        """
        began = time.perf_counter()
        program = self.program
        worth = read_only(scores, "scores", (program.edges,))
        if not np.isfinite(worth).all():
            raise ValueError(f"scores: expected finite numbers, got {worth[~np.isfinite(worth)][0]}")
        below = any(
            least.certificate is not None and (least.certificate.bound or 0.0) > limit
            for least, limit in zip(self.cheapest, program.limits.tolist(), strict=True)
        )
        if below:
            return Result(None, Status.INFEASIBLE, None, 0, time.perf_counter() - began, self._why_nothing_fits())
        unlimited = program.connected(worth > 0)
        if (unlimited >= (worth > 0)).all() and (worth[unlimited] >= 0).all() and unlimited.any() and program.fits(unlimited):
            # Every edge worth having, none that costs score: no solver needed.
            return self._result(unlimited, worth, math.inf, Status.OPTIMAL, 0, began)
        nodes = 0
        while True:
            left = None if time_limit_seconds is None else max(0.01, time_limit_seconds - (time.perf_counter() - began))
            status, x, bound, more = self._solve(worth, left)
            nodes += more
            if status is Status.INFEASIBLE:
                if len(program.limits) == 1:
                    raise SolverError(f"{self.backend}: infeasible, although a sub-graph within the budget is known")
                return Result(None, status, None, nodes, time.perf_counter() - began, self._why_nothing_fits())
            if x is None:
                return self._any_that_fits(worth, bound, nodes, began)
            running = x[: program.edges] > 0.5
            if (program.connected(running) != running).any():
                raise SolverError(f"{self.backend}: its point is no connected sub-graph")
            if program.fits(running):
                return self._result(running, worth, bound, status, nodes, began)
            self._cut(np.flatnonzero(running))

    def _solve(self, worth: FloatArray, seconds: float | None) -> tuple[Status, FloatArray | None, float, int]:
        """Status, point, upper bound and nodes of one mixed-integer solve under the cuts so far."""
        costs = np.zeros(len(self._polyhedron.lower))
        costs[: len(worth)] = -worth
        if self._model is not None:
            answer = self._model.minimize(costs, time_limit_seconds=seconds)
            lower = None if answer.certificate is None else answer.certificate.bound
            return answer.status, answer.x, math.inf if lower is None else -lower, answer.iterations
        status, x, below = minimize_by_scipy(_with_cuts(self._polyhedron, self._cuts), costs, seconds)
        return status, x, -below, 0

    def _cut(self, support: IntArray) -> None:
        """Never again this point, nor one that contains it."""
        if len(self._cuts) == _MOST_CUTS:
            raise SolverError(f"{self.backend}: {_MOST_CUTS} sub-graphs in turn exceeded a budget within the solver's tolerance")
        self._cuts.append(support)
        if self._model is not None:
            self._model.add_row(support, np.ones(len(support)), len(support) - 1.0)

    def _result(
        self, running: NDArray[np.bool_], worth: FloatArray, bound: float, status: Status, nodes: int, began: float
    ) -> Result:
        value = math.fsum(worth[running].tolist())
        most = math.fsum(worth[worth > 0].tolist())  # connectivity and budgets can only take away
        top = max(value, min(bound, most))
        if status is Status.OPTIMAL and top - value > _GAP * max(1.0, abs(value)):
            status = Status.FEASIBLE
        certificate = Certificate(value, top, 0.0, None, maximize=True)
        return Result(running.astype(np.float64), status, certificate, nodes, time.perf_counter() - began)

    def _any_that_fits(self, worth: FloatArray, bound: float, nodes: int, began: float) -> Result:
        """Out of time with no point: one of the cheapest ones, if it fits."""
        for least in self.cheapest:
            if least.x is not None and self.program.fits(least.x > 0):
                return self._result(least.x > 0, worth, bound, Status.TIME_LIMIT, nodes, began)
        seconds = time.perf_counter() - began
        return Result(None, Status.TIME_LIMIT, None, nodes, seconds, "no sub-graph that fits was found within the time limit")

    def _why_nothing_fits(self) -> str:
        rows = enumerate(zip(self.cheapest, self.program.limits.tolist(), strict=True))
        least = [(row, limit, result.certificate.primal if result.certificate else math.nan) for row, (result, limit) in rows]
        told = ", ".join(f"budget {row} is {limit!r} (least possible cost: {low!r})" for row, limit, low in least)
        together = "" if any(low > limit for _, limit, low in least) else "; each can be met, but not all at once"
        return f"no connected sub-graph fits: {told}{together}"


def _shortest_path(program: SubgraphProgram, row: int) -> NDArray[np.bool_]:
    """The edges (E,) of a path from source to sink of least cost, in exact arithmetic; of equal ones the first found."""
    costs = [Fraction(cost) for cost in program.costs[row].tolist()]
    sources, targets = program.sources.tolist(), program.targets.tolist()
    least: dict[int, Fraction] = {0: Fraction(0)}
    last: dict[int, int] = {}
    for edge in np.argsort(program.sources, kind="stable").tolist():
        length = least[sources[edge]] + costs[edge]  # every node but the source has edges into it, from lower nodes
        if targets[edge] not in least or length < least[targets[edge]]:
            least[targets[edge]], last[targets[edge]] = length, edge
    path = np.zeros(program.edges, dtype=np.bool_)
    node = program.nodes - 1
    while node:
        path[last[node]] = True
        node = sources[last[node]]
    return path


def _cheapest_by_milp(program: SubgraphProgram, row: int, backend: MilpBackend) -> tuple[NDArray[np.bool_], float, int]:
    """The cheapest sub-graph, a lower bound on its cost, and the nodes used; where required edges run along with a path."""
    unlimited = replace(program, limits=np.full(len(program.limits), np.inf)).polyhedron()
    costs = np.zeros(len(unlimited.lower))
    entries = program.entries(row)
    costs[: len(entries)] = entries
    if backend == "highs":
        answer = MixedIntegerModel.of(unlimited, np.ones(len(costs), dtype=np.bool_)).minimize(costs)
        found, bound, nodes = answer.x, answer.certificate.bound if answer.certificate else None, answer.iterations
    else:
        _, found, bound = minimize_by_scipy(unlimited, costs, None)
        nodes = 0
    if found is None:
        raise SolverError(f"{backend}: no connected sub-graph found without budgets, although there is one")
    fixed = float(program.fixed[row])
    return found[: program.edges] > 0.5, -math.inf if bound is None else fixed + bound, nodes


def _with_cuts(polyhedron: Polyhedron, cuts: list[IntArray]) -> Polyhedron:
    if not cuts:
        return polyhedron
    sizes = np.array([len(cut) for cut in cuts])
    return Polyhedron.from_csr(
        np.concatenate([polyhedron.starts, polyhedron.starts[-1] + np.cumsum(sizes)]),
        np.concatenate([polyhedron.indices, *cuts]),
        np.concatenate([polyhedron.values, np.ones(sizes.sum())]),
        np.concatenate([polyhedron.row_lower, np.full(len(cuts), -np.inf)]),
        np.concatenate([polyhedron.row_upper, sizes - 1.0]),
        polyhedron.lower,
        polyhedron.upper,
    )

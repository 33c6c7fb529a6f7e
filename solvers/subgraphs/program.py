"""Connected sub-graphs of a directed acyclic graph and what they cost: the feasible set of a super-network under budgets.

Modules are edges, layers are nodes, numbered topologically: node 0 is the source, the last one the sink. A selection is a set of
edges each of which lies on a selected path from source to sink. Its cost is ``fixed + sum of costs over its edges + sum over its
nodes of additions x (fan-in - 1)``, the fan-in counted on the selection. Connectivity is no product set and the fan-in is not
additive, but both are linear once nodes have variables ``y`` of their own, 1 where a path leads through:

    x_e <= y_source(e), x_e <= y_target(e),  y_v <= sum of x into v, y_v <= sum of x out of v,  y_source = y_sink = 1,
    sum_e costs_e x_e + sum_v additions_v (sum of x into v - y_v) <= limit - fixed.

Edges that always run, such as a stem, run whenever their source is reached and their target leads on.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.1 (S-networks, the cost of a sub-graph).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.backends import Polyhedron
from solvers.sets import read_only

# Of a budget row's greatest entry: smaller ones are left out of the row and looked at only in the exact sum. HiGHS drops them
# anyway, and entries around its tolerance (1e-9) have made it prune optimal points.
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class SubgraphProgram:
    """A graph and its budgets; arrays are copied and read-only.

    Attributes:
        sources, targets: (E,) node numbers of each edge; every source is below its target. Parallel edges are allowed.
        nodes: how many there are.
        costs: (m, E) of every edge under each of m >= 0 budgets, in the budget's unit, not negative.
        additions: (m, nodes) of every selected edge into a node but one, not negative; those of the source play no part.
        fixed: (m,) what every network pays.
        limits: (m,) in the budget's unit; infinite where there is none.
        required: (E,) True for edges that cannot be switched off.

    Raises:
        ValueError: shapes that do not meet, numbers that are not finite or negative, or a numbering that is not topological from
            one source to one sink; names the array, edge or node.
    """

    sources: IntArray
    targets: IntArray
    nodes: int
    costs: FloatArray
    additions: FloatArray
    fixed: FloatArray
    limits: FloatArray
    required: BoolArray

    def __post_init__(self) -> None:
        ends = [_numbers(array, name) for array, name in ((self.sources, "sources"), (self.targets, "targets"))]
        edges, budgets = len(ends[0]), len(np.atleast_1d(np.asarray(self.limits)))
        if len(ends[1]) != edges or edges == 0:
            raise ValueError(f"SubgraphProgram: expected as many targets as sources, at least one; got {edges} and {len(ends[1])}")
        _check_numbering(ends[0], ends[1], self.nodes)
        required = np.array(self.required)
        if required.shape != (edges,) or required.dtype != np.bool_:
            raise ValueError(f"required: expected {edges} truth values, got shape {required.shape} of {required.dtype}")
        costs = read_only(self.costs, "costs", (budgets, edges))
        additions = read_only(self.additions, "additions", (budgets, self.nodes))
        for name, array in (("costs", costs), ("additions", additions)):
            wrong = np.argwhere(~(np.isfinite(array) & (array >= 0)))
            if len(wrong):
                row, column = wrong[0].tolist()
                raise ValueError(f"{name}: expected finite numbers >= 0, got {array[row, column]} at [{row}, {column}]")
        fixed, limits = read_only(self.fixed, "fixed", (budgets,)), read_only(self.limits, "limits", (budgets,))
        if not np.isfinite(fixed).all():
            raise ValueError(f"fixed: expected finite numbers, got {fixed.tolist()}")
        for whole in (*ends, required):
            whole.flags.writeable = False
        names = ("sources", "targets", "costs", "additions", "fixed", "limits", "required")
        for name, value in zip(names, (*ends, costs, additions, fixed, limits, required), strict=True):
            object.__setattr__(self, name, value)

    @property
    def edges(self) -> int:
        """How many there are."""
        return len(self.sources)

    def connected(self, on: ArrayLike) -> BoolArray:
        """Which of the edges that are ``on`` (E,), required ones included, lie on a path from source to sink: (E,).

        None does where source and sink are not joined.
        """
        allowed = (np.asarray(on) > 0) | self.required
        order = np.flatnonzero(allowed)[np.argsort(self.sources[allowed], kind="stable")].tolist()
        sources, targets = self.sources.tolist(), self.targets.tolist()
        reached, leads = [False] * self.nodes, [False] * self.nodes
        reached[0] = leads[-1] = True
        for edge in order:
            reached[targets[edge]] |= reached[sources[edge]]
        running = np.zeros(self.edges, dtype=np.bool_)
        for edge in reversed(order):
            if reached[sources[edge]] and leads[targets[edge]]:
                running[edge] = leads[sources[edge]] = True
        return running

    def totals(self, running: ArrayLike) -> list[float]:
        """What the running edges (E,) cost under each budget: correctly rounded sums, the fixed part included."""
        support = np.flatnonzero(np.asarray(running) > 0)
        surplus = np.maximum(np.bincount(self.targets[support], minlength=self.nodes) - 1, 0)
        rows = zip(self.fixed.tolist(), self.costs, np.repeat(self.additions, surplus, axis=1), strict=True)
        return [math.fsum([base, *costs[support].tolist(), *extra.tolist()]) for base, costs, extra in rows]

    def excess(self, running: ArrayLike) -> float:
        """By how much the running edges (E,) exceed the budget they exceed most; 0.0 if they fit."""
        pairs = zip(self.totals(running), self.limits.tolist(), strict=True)
        return max([0.0, *(total - limit for total, limit in pairs if total > limit)])

    def fits(self, running: ArrayLike) -> bool:
        """Whether the running edges (E,) meet every budget, strictly."""
        return self.excess(running) == 0.0

    def entries(self, row: int, negligible: float = 0.0) -> FloatArray:
        """Budget ``row`` over the columns x and y, (E + nodes,): fan-in costs go to the edges, less one for a node in use.

        Where edges cannot meet there are none. Costs below ``negligible`` are left out.
        """
        alone = np.bincount(self.targets, minlength=self.nodes) < 2
        costs = np.where(self.costs[row] < negligible, 0.0, self.costs[row])
        additions = np.where(alone | (self.additions[row] < negligible), 0.0, self.additions[row])
        return np.concatenate([costs + additions[self.targets], -additions])

    def polyhedron(self) -> Polyhedron:
        """The rows of the module's docstring, less negligible entries, so that no selection that fits is cut off.

        Columns: x (E,), y (nodes,), then two for every node between required edges. Integer points are connected selections.
        """
        return _Rows(self).polyhedron()


class _Rows:
    """Collects the rows of a program's polyhedron."""

    def __init__(self, program: SubgraphProgram) -> None:
        self.program = program
        self.columns = program.edges + program.nodes
        self.indices: list[IntArray] = []
        self.values: list[FloatArray] = []
        self.upper: list[float] = []

    def add(self, indices: list[int] | IntArray, values: list[float] | FloatArray, upper: float) -> None:
        """``values @ columns[indices] <= upper``."""
        self.indices.append(np.asarray(indices, dtype=np.int64))
        self.values.append(np.asarray(values, dtype=np.float64))
        self.upper.append(upper)

    def polyhedron(self) -> Polyhedron:
        program, edges = self.program, self.program.edges
        lower = np.zeros(edges + program.nodes)
        lower[[edges, -1]] = 1.0
        for edge, (source, target) in enumerate(zip(program.sources.tolist(), program.targets.tolist(), strict=True)):
            for node in (source, target):
                if 0 < node < program.nodes - 1:
                    self.add([edge, edges + node], [1.0, -1.0], 0.0)
        for node in range(program.nodes):
            for ends, end in ((program.targets, 0), (program.sources, program.nodes - 1)):
                if node != end:
                    joined = np.flatnonzero(ends == node)
                    self.add(np.append(joined, edges + node), np.append(np.full(len(joined), -1.0), 1.0), 0.0)
        self._required()
        self._budgets()
        starts = np.concatenate([[0], np.cumsum([len(row) for row in self.indices])])
        free = np.concatenate([lower, np.zeros(self.columns - len(lower))])
        indices, values = np.concatenate(self.indices), np.concatenate(self.values)
        upper = np.array(self.upper)
        return Polyhedron.from_csr(starts, indices, values, np.full(len(upper), -np.inf), upper, free, np.ones(self.columns))

    def _required(self) -> None:
        """A required edge runs where its source is reached and its target leads on: ``x_e >= r_source + l_target - 1``.

        Reached and leading are both y, but for nodes between required edges, which a required edge alone may reach: those get
        columns r and l with ``r_v >= y_v``, ``r_v >= r_u`` for required edges (u, v), and likewise l backwards.
        """
        program, edges = self.program, self.program.edges
        pairs = list(zip(program.sources.tolist(), program.targets.tolist(), program.required.tolist(), strict=True))
        between = {target for _, target, on in pairs if on} & {source for source, _, on in pairs if on}
        reached = {node: edges + node for node in range(program.nodes)}
        leads = dict(reached)
        for node in sorted(between):
            for columns in (reached, leads):
                columns[node] = self.columns
                self.add([edges + node, self.columns], [1.0, -1.0], 0.0)
                self.columns += 1
        for edge, (source, target, on) in enumerate(pairs):
            if on:
                self.add([edge, reached[source], leads[target]], [-1.0, 1.0, 1.0], 1.0)
                if target in between:
                    self.add([reached[source], reached[target]], [1.0, -1.0], 0.0)
                if source in between:
                    self.add([leads[target], leads[source]], [1.0, -1.0], 0.0)

    def _budgets(self) -> None:
        program = self.program
        for row in np.flatnonzero(np.isfinite(program.limits)).tolist():
            greatest = np.abs(program.entries(row)).max()
            entries = program.entries(row, _NEGLIGIBLE * float(greatest))
            used = np.flatnonzero(entries)
            self.add(used, entries[used], float(program.limits[row] - program.fixed[row]))


def _numbers(values: ArrayLike, name: str) -> IntArray:
    array = np.array(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ValueError(f"{name}: expected node numbers (E,), got shape {array.shape} of {array.dtype}")
    return array.astype(np.int64)


def _check_numbering(sources: IntArray, targets: IntArray, nodes: int) -> None:
    wrong = np.flatnonzero((sources < 0) | (sources >= targets) | (targets >= nodes))
    if len(wrong):
        edge = int(wrong[0])
        raise ValueError(
            f"edge {edge}: expected 0 <= source < target < {nodes}, got {sources[edge]} and {targets[edge]}: number the nodes "
            "topologically, the source 0 and the sink last"
        )
    for ends, end, what in ((targets, 0, "into"), (sources, nodes - 1, "out of")):
        lost = sorted(set(range(nodes)) - set(ends.tolist()) - {end})
        if lost:
            raise ValueError(f"node {lost[0]}: no edge leads {what} it, so that no path from source to sink leads through it")

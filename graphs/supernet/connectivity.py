"""Which modules of a sampled sub-graph lie on a path from the source to the sink.

A module that is switched on without such a path computes nothing that anyone sees: it must not run, must not cost and must not add
its bias. The layers and modules of a super-network are numbered once, in topological order, so that whole batches of sub-graphs are
followed with a few array operations.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 (an edge is drawn only if its source is connected to the input).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from graphs.space import Architecture, SearchSpace
from graphs.supernet.dag import EdgeKey, edge_of, validate_dag
from solvers.arrays import BoolArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Connectivity:
    """The layers and modules of a super-network, numbered. Build it with :meth:`of`.

    Attributes:
        nodes: layers in topological order: the source first, the sink last.
        edges: the E modules, in the order of their source layers.
        sources, targets: (E,) numbers of the layers they join.
        columns: (E,) coordinate of a point of the space that switches a module; -1 for one that always runs.
    """

    nodes: tuple[Hashable, ...]
    edges: tuple[EdgeKey, ...]
    sources: IntArray
    targets: IntArray
    columns: IntArray

    @classmethod
    def of(cls, dag: nx.MultiDiGraph, space: SearchSpace) -> Connectivity:
        """Number the layers and modules of ``dag``.

        Raises:
            ValueError: as :func:`graphs.validate_dag`.
        """
        validate_dag(dag, space)
        nodes = tuple(nx.topological_sort(dag))
        number = {node: place for place, node in enumerate(nodes)}
        edges = tuple(sorted(dag.edges(keys=True), key=lambda key: number[key[0]]))  # stable: as inserted for each source
        columns = []
        for key in edges:
            edge = edge_of(dag, key)
            fixed = edge.decision is None or edge.option is None
            columns.append(-1 if fixed else space.slice(str(edge.decision)).start + (edge.option or 0))
        sources, targets = (np.array([number[key[end]] for key in edges], dtype=np.int64) for end in (0, 1))
        return cls(nodes, edges, sources, targets, np.array(columns, dtype=np.int64))

    def switched_on(self, points: NDArray[Any]) -> BoolArray:
        """Which modules the points (rows, dimension) switch on, connected or not: (rows, E)."""
        on = np.asarray(points)[:, np.maximum(self.columns, 0)] > 0
        on[:, self.columns < 0] = True
        return on

    def forwards(self, on: BoolArray) -> BoolArray:
        """Which layers a path of modules in ``on`` (rows, E) joins to the source: (rows, nodes)."""
        return self._reached(np.ascontiguousarray(on.T)).T

    def connected(self, on: BoolArray) -> BoolArray:
        """Which of the modules in ``on`` (rows, E) lie on a path from the source to the sink: (rows, E)."""
        live = np.array(on.T, order="C")
        reached = self._reached(live)
        led = np.zeros_like(reached)
        led[-1] = True
        for edge, source, target in zip(
            range(len(live) - 1, -1, -1), self.sources[::-1].tolist(), self.targets[::-1].tolist(), strict=True
        ):
            module = live[edge]
            module &= reached[source]
            module &= led[target]
            led[source] |= module
        return live.T

    def _reached(self, on: BoolArray) -> BoolArray:
        """As :meth:`forwards`, modules and layers first: (E, rows) to (nodes, rows). The rows of one lie together."""
        reached = np.zeros((len(self.nodes), on.shape[1]), dtype=np.bool_)
        reached[0] = True
        for module, source, target in zip(on, self.sources.tolist(), self.targets.tolist(), strict=True):
            reached[target] |= module & reached[source]
        return reached

    def running(self, space: SearchSpace, architecture: Architecture) -> BoolArray:
        """The modules (E,) that an architecture's network is made of; none where it is disconnected."""
        running: BoolArray = self.connected(self.switched_on(space.point(architecture)[None]))[0]
        return running

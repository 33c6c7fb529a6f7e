"""The search space of a super-network whose modules are switched on and off, one decision an edge.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.1 (S-networks: a binary choice for every edge of a DAG).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike

from graphs.space import Architecture, Decision, SearchSpace
from graphs.supernet import Connectivity, Disconnected, Rows, Supernet, as_multigraph, compile_supernet, edge_of


@dataclass(frozen=True)
class DagSpace:
    """A super-network with its switches. ``dag`` (a ``DiGraph`` is copied into a multigraph) is not to be changed afterwards.

    Example:
        >>> from torch import nn
        >>> from graphs import add_edge, add_layer
        >>> dag = nx.MultiDiGraph()
        >>> for node in ("image", "features"):
        ...     add_layer(dag, node, (3, 8, 8))
        >>> for name, module in (("relu", nn.ReLU), ("skip", nn.Identity)):
        ...     add_edge(dag, "image", "features", module, decision=name, option=1, key=name)
        >>> DagSpace("toy", dag).space.decisions[0]
        Decision(name='relu', options=('off', 'on'), units=1)
    """

    name: str
    dag: nx.MultiDiGraph

    def __post_init__(self) -> None:
        object.__setattr__(self, "dag", as_multigraph(self.dag))

    @cached_property
    def space(self) -> SearchSpace:
        """One decision (``off``, ``on``) a switch, in the order of the edges; edges that share a decision are switched together.

        Raises:
            ValueError: no module is switched, or an edge has an option other than number 1 (``on``).
        """
        names: list[str] = []
        for key in self.dag.edges(keys=True):
            edge = edge_of(self.dag, key)
            if edge.decision is not None:
                if edge.option != 1:
                    raise ValueError(f"edge {key!r}: a switched module runs under option 1 (on), got {edge.option}")
                names.append(edge.decision)
        if not names:
            raise ValueError(f"super-network {self.name!r}: no edge has a decision, so there is nothing to search")
        return SearchSpace(self.name, tuple(Decision(switch, ("off", "on")) for switch in dict.fromkeys(names)))

    @cached_property
    def connectivity(self) -> Connectivity:
        """The layers and modules, numbered."""
        return Connectivity.of(self.dag, self.space)

    @property
    def whole(self) -> Architecture:
        """Every module on."""
        return self.switched(np.ones(len(self.space.decisions), dtype=np.bool_))

    def supernet(self, rows: Rows = "route", disconnected: Disconnected = "refuse") -> Supernet:
        """The compiled super-network with fresh weights (from torch's global generator: seed it first).

        Args:
            rows, disconnected: as :func:`graphs.compile_supernet`. Routing is the default because it is the faster way to run a
                sub-graph an example: where each costs a quarter of the whole, steps take about half of masking's time or less (on a
                processor: ``benchmarks/routing.py``), and masking's are longer than the whole super-network's.
        """
        return compile_supernet(self.dag, self.space, rows, disconnected)

    def switched(self, on: ArrayLike) -> Architecture:
        """The architecture whose decisions are on where ``on`` (decisions,) says so.

        Raises:
            ValueError: not one truth value a decision.
        """
        states = np.asarray(on)
        if states.shape != (len(self.space.decisions),) or states.dtype != np.bool_:
            raise ValueError(f"expected {len(self.space.decisions)} truth values, got shape {states.shape} of {states.dtype}")
        pairs = zip(self.space.decisions, states.tolist(), strict=True)
        return Architecture({decision.name: (int(not state), int(state)) for decision, state in pairs})

"""Super-networks as typed networkx graphs.

A super-network is a ``networkx.MultiDiGraph``: nodes carry a :class:`Layer` (the feature map that lives there), edges carry an
:class:`Edge` (how to build the module that maps one feature map to the next, and which decision switches it). Where several edges
meet, their gated outputs are added. Any library that writes such graphs can draw a super-network; :func:`validate_dag` says what
is wrong with one before any weight is allocated.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.1 (S-networks).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import networkx as nx
from torch import nn

from graphs.space import SearchSpace

__all__ = ["Edge", "Layer", "add_edge", "add_layer", "edge_of", "layer_of", "reachable_nodes", "validate_dag"]

EdgeKey = tuple[Hashable, Hashable, Any]  # source, target, key


@dataclass(frozen=True, slots=True)
class Layer:
    """A feature map without its batch dimension, e.g. (channels, height, width) or (classes,)."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Edge:
    """A module between two layers.

    Attributes:
        factory: builds the module. An elastic module (``option`` None) is called as ``module(images, gate)`` and offers
            ``narrow(option) -> nn.Module``; any other as ``module(images)``.
        decision: the decision that switches the edge; None for an edge that always runs.
        option: the option under which the edge runs, its output multiplied by that option's gate; None with a decision means
            the module itself holds all the options.
    """

    factory: Callable[[], nn.Module]
    decision: str | None = None
    option: int | None = None


def add_layer(dag: nx.MultiDiGraph, node: Hashable, shape: tuple[int, ...]) -> None:
    """Add a node that holds a feature map of ``shape`` (without the batch)."""
    dag.add_node(node, layer=Layer(tuple(shape)))


def add_edge(
    dag: nx.MultiDiGraph,
    source: Hashable,
    target: Hashable,
    factory: Callable[[], nn.Module],
    *,
    decision: str | None = None,
    option: int | None = None,
    key: Hashable | None = None,
) -> None:
    """Join two layers by a module; several modules may join the same two, each under its own ``key``."""
    dag.add_edge(source, target, key=key, edge=Edge(factory, decision, option))


def layer_of(dag: nx.MultiDiGraph, node: Hashable) -> Layer:
    """The layer at ``node``."""
    layer: Layer = dag.nodes[node]["layer"]
    return layer


def edge_of(dag: nx.MultiDiGraph, key: EdgeKey) -> Edge:
    """The typed edge behind ``(source, target, key)``."""
    edge: Edge = dag.edges[key]["edge"]
    return edge


def reachable_nodes(dag: nx.MultiDiGraph, source: Hashable, sink: Hashable) -> set[Hashable]:
    """Nodes that lie on a path from ``source`` to ``sink``, both included."""
    return ({source} | nx.descendants(dag, source)) & ({sink} | nx.ancestors(dag, sink))


def validate_dag(dag: nx.MultiDiGraph, space: SearchSpace | None = None) -> tuple[Hashable, Hashable]:
    """Check a super-network and return its (source, sink).

    Raises:
        ValueError: no node or edge data of the expected type, a cycle, more than one source or sink, nodes on no path from
            source to sink, or a decision or option that ``space`` does not have; the message names the node or edge.
    """
    for node, data in dag.nodes(data=True):
        if not isinstance(data.get("layer"), Layer):
            raise ValueError(f"node {node!r} carries no layer: add it with graphs.add_layer(dag, node, shape)")
    for source, target, key, data in dag.edges(keys=True, data=True):
        if not isinstance(data.get("edge"), Edge):
            raise ValueError(f"edge {(source, target, key)!r} carries no module: add it with graphs.add_edge(dag, ...)")
    if not nx.is_directed_acyclic_graph(dag):
        cycle = [source for source, *_ in nx.find_cycle(dag)]
        raise ValueError(f"the graph has a cycle through {cycle!r}; a super-network must be acyclic")
    sources = [node for node, degree in dag.in_degree() if degree == 0]
    sinks = [node for node, degree in dag.out_degree() if degree == 0]
    if len(sources) != 1 or len(sinks) != 1:
        raise ValueError(f"expected one source and one sink, got sources {sources!r} and sinks {sinks!r}")
    lost = set(dag) - reachable_nodes(dag, sources[0], sinks[0])
    if lost:
        raise ValueError(f"nodes {sorted(map(repr, lost))} lie on no path from {sources[0]!r} to {sinks[0]!r}")
    if space is not None:
        _check_decisions(dag, space)
    return sources[0], sinks[0]


def _check_decisions(dag: nx.MultiDiGraph, space: SearchSpace) -> None:
    options = {decision.name: decision.options for decision in space.decisions}
    for source, target, key, data in dag.edges(keys=True, data=True):
        edge: Edge = data["edge"]
        if edge.decision is not None and edge.decision not in options:
            raise ValueError(f"edge {(source, target, key)!r}: space {space.name!r} has no decision {edge.decision!r}")
        if edge.decision is not None and edge.option is not None and not 0 <= edge.option < len(options[edge.decision]):
            raise ValueError(f"edge {(source, target, key)!r}: decision {edge.decision!r} has no option number {edge.option}")

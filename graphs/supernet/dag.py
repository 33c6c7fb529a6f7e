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
from typing import Any, Literal, get_args

import networkx as nx
from torch import nn

from graphs.space import SearchSpace

EdgeKey = tuple[Hashable, Hashable, Any]  # source, target, key
Aggregation = Literal["sum", "sum_relu", "identity"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A feature map and how it comes about.

    Attributes:
        shape: without the batch dimension, e.g. (channels, height, width) or (classes,).
        aggregation: of the gated outputs that meet here: ``sum``, ``sum_relu`` (ReLU of the sum), or ``identity`` where one module
            alone leads in, so that there is nothing to add.
    """

    shape: tuple[int, ...]
    aggregation: Aggregation = "sum"


@dataclass(frozen=True, slots=True)
class Edge:
    """A module between two layers.

    Attributes:
        factory: builds the module. An elastic module (``option`` None) is called as ``module(images, gate)`` and offers
            ``narrow(option) -> nn.Module``; with an attribute ``takes_values`` that is true it is called with the gate's values, an
            array on the host, as a third argument, so that it need not read a device's, and where other processes run other rows
            of the batch with the options (options,) that any of its rows uses as a fourth; any other as ``module(images)``.
        decision: the decision that switches the edge; None for an edge that always runs.
        option: the option under which the edge runs, its output multiplied by that option's gate; None with a decision means
            the module itself holds all the options.
    """

    factory: Callable[[], nn.Module]
    decision: str | None = None
    option: int | None = None


def add_layer(dag: nx.MultiDiGraph, node: Hashable, shape: tuple[int, ...], aggregation: Aggregation = "sum") -> None:
    """Add a node that holds a feature map of ``shape`` (without the batch).

    Example:
        >>> dag = nx.MultiDiGraph()
        >>> add_layer(dag, "image", (3, 32, 32))
    """
    dag.add_node(node, layer=Layer(tuple(shape), aggregation))


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
    """Join two layers by a module; several modules may join the same two, each under its own ``key``.

    Example:
        >>> dag = nx.MultiDiGraph()
        >>> add_edge(dag, "image", "features", lambda: nn.Conv2d(3, 8, 1), decision="conv", option=1)
    """
    dag.add_edge(source, target, key=key, edge=Edge(factory, decision, option))


def as_multigraph(dag: nx.DiGraph) -> nx.MultiDiGraph:
    """``dag`` itself if it is a ``MultiDiGraph``, else a copy with one keyed edge for each of its edges.

    Raises:
        ValueError: not a directed networkx graph.
    """
    if not isinstance(dag, nx.DiGraph):
        raise ValueError(f"expected a networkx MultiDiGraph (or DiGraph), got {type(dag).__name__}")
    if dag.is_multigraph():
        return dag
    copy = nx.MultiDiGraph(**dag.graph)
    copy.add_nodes_from(dag.nodes(data=True))
    copy.add_edges_from((source, target, None, data) for source, target, data in dag.edges(data=True))
    return copy


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
            source to sink, several modules into an ``identity`` layer, or a decision or option that ``space`` does not have; the
            message names the node or edge.

    Example:
        >>> from graphs import resnet
        >>> validate_dag(resnet(1).dag)
        ('image', 'logits')
    """
    if len(dag) < 2:
        raise ValueError(f"expected a super-network of two layers or more, got {len(dag)}: add them with graphs.add_layer")
    for node, data in dag.nodes(data=True):
        if not isinstance(data.get("layer"), Layer):
            raise ValueError(f"node {node!r} carries no layer: add it with graphs.add_layer(dag, node, shape)")
        if data["layer"].aggregation not in get_args(Aggregation):
            known = ", ".join(get_args(Aggregation))
            raise ValueError(f"node {node!r}: unknown aggregation {data['layer'].aggregation!r}; there are {known}")
        if data["layer"].aggregation == "identity" and dag.in_degree(node) > 1:
            raise ValueError(
                f"node {node!r}: {dag.in_degree(node)} modules lead to it, so it needs the aggregation sum or sum_relu"
            )
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

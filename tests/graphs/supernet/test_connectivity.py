"""Connectivity against networkx on random super-networks."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphs import DagSpace, add_edge, add_layer, validate_dag
from graphs.supernet import Connectivity, as_multigraph
from graphs.supernet.dag import reachable_nodes


def random_dag(seed: int) -> nx.MultiDiGraph:
    """Up to seven layers; every inner layer has an edge in and one out, some pairs two."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 8))
    names = [f"layer {place}" for place in rng.permutation(count)]
    dag = nx.MultiDiGraph()
    for name in rng.permutation(names):  # inserted in any order
        add_layer(dag, str(name), (1,), "sum_relu")
    pairs = {(int(rng.integers(target)), target) for target in range(1, count)}
    pairs |= {(source, int(rng.integers(source + 1, count))) for source in range(count - 1)}
    for source, target in pairs:
        for key in range(1 + int(rng.random() < 0.3)):
            switch = f"{source}-{target}-{key}" if rng.random() < 0.8 else None
            add_edge(dag, names[source], names[target], nn.Identity, decision=switch, option=switch and 1, key=key)
    add_edge(dag, names[0], names[-1], nn.Identity, decision="last", option=1, key="last")
    return dag


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_connected_modules_are_those_networkx_finds_on_a_path(seed: int) -> None:
    dag = random_dag(seed)
    space = DagSpace("random", dag).space
    parts = Connectivity.of(dag, space)
    source, sink = validate_dag(dag, space)
    assert parts.nodes[0] == source
    assert parts.nodes[-1] == sink
    rng = np.random.default_rng(seed)
    picks = rng.random((5, len(space.decisions))) < 0.5
    points = np.stack([~picks, picks], axis=2).reshape(5, -1)
    on = parts.switched_on(points)
    live, reached = parts.connected(on), parts.forwards(on)
    for row in range(5):
        graph = nx.MultiDiGraph()
        graph.add_nodes_from(dag)
        graph.add_edges_from(key for key, used in zip(parts.edges, on[row], strict=True) if used)
        kept = reachable_nodes(graph, source, sink) if nx.has_path(graph, source, sink) else set()
        for edge, (start, end, key) in enumerate(parts.edges):
            expected = graph.has_edge(start, end, key) and start in kept and end in kept
            assert live[row, edge] == expected
        assert {node for node, there in zip(parts.nodes, reached[row], strict=True) if there} == (
            {source} | nx.descendants(graph, source)
        )


def test_a_decision_that_switches_several_modules_is_one_decision() -> None:
    dag = nx.MultiDiGraph()
    for node in "abc":
        add_layer(dag, node, (1,), "identity")
    add_edge(dag, "a", "b", nn.Identity, decision="both", option=1)
    add_edge(dag, "b", "c", nn.Identity, decision="both", option=1)
    space = DagSpace("pair", dag).space
    assert [decision.name for decision in space.decisions] == ["both"]
    assert Connectivity.of(dag, space).running(space, space.choose({"both": "on"})).tolist() == [True, True]
    assert Connectivity.of(dag, space).running(space, space.choose({"both": "off"})).tolist() == [False, False]


def test_bad_super_networks_are_refused_by_name() -> None:
    dag = nx.MultiDiGraph()
    with pytest.raises(ValueError, match="two layers or more"):
        validate_dag(dag)
    for node in "ab":
        add_layer(dag, node, (1,), "identity")
    add_edge(dag, "a", "b", nn.Identity)
    with pytest.raises(ValueError, match="no edge has a decision"):
        DagSpace("fixed", dag).space  # noqa: B018
    add_edge(dag, "a", "b", nn.Identity, decision="second", option=2)
    with pytest.raises(ValueError, match="'b': 2 modules lead to it"):
        validate_dag(dag)
    add_layer(dag, "b", (1,), "product")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown aggregation 'product'"):
        validate_dag(dag)
    with pytest.raises(ValueError, match=r"option 1 \(on\), got 2"):
        DagSpace("second", dag).space  # noqa: B018


def test_a_plain_digraph_is_accepted() -> None:
    graph = nx.DiGraph()
    for node in "ab":
        add_layer(graph, node, (1,))
    multi = nx.MultiDiGraph()
    add_edge(multi, "a", "b", nn.Identity, decision="only", option=1)
    graph.add_edge("a", "b", **next(iter(multi.get_edge_data("a", "b").values())))
    dag = as_multigraph(graph)
    assert validate_dag(dag, DagSpace("plain", dag).space) == ("a", "b")
    assert as_multigraph(dag) is dag
    with pytest.raises(ValueError, match="MultiDiGraph"):
        as_multigraph(nx.Graph())


def test_architectures_of_switches() -> None:
    dag = nx.MultiDiGraph()
    for node in "abc":
        add_layer(dag, node, (1,))
    add_edge(dag, "a", "b", nn.Identity, decision="first", option=1)
    add_edge(dag, "b", "c", nn.Identity, decision="second", option=1)
    network = DagSpace("chain", dag)
    assert network.whole == network.space.choose({"first": "on", "second": "on"})
    assert network.switched(np.array([True, False])) == network.space.choose({"first": "on", "second": "off"})
    for bad in ([True], [1, 0], [[True, False]]):
        with pytest.raises(ValueError, match="expected 2 truth values"):
            network.switched(bad)

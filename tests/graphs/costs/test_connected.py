"""Costs of what runs: against networkx and a count of the extracted network, on random sub-graphs."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphs import Architecture, DagSpace, add_edge, add_layer, convolutional_neural_fabric, resnet_fabric
from graphs.blocks import UpsampledConvolution
from graphs.costs import (
    CallableCost,
    ConnectedCost,
    SubgraphCost,
    connected_architecture,
    connected_macs,
    connected_parameters,
    count,
    makespan_cost,
)
from graphs.supernet import edge_of, layer_of
from graphs.supernet.dag import reachable_nodes

SMALL = (
    resnet_fabric(2, widths=(4, 6, 8), side=8, image_channels=1, classes=3),
    convolutional_neural_fabric(3, 3, 4, side=8, image_channels=1, classes=3),
    convolutional_neural_fabric(2, 3, 4, side=8, image_channels=1, classes=3, task="segmentation"),
)


def _counted(space: DagSpace, on: Architecture) -> tuple[int, int, int] | None:
    """Parameters, exact and published multiply-adds of a sub-graph, by networkx; None if it is disconnected."""
    graph = nx.MultiDiGraph()
    for key in space.dag.edges(keys=True):
        decision = edge_of(space.dag, key).decision
        if decision is None or on.choice(decision) == 1:
            graph.add_edge(*key)
    if not nx.has_path(graph, "image", "logits"):
        return None
    kept = graph.subgraph(reachable_nodes(graph, "image", "logits"))
    parameters, exact, published = 0, 0, 0
    for key in kept.edges(keys=True):
        module = edge_of(space.dag, key).factory()
        counts = count(module, layer_of(space.dag, key[0]).shape)
        parameters += counts.parameters
        exact += counts.macs
        published += counts.macs // (4 if isinstance(module, UpsampledConvolution) else 1)
    extra = sum((kept.in_degree(node) - 1) * math.prod(layer_of(space.dag, node).shape) for node in kept if node != "image")
    return parameters, exact + extra, published + extra


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(SMALL), st.integers(0, 10**6), st.floats(0.3, 0.95))
def test_only_what_runs_is_counted(space: DagSpace, seed: int, density: float) -> None:
    on = np.random.default_rng(seed).random((3, len(space.space.decisions))) < density
    architectures = [space.switched(row) for row in on]
    running = np.stack([space.connectivity.running(space.space, architecture) for architecture in architectures])
    costs = (connected_parameters(space), connected_macs(space, "exact"), connected_macs(space))
    for row, architecture in enumerate(architectures):
        expected = _counted(space, architecture)
        for place, cost in enumerate(costs):
            if expected is None:
                with pytest.raises(ValueError, match="no path of modules that are on joins 'image' to 'logits'"):
                    cost.cost(architecture)
                assert cost.cost_of_running(running)[row] == cost.fixed
            else:
                assert cost.cost(architecture) == cost.cost_of_running(running)[row] == expected[place]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(SMALL), st.integers(0, 10**6))
def test_dead_modules_change_no_cost(space: DagSpace, seed: int) -> None:
    on = np.random.default_rng(seed).random(len(space.space.decisions)) < 0.6
    on[seed % len(on)] = False
    running = space.connectivity.running(space.space, space.switched(on))
    if not running.any():
        return
    bare = connected_architecture(space, running)
    assert (space.connectivity.running(space.space, bare) == running).all()
    seen: list[Architecture] = []
    noted = CallableCost("noted", "networks", space, lambda architecture: seen.append(architecture) or 1.0)
    for cost in (connected_macs(space), connected_parameters(space), makespan_cost(space, 2), noted):
        assert isinstance(cost, SubgraphCost)
        assert cost.cost(bare) == cost.cost(space.switched(on)) == cost.cost_of_running(running[None])[0]
    assert seen == [bare, bare, bare]


def test_the_parts_of_a_cost_are_what_a_program_needs() -> None:
    space = SMALL[0]
    cost, parts = connected_macs(space), space.connectivity
    stem, head = 9 * 1 * 4 * 64, 8 * 3
    assert cost.fixed == stem + head
    assert (cost.per_edge[parts.columns < 0] == 0).all()
    body = parts.edges.index(("stem", "group1.block1", "body"))
    assert cost.per_edge[body] == 2 * 9 * 4 * 4 * 64
    assert cost.per_addition[parts.nodes.index("group2.block1")] == 6 * 4 * 4
    with pytest.raises(ValueError, match="read-only"):
        cost.per_edge[0] = 1.0


def test_a_module_without_a_decision_that_can_be_avoided_is_not_fixed() -> None:
    dag = nx.MultiDiGraph()
    for node in "abc":
        add_layer(dag, node, (2,))
    add_edge(dag, "a", "b", lambda: nn.Linear(2, 2), decision="in", option=1)
    add_edge(dag, "b", "c", lambda: nn.Linear(2, 2, bias=False))
    add_edge(dag, "a", "c", lambda: nn.Linear(2, 2, bias=False), decision="around", option=1)
    space = DagSpace("detour", dag)
    cost = connected_parameters(space)
    assert cost.fixed == 0
    assert cost.cost(space.space.choose({"in": "off", "around": "on"})) == 4
    assert cost.cost(space.space.choose({"in": "on", "around": "on"})) == 6 + 4 + 4


def test_bad_costs_are_named() -> None:
    space = SMALL[1]
    edges, layers = len(space.connectivity.edges), len(space.connectivity.nodes)
    with pytest.raises(ValueError, match="expected one of published, exact, got 'rough'"):
        connected_macs(space, "rough")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"'energy': expected {edges} finite numbers per_edge"):
        ConnectedCost("energy", "mJ", space, 0.0, np.zeros(edges + 1), np.zeros(layers))
    with pytest.raises(ValueError, match=f"'energy': expected {layers} finite numbers per_addition"):
        ConnectedCost("energy", "mJ", space, 0.0, np.zeros(edges), np.full(layers, np.nan))
    with pytest.raises(ValueError, match="finite fixed cost, got inf"):
        ConnectedCost("energy", "mJ", space, math.inf, np.zeros(edges), np.zeros(layers))
    with pytest.raises(ValueError, match="missing decisions"):
        connected_macs(space).cost(SMALL[0].whole)


def test_an_edge_whose_module_does_not_fit_is_named() -> None:
    dag = nx.MultiDiGraph()
    for node in "ab":
        add_layer(dag, node, (2,))
    add_edge(dag, "a", "b", lambda: nn.Linear(3, 2), decision="wrong", option=1, key="linear")
    with pytest.raises(ValueError, match=r"edge \('a', 'b', 'linear'\): cannot count"):
        connected_parameters(DagSpace("misfit", dag))


def test_any_function_is_a_cost_and_its_failures_are_named() -> None:
    space = SMALL[1]
    generator = np.random.default_rng(0)
    noisy = CallableCost("energy", "mJ", space, lambda _: generator.normal(5.0, 1.0))
    assert noisy.cost(space.whole) != noisy.cost(space.whole)
    running = space.connectivity.running(space.space, space.whole)
    priced = noisy.cost_of_running(np.stack([running, np.zeros_like(running)]))
    assert priced[0] > 0
    assert priced[1] == 0
    size = f"{len(running)} running modules"
    with pytest.raises(ValueError, match=f"'energy' returned nan for an architecture of {size}"):
        CallableCost("energy", "mJ", space, lambda _: math.nan).cost(space.whole)
    with pytest.raises(ValueError, match=f"'energy' failed on an architecture of {size}.*KeyError: 'kernel'"):
        CallableCost("energy", "mJ", space, lambda _: {}["kernel"]).cost(space.whole)
    with pytest.raises(ValueError, match="failed on an architecture"):
        CallableCost("energy", "mJ", space, lambda _: "much").cost(space.whole)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="no path of modules"):
        noisy.cost(space.switched(np.zeros(len(space.space.decisions), dtype=bool)))


def test_counting_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    connected_macs(SMALL[0])
    assert torch.equal(before, torch.random.get_rng_state())

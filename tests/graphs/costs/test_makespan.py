"""Schedules: valid and greedy on random sub-graphs, and Fig. 8's two networks."""

from __future__ import annotations

import time
from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphs import Architecture, DagSpace, add_edge, add_layer, convolutional_neural_fabric, resnet_fabric
from graphs.costs import MakespanCost, makespan_cost
from graphs.supernet import edge_of

SMALL = (
    resnet_fabric(3, widths=(4, 6, 8), side=8, image_channels=1, classes=3),
    convolutional_neural_fabric(4, 3, 4, side=8, image_channels=1, classes=3),
)


def drawn(*edges: tuple[str, str]) -> DagSpace:
    """A super-network with one (switched) ReLU an edge."""
    dag = nx.MultiDiGraph()
    for node in dict.fromkeys(node for edge in edges for node in edge):
        add_layer(dag, node, (1,))
    for source, target in edges:
        add_edge(dag, source, target, nn.ReLU, decision=source + target, option=1)
    return DagSpace("drawn", dag)


def test_figure_8() -> None:
    branches = drawn(*zip("abc", "bcd", strict=True), *zip("def", "efi", strict=True), *zip("dgh", "ghi", strict=True))
    chains = drawn(*zip("abcde", "bcdez", strict=True), *zip("afghi", "fghiz", strict=True))
    assert len(branches.space.decisions) == 9
    assert len(chains.space.decisions) == 10
    assert makespan_cost(branches, 2, additions=0).cost(branches.whole) == 6
    assert makespan_cost(chains, 2, additions=0).cost(chains.whole) == 5
    cycles = makespan_cost(branches, 2, additions=0).schedule(branches.whole)
    assert [len(cycle) for cycle in cycles] == [1, 1, 1, 2, 2, 2]
    assert {task.edge[:2] for task in cycles[3] if task.edge} == {("d", "e"), ("d", "g")}


def test_additions_take_a_step_or_none() -> None:
    fork = drawn(("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))
    # two modules, two additions (of one number each), two modules, one addition; at the source nothing is added
    assert makespan_cost(fork, 2).cost(fork.whole) == 4
    assert makespan_cost(fork, 2, additions=0).cost(fork.whole) == 2
    assert makespan_cost(fork, 1, additions=0).cost(fork.whole) == 4
    last = makespan_cost(fork, 1).schedule(fork.whole)[-1]
    assert [(task.edge, task.layer) for task in last] == [(None, "d")]


def _check(space: DagSpace, architecture: Architecture, cost: MakespanCost) -> None:
    """Every task once, none before what it needs, no machine idle while a task could run."""
    parts = space.connectivity
    running = parts.running(space.space, architecture)
    live = [key for key, on in zip(parts.edges, running, strict=True) if on]
    free = {key for key in live if isinstance(edge_of(space.dag, key).factory(), nn.Identity)}
    adding = {target for _, target, _ in live if space.dag.nodes[target]["layer"].aggregation != "identity"}
    graph = nx.DiGraph()
    for key in live:
        graph.add_edge(("layer", key[0]), ("edge", key))
        graph.add_edge(("edge", key), ("layer", key[1]))
    timed = {("edge", key) for key in live if key not in free}
    timed |= {("layer", node) for node in adding if cost.additions}
    schedule = cost.schedule(architecture)
    finished: dict[object, int] = {}
    for step, tasks in enumerate(schedule):
        assert 1 <= len(tasks) <= cost.machines
        for task in tasks:
            name = ("edge", task.edge) if task.edge is not None else ("layer", task.layer)
            assert name in timed
            assert name not in finished
            finished[name] = step
    assert set(finished) == timed
    for name in nx.topological_sort(graph):
        ready = max((finished[before] for before in graph.predecessors(name)), default=-1)
        if name in timed:
            assert finished[name] > ready
            for step in range(ready + 1, finished[name]):
                assert len(schedule[step]) == cost.machines  # it only waits while all machines are busy
        else:
            finished[name] = ready
    depth = nx.DiGraph()
    depth.add_nodes_from(graph)
    depth.add_edges_from((a, b, {"weight": int(b in timed)}) for a, b in graph.edges)
    length = nx.dag_longest_path_length(depth)
    assert cost.cost(architecture) == len(schedule)
    assert max(length, len(timed) / cost.machines) <= len(schedule) <= len(timed) / cost.machines + length  # Graham


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(SMALL),
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.sampled_from(["published", "critical_path"]),
    st.sampled_from([0, 1]),
)
def test_schedules_are_valid_and_greedy(space: DagSpace, seed: int, machines: int, order: str, additions: int) -> None:
    on = np.random.default_rng(seed).random(len(space.space.decisions)) < 0.75
    architecture = space.switched(on)
    cost = makespan_cost(space, machines, order, additions)  # type: ignore[arg-type]
    running = space.connectivity.running(space.space, architecture)
    if running.any():
        _check(space, architecture, cost)
        assert cost.cost_of_running(running[None]).tolist() == [cost.cost(architecture)]
    else:
        assert cost.cost_of_running(running[None]).tolist() == [0]
        with pytest.raises(ValueError, match="no path of modules"):
            cost.cost(architecture)


def test_one_machine_takes_one_step_a_task_and_many_take_the_longest_path() -> None:
    space = SMALL[0]
    for order in ("published", "critical_path"):
        tasks = sum(len(step) for step in makespan_cost(space, 3, order).schedule(space.whole))  # type: ignore[arg-type]
        assert makespan_cost(space, 1, order).cost(space.whole) == tasks  # type: ignore[arg-type]
        assert makespan_cost(space, 1000, order).cost(space.whole) == 2 * 9 + 2  # type: ignore[arg-type]


def test_sub_graphs_keep_the_order_of_the_whole() -> None:
    # Three chains from a to z: the search visits the last inserted first, so its reverse post-order has the first inserted first.
    chains = [("ab", "bc", "cz"), ("ad", "dz"), ("ae", "ez")]
    space = drawn(*((edge[0], edge[1]) for chain in chains for edge in chain))
    first = makespan_cost(space, 2, additions=0).schedule(space.whole)[0]
    assert [task.edge[:2] for task in first if task.edge] == [("a", "b"), ("a", "d")]
    longest = makespan_cost(space, 1, "critical_path", 0).schedule(space.whole)[0]
    assert [task.edge[:2] for task in longest if task.edge] == [("a", "b")]
    off = space.switched(np.array([decision.name not in ("ab", "bc", "cz") for decision in space.space.decisions]))
    first = makespan_cost(space, 1, additions=0).schedule(off)[0]
    assert [task.edge[:2] for task in first if task.edge] == [("a", "d")]


def test_a_large_fabric_is_scheduled_in_milliseconds() -> None:
    space = resnet_fabric(18)
    cost, whole = makespan_cost(space, 2), space.connectivity.running(space.space, space.whole)[None]
    cost.cost_of_running(whole)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        cost.cost_of_running(whole)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.02  # about 0.3 ms on a laptop; the margin is for busy machines


def test_costs_are_named_and_bad_settings_refused() -> None:
    space = SMALL[1]
    assert makespan_cost(space, 1).name == "steps on 1 machine"
    assert (makespan_cost(space, 4).name, makespan_cost(space, 4).unit) == ("steps on 4 machines", "steps")
    with pytest.raises(ValueError, match="one machine or more, got 0"):
        makespan_cost(space, 0)
    with pytest.raises(ValueError, match="published, critical_path, got 'alphabetic'"):
        makespan_cost(space, 1, "alphabetic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 or 1 steps, got 2"):
        makespan_cost(space, 1, additions=2)


def test_least_is_the_cheapest_of_all_sub_graphs() -> None:
    space = drawn("ab", "bc", "cz", "ac", "az", "bz")
    for additions in (0, 1):
        for machines in (1, 2):
            cost = makespan_cost(space, machines, additions=additions)
            on = np.array(list(product([False, True], repeat=len(space.space.decisions))))
            running = space.connectivity.connected(space.connectivity.switched_on(np.stack([~on, on], axis=2).reshape(len(on), -1)))
            assert cost.least == cost.cost_of_running(running[running.any(1)]).min()

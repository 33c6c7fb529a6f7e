"""Typed super-network graphs: what is wrong with one is said before it runs; gates that do not fit are refused."""

from functools import partial

import networkx as nx
import pytest
import torch
from torch import nn

from graphs import Architecture, Decision, SearchSpace, Supernet, add_edge, add_layer, compile_supernet, validate_dag

SPACE = SearchSpace("switches", (Decision("left", ("off", "on")), Decision("right", ("off", "on"))))


def linear(inputs: int, outputs: int) -> partial[nn.Module]:
    return partial(nn.Linear, inputs, outputs)


def diamond() -> nx.MultiDiGraph:
    """in -> a -> out under ``left``, in -> b -> out under ``right``, and in -> out twice under ``left``'s off."""
    dag = nx.MultiDiGraph()
    for node, width in (("in", 4), ("a", 3), ("b", 5), ("out", 2)):
        add_layer(dag, node, (width,))
    add_edge(dag, "in", "a", linear(4, 3), decision="left", option=1)
    add_edge(dag, "a", "out", linear(3, 2))
    add_edge(dag, "in", "b", linear(4, 5))
    add_edge(dag, "b", "out", linear(5, 2), decision="right", option=1)
    add_edge(dag, "in", "out", linear(4, 2), decision="left", option=0, key="first")
    add_edge(dag, "in", "out", linear(4, 2), decision="left", option=0, key="second")
    return dag


def test_a_valid_graph_gives_its_ends() -> None:
    assert validate_dag(diamond(), SPACE) == ("in", "out")


def test_cycle() -> None:
    dag = diamond()
    add_edge(dag, "out", "a", linear(2, 3))
    with pytest.raises(ValueError, match=r"a cycle through .*'a'.*must be acyclic"):
        validate_dag(dag)


def test_two_sources_and_two_sinks() -> None:
    dag = diamond()
    add_layer(dag, "other", (4,))
    add_edge(dag, "other", "out", linear(4, 2))
    with pytest.raises(ValueError, match=r"sources \['in', 'other'\] and sinks \['out'\]"):
        validate_dag(dag)
    dag = diamond()
    add_layer(dag, "dead", (4,))
    add_edge(dag, "in", "dead", nn.Identity)
    with pytest.raises(ValueError, match=r"sinks \['out', 'dead'\]"):
        validate_dag(dag)
    with pytest.raises(ValueError, match="two layers or more, got 0"):
        validate_dag(nx.MultiDiGraph())


def test_missing_data() -> None:
    dag = diamond()
    dag.add_node("bare")
    with pytest.raises(ValueError, match="node 'bare' carries no layer"):
        validate_dag(dag)
    dag = diamond()
    dag.add_edge("a", "b", key="plain")
    with pytest.raises(ValueError, match=r"edge \('a', 'b', 'plain'\) carries no module"):
        validate_dag(dag)


def test_decisions_the_space_does_not_have() -> None:
    dag = diamond()
    add_edge(dag, "a", "out", linear(3, 2), decision="middle", option=0)
    with pytest.raises(ValueError, match="space 'switches' has no decision 'middle'"):
        validate_dag(dag, SPACE)
    dag = diamond()
    add_edge(dag, "a", "out", linear(3, 2), decision="left", option=2)
    with pytest.raises(ValueError, match="decision 'left' has no option number 2"):
        compile_supernet(dag, SPACE)


def test_shapes_that_do_not_meet() -> None:
    dag = diamond()
    add_edge(dag, "a", "out", linear(3, 7))
    with pytest.raises(ValueError, match=r"gives shape \(7,\), but 'out' has shape \(2,\)"):
        compile_supernet(dag, SPACE)
    dag = diamond()
    add_edge(dag, "a", "out", linear(9, 2))
    with pytest.raises(ValueError, match=r"cannot take the shape \(3,\) of 'a'"):
        compile_supernet(dag, SPACE)


def gates(left: int, right: int) -> dict[str, torch.Tensor]:
    return {"left": torch.eye(2)[left], "right": torch.eye(2)[right]}


def compiled() -> Supernet:
    torch.manual_seed(0)
    return compile_supernet(diamond(), SPACE).double()


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_outputs_that_meet_are_added_and_dead_ends_do_not_run(left: int, right: int) -> None:
    net = compiled()
    images = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    by_key = dict(zip(net.edge_keys, net.edge_modules, strict=True))
    ran = []
    for key, module in by_key.items():
        module.register_forward_hook(lambda *_, key=key: ran.append(key))
    through = by_key["a", "out", 0](by_key["in", "a", 0](images)) if left else 0
    direct = 0 if left else by_key["in", "out", "first"](images) + by_key["in", "out", "second"](images)
    side = by_key["b", "out", 0](by_key["in", "b", 0](images)) if right else 0
    ran.clear()
    output = net(images, gates(left, right))
    torch.testing.assert_close(output, through + direct + side, rtol=1e-12, atol=1e-12)  # the same sums in float64
    assert (("in", "b", 0) in ran) == bool(right), "a module whose output cannot reach the sink must not run"
    assert (("a", "out", 0) in ran) == bool(left), "a module that the source cannot reach must not run"
    choices = {"left": ("off", "on")[left], "right": ("off", "on")[right]}
    torch.testing.assert_close(net.extract(SPACE.choose(choices))(images), output, rtol=1e-12, atol=1e-12)


def test_gates_that_disconnect() -> None:
    dag = nx.MultiDiGraph()
    add_layer(dag, "in", (4,))
    add_layer(dag, "out", (2,))
    add_edge(dag, "in", "out", linear(4, 2), decision="left", option=1)
    add_edge(dag, "in", "out", linear(4, 2), decision="right", option=1)
    net = compile_supernet(dag, SPACE)
    with pytest.raises(ValueError, match="joins 'in' to 'out': the gates disconnect"):
        net(torch.zeros(1, 4), gates(0, 0))
    with pytest.raises(ValueError, match="the gates disconnect"):
        net.extract(SPACE.choose({"left": "off", "right": "off"}))


def test_gates_of_wrong_shapes() -> None:
    net = compile_supernet(diamond(), SPACE)
    images = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"'right': expected a gate of shape \(2,\) or \(3, 2\), got no gate"):
        net(images, {"left": torch.eye(2)[0]})
    with pytest.raises(ValueError, match=r"got a gate of shape \(4, 2\)"):
        net(images, {"left": torch.ones(4, 2), "right": torch.eye(2)[0]})


def test_extraction_refuses_counts() -> None:
    space = SearchSpace("counts", (Decision("left", ("off", "on"), units=3), Decision("right", ("off", "on"))))
    net = compile_supernet(diamond(), space)
    with pytest.raises(ValueError, match="'left' shares 3 units"):
        net.extract(Architecture({"left": (1, 2), "right": (0, 1)}))


def test_the_relu_comes_after_the_sum() -> None:
    dag = nx.MultiDiGraph()
    add_layer(dag, "in", (4,), "identity")
    add_layer(dag, "alone", (3,), "sum_relu")  # one module leads here: its output is rectified all the same
    add_layer(dag, "out", (2,), "sum_relu")
    add_edge(dag, "in", "alone", linear(4, 3))
    add_edge(dag, "alone", "out", linear(3, 2), decision="left", option=1)
    add_edge(dag, "in", "out", linear(4, 2), decision="right", option=1)
    torch.manual_seed(0)
    net = compile_supernet(dag, SPACE).double()
    images = torch.randn(16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    modules = dict(zip(net.edge_keys, net.edge_modules, strict=True))
    through = modules["alone", "out", 0](modules["in", "alone", 0](images).relu())
    direct = modules["in", "out", 0](images)
    for left, right, expected in ((1, 1, through + direct), (1, 0, through), (0, 1, direct)):
        assert bool((expected < 0).any()) and bool((expected > 0).any()), "the ReLU must matter"
        torch.testing.assert_close(net(images, gates(left, right)), expected.relu(), rtol=0, atol=0)
        bare = net.extract(SPACE.choose({"left": ("off", "on")[left], "right": ("off", "on")[right]}))
        torch.testing.assert_close(bare(images), expected.relu(), rtol=0, atol=0)
    assert [type(part) for part in net.extract(SPACE.choose({"left": "on", "right": "off"}))] == [
        nn.Linear,
        nn.ReLU,
        nn.Linear,
        nn.ReLU,
    ]


def test_a_relu_at_the_source_would_have_nothing_to_add() -> None:
    dag = nx.MultiDiGraph()
    add_layer(dag, "in", (4,), "sum_relu")
    add_layer(dag, "out", (4,), "identity")
    add_edge(dag, "in", "out", nn.Identity)
    images = torch.tensor([[-1.0, 2.0, -3.0, 4.0]])
    net = compile_supernet(dag, SPACE)
    assert torch.equal(net(images, gates(1, 1)), images)

"""Sub-graphs of their own for the rows of a batch: routing, masking, row-by-row evaluation and bare networks agree."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Literal

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.tiny import images as grey_images
from support.tiny import random_architecture, stir, tiny_space
from torch import Tensor, nn

from graphs import DagSpace, Decision, SearchSpace, Supernet, add_edge, add_layer, compile_supernet
from graphs.spaces import convolutional_neural_fabric
from graphs.supernet import as_multigraph
from graphs.supernet.routing import RoutedBatchNorm1d, RoutedBatchNorm2d, RoutedBatchNorm3d, route_norms

# Routed and masked convolutions add up the same numbers in another order: float64 leaves some 1e-13 of the largest value.
RTOL = 1e-9
Gates = dict[str, Tensor]


def block(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs))


def random_dag(seed: int) -> DagSpace:
    """A stem, up to four sums with ReLU of up to 4x4 pixels and a head; modules with biases and batch normalization, identities."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 6))
    shapes = [(3, 4, 4)]
    for _ in range(1, count):
        shapes.append((int(rng.integers(2, 4)), max(1, shapes[-1][1] // int(rng.integers(1, 3))), 0))
        shapes[-1] = (shapes[-1][0], shapes[-1][1], shapes[-1][1])
    dag = nx.MultiDiGraph()
    add_layer(dag, "image", (2, 4, 4), "identity")
    for place, shape in enumerate(shapes):
        add_layer(dag, place, shape, "identity" if place == 0 else rng.choice(["sum", "sum_relu"]))
    add_layer(dag, "logits", (3,), "identity")
    add_edge(dag, "image", 0, partial(block, 2, 3, 1))
    pairs = {(int(rng.integers(target)), target) for target in range(1, count)}
    pairs |= {(source, int(rng.integers(source + 1, count))) for source in range(count - 1)}
    for source, target in sorted(pairs):
        inputs, outputs = shapes[source], shapes[target]
        factories: list[Callable[[], nn.Module]] = [partial(block, inputs[0], outputs[0], inputs[1] // outputs[1])]
        if inputs == outputs:
            factories.append(nn.Identity)
        for key, factory in enumerate(factories):
            add_edge(dag, source, target, factory, decision=f"{source}-{target}-{key}", option=1, key=key)
    head = partial(nn.Linear, shapes[-1][0], 3)
    add_edge(dag, count - 1, "logits", lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head()))
    return DagSpace("random", dag)


def pair(network: DagSpace, disconnected: Literal["refuse", "zeros"] = "zeros") -> tuple[Supernet, Supernet]:
    """Routing and masking super-networks with the same weights."""
    torch.manual_seed(0)
    routing = network.supernet("route", disconnected).double()
    stir(routing, 1)
    masking = network.supernet("mask", disconnected).double()
    masking.load_state_dict(routing.state_dict())
    return routing, masking


def switch_gates(network: DagSpace, on: NDArray[np.bool_]) -> Gates:
    """Gates (rows, 2) of switches (rows, decisions)."""
    points = torch.from_numpy(np.stack([~on, on], axis=2)).double()
    return {decision.name: points[:, place] for place, decision in enumerate(network.space.decisions)}


def noise(rows: int, shape: tuple[int, ...] = (2, 4, 4), seed: int = 3) -> Tensor:
    return torch.randn((rows, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(found: Tensor | None, expected: Tensor | None) -> None:
    if found is None or expected is None:
        assert found is None and expected is None
        return
    torch.testing.assert_close(found, expected, rtol=RTOL, atol=RTOL * max(1.0, float(expected.detach().abs().max())))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.booleans())
def test_routing_and_masking_compute_the_same(seed: int, training: bool) -> None:
    network = random_dag(seed)
    nets = pair(network)
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 7))
    gates = switch_gates(network, rng.random((rows, len(network.space.decisions))) < rng.choice([0.3, 0.6, 0.9]))
    images = noise(rows)
    outputs, inputs = [], []
    for net in nets:
        leaf = images.clone().requires_grad_()
        outputs.append(net.train(training)(leaf, gates))
        (outputs[-1] * noise(rows, (3,), 7)).sum().backward()
        inputs.append(leaf.grad)
    assert_same(outputs[1], outputs[0])
    assert_same(
        inputs[1] if inputs[1] is not None else torch.zeros_like(images),
        inputs[0] if inputs[0] is not None else torch.zeros_like(images),
    )
    for (name, routed), masked in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert (routed.grad is None) == (masked.grad is None), name
        assert_same(masked.grad, routed.grad)
    for routed, masked in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        assert_same(masked, routed)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_every_row_has_the_output_of_its_own_bare_network(seed: int) -> None:
    network = random_dag(seed)
    rng = np.random.default_rng(seed)
    on = rng.random((5, len(network.space.decisions))) < 0.6
    gates, images = switch_gates(network, on), noise(5)
    alive = network.connectivity.connected(network.connectivity.switched_on(np.stack([~on, on], axis=2).reshape(5, -1))).any(axis=1)
    for net in pair(network):
        output = net.eval()(images, gates)
        for row in range(5):
            alone = net(images[row : row + 1], {name: gate[row] for name, gate in gates.items()})
            assert_same(output[row], alone[0])
            if alive[row]:
                assert_same(net.extract(network.switched(on[row]))(images[row : row + 1]), alone)
            else:
                assert not output[row].any()
                with pytest.raises(ValueError, match="the gates disconnect them"):
                    net.extract(network.switched(on[row]))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_one_sub_graph_for_the_batch_is_its_bare_network_in_training_too(seed: int) -> None:
    network = random_dag(seed)
    rng = np.random.default_rng(seed)
    on = rng.random(len(network.space.decisions)) < 0.8
    net, images = pair(network)[0].train(), noise(6)
    architecture = network.switched(on)
    if not network.connectivity.running(network.space, architecture).any():
        architecture = network.whole
    bare = net.extract(architecture)
    assert bare.training
    assert not any(isinstance(part, RoutedBatchNorm2d) for part in bare.modules())
    plain = compile_supernet(network.dag, network.space).double()
    plain.load_state_dict(net.state_dict())
    output = net(images, net.gates(architecture))
    assert_same(bare(images), output)
    assert_same(plain.train()(images, plain.gates(architecture)), output)  # a mixture of one
    for routed, mixed in zip(net.buffers(), plain.buffers(), strict=True):
        assert_same(routed, mixed)


def loose_ends() -> DagSpace:
    """image -> a -> logits, with a dead end, a module that nothing leads to, and a way around."""
    dag = nx.MultiDiGraph()
    add_layer(dag, "image", (2, 3, 3), "identity")
    for node in "abc":
        add_layer(dag, node, (2, 3, 3), "sum_relu")
    add_layer(dag, "logits", (2, 3, 3), "sum")
    for source, target in (("image", "a"), ("image", "b"), ("a", "b"), ("a", "c"), ("b", "c"), ("b", "logits"), ("c", "logits")):
        add_edge(dag, source, target, partial(block, 2, 2, 1), decision=f"{source} -> {target}", option=1)
    add_edge(dag, "a", "logits", partial(block, 2, 2, 1), decision="a -> logits", option=1)
    return DagSpace("loose ends", dag)


@pytest.mark.parametrize("rows", ["route", "mask"])
def test_disconnected_modules_leave_no_trace(rows: Literal["route", "mask"]) -> None:
    network = loose_ends()
    torch.manual_seed(0)
    net = network.supernet(rows).double().train()
    names = [decision.name for decision in network.space.decisions]
    dead = {"a -> b", "b -> c", "a -> c"}  # switched on in every row
    wanted = [{"image -> a", "a -> logits"} | dead, {"image -> a", "a -> logits", "b -> c"}, {"image -> a", "a -> logits"}]
    wanted[0].add("c -> logits")  # row 0: a -> b -> c -> logits is a path, nothing is dead
    on = np.array([[name in row for name in names] for row in wanted])
    by_name = {f"{source} -> {target}": module for (source, target, _), module in zip(net.edge_keys, net.edge_modules, strict=True)}
    first = net(noise(3, (2, 3, 3)), switch_gates(network, on))
    assert by_name["b -> c"][1].num_batches_tracked == 1  # row 0 alone: in row 1 nothing leads there
    assert by_name["image -> a"][1].num_batches_tracked == 1
    assert by_name["image -> b"][1].num_batches_tracked == 0
    # Row 1's dead module with a huge bias: only row 0 may see it.
    with torch.no_grad():
        by_name["b -> c"][1].bias.fill_(1e6)
        by_name["image -> b"][0].bias.fill_(float("nan"))
    second = net(noise(3, (2, 3, 3)), switch_gates(network, on))
    assert not torch.equal(second[0], first[0])
    assert torch.equal(second[1:], first[1:])
    # Dead in every row: neither bias nor statistics show.
    on[:, [names.index("c -> logits"), names.index("b -> logits")]] = False
    on[:, [names.index(name) for name in dead]] = True
    before = copy.deepcopy(net.state_dict())
    output = net(noise(3, (2, 3, 3)), switch_gates(network, on))
    body = nn.Sequential(by_name["image -> a"], nn.ReLU(), by_name["a -> logits"])
    assert_same(output, body(noise(3, (2, 3, 3))))
    for index, (source, target, _) in enumerate(net.edge_keys):
        changed = any(
            not torch.equal(value, before[name])
            for name, value in net.state_dict().items()
            if name.startswith(f"edge_modules.{index}.") and name.endswith("running_mean")
        )
        assert changed == ((source, target) in {("image", "a"), ("a", "logits")})
    output.sum().backward()
    assert by_name["a -> c"][0].weight.grad is None, "a weight decay on a module that did not run would change it"


def test_statistics_are_those_of_the_routed_rows() -> None:
    network = loose_ends()
    names = [decision.name for decision in network.space.decisions]
    on = np.zeros((4, len(names)), dtype=np.bool_)
    on[:2, [names.index("image -> a"), names.index("a -> logits")]] = True
    on[2:, [names.index("image -> b"), names.index("b -> logits")]] = True
    images = noise(4, (2, 3, 3))
    for net in pair(network):
        modules = dict(zip(net.edge_keys, net.edge_modules, strict=True))
        twin = copy.deepcopy(modules["image", "a", 0])
        net.train()(images, switch_gates(network, on))
        twin(images[:2])
        assert_same(modules["image", "a", 0][1].running_var, twin[1].running_var)
        assert_same(modules["image", "a", 0][1].running_mean, twin[1].running_mean)


def test_a_channel_that_sees_one_value_uses_the_running_statistics() -> None:
    fabric = convolutional_neural_fabric(2, 3, 2, classes=2, image_channels=1, side=4)  # its last scale is one pixel
    nets = pair(fabric)
    images = noise(3, (1, 4, 4))
    on = np.ones((3, len(fabric.space.decisions)), dtype=np.bool_)
    last = next(key for key in fabric.dag.edges(keys=True) if key[1] == "column1.scale3")
    switch = [decision.name for decision in fabric.space.decisions].index(fabric.dag.edges[last]["edge"].decision)
    on[1:, switch] = False  # row 0 alone runs the module: a value a channel
    outputs = []
    for net in nets:
        norm = next(part for part in net.edge_modules[net.edge_keys.index(last)].modules() if isinstance(part, nn.BatchNorm2d))
        before = copy.deepcopy(norm.state_dict())
        outputs.append(net.train()(images, switch_gates(fabric, on)))
        outputs[-1].sum().backward()
        for name, value in norm.state_dict().items():
            assert torch.equal(value, before[name])
        assert norm.weight.grad is not None
    assert_same(outputs[1], outputs[0])
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert_same(other.grad, one.grad)


@pytest.mark.parametrize(
    ("plain", "routed", "shape"),
    [
        (nn.BatchNorm1d, RoutedBatchNorm1d, (4,)),
        (nn.BatchNorm1d, RoutedBatchNorm1d, (4, 5)),
        (nn.BatchNorm2d, RoutedBatchNorm2d, (4, 2, 3)),
        (nn.BatchNorm3d, RoutedBatchNorm3d, (4, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_a_routed_normalization_is_a_plain_one_of_its_rows(
    plain: type[nn.Module], routed: type[nn.Module], shape: tuple[int, ...], settings: dict[str, bool | None]
) -> None:
    reference = plain(4, **settings).double()
    norm = route_norms(plain(4, **settings).double())
    assert type(norm) is routed
    assert list(norm.state_dict()) == list(reference.state_dict())
    features, rows = noise(6, shape), torch.tensor([0, 3, 4])
    for _ in range(2):
        norm.rows = rows
        found, expected = norm(features), reference(features[rows])
        assert_same(found[rows], expected)
        assert not found[[1, 2, 5]].any()
        for one, other in zip(norm.buffers(), reference.buffers(), strict=True):
            assert_same(one, other)
    norm.rows = None
    assert_same(norm(features), reference(features))
    assert_same(norm.eval()(features), reference.eval()(features))
    with pytest.raises(ValueError, match=r"expected [23456]D.* input"):
        norm(features[:, :, None, None, None, None])


def test_normalizations_that_cannot_be_routed_are_named() -> None:
    class Own(nn.BatchNorm2d):
        pass

    dag = nx.MultiDiGraph()
    add_layer(dag, "in", (2, 3, 3))
    add_layer(dag, "out", (2, 3, 3))
    add_edge(dag, "in", "out", lambda: nn.Sequential(Own(2)), decision="only", option=1)
    network = DagSpace("own", dag)
    with pytest.raises(ValueError, match=r"edge \('in', 'out', 0\): 0 is a Own"):
        network.supernet()
    compile_supernet(dag, network.space)  # a mixture has no rows to keep apart


@pytest.mark.parametrize("rows", ["route", "mask"])
def test_disconnected_rows(rows: Literal["route", "mask"]) -> None:
    network = loose_ends()
    net = network.supernet(rows).double()
    on = np.ones((4, len(network.space.decisions)), dtype=np.bool_)
    on[2] = False
    images = noise(4, (2, 3, 3))
    with pytest.raises(ValueError, match=r"row 2 \(1 of 4 rows\): .* joins 'image' to 'logits': the gates disconnect"):
        net(images, switch_gates(network, on))
    with pytest.raises(ValueError, match="joins 'image' to 'logits': the gates disconnect"):
        net(images, {name: gate[2] for name, gate in switch_gates(network, on).items()})
    net.disconnected = "zeros"
    output = net(images, switch_gates(network, on))
    assert not output[2].any()
    assert output[0].any()
    on[:] = False
    for gates in (switch_gates(network, on), {name: gate[0] for name, gate in switch_gates(network, on).items()}):
        nothing = net(images, gates)
        assert nothing.shape == (4, 2, 3, 3)
        assert not nothing.any()
        nothing.sum().backward()
        assert all(parameter.grad is None for parameter in net.parameters())


def test_gates_that_routing_refuses() -> None:
    network = loose_ends()
    net, images = network.supernet().double(), noise(2, (2, 3, 3))
    gates = net.gates(network.whole)
    with pytest.raises(ValueError, match=r"'image -> b': rows='route' has no gradient for gates"):
        net(images, gates | {"image -> b": torch.tensor([0.0, 1.0], requires_grad=True)})
    for bad in ([0.5, 0.5], [0.0, 0.0], [1.0, 1.0], [-1.0, 2.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match=r"'a -> c': rows='route' needs one-hot gates"):
            net(images, gates | {"a -> c": torch.tensor(bad)})
    with pytest.raises(ValueError, match="rows: expected one of mixture, route, mask, got 'both'"):
        network.supernet("both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="disconnected: expected one of refuse, zeros, got 'skip'"):
        network.supernet(disconnected="skip")  # type: ignore[arg-type]
    counts = SearchSpace("counts", tuple(Decision(d.name, d.options, units=2) for d in network.space.decisions))
    with pytest.raises(ValueError, match="several units: rows='mask' needs"):
        compile_supernet(network.dag, counts, "mask")


def test_gates_for_the_batch_and_for_rows_together() -> None:
    network = loose_ends()
    net, images = network.supernet().double().eval(), noise(2, (2, 3, 3))
    on = np.ones((2, len(network.space.decisions)), dtype=np.bool_)
    on[1, 1] = False
    rows = switch_gates(network, on)
    mixed = {name: gate if not torch.equal(gate[0], gate[1]) else gate[0] for name, gate in rows.items()}
    assert sum(gate.ndim == 1 for gate in mixed.values()) == len(mixed) - 1
    assert torch.equal(net(images, mixed), net(images, rows))


@pytest.mark.parametrize("rows", ["route", "mask"])
def test_elastic_modules_are_told_their_rows_gates(rows: Literal["route", "mask"]) -> None:
    space = tiny_space()
    torch.manual_seed(0)
    mixture = space.supernet().double().eval()
    stir(mixture, 1)
    net = compile_supernet(space.dag(), space.space, rows).double().eval()
    net.load_state_dict(mixture.state_dict())
    rng = np.random.default_rng(0)
    drawn = [mixture.gates(random_architecture(space.space, rng)) for _ in range(4)]
    gates = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    assert_same(net(grey_images(4, space, 2), gates), mixture(grey_images(4, space, 2), gates))
    assert_same(net(grey_images(4, space, 2), drawn[0]), mixture(grey_images(4, space, 2), drawn[0]))


def test_a_plain_digraph_and_lazy_and_shared_modules() -> None:
    shared = nn.Sequential(nn.LazyConv2d(2, 3, padding=1), nn.LazyBatchNorm2d())
    multi = nx.MultiDiGraph()
    for node in "abc":
        add_layer(multi, node, (2, 3, 3))
    for source, target in ("ab", "bc", "ac"):
        add_edge(multi, source, target, lambda: shared, decision=source + target, option=1)
    graph = nx.DiGraph()
    graph.add_nodes_from(multi.nodes(data=True))
    graph.add_edges_from((source, target, data) for source, target, data in multi.edges(data=True))
    network = DagSpace("shared", graph)
    assert set(network.dag) == set(as_multigraph(graph))
    nets = [network.supernet(rows, "zeros") for rows in ("route", "mask")]
    assert isinstance(shared[1], RoutedBatchNorm2d)
    on = np.array([[True, True, False], [True, True, True], [False, False, True]])
    images = noise(3, (2, 3, 3)).float()
    outputs = [copy.deepcopy(net)(images, switch_gates(network, on)) for net in nets]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)  # lazy modules are float32
    assert len(list(nets[0].parameters())) == 4
    assert [key[:2] for key in compile_supernet(graph, network.space).edge_keys] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_bare_networks_print_and_load() -> None:
    network = loose_ends()
    net = pair(network)[0].eval()
    bare = net.extract(network.whole)
    printed = repr(bare)
    assert printed.startswith("ExtractedNetwork(\n  image -> logits; ReLU after the sum in a, b, c\n")
    assert "(image -> a): Sequential(" in printed
    assert "Routed" not in printed
    torch.manual_seed(5)
    other = network.supernet().double().eval().extract(network.whole)
    assert not torch.allclose(other(noise(2, (2, 3, 3))), bare(noise(2, (2, 3, 3))))
    other.load_state_dict(bare.state_dict())
    assert torch.equal(other(noise(2, (2, 3, 3))), bare(noise(2, (2, 3, 3))))
    dots = nx.MultiDiGraph()
    for node in ("in", "x.y", "x_y"):
        add_layer(dots, node, (2,), "sum_relu")
    add_edge(dots, "in", "x.y", partial(nn.Linear, 2, 2), decision="first", option=1)
    add_edge(dots, "x.y", "x_y", partial(nn.Linear, 2, 2))
    chain = DagSpace("dots", dots).supernet()
    assert list(dict(chain.extract(DagSpace("dots", dots).whole).named_children())) == [
        "x_y",
        "x_y_relu",
        "x_y (2)",
        "x_y_relu (2)",
    ]


def test_under_autocast_modules_may_differ_in_precision() -> None:
    dag = nx.MultiDiGraph()
    add_layer(dag, "in", (4,), "identity")
    add_layer(dag, "out", (4,), "sum_relu")
    add_edge(dag, "in", "out", partial(nn.Linear, 4, 4), decision="linear", option=1, key="linear")
    add_edge(dag, "in", "out", nn.Identity, decision="identity", option=1, key="identity")
    network = DagSpace("autocast", dag)
    on = np.array([[True, True], [True, False], [False, True]])
    images = noise(3, (4,)).float()
    for net in (network.supernet("route"), network.supernet("mask")):
        with torch.autocast("cpu", torch.bfloat16):
            output = net(images, switch_gates(network, on))
        assert output.dtype == torch.float32
        linear = net.edge_modules[0]
        expected = torch.stack([linear(images[0]) + images[0], linear(images[1]), images[2]]).relu()
        torch.testing.assert_close(output, expected, rtol=2e-2, atol=2e-2)  # bfloat16 has eight bits

"""ResNets and the ResNet fabric: their counts as published, their shape, and the plain ResNet inside the fabric."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from support.tiny import stir
from torch import nn

from graphs import Architecture, DagSpace, compile_supernet, convolutional_neural_fabric, resnet, resnet_fabric
from graphs.costs import connected_macs, connected_parameters, makespan_cost
from graphs.spaces import plain_resnet
from graphs.supernet import edge_of

# n: parameters, multiply-adds, steps on 1, 2 and 4 machines (ResNet-20, 32, 44, 56, 110 of tables 1, 3, 5-9)
PLAIN = {
    3: (273_258, 40_899_200, (22, 20, 20)),
    5: (468_138, 69_268_096, (34, 32, 32)),
    7: (663_018, 97_636_992, (46, 44, 44)),
    9: (857_898, 126_005_888, (58, 56, 56)),
    18: (1_734_858, 253_665_920, (112, 110, 110)),
}
# n: parameters, multiply-adds, connections, cross connections, projections, steps on 1, 2 and 4 machines
FABRIC = {
    3: (760_586, 91_140_736, 23, 14, 16, (50, 29, 20)),
    5: (1_390_730, 163_697_280, 41, 26, 28, (86, 49, 32)),
    7: (2_020_874, 236_253_824, 59, 38, 40, (122, 69, 44)),
    9: (2_651_018, 308_810_368, 77, 50, 52, (158, 89, 56)),
    18: (5_486_666, 635_314_816, 158, 104, 106, (320, 179, 110)),
}


def _steps(space: DagSpace, architecture: Architecture) -> tuple[float, ...]:
    return tuple(makespan_cost(space, machines).cost(architecture) for machines in (1, 2, 4))


@pytest.mark.parametrize("n", PLAIN)
def test_plain_resnets_cost_what_was_published(n: int) -> None:
    parameters, macs, steps = PLAIN[n]
    space, fabric = resnet(n), resnet_fabric(n)
    for network, architecture in ((space, space.whole), (fabric, plain_resnet(fabric))):
        assert connected_parameters(network).cost(architecture) == parameters
        for mode in ("published", "exact"):
            assert connected_macs(network, mode).cost(architecture) == macs
        assert _steps(network, architecture) == steps


@pytest.mark.parametrize("n", PLAIN)
def test_a_hundred_classes_add_5760_multiply_adds(n: int) -> None:
    space = resnet(n, classes=100)
    assert connected_macs(space).cost(space.whole) == PLAIN[n][1] + 5_760


@pytest.mark.parametrize("n", FABRIC)
def test_resnet_fabrics_cost_what_was_published(n: int) -> None:
    parameters, macs, connections, crossing, projections, steps = FABRIC[n]
    space = resnet_fabric(n)
    assert connected_parameters(space).cost(space.whole) == parameters
    for mode in ("published", "exact"):
        assert connected_macs(space, mode).cost(space.whole) == macs
    keys = [key for key in space.dag.edges(keys=True) if edge_of(space.dag, key).decision]
    assert len(keys) == len(space.space.decisions) == 2 * connections
    assert sum(space.dag.edges[key]["cross"] for key in keys) == 2 * crossing
    with torch.device("meta"):
        shortcuts = [edge_of(space.dag, key).factory() for key in keys if key[2] == "skip"]
    assert sum(not isinstance(shortcut, nn.Identity) for shortcut in shortcuts) == projections
    assert _steps(space, space.whole) == steps


def test_cross_links_are_mirrored_and_reach_the_input_of_the_group_before() -> None:
    dag = resnet_fabric(3).dag
    into = {node: [source for source, _, key in dag.in_edges(node, keys=True) if key == "body"] for node in dag}
    first = [f"group1.block{block}" for block in (1, 2, 3)]
    second = [f"group2.block{block}" for block in (1, 2, 3)]
    assert into["group1.block1"] == ["stem"]
    assert into["group2.block1"] == [first[2], first[1], first[0]]  # its own input; straight; right
    assert into["group2.block2"] == [second[0], first[0], first[1], "stem"]  # its own input; straight; left; right
    assert into["group2.block3"] == [second[1], "stem", first[0]]  # its own input; straight; left
    assert into["group3.block3"] == ["group3.block2", first[2], second[0]]
    strided = edge_of(dag, (first[2], "group3.block3", "body")).factory()
    assert strided(torch.zeros(2, 16, 32, 32)).shape == (2, 64, 8, 8)


def test_one_block_a_group_links_its_groups_inputs() -> None:
    space = resnet_fabric(1)
    assert len(space.space.decisions) == 2 * (9 - 4)
    assert plain_resnet(space).counts["stem -> group2.block1 body"] == (1, 0)


def test_without_cross_links_the_fabric_computes_what_the_plain_resnet_computes() -> None:
    torch.manual_seed(0)
    settings = {"widths": (4, 8, 16), "side": 16, "image_channels": 1, "classes": 5}
    fabric, plain = resnet_fabric(3, **settings), resnet(3, **settings)
    whole, part = compile_supernet(fabric.dag, fabric.space), compile_supernet(plain.dag, plain.space)
    stir(whole, 1)
    place = {key: index for index, key in enumerate(fabric.dag.edges(keys=True))}
    for module, key in zip(part.edge_modules, plain.dag.edges(keys=True), strict=True):
        module.load_state_dict(whole.edge_modules[place[key]].state_dict())
    images = torch.randn(4, 1, 16, 16)
    alone = plain_resnet(fabric)
    for training in (False, True):
        extracted = whole.train(training).extract(alone)
        outputs = whole(images, whole.gates(alone))
        assert outputs.shape == (4, 5)
        assert outputs.std() > 0
        assert torch.equal(outputs, part.train(training)(images, part.gates(plain.whole)))
        assert torch.equal(outputs, extracted(images))
        assert not torch.equal(outputs, whole(images, whole.gates(fabric.whole)))
    assert sum(p.numel() for p in extracted.parameters()) == connected_parameters(plain).cost(plain.whole)


def test_other_groups_and_widths() -> None:
    same = resnet(2, widths=(8, 8), side=8)
    shortcut = edge_of(same.dag, ("group1.block2", "group2.block1", "skip")).factory()
    assert shortcut(torch.zeros(1, 8, 8, 8)).shape == (1, 8, 4, 4)  # the side changes although the channels do not
    assert resnet_fabric(2, widths=(8, 16, 32, 64), side=32).dag.nodes["group4.block2"]["layer"].shape == (64, 4, 4)
    assert "resnet-10" in same.name
    assert nx.is_directed_acyclic_graph(resnet(1, widths=(4,)).dag)


def test_what_is_no_resnet_is_refused() -> None:
    with pytest.raises(ValueError, match="'n': 0"):
        resnet(0)
    with pytest.raises(ValueError, match="'classes': -1"):
        resnet_fabric(1, classes=-1)
    with pytest.raises(ValueError, match=r"at least one group, got widths \(\)"):
        resnet(1, widths=())
    with pytest.raises(ValueError, match="side 14 cannot be halved 2 times"):
        resnet_fabric(1, side=14)
    with pytest.raises(ValueError, match="expected a ResNet fabric, got 'cnf-2x2x4"):
        plain_resnet(convolutional_neural_fabric(2, 2, 4, classes=3))

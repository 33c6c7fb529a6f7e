"""ResNets and the ResNet fabric as super-networks whose modules are switched on and off.

Groups of ``n`` basic blocks; a block is two modules between two layers, a body (key ``body``) and a shortcut (key ``skip``: the
identity, or a projection where channels or side change), and the sum with ReLU where they meet. Three groups of n blocks are
ResNet-(6n + 2). The fabric adds cross links from each group to the next, each a body and a projection of its own. The groups lie
like a folded strip: block d of a group lies against block n - d - 2 of the group before, and is also linked with the neighbours of
that one (blocks counted from 0). Every body and shortcut has a decision of its own; the stem and the head always run.

Reference: He et al., Deep residual learning (ResNet for CIFAR, projection shortcuts); Véniat & Denoyer, Budgeted Super Networks
(ResNet fabric).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import networkx as nx
import numpy as np
from torch import nn

from graphs.blocks import BasicBlockBody, ConvNormActivation, PooledLinear
from graphs.space import Architecture
from graphs.spaces.dag_space import DagSpace
from graphs.supernet import add_edge, add_layer, layer_of

WIDTHS = (16, 32, 64)


def resnet(n: int, *, classes: int = 10, image_channels: int = 3, side: int = 32, widths: tuple[int, ...] = WIDTHS) -> DagSpace:
    """The plain ResNet of ``n`` blocks a group: ResNet-(6n + 2) with three groups.

    Args:
        n: blocks a group.
        classes: logits.
        image_channels, side: images are (image_channels, side, side).
        widths: channels of each group; the side is halved from one group to the next.

    Raises:
        ValueError: a number below 1, no groups, or a side that cannot be halved so often.

    Reference: He et al., Deep residual learning for image recognition, Sec. 4.2.

    Example:
        >>> resnet(3).name
        'resnet-20-32x3-16.32.64-10'
    """
    depth = 2 * n * len(widths) + 2
    return DagSpace(
        _named(f"resnet-{depth}", classes, image_channels, side, widths), _dag(n, classes, image_channels, side, widths)
    )


def resnet_fabric(
    n: int, *, classes: int = 10, image_channels: int = 3, side: int = 32, widths: tuple[int, ...] = WIDTHS
) -> DagSpace:
    """The ResNet fabric that contains :func:`resnet` of the same arguments: 9n - 4 pairs of a body and a shortcut
    with three groups.

    Block d of a group after the first also receives from the group before, blocks counted from 0: from its block n - d - 2, its
    block n - d - 1 (not into the first block), and its block n - d - 3 (not into the last); number -1 is that group's input.

    Args and Raises: as :func:`resnet`.

    Reference: Véniat & Denoyer, Budgeted Super Networks.

    Example:
        >>> len(resnet_fabric(3).space.decisions)  # 23 pairs of a body and a shortcut
        46
    """
    dag = _dag(n, classes, image_channels, side, widths, fabric=True)
    return DagSpace(_named(f"resnet-fabric-{n}", classes, image_channels, side, widths), dag)


def plain_resnet(fabric: DagSpace) -> Architecture:
    """The architecture of a fabric without its cross links: exactly the plain ResNet of the same arguments.

    Raises:
        ValueError: not a ResNet (fabric) of this module.
    """
    on = {}
    for source, target, key, data in fabric.dag.edges(keys=True, data=True):
        decision = data["edge"].decision
        if decision is not None:
            if "cross" not in data:
                raise ValueError(f"expected a ResNet fabric, got {fabric.name!r}: its edge {(source, target, key)!r} is not of one")
            on[decision] = not data["cross"]
    return fabric.switched(np.array([on[decision.name] for decision in fabric.space.decisions]))


def _named(name: str, classes: int, image_channels: int, side: int, widths: tuple[int, ...]) -> str:
    return f"{name}-{side}x{image_channels}-{'.'.join(map(str, widths))}-{classes}"


def _dag(n: int, classes: int, image_channels: int, side: int, widths: tuple[int, ...], fabric: bool = False) -> nx.MultiDiGraph:
    numbers = {"n": n, "classes": classes, "image_channels": image_channels, "side": side}
    wrong = {name: value for name, value in numbers.items() if value < 1}
    if wrong or not widths or min(widths) < 1:
        raise ValueError(f"expected numbers from 1 up and at least one group, got {wrong or f'widths {widths}'}")
    if side % 2 ** (len(widths) - 1):
        raise ValueError(f"side {side} cannot be halved {len(widths) - 1} times, once for every group after the first")
    dag = nx.MultiDiGraph()
    add_layer(dag, "image", (image_channels, side, side), "identity")
    add_layer(dag, "stem", (widths[0], side, side), "identity")
    add_edge(dag, "image", "stem", partial(ConvNormActivation, image_channels, widths[0], 3, bias=True), key="stem")
    for group, width in enumerate(widths):
        for block in range(n):
            node, length = _name(group, block, n), side // 2**group
            add_layer(dag, node, (width, length, length), "sum_relu")
            _connect(dag, _name(group, block - 1, n), node, cross=False)
            if fabric and group > 0:
                for before in _crossing(block, n):
                    _connect(dag, _name(group - 1, before, n), node, cross=True)
    add_layer(dag, "logits", (classes,), "identity")
    add_edge(dag, _name(len(widths) - 1, n - 1, n), "logits", partial(PooledLinear, widths[-1], classes), key="head")
    _place(dag, len(widths), n)
    return dag


def _name(group: int, block: int, n: int) -> str:
    """The layer after a block; block -1 is the input of the group."""
    if block < 0:
        return "stem" if group == 0 else _name(group - 1, n - 1, n)
    return f"group{group + 1}.block{block + 1}"


def _crossing(block: int, n: int) -> Iterator[int]:
    """Blocks of the group before that a block receives from: straight, left, right."""
    yield n - block - 2
    if block != 0:
        yield n - block - 1
    if block != n - 1:
        yield n - block - 3


def _connect(dag: nx.MultiDiGraph, source: str, target: str, cross: bool) -> None:
    inputs, before, _ = layer_of(dag, source).shape
    outputs, after, _ = layer_of(dag, target).shape
    stride = before // after
    plain = stride == 1 and inputs == outputs
    shortcut = nn.Identity if plain else partial(ConvNormActivation, inputs, outputs, 1, stride, activation="identity", bias=True)
    for key, factory in (("body", partial(BasicBlockBody, inputs, outputs, stride)), ("skip", shortcut)):
        add_edge(dag, source, target, factory, decision=f"{source} -> {target} {key}", option=1, key=key)
        dag.edges[source, target, key]["cross"] = cross


def _place(dag: nx.MultiDiGraph, groups: int, n: int) -> None:
    """Where a drawing puts the layers: a strip folded at every group, so that cross links are short."""
    for group in range(groups):
        for block in range(n):
            across = block + 1 if group % 2 == 0 else n - 1 - block
            dag.nodes[_name(group, block, n)]["position"] = (float(across), -float(group))
    last = dag.nodes[_name(groups - 1, n - 1, n)]["position"]
    outwards = 1.0 if groups % 2 else -1.0
    dag.nodes["image"]["position"] = (-1.0, 0.0)
    dag.nodes["stem"]["position"] = (0.0, 0.0)
    dag.nodes["logits"]["position"] = (last[0] + outwards, last[1])

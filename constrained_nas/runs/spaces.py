"""The search spaces that the command line knows by name, built for given data.

Four families: HardCoRe's inverted residuals (``hardcore-*``), super-networks of modules to switch off (``resnet-fabric-*``,
``cnf-*``), PruNet's blocks with widths (``gpunet-*``), and the filters of a ResNet (``resnet8-bits``: how many filters of each
layer get which bit widths; ``resnet8-widths``: how many there are in each stage). Those called small suit a laptop and digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from graphs import (
    FLOAT,
    DagSpace,
    FilterNetwork,
    FilterSpace,
    GPUNetSpace,
    MBConvSpace,
    Operation,
    SearchSpace,
    convolutional_neural_fabric,
    gpunet_imagenet,
    gpunet_imagewoof,
    gpunet_small,
    hardcore_imagenet,
    hardcore_small,
    resnet_fabric,
    resnet_filters,
    resnet_topology,
)

SpaceName = Literal[
    "hardcore-small",
    "hardcore-imagenet",
    "hardcore-imagenet-paper",
    "resnet-fabric-small",
    "resnet-fabric-3",
    "resnet-fabric-5",
    "resnet-fabric-7",
    "resnet-fabric-9",
    "resnet-fabric-18",
    "cnf-small",
    "cnf-2",
    "cnf-4",
    "cnf-8",
    "gpunet-small",
    "gpunet-imagenet",
    "gpunet-imagewoof",
    "resnet8-bits",
    "resnet8-widths",
    "resnet20-bits",
    "resnet20-widths",
]
Family = Literal["hardcore", "dag", "gpunet", "filters"]


@dataclass(frozen=True)
class FilterFamily:
    """The filters of a residual network: their space, and the network with fresh weights, given the statistics it keeps."""

    space: FilterSpace
    build: Callable[[tuple[str, ...]], FilterNetwork]


RunSpace = MBConvSpace | DagSpace | GPUNetSpace | FilterFamily


def family_of(name: SpaceName) -> Family:
    """Which methods a space is for."""
    if name.startswith("hardcore"):
        return "hardcore"
    if name.startswith("gpunet"):
        return "gpunet"
    return "filters" if name.endswith(("-bits", "-widths")) else "dag"


def make_space(name: SpaceName, classes: int, image_channels: int, resolution: int) -> RunSpace:
    """The space of that name for images (image_channels, resolution, resolution) of so many classes.

    Raises:
        ValueError: an unknown name, or a resolution that the network cannot halve as often as it has to.
    """
    if name not in get_args(SpaceName):
        raise ValueError(f"no space {name!r}; there are {', '.join(get_args(SpaceName))}")
    family = family_of(name)
    if family == "hardcore":
        if name == "hardcore-small":
            return hardcore_small(classes, resolution, image_channels)
        return hardcore_imagenet("paper" if name.endswith("paper") else "release", classes, resolution, image_channels)
    if family == "gpunet":
        if name == "gpunet-small":
            return gpunet_small(classes, resolution, image_channels)
        make = gpunet_imagenet if name == "gpunet-imagenet" else gpunet_imagewoof
        return make(classes, resolution, image_channels)
    if family == "filters":
        return _filters(name, classes, image_channels, resolution)
    return _dag(name, classes, image_channels, resolution)


def decisions_of(space: RunSpace) -> SearchSpace:
    """The decisions of a space of any family."""
    return space.space.space if isinstance(space, FilterFamily) else space.space


def _dag(name: str, classes: int, channels: int, side: int) -> DagSpace:
    kind, _, size = name.rpartition("-")
    if kind == "resnet-fabric":
        widths, blocks = ((8, 16, 32), 3) if size == "small" else ((16, 32, 64), int(size))
        return resnet_fabric(blocks, classes=classes, image_channels=channels, side=side, widths=widths)
    columns, scales, filters = (4, 4, 8) if size == "small" else (int(size), 6, 128)
    return convolutional_neural_fabric(columns, scales, filters, classes=classes, image_channels=channels, side=side)


def _filters(name: str, classes: int, channels: int, side: int) -> FilterFamily:
    size, _, kind = name.partition("-")
    filters, blocks = ((8, 16, 32), 1) if size == "resnet8" else ((16, 32, 64), 3)
    topology = resnet_topology(filters, blocks, channels, side)
    space = topology.quantization_space() if kind == "bits" else topology.width_space(per="stage")
    operations = space.operations if kind == "bits" else (FLOAT,)
    return FilterFamily(space, partial(_build_filters, filters, blocks, classes, channels, side, operations))


def _build_filters(
    filters: tuple[int, ...],
    blocks: int,
    classes: int,
    channels: int,
    side: int,
    operations: tuple[Operation, ...],
    sets: tuple[str, ...],
) -> FilterNetwork:
    return resnet_filters(filters, blocks, classes, channels, side, operations=operations, sets=sets)

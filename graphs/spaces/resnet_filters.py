"""ResNet-20 and its kin for small images, as a plain module and as a network of filters.

Three stages of ``blocks`` basic blocks (conv, norm, ReLU, conv, norm, shortcut, ReLU); the second and third begin with stride 2.
There the shortcut is a 1x1 projection with its normalization, or the identity on every other pixel with zeros for new channels.

Reference: He et al., Deep Residual Learning, Sec. 4.2 (options A and B); Zur et al. use 16, 32 and 64 filters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from graphs.filters import PAPER_OPERATIONS, FilterNetwork, FilterTopology, Operation, PaddedShortcut, filter_network

Shortcut = Literal["projection", "identity"]


class BasicBlock(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            projection = nn.Sequential(OrderedDict[str, nn.Module](conv=conv, norm=nn.BatchNorm2d(outputs)))
            self.shortcut = projection if shortcut == "projection" else PaddedShortcut(outputs, stride)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm1(self.conv1(images)))
        return torch.relu(self.norm2(self.conv2(features)) + self.shortcut(images))


class SmallResNet(nn.Module):
    """(B, image_channels, side, side) -> (B, classes). Weights from torch's global generator, He's for ReLU: seed it first.

    Raises:
        ValueError: no stages or sizes below 1, an unknown shortcut, or stages that shrink where shortcuts are identities.
    """

    def __init__(
        self,
        filters: Sequence[int] = (16, 32, 64),
        blocks: int = 3,
        classes: int = 10,
        image_channels: int = 3,
        shortcut: Shortcut = "projection",
    ) -> None:
        super().__init__()
        if not filters or min(*filters, blocks, classes, image_channels) < 1:
            raise ValueError(f"expected positive sizes, got filters {list(filters)}, {blocks} blocks, {classes} classes")
        if shortcut not in ("projection", "identity"):
            raise ValueError(f"shortcut: expected 'projection' or 'identity', got {shortcut!r}")
        if shortcut == "identity" and list(filters) != sorted(filters):
            raise ValueError(f"identity shortcuts pad new channels with zeros: filters must not fall, got {list(filters)}")
        self.conv = nn.Conv2d(image_channels, filters[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(filters[0])
        stages, inputs = [], filters[0]
        for stage, outputs in enumerate(filters):
            strides = [2 if stage and not block else 1 for block in range(blocks)]
            stages.append(
                nn.Sequential(*(BasicBlock(inputs if not b else outputs, outputs, s, shortcut) for b, s in enumerate(strides)))
            )
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(torch.relu(self.norm(self.conv(images))))
        return cast(Tensor, self.classifier(torch.flatten(self.pool(features), 1)))


def resnet_filters(
    filters: Sequence[int] = (16, 32, 64),
    blocks: int = 3,
    classes: int = 10,
    image_channels: int = 3,
    side: int = 32,
    *,
    shortcut: Shortcut = "projection",
    operations: Sequence[Operation] = PAPER_OPERATIONS,
    sets: Sequence[str] = (),
    own_weights: bool = False,
) -> FilterNetwork:
    """A residual network of filters with fresh weights; the defaults are the paper's ResNet-20 on CIFAR-10.

    Args:
        filters, blocks: of each stage, and basic blocks a stage: ``(8, 16, 32), 1, 10, 1, 16`` suits digits on a laptop.
        side: of the images.
        shortcut: between stages, ``projection`` or ``identity``.
        operations, sets, own_weights: see ``filter_network``; operations ``(FLOAT,)`` for widths alone.

    Example:
        >>> resnet_filters((8, 16), blocks=1, image_channels=1, side=16).topology.filters.tolist()
        [8, 8, 8, 16, 16, 16]
    """
    module = SmallResNet(filters, blocks, classes, image_channels, shortcut)
    name = f"resnet{2 * blocks * len(filters) + 2}-{'x'.join(map(str, filters))}-{shortcut}"
    shape = (image_channels, side, side)
    return filter_network(module, shape, operations, sets=sets, own_weights=own_weights, name=name)


def resnet_topology(
    filters: Sequence[int] = (16, 32, 64),
    blocks: int = 3,
    image_channels: int = 3,
    side: int = 32,
    *,
    shortcut: Shortcut = "projection",
) -> FilterTopology:
    """What costs need of :func:`resnet_filters`, without its weights.

    Example:
        >>> space = resnet_topology().width_space(per="stage")
        >>> space.layer_counts(space.homogeneous(share=0.5)).ravel().tolist()[-1]
        32
    """
    with torch.device("meta"):
        return resnet_filters(filters, blocks, 10, image_channels, side, shortcut=shortcut).topology

"""A found classifier as the backbone of a detector: its feature maps at several strides instead of logits.

``FeatureBackbone.feature_info`` has the methods that detection code written for timm's ``features_only`` networks calls
(``channels()``, ``reduction()``, ``get_dicts()``), so a found network can stand in for one of those.

Reference: PruNet, Sec. 4 (EfficientDet on found backbones); Tan et al., EfficientDet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """Of every feature map, from fine to coarse: the module it comes from, its channels, and its stride in pixels."""

    modules: tuple[str, ...]
    channel_counts: tuple[int, ...]
    reductions: tuple[int, ...]

    def channels(self) -> list[int]:
        """Channels of every map."""
        return list(self.channel_counts)

    def reduction(self) -> list[int]:
        """Stride of every map: image side / map side."""
        return list(self.reductions)

    def module_name(self) -> list[str]:
        """The module that every map comes from."""
        return list(self.modules)

    def get_dicts(self, keys: Sequence[str] = ("num_chs", "reduction", "module")) -> list[dict[str, int | str]]:
        """A dictionary a map, with timm's keys."""
        rows: list[dict[str, int | str]] = [
            {"num_chs": channels, "reduction": reduction, "module": module}
            for channels, reduction, module in zip(self.channel_counts, self.reductions, self.modules, strict=True)
        ]
        return [{key: row[key] for key in keys} for row in rows]


class FeatureBackbone(nn.Sequential):
    """The modules of a network up to its coarsest map: images (B, C, H, W) -> a list of maps (B, channels, H / r, W / r).

    Names in the state dict are those of the network, so its weights load into its backbone.
    """

    def __init__(self, modules: Sequence[tuple[str, nn.Module]], feature_info: FeatureInfo) -> None:
        super().__init__()
        for name, module in modules:
            self.add_module(name, module)
        self.feature_info = feature_info

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, features = [], images
        for name, module in self.named_children():
            features = module(features)
            if name in self.feature_info.modules:
                maps.append(features)
        return maps


def feature_backbone(network: nn.Sequential, reductions: Sequence[int] = (4, 8, 16, 32)) -> FeatureBackbone:
    """The backbone of a classifier: at each stride in ``reductions`` that occurs, the last feature map.

    Modules are shared with ``network``, not copied; its head is left out.

    Raises:
        ValueError: no map has any of these strides, or a network without convolutions.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.AdaptiveAvgPool2d(1))
        >>> feature_backbone(network, reductions=(2, 4)).feature_info.channels()
        [8, 16]
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or not reductions:
        raise ValueError(f"expected a network with convolutions and at least one stride, got strides {tuple(reductions)}")
    found: dict[int, tuple[str, int]] = {}
    features = torch.zeros(1, first.in_channels, 2 * max(reductions), 2 * max(reductions)).to(first.weight)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    children = list(network.named_children())
    with torch.no_grad():
        for name, module in children:
            side = features.shape[-1]
            features = cast(Tensor, module(features))
            if features.ndim != 4 or features.shape[-1] > side:
                break
            reduction = 2 * max(reductions) // features.shape[-1]
            if reduction in reductions:
                found[reduction] = (name, features.shape[1])
    for module, mode in modes:
        module.training = mode
    if not found:
        raise ValueError(f"the network has no feature map at the strides {tuple(reductions)}")
    order = sorted(found)
    names = tuple(found[reduction][0] for reduction in order)
    last = [name for name, _ in children].index(names[-1])
    info = FeatureInfo(names, tuple(found[reduction][1] for reduction in order), tuple(order))
    return FeatureBackbone(children[: last + 1], info).train(network.training)

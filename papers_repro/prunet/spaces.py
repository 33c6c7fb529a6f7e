"""The search spaces by their names in the options, and a space as searches without Prunodes see it.

Reference: PruNet, Tables 1, 3 (the FBNet column) and 5; Wu et al., FBNet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from graphs.spaces import GPUNetSpace, gpunet_cifar, gpunet_imagenet, gpunet_imagewoof, gpunet_small

SpaceName = Literal["small", "narrow", "cifar", "imagenet", "imagewoof"]


def named_space(name: SpaceName, classes: int, resolution: int, image_channels: int) -> GPUNetSpace:
    """The space of that name for such data."""
    if name == "narrow":
        settings = gpunet_cifar(classes, resolution, image_channels, (1, 2, 3), (8, 16, 24), 4, 8).settings
        return GPUNetSpace(replace(settings, name=f"{settings.name}-narrow", stem_channels=8, head_channels=96))
    if name == "small":
        return gpunet_small(classes, resolution, image_channels)
    if name == "cifar":
        return gpunet_cifar(classes, resolution, image_channels)
    return (gpunet_imagenet if name == "imagenet" else gpunet_imagewoof)(classes, resolution, image_channels)


def separate_candidates(space: GPUNetSpace, shares: tuple[float, ...] = (0.5, 1.0)) -> GPUNetSpace:
    """The space as a search without Prunodes sees it: blocks of few widths, every one a candidate with weights of its own.

    Two widths a block take the memory of Prunodes (the paper's Table 3, FBNet); the networks are among those of ``space``.

    Raises:
        ValueError: shares outside (0, 1].
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares: expected numbers in (0, 1], got {shares}")
    name = f"{space.settings.name}-separate{'-'.join(f'{share:g}' for share in shares)}"
    return GPUNetSpace(replace(space.settings, name=name, shares=shares, separate=True))

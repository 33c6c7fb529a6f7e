"""Data and super-networks of the Budgeted Super Networks scripts at each scale.

Laptop scale: scikit-learn's digits drawn at 16x16 among clutter, in a ResNet fabric with three groups of three blocks of 8, 16 and
32 channels and in a convolutional neural fabric of 4 columns, 4 scales and 8 filters; for segmentation the pixels of such scenes, a
procedurally generated task. Paper scale: CIFAR (binary version), 45,000 / 5,000 / 10,000 images, cropped, flipped and scaled to
[-1, 1]; Part Labels, 1,500 / 500 / 927 images; the paper's super-networks. See ``constrained_nas.data`` and ``segmentation_data``.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 5.1 and the supplementary material.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from constrained_nas.data import DataSplits, cifar, digits
from constrained_nas.segmentation_data import digit_scenes, part_labels
from papers_repro.bsn_networks import Family, NetworkSpec
from papers_repro.bsn_published import DataName
from papers_repro.rows import Scale

__all__ = ["DataChoice", "SetupOptions", "load_data", "setup_preset", "super_network"]

DataChoice = Literal["digits", "digit-scenes", "cifar10", "cifar100", "part-labels"]


@dataclass(frozen=True, slots=True)
class SetupOptions:
    """Data and super-networks; the values shown are those of the scale."""

    data: DataChoice = "digits"
    """digits and digit-scenes (segmentation) are embedded; cifar10, cifar100 and part-labels are read from --data-root."""
    data_root: Path = Path("data")
    """Where the folders of CIFAR's binary version, or the three parts of Part Labels, lie."""
    resolution: int = 16
    """Side of the images in pixels."""
    training_digits: int = 800
    """How many of the 1797 digits may be trained and selected on; the others are test digits."""
    draws: int = 2
    """Drawings of each training digit."""
    test_draws: int = 1
    """Drawings of each test digit."""
    validation_share: float = 0.2
    """Share of the training examples kept for choosing among networks."""
    augment: bool = True
    """Crops and flips of CIFAR, flips of Part Labels."""
    blocks: int = 3
    """Blocks a group of the ResNet fabric."""
    widths: tuple[int, ...] = (8, 16, 32)
    """Channels of its groups."""
    columns: int = 4
    """Of the convolutional neural fabric."""
    scales: int = 4
    """Of the convolutional neural fabric."""
    filters: int = 8
    """Of the convolutional neural fabric."""


def setup_preset(scale: Scale, data: DataName = "CIFAR-10") -> SetupOptions:
    """The options of a scale; ``data`` is what the paper's experiment is about."""
    segmentation = data == "Part Labels"
    embedded: DataChoice = "digit-scenes" if segmentation else "digits"
    if scale == "smoke":
        small = SetupOptions(data=embedded, training_digits=200, draws=1, blocks=2, widths=(4, 8), columns=3, scales=3, filters=4)
        return replace(small, validation_share=0.3)
    if scale == "laptop":
        return SetupOptions(data=embedded)
    if segmentation:
        return SetupOptions(data="part-labels", resolution=256, columns=8, scales=9, filters=64)
    on_disk: DataChoice = "cifar10" if data == "CIFAR-10" else "cifar100"
    full = SetupOptions(data=on_disk, resolution=32, blocks=18, widths=(16, 32, 64), columns=8, scales=6, filters=128)
    return replace(full, validation_share=0.1)


def load_data(options: SetupOptions, seed: int) -> DataSplits:
    """The data; ``seed`` decides the splits (but those of Part Labels) and, for digits, every drawing.

    Raises:
        FileNotFoundError: the files are not where the options say.
        ValueError: an option out of range, or damaged files.
    """
    if options.data in ("digits", "digit-scenes"):
        draw = digits if options.data == "digits" else digit_scenes
        return draw(options.resolution, options.training_digits, options.draws, options.test_draws, options.validation_share, seed)
    if options.data == "part-labels":
        return part_labels(options.data_root, options.resolution, options.augment)
    classes = int(options.data.removeprefix("cifar"))
    share = options.validation_share
    return cifar(options.data_root, classes, options.resolution, share, options.augment, seed, recipe="crop_flip")


def super_network(family: Family, options: SetupOptions, data: DataSplits) -> NetworkSpec:
    """The super-network of a family for such data."""
    classes, channels, side = data.classes, data.image_channels, data.resolution
    size, widths = (options.blocks, options.widths) if family == "ResNet" else (options.columns, (options.filters,))
    scales = 1 if family == "ResNet" else options.scales
    return NetworkSpec(family=family, size=size, widths=widths, scales=scales, classes=classes, image_channels=channels, side=side)

"""The options of a contest of budgeted super-networks at each scale, its data and its super-networks.

Laptop scale: scikit-learn's digits drawn at 16x16 among clutter, in a ResNet fabric with three groups of three blocks of 8, 16 and
32 channels and in a convolutional neural fabric of 4 columns, 4 scales and 8 filters; for segmentation the pixels of such scenes, a
procedurally generated task. The gpu scale is CIFAR-10 in a folder of images, on one split for all seeds, in a ResNet fabric of
three blocks a group, under what ResNet-20 costs, a half and a quarter of it. Paper scale: CIFAR (binary version), 45,000 / 5,000 /
10,000 images, cropped, flipped and scaled to [-1, 1]; Part Labels, 1,500 / 500 / 927 images; the paper's super-networks.
See ``constrained_nas.data``.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 5.1 and the supplementary material.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from constrained_nas.data import DataSplits
from constrained_nas.methods.budgeted import Baseline, Charge
from papers_repro.bsn.networks import Family, NetworkSpec
from papers_repro.bsn.published import DataName
from papers_repro.experiment import DrawingOptions, LoopOptions, ParallelOptions, load_images
from papers_repro.harness import Scale

DataChoice = Literal["digits", "digit-scenes", "cifar10", "cifar100", "cifar10-folder", "part-labels"]


@dataclass(frozen=True)
class SetupOptions(DrawingOptions):
    """Data and super-networks; the values shown are those of the scale."""

    data: DataChoice = "digits"
    """digits and digit-scenes (segmentation) are embedded; cifar10, cifar100 and part-labels are read from --data-root, and
    cifar10-folder is an image folder in it, with train/ and val/."""
    data_root: Path = Path("data")
    """Where the folders of CIFAR's binary version, or the three parts of Part Labels, lie."""
    test_draws: int = 1
    validation_share: float = 0.2
    """Share of the training examples kept for choosing among networks."""
    split_seed: int | None = None
    """Of the split and, for digits, the drawings; the run's own seed if not given."""
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
        return SetupOptions(data=embedded) if segmentation else SetupOptions(data=embedded, draws=8, test_draws=2)
    if scale == "gpu" and not segmentation:
        return SetupOptions(data="cifar10-folder", resolution=32, widths=(16, 32, 64), validation_share=0.1, split_seed=0)
    if segmentation:
        return SetupOptions(data="part-labels", resolution=256, columns=8, scales=9, filters=64)
    on_disk: DataChoice = "cifar10" if data == "CIFAR-10" else "cifar100"
    full = SetupOptions(data=on_disk, resolution=32, blocks=18, widths=(16, 32, 64), columns=8, scales=6, filters=128)
    return replace(full, validation_share=0.1)


def load_data(options: SetupOptions, seed: int) -> DataSplits:
    """The data, as :func:`load_images` reads them."""
    folder = str(options.data_root / options.data) if options.data == "cifar10-folder" else ""
    split = seed if options.split_seed is None else options.split_seed
    return load_images(options, options.validation_share, split, folder=folder, recipe="crop_flip")


def super_network(family: Family, options: SetupOptions, data: DataSplits) -> NetworkSpec:
    """The super-network of a family for such data."""
    classes, channels, side = data.classes, data.image_channels, data.resolution
    size, widths = (options.blocks, options.widths) if family == "ResNet" else (options.columns, (options.filters,))
    scales = 1 if family == "ResNet" else options.scales
    return NetworkSpec(family=family, size=size, widths=widths, scales=scales, classes=classes, image_channels=channels, side=side)


@dataclass(frozen=True)
class ContestOptions(LoopOptions, ParallelOptions):
    """Budgets, searches and training; the values shown are those of the scale."""

    seeds: int = 3
    """How many seeds: each draws its own data, weights and samples."""
    resnet_sizes: tuple[int, ...] = (1, 2, 3)
    """Reference ResNets by their blocks a group: each is trained, and what it costs is a budget."""
    resnet_shares: tuple[float, ...] = ()
    """More budgets of the ResNet fabric, as shares of what the whole of it costs."""
    fractions: tuple[float, ...] = ()
    """More budgets of the ResNet fabric, as shares of what its largest reference network costs."""
    cnf_sizes: tuple[int, ...] = (2, 3)
    """Reference convolutional neural fabrics by their columns, likewise. (What the whole super-network costs is no budget.)"""
    cnf_shares: tuple[float, ...] = (0.2,)
    """More budgets of the convolutional neural fabric."""
    methods: tuple[Literal["soft", "hard"], ...] = ("soft", "hard")
    """soft: the paper's. hard: samples are projected onto the budget (not for steps, which do not add up over modules)."""
    plain: bool = True
    """Train the reference networks too."""
    randoms: int = 3
    """Random networks within each budget, for each seed."""
    scratch: int = 2
    """How often each network that was found, and each plain one, is trained alone from new weights; 0: not at all."""
    epochs: int = 12
    """Of every search, the warm-up included."""
    scratch_epochs: int = 12
    """Of every training of a network alone."""
    warm_up: int = 3
    """Epochs of the whole super-network before sampling begins."""
    batch_size: int = 32
    """Images a step."""
    samples: int = 0
    """Sub-graphs a batch, which share its images evenly; 0: one for every image, as in the paper."""
    hard_samples: int = 8
    """The same for hard searches, where each sample that does not fit is a small integer program."""
    penalties: tuple[float, ...] = (10.0,)
    """A search each: a network is charged penalty x max(0, cost / limit - 1). The paper's range of lambda holds 1 to 10."""
    charge: Charge = "expected"
    """Of soft searches. expected: the excess of the mean sample is charged. sampled: that of every sample, as in the paper, which
    sends a search far below its budget."""
    anneal: float = 0.7
    """Share of the steps after the warm-up over which the limit falls from what the whole costs; 0: at once, as in the paper."""
    clamp: float = 4.0
    """Logits are kept within so much of 0, and the network at the end is the likeliest that fits, where a search can tell; 0: no
    bounds, and every module likelier on than off, as in the paper."""
    logit_rate: float = 0.1
    """Learning rate of the logits of soft searches."""
    hard_rate: float = 0.1
    """Of hard ones."""
    baseline: Baseline = "batch_mean"
    """Of the score-function estimator: batch_mean (Eq. 7), leave_one_out or running."""
    learning_rate: float = 0.1
    """Of the weights' SGD, divided by 10 at each milestone."""
    momentum: float = 0.9
    """Of both."""
    weight_decay: float = 1e-4
    """Of the weights."""
    milestones: tuple[float, ...] = (0.6, 0.85)
    """Shares of the search at which both learning rates fall."""
    recalibration: int = 10
    """Batches over which normalizations are measured anew before a network is scored; 0: those of the search, as in the paper."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data and super-networks."""


def contest_preset(scale: Scale, data: DataName = "CIFAR-10") -> ContestOptions:
    """The options of a scale; ``data`` is what the paper's experiment is about."""
    setup, segmentation = setup_preset(scale, data), data == "Part Labels"
    if scale == "smoke":
        small = ContestOptions(seeds=2, resnet_sizes=(1,), cnf_sizes=(2,), cnf_shares=(), setup=setup)
        return replace(small, epochs=3, scratch_epochs=3, randoms=1, scratch=1, warm_up=1, recalibration=2)
    if scale == "laptop":
        laptop = ContestOptions(setup=setup, epochs=6, scratch_epochs=4, warm_up=1, samples=8)
        return (
            replace(laptop, epochs=12, warm_up=3, scratch_epochs=12, cnf_sizes=(2, 4), cnf_shares=(0.6, 0.8))
            if segmentation
            else laptop
        )
    if scale == "gpu" and not segmentation:
        return ContestOptions(
            resnet_sizes=(3,),
            fractions=(0.5, 0.25),
            cnf_sizes=(),
            cnf_shares=(),
            epochs=60,
            scratch_epochs=40,
            warm_up=10,
            batch_size=128,
            samples=8,
            weight_decay=5e-4,
            recalibration=20,
            device="auto",
            precision="bf16-mixed",
            setup=setup,
        )
    paper = ContestOptions(
        seeds=1,
        resnet_sizes=(3, 5, 7, 9, 18),
        cnf_sizes=(1, 2, 4, 8),
        cnf_shares=(),
        epochs=300,
        scratch_epochs=300,
        randoms=1,
        scratch=1,
        warm_up=50,
        batch_size=128,
        penalties=(1.0, 3.0, 10.0),
        logit_rate=0.1,
        milestones=(0.5, 0.75),
        recalibration=0,
        workers=8,
        device="auto",
        setup=setup,
    )
    if not segmentation:
        return paper
    # The paper does not say the batch of Part Labels' 256x256 images; 16 fit a GPU of 16 GB.
    return replace(paper, cnf_sizes=(8,), cnf_shares=(0.6, 0.8), epochs=200, scratch_epochs=200, batch_size=16, milestones=(0.65,))

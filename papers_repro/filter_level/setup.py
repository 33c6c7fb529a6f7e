"""What every filter-level experiment begins with: data, the two search spaces with their costs, and how networks are trained.

Quantization decides how many filters of each layer get each of the paper's four operations, and counts bit operations. Pruning
decides a width a stage, and counts multiply-adds. At laptop scale the network is a ResNet-8 of 8, 16 and 32 filters on digits drawn
at 16x16 among clutter; at paper scale ResNet-20 of 16, 32 and 64 on CIFAR-10.

Reference: Zur et al., Sec. 4 and Appendix B.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch.utils.data import TensorDataset

from constrained_nas.data import DataSplits
from constrained_nas.methods.filter_level import FilterWeights
from graphs import FLOAT, FilterNetwork, FilterSpace, FilterTopology, Operation, resnet_filters, resnet_topology
from graphs.costs import BitOperations, SlimmableMacs
from papers_repro.experiment import ImageOptions, LoopOptions, ParallelOptions, load_images
from papers_repro.harness import Scale, ScriptOptions

Kind = Literal["quantization", "pruning"]
KINDS: tuple[Kind, ...] = ("quantization", "pruning")


@dataclass(frozen=True)
class FilterSetup(LoopOptions, ParallelOptions, ImageOptions):
    """Data, network and training; the values shown are those of the scale."""

    data: str = "digits"
    """digits (embedded), cifar10 (binary version, under --data-root), or CIFAR-10 as a folder of images with train/ and test/."""
    classes: int = 10
    """Of the data."""
    training_digits: int = 1200
    test_digits: int = 0
    """Test on so many of them; 0: on all."""
    validation_share: float = 0.2
    """Share of the training examples kept for validation."""
    filters: tuple[int, ...] = (8, 16, 32)
    """Of each stage."""
    blocks: int = 1
    """Residual blocks a stage."""
    operations: tuple[str, ...] = ("w2a2", "w2a4", "w3a3", "w8a8")
    """Quantization: what a filter may be, bits of weights and activations (Fig. B.4: w2a2 w3a3 w4a4 w8a3 w8a8)."""
    widths: Literal["stage", "layer"] = "stage"
    """Pruning: a width a stage (the block-binomial law), or a width a layer (the binomial law)."""
    epochs: int = 12
    """At most, of a training."""
    patience: int = 150
    """Epochs without a new best validation accuracy after which a training stops; the best epoch's weights are tested."""
    batch_size: int = 32
    """Of training."""
    learning_rate: float = 0.1
    """Of SGD, falling along a half cosine."""
    rise: float = 0.0
    """Share of a training in which the rate first rises to that, linearly."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 1e-4
    """L2 penalty of SGD."""
    noise_share: float = 0.05
    """Of quantized weights that get uniform noise instead of rounding while they train."""

    @property
    def weights(self) -> FilterWeights:
        """How weights are trained."""
        return FilterWeights(self.batch_size, self.learning_rate, self.momentum, self.weight_decay, self.noise_share, self.rise)

    @property
    def title(self) -> str:
        """The data in words, for pictures: no folders."""
        return f"{Path(self.data).name}, {self.resolution}x{self.resolution}"

    def __post_init__(self) -> None:
        for name in self.operations:
            operation_named(name)
        if not 0 <= self.rise < 1:
            raise ValueError(f"--rise: expected 0 or more and less than 1, got {self.rise}")


@dataclass(frozen=True)
class ContrastOptions(ScriptOptions):
    """What every script is asked that sets trained networks against the homogeneous ones."""

    seed: int = 0
    """Of the data, the searches and all trainings."""
    repeats: int = 3
    """Trainings of every configuration."""
    line_shares: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Pruning: shares of the filters that the homogeneous networks keep."""
    setup: Annotated[FilterSetup, tyro.conf.arg(name="")] = field(default_factory=FilterSetup)
    """Data, network and training."""


@dataclass(frozen=True)
class SplitOptions(ContrastOptions):
    """What every script is asked that trains a grid of heterogeneous networks."""

    parts: int = 2
    """Quantization: a layer's filters are given to the operations in so many equal parts."""
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Pruning: shares of the filters that a stage may keep."""


def setup_preset(scale: Scale) -> FilterSetup:
    """The setup of a scale; the paper prints neither learning rate nor batch size: those here are the ResNet's own.

    At gpu scale ResNet-20 has 30 epochs, several trainings run side by side, and all are on one split. At cpu scale a ResNet-8 of
    half the filters sees CIFAR-10 at 16x16 for three epochs.
    """
    if scale == "smoke":
        return FilterSetup(training_digits=80, test_digits=100, filters=(4, 6, 8), epochs=1, batch_size=16, processes=1)
    if scale == "laptop":
        return FilterSetup()
    if scale == "cpu":
        return FilterSetup(
            data="cifar10-folder",
            validation_share=0.1,
            epochs=3,
            batch_size=128,
            learning_rate=0.2,
            rise=0.2,
            weight_decay=5e-4,
        )
    if scale == "gpu":
        return FilterSetup(
            data="cifar10-folder",
            resolution=32,
            validation_share=0.1,
            filters=(16, 32, 64),
            blocks=3,
            epochs=30,
            batch_size=512,
            learning_rate=0.4,
            rise=0.2,
            weight_decay=5e-4,
            device="auto",
            precision="bf16-mixed",
            processes=4,
        )
    return FilterSetup(
        data="cifar10",
        resolution=32,
        validation_share=0.1,
        filters=(16, 32, 64),
        blocks=3,
        epochs=1000,
        batch_size=128,
        device="auto",
        precision="16-mixed",
        processes=4,
    )


def load_splits(setup: FilterSetup, seed: int) -> DataSplits:
    """Training (``weights``), validation (``architecture``) and test data, as :func:`load_images` reads them."""
    splits = load_images(setup, setup.validation_share, seed, recipe="crop_flip")
    if setup.data == "digits" and setup.test_digits and isinstance(splits.test, TensorDataset):
        return replace(splits, test=TensorDataset(*(tensor[: setup.test_digits] for tensor in splits.test.tensors)))
    return splits


def space_of(setup: FilterSetup, kind: Kind) -> FilterSpace:
    """Counts of the paper's operations a layer, or a width a stage."""
    topology = _topology(setup.filters, setup.blocks, _channels(setup), setup.resolution)
    if kind == "quantization":
        return topology.quantization_space(tuple(operation_named(name) for name in setup.operations))
    return topology.width_space(per=setup.widths)


def operation_named(name: str) -> Operation:
    """``w2a4``: weights of 2 bits, activations of 4.

    Raises:
        ValueError: not such a name.
    """
    found = re.fullmatch(r"w(\d+)a(\d+)", name)
    if found is None:
        raise ValueError(f"operation {name!r}: expected bits of weights and activations, e.g. w2a4")
    return Operation(int(found[1]), int(found[2]))


def cost_of(space: FilterSpace) -> BitOperations | SlimmableMacs:
    """Bit operations, or multiply-adds of the convolutions."""
    return BitOperations(space) if space.kind == "quantization" else SlimmableMacs(space)


def network_builder(setup: FilterSetup, kind: Kind, sets: tuple[str, ...] = ()) -> Callable[[], FilterNetwork]:
    """Builds networks with fresh weights from torch's global generator."""
    space, channels = space_of(setup, kind), _channels(setup)

    def build() -> FilterNetwork:
        operations = space.operations if kind == "quantization" else (FLOAT,)
        classes, side = setup.classes, setup.resolution
        return resnet_filters(setup.filters, setup.blocks, classes, channels, side, operations=operations, sets=sets)

    return build


@lru_cache(maxsize=8)  # tracing a network takes a moment, and every candidate asks
def _topology(filters: tuple[int, ...], blocks: int, channels: int, side: int) -> FilterTopology:
    return resnet_topology(filters, blocks, channels, side)


def _channels(setup: FilterSetup) -> int:
    return 1 if setup.data == "digits" else 3

"""The HardCoRe-NAS space: stages of elastic inverted residuals with a choice of depth.

By default five stages of four blocks; every block picks expansion {3, 4, 6} x kernel {3, 5} x squeeze-and-excitation {off, on}
and every stage how many of its blocks run (2 to 4). The paper's ImageNet space and a small one for CPUs are two settings of the
same function.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.1, Tables 3-4. The paper's Table 4 prints expansions {2, 3, 6}; the authors' release
and the published networks use {3, 4, 6}, and so does this module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise, product
from math import prod
from typing import Literal

import networkx as nx
from torch import nn

from graphs.blocks import Configuration, ConvNormActivation, ElasticInvertedResidual, PooledClassifier, ResidualSequence
from graphs.space import Architecture, Decision, SearchSpace
from graphs.supernet import Supernet, add_edge, add_layer, compile_supernet
from solvers import Stage, StagedBlocks


@dataclass(frozen=True, slots=True)
class StageSetting:
    """Output channels, stride of the first block, activation of the stage's blocks.

    ``squeeze_excite``: whether all of them have it; None leaves it to their options.
    """

    channels: int
    stride: int
    activation: str = "hard_swish"
    squeeze_excite: bool | None = None


@dataclass(frozen=True, slots=True)
class MBConvSettings:
    """Everything that defines a space; sides in pixels.

    Raises:
        ValueError: no stages, depths that do not increase from 1 or more to ``blocks_per_stage``, options that are missing or
            repeated, or an even kernel size.

    Example:
        >>> settings = MBConvSettings("toy", 32, 10, (StageSetting(16, 2), StageSetting(24, 1)), depths=(1, 2), blocks_per_stage=2)
        >>> MBConvSpace(settings).architectures == (12 + 12**2) ** 2
        True
    """

    name: str
    resolution: int
    classes: int
    stages: tuple[StageSetting, ...]
    image_channels: int = 3
    stem_channels: int = 32
    stem_activation: str = "relu"
    separable_activation: str = "relu"
    separable_channels: int = 16  # depthwise-separable block after the stem; 0 leaves it out
    blocks_per_stage: int = 4
    depths: tuple[int, ...] = (2, 3, 4)
    expansions: tuple[int, ...] = (3, 4, 6)
    kernels: tuple[int, ...] = (3, 5)
    squeeze_excite: tuple[bool, ...] = (False, True)
    head_channels: int = 960
    features: int = 1280
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"space {self.name!r}: expected at least one stage")
        rising = all(low < high for low, high in pairwise(self.depths))
        if not self.depths or not rising or self.depths[0] < 1 or self.depths[-1] != self.blocks_per_stage:
            raise ValueError(
                f"space {self.name!r}: depths {self.depths} must increase from 1 or more to the "
                f"{self.blocks_per_stage} blocks of a stage"
            )
        for what, options in (("expansions", self.expansions), ("kernels", self.kernels), ("squeeze_excite", self.squeeze_excite)):
            if not options or len(set(options)) < len(options):
                raise ValueError(f"space {self.name!r}: {what} must be different options, at least one; got {options}")
        if any(stage.squeeze_excite is not None for stage in self.stages) and len(self.squeeze_excite) > 1:
            raise ValueError(f"space {self.name!r}: squeeze-and-excitation is fixed for a stage and an option at once")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"space {self.name!r}: kernels must be odd, so that padding keeps the side; got {self.kernels}")


@dataclass(frozen=True, slots=True)
class BlockShape:
    """What a block sees: channels in and out, stride, and the side of its input in pixels."""

    inputs: int
    outputs: int
    stride: int
    side: int
    activation: str
    squeeze_excite: bool | None = None  # None: as its option says


@dataclass(frozen=True)
class MBConvSpace:
    """A space of networks: its decisions (configurations first, then depths), its staged layout, and its super-network."""

    settings: MBConvSettings

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """The options of a block, the same in every block."""
        s = self.settings
        return tuple(Configuration(*options) for options in product(s.expansions, s.kernels, s.squeeze_excite))

    def configurations_of(self, shape: BlockShape) -> tuple[Configuration, ...]:
        """The options as they are in a block that sees ``shape``: with its stage's squeeze-and-excitation, where that is fixed."""
        if shape.squeeze_excite is None:
            return self.configurations
        return tuple(replace(each, squeeze_excite=shape.squeeze_excite) for each in self.configurations)

    @cached_property
    def staged(self) -> StagedBlocks:
        """The layout alpha, beta for ``solvers``."""
        s = self.settings
        stage = Stage((len(self.configurations),) * s.blocks_per_stage, s.depths)
        return StagedBlocks.of([stage] * len(s.stages))

    @cached_property
    def space(self) -> SearchSpace:
        """Decisions ``stage1.block1`` ... in the order of ``staged``, then ``stage1.depth`` ..."""
        options = tuple(configuration.name for configuration in self.configurations)
        blocks = [Decision(name, options) for name in self.block_names]
        depths = tuple(str(depth) for depth in self.settings.depths)
        return SearchSpace(
            self.settings.name, (*blocks, *(Decision(f"stage{s + 1}.depth", depths) for s in range(len(self.settings.stages))))
        )

    @cached_property
    def block_names(self) -> tuple[str, ...]:
        """``stage1.block1`` ..., in order."""
        s = self.settings
        return tuple(f"stage{i + 1}.block{b + 1}" for i in range(len(s.stages)) for b in range(s.blocks_per_stage))

    @cached_property
    def block_shapes(self) -> tuple[BlockShape, ...]:
        """What every block sees, in the order of ``block_names``; blocks with equal shapes cost the same."""
        s = self.settings
        channels, side = s.separable_channels or s.stem_channels, -(-s.resolution // 2)
        shapes = []
        for stage in s.stages:
            for block in range(s.blocks_per_stage):
                stride = stage.stride if block == 0 else 1
                shapes.append(BlockShape(channels, stage.channels, stride, side, stage.activation, stage.squeeze_excite))
                channels, side = stage.channels, -(-side // stride)
        return tuple(shapes)

    @property
    def architectures(self) -> int:
        """Number of different networks: prod over stages of sum over depths of |C|^depth."""
        options = len(self.configurations)
        return prod(sum(options**depth for depth in self.settings.depths) for _ in self.settings.stages)

    def heaviest(self) -> Architecture:
        """The last option of every decision: greatest expansion and kernel, squeeze-and-excitation, full depth."""
        return self.space.choose({decision.name: decision.options[-1] for decision in self.space.decisions})

    def dag(self) -> nx.MultiDiGraph:
        """The super-network as a graph: an elastic edge a block, and an edge from every allowed last block to its stage's end."""
        s = self.settings
        dag = nx.MultiDiGraph(name=s.name)
        side = -(-s.resolution // 2)
        add_layer(dag, "input", (s.image_channels, s.resolution, s.resolution))
        add_layer(dag, "stem", (s.stem_channels, side, side))
        add_edge(dag, "input", "stem", self._stem)
        node = "stem"
        if s.separable_channels:
            add_layer(dag, "separable", (s.separable_channels, side, side))
            add_edge(dag, "stem", "separable", self._separable)
            node = "separable"
        for index, stage in enumerate(s.stages):
            node = self._add_stage(dag, node, index, stage)
        add_layer(dag, "logits", (s.classes,))
        add_edge(dag, node, "logits", self._head)
        return dag

    def fixed_modules(self) -> list[tuple[nn.Module, tuple[int, ...]]]:
        """What every network contains besides its blocks, each with its input shape: stem, separable block, head."""
        s = self.settings
        side, last = -(-s.resolution // 2), self.block_shapes[-1]
        modules: list[tuple[nn.Module, tuple[int, ...]]] = [(self._stem(), (s.image_channels, s.resolution, s.resolution))]
        if s.separable_channels:
            modules.append((self._separable(), (s.stem_channels, side, side)))
        end = -(-last.side // last.stride)
        return [*modules, (self._head(), (last.outputs, end, end))]

    def option_modules(self, shape: BlockShape) -> list[nn.Module]:
        """The configurations of a block that sees ``shape``, in order, each a module of its own with fresh weights."""
        elastic = self._elastic_block(shape)
        return [elastic.narrow(option) for option in range(len(self.configurations))]

    def _stem(self) -> nn.Module:
        s = self.settings
        return ConvNormActivation(s.image_channels, s.stem_channels, 3, 2, activation=s.stem_activation)

    def _separable(self) -> nn.Module:
        s = self.settings
        parts = (
            ConvNormActivation(s.stem_channels, s.stem_channels, 3, groups=s.stem_channels, activation=s.separable_activation),
            ConvNormActivation(s.stem_channels, s.separable_channels, 1, activation="identity"),
        )
        return ResidualSequence(*parts) if s.stem_channels == s.separable_channels else nn.Sequential(*parts)

    def _head(self) -> nn.Module:
        s = self.settings
        last = s.stages[-1]
        return PooledClassifier(last.channels, s.head_channels, s.features, s.classes, last.activation, s.dropout)

    def _add_stage(self, dag: nx.MultiDiGraph, node: str, index: int, stage: StageSetting) -> str:
        end = f"stage{index + 1}"
        for block in range(self.settings.blocks_per_stage):
            name = f"stage{index + 1}.block{block + 1}"
            shape = self.block_shapes[index * self.settings.blocks_per_stage + block]
            side = -(-shape.side // shape.stride)
            add_layer(dag, name, (stage.channels, side, side))
            add_edge(dag, node, name, partial(self._elastic_block, shape), decision=name)
            if block == 0:
                add_layer(dag, end, (stage.channels, side, side))
            if block + 1 in self.settings.depths:
                add_edge(dag, name, end, nn.Identity, decision=f"{end}.depth", option=self.settings.depths.index(block + 1))
            node = name
        return end

    def _elastic_block(self, shape: BlockShape) -> ElasticInvertedResidual:
        return ElasticInvertedResidual(shape.inputs, shape.outputs, shape.stride, self.configurations_of(shape), shape.activation)

    def supernet(self) -> Supernet:
        """The compiled super-network with fresh weights (from torch's global generator: seed it first)."""
        return compile_supernet(self.dag(), self.space)


def hardcore_imagenet(
    variant: Literal["paper", "release"] = "release", classes: int = 1000, resolution: int = 224, image_channels: int = 3
) -> MBConvSpace:
    """The paper's ImageNet space.

    ``paper``: ReLU in the stem and the first stage, as Table 3 says; ``release``: hard-swish in the stem and ReLU in the stages
    of 24 and 40 channels, as the published networks have it. Both: ReLU in the separable block and hard-swish elsewhere, where the
    paper says Swish.

    Example:
        >>> f"{hardcore_imagenet().architectures:.1e}"
        '5.9e+21'
    """
    if variant not in ("paper", "release"):
        raise ValueError(f"variant: expected 'paper' or 'release', got {variant!r}")
    second = "relu" if variant == "release" else "hard_swish"
    stages = (
        StageSetting(24, 2, "relu"),
        StageSetting(40, 2, second),
        StageSetting(80, 2),
        StageSetting(112, 1),
        StageSetting(192, 2),
    )
    name = f"hardcore-imagenet-{variant}-{resolution}-{classes}"
    stem = "hard_swish" if variant == "release" else "relu"
    return MBConvSpace(MBConvSettings(name, resolution, classes, stages, image_channels, stem_activation=stem, dropout=0.2))


def hardcore_small(classes: int = 10, resolution: int = 32, image_channels: int = 1) -> MBConvSpace:
    """A small space for laptops: three stages of four blocks with the paper's twelve configurations and depths.

    Example:
        >>> space = hardcore_small()
        >>> space.space.describe(space.heaviest())["stage1.block1"]
        'e6_k5_se'
    """
    stages = (StageSetting(8, 2, "relu"), StageSetting(16, 2), StageSetting(32, 1))
    name = f"hardcore-small-{resolution}-{image_channels}x{classes}"
    settings = MBConvSettings(
        name, resolution, classes, stages, image_channels, stem_channels=8, separable_channels=0, head_channels=96, features=128
    )
    return MBConvSpace(settings)


def ofa_mbv3(classes: int = 1000, resolution: int = 224, image_channels: int = 3) -> MBConvSpace:
    """Once-for-all's space on MobileNetV3: five stages of two to four blocks, kernels 3, 5 and 7, expansions 3, 4 and 6.

    Squeeze-and-excitation is fixed for each stage, as its published latency tables have it; resolutions are tables of their own.

    Reference: Cai et al., Once for all, Sec. 3 and the width multiplier 1.0 of the release.

    Example:
        >>> f"{ofa_mbv3().architectures:.1e}"
        '2.2e+19'
    """
    stages = (
        StageSetting(24, 2, "relu", False),
        StageSetting(40, 2, "relu", True),
        StageSetting(80, 2, "hard_swish", False),
        StageSetting(112, 1, "hard_swish", True),
        StageSetting(160, 2, "hard_swish", True),
    )
    settings = MBConvSettings(
        f"ofa-mbv3-{resolution}-{classes}",
        resolution,
        classes,
        stages,
        image_channels,
        stem_channels=16,
        stem_activation="hard_swish",
        kernels=(3, 5, 7),
        squeeze_excite=(False,),
        dropout=0.1,
    )
    return MBConvSpace(settings)

"""The space of NAS-Bench-Macro: eight layers that are skipped or an inverted residual, every network of it trained by the authors.

Three stages of 2, 3 and 3 layers with 64, 128 and 256 channels behind a 3x3 stem, a 1x1 convolution to 1280 channels and a linear
classifier after them. Each layer is the identity, an inverted residual of expansion 3 and kernel 3, or one of expansion 6 and
kernel 5, without squeeze-and-excitation. The first layer of a stage halves the side; its identity is a 1x1 convolution of stride 2,
normalized. As all 6,561 accuracies are known, a search on it can be held against the truth.

Reference: Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021 (NAS-Bench-Macro).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import networkx as nx
import numpy as np
from torch import nn

from graphs.blocks import ConvNormActivation, InvertedResidual, PooledLinear
from graphs.space import Architecture, Decision, SearchSpace
from graphs.spaces.mbconv import BlockShape
from graphs.supernet import Supernet, add_edge, add_layer, compile_supernet
from solvers import Stage, StagedBlocks

_STAGES = ((2, 64), (3, 128), (3, 256))  # layers, channels
_OPTIONS = {"identity": None, "mb3_k3": (3, 3), "mb6_k5": (6, 5)}  # expansion and kernel
_STEM, _FEATURES = 32, 1280


@dataclass(frozen=True)
class MacroSpace:
    """The space for images (image_channels, resolution, resolution); the benchmark's own are 3 x 32 x 32 of ten classes.

    ``width`` scales all channels, as a cheaper super-network needs; 1 is the benchmark's.

    A point has one block a layer and, so that staged methods take it as it is, one depth of a single option: all eight layers.

    Example:
        >>> space = MacroSpace()
        >>> space.architectures, space.code(space.heaviest())
        (6561, '22222222')
    """

    classes: int = 10
    resolution: int = 32
    image_channels: int = 3
    width: float = 1.0

    @cached_property
    def staged(self) -> StagedBlocks:
        """The layout for ``solvers``: a single stage of eight blocks, all of which run."""
        layers = len(self.block_names)
        return StagedBlocks.of([Stage((len(_OPTIONS),) * layers, (layers,))])

    @cached_property
    def space(self) -> SearchSpace:
        """Decisions ``layer1`` to ``layer8``, then ``depth``."""
        layers = (Decision(name, tuple(_OPTIONS)) for name in self.block_names)
        name = f"macro-{self.resolution}-{self.image_channels}x{self.classes}" + (f"-w{self.width:g}" if self.width != 1 else "")
        return SearchSpace(name, (*layers, Decision("depth", (str(len(self.block_names)),))))

    @cached_property
    def block_names(self) -> tuple[str, ...]:
        """``layer1`` to ``layer8``."""
        return tuple(f"layer{number + 1}" for number in range(sum(layers for layers, _ in _STAGES)))

    @cached_property
    def block_shapes(self) -> tuple[BlockShape, ...]:
        """What every layer sees."""
        channels, side, shapes = self._channels(_STEM), self.resolution, []
        for layers, full in _STAGES:
            outputs = self._channels(full)
            for layer in range(layers):
                stride = 2 if layer == 0 else 1
                shapes.append(BlockShape(channels, outputs, stride, side, "relu"))
                channels, side = outputs, -(-side // stride)
        return tuple(shapes)

    @property
    def architectures(self) -> int:
        """Number of networks."""
        return len(_OPTIONS) ** len(self.block_names)

    def heaviest(self) -> Architecture:
        """The greatest expansion and kernel everywhere."""
        return self.architecture("2" * len(self.block_names))

    def architecture(self, code: str) -> Architecture:
        """The architecture of the benchmark's code, a digit a layer: 0 identity, 1 expansion 3, 2 expansion 6.

        Raises:
            ValueError: not eight digits of 0, 1 and 2.
        """
        if len(code) != len(self.block_names) or not set(code) <= set("012"):
            raise ValueError(f"code of a network: expected {len(self.block_names)} digits of 0, 1 and 2, got {code!r}")
        return self.space.architecture(self.staged.blocks.vertex([*map(int, code), 0]))

    def code(self, architecture: Architecture) -> str:
        """The benchmark's code of an architecture.

        Raises:
            ValueError: an architecture of another space.
        """
        choices = np.flatnonzero(self.space.point(architecture)) - np.asarray(self.staged.blocks.offsets[:-1])
        return "".join(map(str, choices[:-1].tolist()))

    def option_modules(self, shape: BlockShape) -> list[nn.Module]:
        """The options of a layer that sees ``shape``, in order, with fresh weights."""
        return [build() for build in self._factories(shape)]

    def fixed_modules(self) -> list[tuple[nn.Module, tuple[int, ...]]]:
        """What every network contains besides its layers, each with its input shape: stem, head."""
        last = self.block_shapes[-1]
        end = -(-last.side // last.stride)
        image = (self.image_channels, self.resolution, self.resolution)
        return [(self._stem(), image), (self._head(), (last.outputs, end, end))]

    def dag(self) -> nx.MultiDiGraph:
        """The super-network as a graph: three edges a layer."""
        dag = nx.MultiDiGraph(name=self.space.name)
        add_layer(dag, "image", (self.image_channels, self.resolution, self.resolution))
        add_layer(dag, "stem", (self._channels(_STEM), self.resolution, self.resolution))
        add_edge(dag, "image", "stem", self._stem)
        node = "stem"
        for name, shape in zip(self.block_names, self.block_shapes, strict=True):
            side = -(-shape.side // shape.stride)
            add_layer(dag, name, (shape.outputs, side, side))
            for option, build in enumerate(self._factories(shape)):
                add_edge(dag, node, name, build, decision=name, option=option, key=tuple(_OPTIONS)[option])
            node = name
        add_layer(dag, "logits", (self.classes,))
        add_edge(dag, node, "logits", self._head)
        return dag

    def supernet(self) -> Supernet:
        """The compiled super-network with fresh weights (from torch's global generator: seed it first)."""
        return compile_supernet(self.dag(), self.space)

    def _factories(self, shape: BlockShape) -> list[Callable[[], nn.Module]]:
        return [partial(_layer, shape, option) for option in _OPTIONS.values()]

    def _stem(self) -> nn.Module:
        return ConvNormActivation(self.image_channels, self._channels(_STEM), 3, activation="relu")

    def _head(self) -> nn.Module:
        features = self._channels(_FEATURES)
        last = ConvNormActivation(self._channels(_STAGES[-1][1]), features, 1, activation="relu")
        return nn.Sequential(last, PooledLinear(features, self.classes))

    def _channels(self, full: int) -> int:
        return max(1, round(self.width * full))


def _layer(shape: BlockShape, option: tuple[int, int] | None) -> nn.Module:
    """A layer of one option: (B, inputs, side, side) -> (B, outputs, side / stride, side / stride)."""
    if option is not None:
        expansion, kernel = option
        return InvertedResidual(
            shape.inputs, expansion * shape.inputs, shape.outputs, kernel, shape.stride, activation=shape.activation
        )
    if shape.stride == 1 and shape.inputs == shape.outputs:
        return nn.Identity()
    return ConvNormActivation(shape.inputs, shape.outputs, 1, shape.stride, activation="identity")

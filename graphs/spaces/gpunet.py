"""PruNet's kind of search space: stages of stochastic layers whose blocks, inner widths and very presence are searched.

Every inverted residual picks kernel x squeeze-and-excitation and a hidden width, any multiple of the granularity up to expansion x
inputs; every layer that keeps the shape may be skipped. The published spaces are settings of this class, see
``graphs.spaces.gpunet_spaces``.

Reference: PruNet, Sec. 3.1 and Table 3 (sizes); Wang et al., GPUNet.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod

import networkx as nx
from torch import nn

from graphs.blocks import (
    BlockChoice,
    ConvNormActivation,
    LayerOption,
    LayerShape,
    Operator,
    StochasticLayer,
    plain_block,
    with_stochastic_depth,
)
from graphs.space import Architecture, Decision, SearchSpace
from graphs.supernet import Supernet, add_edge, add_layer, compile_supernet


@dataclass(frozen=True, slots=True)
class GPUNetStage:
    """``depth`` layers to ``channels`` channels, the first with ``stride``, each with the same candidate blocks."""

    operator: Operator
    depth: int
    stride: int
    channels: int
    blocks: tuple[BlockChoice, ...]


@dataclass(frozen=True, slots=True)
class GPUNetSettings:
    """Everything that defines a space; the resolution in pixels, the granularity in channels.

    With ``shares`` the permissible widths are only those nearest to these shares of a layer's widest; ``separate`` gives each width
    of a block weights of its own.

    Raises:
        ValueError: no stages, an empty stage, or a layer too narrow for two widths.

    Example:
        >>> stage = GPUNetStage("inverted", 2, 2, 32, (BlockChoice(3), BlockChoice(5, squeeze_excite=True)))
        >>> GPUNetSpace(GPUNetSettings("toy", 32, 10, (stage,))).layers["stage1.layer2"].widths
        (32, 64, 96, 128, 160, 192, 224, 256)
    """

    name: str
    resolution: int
    classes: int
    stages: tuple[GPUNetStage, ...]
    image_channels: int = 3
    stem_channels: int = 24
    stem_stride: int = 2
    stem_activation: str = "swish"
    expansion: int = 8
    granularity: int = 32
    head_channels: int = 1280
    head_activation: str = "relu"
    dropout: float = 0.0
    shares: tuple[float, ...] = ()
    separate: bool = False

    def __post_init__(self) -> None:
        if not self.stages or any(stage.depth < 1 for stage in self.stages):
            raise ValueError(f"space {self.name!r}: expected at least one stage and one layer a stage, got {self.stages}")
        inputs = self.stem_channels
        for stage in self.stages:
            narrow = stage.operator != "convolution" and self.expansion * min(inputs, stage.channels) < 2 * self.granularity
            if narrow:  # the masking of a Prunode needs a small and a large candidate
                raise ValueError(
                    f"space {self.name!r}: {self.expansion} x {min(inputs, stage.channels)} hidden channels leave no two widths "
                    f"at granularity {self.granularity}; widen the layer or lower the granularity"
                )
            inputs = stage.channels


@dataclass(frozen=True, slots=True)
class SpaceSizes:
    """Numbers of networks, as the paper's Table 3 counts them.

    Attributes:
        fbnet: candidate blocks alone, an inverted residual having as many as fit in the memory of two-candidate Prunodes; block
            pruning does not change it.
        prunode: every permissible width.
        layer_skipping: ``fbnet`` with a skip in every layer, those that change the shape included, as the paper's formula has it.
        all: every permissible width, and a skip in the layers that keep the shape: the size of the space searched here.
    """

    fbnet: int
    prunode: int
    layer_skipping: int
    all: int


@dataclass(frozen=True)
class GPUNetSpace:
    """A space of networks: a decision a layer, whose options are block, width or skip, and its super-network."""

    settings: GPUNetSettings

    @cached_property
    def layers(self) -> dict[str, LayerShape]:
        """``stage1.layer1`` ..., in order, and what each is."""
        s = self.settings
        channels, side = s.stem_channels, -(-s.resolution // s.stem_stride)
        layers = {}
        for number, stage in enumerate(s.stages, start=1):
            for place in range(stage.depth):
                stride = stage.stride if place == 0 else 1
                widths = self._widths(channels) if stage.operator != "convolution" else ()
                skippable = stride == 1 and channels == stage.channels
                shape = LayerShape(stage.operator, channels, stage.channels, stride, side, stage.blocks, widths, skippable)
                layers[f"stage{number}.layer{place + 1}"] = shape
                channels, side = stage.channels, -(-side // stride)
        return layers

    @cached_property
    def space(self) -> SearchSpace:
        """A decision a layer: ``k5_se_swish_w96`` ... and ``skip``."""
        decisions = (Decision(name, tuple(option.name for option in shape.options)) for name, shape in self.layers.items())
        return SearchSpace(self.settings.name, tuple(decisions))

    @cached_property
    def unique_blocks(self) -> dict[tuple[str, str], tuple[LayerShape, int]]:
        """What a latency table has to know: every (layer shape's name, option's name) but skips, and the option it stands for."""
        return {
            (shape.name, option.name): (shape, index)
            for shape in self.layers.values()
            for index, option in enumerate(shape.options)
            if option.block is not None
        }

    @property
    def sizes(self) -> SpaceSizes:
        """How many networks there are, as exact integers."""
        shapes = list(self.layers.values())
        blocks = [len(shape.blocks) * min(2, max(1, len(shape.widths))) for shape in shapes]
        widths = [len(shape.blocks) * max(1, len(shape.widths)) for shape in shapes]
        return SpaceSizes(
            fbnet=prod(blocks),
            prunode=prod(widths),
            layer_skipping=prod(count + 1 for count in blocks),
            all=prod(count + shape.skippable for count, shape in zip(widths, shapes, strict=True)),
        )

    def chosen(self, architecture: Architecture) -> dict[str, LayerOption]:
        """The option of every layer: its block and width, or the skip."""
        return {name: shape.options[architecture.choice(name)] for name, shape in self.layers.items()}

    def describe(self, architecture: Architecture) -> dict[str, dict[str, str | int] | str]:
        """JSON-ready: ``{"block": "k5_se_swish", "width": 96}``, without the width for convolutions, or ``"skip"``, a layer."""
        described: dict[str, dict[str, str | int] | str] = {}
        for name, option in self.chosen(architecture).items():
            if option.block is None:
                described[name] = "skip"
            else:
                block: dict[str, str | int] = {"block": self.layers[name].blocks[option.block].name}
                described[name] = block | ({"width": option.width} if option.width else {})
        return described

    def architecture(self, description: dict[str, dict[str, str | int] | str]) -> Architecture:
        """The architecture of a description, as :meth:`describe` writes it.

        Raises:
            ValueError: layers are missing or unknown, or a layer has no such block or width.
        """
        choices = {}
        for name, entry in description.items():
            if isinstance(entry, str):
                choices[name] = entry
            else:
                choices[name] = f"{entry.get('block')}" + (f"_w{entry['width']}" if "width" in entry else "")
        return self.space.choose(choices)

    def network(self, architecture: Architecture, stochastic_depth: float = 0.0) -> nn.Sequential:
        """A plain network with fresh weights (from torch's global generator), skipped layers left out.

        Args:
            stochastic_depth: rate of the last residual block, rising to it linearly; the paper retrains with 0.2.
        """
        parts = OrderedDict[str, nn.Module](stem=self._stem())
        for name, shape in self.layers.items():
            option = architecture.choice(name)
            if shape.options[option].block is not None:
                parts[name.replace(".", "_")] = plain_block(shape, option)
        parts["logits"] = self._head()
        network = nn.Sequential(parts)
        return with_stochastic_depth(network, stochastic_depth) if stochastic_depth else network

    def fixed_modules(self) -> list[tuple[nn.Module, tuple[int, ...]]]:
        """What every network contains besides its layers, each with its input shape: stem and head."""
        s = self.settings
        last = list(self.layers.values())[-1]
        side = -(-last.side // last.stride)
        return [(self._stem(), (s.image_channels, s.resolution, s.resolution)), (self._head(), (last.outputs, side, side))]

    def dag(self) -> nx.MultiDiGraph:
        """The super-network as a chain of stochastic layers between the stem and the head."""
        s = self.settings
        dag = nx.MultiDiGraph(name=s.name)
        side = -(-s.resolution // s.stem_stride)
        add_layer(dag, "input", (s.image_channels, s.resolution, s.resolution))
        add_layer(dag, "stem", (s.stem_channels, side, side))
        add_edge(dag, "input", "stem", self._stem)
        before = "stem"
        for name, shape in self.layers.items():
            end = -(-shape.side // shape.stride)
            add_layer(dag, name, (shape.outputs, end, end))
            add_edge(dag, before, name, partial(StochasticLayer, shape, s.separate), decision=name)
            before = name
        add_layer(dag, "logits", (s.classes,))
        add_edge(dag, before, "logits", self._head)
        return dag

    def supernet(self) -> Supernet:
        """The compiled super-network with fresh weights (from torch's global generator: seed it first)."""
        return compile_supernet(self.dag(), self.space)

    def _widths(self, channels: int) -> tuple[int, ...]:
        s = self.settings
        widths = range(s.granularity, s.expansion * channels + 1, s.granularity)
        if not s.shares:
            return tuple(widths)
        return tuple(sorted({min(widths, key=lambda width: abs(width - share * widths[-1])) for share in s.shares}))

    def _stem(self) -> nn.Module:
        s = self.settings
        return ConvNormActivation(s.image_channels, s.stem_channels, 3, s.stem_stride, activation=s.stem_activation)

    def _head(self) -> nn.Module:
        s = self.settings
        parts: list[tuple[str, nn.Module]] = [
            ("conv", ConvNormActivation(s.stages[-1].channels, s.head_channels, 1, activation=s.head_activation)),
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("dropout", nn.Dropout(s.dropout)),
            ("logits", nn.Linear(s.head_channels, s.classes)),
        ]
        return nn.Sequential(OrderedDict(parts))

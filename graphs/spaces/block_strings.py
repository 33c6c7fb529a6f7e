"""Networks of the HardCoRe-NAS spaces as timm block strings: read, write, build.

``ir_r1_k5_s2_e3_c24_nre_se0.25`` is an inverted residual, once, kernel 5, stride 2, expansion 3, 24 channels out, ReLU, and
squeeze-and-excitation of a quarter of the expanded channels; ``ds`` is a depthwise-separable convolution and ``cn`` the 1x1
convolution before the pooling. A network is a list of stages, each a list of blocks: an optional stage of one ``ds``, the stages of
``ir``, and a last one of one ``cn``. The stem and the layers behind the pooling are not part of the strings.

Reference: the six networks published with Nayman et al., HardCoRe-NAS; the format is that of the library timm.
"""

from __future__ import annotations

import ast
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, cast

from torch import nn

from graphs.blocks import (
    Configuration,
    ConvNormActivation,
    InvertedResidual,
    PooledClassifier,
    ResidualSequence,
    SqueezeExcite,
    activation_module,
    round_channels,
)
from graphs.space import Architecture
from graphs.spaces.mbconv import MBConvSpace

Stages = Sequence[Sequence[str]] | str  # or the lists as they are printed, with anything around them
_CODES = {"re": "relu", "hs": "hard_swish", "sw": "swish"}
_DEFAULT = "hard_swish"  # what a string without n.. means in the published networks
_MOST_TEXT = 100_000  # characters
_NUMBER = r"\d+(?:\.\d+)?"
_MOST = {"r": 1000, "k": 999, "s": 999, "c": 1_000_000}  # beyond these a string is a slip, and memory would run out


@dataclass(frozen=True, slots=True)
class BlockString:
    """One block.

    Attributes:
        kind: ``ds``, ``ir`` or ``cn``.
        kernel, stride: of the depthwise convolution; of the convolution of a ``cn``.
        channels: out.
        expansion: of an ``ir``; 1 otherwise.
        squeeze_excite: its inner channels as a share of the expanded ones, 0 for none.
        activation: as :func:`graphs.blocks.operators.activation_module` names it; None leaves it to the network's default.
        repeats: how many of them in a row, only the first with the stride.
    """

    kind: Literal["ds", "ir", "cn"]
    kernel: int
    stride: int
    channels: int
    expansion: float = 1.0
    squeeze_excite: float = 0.0
    activation: str | None = None
    repeats: int = 1

    @classmethod
    def read(cls, text: str) -> BlockString:
        """Read one string.

        Raises:
            ValueError: not a string of these blocks; names the part that is wrong.
        """
        kind, *parts = text.strip().split("_")
        if kind not in ("ds", "ir", "cn"):
            raise ValueError(f"block string {text!r}: expected ds_, ir_ or cn_ in front, got {kind!r}")
        numbers: dict[str, str] = {}
        activation = None
        for part in parts:
            if (code := part.removeprefix("n")) in _CODES and part != code and activation is None:
                activation = _CODES[code]
                continue
            found = re.fullmatch(rf"(r|k|s|e|c|se)({_NUMBER})", part)
            if found is None or found[1] in numbers:
                known = "r, k, s, e, c, se followed by a number, each once, and nre, nhs or nsw"
                raise ValueError(f"block string {text!r}: cannot read {part!r}; there are {known}")
            numbers[found[1]] = found[2]
        missing = [name for name in ("r", "k", "s", "c", *(["e"] if kind == "ir" else [])) if name not in numbers]
        if missing:
            raise ValueError(f"block string {text!r}: no {', '.join(missing)}")
        fractions = [name for name in ("r", "k", "s", "c") if "." in numbers[name] or int(numbers[name]) < 1]
        if fractions or int(numbers["k"]) % 2 == 0:
            raise ValueError(f"block string {text!r}: r, k, s and c must be whole numbers from 1 up, k odd")
        large = [name for name, most in _MOST.items() if float(numbers[name]) > most]
        if large or float(numbers.get("e", 1)) > _MOST["c"]:
            raise ValueError(f"block string {text!r}: at most {', '.join(f'{name}{most}' for name, most in _MOST.items())}")
        expansion, share = float(numbers.get("e", 1)), float(numbers.get("se", 0))
        if (kind != "ir" and (expansion != 1 or share)) or expansion <= 0:
            raise ValueError(f"block string {text!r}: e must be above 0, and only ir blocks have an e other than 1 or an se")
        whole = {name: int(numbers[name]) for name in ("r", "k", "s", "c")}
        return cls(
            cast(Literal["ds", "ir", "cn"], kind), whole["k"], whole["s"], whole["c"], expansion, share, activation, whole["r"]
        )

    def __str__(self) -> str:
        parts = [self.kind, f"r{self.repeats}", f"k{self.kernel}", f"s{self.stride}"]
        parts += [f"e{self.expansion:g}"] if self.kind != "cn" else []
        parts += [f"c{self.channels}"]
        parts += [f"n{code}" for code, name in _CODES.items() if name == self.activation]
        return "_".join(parts + ([f"se{self.squeeze_excite:g}"] if self.squeeze_excite else []))


def read_stages(stages: Stages) -> tuple[tuple[BlockString, ...], ...]:
    """The blocks of a whole network, repeats written out.

    Raises:
        ValueError: a string that cannot be read, or stages other than an optional ``ds``, some of ``ir``, and one ``cn`` of a 1x1
            kernel and stride 1.
    """
    read = []
    for number, stage in enumerate(_printed(stages) if isinstance(stages, str) else stages, start=1):
        if isinstance(stage, str) or not stage:
            raise ValueError(f"stage {number}: expected a list of block strings, got {stage!r}")
        blocks: list[BlockString] = []
        for block in map(BlockString.read, stage):
            blocks += [replace(block, repeats=1, stride=block.stride if n == 0 else 1) for n in range(block.repeats)]
        read.append(tuple(blocks))
    kinds = ["+".join(sorted({block.kind for block in stage})) for stage in read]
    inner = kinds[1:-1] if kinds[:1] == ["ds"] else kinds[:-1]
    if not inner or set(inner) != {"ir"} or kinds[-1] != "cn":
        raise ValueError(f"expected stages of kind [ds,] ir, ..., ir, cn; got {', '.join(kinds) or 'none'}")
    if len(read[-1]) > 1 or (read[-1][0].kernel, read[-1][0].stride) != (1, 1) or (kinds[0] == "ds" and len(read[0]) > 1):
        raise ValueError("expected one ds block in the first stage and one cn_r1_k1_s1 block in the last")
    return tuple(read)


def _printed(text: str) -> list[list[str]]:
    """The lists of strings in what a script printed; nothing of it is run."""
    found = re.search(r"\[\s*\[.*\]\s*\]", text, re.DOTALL) if len(text) <= _MOST_TEXT else None
    try:
        stages = ast.literal_eval(found[0]) if found else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        stages = None
    if not isinstance(stages, list) or not all(
        isinstance(stage, list) and all(isinstance(block, str) for block in stage) for stage in stages
    ):
        raise ValueError(f"expected printed lists of block strings, [['ds_r1_k3_s1_e1_c16_nre'], ...], got {text[:60]!r}")
    return stages


def network_from_strings(
    stages: Stages,
    classes: int = 1000,
    image_channels: int = 3,
    *,
    stem_channels: int = 32,
    features: int = 1280,
    dropout: float = 0.2,
    default_activation: str = _DEFAULT,
) -> nn.Sequential:
    """A network with fresh weights; its modules are named as those of an extracted one, so weights may be exchanged.

    Stem and classifier have the default activation. Channels are rounded to multiples of 8, as timm does.

    Raises:
        ValueError: as :func:`read_stages`; an unknown default activation.

    Example:
        >>> network = network_from_strings([["ir_r2_k3_s2_e3_c16_nre"], ["cn_r1_k1_s1_c64"]], classes=10)
        >>> [name for name, _ in network.named_children()]
        ['stem', 'stage1_block1', 'stage1_block2', 'logits']
    """
    activation_module(default_activation)
    read = read_stages(stages)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = ConvNormActivation(image_channels, stem_channels, 3, 2, activation=default_activation)
    channels, number = stem_channels, 0
    for stage in read[:-1]:
        number += stage[0].kind == "ir"
        for place, block in enumerate(stage, start=1):
            inputs, channels = channels, round_channels(block.channels)
            activation = block.activation or default_activation
            if block.kind == "ds":
                depthwise = ConvNormActivation(inputs, inputs, block.kernel, block.stride, inputs, activation)
                kind = ResidualSequence if block.stride == 1 and inputs == channels else nn.Sequential
                parts["separable"] = kind(depthwise, ConvNormActivation(inputs, channels, 1, activation="identity"))
                continue
            hidden = round_channels(inputs * block.expansion)
            reduced = round_channels(hidden * block.squeeze_excite) if block.squeeze_excite else 0
            parts[f"stage{number}_block{place}"] = InvertedResidual(
                inputs, hidden, channels, block.kernel, block.stride, reduced, activation
            )
    head = read[-1][0]
    parts["logits"] = PooledClassifier(
        channels, round_channels(head.channels), features, classes, head.activation or default_activation, dropout
    )
    return nn.Sequential(parts)


def network_strings(network: nn.Module, default_activation: str = _DEFAULT) -> list[list[str]]:
    """The strings of a network of this library's blocks; a new stage begins where channels change or are strided over.

    Raises:
        ValueError: another kind of network, or one whose channels timm would round to others; names the module.
    """
    if not isinstance(network, nn.Sequential):
        raise ValueError(f"expected a chain of blocks (nn.Sequential), got {type(network).__name__}")
    children = list(network.named_children())
    if len(children) < 3 or not isinstance(children[0][1], ConvNormActivation) or not isinstance(children[-1][1], PooledClassifier):
        raise ValueError("expected a stem (ConvNormActivation), blocks, and a PooledClassifier; this chain has others")
    blocks: list[tuple[int, BlockString]] = []
    stage = 0
    for name, module in children[1:-1]:
        inputs, block = _block_of(name, module, default_activation)
        stage += not blocks or block.stride > 1 or block.channels != inputs or blocks[-1][1].kind != block.kind
        blocks.append((stage, block))
    conv = cast(ConvNormActivation, children[-1][1].conv)
    head = BlockString("cn", 1, 1, _multiple("the head", _conv(conv).out_channels))
    blocks.append((stage + 1, replace(head, activation=_activation(conv, default_activation))))
    strings = [[str(block) for _, block in group] for _, group in groupby(blocks, key=lambda pair: pair[0])]
    read_stages(strings)
    return strings


def architecture_strings(space: MBConvSpace, architecture: Architecture, default_activation: str = _DEFAULT) -> list[list[str]]:
    """The strings of an architecture of ``space``: the blocks that run.

    Raises:
        ValueError: an architecture of another space, or channels that timm would round to others.

    Example:
        >>> from graphs import hardcore_small
        >>> architecture_strings(hardcore_small(), hardcore_small().heaviest())[0][0]
        'ir_r1_k5_s2_e6_c8_nre_se0.25'
    """
    s = space.settings
    space.space.point(architecture)

    def write(kind: Literal["ds", "cn"], kernel: int, channels: int, activation: str) -> str:
        named = None if activation == default_activation else activation
        return str(BlockString(kind, kernel, 1, _multiple(kind, channels), activation=named))

    strings = []
    if s.separable_channels:
        activation = _activation_name(cast(nn.Sequential, space.fixed_modules()[1][0])[0])
        strings.append([write("ds", 3, s.separable_channels, activation)])
    for number, stage in enumerate(s.stages):
        depth = s.depths[architecture.choice(f"stage{number + 1}.depth")]
        blocks = []
        for place in range(depth):
            name = f"stage{number + 1}.block{place + 1}"
            shape = space.block_shapes[number * s.blocks_per_stage + place]
            picked = space.configurations_of(shape)[architecture.choice(name)]
            hidden = _multiple(name, shape.inputs * picked.expansion)
            share = 0.25 if picked.reduced(shape.inputs) else 0.0
            block = BlockString("ir", picked.kernel, shape.stride, _multiple(name, stage.channels), hidden / shape.inputs, share)
            blocks.append(str(replace(block, activation=None if stage.activation == default_activation else stage.activation)))
        strings.append(blocks)
    return [*strings, [write("cn", 1, s.head_channels, s.stages[-1].activation)]]


def read_architecture_strings(space: MBConvSpace, stages: Stages, default_activation: str = _DEFAULT) -> Architecture:
    """The architecture of ``space`` that the strings stand for; blocks beyond a stage's depth get their first configuration.

    The activations of the parts that are not searched (``ds``, ``cn``) are the space's, whatever the strings say of them.

    Raises:
        ValueError: strings of another space: other stages, depths, channels, strides, activations or configurations; says where.

    Example:
        >>> from graphs import hardcore_small
        >>> space = hardcore_small()
        >>> read_architecture_strings(space, architecture_strings(space, space.heaviest())) == space.heaviest()
        True
    """
    s = space.settings
    read = read_stages(stages)
    separable = read[0][0].channels if read[0][0].kind == "ds" else 0
    if separable != s.separable_channels or (separable and (read[0][0].kernel, read[0][0].stride) != (3, 1)):
        raise ValueError(
            f"space {s.name!r} has a separable block of {s.separable_channels} channels, kernel 3 (0: none): {read[0][0]}"
        )
    if read[-1][0].channels != s.head_channels:
        raise ValueError(f"space {s.name!r} has {s.head_channels} channels before the pooling, the strings {read[-1][0].channels}")
    searched = [stage for stage in read[:-1] if stage[0].kind == "ir"]
    if len(searched) != len(s.stages):
        raise ValueError(f"space {s.name!r} has {len(s.stages)} stages, the strings {len(searched)}")
    choices = {decision.name: decision.options[0] for decision in space.space.decisions}
    for number, (setting, blocks) in enumerate(zip(s.stages, searched, strict=True), start=1):
        if len(blocks) not in s.depths:
            raise ValueError(f"stage {number}: {len(blocks)} blocks; space {s.name!r} has depths {s.depths}")
        choices[f"stage{number}.depth"] = str(len(blocks))
        for place, block in enumerate(blocks):
            expected = (setting.channels, setting.stride if place == 0 else 1, setting.activation)
            found = (block.channels, block.stride, block.activation or default_activation)
            if found != expected:
                raise ValueError(
                    f"stage {number}, block {place + 1} ({block}): channels, stride and activation are {found}; "
                    f"space {s.name!r} has {expected}"
                )
            whole = int(block.expansion) if block.expansion.is_integer() else 0
            shape = space.block_shapes[(number - 1) * s.blocks_per_stage + place]
            offered = space.configurations_of(shape)
            wanted = Configuration(whole, block.kernel, block.squeeze_excite > 0)
            if wanted not in offered or block.squeeze_excite not in (0.0, 0.25):
                options = ", ".join(configuration.name for configuration in offered)
                raise ValueError(f"stage {number}, block {place + 1} ({block}): not one of the configurations {options} (se0.25)")
            choices[f"stage{number}.block{place + 1}"] = space.configurations[offered.index(wanted)].name
    return space.space.choose(choices)


def _block_of(name: str, module: nn.Module, default_activation: str) -> tuple[int, BlockString]:
    """Input channels of a block of a chain, and its string."""
    if isinstance(module, InvertedResidual):
        depthwise, inputs = _conv(module.depthwise), _conv(module.expand).in_channels
        hidden, outputs = _multiple(name, depthwise.out_channels), _multiple(name, _conv(module.project).out_channels)
        share = 0.0
        if isinstance(module.squeeze_excite, SqueezeExcite):
            share = 0.25
            if module.squeeze_excite.reduce.out_channels != round_channels(hidden / 4):
                raise ValueError(f"module {name!r}: squeeze-and-excitation of other than a quarter of the {hidden} channels")
        expansion = hidden / inputs
        if round_channels(inputs * float(f"{expansion:g}")) != hidden:
            raise ValueError(f"module {name!r}: {inputs} to {hidden} channels is no expansion that a block string can state")
        block = BlockString("ir", depthwise.kernel_size[0], depthwise.stride[0], outputs, expansion, share)
        return inputs, replace(block, activation=_activation(module.depthwise, default_activation))
    if isinstance(module, nn.Sequential) and len(module) == 2 and all(isinstance(part, ConvNormActivation) for part in module):
        depthwise, pointwise = _conv(module[0]), _conv(module[1])
        inputs = depthwise.in_channels
        if depthwise.groups == inputs == depthwise.out_channels and pointwise.kernel_size == (1, 1):
            kernel, stride = depthwise.kernel_size[0], depthwise.stride[0]
            block = BlockString("ds", kernel, stride, _multiple(name, pointwise.out_channels))
            return inputs, replace(block, activation=_activation(module[0], default_activation))
    raise ValueError(
        f"module {name!r} ({type(module).__name__}) has no block string: expected inverted residuals and a separable block"
    )


def _conv(block: nn.Module) -> nn.Conv2d:
    return cast(nn.Conv2d, cast(ConvNormActivation, block).conv)


def _activation(block: nn.Module, default_activation: str) -> str | None:
    name = _activation_name(block)
    return None if name == default_activation else name


def _activation_name(block: nn.Module) -> str:
    for name in _CODES.values():
        if type(cast(ConvNormActivation, block).activation) is type(activation_module(name)):
            return name
    raise ValueError(f"activation {cast(ConvNormActivation, block).activation}: block strings have {', '.join(_CODES.values())}")


def _multiple(name: str, channels: int) -> int:
    if channels != round_channels(channels):
        raise ValueError(f"{name}: timm rounds {channels} channels to {round_channels(channels)}; use multiples of 8")
    return channels

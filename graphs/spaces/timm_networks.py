"""Networks of timm's EfficientNet and MobileNet family from its block strings, with its parameters, layer by layer in its order.

A string is a kind and arguments in any order: ``ds`` depthwise-separable (``dsa`` with an activation at its end), ``ir`` inverted
residual, ``er`` with a full convolution in front (fused), ``cn`` convolution, ``uir`` MobileNetV4's with depthwise convolutions
before (``a``) and after (``p``) the expansion. ``r`` repeats, ``k`` kernel (``k3.5.7``: a mixture, channels shared out), ``s``
stride, ``e`` expansion, ``c`` channels, ``se`` squeeze-and-excitation, ``n..`` activation, ``skip``/``noskip``, ``fc`` channels
that an ``er`` expands from. ``a`` and ``p`` of an ``ir`` are kernels of its 1x1 convolutions.

What is refused by name: attention (``mha``, ``mqa``), experts (``cc``), space to depth (``d``).

Reference: the format of the library timm (its ``_efficientnet_builder``); Tan & Le, EfficientNet (scaling of depth and width).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from graphs.blocks import round_channels

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}
_CODES = {"nre": "relu", "nr6": "relu6", "nhs": "hard_swish", "nsw": "swish", "nmi": "mish"}
_KINDS = ("ds", "dsa", "ir", "er", "cn", "uir")
Kernels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimmSettings:
    """What the strings do not say.

    Attributes:
        width, depth: multipliers of channels and of repeats (one for all stages, or one each), these rounded up or to the nearest;
            the first and last stage keep theirs with ``fixed_ends``.
        divisor, round_limit: channels are rounded to multiples, and never below that share of them.
        stem, stem_kernel: channels of the stem, scaled too unless ``fixed_stem``, and its kernel.
        features: channels before the classifier, 0 for none (already scaled).
        head: "convolution" (1x1, normalized, then pooled) or "pooled" (pooled, then 1x1 with a bias).
        attention_of_expanded: shares of squeeze-and-excitation are of the expanded channels, not of the block's input.
        attention_divisor: their inner channels are rounded to multiples of it; 1 for whole numbers.
        group_size: channels of a group in what is otherwise depthwise (1).
    """

    width: float = 1.0
    depth: float | tuple[float, ...] = 1.0
    depth_rounding: Literal["up", "nearest"] = "up"
    fixed_ends: bool = False
    divisor: int = 8
    round_limit: float = 0.9
    stem: int = 32
    stem_kernel: int = 3
    fixed_stem: bool = False
    features: int = 1280
    head: Literal["convolution", "pooled"] = "convolution"
    head_bias: bool = True
    head_norm: bool = False
    activation: str = "swish"
    attention_of_expanded: bool = False
    attention_divisor: int = 1
    attention_gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    attention_activation: str | None = None
    group_size: int = 1
    classes: int = 1000
    image_channels: int = 3

    def channels(self, count: float) -> int:
        """Scaled and rounded as timm does."""
        return _multiple(count * self.width, self.divisor, self.round_limit)

    def reduced(self, count: float) -> int:
        """The inner channels of squeeze-and-excitation."""
        return round(count) if self.attention_divisor == 1 else _multiple(count, self.attention_divisor, self.round_limit)


@dataclass(frozen=True, slots=True)
class TimmBlock:
    """One string, read."""

    kind: str
    kernel: Kernels
    stride: int
    channels: int
    repeats: int = 1
    expansion: float = 1.0
    squeeze_excite: float = 0.0
    activation: str | None = None
    skip: bool | None = None
    first: Kernels | None = None  # ``a``
    last: Kernels | None = None  # ``p``
    expands_from: int = 0
    group_size: int | None = None

    @classmethod
    def read(cls, text: str) -> TimmBlock:
        """Read one string.

        Raises:
            ValueError: a kind or an argument that is not supported; names it.

        Example:
            >>> TimmBlock.read("ir_r2_k3.5_s2_e6_c40_se0.25_nsw").kernel
            (3, 5)
        """
        kind, *parts = text.strip().split("_")
        if kind not in _KINDS:
            raise ValueError(f"block string {text!r}: blocks of kind {kind!r} are not supported; there are {', '.join(_KINDS)}")
        found: dict[str, str] = {}
        activation, skip = None, None
        for part in parts:
            if part in _CODES:
                activation = _CODES[part]
            elif part in ("skip", "noskip"):
                skip = part == "skip"
            else:
                match = re.fullmatch(r"([a-z]+)(\d[\d.]*)", part)
                if match is None or match[1] not in ("r", "k", "s", "e", "c", "se", "a", "p", "fc", "gs"):
                    raise ValueError(f"block string {text!r}: argument {part!r} is not supported")
                found[match[1]] = match[2]
        missing = [name for name in "rksc" if name not in found] + (
            ["e"] if kind in ("ir", "er", "uir") and "e" not in found else []
        )
        if missing:
            raise ValueError(f"block string {text!r}: no {', '.join(missing)}")

        def kernels(name: str) -> Kernels | None:
            return tuple(int(each) for each in found[name].split(".")) if name in found else None

        kernel = kernels("k")
        return cls(
            kind,
            kernel if kernel is not None else (1,),
            int(found["s"]),
            int(found["c"]),
            int(found["r"]),
            float(found.get("e", 1)),
            float(found.get("se", 0)),
            activation,
            skip,
            kernels("a"),
            kernels("p"),
            int(found.get("fc", 0)),
            int(found["gs"]) if "gs" in found else None,
        )


def timm_network(stages: Sequence[Sequence[str]], settings: TimmSettings | None = None) -> nn.Sequential:
    """A network with fresh weights: (B, image channels, H, W) -> (B, classes). Convolutions are padded to keep the side.

    Raises:
        ValueError: a string that is not supported; names it.

    Example:
        >>> b0 = [["ds_r1_k3_s1_e1_c16_se0.25"], ["ir_r2_k3_s2_e6_c24_se0.25"]]
        >>> sum(tensor.numel() for tensor in timm_network(b0, TimmSettings(features=64, classes=10)).parameters())
        21404
    """
    given = settings or TimmSettings()
    act = given.activation
    stem = given.stem if given.fixed_stem else given.channels(given.stem)
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=_normalized(given.image_channels, stem, (given.stem_kernel,), 2, 1, act))
    channels = stem
    for number, stage in enumerate(stages, start=1):
        depth = given.depth[number - 1] if isinstance(given.depth, tuple) else given.depth
        depth = 1.0 if given.fixed_ends and number in (1, len(stages)) else depth
        for place, block in enumerate(_scaled([TimmBlock.read(text) for text in stage], depth, given.depth_rounding), start=1):
            parts[f"stage{number}_block{place}"] = built = _Block(channels, block, given)
            channels = built.outputs
    if given.head == "convolution":
        if given.features:
            parts["head"] = _normalized(channels, given.features, (1,), 1, 1, act)
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
    else:
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        if given.head_norm:
            parts["head"] = _normalized(channels, given.features, (1,), 1, 1, act)
        else:
            parts["head"] = nn.Sequential(nn.Conv2d(channels, given.features, 1, bias=given.head_bias), _ACTIVATIONS[act]())
    parts["flatten"] = nn.Flatten()
    parts["logits"] = nn.Linear(given.features or channels, given.classes)
    return nn.Sequential(parts)


class _Block(nn.Sequential):
    """A block of any kind, with its shortcut where the shapes allow it."""

    def __init__(self, inputs: int, block: TimmBlock, given: TimmSettings) -> None:
        outputs, act = given.channels(block.channels), block.activation or given.activation
        hidden = round_channels((given.channels(block.expands_from) if block.expands_from else inputs) * block.expansion)
        size = given.group_size if block.group_size is None else block.group_size
        share = block.squeeze_excite if given.attention_of_expanded else block.squeeze_excite / block.expansion
        wide = inputs if block.kind in ("ds", "dsa") else hidden
        reduced = given.reduced(wide * share) if share else 0
        attention = [_Attention(wide, reduced, given, act)] if reduced else []
        first, last = block.first or (1,), block.last or (1,)
        parts: list[nn.Module]
        if block.kind in ("ds", "dsa"):
            parts = [_normalized(inputs, inputs, block.kernel, block.stride, inputs // size, act), *attention]
            parts += [_normalized(inputs, outputs, last, 1, 1, act if block.kind == "dsa" else "identity")]
        elif block.kind == "ir":
            parts = [_normalized(inputs, hidden, first, 1, 1, act)]
            parts += [_normalized(hidden, hidden, block.kernel, block.stride, hidden // size, act), *attention]
            parts += [_normalized(hidden, outputs, last, 1, 1, "identity")]
        elif block.kind == "er":
            groups = 1 if block.group_size is None and given.group_size == 1 else hidden // size
            parts = [_normalized(inputs, hidden, block.kernel, block.stride, groups, act), *attention]
            parts += [_normalized(hidden, outputs, last, 1, 1, "identity")]
        elif block.kind == "cn":
            parts = [_normalized(inputs, outputs, block.kernel, block.stride, 1, act)]
        else:
            middle = block.kernel if block.kernel != (0,) else None
            start = block.first if block.first and block.first != (0,) else None
            stride = block.stride if middle is None else 1
            parts = [_normalized(inputs, inputs, start, stride, inputs // size, "identity")] if start else []
            parts += [_normalized(inputs, hidden, (1,), 1, 1, act)]
            parts += [_normalized(hidden, hidden, middle, block.stride, hidden // size, act)] if middle else []
            parts += [*attention, _normalized(hidden, outputs, (1,), 1, 1, "identity")]
            if block.last and block.last != (0,):
                parts.append(_normalized(outputs, outputs, block.last, 1, outputs // size, "identity"))
        super().__init__(*parts)
        self.outputs = outputs
        wanted = block.skip is True if block.kind == "cn" else block.skip is not False and block.kind != "dsa"
        self.residual = wanted and block.stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)
        return features + images if self.residual else features


class _Attention(nn.Module):
    """Squeeze-and-excitation with timm's choices of rounding, activation and gate."""

    def __init__(self, channels: int, reduced: int, given: TimmSettings, activation: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.activation = _ACTIVATIONS[given.attention_activation or activation]()
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.gate = nn.Hardsigmoid() if given.attention_gate == "hard_sigmoid" else nn.Sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3), keepdim=True)  # (B, channels, 1, 1)
        weights: Tensor = self.gate(self.expand(self.activation(self.reduce(pooled))))
        return features * weights


class _Mixed(nn.ModuleList):
    """A convolution whose channels are shared out to several kernels."""

    def __init__(self, inputs: int, outputs: int, kernels: Kernels, stride: int, groups: int) -> None:
        ins, outs = _shares(inputs, len(kernels)), _shares(outputs, len(kernels))
        convolutions = [
            nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=i if groups > 1 else 1, bias=False)
            for i, o, kernel in zip(ins, outs, kernels, strict=True)
        ]
        super().__init__(convolutions)
        self.inputs = ins

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([conv(part) for conv, part in zip(self, images.split(self.inputs, 1), strict=True)], 1)


def _normalized(inputs: int, outputs: int, kernels: Kernels | None, stride: int, groups: int, activation: str) -> nn.Sequential:
    assert kernels is not None
    conv: nn.Module = (
        _Mixed(inputs, outputs, kernels, stride, groups)
        if len(kernels) > 1
        else nn.Conv2d(inputs, outputs, kernels[0], stride, kernels[0] // 2, groups=groups, bias=False)
    )
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), activation=_ACTIVATIONS[activation]()))


def _shares(channels: int, parts: int) -> list[int]:
    each = channels // parts
    return [channels - each * (parts - 1)] + [each] * (parts - 1)


def _multiple(channels: float, divisor: int, limit: float) -> int:
    """The nearest multiple, the next where that is less than this share of the channels."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded


def _scaled(stage: Sequence[TimmBlock], depth: float, rounding: str) -> list[TimmBlock]:
    """The blocks of a stage with repeats scaled (in sum, rounded up) and written out; only the first of each has the stride."""
    total = sum(block.repeats for block in stage)
    left = math.ceil(total * depth) if rounding == "up" else max(len(stage), round(total * depth))
    counts = []
    for block in reversed(stage):
        count = max(1, round(block.repeats / total * left))
        counts.append(count)
        total -= block.repeats
        left -= count
    blocks = []
    for block, count in zip(stage, reversed(counts), strict=True):
        blocks += [replace(block, stride=block.stride if n == 0 else 1) for n in range(count)]
    return blocks

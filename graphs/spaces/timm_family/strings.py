"""Block strings of timm's EfficientNet and MobileNet family, read: what a string says, and what is said beside the strings.

A string is a kind and arguments in any order: ``ds`` depthwise-separable (``dsa`` with an activation at its end), ``ir`` inverted
residual, ``er`` with a full convolution in front (fused), ``cn`` convolution, ``uir`` MobileNetV4's with depthwise convolutions
before (``a``) and after (``p``) the expansion, ``mqa`` its attention of many queries on one key and value (``h`` heads of ``d``
channels, keys and values at ``1/v`` of the side by a convolution of kernel ``k``). ``r`` repeats, ``k`` kernel (``k3.5.7``: a
mixture, channels shared out), ``s`` stride, ``e`` expansion, ``c`` channels, ``se`` squeeze-and-excitation, ``n..`` activation,
``skip``/``noskip``, ``fc`` channels that an ``er`` expands from, ``gs`` channels a group, ``cc`` experts of an ``ir`` (convolutions
mixed for every image). ``a`` and ``p`` of an ``ir`` are kernels of its 1x1 convolutions. ``d1`` of a ``ds`` or ``ir`` folds squares
of 2 x 2 pixels into four times the channels, until the next block with a stride, which then has none.

What is refused by name: attention with keys and values for every head (``mha``), which none of the family's networks has.

Reference: the format of the library timm (its ``_efficientnet_builder``); Tan & Le, EfficientNet (scaling of depth and width).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

_CODES = {"nre": "relu", "nr6": "relu6", "nhs": "hard_swish", "nsw": "swish", "nmi": "mish"}
_KINDS = ("ds", "dsa", "ir", "er", "cn", "uir", "mqa")
_NUMBERS = ("r", "k", "s", "e", "c", "se", "a", "p", "fc", "gs", "cc", "d", "h", "v")
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
        attention: of blocks with ``se``: squeeze-and-excitation, or "global_context" (pixels weighted before they are pooled).
        group_size: channels of a group in what is otherwise depthwise (1).
        experts: multiplies the experts of ``cc``.
        norm, norm_group, epsilon: "batch", "group", "layer" (channels of a pixel) or "evonorm" (S0, which is the activation too);
            channels of a group; what is added to the variance.
        layer_scale: every ``uir`` and ``mqa`` ends in a learnt factor a channel.
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
    attention: Literal["squeeze_excite", "global_context"] = "squeeze_excite"
    group_size: int = 1
    experts: int = 1
    norm: Literal["batch", "group", "layer", "evonorm"] = "batch"
    norm_group: int = 8
    epsilon: float = 1e-5
    layer_scale: bool = False
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
    experts: int = 0  # ``cc``
    heads: int = 0  # ``h``
    head_channels: int = 0  # ``d``
    key_stride: int = 1  # ``v``
    folds: bool = False  # ``d1``: folds squares of pixels
    folded: bool = False  # has four times the channels

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
                if match is None or match[1] not in _NUMBERS:
                    raise ValueError(f"block string {text!r}: argument {part!r} is not supported")
                found[match[1]] = match[2]
        needed = ["r", "k", "s", "c", *(["e"] if kind in ("ir", "er", "uir") else ["h", "d"] if kind == "mqa" else [])]
        missing = [name for name in needed if name not in found]
        if missing:
            raise ValueError(f"block string {text!r}: no {', '.join(missing)}")
        if "cc" in found and (kind != "ir" or any("." in found.get(name, "") for name in "kap")):
            raise ValueError(f"block string {text!r}: experts (cc) are for ir with one kernel a convolution")

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
            int(found.get("cc", 0)),
            int(found.get("h", 0)),
            int(found.get("d", 0)) if kind == "mqa" else 0,
            int(found.get("v", 1)),
            kind in ("ds", "dsa", "ir") and int(found.get("d", 0)) > 0,
        )


def written_out(stages: Sequence[Sequence[str]], given: TimmSettings) -> list[list[TimmBlock]]:
    """The blocks of all stages, repeats scaled and written out, those between folded pixels and the next stride marked.

    Raises:
        ValueError: as :meth:`TimmBlock.read`.

    Example:
        >>> [[block.stride for block in stage] for stage in written_out([["ir_r2_k3_s2_e6_c24"]], TimmSettings())]
        [[2, 1]]
    """
    if isinstance(given.depth, tuple) and len(given.depth) != len(stages):
        raise ValueError(f"depth: {len(given.depth)} factors for {len(stages)} stages")
    read = []
    for number, stage in enumerate(stages, start=1):
        depth = given.depth[number - 1] if isinstance(given.depth, tuple) else given.depth
        depth = 1.0 if given.fixed_ends and number in (1, len(stages)) else depth
        read.append(_scaled([TimmBlock.read(text) for text in stage], depth, given.depth_rounding))
    marked = iter(list(_folded(block for stage in read for block in stage)))
    return [[next(marked) for _ in stage] for stage in read]


def _folded(blocks: Iterable[TimmBlock]) -> Iterable[TimmBlock]:
    """The stride that ends folding is dropped, since pixels are there at half the side already; its input is four times as wide."""
    inside = False
    for block in blocks:
        if inside and block.stride > 1:
            inside = False
            yield replace(block, stride=1, expansion=block.expansion / 4)
        else:
            yield replace(block, folds=block.folds and not inside, folded=inside or block.folds)
            inside = inside or block.folds


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

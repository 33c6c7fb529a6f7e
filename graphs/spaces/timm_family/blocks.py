"""The blocks of timm's EfficientNet and MobileNet family, with its parameters in its order: layers, normalizations, attention.

Reference: Howard et al., MobileNetV3, and Qin et al., MobileNetV4 (``uir``, ``mqa``); Yang et al., CondConv (experts); Cao et al.,
GCNet (global context); Liu et al., Evolving Normalization-Activation Layers (S0); Li et al., Searching for Fast Model Families on
Datacenter Accelerators (folded pixels).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphs.blocks import round_channels
from graphs.spaces.timm_family.strings import Kernels, TimmBlock, TimmSettings

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "identity": nn.Identity,
}


def normalized(
    given: TimmSettings,
    inputs: int,
    outputs: int,
    kernels: Kernels = (1,),
    stride: int = 1,
    groups: int = 1,
    activation: str = "identity",
    experts: int = 0,
) -> nn.Sequential:
    """A convolution, its normalization, its activation: (B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
    conv: nn.Module
    if experts:
        conv = _ExpertConvolution(inputs, outputs, kernels[0], stride, groups, experts)
    elif len(kernels) > 1:
        conv = MixedConvolution(inputs, outputs, kernels, stride, groups)
    else:
        conv = nn.Conv2d(inputs, outputs, kernels[0], stride, _padding(kernels[0], stride), groups=groups, bias=False)
    act = nn.Identity() if given.norm == "evonorm" else ACTIVATIONS[activation]()
    return nn.Sequential(OrderedDict(conv=conv, norm=_norm(given, outputs, activation), activation=act))


class Block(nn.Sequential):
    """A block of any kind, with its shortcut where the shapes allow it: (B, inputs, H, W) -> (B, outputs, H', W')."""

    def __init__(self, inputs: int, block: TimmBlock, given: TimmSettings) -> None:
        super().__init__(*_parts(inputs, block, given))
        self.outputs = _outputs(block, given)
        wanted = block.skip is True if block.kind == "cn" else block.skip is not False and block.kind != "dsa"
        self.residual = wanted and block.stride == 1 and inputs == self.outputs and not block.folds

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)
        return features + images if self.residual else features


class ExpertBlock(Block):
    """An inverted residual whose convolutions are mixed for every image, by shares that follow from its channels' means."""

    def __init__(self, inputs: int, block: TimmBlock, given: TimmSettings) -> None:
        super().__init__(inputs, block, given)
        self.parts = len(self)
        self.routing = nn.Linear(inputs, block.experts * given.experts)

    def forward(self, images: Tensor) -> Tensor:
        shares = self.routing(images.mean((2, 3))).sigmoid()  # (B, experts)
        features = images
        part: Any
        for part in list(self)[: self.parts]:
            routed = hasattr(part, "conv")  # its attention is not
            features = part.activation(part.norm(part.conv(features, shares))) if routed else part(features)
        return features + images if self.residual else features


class MixedConvolution(nn.ModuleList):
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


class _ExpertConvolution(nn.Module):
    """One convolution an image: the experts' weights mixed by its shares; weight (experts, outputs * inputs / groups * k * k)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, experts: int) -> None:
        super().__init__()
        self.shape = (outputs, inputs // groups, kernel, kernel)
        self.stride, self.groups = stride, groups
        self.weight = nn.Parameter(torch.empty(experts, math.prod(self.shape)))
        nn.init.normal_(self.weight, std=math.sqrt(2 * groups / (kernel * kernel * outputs)))

    def forward(self, images: Tensor, shares: Tensor) -> Tensor:
        count, _, height, width = images.shape
        outputs, inputs, kernel, _ = self.shape
        weight = (shares @ self.weight).view(count * outputs, inputs, kernel, kernel)
        together = images.reshape(1, -1, height, width)
        mixed = functional.conv2d(together, weight, None, self.stride, kernel // 2, groups=count * self.groups)
        return mixed.view(count, outputs, *mixed.shape[2:])


class _SqueezeExcite(nn.Module):
    """Squeeze-and-excitation with timm's choices of rounding, activation and gate."""

    def __init__(self, channels: int, reduced: int, given: TimmSettings, activation: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.activation = ACTIVATIONS[given.attention_activation or activation]()
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.gate = nn.Hardsigmoid() if given.attention_gate == "hard_sigmoid" else nn.Sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3), keepdim=True)  # (B, channels, 1, 1)
        weights: Tensor = self.gate(self.expand(self.activation(self.reduce(pooled))))
        return features * weights


class _GlobalContext(nn.Module):
    """Pixels pooled by learnt weights, and factors a channel that follow from them."""

    def __init__(self, channels: int, reduced: int, activation: str) -> None:
        super().__init__()
        self.weights = nn.Conv2d(channels, 1, 1)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.norm = _ChannelNorm(reduced, eps=1e-6)
        self.activation = ACTIVATIONS[activation]()
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        weights = self.weights(features).flatten(2).softmax(-1)  # (B, 1, H * W)
        pooled = (features.flatten(2) @ weights.mT).unsqueeze(-1)  # (B, channels, 1, 1)
        factors: Tensor = self.expand(self.activation(self.norm(self.reduce(pooled)))).sigmoid()
        return features * factors


class _QueryAttention(nn.Module):
    """Every head's queries on one key and value a pixel, these from a strided convolution: (B, channels, H, W) -> the same."""

    def __init__(self, channels: int, outputs: int, block: TimmBlock, given: TimmSettings) -> None:
        super().__init__()
        self.heads, size = block.heads, block.head_channels
        self.query = nn.Conv2d(channels, self.heads * size, 1, bias=False)
        self.key = nn.Sequential(*self._strided(channels, block, given), nn.Conv2d(channels, size, 1, bias=False))
        self.value = nn.Sequential(*self._strided(channels, block, given), nn.Conv2d(channels, size, 1, bias=False))
        self.output = nn.Conv2d(self.heads * size, outputs, 1, bias=False)

    @staticmethod
    def _strided(channels: int, block: TimmBlock, given: TimmSettings) -> list[nn.Module]:
        kernel, stride = block.kernel[0], block.key_stride
        conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
        return [conv, _norm(given, channels, "identity")] if stride > 1 else []

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        queries = self.query(images).view(count, self.heads, -1, height * width).mT  # (B, heads, H * W, d)
        keys, values = (part(images).flatten(2).mT.unsqueeze(1) for part in (self.key, self.value))  # (B, 1, pixels, d)
        seen = functional.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.output(seen.mT.reshape(count, -1, height, width))
        return output


class _ChannelFactors(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.full((channels,), 1e-5))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factors.view(-1, 1, 1)


class _ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of every pixel."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class _EvoNorm(nn.Module):
    """S0, batch-free, an activation too where ``active``."""

    def __init__(self, channels: int, group: int, epsilon: float, active: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.ones(channels)) if active else None
        self.group, self.epsilon = group, epsilon

    def forward(self, features: Tensor) -> Tensor:
        if self.slope is not None:
            grouped = features.unflatten(1, (-1, self.group))
            deviation = (grouped.var((2, 3, 4), unbiased=False, keepdim=True) + self.epsilon).sqrt()
            gates = (features * self.slope.view(-1, 1, 1)).sigmoid()
            features = features * gates / deviation.expand_as(grouped).flatten(1, 2)
        return features * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def _norm(given: TimmSettings, channels: int, activation: str) -> nn.Module:
    if given.norm == "batch":
        return nn.BatchNorm2d(channels, eps=given.epsilon)
    if given.norm == "layer":
        return _ChannelNorm(channels, eps=given.epsilon)
    if channels % given.norm_group:
        raise ValueError(f"normalization in groups of {given.norm_group} channels does not go into {channels}")
    if given.norm == "group":
        return nn.GroupNorm(channels // given.norm_group, channels, eps=given.epsilon)
    return _EvoNorm(channels, given.norm_group, given.epsilon, activation != "identity")


def _outputs(block: TimmBlock, given: TimmSettings) -> int:
    return given.channels(block.channels) * (4 if block.folded else 1)


def _parts(inputs: int, block: TimmBlock, given: TimmSettings) -> list[nn.Module]:
    outputs, act = _outputs(block, given), block.activation or given.activation
    size = given.group_size if block.group_size is None else block.group_size
    kernel, experts = block.kernel, block.experts * given.experts
    parts: list[nn.Module] = []
    if block.folds:  # pixels at half the side, so kernels too
        parts, kernel = [normalized(given, inputs, 4 * inputs, (2,), 2, 1, act)], ((kernel[0] + 1) // 2,)
        inputs *= 4
    hidden = round_channels((given.channels(block.expands_from) if block.expands_from else inputs) * block.expansion)
    wide = inputs if block.kind in ("ds", "dsa") else hidden
    attention = _attention(wide, block, given, act)
    first, last = block.first or (1,), block.last or (1,)
    if block.kind in ("ds", "dsa"):
        parts += [normalized(given, inputs, inputs, kernel, block.stride, inputs // size, act), *attention]
        parts += [normalized(given, inputs, outputs, last, activation=act if block.kind == "dsa" else "identity")]
    elif block.kind == "ir":
        parts += [normalized(given, inputs, hidden, first, activation=act, experts=experts)]
        parts += [normalized(given, hidden, hidden, kernel, block.stride, hidden // size, act, experts), *attention]
        parts += [normalized(given, hidden, outputs, last, experts=experts)]
    elif block.kind == "er":
        groups = 1 if block.group_size is None and given.group_size == 1 else hidden // size
        parts += [normalized(given, inputs, hidden, kernel, block.stride, groups, act), *attention]
        parts += [normalized(given, hidden, outputs, last)]
    elif block.kind == "cn":
        parts += [normalized(given, inputs, outputs, kernel, block.stride, 1, act)]
    elif block.kind == "mqa":
        parts += [_norm(given, inputs, "identity"), _QueryAttention(inputs, outputs, block, given)]
    else:
        middle = kernel if kernel != (0,) else None
        start = block.first if block.first and block.first != (0,) else None
        stride = block.stride if middle is None else 1
        parts += [normalized(given, inputs, inputs, start, stride, inputs // size)] if start else []
        parts += [normalized(given, inputs, hidden, activation=act)]
        parts += [normalized(given, hidden, hidden, middle, block.stride, hidden // size, act)] if middle else []
        parts += [*attention, normalized(given, hidden, outputs)]
        if block.last and block.last != (0,):
            parts.append(normalized(given, outputs, outputs, block.last, 1, outputs // size))
    if given.layer_scale and block.kind in ("uir", "mqa"):
        parts.append(_ChannelFactors(outputs))
    return parts


def _attention(wide: int, block: TimmBlock, given: TimmSettings, activation: str) -> list[nn.Module]:
    """Of the channels between a block's convolutions."""
    share = block.squeeze_excite if given.attention_of_expanded else block.squeeze_excite / block.expansion
    share = share / 4 if block.folds else share
    if not share:
        return []
    if given.attention == "global_context":
        return [_GlobalContext(wide, max(1, int(wide * share + 0.5)), activation)]
    reduced = given.reduced(wide * share)
    return [_SqueezeExcite(wide, reduced, given, activation)] if reduced else []


def _padding(kernel: int, stride: int) -> int | str:
    """Keeps the side; an even kernel, of folded pixels, sees one more to the right and below."""
    return kernel // 2 if kernel % 2 else "same" if stride == 1 else 0


def _shares(channels: int, parts: int) -> list[int]:
    each = channels // parts
    return [channels - each * (parts - 1)] + [each] * (parts - 1)

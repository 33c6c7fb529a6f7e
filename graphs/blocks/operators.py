"""Plain torch blocks: what an extracted network is made of.

Convolution + batch normalization + activation, squeeze-and-excitation, the inverted residual of MobileNetV2/V3 with which
HardCoRe-NAS builds its networks, and the blocks of ResNets and convolutional neural fabrics with which BSN does. Nothing here is
elastic; the shared-weight versions are in ``graphs.blocks.elastic``.

Reference: Sandler et al., MobileNetV2 (inverted residual); Howard et al., MobileNetV3 (SE inside it, hard-swish); He et al., Deep
residual learning (basic block, projection shortcut); Saxena & Verbeek, Convolutional neural fabrics (up-sampling convolution).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "hard_swish": nn.Hardswish, "swish": nn.SiLU, "identity": nn.Identity}


def activation_module(name: str) -> nn.Module:
    """The activation called ``relu``, ``hard_swish``, ``swish`` or ``identity``.

    Raises:
        ValueError: another name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def round_channels(channels: float, divisor: int = 8) -> int:
    """``channels`` rounded to the nearest positive multiple of ``divisor``, never below nine tenths (the MobileNet rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvNormActivation(nn.Sequential):
    """Convolution, batch normalization, activation: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activation: str = "relu", bias: bool = False
    ) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
        parts = {"conv": convolution, "norm": nn.BatchNorm2d(outputs), "activation": activation_module(activation)}
        super().__init__(OrderedDict(parts))


class SqueezeExcite(nn.Module):
    """Channel attention: global pooling, two 1x1 convolutions, a hard-sigmoid gate. Keeps the shape."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3), keepdim=True)  # (B, channels, 1, 1)
        gate = nn.functional.hardsigmoid(self.expand(nn.functional.relu(self.reduce(pooled))))
        return features * gate


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise k x k, squeeze-and-excitation (``reduced`` > 0), project 1x1; a skip where the shapes allow it."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int = 1, reduced: int = 0, activation: str = "hard_swish"
    ) -> None:
        super().__init__()
        self.expand = ConvNormActivation(inputs, hidden, 1, activation=activation)
        self.depthwise = ConvNormActivation(hidden, hidden, kernel, stride, groups=hidden, activation=activation)
        self.squeeze_excite = SqueezeExcite(hidden, reduced) if reduced else nn.Identity()
        self.project = ConvNormActivation(hidden, outputs, 1, activation="identity")
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        features = self.project(self.squeeze_excite(self.depthwise(self.expand(images))))
        return features + images if self.residual else features


class ResidualSequence(nn.Sequential):
    """Modules in a row that keep the shape, and the shortcut around them."""

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)
        return features + images


class PooledClassifier(nn.Sequential):
    """MobileNetV3 head: 1x1 conv, global pooling, a hidden layer, logits: (B, inputs, H, W) -> (B, classes)."""

    def __init__(
        self, inputs: int, channels: int, features: int, classes: int, activation: str = "hard_swish", dropout: float = 0.0
    ):
        parts = [
            ("conv", ConvNormActivation(inputs, channels, 1, activation=activation)),
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("hidden", nn.Linear(channels, features)),
            ("activation", activation_module(activation)),
            ("dropout", nn.Dropout(dropout)),
            ("logits", nn.Linear(features, classes)),
        ]
        super().__init__(OrderedDict[str, nn.Module](parts))


class BasicBlockBody(nn.Sequential):
    """A ResNet block without its shortcut: two 3x3 convolutions (with bias), normalized, a ReLU between them and none after."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        first = ConvNormActivation(inputs, outputs, 3, stride, bias=True)
        second = ConvNormActivation(outputs, outputs, 3, activation="identity", bias=True)
        super().__init__(OrderedDict(first=first, second=second))


class UpsampledConvolution(nn.Sequential):
    """Nearest-neighbour up-sampling by 2, then a 3x3 convolution (with bias), normalized: the side doubles, channels stay."""

    def __init__(self, channels: int) -> None:
        parts = {
            "upsample": nn.Upsample(scale_factor=2, mode="nearest"),
            "convolution": ConvNormActivation(channels, channels, 3, activation="identity", bias=True),
        }
        super().__init__(OrderedDict(parts))


class PooledLinear(nn.Sequential):
    """ResNet head: average pooling and a linear layer: (B, inputs, H, W) -> (B, classes)."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), logits=nn.Linear(inputs, classes)))


class PixelClassifier(nn.Sequential):
    """Fabric head: a 1x1 convolution (with bias) to logits a pixel, averaged over the pixels if ``pooled``.

    (B, inputs, H, W) -> (B, classes, H, W), or (B, classes) if pooled.
    """

    def __init__(self, inputs: int, classes: int, pooled: bool) -> None:
        parts: list[tuple[str, nn.Module]] = [("logits", nn.Conv2d(inputs, classes, 1))]
        if pooled:
            parts += [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
        super().__init__(OrderedDict(parts))


@torch.no_grad()
def copy_leading_channels(target: nn.Module, source: nn.Module) -> None:
    """Copy into every tensor of ``target`` the leading corner of the tensor of the same name in ``source``.

    This is what extraction does: a narrow block owns the first channels of the wide one it was trained inside.
    """
    wide = source.state_dict()
    for name, tensor in target.state_dict().items():
        tensor.copy_(wide[name][tuple(slice(0, size) for size in tensor.shape)])

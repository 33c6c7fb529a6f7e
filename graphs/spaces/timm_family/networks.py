"""Networks of timm's EfficientNet and MobileNet family from its block strings, with its parameters, layer by layer in its order.

All 154 networks that timm 1.0 registers in its modules ``efficientnet``, ``mobilenetv3`` and ``hardcorenas`` have timm's number of
parameters (the pruned ones by :func:`with_channels_of`). Strides are padded alike on both sides: the networks called ``tf_...`` and
the pruned EfficientNets pad as TensorFlow does, ``_aa_`` and ``_blur_`` average where they stride, so that their weights fit and
their outputs differ.

Reference: the format of the library timm (its ``_efficientnet_builder``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from torch import nn

from graphs.spaces.timm_family.blocks import ACTIVATIONS, Block, ExpertBlock, MixedConvolution, normalized
from graphs.spaces.timm_family.strings import TimmSettings, written_out

_LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


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
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["stem"] = normalized(given, given.image_channels, stem, (given.stem_kernel,), 2, activation=act)
    channels = stem
    for number, stage in enumerate(written_out(stages, given), start=1):
        for place, block in enumerate(stage, start=1):
            parts[f"stage{number}_block{place}"] = built = (ExpertBlock if block.experts else Block)(channels, block, given)
            channels = built.outputs
    if given.head == "convolution":
        if given.features:
            parts["head"] = normalized(given, channels, given.features, activation=act)
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
    else:
        parts["pool"] = nn.AdaptiveAvgPool2d(1)
        if given.head_norm:
            parts["head"] = normalized(given, channels, given.features, activation=act)
        else:
            parts["head"] = nn.Sequential(nn.Conv2d(channels, given.features, 1, bias=given.head_bias), ACTIVATIONS[act]())
    parts["flatten"] = nn.Flatten()
    parts["logits"] = nn.Linear(given.features or channels, given.classes)
    return nn.Sequential(parts)


def with_channels_of(network: nn.Module, other: nn.Module) -> nn.Module:
    """The network with fresh layers as wide as those of ``other``, a pruned one that has the same layers in the same order.

    Raises:
        ValueError: other layers; names the first.

    Example:
        >>> wide = timm_network([["ds_r1_k3_s1_c16"]], TimmSettings(features=64, classes=10))
        >>> narrow = timm_network([["ds_r1_k3_s1_c8"]], TimmSettings(features=64, classes=10))
        >>> with_channels_of(wide, narrow).stage1_block1[1].conv
        Conv2d(32, 8, kernel_size=(1, 1), stride=(1, 1), bias=False)
    """
    built = deepcopy(network)
    layers = [(name, module) for name, module in built.named_modules() if isinstance(module, _LAYERS)]
    theirs = [module for module in other.modules() if isinstance(module, _LAYERS)]
    if len(layers) != len(theirs) or any(isinstance(module, MixedConvolution) for module in built.modules()):
        raise ValueError(f"{len(layers)} layers and {len(theirs)} of the other network: expected the same, none with mixed kernels")
    for (name, ours), given in zip(layers, theirs, strict=True):
        kernels = [getattr(layer, "kernel_size", ()) for layer in (ours, given)]
        if not isinstance(given, type(ours)) or kernels[0] != kernels[1]:
            raise ValueError(f"{name}: {ours}; the other network has {given} at this place")
        built.set_submodule(name, _as_wide(ours, given))
    return built


def _as_wide(ours: Any, given: Any) -> nn.Module:
    """A fresh layer with our options and the channels of the other."""
    if isinstance(ours, nn.BatchNorm2d):
        return nn.BatchNorm2d(given.num_features, ours.eps)
    bias = ours.bias is not None
    if isinstance(ours, nn.Linear):
        return nn.Linear(given.in_features, given.out_features, bias)
    channels = given.in_channels, given.out_channels
    return nn.Conv2d(*channels, ours.kernel_size, ours.stride, ours.padding, ours.dilation, given.groups, bias)

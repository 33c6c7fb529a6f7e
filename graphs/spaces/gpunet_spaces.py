"""PruNet's search spaces by name: the paper's two, one for CIFAR and a small one for CPUs.

The ImageNet space takes its plan from GPUNet-1: a strided convolution, residual convolutions, fused and ordinary inverted
residuals, a 1x1 convolution with ReLU before pooling. In the Imagewoof space an inverted residual picks one of five blocks of
kernel and activation at expansion 8, and no width.

Sizes follow the paper's Table 3. Its formulas assume depths (2, 3, 2, 5, 5), its Table 1 prints (3, 3, 2, 5, 6), 19 inverted
residuals, its Table 5 (2, 3, 2, 5, 6), and searches of its Table 6 end with up to 18; depths are therefore a parameter,
(3, 3, 2, 5, 5) by default.

Reference: PruNet, Sec. 3.1, Tables 1, 3 and 5; Wang et al., GPUNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from graphs.blocks import BlockChoice, Operator
from graphs.spaces.gpunet import GPUNetSettings, GPUNetSpace, GPUNetStage

CHANNELS = (64, 96, 160, 288, 448)  # stages 2 to 6 of Table 1


def gpunet_imagenet(
    classes: int = 1000,
    resolution: int = 288,
    image_channels: int = 3,
    depths: Sequence[int] = (3, 3, 2, 5, 5),
    channels: Sequence[int] = CHANNELS,
    granularity: int = 32,
) -> GPUNetSpace:
    """The paper's ImageNet space (Table 1).

    Args:
        classes, resolution, image_channels: of the data.
        depths, channels: of stages 2 to 6.
        granularity: step between permissible hidden widths, in channels.

    Raises:
        ValueError: not five depths and five channel numbers.

    Example:
        >>> len(gpunet_imagenet().layers)
        20
    """
    activations = ("swish", "swish", "swish", "relu", "relu")
    choices = [_blocks((3, 5), activation, (False, True)) for activation in activations]
    stages = _stages(depths, channels, choices, conv_kernels=(3, 5))
    name = f"gpunet-imagenet-{resolution}-{classes}-d{_joined(depths)}-c{_joined(channels)}-g{granularity}"
    return GPUNetSpace(GPUNetSettings(name, resolution, classes, stages, image_channels, granularity=granularity, dropout=0.2))


def gpunet_imagewoof(
    classes: int = 10,
    resolution: int = 224,
    image_channels: int = 3,
    depths: Sequence[int] = (2, 3, 2, 5, 6),
    channels: Sequence[int] = CHANNELS,
    granularity: int = 32,
) -> GPUNetSpace:
    """The paper's Imagewoof space (Table 5): no stride in the stem, kernels up to 7, ReLU or Swish as part of the choice.

    Every layer has five candidates, all of expansion 8: widths are not searched. The table names no squeeze-and-excitation, so
    there is none; operators and the head are those of Table 1.

    Raises:
        ValueError: not five depths and five channel numbers.

    Example:
        >>> [option.name for option in gpunet_imagewoof().layers["stage2.layer1"].options]
        ['k3_relu_w192', 'k5_relu_w192', 'k3_swish_w192', 'k5_swish_w192', 'k7_swish_w192']
    """
    early = (*_blocks((3, 5), "relu"), *_blocks((3, 5, 7), "swish"))
    late = (*_blocks((3, 5, 7), "relu"), *_blocks((3, 5), "swish"))
    stages = _stages(depths, channels, [early] * 3 + [late] * 2, conv_kernels=(3, 5, 7))
    name = f"gpunet-imagewoof-{resolution}-{classes}-d{_joined(depths)}-c{_joined(channels)}-g{granularity}"
    widest = (1.0,)  # of every layer the one width
    settings = GPUNetSettings(
        name, resolution, classes, stages, image_channels, stem_stride=1, granularity=granularity, dropout=0.2, shares=widest
    )
    return GPUNetSpace(settings)


def gpunet_cifar(
    classes: int = 10,
    resolution: int = 32,
    image_channels: int = 3,
    depths: Sequence[int] = (2, 2, 3),
    channels: Sequence[int] = (32, 64, 96),
    expansion: int = 6,
    granularity: int = 16,
) -> GPUNetSpace:
    """A space for images of 32 pixels: no stride in the stem, three stages of inverted residuals, the first of them fused.

    Raises:
        ValueError: not three depths and three channel numbers.

    Example:
        >>> gpunet_cifar().layers["stage3.layer3"].widths[-1]
        576
    """
    swish, relu = _blocks((3, 5), "swish", (False, True)), _blocks((3, 5), "relu", (False, True))
    operators: tuple[Operator, ...] = ("fused", "inverted", "inverted")
    plans = zip(operators, depths, (1, 2, 2), channels, (swish, swish, relu), strict=True)
    stages = tuple(GPUNetStage(*plan) for plan in plans)
    name = (
        f"gpunet-cifar-{resolution}-{image_channels}x{classes}-d{_joined(depths)}-c{_joined(channels)}-e{expansion}-g{granularity}"
    )
    settings = GPUNetSettings(
        name,
        resolution,
        classes,
        stages,
        image_channels,
        stem_stride=1,
        expansion=expansion,
        granularity=granularity,
        head_channels=256,
    )
    return GPUNetSpace(settings)


def gpunet_small(classes: int = 10, resolution: int = 32, image_channels: int = 1, granularity: int = 8) -> GPUNetSpace:
    """A small space for laptops: nine layers, a residual convolution and eight Prunode layers, seven of the nine skippable.

    Example:
        >>> gpunet_small().space.decisions[0].options
        ('k3_relu', 'k5_relu', 'skip')
    """
    swish, relu = _blocks((3, 5), "swish", (False, True)), _blocks((3, 5), "relu", (False, True))
    stages = (
        GPUNetStage("convolution", 1, 1, 8, _blocks((3, 5), "relu")),
        GPUNetStage("fused", 2, 2, 16, swish),
        GPUNetStage("fused", 2, 1, 16, swish),
        GPUNetStage("inverted", 2, 2, 32, swish),
        GPUNetStage("inverted", 2, 1, 32, relu),
    )
    name = f"gpunet-small-{resolution}-{image_channels}x{classes}-g{granularity}"
    settings = GPUNetSettings(
        name, resolution, classes, stages, image_channels, stem_channels=8, expansion=4, granularity=granularity, head_channels=96
    )
    return GPUNetSpace(settings)


def _blocks(kernels: Sequence[int], activation: str, squeeze_excite: Sequence[bool] = (False,)) -> tuple[BlockChoice, ...]:
    return tuple(BlockChoice(kernel, se, activation) for kernel, se in product(kernels, squeeze_excite))


def _stages(
    depths: Sequence[int], channels: Sequence[int], choices: Sequence[tuple[BlockChoice, ...]], conv_kernels: Sequence[int]
) -> tuple[GPUNetStage, ...]:
    """Stage 1 of two residual convolutions, then stages 2 to 6."""
    if len(depths) != 5 or len(channels) != 5:
        raise ValueError(f"expected depths and channels of the five stages 2 to 6, got {tuple(depths)} and {tuple(channels)}")
    operators: tuple[Operator, ...] = ("fused", "fused", "inverted", "inverted", "inverted")
    strides = (2, 2, 2, 1, 2)
    later = [GPUNetStage(*plan) for plan in zip(operators, depths, strides, channels, choices, strict=True)]
    return (GPUNetStage("convolution", 2, 1, 24, _blocks(conv_kernels, "relu")), *later)


def _joined(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))

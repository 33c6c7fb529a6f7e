"""GPUNet-0, -1 and -2, PruNet's main rivals in Table 2, layer by layer as released, to be counted and timed.

The release sets no padding in the strided convolutions of its fused blocks, so that their maps come out a pixel smaller; here they
are padded as everywhere, and ``released`` leaves it out to reach the release's multiply-adds to the digit.

Reference: PruNet, Table 2; Wang et al., GPUNet (release of the networks without distillation, 0.65, 0.85 and 1.75 ms).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from torch import nn

from graphs.blocks import BlockChoice, ConvNormActivation, FusedInvertedResidual, LayerShape, Operator, plain_block

# (operator, how many, outputs, stride of the first, kernel, activation, expansion, squeeze-and-excitation)
Layers = tuple[Operator, int, int, int, int, str, int, bool]

GPUNETS: dict[str, tuple[int, int, tuple[Layers, ...]]] = {  # resolution, channels of the stem, layers
    "GPUNet-0": (
        320,
        32,
        (
            ("convolution", 2, 32, 1, 3, "relu", 0, False),
            ("fused", 2, 32, 2, 3, "relu", 5, False),
            ("fused", 3, 64, 2, 3, "relu", 5, False),
            ("inverted", 3, 256, 2, 3, "swish", 5, False),
            ("inverted", 2, 704, 2, 3, "relu", 5, True),
        ),
    ),
    "GPUNet-1": (
        288,
        24,
        (
            ("convolution", 1, 24, 1, 3, "relu", 0, False),
            ("fused", 2, 64, 2, 3, "swish", 4, False),
            ("fused", 2, 96, 2, 3, "swish", 4, False),
            ("inverted", 1, 160, 2, 3, "swish", 2, True),
            ("inverted", 4, 288, 1, 3, "relu", 5, False),
            ("inverted", 4, 448, 2, 3, "relu", 4, True),
        ),
    ),
    "GPUNet-2": (
        384,
        32,
        (
            ("convolution", 3, 32, 1, 3, "relu", 0, False),
            ("fused", 1, 32, 2, 5, "swish", 6, True),
            ("fused", 3, 112, 2, 3, "swish", 3, False),
            ("inverted", 6, 144, 2, 3, "swish", 6, False),
            ("inverted", 4, 160, 1, 5, "relu", 3, False),
            ("inverted", 8, 224, 2, 3, "swish", 3, True),
            ("inverted", 7, 832, 1, 5, "relu", 2, False),
        ),
    ),
}

GPUNET_COUNTS: dict[str, tuple[int, int, int]] = {
    "GPUNet-0": (320, 11_885_432, 3_254_209_280),
    "GPUNet-1": (288, 12_704_192, 3_308_369_280),
    "GPUNet-2": (384, 25_798_704, 8_386_275_920),
}
"""Resolution, parameters, and multiply-adds of the release, as fvcore counts them."""


def gpunet(name: str, classes: int = 1000, released: bool = False) -> nn.Sequential:
    """A network with fresh weights from torch's global generator.

    Args:
        released: without padding in the strided convolutions of fused blocks, as the release has it.

    Raises:
        KeyError: none of the three.
    """
    side, channels, layers = GPUNETS[name]
    parts = OrderedDict[str, nn.Module](stem=ConvNormActivation(3, channels, 3, 2, activation="swish"))
    side = -(-side // 2)
    for stage, (operator, depth, outputs, stride, kernel, activation, expansion, attention) in enumerate(layers, start=1):
        for place in range(depth):
            step, block = stride if place == 0 else 1, BlockChoice(kernel, attention, activation)
            widths = (expansion * channels,) if expansion else ()
            parts[f"stage{stage}_layer{place + 1}"] = plain_block(
                LayerShape(operator, channels, outputs, step, side, (block,), widths), 0
            )
            channels, side = outputs, -(-side // step)
    parts["head"] = ConvNormActivation(channels, 1280, 1, activation="relu")
    parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "logits": nn.Linear(1280, classes)}
    network = nn.Sequential(parts)
    if released:
        for module in network.modules():
            if isinstance(module, FusedInvertedResidual):
                convolution = cast(nn.Conv2d, module.expand.conv)
                convolution.padding = convolution.padding if convolution.stride == (1, 1) else (0, 0)
    return network

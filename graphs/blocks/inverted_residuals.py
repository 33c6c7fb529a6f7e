"""The plain blocks of networks in the manner of GPUNet: fused inverted residual, residual convolution, stochastic depth.

The fused inverted residual replaces the 1x1 expansion and the depthwise convolution of MobileNet's block by one full k x k
convolution, which accelerators run faster where images are large and channels few. The ordinary inverted residual is
``graphs.blocks.operators.InvertedResidual``.

Reference: Gupta & Akin, Accelerator-aware neural network design (fused inverted residual); Wang et al., GPUNet (blocks of the
search space); Huang et al., Deep networks with stochastic depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphs.blocks.operators import ConvNormActivation, InvertedResidual, SqueezeExcite


class FusedInvertedResidual(nn.Module):
    """Expand k x k with stride, squeeze-and-excitation (``reduced`` > 0), project 1x1; a skip where the shapes allow it.

    (B, inputs, H, W) -> (B, outputs, H / stride, W / stride).
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int = 1, reduced: int = 0, activation: str = "swish"
    ) -> None:
        super().__init__()
        self.expand = ConvNormActivation(inputs, hidden, kernel, stride, activation=activation)
        self.squeeze_excite = SqueezeExcite(hidden, reduced) if reduced else nn.Identity()
        self.project = ConvNormActivation(hidden, outputs, 1, activation="identity")
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        features = self.project(self.squeeze_excite(self.expand(images)))
        return features + images if self.residual else features


class ResidualConvolution(nn.Module):
    """Convolution, batch normalization, activation; a skip where the shapes allow it.

    (B, inputs, H, W) -> (B, outputs, H / stride, W / stride).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, activation: str = "relu") -> None:
        super().__init__()
        self.convolution = ConvNormActivation(inputs, outputs, kernel, stride, activation=activation)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images)
        return features + images if self.residual else features


class StochasticDepth(nn.Module):
    """A residual block that is left out for a random ``rate`` of the examples while training (drop path).

    The examples that keep it have its branch scaled by 1 / (1 - rate), so that the expected output is the block's. In evaluation
    the block runs as it is. Draws come from torch's global generator, as those of ``nn.Dropout``.
    """

    def __init__(self, block: nn.Module, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"stochastic depth: expected a rate in [0, 1), got {rate}")
        self.block, self.rate = block, rate

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.block(images)
        if not self.training or self.rate == 0:
            return features
        kept = torch.rand(len(images), 1, 1, 1, device=images.device) >= self.rate  # (B, 1, 1, 1)
        # The branch alone is features - images; what is added here is what its scaling adds to the block's own sum.
        return torch.where(kept, features + (features - images) * (self.rate / (1 - self.rate)), images)


def with_stochastic_depth(network: nn.Sequential, rate: float) -> nn.Sequential:
    """The same blocks, those with a skip wrapped in stochastic depth; modules are shared with ``network``, not copied.

    The rate rises linearly over the residual blocks, from ``rate / count`` in the first to ``rate`` in the last.

    Raises:
        ValueError: a rate outside [0, 1).
    """
    residual = [name for name, module in network.named_children() if _has_skip(module)]
    if not 0 <= rate < 1:
        raise ValueError(f"stochastic depth: expected a rate in [0, 1), got {rate}")
    wrapped = nn.Sequential()
    for name, module in network.named_children():
        share = (residual.index(name) + 1) / len(residual) if name in residual else 0.0
        wrapped.add_module(name, StochasticDepth(module, rate * share) if share else module)
    return wrapped.train(network.training)


def _has_skip(module: nn.Module) -> bool:
    return isinstance(module, FusedInvertedResidual | InvertedResidual | ResidualConvolution) and module.residual

"""The elastic inverted residual: every configuration of a block in one module with shared weights.

One expansion and one projection convolution at the largest ratio are shared; a ratio keeps the first channels (channel masks,
Eq. 19); each kernel size has its own depthwise convolution; one squeeze-and-excitation is shared and masked likewise. The block's
output is the gated mixture ``sum_c gate_c block_c(x)`` of HardCoRe-NAS Eq. 4. It costs two depthwise convolutions instead of
twelve blocks: everything after the depthwise convolutions but the cheap attention is linear, so the twelve masks are mixed first
and projected once. With one-hot gates the output is exactly the chosen configuration's. The gradient of the gates is the mixture's
up to a constant over the options of a row: the skip and the last normalization's shift, which all options share, are added once and
not once an option. Gates sum to 1, so such a constant has no say; parameters behind a softmax never see it.

Batch statistics are those of the whole batch for the expansion and the depthwise convolutions (their channels do not depend on the
choice) and of the mixture for the projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from graphs.blocks.operators import ConvNormActivation, InvertedResidual, SqueezeExcite, copy_leading_channels, round_channels
from graphs.blocks.widths import leading_attention, leading_block


@dataclass(frozen=True, slots=True)
class Configuration:
    """Expansion ratio, depthwise kernel size, and whether squeeze-and-excitation is on."""

    expansion: int
    kernel: int
    squeeze_excite: bool

    @property
    def name(self) -> str:
        """``e3_k5_se`` or ``e6_k3``: the option's name in files and tables."""
        return f"e{self.expansion}_k{self.kernel}" + ("_se" if self.squeeze_excite else "")

    def reduced(self, inputs: int) -> int:
        """Width inside squeeze-and-excitation: a quarter of the expanded channels rounded to 8; 0 when it is off."""
        return round_channels(inputs * self.expansion / 4) if self.squeeze_excite else 0


class ElasticInvertedResidual(nn.Module):
    """All ``configurations`` of an inverted residual (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, configurations: Sequence[Configuration], activation: str = "hard_swish"
    ) -> None:
        super().__init__()
        self.configurations = tuple(configurations)
        self.inputs, self.outputs, self.stride, self.activation = inputs, outputs, stride, activation
        hidden = inputs * max(c.expansion for c in configurations)
        reduced = max(c.reduced(inputs) for c in configurations)
        kernels = sorted({c.kernel for c in configurations})
        self.expand = ConvNormActivation(inputs, hidden, 1, activation=activation)
        self.depthwise = nn.ModuleDict(
            {str(k): ConvNormActivation(hidden, hidden, k, stride, groups=hidden, activation=activation) for k in kernels}
        )
        self.squeeze_excite = SqueezeExcite(hidden, reduced) if reduced else None
        self.project = ConvNormActivation(hidden, outputs, 1, activation="identity")
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor, gate: Tensor) -> Tensor:
        """The gated mixture. ``gate``: (options,) for the whole batch or (B, options), non-negative, summing to 1 over the options.

        A one-hot gate of shape (options,) that needs no gradient runs the narrow block alone.
        """
        if gate.ndim == 1 and not gate.requires_grad and bool((gate == gate.max()).sum() == 1) and float(gate.max()) == 1.0:
            return self._narrow_forward(images, int(gate.argmax()))
        weights = gate.expand(len(images), -1) if gate.ndim == 1 else gate  # (B, options)
        expanded = self.expand(images)  # (B, hidden, H, W)
        mixture = None
        for kernel, depthwise in self.depthwise.items():
            members = [index for index, c in enumerate(self.configurations) if str(c.kernel) == kernel]
            if not weights.requires_grad and not bool(weights[:, members].any()):
                continue
            features = depthwise(expanded)  # (B, hidden, H', W')
            scaled = features * self._channel_weights(features, weights, members)[:, :, None, None]
            mixture = scaled if mixture is None else mixture + scaled
        projected = self.project(mixture)
        return projected + images if self.residual else projected

    def _channel_weights(self, features: Tensor, weights: Tensor, members: list[int]) -> Tensor:
        """sum over the members of gate x mask x attention, shape (B, hidden)."""
        hidden = features.shape[1]
        pooled = features.mean((2, 3)) if any(self.configurations[m].squeeze_excite for m in members) else None
        channels = torch.arange(hidden, device=features.device)
        total = features.new_zeros(len(features), hidden)
        for member in members:
            configuration = self.configurations[member]
            mask = (channels < self.inputs * configuration.expansion).to(features.dtype)
            weight = weights[:, member, None].to(features.dtype) * mask
            if configuration.squeeze_excite and pooled is not None:
                weight = weight * self._attention(pooled * mask, configuration)
            total = total + weight
        return total

    def _attention(self, pooled: Tensor, configuration: Configuration) -> Tensor:
        return leading_attention(cast(SqueezeExcite, self.squeeze_excite), pooled, configuration.reduced(self.inputs))

    def _narrow_forward(self, images: Tensor, option: int) -> Tensor:
        """The chosen configuration alone, on slices of the shared weights: no masked channel is computed."""
        configuration = self.configurations[option]
        hidden = self.inputs * configuration.expansion
        features = leading_block(self.expand, images, hidden)
        features = leading_block(cast(ConvNormActivation, self.depthwise[str(configuration.kernel)]), features, hidden, hidden)
        if configuration.squeeze_excite:
            features = features * self._attention(features.mean((2, 3)), configuration)[:, :, None, None]
        features = leading_block(self.project, features, self.outputs)
        return features + images if self.residual else features

    def narrow(self, option: int) -> InvertedResidual:
        """A plain block with copies of the weights that configuration ``option`` uses."""
        configuration = self.configurations[option]
        hidden, reduced = self.inputs * configuration.expansion, configuration.reduced(self.inputs)
        shape = self.inputs, hidden, self.outputs, configuration.kernel, self.stride, reduced
        block = InvertedResidual(*shape, self.activation).to(cast(nn.Conv2d, self.project.conv).weight)
        copy_leading_channels(block.expand, self.expand)
        copy_leading_channels(block.depthwise, self.depthwise[str(configuration.kernel)])
        copy_leading_channels(block.project, self.project)
        if reduced and self.squeeze_excite is not None:
            copy_leading_channels(block.squeeze_excite, self.squeeze_excite)
        return block.train(self.training)

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

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphs.blocks.depthwise import depthwise
from graphs.blocks.operators import ConvNormActivation, InvertedResidual, SqueezeExcite, copy_leading_channels, round_channels
from graphs.blocks.widths import leading_attention, leading_block
from solvers.arrays import BoolArray, FloatArray, IntArray


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


def picked_options(gates: FloatArray) -> IntArray | None:
    """The options that one-hot gates (options,) or (B, options) pick, () or (B,); None where some gate is no one-hot."""
    one_hot = ((gates == 1).sum(-1) == 1) & ((gates != 0).sum(-1) == 1)
    return gates.argmax(-1) if one_hot.all() else None


class ElasticInvertedResidual(nn.Module):
    """All ``configurations`` of an inverted residual (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    takes_values = True
    of_kernel: Tensor
    masks: Tensor
    squeezed: Tensor
    sizes: Tensor
    inner: Tensor

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
        self._make_masks(hidden, reduced)

    def _make_masks(self, hidden: int, reduced: int) -> None:
        """Which channels options keep, as constants that move with the module and stay out of its state."""
        configurations = self.configurations
        sizes = sorted({c.expansion for c in configurations if c.squeeze_excite})
        kept = [[float(channel < self.inputs * c.expansion) for channel in range(hidden)] for c in configurations]
        of_kernel = [[float(c.kernel == int(kernel)) for c in configurations] for kernel in self.depthwise]
        self.register_buffer("of_kernel", torch.tensor(of_kernel), persistent=False)  # (kernels, options)
        self.register_buffer("masks", torch.tensor(kept), persistent=False)  # (options, hidden)
        squeezed = [[float(c.squeeze_excite and c.expansion == size) for size in sizes] for c in configurations]
        self.register_buffer("squeezed", torch.tensor(squeezed), persistent=False)  # (options, sizes): whose attention is it?
        within = [[float(channel < self.inputs * size) for channel in range(hidden)] for size in sizes]
        self.register_buffer("sizes", torch.tensor(within), persistent=False)  # (sizes, hidden)
        inner = [[float(channel < round_channels(self.inputs * size / 4)) for channel in range(reduced)] for size in sizes]
        self.register_buffer("inner", torch.tensor(inner), persistent=False)  # (sizes, reduced)

    def forward(self, images: Tensor, gate: Tensor, values: FloatArray | None = None, used: BoolArray | None = None) -> Tensor:
        """The gated mixture.

        Args:
            images: (B, inputs, H, W).
            gate: (options,) for the whole batch or (B, options), non-negative, summing to 1 over the options.
            values: the gate as the host has it, so that it need not be read from the device.
            used: (options,), those that rows use of the batch of which these are a part; None where they are all of it.

        A one-hot gate that needs no gradient is no mixture: one option for the whole batch runs the narrow block alone, one a row
        runs the shared weights once.
        """
        known = gate.detach().cpu().numpy() if values is None else values
        picks = None if gate.requires_grad else picked_options(known)
        if picks is not None and picks.ndim == 0:
            return self._narrow_forward(images, int(picks))
        weights = gate.expand(len(images), -1) if gate.ndim == 1 else gate  # (B, options)
        expanded = self.expand(images)  # (B, hidden, H, W)
        if used is None:
            used = (known.reshape(-1, known.shape[-1]) != 0).any(0)  # (options,)
        kernels = np.array([c.kernel for c in self.configurations])
        present = set(kernels[used | gate.requires_grad].tolist())
        if picks is None:
            mixed = self._mixture(expanded, weights, present)
        else:
            mixed = self._rows(expanded, weights, kernels[picks], present)
        projected = self.project(mixed)
        return projected + images if self.residual else projected

    def _mixture(self, expanded: Tensor, weights: Tensor, kernels: set[int]) -> Tensor:
        """Features before the projection, (B, hidden, H', W'): the sum over the options of gate x mask x attention x features."""
        masks, squeezed = self.masks.to(weights.dtype), self.squeezed.to(weights.dtype)  # (options, hidden), (options, sizes)
        parts = []
        for place, kernel in enumerate(sorted(int(name) for name in self.depthwise)):
            if kernel not in kernels:
                continue
            features = self._activated(str(kernel), self._of_kernel(str(kernel), expanded))  # (B, hidden, H', W')
            chosen = weights * self.of_kernel[place].to(weights.dtype)  # (B, options)
            scale = (chosen * (squeezed.sum(1) == 0)) @ masks  # (B, hidden)
            if self.squeeze_excite is not None:
                kept = self.sizes[:, None]  # (sizes, 1, hidden)
                attention = self._attention(features.mean((2, 3)) * kept, self.inner[:, None])  # (sizes, B, hidden)
                scale = scale + ((chosen @ squeezed).t()[:, :, None] * kept * attention).sum(0)
            parts.append(features * scale.to(features.dtype)[:, :, None, None])
        return sum(parts[1:], parts[0])

    def _rows(self, expanded: Tensor, weights: Tensor, kernels: IntArray, present: set[int]) -> Tensor:
        """The same for rows that pick an option each, of ``kernels`` (B,): a row has one kernel, one mask and one attention."""
        features = self._own_kernels(expanded, kernels, [str(kernel) for kernel in sorted(present)])
        scale = weights @ self.masks.to(weights.dtype)  # (B, hidden), of zeros and ones
        if self.squeeze_excite is not None:
            sizes = weights @ self.squeezed.to(weights.dtype)  # (B, sizes)
            attention = self._attention(features.mean((2, 3)) * scale, sizes @ self.inner.to(weights.dtype))
            scale = scale * torch.where(sizes.sum(1, keepdim=True) > 0, attention, 1.0)
        return features * scale.to(features.dtype)[:, :, None, None]

    def _own_kernels(self, expanded: Tensor, kernels: IntArray, present: list[str]) -> Tensor:
        """Every row through its own kernel; all rows enter the statistics of every kernel that some row has (``present``)."""
        if len(present) == 1:
            return self._activated(present[0], self._of_kernel(present[0], expanded))
        mixed = None
        for kernel in present:
            normalized = self._of_kernel(kernel, expanded)
            rows = torch.from_numpy(kernels == int(kernel)).to(expanded.device, non_blocking=True)
            mixed = normalized if mixed is None else torch.where(rows[:, None, None, None], normalized, mixed)
        return self._activated(kernel, cast(Tensor, mixed))  # which all kernels have in common: it is computed once

    def _of_kernel(self, kernel: str, expanded: Tensor) -> Tensor:
        """Convolved and normalized, (B, hidden, H', W')."""
        block = cast(ConvNormActivation, self.depthwise[kernel])
        return cast(Tensor, cast(nn.Module, block.norm)(depthwise(expanded, cast(nn.Conv2d, block.conv).weight, self.stride)))

    def _activated(self, kernel: str, features: Tensor) -> Tensor:
        return cast(Tensor, cast(nn.Module, cast(ConvNormActivation, self.depthwise[kernel]).activation)(features))

    def _attention(self, pooled: Tensor, inner: Tensor) -> Tensor:
        """The gates (..., hidden) of masked ``pooled`` (..., hidden), by the inner channels that ``inner`` (..., reduced) has."""
        module = cast(SqueezeExcite, self.squeeze_excite)
        squeezed = functional.linear(pooled, module.reduce.weight[:, :, 0, 0], module.reduce.bias).relu() * inner
        return functional.hardsigmoid(functional.linear(squeezed, module.expand.weight[:, :, 0, 0], module.expand.bias))

    def _narrow_forward(self, images: Tensor, option: int) -> Tensor:
        """The chosen configuration alone, on slices of the shared weights: no masked channel is computed."""
        configuration = self.configurations[option]
        hidden = self.inputs * configuration.expansion
        features = leading_block(self.expand, images, hidden)
        features = leading_block(cast(ConvNormActivation, self.depthwise[str(configuration.kernel)]), features, hidden, hidden)
        if configuration.squeeze_excite:
            attention = leading_attention(
                cast(SqueezeExcite, self.squeeze_excite), features.mean((2, 3)), configuration.reduced(self.inputs)
            )
            features = features * attention[:, :, None, None]
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

"""Inner widths with shared weights: an inverted residual whose hidden channels may be any of many numbers.

A Prunode holds one (fused) inverted residual at its maximum width and runs a few candidate widths of it at once, two while PruNet
searches. A width keeps the first hidden channels; inputs, outputs and the squeezed channels of the attention are the same for all
widths, so masks act on the hidden dimension alone. Candidates share all weights, and everything before the projection is computed
once, at the widest candidate: expansion, depthwise convolution, activations and their batch statistics treat every channel by
itself, so a narrow candidate's features *are* the first channels of the wide one's. What is left differs by candidate:

* the projection, a sum over hidden channels: the next candidate's adds the channels between the two to the sum it continues, so
  all projections together cost what the widest costs. With squeeze-and-excitation the gates depend on which channels are seen; each
  candidate then has its own gates and its own (1x1) projection;
* the last normalization: each candidate is normalized by its own batch statistics while training, by the shared running
  statistics in evaluation. The running statistics follow the gate-weighted mean of the candidates' statistics.

So ``sum_j gate_j block_j(x)`` is exact in training and in evaluation, for any gates. Mixing before the normalization (one mask that
is 1 up to the small width and the large candidate's weight between the two) would save one addition an output, yet equal the
two blocks in evaluation only: the variance of a mixture is not the mixture of variances.

The memory of a step depends on the candidates that run, not on how many widths there are.

Reference: PruNet, Sec. 3 (Prunode); Wan et al., FBNetV2, for channel masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphs.blocks.depthwise import depthwise
from graphs.blocks.inverted_residuals import FusedInvertedResidual
from graphs.blocks.operators import ConvNormActivation, InvertedResidual, SqueezeExcite, copy_leading_channels, round_channels


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """Kernel size, squeeze-and-excitation or not, activation: a candidate block but for its width."""

    kernel: int
    squeeze_excite: bool = False
    activation: str = "swish"

    @property
    def name(self) -> str:
        """``k5_se_swish`` or ``k3_relu``."""
        return f"k{self.kernel}" + ("_se" if self.squeeze_excite else "") + f"_{self.activation}"

    def reduced(self, inputs: int) -> int:
        """Channels inside squeeze-and-excitation: a quarter of the block's inputs, whatever its width; 0 when it is off."""
        return round_channels(inputs / 4) if self.squeeze_excite else 0


class Prunode(nn.Module):
    """All widths up to ``maximum`` of one block: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int, choice: BlockChoice, maximum: int, fused: bool = False) -> None:
        super().__init__()
        self.inputs, self.outputs, self.stride = inputs, outputs, stride
        self.choice, self.maximum, self.fused = choice, maximum, fused
        kernel, activation = choice.kernel, choice.activation
        first = (kernel, stride) if fused else (1, 1)
        self.expand = ConvNormActivation(inputs, maximum, *first, activation=activation)
        self.depthwise = (
            None if fused else ConvNormActivation(maximum, maximum, kernel, stride, groups=maximum, activation=activation)
        )
        self.squeeze_excite = SqueezeExcite(maximum, choice.reduced(inputs)) if choice.squeeze_excite else None
        self.project = ConvNormActivation(maximum, outputs, 1, activation="identity")
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor, widths: Sequence[int], gates: Tensor, whole: bool = False) -> Tensor:
        """``sum_j gates_j block_j(images)``, block j having ``widths[j]`` hidden channels and the skip, if there is one.

        Args:
            images: (B, inputs, H, W).
            widths: rising, each in 1 to ``maximum``.
            gates: (len(widths),) for the whole batch or (B, len(widths)).
            whole: known to be one width of gate 1, which then need not be multiplied.
        """
        candidates = self._normalize(self._project(self._expand(images, widths[-1]), widths), gates)
        if self.residual:
            candidates = [candidate + images for candidate in candidates]
        if whole:
            return candidates[0]
        mixture = scaled(candidates[0], gates[..., 0])
        for index, candidate in enumerate(candidates[1:], start=1):
            mixture = mixture + scaled(candidate, gates[..., index])
        return mixture

    def narrow(self, width: int) -> nn.Module:
        """A plain block of ``width`` hidden channels with copies of the weights it shares.

        Raises:
            ValueError: a width outside 1 to ``maximum``.
        """
        if not 1 <= width <= self.maximum:
            raise ValueError(f"width: expected 1 to {self.maximum} hidden channels, got {width}")
        plain = FusedInvertedResidual if self.fused else InvertedResidual
        choice = self.choice
        reduced = choice.reduced(self.inputs)
        block = plain(self.inputs, width, self.outputs, choice.kernel, self.stride, reduced, choice.activation)
        block = block.to(cast(nn.Conv2d, self.project.conv).weight)
        copy_leading_channels(block, self)
        return block.train(self.training)

    def _expand(self, images: Tensor, width: int) -> Tensor:
        """The first ``width`` hidden channels before attention and projection, (B, width, H', W')."""
        features = leading_block(self.expand, images, width, 1)
        return features if self.depthwise is None else leading_block(self.depthwise, features, width, width)

    def _project(self, hidden: Tensor, widths: Sequence[int]) -> list[Tensor]:
        """Every candidate's projection before its normalization, each (B, outputs, H', W')."""
        weight = cast(nn.Conv2d, self.project.conv).weight  # (outputs, maximum, 1, 1)
        if self.squeeze_excite is not None:
            pooled = hidden.mean((2, 3))  # (B, widest)
            gates = [leading_attention(self.squeeze_excite, pooled[:, :width]) for width in widths]
            scaled = [hidden[:, : gate.shape[1]] * gate[:, :, None, None] for gate in gates]
            return [functional.conv2d(features, weight[:, : features.shape[1]]) for features in scaled]
        projected: list[Tensor] = []
        for low, high in zip([0, *widths], widths, strict=False):
            part = functional.conv2d(hidden[:, low:high], weight[:, low:high])
            projected.append(projected[-1] + part if projected else part)
        return projected

    def _normalize(self, projected: list[Tensor], gates: Tensor) -> list[Tensor]:
        norm = cast(nn.BatchNorm2d, self.project.norm)
        mean, variance = norm.running_mean, norm.running_var
        if not norm.training:
            return [functional.batch_norm(p, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps) for p in projected]
        if not norm.track_running_stats or mean is None or variance is None:
            return [functional.batch_norm(p, None, None, norm.weight, norm.bias, True, 0.0, norm.eps) for p in projected]
        means = [torch.zeros_like(mean) for _ in projected]
        variances = [torch.zeros_like(variance) for _ in projected]
        normalized = [  # momentum 1 puts the batch's own statistics into the fresh buffers
            functional.batch_norm(p, m, v, norm.weight, norm.bias, True, 1.0, norm.eps)
            for p, m, v in zip(projected, means, variances, strict=True)
        ]
        with torch.no_grad():
            batch = gates.detach().reshape(-1, len(projected)).to(mean).mean(0)  # (candidates,)
            shares = (batch / batch.sum())[:, None]
            momentum = count_batch(norm)  # and no matrix products: autocast would round them to half precision
            mean.lerp_((shares * torch.stack(means)).sum(0), momentum)
            variance.lerp_((shares * torch.stack(variances)).sum(0), momentum)
        return normalized


def leading_block(block: ConvNormActivation, images: Tensor, outputs: int, groups: int = 1) -> Tensor:
    """``block`` on the channels ``images`` has and its first ``outputs``; in training it updates their running statistics only."""
    conv, norm = cast(nn.Conv2d, block.conv), cast(nn.BatchNorm2d, block.norm)
    weight = conv.weight[:outputs, : images.shape[1] // groups]
    if groups == outputs > 1:
        features = depthwise(images, weight, conv.stride[0])
    else:
        features = functional.conv2d(images, weight, None, conv.stride, conv.padding, 1, groups)
    tracked = norm.track_running_stats or not norm.training  # as nn.BatchNorm2d: statistics are read in evaluation all the same
    features = functional.batch_norm(
        features,
        cast(Tensor, norm.running_mean)[:outputs] if tracked else None,
        cast(Tensor, norm.running_var)[:outputs] if tracked else None,
        norm.weight[:outputs],
        norm.bias[:outputs],
        norm.training,
        count_batch(norm) if norm.training and tracked else 0.0,
        norm.eps,
    )
    return cast(nn.Module, block.activation)(features)


def scaled(features: Tensor, gate: Tensor) -> Tensor:
    """``features`` (B, C, H, W) times a gate () or (B,), in the features' dtype."""
    # A scalar keeps its own precision: it does not change the product's dtype, and half-precision gates would be 0.1 % off.
    return features * (gate if gate.ndim == 0 else gate.to(features.dtype)[:, None, None, None])


def leading_attention(module: SqueezeExcite, pooled: Tensor, reduced: int | None = None) -> Tensor:
    """The gate (B, C) of the leading channels that ``pooled`` (B, C) has, by the first ``reduced`` inner ones (None: by all)."""
    width, inner = pooled.shape[1], cast(Tensor, module.reduce.bias)[:reduced]
    squeezed = functional.linear(pooled, module.reduce.weight[:reduced, :width, 0, 0], inner)
    outer = cast(Tensor, module.expand.bias)[:width]
    return functional.hardsigmoid(functional.linear(squeezed.relu(), module.expand.weight[:width, :reduced, 0, 0], outer))


def count_batch(norm: nn.BatchNorm2d) -> float:
    """Count the batch and return the weight of its statistics, as ``nn.BatchNorm2d`` does."""
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # cumulative average
            return 1.0 / float(norm.num_batches_tracked)
    return 0.0 if norm.momentum is None else norm.momentum

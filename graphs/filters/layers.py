"""Layers whose filters have operations of their own, or are pruned from the end: convolution, statistics, activation, shortcut.

Filters are sorted: the first a_1 get operation 1, the next a_2 operation 2, and so on (Fig. A.1); those beyond the sum of the
counts are pruned. All settings share the master weights (leading filters, leading input channels), unless a convolution is built
with weights for each operation. Batch statistics are switched: a set for every setting that is trained, one that starts afresh for
the others. ``graphs.filters.network`` puts these layers into a network and sets them all at once.

Reference: Zur et al., Fig. A.1 and Appendix C; Yu et al., Slimmable Neural Networks (switchable statistics).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphs.blocks import copy_leading_channels, count_batch
from graphs.filters.quantization import FLOAT_BITS, activation_grid, fake_quantize_activations, fake_quantize_weights
from graphs.filters.space import Operation

FRESH = "fresh"  # the statistics of settings that have none of their own
_FIRST_BOUND = 6.0  # of activations, until it is calibrated or learned: ReLU6's


class FilterConv(nn.Module):
    """A convolution (B, w_in, H, W) -> (B, w_out, H', W') on the leading filters, each with the bits of its operation.

    Attributes:
        weight: the master weights (C, C_in, k, k), or (operations, C, C_in, k, k) where each operation has its own.
        noise_share: in training, of the weights that get uniform noise instead of rounding.
        noise: the generator behind it; needed where ``noise_share > 0``.
    """

    operation: Tensor
    bits: Tensor

    def __init__(self, conv: nn.Conv2d, operations: Sequence[Operation], own_weights: bool = False) -> None:
        super().__init__()
        self.operations = tuple(operations)
        self.own_weights = own_weights
        weight = conv.weight.detach().clone()
        self.weight = nn.Parameter(torch.stack([weight] * len(self.operations)) if own_weights else weight)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.filters, self.channels, self.kernel = conv.out_channels, conv.in_channels, conv.kernel_size
        self.depthwise = conv.groups > 1  # each filter reads its own channel: as many groups as filters are kept
        self.noise_share = 0.0
        self.noise: torch.Generator | None = None
        self.register_buffer("operation", torch.zeros(0, dtype=torch.long), persistent=False)  # of each filter that is kept
        self.register_buffer("bits", torch.zeros(0, dtype=torch.long), persistent=False)
        self.assign([self.filters] + [0] * (len(self.operations) - 1))

    def assign(self, counts: Sequence[int]) -> None:
        """Give the first ``counts[0]`` filters operation 0, and so on."""
        self.operation = _sorted_filters(range(len(self.operations)), counts).to(self.weight.device)
        self.bits = _sorted_filters([operation.weight_bits for operation in self.operations], counts).to(self.weight.device)
        self._float = all(o.weight_bits == FLOAT_BITS for o, count in zip(self.operations, counts, strict=True) if count)

    @property
    def width(self) -> int:
        """Filters that are kept."""
        return len(self.operation)

    def effective_weight(self, channels: int) -> Tensor:
        """What the convolution multiplies by, (width, channels, k, k): sliced and quantized."""
        if self.own_weights:
            filters = torch.arange(self.width, device=self.weight.device)
            weight = self.weight[self.operation, filters, :channels]
        else:
            weight = self.weight[: self.width, :channels]
        if self._float:
            return weight
        share = self.noise_share if self.training else 0.0
        return fake_quantize_weights(weight, self.bits, noise_share=share, generator=self.noise)

    def forward(self, images: Tensor) -> Tensor:
        weight = self.effective_weight(images.shape[1])
        bias = None if self.bias is None else self.bias[: self.width]
        groups = self.width if self.depthwise else 1
        return functional.conv2d(images, weight, bias, self.stride, cast(tuple[int, int], self.padding), self.dilation, groups)

    def narrow(self, channels: int) -> nn.Conv2d:
        """A plain convolution of ``channels`` inputs with copies of what it multiplies by."""
        weight = self.effective_weight(channels)
        kernel, stride, padding, dilation = (
            cast(tuple[int, int], pair) for pair in (self.kernel, self.stride, self.padding, self.dilation)
        )
        groups = self.width if self.depthwise else 1
        plain = nn.Conv2d(channels, self.width, kernel, stride, padding, dilation, groups, bias=self.bias is not None)
        plain = plain.to(weight)
        plain.weight.copy_(weight)
        if self.bias is not None and plain.bias is not None:
            plain.bias.copy_(self.bias[: self.width])
        return plain


class SwitchableNorm(nn.BatchNorm2d):
    """Batch normalization of the leading channels, one set of running statistics for each of ``sets`` and a fresh one.

    Scale and shift are shared. The running statistics of the set in use are the module's own, so that what works on
    ``nn.BatchNorm2d`` (recalibration above all) works on that set and leaves the others alone.
    """

    stored_mean: Tensor
    stored_var: Tensor
    stored_batches: Tensor
    active: Tensor

    def __init__(self, norm: nn.BatchNorm2d, sets: Sequence[str]) -> None:
        if norm.running_mean is None or norm.running_var is None or not norm.affine:
            raise ValueError("expected a batch normalization with running statistics, scale and shift")
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.sets = tuple(dict.fromkeys((*sets, FRESH)))
        rows = len(self.sets)
        self.register_buffer("stored_mean", norm.running_mean.detach().repeat(rows, 1))
        self.register_buffer("stored_var", norm.running_var.detach().repeat(rows, 1))
        self.register_buffer("stored_batches", torch.zeros(rows, dtype=torch.long))
        self.register_buffer("active", torch.tensor(0))  # travels with the statistics in files

    @torch.no_grad()
    def switch(self, name: str) -> None:
        """Put the statistics in use away and take out those called ``name``; ``fresh`` ones start anew each time."""
        mean, var = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        batches, row = cast(Tensor, self.num_batches_tracked), int(self.active)
        self.stored_mean[row], self.stored_var[row], self.stored_batches[row] = mean, var, batches
        row = self.sets.index(name)
        self.active.fill_(row)
        if name == FRESH:
            self.reset_running_stats()
        else:
            mean.copy_(self.stored_mean[row])
            var.copy_(self.stored_var[row])
            batches.copy_(self.stored_batches[row])

    def forward(self, features: Tensor) -> Tensor:
        width = features.shape[1]
        momentum = count_batch(self) if self.training else 0.0
        mean, var = cast(Tensor, self.running_mean)[:width], cast(Tensor, self.running_var)[:width]
        return functional.batch_norm(features, mean, var, self.weight[:width], self.bias[:width], self.training, momentum, self.eps)

    def narrow(self, width: int) -> nn.BatchNorm2d:
        """A plain batch normalization of the leading channels with the statistics in use."""
        plain = nn.BatchNorm2d(width, self.eps, self.momentum).to(self.weight)
        copy_leading_channels(plain, self)
        return plain


class RoundedReLU(nn.Module):
    """ReLU with each channel rounded to its bits: what a ``FilterActivation`` becomes in an extracted network.

    In evaluation mode it consists of plain operations, which exporters can trace; they give the same numbers to the bit.
    """

    bits: Tensor
    bound: Tensor

    def __init__(self, bits: Tensor, bound: Tensor) -> None:
        super().__init__()
        self.register_buffer("bits", bits.clone())
        self.register_buffer("bound", bound.clone())

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            return fake_quantize_activations(features, self.bits, self.bound)
        levels, step = activation_grid(self.bits[:, None, None], self.bound[:, None, None])
        rounded = torch.minimum(torch.round(features * (1.0 / step)).clamp(min=0.0), levels) * step  # (B, C, H, W)
        return torch.where(self.bits[:, None, None] == FLOAT_BITS, features.clamp(min=0.0), rounded)


class FilterActivation(nn.Module):
    """ReLU, then each channel rounded to its operation's activation bits; one learned bound for each operation.

    While ``observed`` is a list, forward passes leave the features unrounded and add to it what
    ``FilterNetwork.calibrate_activations`` sets the bounds by.
    """

    operation: Tensor
    bits: Tensor

    def __init__(self, operations: Sequence[Operation]) -> None:
        super().__init__()
        self.operations = tuple(operations)
        self.bound = nn.Parameter(torch.full((len(self.operations),), _FIRST_BOUND))
        self.register_buffer("operation", torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer("bits", torch.zeros(0, dtype=torch.long), persistent=False)
        self._float = True
        self.observed: list[tuple[float, float, int]] | None = None  # sum, sum of squares, number of positive features

    def assign(self, counts: Sequence[int]) -> None:
        """Channels in the order of their operations, as their convolution has them."""
        self.operation = _sorted_filters(range(len(self.operations)), counts).to(self.bound.device)
        self.bits = _sorted_filters([operation.activation_bits for operation in self.operations], counts).to(self.bound.device)
        self._float = all(o.activation_bits == FLOAT_BITS for o, count in zip(self.operations, counts, strict=True) if count)

    def forward(self, features: Tensor) -> Tensor:
        if self.observed is not None:
            positive = features.detach()[features > 0].double()
            self.observed.append((float(positive.sum()), float((positive**2).sum()), positive.numel()))
            return functional.relu(features)
        if self._float:
            return functional.relu(features)
        return fake_quantize_activations(features, self.bits, self.bound.to(features.dtype)[self.operation])

    def narrow(self, width: int) -> nn.Module:
        """A plain ReLU, or one that rounds its ``width`` channels."""
        return nn.ReLU() if self._float else RoundedReLU(self.bits[:width], self.bound.detach()[self.operation[:width]])


class PaddedShortcut(nn.Module):
    """The shortcut without parameters between stages: every ``stride``-th pixel, zeros for the channels that are new."""

    def __init__(self, outputs: int, stride: int) -> None:
        super().__init__()
        self.outputs, self.stride = outputs, stride

    def forward(self, features: Tensor) -> Tensor:
        taken = features[:, :, :: self.stride, :: self.stride]
        return functional.pad(taken, (0, 0, 0, 0, 0, self.outputs - features.shape[1]))


class FilterAddition(nn.Module):
    """``main + shortcut``, with a shared 1x1 projection and its statistics in between where an identity shortcut's width differs.

    Args:
        channels: (main, shortcut) at full width.
        stride: pixels skipped by a padded shortcut, whose missing channels are zero and whose surplus ones are left out; None for
            shortcuts that come in the main path's shape or, if ``projected``, may need the projection.
        sets: names of the statistics.
        projected: whether the shortcut is an identity that is projected where the widths differ. The projection starts as the
            identity on the channels that both have.
        source: the layer that the shortcut comes from.
    """

    def __init__(self, channels: tuple[int, int], stride: int | None, sets: Sequence[str], projected: bool, source: str) -> None:
        super().__init__()
        self.stride, self.source = stride, source
        self.projection: nn.Parameter | None = None
        self.norm: SwitchableNorm | None = None
        if projected:
            self.projection = nn.Parameter(torch.eye(*channels)[:, :, None, None].clone())
            self.norm = SwitchableNorm(nn.BatchNorm2d(channels[0]), sets)

    def forward(self, main: Tensor, shortcut: Tensor) -> Tensor:
        width, given = main.shape[1], shortcut.shape[1]
        if self.stride is not None:
            taken = shortcut[:, : min(width, given), :: self.stride, :: self.stride]
            return main + functional.pad(taken, (0, 0, 0, 0, 0, width - taken.shape[1]))
        if width != given and self.projection is not None and self.norm is not None:
            shortcut = self.norm(functional.conv2d(shortcut, self.projection[:width, :given]))
        return main + shortcut

    def narrow(self, width: int, given: int) -> SettledAddition:
        """The addition with a plain projection in between where one is needed."""
        inserted = None
        if self.stride is None and width != given and self.projection is not None and self.norm is not None:
            conv = nn.Conv2d(given, width, 1, bias=False).to(self.projection)
            conv.weight.copy_(self.projection[:width, :given])
            inserted = nn.Sequential(conv, self.norm.narrow(width))
        return SettledAddition(width, given, self.stride, inserted)


class SettledAddition(nn.Module):
    """``main + shortcut`` in an extracted network: widths are settled, so that nothing depends on what comes in.

    Args:
        width, given: channels of the main path and of the shortcut.
        stride: as ``FilterAddition``'s.
        inserted: projects the shortcut; None where nothing does.
    """

    def __init__(self, width: int, given: int, stride: int | None, inserted: nn.Module | None) -> None:
        super().__init__()
        self.stride, self.inserted = stride, inserted
        self.taken = min(width, given)
        self.missing = width - self.taken

    def forward(self, main: Tensor, shortcut: Tensor) -> Tensor:
        if self.inserted is not None:
            return main + cast(Tensor, self.inserted(shortcut))
        if self.stride is None:
            return main + shortcut
        taken = shortcut[:, : self.taken, :: self.stride, :: self.stride]
        return main + functional.pad(taken, (0, 0, 0, 0, 0, self.missing))


class LeadingLinear(nn.Linear):
    """A linear layer that reads the leading features of the channels that are kept."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        self.load_state_dict(linear.state_dict())

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight[:, : features.shape[-1]], self.bias)

    def narrow(self, inputs: int) -> nn.Linear:
        """A plain linear layer on the leading features."""
        plain = nn.Linear(inputs, self.out_features, self.bias is not None).to(self.weight)
        copy_leading_channels(plain, self)
        return plain


def _sorted_filters(values: Sequence[int], counts: Sequence[int]) -> Tensor:
    """``counts[0]`` times the first value, then the next."""
    return torch.tensor([value for value, count in zip(values, counts, strict=True) for _ in range(count)], dtype=torch.long)

"""Quantization with a bit width for every filter: weights and activations, straight-through gradients.

Weights, a filter at a time: clamped at mean +- 3.45 sigma, then rounded to a grid that is symmetric about zero with
``q = 2^(b-1) - 1`` levels a side, its step ``(|mean| + 3.45 sigma) / q``. Zero stays a level, as the count of bit operations
supposes: no zero point has to be multiplied. Activations: unsigned, ``2^b - 1`` levels above zero up to a bound, which is learned.
A width of 32 bits means floating point: such filters pass unchanged.

The forward pass is bit for bit that of ``torch.fake_quantize_per_channel_affine`` called for each group of filters of one width;
here one call takes any mixture. The gradient masks are explicit, because ``torch.clamp`` with tensor bounds halves the gradient at
ties: a value that lies exactly on a bound passes its whole gradient.

Reference: Zur et al., Towards Learning of Filter-Level Heterogeneous Compression of CNNs; Baskin et al., NICE (noise injection and
clamping); Choi et al., PACT (learned clamp).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CLAMP_SIGMAS = 3.45
FLOAT_BITS = 32
_MOST_BITS = 16  # beyond, the levels of a grid run into the spacing of float32


def fake_quantize_weights(
    weight: Tensor, bits: Tensor, *, noise_share: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Each filter rounded to its own number of levels, as floating point numbers.

    Args:
        weight: (C, ...), a filter a row.
        bits: (C,) whole numbers: 2 to 16, or 32 for filters that stay as they are.
        noise_share: the share of weights, drawn anew at each call, that get uniform noise of half a step either way instead of
            being rounded (5 % in the paper); 0 rounds all.
        generator: source of the draws; needed where ``noise_share > 0``, on any device.

    Returns:
        (C, ...). Its gradient passes to ``weight`` where that lies within mean +- 3.45 sigma, bounds included; mean and sigma
        count as constants.

    Raises:
        ValueError: shapes that do not meet, bit widths (checked on the CPU) out of range, a share out of [0, 1], no generator.
    """
    _check_bits(bits, weight.shape[0], "weight")
    if not 0.0 <= noise_share <= 1.0:
        raise ValueError(f"noise_share: expected a share between 0 and 1, got {noise_share}")
    if noise_share > 0.0 and generator is None:
        raise ValueError("noise_share > 0 draws random numbers: give a torch.Generator")
    low, high = weight_range(weight)
    noise = None
    if noise_share > 0.0:
        device = generator.device if generator is not None else weight.device
        draws = torch.rand((2, *weight.shape), generator=generator, device=device, dtype=weight.dtype).to(weight.device)
        noise = torch.where(draws[0] < noise_share, draws[1] - 0.5, torch.nan)  # in steps; NaN: round this one
    rounded: Tensor = _RoundedWeights.apply(weight, low, high, weight_steps(low, high, bits), bits, noise)
    return rounded


def fake_quantize_activations(features: Tensor, bits: Tensor, bounds: Tensor) -> Tensor:
    """Each channel rounded to ``2^b - 1`` levels above zero, clamped to [0, bound].

    Channels of 32 bits are clamped at zero only: a plain ReLU.

    Args:
        features: (B, C, ...).
        bits: (C,) whole numbers, as for weights.
        bounds: (C,) upper bounds; kept above 1e-6 so that a bound that learning drives to zero can come back.

    Returns:
        (B, C, ...). The gradient passes to ``features`` within [0, bound], both included, and to ``bounds`` from what lies above.

    Raises:
        ValueError: shapes that do not meet, or bit widths out of range.
    """
    _check_bits(bits, features.shape[1], "activation")
    if bounds.shape != bits.shape:
        raise ValueError(f"bounds: expected one a channel, shape {tuple(bits.shape)}, got {tuple(bounds.shape)}")
    rounded: Tensor = _RoundedActivations.apply(features, bits, bounds)
    return rounded


def activation_grid(bits: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """(levels above zero, distance of two levels), of the bounds' shape and type; those of 16 bits where there are 32."""
    levels = 2.0 ** bits.clamp(max=_MOST_BITS).to(bounds.dtype) - 1
    return levels, bounds.clamp(min=1e-6) / levels


def weight_range(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean -+ 3.45 sigma of each filter, (C,) each; sigma divides by the number of weights, so that a single one has none."""
    flat = weight.detach().flatten(1)
    mean, sigma = flat.mean(1), flat.std(1, correction=0)
    return mean - CLAMP_SIGMAS * sigma, mean + CLAMP_SIGMAS * sigma


def weight_steps(low: Tensor, high: Tensor, bits: Tensor) -> Tensor:
    """The distance of two levels of each filter, (C,)."""
    levels = (2.0 ** (bits.clamp(max=_MOST_BITS).to(low.dtype) - 1)) - 1
    step = torch.maximum(-low, high) / levels
    return step.clamp(min=torch.finfo(low.dtype).eps ** 2)  # a filter of zeros alone: any step that is not zero keeps them


def _check_bits(bits: Tensor, channels: int, what: str) -> None:
    if bits.shape != (channels,):
        raise ValueError(f"{what} bits: expected one a filter, shape ({channels},), got {tuple(bits.shape)}")
    if bits.device.type != "cpu":  # reading them back would make the device wait at every layer
        return
    least = 2 if what == "weight" else 1
    if bool(((bits < least) | ((bits > _MOST_BITS) & (bits != FLOAT_BITS))).any()):
        found = bits.unique().tolist()
        raise ValueError(f"{what} bits: expected {least} to {_MOST_BITS}, or {FLOAT_BITS} for floats, got {found}")


def _along(values: Tensor, axis: int, dimensions: int) -> Tensor:
    """(C,) as (1, C, 1, ...) with C at ``axis``."""
    return values.reshape([-1 if d == axis else 1 for d in range(dimensions)])


class _RoundedWeights(torch.autograd.Function):
    """Forward: clamp, round, scale. Backward: the clamp's mask."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, low: Tensor, high: Tensor, step: Tensor, bits: Tensor, noise: Tensor | None) -> Tensor:
        low, high, step, width = (_along(t, 0, weight.ndim) for t in (low, high, step, bits))
        is_float = width == FLOAT_BITS
        ctx.save_for_backward(((weight >= low) & (weight <= high)) | is_float)
        clamped = torch.minimum(torch.maximum(weight, low), high)
        levels = 2.0 ** (width.clamp(max=_MOST_BITS).to(weight.dtype) - 1) - 1
        # Times the reciprocal and round half to even, as torch's kernel does: the two agree in every bit.
        rounded = torch.minimum(torch.maximum(torch.round(clamped * (1.0 / step)), -levels), levels) * step
        if noise is not None:
            rounded = torch.where(noise.isnan(), rounded, clamped + noise * step)
        return torch.where(is_float, weight, rounded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (passes,) = ctx.saved_tensors
        return gradients[0] * passes, None, None, None, None, None


class _RoundedActivations(torch.autograd.Function):
    """Forward: round, clamp to the levels, scale. Backward: within the range to the features, from above it to the bounds."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, bits: Tensor, bounds: Tensor) -> Tensor:
        width = _along(bits, 1, features.ndim)
        bound = _along(bounds.clamp(min=1e-6), 1, features.ndim)
        is_float = width == FLOAT_BITS
        above = (features > bound) & ~is_float
        ctx.save_for_backward((features >= 0) & ~above, above)
        ctx.reduced = [d for d in range(features.ndim) if d != 1]
        levels, step = activation_grid(width, _along(bounds, 1, features.ndim).to(features.dtype))
        rounded = torch.minimum(torch.round(features * (1.0 / step)).clamp(min=0.0), levels) * step
        return torch.where(is_float, features.clamp(min=0.0), rounded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        within, above = ctx.saved_tensors
        return gradients[0] * within, None, (gradients[0] * above).sum(ctx.reduced)

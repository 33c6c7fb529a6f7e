"""Grids for weights and activations: the scale of least squared error, a channel at a time.

Weights: ``2^b - 1`` levels, symmetric about zero, ``code * scale`` with one scale for each output channel. ``least-squares`` looks
for the scale whose rounding errors have the least sum of squares: for Gaussian weights the squared error is .19 of the squared
weights at 2 bits and .044 at 3. ``paper`` is the grid of mean +- 3.45 sigma (``graphs.filters``), .78 and .11.

Activations: ``2^b`` levels over a range that holds zero, one for a whole tensor; the range of least squared error on a sample.

Reference: Banner et al., Post-training 4-bit quantization (clipping by squared error); Zur et al. for ``paper``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from graphs.filters import weight_range, weight_steps

Quantizer = Literal["least-squares", "paper"]
_FIRST = 24  # scales tried for each channel, from the largest weight down to a twentieth of it
_SMALLEST = 0.05
_REFINEMENTS = 4  # rounds of: the best codes for a scale, the best scale for the codes
_SEEN = 512  # weights of a row in that first look
_SHARES = 40  # ranges of activations tried


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedWeight:
    """``codes`` (rows, ...) int16 within ``+- (2^(bits - 1) - 1)``, and ``scales`` (rows,) float32, not negative."""

    codes: Tensor
    scales: Tensor
    bits: int

    @property
    def values(self) -> Tensor:
        """The weights that the codes stand for, float32."""
        return self.codes.float() * self.scales.reshape(-1, *[1] * (self.codes.ndim - 1))


@dataclass(frozen=True, slots=True)
class ActivationGrid:
    """``levels + 1`` values from ``-zero * step`` in steps of ``step``; zero is one of them."""

    step: float
    zero: int
    levels: int

    def rounded(self, features: Tensor) -> Tensor:
        """The nearest values of the grid; gradients pass where features lie within it."""
        return torch.fake_quantize_per_tensor_affine(features, self.step, self.zero, 0, self.levels)


@torch.no_grad()
def quantize_weight(weight: Tensor, bits: int, quantizer: Quantizer = "least-squares") -> QuantizedWeight:
    """Round a weight (rows, ...), one output channel a row.

    Raises:
        ValueError: bits other than 2 to 16, or an unknown quantizer.

    Example:
        >>> rounded = quantize_weight(torch.tensor([[-1.0, 0.1, 1.1], [0.0, 0.0, 0.0]]), 2)
        >>> rounded.codes.tolist(), round(float(rounded.scales[0]), 3)
        ([[-1, 0, 1], [0, 0, 0]], 1.05)
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"expected 2 to 16 bits for weights, got {bits}")
    if quantizer not in get_args(Quantizer):
        raise ValueError(f"quantizer: expected one of {', '.join(get_args(Quantizer))}, got {quantizer!r}")
    rows = weight.detach().flatten(1).float()
    most = 2 ** (bits - 1) - 1
    if quantizer == "paper":
        low, high = weight_range(rows)
        scales = weight_steps(low, high, torch.full((len(rows),), bits, device=rows.device))
        rows = torch.minimum(torch.maximum(rows, low[:, None]), high[:, None])
    else:
        scales = _least_squares(rows, most)
    codes = _codes(rows, scales, most)
    scales = torch.where((codes != 0).any(1), scales, torch.zeros_like(scales))
    return QuantizedWeight(codes.to(torch.int16).reshape(weight.shape), scales.float(), bits)


@torch.no_grad()
def activation_grid(sample: Tensor, bits: int) -> ActivationGrid:
    """The grid of ``bits`` bits whose rounding moves ``sample`` least, in squares; ranges are shrunk from its extremes.

    Raises:
        ValueError: bits other than 1 to 16.
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"expected 1 to 16 bits for activations, got {bits}")
    values = sample.detach().flatten().float()
    low, high, levels = min(float(values.min()), 0.0), max(float(values.max()), 1e-6), 2**bits - 1
    best, found = float("inf"), ActivationGrid(1.0, 0, levels)
    for share in torch.linspace(1.0, 0.1, _SHARES).tolist():
        step = (high - low) * share / levels
        grid = ActivationGrid(step, min(levels, max(0, round(-low * share / step))), levels)
        error = float((grid.rounded(values) - values).square().sum(dtype=torch.float64))
        if error < best:
            best, found = error, grid
    return found


def _codes(rows: Tensor, scales: Tensor, most: int) -> Tensor:
    """The nearest codes; a row of zeros has a scale of zero."""
    return torch.round(rows / scales.clamp(min=1e-30)[:, None]).clamp(-most, most)


def _least_squares(rows: Tensor, most: int) -> Tensor:
    """(rows,) scales: the best of a grid, then codes and scale in turn, each the best for the other, so that errors only fall.

    For given codes c the best scale is <w, c> / <c, c>. The grid sees some hundreds of a
    row's weights, the refinement all of them.
    """
    top = rows.abs().amax(1)
    some = rows[:, :: max(1, rows.shape[1] // _SEEN) | 1]
    scales, errors = top / most, torch.full_like(top, math.inf)

    def tried(rows: Tensor, candidates: Tensor) -> None:
        codes = _codes(rows, candidates, most)
        best = (rows * codes).sum(1) / codes.square().sum(1).clamp(min=1.0)
        error = (rows - codes * best[:, None]).square().sum(1)
        better = error < errors
        scales[better], errors[better] = best[better], error[better]

    for share in torch.logspace(0.0, math.log10(_SMALLEST), _FIRST).tolist():
        tried(some, top / most * share)
    errors.fill_(math.inf)
    for _ in range(_REFINEMENTS):
        tried(rows, scales.clone())
    return scales

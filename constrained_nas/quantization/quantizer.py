"""Grids for weights and activations: the scale of least squared error, a channel at a time.

Weights: ``code * scale`` with one scale for each output channel. At 4 and 8 bits, which runtimes have types for, codes are
symmetric about zero and scales positive; at other widths all ``2^b`` codes are used, with whatever sign of the scale suits a
channel better. ``least-squares`` looks for the scale whose rounding errors have the least sum of squares: for Gaussian weights the
squared error is .144 of the squared weights at 2 bits (.189 with three levels), .039 at 3 and .0127 at 4. ``paper`` is the
symmetric grid of mean +- 3.45 sigma (``graphs.filters``): .77, .11 and .020.

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
RUNTIME_BITS = (4, 8)  # that runtimes have types of integers for
_FIRST = 24  # scales tried for each channel, from the largest weight down to a twentieth of it
_SMALLEST = 0.05
_REFINEMENTS = 4  # rounds of: the best codes for a scale, the best scale for the codes
_SEEN = 512  # weights of a row in that first look
_SHARES = 40  # ranges of activations tried


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedWeight:
    """``codes`` (rows, ...) int16 within :func:`code_range`, and ``scales`` (rows,) float32, zero for rows of zeros."""

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


def code_range(bits: int) -> tuple[int, int]:
    """The least and the greatest code of a width."""
    most = 2 ** (bits - 1) - 1
    return (-most if bits in RUNTIME_BITS else -most - 1), most


@torch.no_grad()
def quantize_weight(weight: Tensor, bits: int, quantizer: Quantizer = "least-squares") -> QuantizedWeight:
    """Round a weight (rows, ...), one output channel a row.

    Raises:
        ValueError: bits other than 2 to 16, or an unknown quantizer.

    Example:
        >>> rounded = quantize_weight(torch.tensor([[-1.0, 0.1, 2.1], [0.0, 0.0, 0.0]]), 2)
        >>> rounded.codes.tolist(), round(float(rounded.scales[0]), 3)
        ([[1, 0, -2], [0, 0, 0]], -1.04)
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"expected 2 to 16 bits for weights, got {bits}")
    if quantizer not in get_args(Quantizer):
        raise ValueError(f"quantizer: expected one of {', '.join(get_args(Quantizer))}, got {quantizer!r}")
    rows = weight.detach().flatten(1).float()
    least, most = code_range(bits)
    if quantizer == "paper":
        low, high = weight_range(rows)
        scales = weight_steps(low, high, torch.full((len(rows),), bits, device=rows.device))
        rows, least = torch.minimum(torch.maximum(rows, low[:, None]), high[:, None]), -most
    else:
        scales = _least_squares(rows, least, most)
    codes = _codes(rows, scales, least, most)
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


def _codes(rows: Tensor, scales: Tensor, least: int, most: int) -> Tensor:
    """The nearest codes; a row of zeros has a scale of zero."""
    return torch.round(rows / torch.where(scales == 0, 1.0, scales)[:, None]).clamp(least, most)


def _least_squares(rows: Tensor, least: int, most: int) -> Tensor:
    """(rows,) scales: the best of a grid, then codes and scale in turn, each the best for the other, so that errors only fall.

    For given codes c the best scale is <w, c> / <c, c>. The grid sees some hundreds of a
    row's weights, the refinement all of them.
    """
    top = rows.abs().amax(1)
    some = rows[:, :: max(1, rows.shape[1] // _SEEN) | 1]
    scales, errors = top / most, torch.full_like(top, math.inf)

    def tried(rows: Tensor, candidates: Tensor) -> None:
        codes = _codes(rows, candidates, least, most)
        best = (rows * codes).sum(1) / codes.square().sum(1).clamp(min=1.0)
        error = (rows - codes * best[:, None]).square().sum(1)
        better = error < errors
        scales[better], errors[better] = best[better], error[better]

    for share in torch.logspace(0.0, math.log10(_SMALLEST), _FIRST).tolist():
        for sign in (1.0,) if least == -most else (1.0, -1.0):
            tried(some, top / most * share * sign)
    errors.fill_(math.inf)
    for _ in range(_REFINEMENTS):
        tried(rows, scales.clone())
    return scales

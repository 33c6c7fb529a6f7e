"""The embedded data: scikit-learn's digits, drawn anew on a larger canvas.

The digits are 8x8 and a nearest neighbour already scores 96 % on them, so they are made harder honestly: each is drawn at a random
size, place and slant on a larger canvas among clutter (halves of other digits, at lower contrast) and noise, and few are used for
training; a nearest neighbour then scores 65 %. Labels are never changed; training and test digits are disjoint before they are
drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from constrained_nas.data.images import DataSplits
from constrained_nas.data.preparation import Preparation

_DIGIT_MEAN, _DIGIT_DEVIATION = 0.2, 0.35
_MOST_DRAWN = 8 * 2**30  # bytes of digits: they are kept in memory


def digits(
    resolution: int = 32,
    training_digits: int = 800,
    draws: int = 6,
    test_draws: int = 2,
    architecture_share: float = 0.2,
    seed: int = 0,
    clutter: float = 1.0,
) -> DataSplits:
    """The 1797 handwritten digits of scikit-learn, drawn at ``resolution`` among clutter.

    Args:
        resolution: side of the canvas in pixels, at least 16.
        training_digits: how many digits may be used for weights and architecture together; the rest are test digits.
        draws: drawings of each training digit.
        test_draws: drawings of each test digit.
        architecture_share: share of the training digits kept for the search.
        clutter: its strength in [0, 1], beside the usual; 0 leaves it out.

    Raises:
        ValueError: a size, share or strength out of range.
    """
    parts, generator = digit_parts(resolution, training_digits, draws, test_draws, architecture_share, seed)
    weights, architecture, test = (
        TensorDataset(draw_digits(images, resolution, generator, clutter), labels) for images, labels in parts
    )
    drawn: dict[str, Any] = {"digits": training_digits, "draws": [draws, test_draws], "share": architecture_share, "seed": seed}
    if clutter != 1:
        drawn["clutter"] = clutter
    ready = Preparation(tuple("0123456789"), (_DIGIT_MEAN,), (_DIGIT_DEVIATION,), "8 x 8 digits drawn on a canvas of that side")
    return DataSplits(f"digits-{resolution}", weights, architecture, test, 10, 1, resolution, drawn, ready)


def digit_parts(
    resolution: int, training_digits: int, draws: int, test_draws: int, architecture_share: float, seed: int
) -> tuple[list[tuple[Tensor, Tensor]], torch.Generator]:
    """The digits (N, 8, 8) in [0, 1] and labels (N,) to draw for weights, architecture and test, and the generator to draw with.

    No digit is in two parts; each is repeated as often as it is to be drawn. Arguments as for :func:`digits`.

    Raises:
        ValueError: a size or share out of range.
    """
    from sklearn.datasets import load_digits

    if resolution < 16 or not 10 <= training_digits <= 1700 or not 0 < architecture_share < 1 or min(draws, test_draws) < 1:
        raise ValueError(
            "digits: expected resolution >= 16, 10 <= training_digits <= 1700, 0 < architecture_share < 1, draws >= 1; got "
            f"{resolution}, {training_digits}, {architecture_share}, {draws} and {test_draws}"
        )
    drawn = 4 * resolution**2 * (training_digits * draws + (1797 - training_digits) * test_draws)
    if drawn > _MOST_DRAWN:
        raise ValueError(
            f"digits: {training_digits} digits, each drawn {draws} times with {resolution} x {resolution} pixels, take "
            f"{drawn / 2**30:,.0f} GiB, and at most {_MOST_DRAWN / 2**30:.0f} may be drawn: take a lower resolution or fewer draws"
        )
    generator = torch.Generator().manual_seed(seed)
    bunch = load_digits()
    images = torch.as_tensor(bunch.images / 16, dtype=torch.float32)  # (1797, 8, 8)
    labels = torch.as_tensor(bunch.target, dtype=torch.int64)
    order = torch.randperm(len(images), generator=generator)
    for_architecture = round(training_digits * architecture_share)
    if not 0 < for_architecture < training_digits:
        raise ValueError(f"digits: a share of {architecture_share} of {training_digits} digits leaves one of the two parts empty")
    bounds = [0, training_digits - for_architecture, training_digits, len(images)]
    chosen = [order[bounds[part] : bounds[part + 1]].repeat(copies) for part, copies in enumerate((draws, draws, test_draws))]
    return [(images[index], labels[index]) for index in chosen], generator


def draw_digits(images: Tensor, resolution: int, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Draw digits (N, 8, 8) with values in [0, 1] on noisy canvases (N, 1, resolution, resolution) with clutter of this strength.

    Raises:
        ValueError: a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"digits: expected clutter of a strength in [0, 1], got {strength}")
    canvas, clutter = draw_strokes(images, resolution, generator)
    clutter = strength * clutter
    noise = 0.1 * torch.randn(canvas.shape, generator=generator)
    return (torch.maximum(canvas, clutter) + noise - _DIGIT_MEAN) / _DIGIT_DEVIATION


def draw_strokes(images: Tensor, resolution: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The ink of digits (N, 8, 8) and that of the clutter around them, in [0, 1], each (N, 1, resolution, resolution).

    The digit keeps at least 45 % of the side and its upright square stays on the canvas (a slant of up to 0.3 radians may turn a
    corner of it outside); three pieces of other digits lie around it at 60 % contrast.
    """
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    size = uniform(0.45, 0.8)  # side of the digit as a share of the canvas
    canvas = _place(images, size, uniform(-1, 1) * (1 - size), uniform(-1, 1) * (1 - size), uniform(-0.3, 0.3), resolution)
    clutter = torch.zeros_like(canvas)
    for _ in range(3):
        others = images[torch.randperm(count, generator=generator)].clone()
        others[:, :, 4:] = 0  # half a digit: a distracting stroke
        distance, angle = uniform(0.55, 0.95), uniform(0, 2 * np.pi)
        piece = _place(others, uniform(0.3, 0.5), distance * angle.cos(), distance * angle.sin(), uniform(-1.5, 1.5), resolution)
        clutter = torch.maximum(clutter, 0.6 * piece)
    return canvas, clutter


def _place(images: Tensor, size: Tensor, right: Tensor, down: Tensor, slant: Tensor, resolution: int) -> Tensor:
    """Each image scaled to ``size`` of the canvas, centred at (right, down) in [-1, 1], rotated by ``slant`` radians."""
    cosine, sine = slant.cos() / size, slant.sin() / size
    rows = [torch.stack([cosine, sine, -(cosine * right + sine * down)], 1)]
    rows.append(torch.stack([-sine, cosine, sine * right - cosine * down], 1))
    grid = functional.affine_grid(torch.stack(rows, 1), [len(images), 1, resolution, resolution], align_corners=False)
    return functional.grid_sample(images[:, None], grid, align_corners=False)

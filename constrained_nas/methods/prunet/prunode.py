"""How a Prunode's two candidate widths move: PruNet's Algorithm 1 as a pure function over an explicit state.

A Prunode of at most M channels compares a small and a large candidate through one logit w (that of the large against the small).
The shares s <= l of M at which the candidates lie follow w with momentum, and the distance between them shrinks over the search
until it is one step of the granularity g: the masks then freeze, w trains on, and its sign picks one of the two.

All Prunodes of a super-network are updated at once: every array has one entry a Prunode.

The algorithm as printed has two weaknesses, which the tests show. Optima at small shares (o <= 0.1 at M >= 512) can leave s stuck
at 0 while w, which is kept there, runs away from 0; ``clamp`` holds |w| and so repairs it (0.3 will do; it departs from the paper
and is off by default). And noise of the loss pulls the widths found towards the middle: too small where the optimum is near 1, the
worst case (the ceiling cuts off moves up but not moves down), too large where it is small.

Reference: PruNet, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class PrunodeSettings:
    """Constants of Algorithm 1.

    Attributes:
        ceiling: c; the small share is held under 1 - c d, d being the distance between the shares.
        max_distance: that distance at the start of the search.
        momentum: of the small share's movement.
        clamp: greatest |w| that a step may use and leave behind before the masks freeze; None is the paper.

    Raises:
        ValueError: a constant out of range.
    """

    ceiling: float = 0.8
    max_distance: float = 0.6
    momentum: float = 0.4
    clamp: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.ceiling <= 1 and 0 < self.max_distance <= 1 and 0 <= self.momentum < 1):
            raise ValueError(
                f"Prunode settings: expected ceiling in [0, 1], max_distance in (0, 1], momentum in [0, 1); got {self}"
            )
        if self.clamp is not None and not self.clamp > 0:
            raise ValueError(f"Prunode settings: expected a positive clamp or None, got {self.clamp}")


@dataclass(frozen=True, slots=True, eq=False)
class PrunodeState:
    """Where P Prunodes stand; all arrays of shape (P,).

    Attributes:
        maximum, granularity: M and g, in channels.
        small_share, large_share: s and l, shares of M; l may exceed 1.
        velocity: u.
        frozen: whether the masks are settled.
        small, large: the two candidates' widths, in channels.
    """

    maximum: IntArray
    granularity: IntArray
    small_share: FloatArray
    large_share: FloatArray
    velocity: FloatArray
    frozen: BoolArray
    small: IntArray
    large: IntArray


def init_prunodes(maximum: ArrayLike, granularity: ArrayLike) -> PrunodeState:
    """Candidates at half and full width.

    Args:
        maximum: M, a number or (P,), a multiple of ``granularity`` and at least twice that.
        granularity: g, a number or (P,).

    Raises:
        ValueError: a maximum that is no multiple of the granularity or leaves no two widths.
    """
    most, step = (np.atleast_1d(np.asarray(values, dtype=np.int64)) for values in (maximum, granularity))
    most, step = (array.copy() for array in np.broadcast_arrays(most, step))
    if (step < 1).any() or (most % step).any() or (most < 2 * step).any():
        raise ValueError(f"Prunodes: maximum widths {most} must be multiples of the granularities {step}, twice these or more")
    half, whole = np.full(len(most), 0.5), np.ones(len(most))
    small, large = _widths(half, whole, most, step)
    return PrunodeState(most, step, half, whole, np.zeros(len(most)), np.zeros(len(most), dtype=np.bool_), small, large)


def step_prunodes(
    state: PrunodeState, logits: ArrayLike, progress: float, settings: PrunodeSettings | None = None
) -> tuple[PrunodeState, FloatArray]:
    """One update, after a step of the architecture's optimizer.

    Args:
        logits: w, shape (P,): logit of the large candidate minus that of the small.
        progress: p in [0, 1], the share of the search after its warm-up that is over.

    Returns:
        the state after, and w after, shape (P,): 0 for every Prunode that moved; the optimizer's moments stay as they are.

    Raises:
        ValueError: logits of another shape or not finite, or progress outside [0, 1].
    """
    constants = settings or PrunodeSettings()
    w = np.array(logits, dtype=np.float64)
    if w.shape != state.small_share.shape or not np.isfinite(w).all():
        raise ValueError(f"logits: expected {len(state.small_share)} finite numbers, got {w}")
    if not 0 <= progress <= 1:
        raise ValueError(f"progress: expected a share in [0, 1], got {progress}")
    # Shares come from sums and products of a handful of terms below 1: their distance is known to a few 1e-16, times M.
    distance = (state.large_share - state.small_share) * state.maximum
    frozen = state.frozen | (distance <= state.granularity + 1e-12 * state.maximum)
    if constants.clamp is not None:
        w = np.where(frozen, w, np.clip(w, -constants.clamp, constants.clamp))
    velocity = np.where(frozen, state.velocity, constants.momentum * state.velocity + w)
    d = constants.max_distance * (1.0 - progress) ** 2
    moved = np.where(frozen, state.small_share, state.small_share + velocity)
    upright = ~frozen & (moved > 0)
    small_share = np.where(frozen, moved, np.where(upright, np.minimum(moved, 1.0 - constants.ceiling * d), 0.0))
    large_share = np.where(frozen, state.large_share, small_share + d)
    small, large = _widths(small_share, large_share, state.maximum, state.granularity)
    small, large = np.where(frozen, state.small, small), np.where(frozen, state.large, large)
    after = replace(
        state, small_share=small_share, large_share=large_share, velocity=velocity, frozen=frozen, small=small, large=large
    )
    return after, np.where(upright, 0.0, w)


def pick_widths(state: PrunodeState, logits: ArrayLike) -> IntArray:
    """The widths that Prunodes end with, (P,): the large candidate exactly where w > 0."""
    return np.where(np.asarray(logits) > 0, state.large, state.small)


def freeze_progress(maximum: ArrayLike, granularity: ArrayLike, settings: PrunodeSettings | None = None) -> FloatArray:
    """The progress at which masks freeze, (P,): where the distance of the candidates has shrunk to the granularity.

    ``p = 1 - sqrt(g / (max_distance M))``; 0 where the first distance is already that short.
    """
    constants = settings or PrunodeSettings()
    ratio = np.atleast_1d(np.asarray(granularity, dtype=np.float64) / (constants.max_distance * np.asarray(maximum)))
    return 1.0 - np.sqrt(np.minimum(ratio, 1.0))


def _widths(small_share: FloatArray, large_share: FloatArray, maximum: IntArray, step: IntArray) -> tuple[IntArray, IntArray]:
    small = np.clip(_rounded(small_share * maximum, step), step, maximum - step)
    large = np.clip(_rounded(large_share * maximum, step), small + step, maximum)
    return small, large


def _rounded(channels: FloatArray, step: IntArray) -> IntArray:
    """The nearest multiple of ``step``, halves up."""
    return np.asarray(np.floor(channels / step + 0.5), dtype=np.int64) * step

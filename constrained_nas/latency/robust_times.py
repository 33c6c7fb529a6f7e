"""What repeated timings on a shared machine say: medians with confidence, outliers dropped by a rule, slow spells taken out.

- A median's bounds are order statistics: the number of samples below the median is binomial(n, 1/2), whatever their distribution,
  so no normality is assumed. Samples are taken as independent; that is why rounds are interleaved.
- A sample is an outlier when it lies more than 3.5 robust standard deviations (1.4826 x the median absolute deviation) from the
  median: an interrupted pass is many times as long as an ordinary one and says nothing about the network.
- Drift: a slow spell of the machine slows everything that runs in it. Where every round runs every subject once, a round's factor
  is the median over the subjects of (its time in this round / its median over the rounds); times are divided by it.

Reference: Iglewicz & Hoaglin, How to detect and handle outliers (modified z-score, 3.5); David & Nagaraja, Order statistics,
Sec. 7.1 (confidence intervals of quantiles).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from solvers.arrays import FloatArray

OUTLIER_DEVIATIONS = 3.5


def least_samples(confidence: float) -> int:
    """How many samples an upper bound of the median needs: with fewer, even the greatest is not above it that surely.

    Raises:
        ValueError: a confidence that is not between 1/2 and 1.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence: expected at least 0.5 and less than 1, got {confidence}")
    needed = ceil(-log2(1 - confidence) - 1e-9)  # 1 - 2^-n >= confidence; rounding must not ask for one more
    return max(1, needed)


def upper_median_bound(samples: Sequence[float], confidence: float) -> float:
    """The least order statistic that is at least the true median with probability ``confidence`` or more.

    Raises:
        ValueError: too few samples for this confidence; says how many it takes.
    """
    needed = least_samples(confidence)
    if len(samples) < needed:
        raise ValueError(f"an upper bound of a median at confidence {confidence:g} needs {needed} samples, got {len(samples)}")
    place = int(binom.ppf(confidence, len(samples), 0.5))  # least k with P(at most k samples below the median) >= confidence
    return float(np.sort(samples)[min(place, len(samples) - 1)])


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Order statistics that enclose the true median with probability ``confidence``; the extremes where samples are too few."""
    ordered = np.sort(samples)
    place = min(int(binom.ppf((1 + confidence) / 2, len(ordered), 0.5)), len(ordered) - 1)
    return float(ordered[len(ordered) - 1 - place]), float(ordered[place])


def inliers(samples: ArrayLike) -> FloatArray:
    """The samples without outliers, in order. Where half of them are equal the deviation is 0 and all are kept."""
    values = np.asarray(samples, dtype=np.float64)
    distance = np.abs(values - np.median(values))
    deviation = 1.4826 * float(np.median(distance))
    return values[distance <= OUTLIER_DEVIATIONS * deviation] if deviation > 0 else values


def drift_factors(times: FloatArray) -> FloatArray:
    """The factor of every round, (rounds,), of ``times`` (rounds, subjects), all positive: 1 in an ordinary round.

    Factors are scaled so that their median is 1: dividing by them moves no level.
    """
    factors = np.median(times / np.median(times, axis=0), axis=1)
    scaled: FloatArray = factors / np.median(factors)
    return scaled

"""Order statistics against the binomial law by enumeration, outliers by hand, drift that is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from constrained_nas.latency import least_samples
from constrained_nas.latency.robust_times import drift_factors, inliers, median_interval, upper_median_bound


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99, 1 - 0.05 / 8])
@pytest.mark.parametrize("count", [8, 9, 11])
def test_upper_bounds_are_the_least_that_hold(count: int, confidence: float) -> None:
    """Every pattern of samples below and above the median is as likely: the bound must hold in enough of them, and its
    predecessor in too few."""
    place = int(upper_median_bound(list(range(count)), confidence))
    below = [sum(pattern) for pattern in itertools.product((0, 1), repeat=count)]
    holds = [np.mean([number <= k for number in below]) for k in range(count)]  # the k-th (from 0) is at least the median
    assert holds[place] >= confidence
    assert place == 0 or holds[place - 1] < confidence


@pytest.mark.parametrize(("confidence", "needed"), [(0.5, 1), (0.95, 5), (0.99, 7), (1 - 2.0**-6, 6)])
def test_bounds_need_enough_samples(confidence: float, needed: int) -> None:
    assert least_samples(confidence) == needed
    assert upper_median_bound([3.0, *[1.0] * (needed - 1)], confidence) >= 1.0
    if needed > 1:
        with pytest.raises(ValueError, match=f"needs {needed} samples, got {needed - 1}"):
            upper_median_bound([1.0] * (needed - 1), confidence)
    for wrong in (0.4, 1.0):
        with pytest.raises(ValueError, match="confidence: expected at least"):
            least_samples(wrong)


def test_intervals_are_symmetric_and_wide_enough() -> None:
    """20 samples: the 6th and 15th enclose the median with probability 0.959, the 7th and 14th with 0.885."""
    assert median_interval([float(value) for value in range(20)], 0.95) == (5.0, 14.0)
    assert median_interval([4.0, 2.0, 3.0], 0.95) == (2.0, 4.0)  # too few: the extremes


def test_outliers() -> None:
    samples = [10.0, 10.1, 9.9, 10.2, 9.8, 30.0, 10.0]
    assert inliers(samples).tolist() == [10.0, 10.1, 9.9, 10.2, 9.8, 10.0]
    edge = 1.4826 * 3.5  # deviations of 1 around 0
    assert inliers([-1.0, 1.0, -1.0, 1.0, edge * 0.999]).size == 5
    assert inliers([-1.0, 1.0, -1.0, 1.0, edge * 2.5]).size == 4
    assert inliers([2.0, 2.0, 2.0, 9.0]).tolist() == [2.0, 2.0, 2.0, 9.0]  # no deviation to judge by


def test_drift_is_found_where_it_is_known() -> None:
    levels, drift = np.array([0.2, 5.0, 17.0, 40.0]), np.array([1.0, 1.0, 1.5, 0.8, 1.0])
    times = drift[:, None] * levels
    times[1, 2] *= 10  # one interrupted run does not make a slow round
    assert drift_factors(times) == pytest.approx(drift, rel=1e-12)
    # Without drift, noise of 1 % on 100 subjects leaves factors within their median's error (five deviations of 0.0125 / 10).
    noisy = np.exp(0.01 * np.random.default_rng(0).standard_normal((30, 100)))
    assert np.abs(drift_factors(noisy) - 1).max() < 0.00625

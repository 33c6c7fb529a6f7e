"""Is a heterogeneous network better than a homogeneous one of the same cost would be?

The homogeneous networks, each trained several times, make a line of mean accuracy against cost, linear between the two nearest.
A heterogeneous network is compared with the line at its own cost. The difference's standard error takes in both: the network's own
trainings and those of the two homogeneous neighbours, by their weights; degrees of freedom by Welch and Satterthwaite, intervals by
Student's t. Eq. 7 has the same line.

Reference: Zur et al., Sec. 4 (0.6827 intervals); Welch 1947; Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from papers_repro.filter_trainings import Trained

__all__ = ["Comparison", "compare_with_line", "holm", "pooled_deviation"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A network against the line.

    Attributes:
        trained: the network.
        line: the line's accuracy at its cost, %.
        difference: its mean accuracy minus the line's.
        error: standard error of that; NaN for single trainings.
        freedom: degrees of freedom.
        extrapolated: its cost lies outside the line, which is continued as a constant.
    """

    trained: Trained
    line: float
    difference: float
    error: float
    freedom: float
    extrapolated: bool

    def half(self, confidence: float) -> float:
        """Half the width of the difference's interval."""
        return float(student.ppf(0.5 + confidence / 2, self.freedom) * self.error)

    @property
    def p_value(self) -> float:
        """One-sided: the probability of such a difference if the network were no better than the line."""
        if math.isnan(self.error):
            return math.nan
        if self.error == 0:
            return 0.0 if self.difference > 0 else 1.0
        return float(student.sf(self.difference / self.error, self.freedom))

    def verdict(self, confidence: float) -> str:
        """In words."""
        half = self.half(confidence)
        if math.isnan(half):
            return "one training"
        if abs(self.difference) <= half:
            return "cannot be told apart"
        return "better" if self.difference > 0 else "worse"


def compare_with_line(trained: Sequence[Trained]) -> list[Comparison]:
    """Every heterogeneous network against the line of the homogeneous ones among ``trained``, in their order.

    Raises:
        ValueError: no homogeneous networks.
    """
    line = sorted((each for each in trained if each.candidate.homogeneous), key=lambda each: each.candidate.cost)
    if not line:
        raise ValueError("no homogeneous networks to compare with")
    return [_compare(each, line) for each in trained if not each.candidate.homogeneous]


def _compare(each: Trained, line: Sequence[Trained]) -> Comparison:
    costs = np.array([other.candidate.cost for other in line])
    place = float(np.interp(each.candidate.cost, costs, np.arange(len(costs))))
    low, share = min(int(place), len(line) - 1), place - int(place)
    parts = [(1.0, each), (1.0 - share, line[low])] + ([(share, line[low + 1])] if share > 0 else [])
    at_line = sum(weight * other.mean for weight, other in parts[1:])
    variances = [weight**2 * _variance(other.test) / len(other.test) for weight, other in parts]
    total = sum(variances)
    degrees = [v**2 / (len(other.test) - 1) for v, (_, other) in zip(variances, parts, strict=True) if len(other.test) > 1]
    freedom = total**2 / sum(degrees) if total > 0 else float(len(each.test) - 1)
    outside = not costs[0] <= each.candidate.cost <= costs[-1]
    return Comparison(each, at_line, each.mean - at_line, math.sqrt(total), freedom, outside)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below .05 for all that stay significant when so many are tested together."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]


def pooled_deviation(trained: Sequence[Trained]) -> float:
    """The standard deviation of one training around its configuration's mean, pooled over the configurations, in %."""
    squares = sum(_variance(each.test) * (len(each.test) - 1) for each in trained if len(each.test) > 1)
    freedom = sum(len(each.test) - 1 for each in trained)
    return math.sqrt(squares / freedom) if freedom else math.nan


def _variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else math.nan

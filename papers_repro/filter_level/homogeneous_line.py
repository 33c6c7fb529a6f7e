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
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from papers_repro.filter_level.trainings import Trained
from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference of mean accuracies in %, its standard error (NaN for single trainings) and that error's degrees of freedom."""

    difference: float
    error: float
    freedom: float

    def half(self, confidence: float) -> float:
        """Half the width of the difference's interval."""
        return float(student.ppf(0.5 + confidence / 2, self.freedom) * self.error)

    @property
    def p_value(self) -> float:
        """One-sided: the probability of such a difference, or a greater one, if there were none."""
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

    def written(self, confidence: float) -> str:
        """``+1.20 (95 % interval +0.30 to +2.10)``."""
        half = self.half(confidence)
        interval = f"{100 * confidence:.4g} % interval {self.difference - half:+.2f} to {self.difference + half:+.2f}"
        return f"{self.difference:+.2f} ({interval})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A network against the line.

    Attributes:
        trained: the network.
        line: the line's accuracy at its cost, %.
        gain: its mean accuracy minus the line's.
        extrapolated: its cost lies outside the line, which is continued as a constant.
    """

    trained: Trained
    line: float
    gain: Contrast
    extrapolated: bool


def compare_with_line(trained: Sequence[Trained]) -> list[Comparison]:
    """Every heterogeneous network against the line of the homogeneous ones among ``trained``, in their order.

    Raises:
        ValueError: no homogeneous networks.
    """
    line = _line(trained)
    return [_compare(each, line) for each in trained if not each.candidate.homogeneous]


def mean_difference(trained: Sequence[Trained]) -> Contrast:
    """The mean over all heterogeneous networks of what they are above the line; they share the line, which its error allows for.

    Raises:
        ValueError: no homogeneous networks, or none to compare with them.
    """
    line = _line(trained)
    others = [each for each in trained if not each.candidate.homogeneous]
    if not others:
        raise ValueError("no heterogeneous networks to compare")
    weights = np.mean([_line_weights(each, line) for each in others], axis=0)
    return _contrast([*((1.0 / len(others), each) for each in others), *zip(-weights, line, strict=True)])


def minus_others(each: Trained, others: Sequence[Trained]) -> Contrast:
    """A network minus the mean of others, of which every one counts as one: how they vary among themselves is in the error.

    Raises:
        ValueError: no others.
    """
    if not others:
        raise ValueError("no networks to compare with")
    together = replace(others[0], test=tuple(other.mean for other in others))
    return _contrast([(1.0, each), (-1.0, together)])


def _line(trained: Sequence[Trained]) -> list[Trained]:
    line = sorted((each for each in trained if each.candidate.homogeneous), key=lambda each: each.candidate.cost)
    if not line:
        raise ValueError("no homogeneous networks to compare with")
    return line


def _line_weights(each: Trained, line: Sequence[Trained]) -> FloatArray:
    """How much each homogeneous network counts in the line at this network's cost, (len(line),)."""
    place = float(np.interp(each.candidate.cost, [other.candidate.cost for other in line], np.arange(len(line))))
    return np.maximum(0.0, 1.0 - np.abs(np.arange(len(line)) - place))


def _compare(each: Trained, line: Sequence[Trained]) -> Comparison:
    weights = _line_weights(each, line)
    found = _contrast([(1.0, each), *zip(-weights, line, strict=True)])
    outside = not line[0].candidate.cost <= each.candidate.cost <= line[-1].candidate.cost
    return Comparison(each, each.mean - found.difference, found, outside)


def _contrast(parts: Sequence[tuple[float, Trained]]) -> Contrast:
    """A weighted sum of mean accuracies."""
    used = [(float(weight), other) for weight, other in parts if weight]
    difference = math.fsum(weight * other.mean for weight, other in used)
    variances = [weight**2 * _variance(other.test) / len(other.test) for weight, other in used]
    total = sum(variances)
    degrees = [v**2 / (len(other.test) - 1) for v, (_, other) in zip(variances, used, strict=True) if len(other.test) > 1]
    freedom = total**2 / sum(degrees) if total > 0 else float(len(used[0][1].test) - 1)
    return Contrast(difference, math.sqrt(total), freedom)


def at_chance(trained: Sequence[Trained], classes: int) -> str:
    """Why there is no line to compare with: which homogeneous networks have not learned; empty where all have.

    A network has not learned whose mean accuracy is under one and a half times that of guessing.
    """
    guessing = 100.0 / classes
    poor = [each for each in trained if each.candidate.homogeneous and each.mean < 1.5 * guessing]
    if not poor:
        return ""
    named = ", ".join(f"{each.candidate.kind} {each.candidate.name} {each.mean:.1f} %" for each in poor)
    return (
        f"Nothing can be said of the line: these homogeneous networks are near chance, which is {guessing:.0f} %: {named}. Train "
        "longer (--epochs)."
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below .05 for all that stay significant when so many are tested together."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return [float(value) for value in adjusted]


def typical_deviation(trained: Sequence[Trained]) -> float:
    """The standard deviation of one training around its configuration's mean, the median over the configurations, in %."""
    return float(np.median(_deviations(trained)))


def deviation_ratio(first: Sequence[Trained], second: Sequence[Trained], confidence: float = 0.95) -> tuple[float, float, float]:
    """How many times as much trainings of ``first`` vary, and the interval of that; NaN where a configuration has no spread.

    Welch's on the logarithms of the configurations' deviations, and these count alike: pooled variances would be those of the one
    configuration whose training once failed. Both sides need as many trainings a configuration, or their bias differs.
    """
    sides = [np.array(_deviations(trained)) for trained in (first, second)]
    if not all(len(side) > 1 and (side > 0).all() for side in sides):
        return math.nan, math.nan, math.nan
    logs = [np.log(side) for side in sides]
    middle = float(logs[0].mean() - logs[1].mean())
    parts = [float(log.var(ddof=1)) / len(log) for log in logs]
    total = sum(parts)
    freedom = total**2 / sum(part**2 / (len(log) - 1) for part, log in zip(parts, logs, strict=True))
    half = float(student.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(total)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def _deviations(trained: Sequence[Trained]) -> list[float]:
    return [math.sqrt(_variance(each.test)) for each in trained]


def _variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else math.nan

"""Intervals over seeds, and what they allow one to say.

Seeds are few, so intervals are Student's t at 95 %, and comparisons are paired: the same seed, data and super-network on both
sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.stats import t as student


def mean(values: Iterable[float]) -> float:
    """Their mean, as a number of Python's."""
    return float(np.mean(list(values)))


def half_width(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of the interval of the mean at a confidence, 95 % if none is given; NaN for a single value."""
    if len(values) < 2:
        return math.nan
    return float(student.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def verdict(differences: Sequence[float], name: str) -> str:
    """Whether paired differences (``name`` minus the other, larger is better) can be told from 0."""
    if not np.any(differences):
        return "the same"
    half = half_width(differences)
    if math.isnan(half):
        return "one seed: no interval"
    if abs(float(np.mean(differences))) <= half:
        return "cannot be told apart"
    return f"{name} better" if np.mean(differences) > 0 else f"{name} worse"


def compared(first: Sequence[float], second: Sequence[float], name: str) -> str:
    """``first`` minus ``second``, paired by seed: mean, half the 95 % interval, verdict in terms of ``name`` (the first)."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    half = half_width(differences)
    width = "" if math.isnan(half) else f" ± {half:.2f}"
    return f"{np.mean(differences):+.2f}{width} {verdict(differences, name)}"

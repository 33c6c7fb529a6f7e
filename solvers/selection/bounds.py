"""What a user gives as a budget: a number, bounds from both sides, or a share of what the costliest selection costs.

``5.0`` is a limit from above, ``(3.0, 5.0)`` bounds from below and above (None: none), and ``"60%"`` stands for that share of the
sum of every group's costliest allowed option; both ends of a pair may be shares. A share of costs that are written in decimals is
rounded inwards to whole units of their last place, which loses no selection.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.knapsack import decimal_places, exact_sum, from_units, whole_units
from solvers.selection.numbers import read_number

Limit = float | Fraction  # a number, or a share of the costliest


@dataclass(frozen=True, slots=True)
class Bounds:
    """A budget as it was given; infinite where there is no bound."""

    lower: Limit
    upper: Limit


def read_bounds(value: Any, label: str) -> Bounds:
    """One budget.

    Raises:
        ValueError: something else than a number, a share or a pair of these, NaN, or a lower bound above the upper; it starts with
            ``label``.
    """
    if not isinstance(value, (tuple, list)):
        return Bounds(-math.inf, _limit(value, label))
    if len(value) != 2:
        raise ValueError(f"{label}: expected a number or a pair (lower, upper), got {len(value)} numbers")
    low, high = value
    lower = -math.inf if low is None else _limit(low, f"{label}, lower bound")
    upper = math.inf if high is None else _limit(high, f"{label}, upper bound")
    if type(lower) is type(upper) and lower > upper:
        raise ValueError(f"{label}: the lower bound {low!r} is above the upper bound {high!r}")
    return Bounds(lower, upper)


def read_limit(value: Any, label: str) -> float:
    """One number that is not NaN.

    Raises:
        ValueError: something else; it starts with ``label``.
    """
    number = value if type(value) is float else read_number(value, label)
    if math.isnan(number):
        raise ValueError(f"{label}: expected a number, got NaN")
    return number


def settle(bounds: Bounds, costs: FloatArray, allowed: BoolArray, offsets: IntArray, label: str) -> tuple[float, float, int | None]:
    """Lower and upper bound as numbers, and the places of the decimals that all of a budget's numbers have (None: floats).

    Args:
        bounds: as given.
        costs: (n,) of the budget, infinite where forbidden. allowed: (n,). offsets: (groups + 1,).
        label: how messages call the budget.

    Raises:
        ValueError: the lower bound is above the upper.
    """
    places: int | None = 0
    for limit in (bounds.lower, bounds.upper):
        needed = decimal_places(costs, math.inf if isinstance(limit, Fraction) else limit, offsets)
        places = None if needed is None or places is None else max(places, needed)
    lower, upper = bounds.lower, bounds.upper
    if isinstance(lower, Fraction) or isinstance(upper, Fraction):
        greatest = np.maximum.reduceat(np.where(allowed, costs, 0.0), offsets[:-1])
        most = Fraction(exact_sum(whole_units(greatest, places or 0)))
        lower, upper = (
            float(limit)
            if not isinstance(limit, Fraction)
            else float(limit * most)
            if places is None
            else from_units(float(rounded(limit * most)), places)
            for limit, rounded in ((lower, math.ceil), (upper, math.floor))
        )
    if lower > upper:
        raise ValueError(f"{label}: the lower bound {lower!r} is above the upper bound {upper!r}")
    return lower, upper, places


def bound_labels(names: Sequence[Hashable] | None) -> list[str]:
    """How messages about what was given call each budget."""
    return ["budget"] if names is None else [f"budget {name!r}" for name in names]


def _limit(value: Any, label: str) -> Limit:
    if isinstance(value, str):
        text = value.strip()
        if not text.endswith("%"):
            raise ValueError(f"{label}: expected real numbers, got the text {value!r}; a share is written '60%'")
        try:
            share = Decimal(text[:-1].strip())
        except InvalidOperation as error:
            raise ValueError(f"{label}: expected a number before the percent sign, got {value!r}") from error
        if not (share.is_finite() and share >= 0):
            raise ValueError(f"{label}: expected a share of 0% or more, got {value!r}")
        return Fraction(share) / 100
    return read_limit(value, label)

"""Costs as the decimals people wrote: three options of cost 0.1 fit a budget of 0.3, which their binary sum exceeds.

A float stands for the shortest decimal that reads back as it. Where the costs of a budget and the budget itself are decimals of at
most 15 digits (each such decimal reads back, so the float tells which one it was), they are counted in whole units of the last
place, and every sum of them is exact. Measured numbers carry 16 or 17 digits; one among them, and the row stays in floats, held to
the correctly rounded sum.

Reference: Steele and White, How to print floating-point numbers accurately, PLDI 1990 (15 digits always survive).
"""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np

from solvers.arrays import FloatArray, IntArray

_DIGITS = 15
_MOST_PLACES = 22  # 10^22 is the last power of ten that is a float: beyond it the test below would round
_WHOLE = 2.0**53  # sums of whole numbers are exact up to here
_SAMPLE = 4  # numbers looked at one by one, so that measured tables are known at once


def decimal_places(costs: FloatArray, budget: float, offsets: IntArray) -> int | None:
    """The places that hold every cost and the budget as decimals of at most 15 digits; None where some number needs more.

    Args:
        costs: (n,), infinite entries are left out.
        budget: infinite means none, and is any decimal.
        offsets: (groups + 1,) where each group starts; where the dearest selection has more than 2^53 units of the last place, the
            answer is None as well.

    Example:
        >>> one = np.array([0, 2])
        >>> decimal_places(np.array([0.1, 0.25]), 0.3, one), decimal_places(np.array([0.1, 0.1 + 0.2]), 0.3, one)
        (2, None)
    """
    places = 0
    for number in (*costs[:_SAMPLE].tolist(), budget):
        needed = _places(number)
        if needed is None:
            return None
        places = max(places, needed)
    while places <= _MOST_PLACES:
        with np.errstate(over="ignore"):
            units = np.rint(costs * 10.0**places if places else costs)
        # Exact whole numbers, a correctly rounded quotient: equal only if the decimal reads back as the float.
        same = (units / 10.0**places if places else units) == costs
        if same.all():
            break
        needed = _places(float(costs[np.argmin(same)]))
        if needed is None or needed <= places:
            return None
        places = needed
    else:
        return None
    if not float(units.max()) * (len(offsets) - 1) <= _WHOLE:
        greatest = np.maximum.reduceat(np.where(np.isinf(units), 0.0, units), offsets[:-1])
        if float(greatest.sum()) > _WHOLE:
            return None
    return places


def whole_units(numbers: FloatArray, places: int) -> FloatArray:
    """The numbers in units of the last of their ``places``: whole, and exactly what the decimals say."""
    return np.rint(numbers * 10.0**places) if places else numbers


def from_units(units: float, places: int) -> float:
    """The number that so many whole units are, correctly rounded; ``units`` itself without places."""
    return int(units) / 10**places if places else units


def _places(number: float) -> int | None:
    """Places after the point in the shortest decimal of ``number``; None beyond 15 digits."""
    text = repr(number)
    whole, point, fraction = text.partition(".")
    if "e" not in text and point:
        if len(whole) + len(fraction) <= _DIGITS:
            return 0 if fraction == "0" else len(fraction)
        if fraction != "0" and len((whole + fraction).lstrip("-0")) > _DIGITS:  # a shortest decimal ends in no zero but this one
            return None
    elif not math.isfinite(number):
        return 0
    _, digits, exponent = Decimal(text).normalize().as_tuple()
    return max(0, -int(exponent)) if len(digits) <= _DIGITS else None

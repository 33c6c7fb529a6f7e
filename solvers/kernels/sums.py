"""Sums in two floats, for numpy and for compiled code: adding a term loses nothing to rounding (TwoSum).

Reference: Knuth, TAOCP 2, Sec. 4.2.2 (TwoSum).
"""

from __future__ import annotations

from typing import TypeVar

from solvers.arrays import FloatArray

_Number = TypeVar("_Number", float, FloatArray)


def add(high: _Number, low: _Number, term: _Number) -> tuple[_Number, _Number]:
    """``high + low + term`` in two floats, or arrays of them, the leading one correctly rounded."""
    total = high + term
    virtual = total - high
    rest = low + ((high - (total - virtual)) + (term - virtual))
    rounded = total + rest
    return rounded, rest - (rounded - total)

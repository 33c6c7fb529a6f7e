"""Numbers as users hold them, as float64: arrays, tensors, data frames, lists of groups; nothing is cast or rounded without a word.

Text, dates and complex numbers are refused, and so is a whole number that float64 does not hold: those up to 2^53 are exact.

A budget is a number, bounds from both sides, or a share of what the costliest selection costs:
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
from numpy.typing import NDArray

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.knapsack import decimal_places, exact_sum, from_units, whole_units

Limit = float | Fraction  # a number, or a share of the costliest
_WHOLE = 2.0**53


def is_exact(array: NDArray[Any]) -> bool:
    """Whether a cast to float64 keeps every number of an array of floats, booleans or small integers."""
    kind = array.dtype.kind
    if kind == "f" or kind == "b":
        return True
    return kind in "iu" and (array.itemsize < 8 or -_WHOLE <= int(array.min()) <= int(array.max()) <= _WHOLE)


def read_rows(data: Any, label: str) -> tuple[FloatArray, IntArray]:
    """Flat float64 numbers and offsets of a 2-D array, a tensor, a data frame, or a sequence of 1-D ones.

    Raises:
        ValueError: something else; it says where, after ``label``.
    """
    data = _to_host(data, label)
    rows: list[FloatArray]
    given: list[Any]
    if isinstance(data, (str, bytes)) or not hasattr(data, "__len__"):
        raise ValueError(f"{label}: expected a 2-D array or a list of groups, got {type(data).__name__}")
    if hasattr(data, "__array__"):
        array = _floats(data, label)
        if array.ndim != 2:
            raise ValueError(f"{label}: expected a 2-D array (groups, options) or a list of groups, got shape {array.shape}")
        if array.size:
            _refuse_rounded(data, array, label)
            return array.ravel(), np.arange(0, array.size + 1, array.shape[1])
        rows, given = list(array), []
    else:
        rows, given = [], []
        for group, row in enumerate(data):
            given.append(_to_host(row, name := f"{label}: group {group}"))
            rows.append(_floats(given[-1], name))
    if not rows:
        raise ValueError(f"{label}: expected at least one group, got none")
    for group, row in enumerate(rows):
        if row.ndim != 1:
            raise ValueError(f"{label}: group {group} must be one-dimensional, got shape {row.shape}")
        if not len(row):
            raise ValueError(f"{label}: group {group} is empty, expected at least one option")
    flat = np.concatenate(rows)
    if (np.abs(flat) >= _WHOLE).any():
        for group, row in enumerate(rows):
            _refuse_rounded(given[group], row, f"{label}: group {group}")
    return flat, np.concatenate([[0], np.cumsum([len(row) for row in rows])])


def read_number(value: Any, label: str) -> float:
    """One number: Python's, numpy's or a tensor's.

    Raises:
        ValueError: something else; it starts with ``label``.
    """
    if isinstance(value, float) or (type(value) is int and abs(value) <= _WHOLE):
        return float(value)
    value = _to_host(value, label)
    number = _floats(value, label)
    if number.ndim:
        raise ValueError(f"{label}: expected a number, got shape {number.shape}")
    _refuse_rounded(value, number, label)
    return float(number)


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


def read_gap(value: Any, label: str) -> tuple[float, float]:
    """A gap as a number and as a share ("0.1%") of a value; the other is 0.

    Raises:
        ValueError: something else, or a negative number; it starts with ``label``.
    """
    read = _limit(value, label)
    if not read >= 0:
        raise ValueError(f"{label}: expected a number of 0 or more, or a share such as '0.1%', got {value!r}")
    return (0.0, float(read)) if isinstance(read, Fraction) else (read, 0.0)


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


def _to_host(data: Any, label: str) -> Any:
    """A tensor (anything with ``detach`` and ``cpu``) as an array; lists of scalar tensors as lists of numbers."""
    if hasattr(data, "detach") and hasattr(data, "cpu"):
        if (layout := str(getattr(data, "layout", "torch.strided"))) != "torch.strided":
            raise ValueError(f"{label}: expected a dense tensor, got layout {layout}; call its to_dense()")
        try:
            host = data.detach().cpu()
            return (host.double() if host.is_floating_point() else host).numpy()  # double first: numpy has no bfloat16
        except (RuntimeError, TypeError) as error:  # no values, as on the meta device, or a kind that numpy has not
            raise ValueError(f"{label}: expected real numbers, got a tensor that numpy cannot hold: {error}") from error
    if isinstance(data, (list, tuple)) and data and all(hasattr(item, "detach") and item.ndim == 0 for item in data):
        return [_to_host(item, label).item() for item in data]
    return data


def _floats(data: Any, label: str) -> FloatArray:
    """The numbers in float64, rounded where that is needed: see :func:`_refuse_rounded`."""
    if hasattr(data, "toarray") or (hasattr(data, "todense") and not hasattr(data, "tolist")):
        raise ValueError(f"{label}: expected a dense array, got {type(data).__name__}; make it dense first, as by its toarray()")
    if np.ma.is_masked(data):
        raise ValueError(f"{label}: expected an array without masked entries; forbid an option by a score of -inf")
    try:
        array = np.asarray(data)
        if array.dtype.kind not in "biufO":  # complex numbers, text and dates would be cast without a word
            raise TypeError("text" if array.dtype.kind in "SUT" else f"dtype {array.dtype}")
        if array.dtype.kind == "O":  # so would None, to NaN, and text in a column of objects
            for item in array.ravel():
                if item is None or isinstance(item, (str, bytes)):
                    raise TypeError("None" if item is None else f"the text {item!r}")
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{label}: expected real numbers, got {error}") from error


def _refuse_rounded(data: Any, numbers: FloatArray, label: str) -> None:
    """Whole numbers above 2^53 in ``data``, some of which no float64 holds: the one rounding that changes what users count.

    Raises:
        ValueError: one of them was rounded.
    """
    if not (np.abs(numbers) >= _WHOLE).any() or getattr(getattr(data, "dtype", None), "kind", "O") == "f":
        return
    # Before a common type was found for them: a frame's columns, or a list's items, may be integers beside floats.
    if hasattr(data, "rows"):  # polars
        given = np.array(data.rows(), dtype=object)
    else:
        given = data.to_numpy(dtype=object) if hasattr(data, "to_numpy") else np.asarray(data, dtype=object)
    for item, number in zip(given.ravel().tolist(), numbers.ravel().tolist(), strict=True):
        exact = item.item() if isinstance(item, np.generic) else item  # numpy would compare rounded
        if math.isfinite(number) and exact != number and exact == int(exact):
            raise ValueError(f"{label}: float64 cannot hold {exact}, whole numbers are exact up to 2^53; scale the numbers down")

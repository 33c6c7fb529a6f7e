"""Numbers as users hold them, as float64: arrays, tensors, data frames, lists of groups; nothing is cast or rounded without a word.

Text, dates and complex numbers are refused, and so is a whole number that float64 does not hold: those up to 2^53 are exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray, IntArray

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

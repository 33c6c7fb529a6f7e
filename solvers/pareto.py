"""Pareto fronts: which of several points no other beats in every respect, and how much space a front dominates.

A search leaves many networks, each with an accuracy and one or more costs; those worth reporting are the non-dominated ones. The
sweeps themselves are moocore's; here the sense of every column is explicit and malformed data are refused.

Reference: Kung, Luccio and Preparata, On finding the maxima of a set of vectors, 1975; Zitzler and Thiele, Multiobjective
evolutionary algorithms, 1999 (the hypervolume); Fonseca, Paquete and López-Ibáñez 2006 (its computation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import FloatArray


def non_dominated(points: ArrayLike, maximize: Sequence[bool], *, keep_duplicates: bool = True) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    One point dominates another if it is at least as good in every column and better in one. Infinite entries are allowed: an
    unbounded cost is merely worst.

    Args:
        points: (k, d), one row a point; k may be 0.
        maximize: (d,) True where more is better (accuracy), False where less is (cost).
        keep_duplicates: equal points do not dominate each other. True keeps every copy of a point of the front, False only the
            first row of them, so that no two kept rows are equal.

    Returns:
        (k,) truth values, in the order of the rows; sort the kept rows by a column to draw the front.

    Raises:
        ValueError: rows of different lengths, NaN, no columns, or not one sense a column.

    Example:
        >>> non_dominated([[91.0, 40.0], [93.0, 80.0], [92.0, 90.0]], [True, False]).tolist()  # accuracy and latency
        [True, True, False]
    """
    table, senses = _table(points, maximize)
    if not len(table):
        return np.zeros(0, dtype=np.bool_)
    from moocore import is_nondominated

    return np.asarray(is_nondominated(_smaller_is_better(table, senses), keep_weakly=keep_duplicates), dtype=np.bool_)


def hypervolume(points: ArrayLike, reference: ArrayLike, maximize: Sequence[bool]) -> float:
    """The volume of all that is dominated by some point and itself dominates ``reference``.

    Larger is better; it grows by whatever a new non-dominated point adds. Duplicates and dominated points add nothing, nor do
    points that are not better than ``reference`` in every column. Columns of different units are best normalized first: the
    result has the product of their units.

    Args:
        points: (k, d), one row a point; k may be 0 (the volume is 0).
        reference: (d,) a finite point that is worse than the front, the same for all fronts that are compared.
        maximize: (d,) as for :func:`non_dominated`.

    Raises:
        ValueError: as :func:`non_dominated`, or an entry that is not finite.

    Example:
        >>> hypervolume([[91.0, 40.0], [93.0, 80.0]], [90.0, 100.0], [True, False])  # 1 x 60 and 3 x 20, less the 1 x 20 they share
        100.0
    """
    table, senses = _table(points, maximize)
    worst = np.asarray(reference, dtype=np.float64)
    if worst.shape != senses.shape:
        raise ValueError(f"reference: expected {len(senses)} numbers, one a column, got shape {worst.shape}")
    if not (np.isfinite(table).all() and np.isfinite(worst).all()):
        raise ValueError("hypervolume: expected finite points and a finite reference: an infinite side has no volume")
    if not len(table):
        return 0.0
    from moocore import hypervolume as volume

    return float(volume(_smaller_is_better(table, senses), _smaller_is_better(worst[None], senses)[0]))


def _table(points: ArrayLike, maximize: Sequence[bool]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Points (k, d) and senses (d,), checked."""
    senses = np.asarray(maximize)
    if senses.ndim != 1 or senses.dtype != np.bool_ or not len(senses):
        raise ValueError(f"maximize: expected one truth value a column, e.g. [True, False], got {maximize!r}")
    try:
        table = np.asarray(points, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"points: expected rows of {len(senses)} numbers each: {error}") from error
    if table.size == 0 and table.ndim <= 2:
        table = table.reshape(0, len(senses))
    if table.ndim != 2 or table.shape[1] != len(senses):
        raise ValueError(f"points: expected (k, {len(senses)}), one column a sense, got shape {table.shape}")
    if np.isnan(table).any():
        row, column = np.argwhere(np.isnan(table))[0].tolist()
        raise ValueError(f"points: NaN in row {row}, column {column}; leave out what was not measured")
    return table, senses


def _smaller_is_better(table: FloatArray, senses: NDArray[np.bool_]) -> FloatArray:
    """The columns to be maximized negated: an exact operation, unlike any other change of sense."""
    return np.where(senses, -table, table)

"""Labels of data frames: tables that name their rows or columns are put in one order by these names, or refused.

A frame is known by what it offers, so neither pandas (labels of rows and columns) nor polars (of columns) is imported here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import IntArray

_Names = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table calls its groups, and each group's options; None where it has no labels for them."""

    groups: _Names | None = None
    options: tuple[_Names, ...] | None = None

    @classmethod
    def of(cls, table: Any) -> Labels:
        """The labels of a frame, or of a list of series; none of anything else."""
        if isinstance(table, (list, tuple)):
            if all(_axes(row) == 1 and hasattr(row, "index") for row in table):
                return cls(None, tuple(tuple(row.index) for row in table))
        elif _axes(table) == 2:
            index = getattr(table, "index", None)
            return cls(None if index is None else tuple(index), (tuple(table.columns),) * len(table))
        return _NONE


_NONE = Labels()


def order_by_labels(found: Sequence[Labels], labels: Sequence[str]) -> list[IntArray | None]:
    """Where the flat entries of the first table lie in each of the others; None where they lie alike.

    Args:
        found: of each table.
        labels: how messages call the tables.

    Raises:
        ValueError: names that differ from the first labelled table's, that occur twice, or, where the first table of all has
            none, that come in another order.
    """
    orders: list[IntArray | None] = []
    if all(table is _NONE for table in found):
        return [None] * (len(found) - 1)
    base, base_label = found[0], labels[0]
    for table, label in zip(found[1:], labels[1:], strict=True):
        if base is _NONE:
            base, base_label = table, label
        order = _order(base, table, label, base_label)
        if order is not None and found[0] is _NONE:
            raise ValueError(f"{label}: its labels come in another order than those of {base_label}; give {labels[0]} labels too")
        orders.append(order)
    return orders


def shown_labels(found: Sequence[Labels], offsets: IntArray) -> tuple[_Names | None, _Names | None]:
    """The names of the groups, and of all options, that answers show; None for both where only positions count.

    Answers are named where the first table and another have labels that are not just positions.
    """
    groups = found[0].groups if any(table.groups is not None for table in found[1:]) else None
    options = found[0].options if any(table.options is not None for table in found[1:]) else None
    if groups is None and options is None:
        return None, None
    sizes = np.diff(offsets).tolist()
    counted = tuple(range(len(sizes)))
    groups = counted if groups is None else groups
    numbered = {size: tuple(range(size)) for size in set(sizes)}
    options = tuple(numbered[size] for size in sizes) if options is None else options
    if groups == counted and all(names == numbered[len(names)] for names in options):
        return None, None
    return groups, tuple(name for names in options for name in names)


def _axes(table: Any) -> int:
    """2 for a data frame, 1 for a series, 0 for what has no labels."""
    if not hasattr(table, "to_numpy") or not hasattr(table, "shape"):
        return 0
    axes = len(table.shape)
    return axes if axes == 1 or hasattr(table, "columns") else 0


def _order(base: Labels, table: Labels, label: str, base_label: str) -> IntArray | None:
    """Positions in ``table``, group after group, of the entries of ``base``."""
    groups = None
    if base.groups is not None and table.groups is not None:
        groups = _positions(base.groups, table.groups, f"{label}, groups", base_label)
    known: dict[tuple[_Names, _Names], IntArray | None] = {}  # the columns of a frame are looked up once
    options = None
    if base.options is not None and table.options is not None and len(base.options) == len(table.options):
        pairs = list(zip(base.options, table.options, strict=True))
        for group, pair in enumerate(pairs):
            if pair not in known:
                known[pair] = _positions(*pair, f"{label}, options of group {group}", base_label)
        if any(order is not None for order in known.values()):
            options = [known[pair] for pair in pairs]
    if groups is None and options is None:
        return None
    sizes = [len(names) for names in table.options or ()]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = []
    for group, size in enumerate(sizes):
        inside = None if options is None else options[group]
        first = starts[group if groups is None else groups[group]]
        parts.append(first + (np.arange(size) if inside is None else inside))
    return np.concatenate(parts)


def _positions(base: _Names, names: _Names, label: str, base_label: str) -> IntArray | None:
    """Where each name of ``base`` is in ``names``; None if they are the same in the same order."""
    where = {name: position for position, name in enumerate(names)}
    for table, those in ((label, names), (base_label, base)):
        if len(set(those)) < len(those):
            twice = next(name for position, name in enumerate(those) if name in those[:position])
            raise ValueError(f"{table}: the label {twice!r} occurs twice; give arrays (to_numpy()) to go by position")
    missing = [name for name in base if name not in where]
    extra = sorted(set(names) - set(base), key=names.index)
    if missing or extra:
        parts = [f"missing {missing!r}"] * bool(missing) + [f"not in {base_label} {extra!r}"] * bool(extra)
        hint = "give arrays (to_numpy()) to go by position"
        raise ValueError(f"{label}: labels differ from {base_label}: {', '.join(parts)}; {hint}")
    return None if names == base else np.array([where[name] for name in base])

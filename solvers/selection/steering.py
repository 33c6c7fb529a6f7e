"""What a user asks of a search, checked: a gap, a known selection, a number of nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from solvers.arrays import IntArray
from solvers.budgets import Steering
from solvers.results import CertificateError
from solvers.selection.constraints import Rules
from solvers.selection.selection import Selection
from solvers.selection.verification import flat_choices
from solvers.tables import ScoreTable, read_gap


def read_steering(
    table: ScoreTable,
    rules: Rules,
    gap: float | str,
    start: Any,
    node_limit: int | None,
    watch: Callable[[IntArray, float], bool] | None,
) -> Steering:
    """What the user asked of the search, checked; the start in positions of the table.

    Raises:
        ValueError: a gap or limit that is none, a start that is no selection, breaks a rule or does not fit.
    """
    least, share = read_gap(gap, "gap")
    if node_limit is not None and (isinstance(node_limit, bool) or not isinstance(node_limit, int) or node_limit < 1):
        raise ValueError(f"node_limit: expected a whole number of at least 1 or None, got {node_limit!r}")
    flat = None
    if start is not None:
        flat = _positions(table, start)
        if not table.allowed()[flat].all():
            group = int(np.argmin(table.allowed()[flat]))
            raise ValueError(f"start: {table.group_label(group)} takes a forbidden option")
        if (broken := rules.broken(flat, table)) is not None:
            raise ValueError(f"start: {broken}")
        if table.excess(flat) > 0.0:
            spent = table.spent([table.cost(row, flat) for row in range(len(table.costs))])
            raise ValueError(f"start: does not fit ({', '.join(spent)})")
    return Steering(flat, least, share, math.inf if node_limit is None else node_limit, watch)


def _positions(table: ScoreTable, start: Any) -> IntArray:
    """The flat options of a selection that a user gives."""
    if isinstance(start, Selection):
        start = start.by_group if table.groups is not None else start.choices
    if isinstance(start, Mapping):
        groups = range(len(table.offsets) - 1) if table.groups is None else table.groups
        different = sorted(set(groups) ^ set(start), key=repr)
        if different:
            raise ValueError(f"start: expected an option for each group and no other, {different[0]!r} is only in one of them")
        start = [start[group] for group in groups]
    try:
        choices = tuple(start)
        if len(choices) != len(table.offsets) - 1:
            raise ValueError(f"start: expected {len(table.offsets) - 1} options, one a group, got {len(choices)}")
        return flat_choices(choices, table)
    except (CertificateError, TypeError) as error:
        raise ValueError(f"start: {error}") from error

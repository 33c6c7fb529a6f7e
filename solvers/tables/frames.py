"""Data frames in long format, a row an option: columns ``group``, ``option``, ``score``, and a column a cost.

A frame is known by what it offers, so neither pandas nor polars is imported here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

_GROUP, _OPTION, _SCORE = "group", "option", "score"

Nested = dict[Hashable, dict[Hashable, Any]]


def is_long(scores: Any, costs: Any) -> bool:
    """Whether ``scores`` is a frame and ``costs`` names columns of it: one, several, or one for each budget."""
    if not (hasattr(scores, "columns") and hasattr(scores, "shape")):
        return False
    if isinstance(costs, Mapping):
        costs = list(costs.values())
    return isinstance(costs, str) or (isinstance(costs, (list, tuple)) and bool(costs) and all(isinstance(c, str) for c in costs))


def read_long(frame: Any, costs: Any) -> tuple[Nested, Any]:
    """Scores as ``{group: {option: score}}``, and costs in the same form: one table, or ``{budget: table}``.

    Raises:
        ValueError: a column that is not there, no row, or an option that a group has twice.
    """
    rows = {name: name for name in costs} if isinstance(costs, (list, tuple)) else costs
    wanted = [_GROUP, _OPTION, _SCORE, *([rows] if isinstance(rows, str) else rows.values())]
    if missing := [name for name in wanted if name not in frame.columns]:
        raise ValueError(f"scores: the frame has no column {missing[0]!r}; it has {', '.join(map(repr, frame.columns))}")
    groups, options = frame[_GROUP].to_list(), frame[_OPTION].to_list()
    if not groups:
        raise ValueError("scores: the frame has no rows, expected one an option")

    def nested(name: str) -> Nested:
        found: Nested = {}
        for group, option, number in zip(groups, options, frame[name].to_list(), strict=True):
            inner = found.setdefault(group, {})
            if option in inner:
                raise ValueError(f"scores: the frame has option {option!r} of group {group!r} twice")
            inner[option] = number
        return found

    if isinstance(rows, str):
        return nested(_SCORE), nested(rows)
    return nested(_SCORE), {budget: nested(column) for budget, column in rows.items()}

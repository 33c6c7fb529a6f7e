"""Frames in long format: the same answers as nested mappings, in the order of the rows, and what is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest

from solvers import minimize_cost, project_to_budget

ROWS = [
    ("stem", "k3", 0.0, 1.0, 2.0),
    ("stem", "k5", 3.0, 4.0, 1.0),
    ("head", "slim", 0.0, 1.0, 1.0),
    ("head", "wide", 2.0, 2.0, 3.0),
    ("head", "wider", 2.5, 3.0, 3.0),
]
NAMES = ("group", "option", "score", "ms", "MB")


class Column:
    """What pandas and polars columns share."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def to_list(self) -> list[Any]:
        return self.values


class Frame:
    """What their frames share."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.columns, self.shape = list(columns), (len(columns["group"]), len(columns))

    def __getitem__(self, name: str) -> Column:
        return Column(self._columns[name])


def frames(rows: list[tuple[Any, ...]], library: str) -> Any:
    columns = {name: list(values) for name, values in zip(NAMES, zip(*rows, strict=True), strict=True)}
    return Frame(columns) if library == "neither" else pytest.importorskip(library).DataFrame(columns)


def nested(column: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in ROWS:
        found.setdefault(row[0], {})[row[1]] = row[column]
    return found


@pytest.mark.parametrize("library", ["neither", "pandas", "polars"])
def test_a_long_frame_is_read(library: str) -> None:
    frame = frames(ROWS, library)
    one = project_to_budget(frame, "ms", 5.0)
    assert one.by_group == project_to_budget(nested(2), nested(3), 5.0).by_group == {"stem": "k5", "head": "slim"}
    one.verify(frame, "ms", 5.0)
    budgets = {"ms": 6.0, "MB": 4.0}
    two = project_to_budget(frame, ["ms", "MB"], budgets)
    assert two.by_group == project_to_budget(nested(2), {"ms": nested(3), "MB": nested(4)}, budgets).by_group
    assert project_to_budget(frame, {"time": "ms", "size": "MB"}, {"time": 6.0, "size": 4.0}).choices == two.choices
    assert minimize_cost(frame, "ms", at_least=2.0).cost == minimize_cost(nested(2), nested(3), at_least=2.0).cost


@pytest.mark.parametrize(
    ("rows", "costs", "budget", "said"),
    [
        (ROWS, "us", 5.0, "no column 'us'"),
        ([*ROWS, ROWS[0]], "ms", 5.0, "option 'k3' of group 'stem' twice"),
        ([*ROWS[1:], ("stem", "k3", None, 1.0, 2.0)], "ms", 5.0, "k3"),
        (ROWS, ["ms", "MB"], {"ms": 5.0}, "budget"),
        (ROWS, ["ms", "MB"], 5.0, "one for each column of costs, {'ms': ..., 'MB': ...}, got 5.0"),
    ],
)
def test_what_is_wrong_is_named(rows: list[tuple[Any, ...]], costs: Any, budget: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        project_to_budget(frames(rows, "neither"), costs, budget)

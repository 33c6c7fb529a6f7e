"""Frames are read by their labels, and no number is rounded, cast or guessed on the way in."""

from __future__ import annotations

import math
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from solvers import frontier, project_to_budget, unneeded_options
from solvers.tables.labels import Labels, order_by_labels, shown_labels

SCORES = np.array([[1.0, 5.0, 2.0], [4.0, 3.0, 9.0]])
COSTS = np.array([[1.0, 6.0, 2.0], [3.0, 1.0, 8.0]])
ROWS, COLUMNS = ["stem", "head"], ["k3", "k5", "k7"]


class Frame:
    """What the reading asks of a frame; the tests below it hand over real ones."""

    def __init__(self, values: Any, index: Any, columns: Any) -> None:
        self.values, self.index, self.columns, self.shape = np.asarray(values), index, columns, np.shape(values)

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)

    def to_numpy(self, dtype: Any = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)


def pandas_frame(values: Any, index: Any = None, columns: Any = None) -> Any:
    return pytest.importorskip("pandas").DataFrame(np.asarray(values), index=index, columns=columns)


def stand_in(values: Any, index: Any = None, columns: Any = None) -> Any:
    rows, width = np.shape(values)
    return Frame(values, list(range(rows)) if index is None else index, list(range(width)) if columns is None else columns)


@pytest.fixture(params=[stand_in, pandas_frame])
def frame(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("seed", range(8))
def test_a_permuted_cost_frame_costs_what_its_labels_say(frame: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups, options = (int(size) for size in generator.integers(1, 6, 2))
    scores, costs, memory = (generator.random((groups, options)) for _ in range(3))
    names = [f"layer {group}" for group in range(groups)], [f"option {option}" for option in range(options)]
    tables = {}
    for budget, table in (("ms", costs), ("mb", memory)):
        rows, columns = generator.permutation(groups), generator.permutation(options)
        tables[budget] = frame(table[rows][:, columns], [names[0][row] for row in rows], [names[1][c] for c in columns])
    limits = {"ms": 0.6 * groups, "mb": 0.7 * groups}
    limits = {name: limit + table.min(1).sum() for (name, limit), table in zip(limits.items(), (costs, memory), strict=True)}
    expected = project_to_budget(scores, {"ms": costs, "mb": memory}, limits)
    found = project_to_budget(frame(scores, *names), tables, limits)
    assert found.value == expected.value and found.cost == expected.cost
    assert found.choices == tuple(names[1][choice] for choice in expected.choices)
    assert found.by_group == dict(zip(names[0], found.choices, strict=True))
    found.verify(frame(scores, *names), tables, limits)


def test_labels_name_the_answers_and_the_errors(frame: Any) -> None:
    scores, costs = frame(SCORES, ROWS, COLUMNS), frame(COSTS[::-1, ::-1], ROWS[::-1], COLUMNS[::-1])
    assert project_to_budget(scores, costs, 3.0).by_group == {"stem": "k7", "head": "k5"}
    assert frontier(scores, costs).exact(3.0).by_group == {"stem": "k7", "head": "k5"}
    assert frontier(scores, costs).choices(0) == ("k3", "k5")
    assert (
        unneeded_options(scores, costs).dominated
        == unneeded_options(
            *({g: dict(zip(COLUMNS, row, strict=True)) for g, row in zip(ROWS, t, strict=True)} for t in (SCORES, COSTS))
        ).dominated
    )
    bad = COSTS.copy()
    bad[1, 2] = math.nan
    with pytest.raises(ValueError, match="group 'head', option 'k7': the cost is NaN"):
        project_to_budget(scores, frame(bad[::-1, ::-1], ROWS[::-1], COLUMNS[::-1]), 3.0)


@pytest.mark.parametrize(
    ("index", "columns", "message"),
    [
        (["stem", "tail"], COLUMNS, r"costs, groups: labels differ from scores: missing \['head'\], not in scores \['tail'\]"),
        (ROWS, ["k3", "k5", "k9"], r"costs, options of group 0: labels differ .* missing \['k7'\], not in scores \['k9'\]"),
        (None, COLUMNS, r"costs, groups: labels differ from scores: missing \['stem', 'head'\], not in scores \[0, 1\]"),
        (ROWS, None, r"not in scores \[0, 1, 2\]; give arrays \(to_numpy\(\)\) to go by position"),
        (ROWS, ["k3", "k5", "k3"], "costs, options of group 0: the label 'k3' occurs twice"),
    ],
)
def test_other_labels_are_refused_by_name(frame: Any, index: Any, columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_to_budget(frame(SCORES, ROWS, COLUMNS), frame(COSTS, index, columns), 3.0)


def test_labels_that_occur_twice_in_both_are_refused(frame: Any) -> None:
    with pytest.raises(ValueError, match="groups: the label 'a' occurs twice"):
        project_to_budget(frame(SCORES, ["a", "a"], COLUMNS), frame(COSTS, ["a", "a"], COLUMNS), 3.0)


def test_default_labels_and_arrays_go_by_position(frame: Any) -> None:
    for scores, costs in (
        (frame(SCORES), frame(COSTS)),
        (SCORES, frame(COSTS, ROWS, COLUMNS)),
        (frame(SCORES, ROWS, COLUMNS), COSTS),
        (frame(SCORES, ROWS, COLUMNS), COSTS.tolist()),
    ):
        found = project_to_budget(scores, costs, 3.0)
        assert (found.choices, found.groups) == ((2, 1), (0, 1))
    # Counted labels in another order are labels all the same.
    assert project_to_budget(frame(SCORES), frame(COSTS[::-1], [1, 0]), 3.0).choices == (2, 1)
    assert project_to_budget(frame(SCORES[::-1], [1, 0]), frame(COSTS), 3.0).by_group == {1: 1, 0: 2}
    assert project_to_budget(frame(SCORES, ROWS), frame(COSTS, ROWS), 3.0).by_group == {"stem": 2, "head": 1}


def test_frames_beside_an_array_of_scores_must_agree(frame: Any) -> None:
    one, other = frame(COSTS, ROWS, COLUMNS), frame(COSTS[::-1], ROWS[::-1], COLUMNS)
    limits = {"ms": 3.0, "mb": 3.0}
    assert project_to_budget(SCORES, {"ms": one, "mb": one}, limits).choices == (2, 1)
    with pytest.raises(ValueError, match=r"costs\['mb'\]: its labels come in another order than those of costs\['ms'\]"):
        project_to_budget(SCORES, {"ms": one, "mb": other}, limits)


def test_lists_of_series_are_aligned_each() -> None:
    pandas = pytest.importorskip("pandas")
    scores = [pandas.Series([1.0, 5.0], ["a", "b"]), pandas.Series([4.0, 3.0, 9.0], COLUMNS)]
    costs = [pandas.Series([6.0, 1.0], ["b", "a"]), pandas.Series([8.0, 1.0, 3.0], ["k7", "k5", "k3"])]
    assert project_to_budget(scores, costs, 4.0).choices == ("a", "k3")
    with pytest.raises(ValueError, match="options of group 1: labels differ"):
        project_to_budget(scores, [costs[0], pandas.Series([8.0, 1.0, 3.0])], 4.0)
    plain = project_to_budget([row.to_numpy() for row in scores], [[1.0, 6.0], [3.0, 1.0, 8.0]], 4.0)
    assert plain.choices == (0, 0)


def test_polars_frames_are_aligned_by_column() -> None:
    polars = pytest.importorskip("polars")
    scores = polars.DataFrame(dict(zip(COLUMNS, SCORES.T, strict=True)))
    costs = polars.DataFrame(dict(zip(COLUMNS[::-1], COSTS.T[::-1], strict=True)))
    assert project_to_budget(scores, costs, 3.0).by_group == {0: "k7", 1: "k5"}
    with pytest.raises(ValueError, match=r"missing \['k7'\]"):
        project_to_budget(scores, costs.rename({"k7": "k9"}), 3.0)
    with pytest.raises(ValueError, match="float64 cannot hold 9007199254740993"):
        project_to_budget(polars.DataFrame({"a": [2**53 + 1], "b": [0.5]}), [[1.0, 1.0]], 3.0)


def test_frames_with_text_and_mixed_columns(frame: Any) -> None:
    with pytest.raises(ValueError, match="costs: expected real numbers, got the text '1'"):
        project_to_budget(frame(SCORES), frame(COSTS.astype(int).astype(str).astype(object)), 3.0)


def test_pandas_integers_beside_floats_are_not_rounded() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="scores: float64 cannot hold 9007199254740993"):
        project_to_budget(pandas.DataFrame({"a": [2**53 + 1], "b": [0.5]}), [[1.0, 1.0]], 3.0)
    with pytest.raises(ValueError, match="costs: expected real numbers"):
        project_to_budget([[1.0, 2.0]], pandas.DataFrame({"a": ["1"], "b": ["2"]}), 3.0)


@pytest.mark.parametrize(
    "wrap",
    [
        np.array,
        lambda rows: rows,
        lambda rows: [np.array(row) for row in rows],
        lambda rows: np.array(rows, dtype=object),
        torch.tensor,
        lambda rows: [torch.tensor(row) for row in rows],
        lambda rows: [[torch.tensor(number) for number in row] for row in rows],
        lambda rows: {g: dict(enumerate(row)) for g, row in enumerate(rows)},
        lambda rows: np.array(rows, dtype=np.uint64),
        lambda rows: [[*rows[0], 0.5], [*rows[1], 0.5]],
        lambda rows: [[Decimal(number) for number in row] for row in rows],
        lambda rows: [[Fraction(number) for number in row] for row in rows],
        lambda rows: [[np.int64(number) for number in row] + [0.5] for row in rows],
        stand_in,
    ],
)
@pytest.mark.parametrize("odd", [2**53 + 1, 2**60 + 1, 10**17 + 3])
def test_whole_numbers_are_exact_or_refused(wrap: Any, odd: int) -> None:
    for bad in ([[odd, 1], [1, 2]], [[3, 1], [1, odd]]):
        for scores, costs in ((wrap([[1, 2], [3, 4]]), wrap(bad)), (wrap(bad), wrap([[1, 2], [3, 4]]))):
            with pytest.raises(ValueError, match=rf"float64 cannot hold {odd}"):
                project_to_budget(scores, costs, 10)
    ones = wrap([[1, 1], [1, 1]])
    for fine in (2**53, 2**53 - 1, 2**60, 10**16):
        assert project_to_budget(wrap([[fine, 1], [1, 2]]), ones, 10).choices[0] == 0


def test_limits_are_numbers_and_exact() -> None:
    for bad in (2**53 + 1, np.int64(2**53 + 1), torch.tensor(2**53 + 1), Decimal(2**53 + 1)):
        with pytest.raises(ValueError, match="budget: float64 cannot hold 9007199254740993"):
            project_to_budget([[1.0]], [[1.0]], bad)
    for bad in ("5", b"5", np.str_("5"), np.array("5", dtype=object)):
        with pytest.raises(ValueError, match=r"budget: expected real numbers, got .*text"):
            project_to_budget([[1.0]], [[1.0]], bad)
        with pytest.raises(ValueError, match=r"budget 'ms': expected real numbers, got .*text"):
            project_to_budget([[1.0]], {"ms": [[1.0]]}, {"ms": bad})
        for ask in ("value", "price", "exact"):
            with pytest.raises(ValueError, match=r"budget: expected real numbers, got .*text"):
                getattr(frontier([[1.0]], [[1.0]]), ask)(bad)
    assert project_to_budget([[1.0]], [[1.0]], Decimal("1.5")).choices == (0,)


def test_sparse_and_empty_handed_tensors_are_refused() -> None:
    dense = torch.eye(2)
    with warnings.catch_warnings(action="ignore"):  # torch calls them beta
        csr = dense.to_sparse_csr()
    for sparse, layout in ((dense.to_sparse(), "sparse_coo"), (csr, "sparse_csr")):
        with pytest.raises(ValueError, match=rf"costs: expected a dense tensor, got layout torch.{layout}; call its to_dense\(\)"):
            project_to_budget(np.eye(2), sparse, 1)
    with pytest.raises(ValueError, match="scores: group 1: expected a dense tensor"):
        project_to_budget([dense[0], dense[1].to_sparse()], dense, 1)
    with pytest.raises(ValueError, match="costs: expected real numbers, got a tensor that numpy cannot hold"):
        project_to_budget(dense, torch.ones(2, 2, device="meta"), 1)
    with pytest.raises(ValueError, match="scores: expected real numbers, got dtype complex64"):
        project_to_budget(torch.ones(1, 1, dtype=torch.complex64), [[1.0]], 1)


def test_text_in_columns_of_objects_is_refused() -> None:
    for text in ("1", b"1", np.str_("1")):
        with pytest.raises(ValueError, match="scores: expected real numbers, got the text"):
            project_to_budget(np.array([[1.0, text]], dtype=object), [[1.0, 1.0]], 1)
    if hasattr(np.dtypes, "StringDType"):  # from numpy 2.0 on
        with pytest.raises(ValueError, match="scores: expected real numbers, got text"):
            project_to_budget(np.array([["1", "2"]], dtype=np.dtypes.StringDType()), [[1.0, 1.0]], 1)


def test_orders_are_positions_in_the_other_table() -> None:
    base = Labels(("a", "b"), (("x", "y"), ("x", "y")))
    other = Labels(("b", "a"), (("y", "x"), ("y", "x")))
    (order,) = order_by_labels([base, other], ["scores", "costs"])
    assert order is not None and order.tolist() == [3, 2, 1, 0]
    assert order_by_labels([base, base], ["scores", "costs"]) == [None]
    assert shown_labels([base, other], np.array([0, 2, 4])) == (("a", "b"), ("x", "y", "x", "y"))

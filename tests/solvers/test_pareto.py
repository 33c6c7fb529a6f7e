"""Fronts and hypervolumes against the definitions, written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import hypervolume, non_dominated


def dominated(table: np.ndarray, senses: list[bool]) -> np.ndarray:
    """For each row, whether another is at least as good everywhere and better somewhere."""
    better = np.where(senses, table, -table)
    pairs = [[(other >= row).all() and (other > row).any() for other in better] for row in better]
    return np.array(pairs, dtype=bool).reshape(len(table), len(table)).any(1)


def grid_volume(table: np.ndarray, reference: np.ndarray, senses: list[bool]) -> float:
    """The dominated volume cell by cell, over the grid that the points themselves draw."""
    better, worst = np.where(senses, table, -table), np.where(senses, reference, -reference)
    lines = [np.unique(np.append(np.maximum(better[:, d], worst[d]), worst[d])) for d in range(len(worst))]
    total = 0.0
    for cell in itertools.product(*(range(len(line) - 1) for line in lines)):
        top = np.array([lines[d][index + 1] for d, index in enumerate(cell)])
        bottom = np.array([lines[d][index] for d, index in enumerate(cell)])
        if (better >= top).all(1).any():
            total += float(np.prod(top - bottom))
    return total


# Few levels, so that ties and duplicates are common.
tables = st.integers(1, 4).flatmap(
    lambda columns: st.tuples(
        st.lists(st.lists(st.integers(-3, 3), min_size=columns, max_size=columns), min_size=0, max_size=9),
        st.lists(st.booleans(), min_size=columns, max_size=columns),
    )
)


@settings(deadline=None)
@given(tables)
def test_front_is_what_the_definition_says(drawn: tuple[list[list[int]], list[bool]]) -> None:
    rows, senses = drawn
    table = np.array(rows, dtype=float).reshape(len(rows), len(senses))
    kept = non_dominated(rows, senses)
    assert kept.dtype == np.bool_
    assert kept.tolist() == (~dominated(table, senses)).tolist()
    first = non_dominated(rows, senses, keep_duplicates=False)
    seen: set[tuple[int, ...]] = set()
    for row, keep, keep_first in zip(rows, kept.tolist(), first.tolist(), strict=True):
        assert keep_first == (keep and tuple(row) not in seen)
        seen.add(tuple(row))


@settings(deadline=None, max_examples=60)
@given(tables, st.integers(-3, 3))
def test_hypervolume_is_the_dominated_volume(drawn: tuple[list[list[int]], list[bool]], level: int) -> None:
    rows, senses = drawn
    table, reference = np.array(rows, dtype=float).reshape(len(rows), len(senses)), np.full(len(senses), float(level))
    # Sums of products of small integers are exact in any order.
    assert hypervolume(rows, reference, senses) == grid_volume(table, reference, senses)


def test_hypervolume_of_real_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        table, senses = rng.normal(size=(8, 3)), [True, False, True]
        reference = np.array([-1.0, 1.0, -1.0])
        # 1e-12: some hundred products of numbers of order 1, added in another order.
        np.testing.assert_allclose(hypervolume(table, reference, senses), grid_volume(table, reference, senses), rtol=1e-12)


def test_a_front_of_accuracy_and_cost() -> None:
    points = [[91.0, 40.0], [93.0, 80.0], [92.0, 90.0], [93.0, 80.0], [94.0, np.inf]]
    assert non_dominated(points, [True, False]).tolist() == [True, True, False, True, True]
    assert non_dominated(points, [True, False], keep_duplicates=False).tolist() == [True, True, False, False, True]
    # Against (90 %, 100): 1 x 60 for the first, 3 x 20 for the second, less the 1 x 20 they share.
    assert hypervolume(points[:4], [90.0, 100.0], [True, False]) == 60.0 + 60.0 - 20.0


@pytest.mark.parametrize("empty", [[], np.zeros((0, 2))])
def test_no_points(empty: Any) -> None:
    assert non_dominated(empty, [True, False]).shape == (0,)
    assert hypervolume(empty, [0.0, 1.0], [True, False]) == 0.0


@pytest.mark.parametrize(
    ("points", "maximize", "message"),
    [
        ([[1.0, 2.0], [1.0]], [True, False], "expected rows of 2 numbers each"),
        ([[1.0, 2.0], [np.nan, 1.0]], [True, False], "NaN in row 1, column 0"),
        ([[1.0, 2.0]], [True], r"expected \(k, 1\), one column a sense, got shape \(1, 2\)"),
        ([1.0, 2.0], [True, False], r"got shape \(2,\)"),
        ([[1.0, 2.0]], [], "one truth value a column"),
        ([[1.0, 2.0]], [1, 0], "one truth value a column"),
        ([["a", "b"]], [True, False], "expected rows of 2 numbers each"),
    ],
)
def test_malformed_points(points: Any, maximize: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        non_dominated(points, maximize)
    with pytest.raises(ValueError, match=message):
        hypervolume(points, [0.0] * len(maximize), maximize)


def test_malformed_reference() -> None:
    with pytest.raises(ValueError, match=r"expected 2 numbers, one a column, got shape \(3,\)"):
        hypervolume([[1.0, 2.0]], [0.0, 0.0, 0.0], [True, False])
    for points, reference in (([[1.0, np.inf]], [0.0, 0.0]), ([[1.0, 2.0]], [0.0, np.nan])):
        with pytest.raises(ValueError, match="an infinite side has no volume"):
            hypervolume(points, reference, [True, False])

"""Many programs at once give what single calls give: values, costs, bounds and feasibility, whatever the numbers are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import InfeasibleError, project_many, project_to_budget


def compare(scores: Any, costs: Any, budgets: Any, **options: Any) -> None:
    batch = project_many(scores, costs, budgets, **options)
    options.pop("jobs", None)
    limits = np.broadcast_to(budgets, len(scores))
    for program, limit in enumerate(limits.tolist()):
        own = costs if costs.ndim == 2 else costs[program]
        try:
            one = project_to_budget(scores[program], own, limit, **options)
        except InfeasibleError:
            assert not batch.feasible[program] and math.isnan(batch.values[program]) and (batch.choices[program] == -1).all()
            with pytest.raises(InfeasibleError):
                batch[program]
            continue
        assert batch.feasible[program]
        assert batch.values[program] == pytest.approx(one.value, rel=1e-9, abs=1e-9)
        picked = [(own[g, o], scores[program, g, o]) for g, o in enumerate(batch.choices[program].tolist())]
        assert batch.values[program] == pytest.approx(math.fsum(score for _, score in picked), rel=1e-14, abs=1e-14)
        assert batch.costs[program] == pytest.approx(math.fsum(cost for cost, _ in picked), rel=1e-14, abs=1e-14)
        assert batch.costs[program] <= limit or one.certificate.violation > 0.0
        sign = -1.0 if options.get("minimize") else 1.0
        assert sign * batch.bounds[program] >= sign * one.value - 1e-12
        assert batch.bounds[program] == pytest.approx(one.value, rel=2e-9, abs=2e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_a_batch_equals_single_calls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, groups, options = int(rng.integers(1, 9)), int(rng.integers(1, 7)), int(rng.integers(1, 5))
    scores = rng.normal(size=(count, groups, options))
    if rng.random() < 0.5:
        scores = np.rint(2.0 * scores)
    shape = (groups, options) if rng.random() < 0.5 else (count, groups, options)
    costs = np.round(rng.random(shape), int(rng.choice([0, 1, 2, 17])))
    budgets = np.round(rng.random(count) * groups, int(rng.choice([1, 2, 17]))) if rng.random() < 0.7 else 0.4 * groups
    if rng.random() < 0.3:
        scores[rng.random(scores.shape) < 0.1] = -math.inf
        costs[rng.random(shape) < 0.1] = math.inf
    compare(scores, costs, budgets, jobs=int(rng.integers(1, 4)))
    compare(-scores, costs, budgets, minimize=True)


def test_budgets_are_met_to_the_ulp_and_as_decimals() -> None:
    rng = np.random.default_rng(1)
    scores, costs = rng.random((40, 6, 3)), rng.random((6, 3))
    picks = rng.integers(3, size=(40, 6))
    exact = np.array([math.fsum(costs[np.arange(6), pick]) for pick in picks])
    for budgets in (exact, np.nextafter(exact, 0.0)):
        batch = project_many(scores, costs, budgets)
        for program in range(40):
            assert math.fsum(costs[np.arange(6), batch.choices[program]]) <= budgets[program]
        compare(scores, costs, budgets)
    tenths = project_many(np.array([[[0, 1]] * 3]), np.array([[0, 0.1]] * 3), 0.3)
    assert tenths.choices.tolist() == [[1, 1, 1]] and tenths.costs.tolist() == [0.3]


def test_members_are_selections_with_certificates() -> None:
    scores, costs = np.random.default_rng(2).random((5, 4, 3)), np.random.default_rng(3).random((4, 3))
    batch = project_many(torch.tensor(scores), costs.tolist(), 1.6)
    assert len(batch) == len(list(batch)) == 5
    batch[-1].verify(scores[-1], costs, 1.6)
    assert batch[4].choices == tuple(batch.choices[4].tolist())
    with pytest.raises(ValueError, match="read-only"):
        batch.values[0] = 1.0
    with pytest.raises(IndexError):
        batch[5]


def test_a_batch_shows_itself_in_a_line() -> None:
    """It was some pages of arrays before."""
    scores = np.array([[[1.0, 2.0]], [[1.5, 4.0]], [[1.0, 9.0]]])
    assert repr(project_many(scores, np.array([[1.0, 3.0]]), 3.0)) == "Selections: 3 programs; values 2 to 9"
    two = project_many(scores, np.array([[1.0, 3.0]]), np.array([0.5, 3.0, 1.0]))
    assert repr(two) == "Selections: 3 programs, in 1 of which nothing fits; values 1 to 4"
    assert repr(project_many(scores, np.array([[1.0, 3.0]]), 0.5)) == "Selections: 3 programs, in none of which anything fits"


@pytest.mark.parametrize(
    ("scores", "costs", "budgets", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), 1.0, r"scores: expected a \(programs, groups, options\) array, got shape \(2, 3\)"),
        (np.ones((0, 2, 3)), np.ones((2, 3)), 1.0, "scores: expected a"),
        (np.ones((2, 2, 3)), np.ones((3, 2)), 1.0, r"costs: expected the shape \(2, 3\) or \(2, 2, 3\), got \(3, 2\)"),
        (np.ones((2, 2, 3)), np.ones((2, 3)), [1.0] * 3, r"budgets: expected one number or 2 of them, got shape \(3,\)"),
        (np.full((2, 1, 1), math.nan), np.ones((1, 1)), 1.0, r"scores: NaN at \[0, 0, 0\]"),
        (np.ones((2, 1, 1)), -np.ones((1, 1)), 1.0, r"costs: negative at \[0, 0\] \(-1.0\)"),
        (np.ones((2, 1, 1)), np.ones((1, 1)), math.nan, "budgets: expected a number, got NaN"),
        (np.full((1, 1, 1), math.inf), np.ones((1, 1)), 1.0, "the score is inf"),
        (np.array([[["a"]]]), np.ones((1, 1)), 1.0, "scores: expected real numbers"),
    ],
)
def test_malformed_batches_are_named(scores: Any, costs: Any, budgets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_many(scores, costs, budgets)
    with pytest.raises(ValueError, match="jobs: expected"):
        project_many(np.ones((1, 1, 1)), np.ones((1, 1)), 1.0, jobs=0)

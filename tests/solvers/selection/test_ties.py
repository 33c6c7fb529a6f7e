"""The canonical optimum: least cost, then the lowest options, by every path."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import brute_force_constrained, written_cost

from solvers import Status, project_to_budget


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_it_is_the_first_of_all_optima(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, options, budgets = int(rng.integers(1, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    scores = rng.integers(0, 3, (groups, options)) / 10
    costs = {str(j): rng.integers(0, 4, (groups, options)) / 10 for j in range(budgets)}
    limits = {name: round(float(np.median(table, axis=1).sum()), 1) for name, table in costs.items()}
    links: list[Any] = [(0, groups - 1)] if groups > 1 and rng.random() < 0.3 else []
    tables = [list(table) for table in costs.values()]
    ends = [(-math.inf, limit) for limit in limits.values()]
    every = brute_force_constrained(list(np.rint(scores * 10)), tables, ends, links=links)
    if not every:
        return
    best = [pick for value, pick in every if value == every[0][0]]
    first = min(best, key=lambda pick: ([written_cost(table, pick) for table in tables], pick))
    for backend in ("native", "numpy"):
        found = project_to_budget(scores, costs, limits, links=links, canonical=True, backend=backend)  # type: ignore[arg-type]
        assert found.choices == first and found.status is Status.OPTIMAL
        found.verify(scores, costs, limits)
        assert project_to_budget(-scores, costs, limits, links=links, canonical=True, minimize=True).choices == first


def test_paths_agree_on_tied_tables() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, costs = rng.integers(0, 5, (12, 4)), rng.integers(1, 6, (12, 4))
        budget = float(rng.integers(30, 44))
        found = [project_to_budget(scores, costs, budget, canonical=True).choices]
        found.append(project_to_budget(scores, costs, budget, canonical=True, backend="numpy").choices)
        assert found[0] == found[1]
        plain = project_to_budget(scores, costs, budget)
        assert math.fsum(scores[g, o] for g, o in enumerate(found[0])) == plain.value


def test_measured_scores_have_one_optimum() -> None:
    rng = np.random.default_rng(1)
    scores, costs = rng.random((20, 6)), rng.random((20, 6))
    assert project_to_budget(scores, costs, 6.0, canonical=True).choices == project_to_budget(scores, costs, 6.0).choices


def test_only_the_exact_method_is_canonical() -> None:
    with pytest.raises(ValueError, match="canonical: is for the method 'exact', got 'lp'"):
        project_to_budget([[1.0]], [[1.0]], 1.0, method="lp", canonical=True)

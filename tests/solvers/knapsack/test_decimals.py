"""Costs are the decimals people wrote: exact sums, whatever binary makes of them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import brute_force_written, written_cost

from solvers import project_to_budget
from solvers.knapsack.decimals import decimal_places, from_units, whole_units

ONE_GROUP = np.array([0, 3])


@settings(deadline=None, max_examples=300)
@given(st.lists(st.decimals(0, 10**6, places=4, allow_nan=False), min_size=3, max_size=3), st.integers(0, 10))
def test_decimals_are_counted_in_whole_units(numbers: list, more: int) -> None:
    costs = np.array([float(x) for x in numbers])
    places = decimal_places(costs, float(Fraction(more, 8)), ONE_GROUP)
    assert places is not None and places <= 4
    units = whole_units(costs, places)
    assert [Fraction(int(unit), 10**places) for unit in units.tolist()] == [Fraction(x) for x in numbers]
    assert [from_units(unit, places) for unit in units.tolist()] == costs.tolist()


@pytest.mark.parametrize("number", [0.1 + 0.2, 1 / 3, math.nextafter(0.25, 1), 123456.7890123456, 1e-300, 2.0**53 + 2])
def test_measured_numbers_stay_floats(number: float) -> None:
    assert decimal_places(np.array([0.5, number, 1.0]), math.inf, ONE_GROUP) is None
    assert decimal_places(np.array([0.5, 0.25, 1.0]), number, ONE_GROUP) is None


@pytest.mark.parametrize("backend", ["native", "numpy", "highs", "scipy"])
def test_three_tenths_hold_three_options_of_a_tenth(backend: str) -> None:
    best = project_to_budget([[0, 1]] * 3, [[0, 0.1]] * 3, 0.3, backend=backend)
    assert (best.choices, best.value, best.cost) == ((1, 1, 1), 3.0, 0.3)
    best.verify([[0, 1]] * 3, [[0, 0.1]] * 3, 0.3)
    mirrored = project_to_budget([[0, 1]] * 2, [[0.1, 0.1], [0.7, 0.6]], 0.8, backend=backend)  # 0.1 + 0.7 is 0.7999999999999999
    assert mirrored.value == 2.0 and mirrored.cost == 0.7


@pytest.mark.parametrize("backend", ["native", "numpy", "highs"])
@pytest.mark.parametrize("budgets", [1, 2])
def test_an_attained_decimal_budget_keeps_its_optimum(backend: str, budgets: int) -> None:
    rng = np.random.default_rng(20)
    for _ in range(60):
        sizes = rng.integers(1, 4, rng.integers(2, 5)).tolist()
        scores = [rng.random(k) for k in sizes]
        costs = [[np.round(rng.random(k), 2) for k in sizes] for _ in range(budgets)]
        pick = [int(rng.integers(k)) for k in sizes]
        limits = [round(math.fsum(row[o] for row, o in zip(table, pick, strict=True)), 2) for table in costs]
        best = brute_force_written(scores, costs, limits)
        assert best is not None
        named = {str(j): table for j, table in enumerate(costs)}, {str(j): limit for j, limit in enumerate(limits)}
        found = project_to_budget(scores, *named, backend=backend)
        assert found.value == pytest.approx(best[0], rel=1e-12)
        assert found.certificate.violation == 0.0
        for table, limit, cost in zip(costs, limits, found.cost.values(), strict=True):
            assert cost == written_cost(table, found.choices, limit) <= limit
        found.verify(scores, *named)

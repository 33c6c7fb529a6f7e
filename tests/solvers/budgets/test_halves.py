"""Selections that only their last digits tell apart: all of them, against enumeration, and through the front door."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from solvers import Status, project_to_budget
from solvers.budgets import halves
from solvers.budgets.halves import by_halves
from solvers.budgets.scaled import ScaledProgram
from solvers.knapsack import exact_sum


def program(seed: int, groups: int, options: int) -> ScaledProgram:
    """Scores that are the first cost and a bonus of one of three sizes; the second cost has nothing to do with them."""
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, groups, options))
    if seed % 2:
        first = np.round(first, 1)  # many cost the same
    tables = first + 0.1 * rng.integers(1, 4, first.shape), first, second
    limits = [0.6 * table.min(axis=1).sum() + 0.4 * table.max(axis=1).sum() for table in (first, second)]
    offsets = np.arange(0, groups * options + 1, options)
    return ScaledProgram.of(tables[0].ravel(), np.array([first.ravel(), second.ravel()]), np.array(limits), offsets)


@pytest.mark.parametrize("pairs", [4, halves._PAIRS])  # windows that hold a few pairs, and all
@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all_is_found_and_proven(monkeypatch: pytest.MonkeyPatch, seed: int, pairs: int) -> None:
    monkeypatch.setattr(halves, "_PAIRS", pairs)
    monkeypatch.setattr(halves, "_MOST", 1 << 20)
    scaled = program(seed, 6, 4)
    picks = [np.array(pick) + scaled.offsets[:-1] for pick in itertools.product(range(4), repeat=6)]
    fitting = sorted((exact_sum(scaled.values[pick]), tuple(pick)) for pick in picks if scaled.fits(pick))
    best = fitting[-1][0]
    unit = math.ldexp(1.0, scaled.unit - int(scaled.shift[0]))  # of values over that of costs
    for worth, known in (fitting[0], fitting[len(fitting) // 2], fitting[-1]):
        found, bound = by_halves(scaled, 0, np.array([unit, 0.0]), np.array(known), 0.0, time.perf_counter() + 60.0)
        assert (found is None) == (worth == best)
        if found is not None:
            assert scaled.fits(found) and exact_sum(scaled.values[found]) == best
        assert best <= bound <= best + 1e-12 * abs(best)


def test_halves_that_are_too_long_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "_LONGEST", 10)
    scaled = program(0, 6, 4)
    known = np.array([scaled.offsets[g] + int(np.argmin(scaled.rows[4 * g : 4 * g + 4].max(axis=1))) for g in range(6)])
    assert by_halves(scaled, 0, np.array([1.0, 0.0]), known, 0.0, math.inf) == (None, math.inf)


def test_scores_that_follow_a_cost_are_proven_under_two_budgets() -> None:
    """Before, a gap of 2e-7 or more was left after 10 s."""
    rng = np.random.default_rng(8)
    first, second = rng.random((2, 20, 12))
    scores = first + 0.1 * rng.integers(1, 4, first.shape)
    costs = {"a": first, "b": second}
    budget = {name: float(0.7 * table.min(axis=1).sum() + 0.3 * table.max(axis=1).sum()) for name, table in costs.items()}
    found = project_to_budget(scores, costs, budget, time_limit_seconds=20.0)
    assert found.status is Status.OPTIMAL and found.certificate.violation == 0.0
    assert found.certificate.gap is not None and found.certificate.gap <= 1e-9 * found.value

"""Inputs on which the front door once broke its word, one by one; ``test_fuzz`` draws their kinds."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from solvers import InfeasibleError, Status, project_to_budget, shadow_prices
from solvers.budgets.rational import maximize_exactly

PATHS = ["native", "numpy"]
TINY = 5e-324


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("least", "penalty"), [(1e-5, 1e12), (1e-3, 1e13)])
def test_an_option_that_cannot_fit_blurs_nothing(path: str, least: float, penalty: float) -> None:
    best = project_to_budget([[0.0, least, penalty]], [[0.0, 1.0, 100.0]], 1.0, backend=path)
    assert (best.value, best.certificate.gap, best.status) == (least, 0.0, Status.OPTIMAL)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("penalty", [1e6, 1e9, 1e12, 1e13])
def test_a_penalty_on_the_cheapest_option_blurs_nothing(path: str, penalty: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        losses, costs = np.sort(rng.random((5, 4)), 1)[:, ::-1].copy(), np.sort(rng.random((5, 4)), 1)
        losses[:, 0] = penalty
        least = costs[:, 1].sum()
        budget = float(least + 0.3 * (costs[:, 3].sum() - least))
        picks = itertools.product(range(1, 4), repeat=5)
        best = min(sum(losses[range(5), p]) for p in picks if math.fsum(costs[range(5), p]) <= budget)
        found = project_to_budget(losses, costs, budget, minimize=True, backend=path)
        assert found.value == pytest.approx(best, rel=1e-12) and found.status is Status.OPTIMAL


@pytest.mark.parametrize("method", ["exact", "lp", "greedy"])
def test_an_attained_budget_is_never_called_infeasible(method: str) -> None:
    scores = [[0.3, 0.16], [0.7]]
    costs = {
        "a": [[74148.18455655512, 0.14032969812424168], [8756.912623588752]],
        "b": [[0.9795787482533108, 5.365507681544543e-13], [26887013.36946363]],
    }
    budget = {"a": 13135.579429930316, "b": 26887013.36946363}  # b is met by its rounded sum, to the bit
    assert project_to_budget(scores, costs, budget, method=method).choices == (1, 0)


@pytest.mark.parametrize("method", ["exact", "lp", "greedy", "argmax"])
@pytest.mark.parametrize(
    ("costs", "budget", "most"),
    [
        ({"a": [[0.0, TINY]], "b": [[1.0, 0.0]]}, {"a": TINY, "b": 1.0}, 1.0),
        ({"a": [[0.0, TINY]], "b": [[1.0, 0.0]]}, {"a": 0.0, "b": 1.0}, 0.0),
        ({"a": [[0.0, 1e-310]], "b": [[1e-310, 0.0]]}, {"a": 2e-310, "b": 1e-310}, 1.0),
    ],
)
def test_budgets_too_small_to_divide_by(method: str, costs: dict, budget: dict, most: float) -> None:
    found = project_to_budget([[0.0, 1.0]], costs, budget, method=method)
    assert found.value <= most or found.status is Status.VIOLATED
    assert method != "exact" or found.value == most


def test_prices_of_a_relaxation_that_fits_nothing_are_refused() -> None:
    costs = {"a": [[3.0, 1.0, 3.0]], "b": [[1.0, 2.0, 3.0]], "c": [[0.0, 3.0, 0.0]]}
    with pytest.raises(InfeasibleError):
        shadow_prices([[0.0, 2.0, 1.0]], costs, {"a": 2.0, "b": 2.0, "c": 1.0})


def _relaxed(scores: list, costs: list, budgets: list) -> Fraction | None:
    """The value of the relaxation in exact fractions."""
    n, at, rows = sum(map(len, scores)), 0, []
    for row in scores:
        rows.append([1.0 if at <= j < at + len(row) else 0.0 for j in range(n)])
        at += len(row)
    rows += [[x for row in table for x in row] for table in costs]
    found = maximize_exactly([x for row in scores for x in row], rows, [1] * len(scores) + budgets, len(scores))
    return None if found is None else found[1]


def test_prices_are_the_slopes_of_the_relaxation() -> None:
    """On small whole numbers, where vertices are degenerate, against exact fractions on both sides of the budget."""
    step = Fraction(1, 10**7)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 5, rng.integers(1, 4)).tolist()
        scores = [rng.integers(0, 3, k).astype(float).tolist() for k in sizes]
        costs = [[rng.integers(0, 4, k).astype(float).tolist() for k in sizes] for _ in range(2)]
        budgets = rng.integers(0, 3 * len(sizes), 2).astype(float).tolist()
        value = _relaxed(scores, costs, budgets)
        if value is None:
            with pytest.raises(InfeasibleError):
                shadow_prices(scores, dict(enumerate(costs)), dict(enumerate(budgets)))
            continue
        for row, price in shadow_prices(scores, dict(enumerate(costs)), dict(enumerate(budgets))).items():
            up, down = list(budgets), list(budgets)
            up[row], down[row] = Fraction(up[row]) + step, Fraction(down[row]) - step
            below = _relaxed(scores, costs, down) if down[row] >= 0 else None
            assert price.more == pytest.approx(float((_relaxed(scores, costs, up) - value) / step), abs=1e-6)
            assert price.less == (math.inf if below is None else pytest.approx(float((value - below) / step), abs=1e-6))
            assert price.used <= budgets[row]


def test_the_rational_simplex_method_agrees_with_scipy() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, m, equal = 6, 4, int(rng.integers(0, 3))
        objective, rows, right = rng.integers(-3, 4, n), rng.integers(0, 4, (m, n)), rng.integers(-1, 6, m)
        rows[-1] += 1  # bounded
        found = maximize_exactly(objective.tolist(), rows.tolist(), right.tolist(), equal)
        other = linprog(-objective, rows[equal:], right[equal:], rows[:equal] if equal else None, right[:equal] if equal else None)
        assert (found is None) == (other.status == 2)
        if found is not None:
            assert float(found[1]) == pytest.approx(-other.fun, abs=1e-9)


@pytest.mark.parametrize("seconds", [math.inf, 1e12, 1e-9])
def test_any_time_limit_is_taken(seconds: float) -> None:
    found = project_to_budget([[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]], 5.0, time_limit_seconds=seconds)
    assert found.certificate.violation == 0.0 and (seconds < 1.0 or found.value == 3.0)


def test_a_time_limit_holds_with_many_budgets() -> None:
    rng = np.random.default_rng(1)
    costs, scores = rng.random((40, 100, 10)), rng.random((100, 10))
    limits = costs.mean(axis=(1, 2)) * 100
    data = scores, dict(enumerate(costs)), dict(enumerate(limits.tolist()))
    project_to_budget(*data, time_limit_seconds=0.2)  # compiles
    began = time.process_time()
    found = project_to_budget(*data, time_limit_seconds=0.5)
    assert time.process_time() - began < 0.5 * 1.1 + 0.05 + 0.2  # reading 40 tables is no part of the limit
    assert found.status is Status.TIME_LIMIT and found.certificate.violation == 0.0
    assert found.certificate.bound is not None and found.certificate.bound >= found.value


def test_a_limit_of_a_millisecond_comes_back_with_something() -> None:
    rng = np.random.default_rng(0)
    costs, scores = rng.random((8, 150, 6)), rng.random((150, 6))
    data = scores, dict(enumerate(costs)), {row: float(table.mean() * 135) for row, table in enumerate(costs)}
    greedy = project_to_budget(*data, method="greedy")
    found = project_to_budget(*data, time_limit_seconds=1e-3)
    assert found.certificate.violation == 0.0 and found.value >= greedy.value


def test_what_tolerances_cannot_tell_apart_is_left_to_the_native_search() -> None:
    found = project_to_budget([[0.45, 0.88, 0.52]] * 6, [[0.3, 0.87, 0.37]] * 6, 3.0799999999999996, backend="highs")
    assert (
        found.status is Status.OPTIMAL
        and found.value == project_to_budget([[0.45, 0.88, 0.52]] * 6, [[0.3, 0.87, 0.37]] * 6, 3.0799999999999996).value
    )


def test_time_runs_out_for_the_canonical_one_only() -> None:
    rng = np.random.default_rng(0)
    data = rng.random((80, 6)), rng.random((80, 6)), 30.0
    found = project_to_budget(*data, canonical=True, time_limit_seconds=5e-3)
    assert found.value == pytest.approx(project_to_budget(*data).value, rel=1e-9)

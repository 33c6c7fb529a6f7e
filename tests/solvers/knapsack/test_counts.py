"""The most probable counts are those of brute force and of the exact knapsack over every composition; bounds are bounds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import compositions

from solvers.knapsack import Knapsack, most_probable_counts, solve_exact
from solvers.results import Status


def log_probability(counts: np.ndarray, weights: np.ndarray) -> float:
    logs = weights - np.log(np.exp(weights).sum())
    return math.fsum(
        [math.lgamma(counts.sum() + 1.0)]
        + [-math.lgamma(a + 1.0) + (a * w if a else 0.0) for a, w in zip(counts, logs, strict=True)]
    )


def brute_force(weights: list[np.ndarray], units: list[int], costs: list[np.ndarray], budget: float) -> float:
    values, prices = np.zeros(1), np.zeros(1)
    for n, w, c in zip(units, weights, costs, strict=True):
        rows = np.array(list(compositions(n, len(w))), dtype=float)
        values = np.add.outer(values, [log_probability(row, w) for row in rows]).ravel()
        prices = np.add.outer(prices, rows @ c).ravel()  # exact where costs are whole; others meet no budget by a rounding
    return float(values[prices <= budget].max(initial=-math.inf))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3), st.booleans())
@settings(deadline=None, max_examples=80)
def test_brute_force(seed: int, layers: int, options: int, whole: bool) -> None:
    generator = np.random.default_rng(seed)
    units = generator.integers(1, 6, layers).tolist()
    weights = [3 * generator.normal(size=options) for _ in units]
    # Whole costs make ties and budgets that are met to the last unit; also equal costs within a layer.
    costs = [generator.integers(0, 6, options).astype(float) if whole else 5 * generator.random(options) for _ in units]
    least = math.fsum(n * float(c.min()) for n, c in zip(units, costs, strict=True))
    most = math.fsum(n * float(c.max()) for n, c in zip(units, costs, strict=True))
    budget = float(round(generator.uniform(least - 1, most + 1))) if whole else float(generator.uniform(least, most)) + 1e-9
    found = most_probable_counts(weights, units, costs, budget)
    expected = brute_force(weights, units, costs, budget)
    if expected == -math.inf:
        assert found.status is Status.INFEASIBLE
        assert found.x is None
        assert f"the budget is {budget}, the least possible cost is {least}" in found.message
        return
    assert found.status is Status.OPTIMAL
    assert found.x is not None
    assert found.certificate is not None
    parts = np.split(found.x, layers)
    assert [part.sum() for part in parts] == units
    assert math.fsum(float(a @ c) for a, c in zip(parts, costs, strict=True)) <= budget
    # What OPTIMAL promises: 1e-9 of the value.
    tolerance = 1e-9 * max(1.0, abs(expected))
    assert found.certificate.primal == pytest.approx(expected, abs=tolerance)
    assert math.fsum(log_probability(a, w) for a, w in zip(parts, weights, strict=True)) == pytest.approx(
        found.certificate.primal, abs=1e-10 * max(1.0, abs(expected))
    )
    assert found.certificate.bound is not None
    assert found.certificate.bound >= expected - tolerance
    assert found.certificate.dual is not None
    assert found.certificate.dual[0] >= 0


@pytest.mark.parametrize("seed", range(6))
def test_the_exact_knapsack_over_every_composition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    units = [12, 16, 16, 24]
    every = [np.array(list(compositions(n, 4)), dtype=float) for n in units]
    weights = [2 * generator.normal(size=4) for _ in units]
    costs = [generator.random(4) * 10 for _ in units]
    budget = math.fsum(n * float(np.quantile(c, generator.uniform(0.05, 0.6))) for n, c in zip(units, costs, strict=True))
    values = np.concatenate([[log_probability(a, w) for a in rows] for rows, w in zip(every, weights, strict=True)])
    prices = np.concatenate([(rows * c).sum(1) for rows, c in zip(every, costs, strict=True)])
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in every])])
    exact = solve_exact(Knapsack.of(values, prices, offsets), budget)
    found = most_probable_counts(weights, units, costs, budget)
    assert found.status is exact.status is Status.OPTIMAL
    assert found.certificate is not None
    assert found.certificate.primal == pytest.approx(exact.value, abs=2e-9 * max(1.0, abs(exact.value)))  # both promise 1e-9
    assert found.iterations < len(values) / 3, "only compositions near the best are enumerated"


def test_the_size_of_resnet() -> None:
    generator = np.random.default_rng(0)
    units = [16] * 7 + [32] * 6 + [64] * 6
    weights = [generator.normal(size=4) for _ in units]
    costs = [np.array([4.0, 8.0, 9.0, 64.0]) * generator.uniform(0.5, 2) for _ in units]
    means = [np.exp(w) / np.exp(w).sum() for w in weights]
    budget = 0.5 * math.fsum(n * float(p @ c) for n, p, c in zip(units, means, costs, strict=True))
    found = most_probable_counts(weights, units, costs, budget).require_feasible()
    assert found.status is Status.OPTIMAL
    assert found.iterations < 20_000  # of 297000 compositions


def test_without_a_binding_budget_it_is_the_mode() -> None:
    weights = np.log([0.1, 0.2, 0.7])
    found = most_probable_counts([weights], [10], [np.ones(3)], math.inf)
    assert found.x is not None
    assert found.x.tolist() == [1.0, 2.0, 7.0]
    assert found.certificate is not None
    assert found.certificate.gap == 0.0
    assert found.certificate.dual is not None
    assert found.certificate.dual.tolist() == [0.0]


def test_forbidden_options_and_the_cheapest_budget() -> None:
    weights, costs = [np.array([0.0, -np.inf, 1.0])], [np.array([2.0, 0.0, 5.0])]
    found = most_probable_counts(weights, [4], costs, 8.0)
    assert found.x is not None
    assert found.x.tolist() == [4.0, 0.0, 0.0]
    assert most_probable_counts(weights, [4], costs, math.nextafter(8.0, 0.0)).status is Status.INFEASIBLE


def test_budgets_of_decimal_fractions_are_held_to_the_decimals() -> None:
    # In floats three times 0.1 is 0.30000000000000004, as decimals it is 0.3.
    weights, costs = [np.array([0.0, 1.0])] * 3, [np.array([0.0, 0.1])] * 3
    for enough in (float(Fraction(0.1) * 3), 0.3):
        found = most_probable_counts(weights, [1, 1, 1], costs, enough)
        assert found.x is not None
        assert found.x.tolist() == [0.0, 1.0] * 3
    below = most_probable_counts(weights, [1, 1, 1], costs, math.nextafter(0.3, 0.0))
    assert below.x is not None
    assert below.x.sum() == 3
    assert below.x[1::2].sum() == 2


def test_a_budget_that_is_the_decimal_sum_is_feasible() -> None:
    found = most_probable_counts([[0]], [3], [[0.1]], 0.3).require_feasible()
    assert found.status is Status.OPTIMAL and found.x.tolist() == [3.0]
    # As before where the last digit says less.
    short = most_probable_counts([[0]], [3], [[0.1]], 0.29)
    assert short.status is Status.INFEASIBLE and "the budget is 0.29, the least possible cost is 0.3" in short.message
    scaled, plain = (most_probable_counts([[0, 1]], [9], [[unit, 4 * unit]], 21 * unit) for unit in (0.1, 1.0))
    assert scaled.certificate is not None and plain.certificate is not None
    assert scaled.x.tolist() == plain.x.tolist() == [5.0, 4.0]  # type: ignore[union-attr]
    assert scaled.certificate.dual[0] == pytest.approx(10 * plain.certificate.dual[0], rel=1e-12)  # type: ignore[index]


@pytest.mark.parametrize("seed", range(60))
def test_attained_decimal_budgets_against_brute_force_in_whole_numbers(seed: int) -> None:
    generator = np.random.default_rng(seed)
    layers, options, places = (int(generator.integers(low, high)) for low, high in ((1, 4), (1, 4), (1, 4)))
    units = generator.integers(1, 6, layers).tolist()
    weights = [generator.normal(size=options) for _ in units]
    whole = [generator.integers(0, 10**places, options).astype(float) for _ in units]
    spread = [generator.multinomial(n, np.full(options, 1 / options)) for n in units]
    attained = sum(float(a @ c) for a, c in zip(spread, whole, strict=True))
    found = most_probable_counts(weights, units, [c / 10**places for c in whole], attained / 10**places)
    assert found.status is Status.OPTIMAL and found.certificate is not None and found.x is not None
    expected = brute_force(weights, units, whole, attained)
    assert found.certificate.primal == pytest.approx(expected, abs=1e-9 * max(1.0, abs(expected)))
    assert sum(float(a @ c) for a, c in zip(np.split(found.x, layers), whole, strict=True)) <= attained


@pytest.mark.parametrize("seed", range(60))
def test_measured_costs_whose_rounded_least_is_the_budget_are_feasible(seed: int) -> None:
    """Layers of several operations of one cost: whatever counts a layer takes cost the same, and their exact sum fits."""
    generator = np.random.default_rng(seed)
    units = generator.integers(1, 40, 3).tolist()
    costs = [np.full(3, generator.random()) for _ in units]
    weights = [generator.normal(size=3) for _ in units]
    least = float(sum(n * Fraction(float(c[0])) for n, c in zip(units, costs, strict=True)))
    found = most_probable_counts(weights, units, costs, least)
    mode = most_probable_counts(weights, units, costs, math.inf)
    assert found.status is Status.OPTIMAL and found.certificate is not None and mode.certificate is not None
    assert found.certificate.primal == pytest.approx(mode.certificate.primal, abs=1e-9)
    below = most_probable_counts(weights, units, costs, math.nextafter(least, 0.0))
    assert below.status is Status.INFEASIBLE


def test_layers_of_very_different_cost() -> None:
    # One dear layer decides, and its steps leave a duality gap. Within such a gap lie 37000 compositions of the cheap layers in the
    # second of these programs; few of them are undominated.
    for seed in range(10):
        generator = np.random.default_rng(seed)
        costs = [generator.random(6) * scale for scale in (1e-3, 1e-2, 1.0, 1e5, 1e6)]
        weights = [0.1 * generator.normal(size=6) for _ in costs]
        least, most = (math.fsum(40 * float(pick(c)) for c in costs) for pick in (np.min, np.max))
        found = most_probable_counts(weights, [40] * 5, costs, least + 1e-4 * (most - least))
        assert found.status is Status.OPTIMAL
        assert found.iterations < 5_000


def test_few_options_leave_a_true_gap() -> None:
    generator = np.random.default_rng(1)
    weights = [generator.normal(size=4) for _ in range(6)]
    costs = [generator.random(4) for _ in range(6)]
    budget = math.fsum(20 * float(np.median(c)) for c in costs) * 0.8
    full = most_probable_counts(weights, [20] * 6, costs, budget)
    cut = most_probable_counts(weights, [20] * 6, costs, budget, option_limit=1)
    assert full.certificate is not None
    assert cut.certificate is not None
    assert cut.x is not None
    assert cut.status is Status.FEASIBLE
    assert cut.certificate.bound is not None
    assert cut.certificate.primal <= full.certificate.primal <= cut.certificate.bound
    assert math.fsum(float(a @ c) for a, c in zip(np.split(cut.x, 6), costs, strict=True)) <= budget


def test_messages() -> None:
    one = [np.zeros(2)]
    with pytest.raises(ValueError, match="as many weights, units and costs, got 1, 2 and 1"):
        most_probable_counts(one, [1, 2], [np.ones(2)], 1.0)
    with pytest.raises(ValueError, match=r"layer 0: expected log weights and costs of one shape, got \(2,\) and \(3,\)"):
        most_probable_counts(one, [1], [np.ones(3)], 1.0)
    with pytest.raises(ValueError, match="at least one above it"):
        most_probable_counts([np.full(2, -np.inf)], [1], [np.ones(2)], 1.0)
    with pytest.raises(ValueError, match="whole number of units, at least 1, got 0"):
        most_probable_counts(one, [0], [np.ones(2)], 1.0)
    with pytest.raises(ValueError, match="finite and not negative"):
        most_probable_counts(one, [1], [np.array([1.0, -1.0])], 1.0)
    with pytest.raises(ValueError, match="got NaN"):
        most_probable_counts(one, [1], [np.ones(2)], math.nan)
    with pytest.raises(ValueError, match="budget: expected a number, got str"):
        most_probable_counts(one, [1], [np.ones(2)], "2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer 0: sums of costs overflow"):
        most_probable_counts(one, [3], [np.array([1.0, 1e308])], 2.0)

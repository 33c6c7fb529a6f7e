"""Frontiers, shadow prices and unneeded options against brute force and against the relaxation by HiGHS."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import FAMILIES, brute_force_written, highs_lp, random_options, written_cost

from solvers import InfeasibleError, frontier, project_to_budget, shadow_prices, unneeded_options

Tables = tuple[list[np.ndarray], list[np.ndarray]]


@st.composite
def tables(draw: st.DrawFn) -> Tables:
    """Small tables full of ties: scores and costs from few numbers."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    numbers = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 3.0])
    rows = [draw(st.lists(numbers, min_size=size, max_size=size)) for size in sizes + sizes]
    half = len(sizes)
    return [np.array(row) for row in rows[:half]], [np.array(row) for row in rows[half:]]


def selections(costs: list[np.ndarray]) -> list[float]:
    """The cost of every selection: the budgets at which anything can change."""
    return sorted({written_cost(costs, pick) for pick in itertools.product(*map(_indices, costs))})


def _indices(row: np.ndarray) -> range:
    return range(len(row))


@settings(deadline=None, max_examples=80)
@given(tables())
def test_every_point_of_the_frontier_is_an_exact_optimum(data: Tables) -> None:
    scores, costs = data
    curve = frontier(scores, costs)
    assert (np.diff(curve.budgets) > 0).all() and (np.diff(curve.prices) <= 0).all() and curve.prices[-1] == 0.0
    for point, (budget, value) in enumerate(zip(curve.budgets.tolist(), curve.values.tolist(), strict=True)):
        choices = curve.choices(point)
        assert written_cost(costs, choices) == budget
        assert math.fsum(row[o] for row, o in zip(scores, choices, strict=True)) == value
        best = brute_force_written(scores, [costs], [budget])
        assert best is not None and abs(best[0] - value) <= 1e-12  # sums of a few numbers of size 1
    for budget in selections(costs):
        best = brute_force_written(scores, [costs], [budget])
        assert best is not None and best[0] <= curve.value(budget) + 1e-12
        assert curve.exact(budget).value == pytest.approx(best[0], abs=1e-12)
    with pytest.raises(InfeasibleError, match="least possible cost"):
        curve.value(curve.budgets[0] - 0.05)


def test_a_frontier_shows_itself_in_a_line() -> None:
    curve = frontier([[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]])
    assert repr(curve) == "Frontier: 3 points, budgets 2 to 6, values 0 to 5"
    assert repr(frontier([[1.5]], [[1.0]])) == "Frontier: 1 point, budgets 1 to 1, values 1.5 to 1.5"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_frontier_is_the_value_of_the_relaxation(family: str) -> None:
    rng = np.random.default_rng(FAMILIES.index(family))
    scores, costs = random_options(rng, [5] * 6, family)
    curve = frontier(scores, costs)
    losses = frontier([-row for row in scores], costs, minimize=True)
    assert np.array_equal(losses.budgets, curve.budgets) and np.array_equal(losses.values, -curve.values)
    size = 1.0 + sum(np.abs(row).max() for row in scores)
    for share in (0.0, 0.1, 0.37, 0.8, 1.0, 1.5):
        budget = float(curve.budgets[0] + share * (curve.budgets[-1] - curve.budgets[0]))
        reference = highs_lp(scores, [costs], [budget + 1e-12])  # HiGHS's own tolerance is 1e-7 of a row
        assert reference is not None and abs(curve.value(budget) - reference) <= 1e-6 * size
        assert losses.value(budget) == -curve.value(budget)


def test_prices_are_the_one_sided_slopes_of_the_frontier() -> None:
    scores, costs = [np.array([0.0, 3.0, 4.0])], [np.array([1.0, 2.0, 4.0])]
    curve = frontier(scores, costs)
    assert curve.budgets.tolist() == [1.0, 2.0, 4.0] and curve.prices.tolist() == [3.0, 0.5, 0.0]
    at = [curve.price(budget) for budget in (1.0, 1.5, 2.0, 3.0, 4.0, 9.0)]
    assert [(price.more, price.less) for price in at] == [
        (3.0, math.inf),
        (3.0, 3.0),
        (0.5, 3.0),
        (0.5, 0.5),
        (0.0, 0.5),
        (0.0, 0.0),
    ]
    assert [price.used for price in at] == [1.0, 1.5, 2.0, 3.0, 4.0, 4.0]
    assert shadow_prices(scores, costs, 2.0) == at[2]


def test_shadow_prices_of_several_budgets_are_slopes_of_the_relaxation() -> None:
    rng = np.random.default_rng(1)
    kinks = 0
    for index in range(24):
        scores, first = random_options(rng, [4] * 5, ("uniform", "duplicates", "integer")[index % 3])
        second = [rng.integers(0, 4, len(row)) * 0.5 for row in first]
        costs = {"ms": first, "MB": second}
        limits = {"ms": 0.5 * sum(row.max() for row in first), "MB": 0.5 * sum(row.max() for row in second)}
        if highs_lp(scores, [first, second], list(limits.values())) is None:
            with pytest.raises(InfeasibleError, match="not all together"):
                shadow_prices(scores, costs, limits)
            continue
        prices = shadow_prices(scores, costs, limits)
        assert isinstance(prices, dict)

        def value(ms: float, mb: float, scores: list[np.ndarray] = scores, costs: dict = costs) -> float:
            answer = highs_lp(scores, [costs["ms"], costs["MB"]], [ms, mb])
            return -math.inf if answer is None else answer  # a budget at its least: less of it costs everything

        here, step = value(limits["ms"], limits["MB"]), 1e-4
        for name, price in prices.items():
            assert 0.0 <= price.more <= price.less + 1e-9
            moved = [value(limits["ms"] + d * (name == "ms"), limits["MB"] + d * (name == "MB")) for d in (step, -step)]
            # The value is concave: chords lie between the slopes; over so short a step they equal them but for kinks just beside.
            # 1e-3 covers HiGHS's 1e-7 over the step of 1e-4.
            assert (moved[0] - here) / step <= price.more + 2e-3 and (here - moved[1]) / step >= price.less - 2e-3
            if price.less > price.more + 1e-6:
                kinks += 1
            assert (moved[0] - here) / step >= price.more - 2e-3 and (here - moved[1]) / step <= price.less + 2e-3
    assert kinks > 0


@settings(deadline=None, max_examples=60)
@given(tables())
def test_dominated_options_are_never_missed(data: Tables) -> None:
    scores, costs = data
    found = unneeded_options(scores, costs)
    for (group, option), (other_group, other) in found.dominated.items():
        assert group == other_group and (group, other) not in found.dominated
        assert costs[group][other] <= costs[group][option] and scores[group][other] >= scores[group][option]
    without_one = [
        np.array([-math.inf if (g, o) in found.dominated else s for o, s in enumerate(row)]) for g, row in enumerate(scores)
    ]
    unused = set(found.dominated) | set(found.mixed)
    hull = [np.array([-math.inf if (g, o) in unused else s for o, s in enumerate(row)]) for g, row in enumerate(scores)]
    for budget in selections(costs):
        best = brute_force_written(scores, [costs], [budget])
        again = brute_force_written([np.where(np.isfinite(row), row, -1e9) for row in without_one], [costs], [budget])
        assert best is not None and again is not None and abs(best[0] - again[0]) <= 1e-12
    # The relaxation needs nothing but the hull, and of that everything: each option is chosen at some point of the frontier.
    curve, other_curve = frontier(scores, costs), frontier(hull, costs)
    assert np.array_equal(curve.budgets, other_curve.budgets) and np.array_equal(curve.values, other_curve.values)
    chosen = {(g, o) for point in range(len(curve.budgets)) for g, o in enumerate(curve.choices(point))}
    assert chosen == {(g, o) for g, row in enumerate(scores) for o in range(len(row))} - unused


def test_unneeded_options_of_two_budgets() -> None:
    rng = np.random.default_rng(2)
    both = 0
    for _ in range(20):
        scores, first = random_options(rng, [6] * 3, "uniform")
        second = [rng.random(len(row)) for row in first]
        found = unneeded_options(scores, {"ms": first, "MB": second})
        unused = set(found.dominated) | set(found.mixed)
        both += bool(found.dominated) and bool(found.mixed)
        needed = [np.array([-1e3 if (g, o) in unused else s for o, s in enumerate(row)]) for g, row in enumerate(scores)]
        kept = [np.array([-1e3 if (g, o) in found.dominated else s for o, s in enumerate(row)]) for g, row in enumerate(scores)]
        for share in rng.uniform(0.2, 0.9, (6, 2)):
            limits = [share[0] * sum(row.max() for row in first), share[1] * sum(row.max() for row in second)]
            exact, without = (
                brute_force_written(scores, [first, second], limits),
                brute_force_written(kept, [first, second], limits),
            )
            assert (exact is None and without is None) or (exact is not None and without is not None and exact[0] == without[0])
            relaxed, hull = highs_lp(scores, [first, second], limits), highs_lp(needed, [first, second], limits)
            assert (relaxed is None) == (hull is None)
            if relaxed is not None and hull is not None:
                assert abs(relaxed - hull) <= 1e-7  # HiGHS's tolerance, and 1e-9 of what counts as a tie
    assert both > 0


def test_names_and_forbidden_options() -> None:
    scores = {"stem": {"k3": 1.0, "k5": 2.0}, "head": {"small": 0.0, "wide": 1.0, "huge": 1.0}}
    costs = {"stem": {"k3": 1.0, "k5": 3.0}, "head": {"small": 1.0, "wide": 2.0, "huge": math.inf}}
    curve = frontier(scores, costs)
    assert [curve.choices(point) for point in range(3)] == [("k3", "small"), ("k3", "wide"), ("k5", "wide")]
    assert curve.exact(5.0).by_group == project_to_budget(scores, costs, 5.0).by_group
    assert unneeded_options(scores, costs).dominated == {}  # what is forbidden is not in question
    costs["head"]["huge"] = 2.5
    assert unneeded_options(scores, costs).dominated == {("head", "huge"): ("head", "wide")}
    two = {"ms": costs, "MB": {"stem": {"k3": 1.0, "k5": 1.0}, "head": {"small": 1.0, "wide": 2.0, "huge": 1.0}}}
    assert unneeded_options(scores, two).dominated == {}
    prices = shadow_prices(scores, two, {"ms": 3.5, "MB": 9.0})
    assert isinstance(prices, dict) and set(prices) == {"ms", "MB"} and prices["MB"].more == prices["MB"].less == 0.0
    with pytest.raises(ValueError, match="NaN"):
        curve.price(math.nan)
    with pytest.raises(InfeasibleError, match="every option is forbidden"):
        frontier({"a": {"x": 1.0}}, {"a": {"x": math.inf}})


def test_a_bound_from_below_is_refused_and_not_ignored() -> None:
    with pytest.raises(ValueError, match="from below have no shadow price"):
        shadow_prices([[0.0, 3.0]], [[1.0, 4.0]], (2.0, 5.0))

"""The multiple-choice knapsack against brute force and HiGHS: values, strict budgets, vertices, duals, invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import FAMILIES, brute_force, highs_lp, highs_milp, random_options, sizes_to_offsets

from solvers.kernels import NativeBackend
from solvers.knapsack import Increments, Knapsack, core, exact_sum, greedy, increments, relax, solve_exact
from solvers.knapsack.hulls import undominated
from solvers.knapsack.program import lagrangian_bound
from solvers.results import Status

# What "exact" promises (issue of the library: a certified gap of 1e-9 max(1, |value|)).
EXACT = 1e-9
# Sums of a few dozen numbers of size one, in another order.
ROUNDING = 1e-12
both_paths = pytest.mark.parametrize("path", ["native", "numpy"])


def make(rng: np.random.Generator, family: str, groups: int, most: int) -> tuple[list[np.ndarray], list[np.ndarray], Knapsack]:
    scores, costs = random_options(rng, rng.integers(1, most + 1, groups).tolist(), family)
    offsets = sizes_to_offsets([len(row) for row in scores])
    return scores, costs, Knapsack.of(np.concatenate(scores), np.concatenate(costs), offsets)


def trap_budgets(rng: np.random.Generator, costs: list[np.ndarray]) -> list[float]:
    """Budgets where rounding decides: an exact sum, an ulp to either side of it, the least cost, an ulp above, and beyond all."""
    least, most = math.fsum(row.min() for row in costs), math.fsum(row.max() for row in costs)
    total = math.fsum(row[rng.integers(len(row))] for row in costs)
    return [
        total,
        float(np.nextafter(total, 0.0)),
        float(np.nextafter(total, math.inf)),
        least,
        float(np.nextafter(least, 0.0)),
        float(np.nextafter(least, math.inf)),
        most,
        most + 1.0,
        math.inf,
        float(rng.uniform(least, most)),
    ]


def check_exact(scores: list[np.ndarray], costs: list[np.ndarray], knapsack: Knapsack, budget: float, path: NativeBackend) -> None:
    found = solve_exact(knapsack, budget, backend=path)
    best = brute_force(scores, [costs], [budget])
    if best is None:
        assert found.status is Status.INFEASIBLE
        assert exact_sum(knapsack.costs[found.choices]) == math.fsum(row.min() for row in costs) > budget
        return
    assert found.status is Status.OPTIMAL
    assert math.fsum(knapsack.costs[found.choices]) <= budget
    assert found.value == math.fsum(knapsack.values[found.choices])
    assert abs(found.value - best[0]) <= EXACT * max(1.0, abs(best[0]))
    assert found.bound >= best[0] - ROUNDING * max(1.0, abs(best[0]))
    assert found.bound - found.value <= EXACT * max(1.0, abs(found.value))


@both_paths
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_equals_brute_force_on_random_and_trap_budgets(path: NativeBackend, family: str) -> None:
    rng = np.random.default_rng(FAMILIES.index(family))
    for _ in range(12):
        scores, costs, knapsack = make(rng, family, int(rng.integers(1, 6)), 4)
        for budget in trap_budgets(rng, costs):
            check_exact(scores, costs, knapsack, budget, path)


@both_paths
@settings(deadline=None, max_examples=150)
@given(
    groups=st.lists(st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 8)), min_size=1, max_size=4), min_size=1, max_size=5),
    scale=st.sampled_from([1.0, 0.1, 1e-12, 3e9]),
    budget=st.integers(0, 30),
)
def test_exact_equals_brute_force_on_ties(
    path: NativeBackend, groups: list[list[tuple[int, int]]], scale: float, budget: int
) -> None:
    # Few distinct numbers: ties, duplicates and exact fits everywhere, and at 0.1 sums that no float holds.
    scores = [np.array([pair[0] * scale for pair in group]) for group in groups]
    costs = [np.array([pair[1] * scale for pair in group]) for group in groups]
    knapsack = Knapsack.of(np.concatenate(scores), np.concatenate(costs), sizes_to_offsets([len(row) for row in scores]))
    check_exact(scores, costs, knapsack, budget * scale, path)


@both_paths
@pytest.mark.parametrize("most", [3, 12, 200])
def test_listing_and_joining_the_last_groups_equals_brute_force(
    path: NativeBackend, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The list serves searches of thousands of states; here it starts at once, at several lengths, with expansions in small pieces.
    monkeypatch.setattr(core, "HARD", 0)
    monkeypatch.setattr(core, "TAIL", most)
    monkeypatch.setattr(core, "_CHUNK", 8)
    rng = np.random.default_rng(most)
    searched = 0
    for index in range(120):
        scores, costs, knapsack = make(rng, FAMILIES[index % len(FAMILIES)], int(rng.integers(3, 7)), 4)
        for budget in trap_budgets(rng, costs)[::3]:
            check_exact(scores, costs, knapsack, budget, path)
            searched += solve_exact(knapsack, budget, backend=path).states > 0
    assert searched > 20


@both_paths
@pytest.mark.parametrize("family", ["subset", "strong", "proportional"])
def test_families_without_bounds_to_go_by_are_solved_to_the_promised_gap(path: NativeBackend, family: str) -> None:
    rng = np.random.default_rng(12)
    for groups in (20, 60):
        scores, costs = random_options(rng, [12] * groups, family)
        knapsack = Knapsack.of(np.concatenate(scores), np.concatenate(costs), sizes_to_offsets([12] * groups))
        budget = 0.45 * groups
        found = solve_exact(knapsack, budget, backend=path)
        assert found.status is Status.OPTIMAL and found.bound - found.value <= EXACT * max(1.0, found.value)
        assert found.bound <= relax(knapsack, budget, backend=path).bound * (1 + 1e-14)  # the rounding of its terms
        assert math.fsum(knapsack.costs[found.choices]) <= budget


@both_paths
@pytest.mark.parametrize("family", ["uniform", "weak", "integer", "zero", "duplicates", "signed"])
def test_exact_equals_highs_on_larger_programs(path: NativeBackend, family: str) -> None:
    rng = np.random.default_rng(7)
    for groups in (12, 40):
        scores, costs, knapsack = make(rng, family, groups, 10)
        least, most = math.fsum(row.min() for row in costs), math.fsum(row.max() for row in costs)
        budget = least + rng.uniform(0.05, 0.6) * (most - least)
        found, reference = solve_exact(knapsack, budget, backend=path), highs_milp(scores, [costs], [budget])
        assert reference is not None and found.status is Status.OPTIMAL
        value, choices = reference
        fits = math.fsum(row[o] for row, o in zip(costs, choices, strict=True)) <= budget
        # HiGHS stops within its own 1e-6 of the optimum and may exceed the budget by as much: it must not beat us when it fits.
        assert value <= found.value + EXACT * max(1.0, abs(value)) or not fits
        assert found.value >= value - 1e-6 * max(1.0, abs(value))


@both_paths
def test_partial_sums_keep_what_an_ulp_decides(path: NativeBackend) -> None:
    # 0.1 + 0.2 + 0.3 is 0.6 correctly rounded but 0.6000000000000001 from left to right: a running sum would lose the optimum.
    knapsack = Knapsack.of([0.0, 1.0] * 3, [0.0, 0.1, 0.0, 0.2, 0.0, 0.3], [0, 2, 4, 6])
    assert 0.1 + 0.2 + 0.3 > 0.6
    assert solve_exact(knapsack, 0.6, backend=path).value == 3.0
    below = float(np.nextafter(0.6, 0.0))
    assert solve_exact(knapsack, below, backend=path).value == 2.0


@both_paths
def test_many_tiny_costs_beside_a_large_one_are_not_absorbed(path: NativeBackend) -> None:
    # Each 1e-17 vanishes beside 1.0 in a running sum, forty of them do not: the strict sum is above 1.
    costs = [1.0, *[0.0, 1e-17] * 40]
    knapsack = Knapsack.of([0.0, *[0.0, 1.0] * 40], costs, [0, *range(1, 82, 2)])
    found = solve_exact(knapsack, 1.0, backend=path)
    assert math.fsum(knapsack.costs[found.choices]) == 1.0
    assert found.value == 11.0  # 1 + 11e-17 rounds to 1, 1 + 12e-17 to the next float (half an ulp is 11.1e-17)


@both_paths
def test_relaxation_is_a_vertex_and_optimal_with_its_dual(path: NativeBackend) -> None:
    rng = np.random.default_rng(1)
    seen_fractional = 0
    for index in range(400):
        scores, costs, knapsack = make(rng, FAMILIES[index % len(FAMILIES)], int(rng.integers(1, 15)), 7)
        least, most = math.fsum(row.min() for row in costs), math.fsum(row.max() for row in costs)
        budget = least + float(rng.uniform(0, 1.1)) * (most - least)
        relaxation = relax(knapsack, budget, backend=path)
        x = relaxation.point(knapsack)
        sizes = np.add.reduceat(x > 0, knapsack.offsets[:-1])
        # Theorem 3.1: at most one fractional group, with two non-zeros.
        assert (sizes == 1).sum() >= knapsack.count - 1 and sizes.max() <= 2
        seen_fractional += int(sizes.max() == 2)
        np.testing.assert_allclose(np.add.reduceat(x, knapsack.offsets[:-1]), 1.0, rtol=0, atol=1e-15)
        scale = max(1.0, float(np.abs(knapsack.values).sum()))
        assert knapsack.costs @ x <= budget + ROUNDING * max(1.0, budget)
        primal = float(knapsack.values @ x)
        assert relaxation.dual >= 0.0
        assert abs(lagrangian_bound(knapsack, budget, relaxation.dual) - primal) <= ROUNDING * scale  # strong duality
        # Complementary slackness: a price is paid only for a budget that is used up, and only best priced options are used.
        assert relaxation.dual * (budget - knapsack.costs @ x) <= ROUNDING * scale
        reduced = knapsack.values - relaxation.dual * knapsack.costs
        best = np.maximum.reduceat(reduced, knapsack.offsets[:-1])[knapsack.group]
        assert (best - reduced)[x > 0].max() <= ROUNDING * scale
        if index % 4 == 0:
            reference = highs_lp(scores, [costs], [budget])
            assert reference is not None
            assert abs(primal - reference) <= 1e-7 * scale  # HiGHS's own tolerance
    assert seen_fractional > 100


@both_paths
def test_relaxation_of_an_impossible_budget_gives_the_cheapest(path: NativeBackend) -> None:
    knapsack = Knapsack.of([5.0, 1.0, 2.0], [3.0, 1.0, 1.0], [0, 2, 3])
    relaxation = relax(knapsack, 1.5, backend=path)
    assert relaxation.status is Status.INFEASIBLE and relaxation.bound == -math.inf
    assert relaxation.choices.tolist() == [1, 2]


def test_hull_steps_fall_in_slope_and_build_on_each_other() -> None:
    rng = np.random.default_rng(3)
    for family in FAMILIES:
        _, _, knapsack = make(rng, family, 8, 9)
        steps = increments(knapsack)
        assert isinstance(steps, Increments)
        assert (np.diff(steps.slope) <= 0).all() and (steps.cost > 0).all() and (steps.value > 0).all()
        held = steps.base.copy()
        for group, source, target in zip(steps.group, steps.source, steps.target, strict=True):
            assert held[group] == source
            held[group] = target


def test_undominated_keeps_exactly_the_pareto_options() -> None:
    rng = np.random.default_rng(4)
    for family in FAMILIES:
        _, _, knapsack = make(rng, family, 6, 8)
        kept = set(undominated(knapsack).tolist())
        for group in range(knapsack.count):
            members = range(knapsack.offsets[group], knapsack.offsets[group + 1])
            for option in members:
                beaten = any(
                    knapsack.values[o] >= knapsack.values[option]
                    and knapsack.costs[o] <= knapsack.costs[option]
                    and (knapsack.values[o] > knapsack.values[option] or knapsack.costs[o] < knapsack.costs[option] or o < option)
                    for o in members
                    if o != option
                )
                assert (option in kept) == (not beaten)


@both_paths
def test_greedy_fits_and_is_at_least_the_rounded_relaxation(path: NativeBackend) -> None:
    rng = np.random.default_rng(5)
    for index in range(200):
        _, costs, knapsack = make(rng, FAMILIES[index % len(FAMILIES)], int(rng.integers(1, 10)), 6)
        for budget in trap_budgets(rng, costs):
            relaxation = relax(knapsack, budget, backend=path)
            if relaxation.status is Status.INFEASIBLE:
                continue
            choices = greedy(knapsack, budget, relaxation)
            assert math.fsum(knapsack.costs[choices]) <= budget
            assert math.fsum(knapsack.costs[relaxation.choices]) <= budget
            assert exact_sum(knapsack.values[choices]) >= exact_sum(knapsack.values[relaxation.choices])


@both_paths
def test_value_rises_with_the_budget(path: NativeBackend) -> None:
    rng = np.random.default_rng(6)
    for family in FAMILIES:
        _, costs, knapsack = make(rng, family, 8, 5)
        least, most = math.fsum(row.min() for row in costs), math.fsum(row.max() for row in costs)
        values = [solve_exact(knapsack, float(b), backend=path).value for b in np.linspace(least, most, 15)]
        assert all(later >= earlier - EXACT * max(1.0, abs(earlier)) for earlier, later in itertools.pairwise(values))


@both_paths
def test_invariant_under_order_scale_and_shift(path: NativeBackend) -> None:
    rng = np.random.default_rng(8)
    for family in FAMILIES:
        scores, costs, knapsack = make(rng, family, 9, 5)
        least, most = math.fsum(row.min() for row in costs), math.fsum(row.max() for row in costs)
        budget = least + 0.4 * (most - least)
        found = solve_exact(knapsack, budget, backend=path)
        # Powers of two are exact in float64, so nothing else may change, however small or large the unit.
        for value_scale, cost_scale in ((2.0**-60, 1.0), (2.0**60, 2.0**-70), (1.0, 2.0**80)):
            scaled = Knapsack.of(knapsack.values * value_scale, knapsack.costs * cost_scale, knapsack.offsets)
            again = solve_exact(scaled, budget * cost_scale, backend=path)
            assert abs(again.value / value_scale - found.value) <= EXACT * abs(found.value)
        order = rng.permutation(len(scores))
        inner = [rng.permutation(len(scores[g])) for g in order]
        moved = Knapsack.of(
            np.concatenate([scores[g][p] for g, p in zip(order, inner, strict=True)]),
            np.concatenate([costs[g][p] for g, p in zip(order, inner, strict=True)]),
            sizes_to_offsets([len(p) for p in inner]),
        )
        assert abs(solve_exact(moved, budget, backend=path).value - found.value) <= EXACT * max(1.0, abs(found.value))


@both_paths
def test_cutoff_proves_that_nothing_is_better(path: NativeBackend) -> None:
    rng = np.random.default_rng(9)
    _, costs, knapsack = make(rng, "weak", 12, 8)
    budget = 1.5 * math.fsum(row.min() for row in costs) + 1.0
    best = solve_exact(knapsack, budget, backend=path)
    cut = solve_exact(knapsack, budget, cutoff=best.value + 0.01, backend=path)
    assert best.value <= cut.bound <= best.value + 0.01 + EXACT * max(1.0, best.value)
    assert math.fsum(knapsack.costs[cut.choices]) <= budget


@both_paths
def test_a_fractional_cutoff_does_not_hide_the_next_whole_value(path: NativeBackend) -> None:
    knapsack = Knapsack.of([0.0, 2.0, 0.0, 1.0, 0.0, 2.0], [0.0, 2.0, 0.0, 1.0, 0.0, 2.0], [0, 2, 4, 6])
    assert solve_exact(knapsack, 4.5, cutoff=3.5, backend=path).value == 4.0


@both_paths
@pytest.mark.parametrize("limits", [{"time_limit_seconds": 1e-9}, {"state_limit": 3}])
def test_limits_return_a_selection_that_fits_with_its_true_gap(path: NativeBackend, limits: dict[str, float]) -> None:
    rng = np.random.default_rng(4)
    costs = rng.random(40 * 6)
    knapsack = Knapsack.of(costs + 0.05 * rng.random(40 * 6), costs, np.arange(0, 241, 6))
    least, most = np.minimum.reduceat(costs, knapsack.offsets[:-1]).sum(), np.maximum.reduceat(costs, knapsack.offsets[:-1]).sum()
    budget = float(0.5 * (least + most))
    best = solve_exact(knapsack, budget, backend=path)
    assert best.status is Status.OPTIMAL and best.states > 3
    early = solve_exact(knapsack, budget, **limits, backend=path)  # type: ignore[arg-type]
    assert early.value <= best.value <= early.bound
    assert math.fsum(knapsack.costs[early.choices]) <= budget
    assert (early.status is Status.TIME_LIMIT) == (early.bound - early.value > EXACT * max(1.0, abs(early.value)))


@pytest.mark.parametrize(
    ("values", "costs", "offsets", "message"),
    [
        ([1.0, 2.0], [1.0], [0, 2], "one shape"),
        ([1.0, 2.0], [1.0, 2.0], [0, 1], "rise from 0 to 2"),
        ([1.0, 2.0], [1.0, 2.0], [0, 0, 2], "at least one option"),
        ([1.0, math.inf], [1.0, 2.0], [0, 2], "values must be finite"),
        ([1.0, 2.0], [1.0, -2.0], [0, 2], "not negative"),
        ([1.0, 2.0], [1.0, math.nan], [0, 2], "costs must be finite"),
    ],
)
def test_knapsack_refuses_malformed_arrays(values: list[float], costs: list[float], offsets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Knapsack.of(values, costs, offsets)


@both_paths
@pytest.mark.slow
def test_exact_equals_brute_force_on_twenty_thousand_instances(path: NativeBackend) -> None:
    rng = np.random.default_rng(11)
    for index in range(20_000):
        scores, costs, knapsack = make(rng, FAMILIES[index % len(FAMILIES)], int(rng.integers(1, 6)), 4)
        budgets = trap_budgets(rng, costs)
        check_exact(scores, costs, knapsack, budgets[index % len(budgets)], path)

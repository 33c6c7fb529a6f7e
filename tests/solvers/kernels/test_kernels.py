"""The compiled and the numpy path give the same answers, starts change nothing, batches equal single calls."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import FAMILIES, random_options, sizes_to_offsets

from solvers import Blocks, BudgetedBlocks, BudgetOracle, Status, project_to_budget
from solvers.descent.hull_tables import HullTable
from solvers.kernels import compilation
from solvers.knapsack import Knapsack, Relaxation, increments, relax, relax_along, solve_exact
from solvers.knapsack.relaxation import bracket

# Families whose values do not coincide, so that the vertex and the optimum are unique and may be compared themselves.
DISTINCT = ("uniform", "weak", "signed", "zero", "single")
EXACT = 1e-9  # the certified gap, relative to max(1, |value|)
ROUNDING = 1e-12  # sums of a few thousand numbers in another order, relative to their size


def program(seed: int, family: str, groups: int, most: int = 12) -> tuple[Knapsack, float]:
    rng = np.random.default_rng(seed)
    scores, costs = random_options(rng, rng.integers(1, most + 1, groups).tolist(), family)
    knapsack = Knapsack.of(np.concatenate(scores), np.concatenate(costs), sizes_to_offsets([len(row) for row in scores]))
    least, greatest = math.fsum(row.min() for row in costs), math.fsum(row.max() for row in costs)
    drawn = math.fsum(row[rng.integers(len(row))] for row in costs)
    return knapsack, float(
        rng.choice([least, drawn, np.nextafter(drawn, 0.0), least + rng.random() * (greatest - least), greatest])
    )


def same_relaxation(one: Relaxation, other: Relaxation, distinct: bool, scale: float) -> None:
    assert one.status is other.status
    if one.status is Status.INFEASIBLE:
        assert np.array_equal(one.choices, other.choices)
        return
    assert abs(one.bound - other.bound) <= ROUNDING * scale
    if distinct:
        assert np.array_equal(one.choices, other.choices)
        assert (one.costlier, one.dual) == (other.costlier, other.dual) and abs(one.fraction - other.fraction) <= 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_relaxations_agree_whatever_they_start_from(family: str) -> None:
    for seed in range(25):
        knapsack, budget = program(seed, family, (3, 20, 700)[seed % 3])  # 700 groups are sampled and narrowed
        scale = max(1.0, float(np.abs(knapsack.values).sum()))
        native = relax(knapsack, budget)
        same_relaxation(native, relax(knapsack, budget, backend="numpy"), family in DISTINCT, scale)
        for start in (native.dual, native.dual * 1.01, native.dual * 0.3, 1e-30, 1e6):
            same_relaxation(native, relax(knapsack, budget, start=start), True, scale)
            same_relaxation(native, relax(knapsack, budget, start=start, backend="numpy"), family in DISTINCT, scale)


@pytest.mark.parametrize("family", FAMILIES)
def test_oracles_of_large_programs_agree_whatever_they_start_from(family: str) -> None:
    """Above 4000 options most blocks are settled by two multipliers, not put on their hulls."""
    for seed in range(5):
        knapsack, budget = program(seed, family, 1200, (3, 12, 40)[seed % 3])
        totals = np.random.default_rng(seed).uniform(0.5, 2.0, 1200) if seed % 2 else np.ones(1200)
        blocks = Blocks.of(np.diff(knapsack.offsets).tolist(), totals)
        feasible = BudgetedBlocks.of(blocks, knapsack.costs, max(budget, 1.001 * least_cost(knapsack, totals)))
        scale = max(1.0, float(np.abs(knapsack.values) @ np.repeat(totals, blocks.sizes)))
        oracle = BudgetOracle.of(feasible, "native")
        native, plain = (BudgetOracle.of(feasible, path).minimize(-knapsack.values) for path in ("native", "numpy"))
        assert native.certificate is not None and plain.certificate is not None
        assert abs(native.certificate.primal - plain.certificate.primal) <= ROUNDING * scale
        assert native.certificate.gap <= ROUNDING * scale and native.certificate.violation <= ROUNDING * feasible.capacities[0]
        proven = knapsack.values - native.certificate.dual[0] * knapsack.costs  # the bound again, from all options
        bound = np.maximum.reduceat(proven, knapsack.offsets[:-1]) @ totals + native.certificate.dual[0] * feasible.capacities[0]
        assert abs(bound + native.certificate.bound) <= ROUNDING * scale
        if family in DISTINCT:
            assert np.abs(native.x - plain.x).max() <= 1e-6
        dual = float(native.certificate.dual[0])
        for start in (dual, dual * 1.01, dual * 0.3, 1e-30, 1e6):
            again = oracle.minimize(-knapsack.values, start=start)
            assert np.array_equal(again.x, native.x) and again.certificate.dual[0] == dual


def least_cost(knapsack: Knapsack, totals: np.ndarray) -> float:
    return float(np.minimum.reduceat(knapsack.costs, knapsack.offsets[:-1]) @ totals)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FAMILIES))
def test_hulls_from_all_pairs_are_the_hulls(seed: int, family: str) -> None:
    knapsack, budget = program(seed, family, 12)
    steps, expected = HullTable.of(knapsack.costs, knapsack.offsets).increments(knapsack.values), increments(knapsack)
    if family in DISTINCT:
        for name in ("base", "group", "source", "target", "cost", "value", "slope"):
            assert np.array_equal(getattr(steps, name), getattr(expected, name)), name
    else:  # of points that are collinear but for rounding either way may keep some
        assert np.array_equal(steps.base, expected.base)
        one, other = (relax_along(knapsack, budget, found) for found in (steps, expected))
        assert one.status is other.status
        if one.status is not Status.INFEASIBLE:
            scale = max(1.0, float(np.abs(knapsack.values).sum()))
            assert (
                abs(float(knapsack.values @ one.point(knapsack)) - float(knapsack.values @ other.point(knapsack)))
                <= ROUNDING * scale
            )
            assert abs(one.bound - other.bound) <= ROUNDING * scale


def test_hulls_from_all_pairs_are_for_small_tables() -> None:
    assert HullTable.of(np.ones(1000), np.arange(0, 1001, 500)) is None
    huge = HullTable.of(np.array([0.0, 1e-300]), np.array([0, 2]))
    assert huge.increments(np.array([0.0, 1e300])) is None  # a slope beyond the range of floats
    oracle = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([2]), [0.0, 1e-300], 1.0), "numpy")
    assert oracle.minimize(np.array([0.0, -1e300])).x.tolist() == [0.0, 1.0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FAMILIES))
def test_narrowing_keeps_what_the_relaxation_needs(seed: int, family: str) -> None:
    knapsack, budget = program(seed, family, 30)
    between = bracket(knapsack, budget, 0.0)
    whole = relax_along(knapsack, budget, increments(knapsack))
    if between is None:  # nothing fits, or the best of each group does, or the groups are too ragged to be padded
        ragged = np.diff(knapsack.offsets).max() * knapsack.count > 4 * len(knapsack.values)
        assert ragged or whole.status is Status.INFEASIBLE or whole.costlier == -1
        return
    scale = max(1.0, float(np.abs(knapsack.values).sum()))
    kept = np.flatnonzero(between)
    part = knapsack.restrict(kept)
    narrowed = relax_along(part, budget, increments(part))
    assert abs(float(part.values @ narrowed.point(part)) - float(knapsack.values @ whole.point(knapsack))) <= ROUNDING * scale


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_solvers_agree(family: str) -> None:
    for seed in range(12):
        knapsack, budget = program(seed, family, (5, 25, 120)[seed % 3], 8)
        native, plain = solve_exact(knapsack, budget), solve_exact(knapsack, budget, backend="numpy")
        assert native.status is plain.status is not Status.TIME_LIMIT
        assert abs(native.value - plain.value) <= EXACT * max(1.0, abs(plain.value))
        if native.status is Status.OPTIMAL:
            assert math.fsum(knapsack.costs[native.choices]) <= budget
            assert native.bound - native.value <= EXACT * max(1.0, abs(native.value))


def test_a_known_relaxation_only_saves_time() -> None:
    for seed in range(20):
        knapsack, budget = program(seed, "uniform", 30)
        found = solve_exact(knapsack, budget)
        again = solve_exact(knapsack, budget, relaxation=relax(knapsack, budget))
        assert np.array_equal(found.choices, again.choices) and found.bound == again.bound


def test_groups_of_many_options_are_sorted_by_merging() -> None:
    rng = np.random.default_rng(0)
    values, costs = np.round(rng.random(4000), 2), np.round(rng.random(4000), 2)  # with ties in both
    knapsack = Knapsack.of(values, costs, [0, 1500, 1501, 4000])
    for budget in (0.0, 0.3, 0.77, 1.9):
        if math.fsum(np.minimum.reduceat(costs, knapsack.offsets[:-1])) <= budget:
            native, plain = solve_exact(knapsack, budget), solve_exact(knapsack, budget, backend="numpy")
            assert native.status is plain.status is Status.OPTIMAL
            assert native.value == pytest.approx(plain.value, rel=EXACT, abs=EXACT)
            assert relax(knapsack, budget).bound == pytest.approx(relax(knapsack, budget, backend="numpy").bound, rel=ROUNDING)


def test_read_only_and_strided_arrays_are_taken() -> None:
    knapsack, budget = program(3, "uniform", 20)
    table = np.stack([knapsack.values, knapsack.costs], axis=1)
    table.flags.writeable = False
    strided = Knapsack.of(table[:, 0], table[:, 1], knapsack.offsets)
    assert np.array_equal(solve_exact(strided, budget).choices, solve_exact(knapsack, budget).choices)
    assert relax(strided, budget).dual == relax(knapsack, budget).dual


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_nothing_is_written_into_the_callers_arrays(backend: str) -> None:
    rng = np.random.default_rng(4)
    scores, costs = rng.random((30, 8)), rng.random((30, 8))
    before = scores.copy(), costs.copy()
    for method in ("exact", "lp", "greedy", "argmax"):
        project_to_budget(scores, costs, 6.0, method=method, backend=backend)  # type: ignore[arg-type]
    gradient = -scores.ravel()
    oracle = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([8] * 30), costs.ravel(), 6.0), backend)  # type: ignore[arg-type]
    oracle.minimize(gradient)
    assert np.array_equal(scores, before[0]) and np.array_equal(costs, before[1]) and np.array_equal(gradient, -before[0].ravel())


@pytest.mark.parametrize("backend", ["native", "numpy", "highs"])
def test_batches_equal_single_calls(backend: str) -> None:
    rng = np.random.default_rng(1)
    blocks = Blocks.of([12] * 20, rng.uniform(0.5, 2.0, 20))
    feasible = BudgetedBlocks.of(blocks, rng.random(240), 9.0)
    oracle, gradients = BudgetOracle.of(feasible, backend), rng.normal(size=(30, 240))  # type: ignore[arg-type]
    batch = oracle.minimize_many(gradients)
    assert batch.status is Status.OPTIMAL and batch.x is not None and batch.dual.shape == (30, 1)
    for row, gradient in enumerate(gradients):
        single = oracle.minimize(gradient)
        assert single.certificate is not None and single.x is not None
        tolerance = 1e-7 if backend == "highs" else ROUNDING  # HiGHS's own tolerances
        assert batch.primal[row] == pytest.approx(single.certificate.primal, abs=tolerance * 240)
        assert batch.primal[row] - batch.bound[row] <= tolerance * 240 and batch.violation[row] <= tolerance * 240
        if backend != "highs":
            assert np.array_equal(batch.x[row], single.x)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_batches_refuse_what_single_calls_refuse(backend: str) -> None:
    oracle = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([2, 2]), np.ones(4), 3.0), backend)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"gradients: expected shape \(k, 4\), got \(4,\)"):
        oracle.minimize_many(np.ones(4))
    with pytest.raises(ValueError, match="gradient: NaN at index"):
        oracle.minimize_many([[0.0] * 4, [0.0, math.nan, 0.0, 0.0]])
    with pytest.raises(ValueError, match="infinite"):
        oracle.minimize_many([[0.0] * 4, [0.0, math.inf, 0.0, 0.0]])
    impossible = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([2, 2]), np.ones(4), 1.0), backend)  # type: ignore[arg-type]
    batch = impossible.minimize_many(np.zeros((3, 4)))
    assert batch.status is Status.INFEASIBLE and batch.x is None and "least possible cost" in batch.message


def test_without_numba_native_is_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    scores, costs = rng.random((20, 6)), rng.random((20, 6))
    expected = project_to_budget(scores, costs, 6.0)
    monkeypatch.setattr(compilation, "_installed", lambda: False)
    monkeypatch.setitem(sys.modules, "solvers.kernels.exact", None)  # importing it would fail
    assert project_to_budget(scores, costs, 6.0).choices == expected.choices
    with pytest.raises(ValueError, match="expected 'native' or 'numpy', got 'cuda'"):
        relax(Knapsack.of([1.0], [1.0], [0, 1]), 1.0, backend="cuda")  # type: ignore[arg-type]


@pytest.mark.slow
def test_paths_agree_on_twenty_thousand_instances() -> None:
    for seed in range(20_000):
        knapsack, budget = program(seed, FAMILIES[seed % len(FAMILIES)], 3 + seed % 12, 6)
        native, plain = solve_exact(knapsack, budget), solve_exact(knapsack, budget, backend="numpy")
        assert native.status is plain.status
        assert abs(native.value - plain.value) <= EXACT * max(1.0, abs(plain.value))

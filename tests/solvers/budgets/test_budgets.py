"""Several budgets: the compiled branch and bound and its dual against brute force and HiGHS, and what happens without numba."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import FAMILIES, brute_force, random_options, sizes_to_offsets

from solvers import Status, project_to_budget
from solvers.budgets import BudgetedKnapsack
from solvers.budgets import program as budgets
from solvers.budgets.search import solve_budgets
from solvers.budgets.steering import Steering
from solvers.knapsack import Knapsack, solve_exact

# The certified gap of "exact", relative to max(1, |value|).
EXACT = 1e-9


def instance(rng: np.random.Generator, sizes: list[int], family: str, m: int, share: float | None = None) -> BudgetedKnapsack:
    """A random program whose budgets lie between the least and the greatest cost."""
    scores, costs = random_options(rng, sizes, family)
    offsets, n = sizes_to_offsets([len(row) for row in scores]), sum(len(row) for row in scores)
    rows = [np.concatenate(costs)]
    for _ in range(m - 1):
        coarse = family in ("integer", "duplicates")
        rows.append(rng.integers(0, 5, n) * 1.0 if coarse else 0.5 * rng.random(n) + 0.5 * rows[0])
    table = np.array(rows)
    least = np.minimum.reduceat(table, offsets[:-1], axis=1).sum(axis=1)
    most = np.maximum.reduceat(table, offsets[:-1], axis=1).sum(axis=1)
    shares = rng.uniform(-0.02, 1.02, m) if share is None else np.full(m, share)
    return BudgetedKnapsack(np.concatenate(scores), table, least + shares * (most - least), offsets)


def enumerate_best(program: BudgetedKnapsack) -> tuple[float, tuple[int, ...]] | None:
    pairs = list(itertools.pairwise(program.offsets.tolist()))
    rows = [[row[a:b] for a, b in pairs] for row in program.costs]
    return brute_force([program.values[a:b] for a, b in pairs], rows, program.budgets.tolist())


def check(program: BudgetedKnapsack, best: float | None) -> None:
    """Status, value, feasibility and bound of the native answer against the best value there is (None: infeasible)."""
    answer = program.solve()
    if best is None:
        assert answer.status is Status.INFEASIBLE and answer.support is None and answer.bound == -math.inf
        return
    assert answer.status is Status.OPTIMAL and answer.support is not None
    assert np.array_equal(np.searchsorted(program.offsets, answer.support, side="right") - 1, np.arange(len(program.sizes)))
    assert program.fits(answer.support) and answer.value == math.fsum(program.values[answer.support].tolist())
    tolerance = EXACT * max(1.0, abs(best))
    assert abs(answer.value - best) <= tolerance and best - 1e-12 * max(1.0, abs(best)) <= answer.bound <= best + tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_native_equals_brute_force(family: str) -> None:
    rng = np.random.default_rng(FAMILIES.index(family))
    for _ in range(60):
        sizes = rng.integers(1, 5, int(rng.integers(1, 6))).tolist()
        program = instance(rng, sizes, family, int(rng.integers(1, 5)))
        best = enumerate_best(program)
        check(program, None if best is None else best[0])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_budgets_equal_to_a_sum_up_to_an_ulp(data: st.DataObject) -> None:
    numbers = st.sampled_from([0.1, 0.2, 0.3, 0.7, 1e-9, 1 / 3, 1e9, 0.0])
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    m, n = data.draw(st.integers(2, 3)), sum(sizes)
    costs = np.array(data.draw(st.lists(numbers, min_size=m * n, max_size=m * n))).reshape(m, n)
    values = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))) * data.draw(st.sampled_from([1.0, 0.1]))
    offsets = sizes_to_offsets(sizes)
    chosen = np.array([data.draw(st.integers(a, b - 1)) for a, b in itertools.pairwise(offsets.tolist())])
    budgets = np.array([math.fsum(row[chosen].tolist()) for row in costs])
    budgets = np.nextafter(budgets, np.array(data.draw(st.lists(st.sampled_from([0.0, math.inf]), min_size=m, max_size=m))))
    program = BudgetedKnapsack(values, costs, np.maximum(budgets, 0.0), offsets)
    best = enumerate_best(program)
    check(program, None if best is None else best[0])


def test_the_relaxation_is_a_vertex_with_its_dual() -> None:
    rng = np.random.default_rng(3)
    infeasible = 0
    for index in range(150):
        sizes = rng.integers(1, 13, int(rng.integers(1, 40))).tolist()
        program = instance(rng, sizes, FAMILIES[index % len(FAMILIES)], int(rng.integers(1, 5)))
        ours, reference = program.relax(), program.relax(backend="highs")
        assert (ours.x is None) == (reference.x is None)
        if ours.x is None:
            infeasible += 1
            continue
        scale = max(1.0, abs(reference.bound), float(np.abs(program.values).sum()))
        assert abs(ours.bound - reference.bound) <= 1e-9 * scale
        assert ours.x.min() >= 0.0 and np.abs(np.add.reduceat(ours.x, program.offsets[:-1]) - 1.0).max() <= 1e-12
        # The weights solve an m x m system in doubles: 1e-8 of the costs covers its condition on these instances.
        assert (program.costs @ ours.x <= program.budgets + 1e-8 * (1.0 + program.costs.sum(axis=1))).all()
        assert abs(program.values @ ours.x - ours.bound) <= 1e-8 * scale  # strong duality
        fractional = np.add.reduceat((ours.x > 1e-12) & (ours.x < 1.0 - 1e-12), program.offsets[:-1]) > 0
        assert fractional.sum() <= len(program.budgets)  # Theorem 3.1, a group a budget
        room = program.budgets - program.costs @ ours.x
        assert (ours.duals >= 0.0).all() and abs(ours.duals @ room) <= 1e-7 * scale  # complementary slackness
    assert infeasible > 0


def test_native_equals_highs_on_larger_instances() -> None:
    rng = np.random.default_rng(4)
    for index in range(8):
        program = instance(rng, [12] * (10 if index % 2 else 30), ("uniform", "zero")[index % 2], 2 + index % 2, 0.4)
        reference = program.solve(backend="highs")
        check(program, reference.value)


def test_one_budget_gives_what_the_one_budget_solver_gives() -> None:
    rng = np.random.default_rng(5)
    for family in ("uniform", "weak", "integer", "signed"):
        program = instance(rng, [8] * 20, family, 1, 0.4)
        other = solve_exact(Knapsack(program.values, program.costs[0], program.offsets), float(program.budgets[0]))
        check(program, other.value)


def test_infinite_and_zero_budgets() -> None:
    rng = np.random.default_rng(6)
    program = instance(rng, [5] * 6, "uniform", 3, 0.5)
    free = BudgetedKnapsack(program.values, program.costs, np.full(3, math.inf), program.offsets)
    check(free, math.fsum(np.maximum.reduceat(program.values, program.offsets[:-1]).tolist()))
    costs = program.costs.copy()
    costs[1, program.offsets[:-1]] = 0.0
    nothing = BudgetedKnapsack(program.values, costs, np.array([math.inf, 0.0, math.inf]), program.offsets)
    check(nothing, math.fsum(program.values[program.offsets[:-1]].tolist()))  # only the first options cost nothing


def test_a_cutoff_hides_what_does_not_beat_it() -> None:
    rng = np.random.default_rng(7)
    program = instance(rng, [6] * 10, "uniform", 2, 0.4)
    data = program.values, program.costs, program.budgets, program.offsets
    best = solve_budgets(*data)
    above = solve_budgets(*data, cutoff=best.value + 0.01)
    assert above.status is Status.OPTIMAL and above.choices is None and above.bound <= best.value + 0.01 + EXACT
    below = solve_budgets(*data, cutoff=best.value - 0.01)
    assert below.choices is not None and below.value == best.value


def test_a_limit_leaves_a_selection_with_its_true_gap() -> None:
    rng = np.random.default_rng(8)
    program = instance(rng, [12] * 30, "subset", 2, 0.45)
    # Scores that follow both costs: of those that follow one, that budget alone would be the proof.
    data = program.costs.sum(axis=0), program.costs, program.budgets, program.offsets
    short, long = (solve_budgets(*data, steering=Steering(node_limit=nodes)) for nodes in (3000, 60_000))
    for answer in (short, long):
        assert answer.status is Status.FEASIBLE and answer.choices is not None and program.fits(answer.choices)
        assert answer.value <= answer.bound
    assert long.value >= short.value and short.bound >= long.value and long.bound >= short.value
    timed = solve_budgets(*data, time_limit_seconds=0.2)
    assert timed.status is Status.TIME_LIMIT and timed.bound >= timed.value
    whole = np.rint(100.0 * data[0]), *data[1:]
    at_once = solve_budgets(*whole, time_limit_seconds=1e-9)  # as when the time goes by while kernels are compiled
    assert at_once.status is Status.TIME_LIMIT and at_once.value <= at_once.bound <= 100.0 * data[0].max() * 30


def test_scaling_and_permuting_change_nothing() -> None:
    rng = np.random.default_rng(9)
    for _ in range(10):
        program = instance(rng, [7] * 12, "uniform", 2, 0.4)
        value = program.solve().value
        scaled = BudgetedKnapsack(program.values * 1e-7, program.costs * np.array([[2.0**40], [2.0**-40]]),
                                  program.budgets * np.array([2.0**40, 2.0**-40]), program.offsets)  # fmt: skip
        assert abs(scaled.solve().value - 1e-7 * value) <= 1e-9 * max(1e-7, 1e-7 * abs(value))
        order = rng.permutation(len(program.values)).argsort()
        order = order[np.argsort(np.searchsorted(program.offsets, order, side="right"), kind="stable")]
        turned = BudgetedKnapsack(program.values[order], program.costs[::-1][:, order], program.budgets[::-1], program.offsets)
        assert abs(turned.solve().value - value) <= EXACT * max(1.0, abs(value))
        richer = BudgetedKnapsack(program.values, program.costs, program.budgets * 1.1, program.offsets)
        assert richer.solve().value >= value


def test_without_numba_the_mixed_integer_solver_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    scores, costs = rng.random((6, 4)), rng.random((2, 6, 4))
    arguments = scores, {"ms": costs[0], "MB": costs[1]}, {"ms": 2.5, "MB": 2.5}
    native = project_to_budget(*arguments)
    monkeypatch.setattr(budgets, "uses_kernels", lambda backend: False)
    assert project_to_budget(*arguments).choices == native.choices
    assert native.certificate.verify(*arguments) is native.certificate


@pytest.mark.slow
def test_native_equals_brute_force_long() -> None:
    rng = np.random.default_rng(11)
    for index in range(10_000):
        sizes = rng.integers(1, 5, int(rng.integers(1, 6))).tolist()
        program = instance(rng, sizes, FAMILIES[index % len(FAMILIES)], int(rng.integers(2, 4)))
        best = enumerate_best(program)
        check(program, None if best is None else best[0])

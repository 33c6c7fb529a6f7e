"""Oracles: every backend against the others and scipy's linprog, vertices, duals, messages."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from solvers.descent import BudgetOracle, SimplexOracle
from solvers.results import Certificate, Result, Status
from solvers.sets import Blocks, BudgetedBlocks

# The references are asked for 1e-10 on scaled data; two of them may err that much in objective, per unit of cost and total.
AGREE = 1e-9
FAMILIES = ("uniform", "integers", "cost equals weight", "signed weights", "duplicates", "zero-cost options")


def instance(seed: int, rows: int = 1, blocks: int = 7) -> tuple[BudgetedBlocks, np.ndarray, float]:
    """A random program of one of the families, units from 1e-4 to 1e4; the third is the scale of its objective."""
    generator = np.random.default_rng(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    sizes = generator.integers(1, 9, size=generator.integers(1, blocks + 1))
    shape = Blocks.of(sizes, generator.uniform(0.5, 3.0, size=len(sizes)) if generator.random() < 0.5 else None)
    weights = generator.random((rows, shape.dimension))
    costs = generator.normal(size=shape.dimension)
    if family == "integers":
        weights, costs = np.ceil(4 * weights), np.round(2 * costs)
    if family == "cost equals weight":
        costs = -weights[0].copy()
    if family == "signed weights":
        weights -= 0.5
    if family == "duplicates":
        weights[:, 1::2], costs[1::2] = weights[:, :-1:2], costs[:-1:2]
    if family == "zero-cost options":
        weights[:, generator.random(shape.dimension) < 0.4] = 0.0
    weights *= 10.0 ** generator.uniform(-4, 4, size=(rows, 1))
    costs *= 10.0 ** generator.uniform(-4, 4)
    low = np.array([np.minimum.reduceat(row, shape.offsets[:-1]) @ shape.totals for row in weights])
    high = np.array([np.maximum.reduceat(row, shape.offsets[:-1]) @ shape.totals for row in weights])
    capacities = low + (high - low) * generator.choice([0.0, 0.01, 0.5, 1.0, 1.2, generator.random()], size=rows)
    scale = float(np.abs(costs).max() * shape.totals.sum()) or 1.0
    return BudgetedBlocks.of(shape, weights, capacities), costs, scale


def fractional(blocks: Blocks, x: np.ndarray) -> int:
    """Blocks with more than one share; 1e-9 of a total is the round-off of the LP solvers."""
    counts = [int((share > 1e-9 * total).sum()) for share, total in zip(blocks.split(x), blocks.totals, strict=True)]
    return sum(count > 1 for count in counts)


def check(feasible: BudgetedBlocks, costs: np.ndarray, scale: float, backend: str) -> float:
    """What every answer must be: in the blocks, within the budgets, at its bound, dual feasible. Returns the value."""
    result = BudgetOracle.of(feasible, backend).minimize(costs)
    assert result.status is Status.OPTIMAL, result.message
    certificate = result.certificate
    assert feasible.blocks.residual(result.x) <= 1e-12 * feasible.blocks.totals.max()
    limits = np.abs(feasible.weights).max(axis=1) * feasible.blocks.totals.sum()
    # LP solvers are asked for 1e-10 of the greatest weight, the relaxation allows 1e-10 of the capacity.
    excess = feasible.weights @ result.x - feasible.capacities
    assert (excess <= 1e-9 * (limits + np.abs(feasible.capacities))).all()
    assert certificate.violation == pytest.approx(max(0.0, excess.max()), abs=1e-12 * limits.max())
    assert certificate.primal == pytest.approx(float(costs @ result.x), abs=1e-12 * scale)
    assert certificate.gap <= AGREE * scale
    assert (certificate.dual >= 0).all()
    # The bound is what the multipliers prove: the Lagrangian minimized block by block.
    lagrangian = costs + certificate.dual @ feasible.weights
    proven = np.minimum.reduceat(lagrangian, feasible.blocks.offsets[:-1]) @ feasible.blocks.totals
    assert certificate.primal - (proven - certificate.dual @ feasible.capacities) <= AGREE * scale
    # Complementary slackness: a budget with room has no price.
    assert (certificate.dual * np.maximum(-excess, 0.0) <= AGREE * scale).all()
    return certificate.primal


def by_linprog(feasible: BudgetedBlocks, costs: np.ndarray, scale: float) -> float:
    """The optimum by scipy, fed independently of the adapters; rows and costs scaled as any reference must be."""
    blocks = feasible.blocks
    sums = np.zeros((blocks.count, blocks.dimension))
    for block in range(blocks.count):
        sums[block, blocks.slice(block)] = 1.0
    rows = np.abs(feasible.weights).max(axis=1, keepdims=True)
    rows[rows == 0] = 1.0
    # 1e-10 relative: a capacity that equals the least cost can be missed by round-off.
    capacities = (feasible.capacities + 1e-10 * np.abs(feasible.capacities)) / rows[:, 0]
    answer = linprog(costs / scale, A_ub=feasible.weights / rows, b_ub=capacities, A_eq=sums, b_eq=blocks.totals, method="highs-ds")
    assert answer.status == 0, answer.message
    return answer.fun * scale


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_backends_agree_with_one_budget(seed: int) -> None:
    feasible, costs, scale = instance(seed)
    reference = by_linprog(feasible, costs, scale)
    for backend in ("native", "numpy", "highs", "scipy", "cvxpy"):
        value = check(feasible, costs, scale, backend)
        # The reference may use 1e-10 of the budget more than ours: an advantage of 1e-10 times the costliest price per budget.
        assert value == pytest.approx(reference, abs=1e-7 * scale), backend


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3))
def test_backends_agree_with_several_budgets(seed: int, rows: int) -> None:
    feasible, costs, scale = instance(seed, rows)
    answers = {backend: BudgetOracle.of(feasible, backend).minimize(costs) for backend in ("highs", "scipy", "cvxpy")}
    assert len({answer.status for answer in answers.values()}) == 1
    if answers["highs"].status is Status.INFEASIBLE:
        assert "least possible cost" in answers["highs"].message
        return
    values = [check(feasible, costs, scale, backend) for backend in answers]
    assert np.ptp(values) <= 1e-7 * scale


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_native_answers_are_vertices(backend: str) -> None:
    """Theorem 3.1: at most one block is split, and between two options."""
    for seed in range(600):
        feasible, costs, _ = instance(seed)
        x = BudgetOracle.of(feasible, backend).minimize(costs).x
        split = [int((share > 0).sum()) for share in feasible.blocks.split(x)]
        assert sum(count > 1 for count in split) <= 1 and max(split) <= 2


def test_simplex_method_backends_answer_vertices() -> None:
    for seed in range(60):
        feasible, costs, _ = instance(seed, rows=1 + seed % 2)
        for backend in ("highs", "scipy"):
            result = BudgetOracle.of(feasible, backend).minimize(costs)
            if result.x is not None:
                assert fractional(feasible.blocks, result.x) <= len(feasible.capacities)


def test_persistent_model_survives_many_objectives() -> None:
    """Hot starts: one model, 150 objectives of very different scales, each as good as a cold solve."""
    feasible, _, _ = instance(6, rows=2, blocks=20)
    oracle, generator = BudgetOracle.of(feasible, "highs"), np.random.default_rng(0)
    for _ in range(150):
        costs = generator.normal(size=feasible.blocks.dimension) * 10.0 ** generator.uniform(-6, 6)
        scale = float(np.abs(costs).max() * feasible.blocks.totals.sum())
        result = oracle.minimize(costs)
        assert result.certificate.gap <= AGREE * scale
        assert result.certificate.primal == pytest.approx(by_linprog(feasible, costs, scale), abs=1e-7 * scale)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_native_equals_the_knapsack_relaxation(backend: str) -> None:
    """At the size of HardCoRe-NAS."""
    from solvers.knapsack import Knapsack, relax

    generator = np.random.default_rng(1)
    blocks = Blocks.of([12] * 20)
    for _ in range(100):
        weights, costs = generator.random(240), generator.normal(size=240)
        capacity = generator.uniform(2.5, 10.0)
        result = BudgetOracle.of(BudgetedBlocks.of(blocks, weights, capacity), backend).minimize(costs)
        relaxation = relax(Knapsack.of(-costs, weights, blocks.offsets), capacity)
        assert result.certificate.primal == pytest.approx(-relaxation.bound, abs=1e-12 * 240)
        assert result.certificate.dual[0] == pytest.approx(relaxation.dual, rel=1e-9)


def test_dual_is_the_price_of_the_budget() -> None:
    for seed in range(0, 120, 6):
        feasible, costs, scale = instance(seed)
        capacity = float(feasible.capacities[0])
        result = BudgetOracle.of(feasible).minimize(costs)
        price = result.certificate.dual[0]
        for change in (-0.01, 0.01):
            moved = BudgetedBlocks.of(feasible.blocks, feasible.weights, capacity * (1 + change))
            other = BudgetOracle.of(moved).minimize(costs)
            if other.x is not None:  # a convex function lies above its tangent
                tangent = result.certificate.primal - price * capacity * change
                assert other.certificate.primal >= tangent - AGREE * scale


def test_value_falls_with_the_budget() -> None:
    feasible, costs, scale = instance(12, blocks=12)
    high = float(feasible.weights[0] @ feasible.blocks.uniform())
    values = []
    for capacity in np.linspace(0.0, high, 60):
        result = BudgetOracle.of(BudgetedBlocks.of(feasible.blocks, feasible.weights, capacity)).minimize(costs)
        values.append(np.inf if result.x is None else result.certificate.primal)
    assert all(later <= earlier + AGREE * scale for earlier, later in pairwise(values))


def test_answers_do_not_depend_on_units() -> None:
    for seed in range(0, 60, 6):
        feasible, costs, _ = instance(seed)
        x = BudgetOracle.of(feasible).minimize(costs).x
        rescaled = BudgetedBlocks.of(feasible.blocks, feasible.weights * 2.0**20, feasible.capacities * 2.0**20)
        # Powers of two change no mantissa: the same bits must come out.
        assert np.array_equal(BudgetOracle.of(rescaled).minimize(costs * 2.0**-30).x, x)


def test_ties_go_to_the_lighter_then_the_first() -> None:
    blocks = Blocks.of([3, 2])
    feasible = BudgetedBlocks.of(blocks, [3.0, 1.0, 1.0, 2.0, 2.0], 100.0)
    for backend in ("native", "numpy"):
        assert BudgetOracle.of(feasible, backend).minimize(np.zeros(5)).x.tolist() == [0, 1, 0, 1, 0]
    assert SimplexOracle(blocks).minimize(np.zeros(5)).x.tolist() == [1, 0, 0, 1, 0]


def test_budget_equal_to_the_least_cost_is_met_in_spite_of_round_off() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        blocks = Blocks.of([4] * 30)
        weights = generator.random(120)
        least = float(np.minimum.reduceat(weights, blocks.offsets[:-1]).sum())
        for capacity in (least, np.nextafter(least, 0.0), least * (1 - 5e-11)):
            result = BudgetOracle.of(BudgetedBlocks.of(blocks, weights, capacity)).minimize(generator.normal(size=120))
            assert result.status is Status.OPTIMAL
            assert result.certificate.violation <= 1e-10 * least


@pytest.mark.parametrize("backend", ["native", "numpy", "highs", "scipy", "cvxpy"])
def test_infeasible_names_the_least_cost(backend: str) -> None:
    feasible = BudgetedBlocks.of(Blocks.of([2, 2]), [1.0, 2.0, 3.0, 5.0], 3.5)
    result = BudgetOracle.of(feasible, backend).minimize(np.ones(4))
    assert result.status is Status.INFEASIBLE and result.x is None
    assert "3.5" in result.message and "least possible cost is 4.0" in result.message


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_answers_are_frozen_records(backend: str) -> None:
    """Oracles build them in a faster way than their constructors."""
    result = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([2]), [1.0, 2.0], 1.5), backend).minimize(np.array([0.0, -1.0]))
    assert type(result) is Result and type(result.certificate) is Certificate
    certificate = dataclasses.asdict(result.certificate)
    assert certificate.pop("dual").tolist() == [1.0]
    assert certificate.pop("bound") == pytest.approx(-0.5, abs=1e-14)  # numpy rounds its bound down
    assert certificate == {"primal": -0.5, "violation": 0.0, "maximize": False}
    again = dataclasses.replace(result, message="copied")
    assert again.x is result.x and result.message == "" and result.iterations == 1 and result.seconds > 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seconds = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.certificate.primal = 0.0


def test_clashing_budgets_are_named_as_such() -> None:
    feasible = BudgetedBlocks.of(Blocks.of([2]), [[0.0, 1.0], [1.0, 0.0]], [0.3, 0.3])
    assert "can be met alone, not all together" in BudgetOracle.of(feasible).minimize(np.ones(2)).message


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 1000))
def test_simplex_oracle_takes_the_least_entry(sizes: list[int], seed: int) -> None:
    blocks = Blocks.of(sizes)
    costs = np.random.default_rng(seed).normal(size=blocks.dimension)
    result = SimplexOracle(blocks).minimize(costs)
    assert result.certificate.primal == pytest.approx(sum(part.min() for part in blocks.split(costs)))
    assert result.certificate.gap == 0.0 and blocks.residual(result.x) == 0.0


def test_malformed_input() -> None:
    blocks = Blocks.of([2, 2])
    one, two = BudgetedBlocks.of(blocks, np.ones(4), 3.0), BudgetedBlocks.of(blocks, np.ones((2, 4)), [3.0, 3.0])
    with pytest.raises(ValueError, match="expected 'native', 'numpy', 'highs', 'scipy' or 'cvxpy', got 'glop'"):
        BudgetOracle.of(one, "glop")
    with pytest.raises(ValueError, match="'native' solves one budget, got 2: use backend='highs'"):
        BudgetOracle.of(two, "native")
    with pytest.raises(ValueError, match=r"gradient: expected shape \(4,\), got \(3,\)"):
        BudgetOracle.of(one).minimize(np.ones(3))
    with pytest.raises(ValueError, match="gradient: NaN at index 1"):
        SimplexOracle(blocks).minimize(np.array([0.0, np.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="finite entries"):
        BudgetOracle.of(one).minimize(np.array([0.0, np.inf, 0.0, 0.0]))


@pytest.mark.slow
def test_native_against_highs_long() -> None:
    for seed in range(20_000):
        feasible, costs, scale = instance(seed, blocks=12)
        value = check(feasible, costs, scale, "native")
        assert value == pytest.approx(check(feasible, costs, scale, "numpy"), abs=1e-12 * scale)  # of sums in another order
        if seed % 10 == 0:
            assert value == pytest.approx(check(feasible, costs, scale, "highs"), abs=1e-7 * scale)

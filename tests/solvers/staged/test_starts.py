"""Starts: feasible in every unit, optimal for the program each one states, messages."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

from solvers.arrays import FloatArray
from solvers.quadratic import Quadratic
from solvers.results import Result, Status
from solvers.sets import Blocks
from solvers.staged import Stage, StagedBlocks, StagedCost, balanced_start, cheapest_start, maximum_entropy, maximum_entropy_start

Start = Callable[[StagedBlocks, Quadratic, float], Result]


def hardcore(seed: int) -> tuple[StagedBlocks, Quadratic, float, float]:
    """HardCoRe-NAS's size with random times; the least cost, and the cost of the uniform point."""
    generator = np.random.default_rng(seed)
    space = StagedBlocks.of([Stage((12,) * 4, (2, 3, 4))] * 5)
    unit = 10.0 ** generator.uniform(-6, 6)
    cost = space.cost(5.0 * unit, generator.uniform(0.5, 3.0, size=240) * unit)
    return space, cost, cheapest_start(space, cost, np.inf).certificate.primal, cost.value(space.blocks.uniform())


def small(seed: int) -> tuple[StagedBlocks, FloatArray, Quadratic]:
    generator = np.random.default_rng(seed)
    stages = []
    for _ in range(generator.integers(1, 3)):
        chain = int(generator.integers(1, 4))
        depths = np.sort(generator.choice(np.arange(chain + 1), size=generator.integers(1, chain + 2), replace=False))
        stages.append(Stage(tuple(generator.integers(1, 4, size=chain).tolist()), tuple(depths.tolist())))
    space = StagedBlocks.of(stages)
    times = np.round(generator.random(space.alpha.stop), 2)
    return space, times, space.cost(0.5, times)


def architectures(space: StagedBlocks) -> list[FloatArray]:
    return [space.blocks.vertex(choice) for choice in itertools.product(*(range(size) for size in space.blocks.sizes))]


def test_cheapest_is_the_least_over_all_architectures() -> None:
    for seed in range(60):
        space, _, cost = small(seed)
        result = cheapest_start(space, cost, np.inf)
        least = min(cost.value(x) for x in architectures(space))
        assert result.certificate.primal == pytest.approx(least, abs=1e-12)
        assert result.certificate.gap == 0.0 and set(result.x.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("share", [1e-9, 1e-3, 0.05, 0.1, 0.3, 0.6, 0.95])
def test_starts_fit_and_use_the_budget(share: float) -> None:
    for seed in range(8):
        space, cost, least, uniform = hardcore(seed)
        budget = least + share * (uniform - least)
        for start in (cheapest_start, balanced_start, maximum_entropy_start):
            result = start(space, cost, budget)
            assert space.blocks.residual(result.x) <= 1e-12
            assert cost.value(result.x) <= budget * (1 + 1e-15)
            assert result.certificate.violation == max(0.0, cost.value(result.x) - budget)
        assert budget - cost.value(result.x) <= 1e-12 * budget * 3  # the entropy's: 1e-12 of the budget plus the times


def test_maximum_entropy_keeps_almost_every_configuration_alive() -> None:
    """From 5 % of the range from the cheapest to the costliest network up nearly 9 of 10 shares exceed 1e-3; from 10 % all do."""
    for seed in range(8):
        space, cost, least, _ = hardcore(seed)
        times = space.per_configuration(cost)
        costliest = cost.offset + sum(block.max() for block in np.split(times, 20))

        def alive(share: float, space: StagedBlocks = space, cost: Quadratic = cost, ends: tuple = (least, costliest)) -> float:
            x = maximum_entropy_start(space, cost, ends[0] + share * (ends[1] - ends[0])).x
            return float((x[space.alpha] > 1e-3).mean())

        assert alive(0.05) >= 0.85 and alive(0.1) == 1.0


def gibbs(space: StagedBlocks, cost: Quadratic, budget: float) -> tuple[FloatArray, FloatArray]:
    """The maximum-entropy law over all architectures by enumeration: bisection on the multiplier. Also their costs."""
    costs = np.array([cost.value(x) for x in architectures(space)])

    def law(lam: float) -> FloatArray:
        weights = np.exp(-lam * (costs - costs.min()))
        return weights / weights.sum()

    low, high = 0.0, 1e6
    if law(0.0) @ costs <= budget:
        return law(0.0), costs
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if law(middle) @ costs > budget else (low, middle)
    return law(high), costs


def test_maximum_entropy_is_the_law_it_says() -> None:
    """Against the Gibbs law over the enumerated architectures: mean cost, entropy, depths, configurations that run."""
    for seed in range(40):
        space, _, cost = small(seed)
        least = cheapest_start(space, cost, np.inf).certificate.primal
        budget = least + 0.4 * (cost.value(space.blocks.uniform()) - least) + 1e-3
        result = maximum_entropy_start(space, cost, budget)
        law, costs = gibbs(space, cost, budget)
        points = np.array(architectures(space))
        assert cost.value(result.x) == pytest.approx(law @ costs, abs=1e-9)
        entropy = -float(law[law > 0] @ np.log(law[law > 0]))
        assert result.certificate.primal == pytest.approx(entropy, abs=1e-8)
        assert result.certificate.gap <= 1e-9
        assert result.x[space.beta] == pytest.approx(law @ points[:, space.beta], abs=1e-8)
        runs = space.runs()
        for stage_index in range(len(space.stages)):
            for block in space.alpha_blocks(stage_index):
                running = points[:, space.beta] @ runs[:, block] > 0.5
                if law[running].sum() > 1e-12:
                    where = space.blocks.slice(block)
                    conditional = law[running] @ points[running][:, where] / law[running].sum()
                    assert result.x[where] == pytest.approx(conditional, abs=1e-8)


def test_balanced_is_the_optimum_of_each_part() -> None:
    """At the answer neither part can be spread more evenly with the other frozen: checked by scipy's SLSQP."""
    for seed in range(6):
        space, times, cost = small(seed + 3)
        least = cheapest_start(space, cost, np.inf).certificate.primal
        budget = least + 0.5 * (cost.value(space.blocks.uniform()) - least) + 1e-3
        x = balanced_start(space, cost, budget, rounds=200, tolerance=1e-12).x
        alpha = Blocks.of(space.blocks.sizes[: space.blocks.count - len(space.stages)])
        order = np.lexsort((times, np.repeat(np.arange(alpha.count), alpha.sizes)))
        borders = np.asarray(alpha.offsets[1:-1], dtype=int) - 1

        def uneven(part: FloatArray, order: FloatArray = order, borders: FloatArray = borders) -> float:
            return float((np.delete(np.diff(part[order]), borders) ** 2).sum())

        offset, weights = cost.freeze(space.alpha, x)
        sums = [
            {"type": "eq", "fun": lambda y, block=block, alpha=alpha: y[alpha.slice(block)].sum() - 1.0}
            for block in range(alpha.count)
        ]
        room = {"type": "ineq", "fun": lambda y, weights=weights, offset=offset, budget=budget: budget - offset - weights @ y}
        guess = alpha.uniform()
        answer = minimize(uneven, guess, bounds=[(0, 1)] * len(guess), constraints=[*sums, room], options={"ftol": 1e-14})
        # SLSQP's own accuracy; a local solver of a convex program finds its optimum
        assert uneven(x[space.alpha]) <= answer.fun + 1e-6


def test_balanced_backends_agree() -> None:
    for seed in range(3):
        space, cost, least, uniform = hardcore(seed)
        budget = least + 0.6 * (uniform - least)
        points = [balanced_start(space, cost, budget, backend=backend, rounds=1).x for backend in ("native", "highs", "cvxpy")]
        assert np.abs(points[0] - points[1]).max() <= 1e-4 and np.abs(points[0] - points[2]).max() <= 1e-3


def test_a_generous_budget_gives_the_uniform_point() -> None:
    space, cost, _, uniform = hardcore(0)
    for start in (balanced_start, maximum_entropy_start):
        assert start(space, cost, uniform * 1.01).x == pytest.approx(space.blocks.uniform(), abs=1e-12)


def test_a_budget_that_equals_the_least_cost() -> None:
    for seed in range(30):
        space, cost, least, _ = hardcore(seed)
        for start in (cheapest_start, balanced_start, maximum_entropy_start):
            result = start(space, cost, least)
            assert result.x is not None and cost.value(result.x) <= least * (1 + 1e-12)


@pytest.mark.parametrize("start", [cheapest_start, balanced_start, maximum_entropy_start])
def test_infeasible_budgets_name_the_least_cost(start: Start) -> None:
    space = StagedBlocks.of([Stage((2, 2), (1, 2))])
    result = start(space, space.cost(1.0, [2.0, 3.0, 4.0, 5.0]), 2.5)
    assert result.status is Status.INFEASIBLE and result.x is None
    assert result.message == "the budget is 2.5, the least possible cost is 3.0"


@pytest.mark.parametrize("start", [cheapest_start, balanced_start, maximum_entropy_start])
def test_malformed_input(start: Start) -> None:
    space = StagedBlocks.of([Stage((2, 2), (1, 2))])
    with pytest.raises(ValueError, match="NaN"):
        start(space, space.cost(1.0, np.ones(4)), np.nan)
    with pytest.raises(ValueError, match=r"built by StagedBlocks\.cost"):
        start(space, Quadratic.of(0.0, np.ones(6)), 5.0)
    with pytest.raises(ValueError, match=r"built by StagedBlocks\.cost"):
        start(space, Quadratic.of(0.0, np.zeros(3)), 5.0)


def test_balanced_refuses_an_unknown_backend() -> None:
    space = StagedBlocks.of([Stage((2, 2), (1, 2))])
    with pytest.raises(ValueError, match="expected 'native', 'highs' or 'cvxpy', got 'osqp'"):
        balanced_start(space, space.cost(1.0, np.ones(4)), 5.0, backend="osqp")


def test_per_configuration_inverts_cost() -> None:
    for seed in range(30):
        space, times, cost = small(seed)
        read = space.per_configuration(cost)
        assert np.array_equal(space.cost(0.5, read).theta, cost.theta)
        reached = np.repeat(space.runs().any(axis=0), space.blocks.sizes[: space.blocks.count - len(space.stages)])
        assert np.array_equal(read, np.where(reached, times, 0.0))


def test_flat_costs_give_the_same_starts_as_dense_ones() -> None:
    for seed in range(10):
        space, cost, least, uniform = hardcore(seed)
        flat = StagedCost.of(space, cost.offset, space.per_configuration(cost))
        budget = least + 0.4 * (uniform - least)
        for start in (cheapest_start, maximum_entropy_start):
            dense, other = start(space, cost, budget), start(space, flat, budget)  # type: ignore[operator]
            assert np.array_equal(dense.x, other.x) and dense.status is other.status
            assert cost.value(other.x) <= budget * (1 + 1e-15) and other.certificate.violation <= 1e-15 * budget


def test_maximum_entropy_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(10):
        space, cost, least, uniform = hardcore(seed)
        budget = least + 0.3 * (uniform - least)
        native = maximum_entropy_start(space, cost, budget)
        with monkeypatch.context() as patch:
            patch.setattr(maximum_entropy, "uses_kernels", lambda backend: False)
            plain = maximum_entropy_start(space, cost, budget)
        # Both roots spend the budget to 1e-12; the shares differ by that times their slope, which is some tens at most here.
        assert np.abs(native.x - plain.x).max() <= 1e-10
        assert native.certificate.primal == pytest.approx(plain.certificate.primal, rel=1e-10)

"""The quadratic program of the balanced start: closed form against HiGHS and Clarabel, optimality, messages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.arrays import FloatArray
from solvers.results import Status
from solvers.sets import Blocks, BudgetedBlocks
from solvers.staged import even_shares, unevenness


def instance(seed: int, share: float) -> tuple[BudgetedBlocks, FloatArray]:
    """Random weights (ties, signs, a block without cost), and a budget ``share`` of the way from the least to the uniform cost."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 13, size=generator.integers(1, 9))
    blocks = Blocks.of(sizes, generator.uniform(0.5, 3.0, size=len(sizes)) if seed % 2 else None)
    weights = generator.random(blocks.dimension)
    if seed % 5 == 1:
        weights = np.ceil(4 * weights)
    if seed % 5 == 2:
        weights -= 0.5
    if seed % 5 == 3:
        weights[blocks.slice(0)] = 0.0
    weights *= 10.0 ** generator.uniform(-4, 4)
    order = np.lexsort((weights, np.repeat(np.arange(blocks.count), blocks.sizes)))
    least = float(np.minimum.reduceat(weights, blocks.offsets[:-1]) @ blocks.totals)
    uniform = float(weights @ blocks.uniform())
    return BudgetedBlocks.of(blocks, weights, least + share * (uniform - least)), order


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-9, 1e-6, 0.01, 0.1, 0.5, 0.9, 1.0, 1.3]))
def test_closed_form_is_optimal_with_proof(seed: int, share: float) -> None:
    feasible, order = instance(seed, share)
    result = even_shares(feasible, order)
    totals = feasible.blocks.totals
    assert result.status is Status.OPTIMAL and (result.x >= 0).all()
    assert feasible.blocks.residual(result.x) <= 1e-12 * totals.max()
    assert result.certificate.violation <= 1e-12 * np.abs(feasible.weights).sum() * totals.max()
    # The bound is a dual value, computed apart from the closed form; objectives are of the size of the squared totals.
    assert result.certificate.gap <= 1e-9 * float(totals @ totals)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 0.8, 1.0]))
def test_backends_agree(seed: int, share: float) -> None:
    feasible, order = instance(seed, share)
    native = even_shares(feasible, order)
    # HiGHS is asked for 1e-7 and Clarabel for 1e-8 in objective; the shares move by the root of that.
    for backend, tolerance in (("highs", 1e-5), ("cvxpy", 1e-3)):
        other = even_shares(feasible, order, backend=backend)
        assert np.abs(other.x - native.x).max() <= tolerance * feasible.blocks.totals.max(), backend
        assert other.certificate.primal >= native.certificate.primal - 1e-5 * feasible.blocks.totals.max() ** 2


def test_the_costliest_options_go_first() -> None:
    """The support of every block is a prefix in rising cost, and shares fall along it where costs differ."""
    for seed in range(80):
        feasible, order = instance(seed, 0.2)
        x = even_shares(feasible, order).x[order]
        for share in feasible.blocks.split(x):
            assert (np.diff(share) <= 1e-12 * share.max()).all()


def test_unevenness_of_known_points() -> None:
    blocks = Blocks.of([3, 2])
    order = np.array([2, 0, 1, 3, 4])
    assert unevenness(blocks, order, np.array([0.0, 0.0, 1.0, 0.5, 0.5])) == 1.0
    assert unevenness(blocks, order, blocks.uniform()) == pytest.approx(0.0, abs=1e-30)
    assert unevenness(blocks, order, np.array([0.5, 0.0, 0.5, 1.0, 0.0])) == 0.25 + 1.0


def test_infeasible_and_malformed() -> None:
    blocks = Blocks.of([2, 2])
    feasible = BudgetedBlocks.of(blocks, [1.0, 2.0, 1.0, 3.0], 1.5)
    order = np.arange(4)
    result = even_shares(feasible, order)
    assert result.status is Status.INFEASIBLE and "1.5, the least possible cost is 2.0" in result.message
    with pytest.raises(ValueError, match="one budget, got 2"):
        even_shares(BudgetedBlocks.of(blocks, np.ones((2, 4)), [9.0, 9.0]), order)
    with pytest.raises(ValueError, match="permutation"):
        even_shares(feasible, np.array([0, 2, 1, 3]))
    with pytest.raises(ValueError, match="weights must rise"):
        even_shares(feasible, np.array([1, 0, 2, 3]))
    with pytest.raises(ValueError, match="expected 'native', 'highs' or 'cvxpy'"):
        even_shares(feasible, order, backend="scipy")

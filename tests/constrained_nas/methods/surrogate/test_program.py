"""Pairwise functions under budgets: everything fits, additive ones are minimized exactly, the bound is one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from support.macro import SPACE, counts, points
from support.searches import problem as staged_problem
from support.searches import setting

from constrained_nas.methods.surrogate.program import PairwiseProgram
from constrained_nas.problem import Budget, SearchProblem
from graphs import Decision, SearchSpace
from graphs.costs import PeakCost, QuadraticCost, mac_cost, parameter_cost
from solvers import InfeasibleError, Quadratic
from solvers.arrays import FloatArray


def budgets(first: float, second: float | None) -> SearchProblem:
    """Limits at these quantiles of the networks' multiply-adds and parameters."""
    costs = [mac_cost(SPACE), parameter_cost(SPACE)]
    quantiles = [first] if second is None else [first, second]
    limits = [float(np.floor(np.quantile(row, q))) for row, q in zip(counts(), quantiles, strict=False)]
    return SearchProblem(SPACE.space, tuple(Budget(c, limit, c.unit) for c, limit in zip(costs, limits, strict=False)))


def fitting(asked: SearchProblem) -> FloatArray:
    return points()[(counts()[: len(asked.limits)] <= np.array(asked.limits)[:, None]).all(0)]


def function(seed: int, interaction: float) -> Quadratic:
    generator = np.random.default_rng(seed)
    pairs = np.triu(generator.normal(size=(25, 25))) * interaction
    number = np.repeat(np.arange(9), [3] * 8 + [1])
    pairs[number[:, None] == number] = 0.0
    return Quadratic.of(0.3, generator.normal(size=25), pairs)


def values(f: Quadratic, x: FloatArray) -> FloatArray:
    return f.offset + x @ f.linear + ((x @ f.theta) * x).sum(1)


@pytest.mark.parametrize(("first", "second"), [(0.05, None), (0.5, None), (0.1, 0.1), (0.6, 0.2), (0.3, 0.7)])
def test_additive_functions_are_minimized_exactly(first: float, second: float | None) -> None:
    asked = budgets(first, second)
    program, feasible = PairwiseProgram.of(asked, SPACE.staged), fitting(asked)
    for seed in range(4):
        f = function(seed, 0.0)
        least = values(f, feasible).min()
        start = program.projected(np.zeros(25))[0]
        assert f.value(program.least(f, [start])) == pytest.approx(least, rel=1e-12)
        assert program.bound(f) == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize(("first", "second"), [(0.1, None), (0.5, None), (0.3, 0.3)])
def test_pairwise_functions(first: float, second: float | None) -> None:
    asked = budgets(first, second)
    program, feasible, exact = PairwiseProgram.of(asked, SPACE.staged), fitting(asked), 0
    for seed in range(10):
        f = function(seed, 0.5)
        everything = values(f, feasible)
        starts = [program.projected(np.random.default_rng([seed, n]).normal(size=25))[0] for n in range(2)]
        found = program.least(f, starts)
        assert asked.fits(SPACE.space.architecture(found))
        assert program.bound(f) <= everything.min() + 1e-9
        assert f.value(found) <= np.quantile(everything, 0.02)
        exact += f.value(found) <= everything.min() + 1e-9
    assert exact >= 6


def test_architectures_that_are_taken_are_not_handed_back() -> None:
    asked, f = budgets(0.3, None), function(0, 0.5)
    program = PairwiseProgram.of(asked, SPACE.staged)
    start, taken = program.projected(np.zeros(25))[0], set()
    for _ in range(20):
        found = program.least(f, [start], taken)
        assert found.tobytes() not in taken and program.fits(found)
        taken.add(found.tobytes())


def test_nothing_fits() -> None:
    cost = mac_cost(SPACE)
    program = PairwiseProgram.of(SearchProblem(SPACE.space, (Budget(cost, 1.0, cost.unit),)), SPACE.staged)
    with pytest.raises(InfeasibleError):
        program.projected(np.zeros(25))


def test_depths_and_blocks_that_do_not_run() -> None:
    space, *_ = setting()
    asked, blocks = staged_problem(0.4), space.staged.blocks
    program = PairwiseProgram.of(asked, space.staged)
    generator = np.random.default_rng(0)
    idle = program.canonical(blocks.vertex([3, 5, 2, 7, 0, 1]))
    assert idle.tolist() == blocks.vertex([3, 0, 2, 7, 0, 1]).tolist()
    number = np.repeat(np.arange(blocks.count), blocks.sizes)
    pairs = 0.2 * generator.normal(size=(blocks.dimension,) * 2)
    pairs[number[:, None] == number] = 0.0
    f = Quadratic.of(0.0, generator.normal(size=blocks.dimension), pairs)
    start = program.projected(generator.normal(size=blocks.dimension))[0]
    found = program.least(f, [start])
    assert np.array_equal(found, program.canonical(found)) and program.fits(found)
    every = [blocks.vertex(list(choices)) for choices in product(*(range(size) for size in blocks.sizes))]
    cost, limit = asked.quadratics("test")[0], asked.limits[0]
    assert program.bound(f) <= min(f.value(x) for x in every if cost.value(x) <= limit) + 1e-9


def test_decisions_that_do_not_depend_on_each_other() -> None:
    """Without stages: a sum with a saving in it, and a peak that forbids an option; everything against enumeration."""
    generator = np.random.default_rng(0)
    space = SearchSpace("free", tuple(Decision(name, ("none", "small", "large")) for name in "abcd"))
    blocks = space.blocks
    spent = QuadraticCost("spent", "units", space, Quadratic.of(5.0, generator.uniform(-1, 3, blocks.dimension)))
    peaks = PeakCost("peak", "bytes", space, 1.0, np.tile([0.0, 2.0, 4.0], 4) + np.eye(12)[5], lambda v: Quadratic.of(0.0, v))
    every = np.stack([blocks.vertex(list(choices)) for choices in product(range(3), repeat=4)])
    limit = float(np.median([spent.quadratic.value(x) for x in every]))
    asked = SearchProblem(space, (Budget(spent, limit, "units"), Budget(peaks, 4.5, "bytes")))
    feasible = every[[asked.fits(space.architecture(x)) for x in every]]
    assert 0 < len(feasible) < 41
    program = PairwiseProgram.of(asked, None)
    number = np.repeat(np.arange(4), 3)
    for seed in range(4):
        pairs = np.random.default_rng(seed).normal(size=(12, 12)) * (number[:, None] != number) * (seed % 2)
        f = Quadratic.of(0.3, np.random.default_rng(seed).normal(size=12), pairs)
        starts = [program.projected(np.random.default_rng([seed, n]).normal(size=12))[0] for n in range(2)]
        found, least = program.least(f, starts), values(f, feasible).min()
        assert program.fits(found) and program.bound(f) <= least + 1e-9
        if not seed % 2:
            assert f.value(found) == pytest.approx(least) and program.bound(f) == pytest.approx(least)
        else:
            assert f.value(found) <= np.quantile(values(f, feasible), 0.1)

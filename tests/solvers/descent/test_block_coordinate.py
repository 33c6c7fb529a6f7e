"""Block Frank-Wolfe: every iterate feasible, the single step pure and right, several budgets, messages."""

import numpy as np
import pytest
from scipy.optimize import linprog

from solvers.arrays import FloatArray
from solvers.descent import block_frank_wolfe, block_oracle, block_step, exact_line_search, open_loop
from solvers.descent.step_rules import constant
from solvers.quadratic import Quadratic
from solvers.results import SolverError, Status
from solvers.staged import Stage, StagedBlocks, balanced_start, cheapest_start, maximum_entropy_start

# What every iterate is held to, relative to the budget.
FEASIBLE = 1e-9


def space_of(generator: np.random.Generator) -> StagedBlocks:
    stages = []
    for _ in range(generator.integers(1, 4)):
        chain = int(generator.integers(1, 5))
        depths = np.sort(generator.choice(np.arange(chain + 1), size=generator.integers(1, chain + 2), replace=False))
        stages.append(Stage(tuple(generator.integers(1, 6, size=chain).tolist()), tuple(depths.tolist())))
    return StagedBlocks.of(stages)


def instance(seed: int) -> tuple[StagedBlocks, Quadratic, float, np.random.Generator]:
    """A random staged space, a cost in a random unit, and a budget from the least cost upwards."""
    generator = np.random.default_rng(seed)
    space = space_of(generator)
    unit = 10.0 ** generator.uniform(-6, 6)
    times = generator.random(space.alpha.stop) * unit
    times[generator.random(len(times)) < 0.1] = 0.0
    cost = space.cost(unit * generator.random(), times)
    least = cheapest_start(space, cost, np.inf).certificate.primal
    room = max(cost.value(space.blocks.uniform()) - least, 0.0)
    return space, cost, least + room * generator.choice([0.0, 1e-12, 1e-3, 0.2, 0.7, 1.5]), generator


def worst_of(space: StagedBlocks, costs: list[Quadratic], limits: list[float], points: list[FloatArray]) -> float:
    """Greatest relative excess over a budget and error of the simplices."""
    excess = [(cost.value(x) - limit) / abs(limit) for x in points for cost, limit in zip(costs, limits, strict=True)]
    return max(*excess, *(space.blocks.residual(x) for x in points))


def test_every_iterate_is_feasible_on_hundreds_of_instances() -> None:
    worst = 0.0
    for seed in range(300):
        space, cost, budget, generator = instance(seed)
        if budget == 0.0:
            continue
        pull = generator.normal(size=space.blocks.dimension)
        start = (cheapest_start, maximum_entropy_start, balanced_start)[seed % 3](space, cost, budget).x
        points: list[FloatArray] = []
        run = block_frank_wolfe(
            lambda x, pull=pull, generator=generator: pull + generator.normal(size=len(x)),
            space.blocks,
            (space.alpha, space.beta),
            cost,
            budget,
            start,
            iterations=40,
            generator=np.random.default_rng(seed),
            step_rule=(open_loop(4), open_loop(4, 8), constant(0.002))[seed % 3],
            momentum=0.9 * (seed % 2),
            callback=lambda seen, points=points: points.append(seen.x),
        )
        assert run.result.status is Status.FEASIBLE and run.result.iterations == 40, run.result.message
        worst = max(worst, worst_of(space, [cost], [budget], [*points, run.result.x]))
        assert run.result.certificate.violation <= FEASIBLE * budget
    assert worst <= FEASIBLE


def test_long_runs_do_not_drift() -> None:
    space, cost, budget, generator = instance(13)
    run = block_frank_wolfe(
        lambda x: generator.normal(size=len(x)),
        space.blocks,
        (space.alpha, space.beta),
        cost,
        budget,
        cheapest_start(space, cost, budget).x,
        iterations=5000,
        generator=np.random.default_rng(0),
        step_rule=constant(0.05),
    )
    assert worst_of(space, [cost], [budget], [run.result.x]) <= 1e-12


def test_the_step_solves_the_frozen_program() -> None:
    for seed in range(60):
        space, cost, _, generator = instance(seed)
        # Well inside: at the least cost, what a reference's tolerance buys is without bound.
        budget = 0.5 * (cost.value(space.blocks.uniform()) + cheapest_start(space, cost, np.inf).certificate.primal)
        start = maximum_entropy_start(space, cost, budget).x
        gradient = generator.normal(size=space.blocks.dimension)
        kept = start.copy()
        for part in (space.alpha, space.beta):
            step = block_step(start, gradient, part, space.blocks, cost, budget, 0.3)
            offset, weights = cost.freeze(part, start)
            blocks = space.blocks.part(part.start, part.stop)
            sums = np.array([np.repeat(np.eye(blocks.count)[block], blocks.sizes) for block in range(blocks.count)])
            unit = float(np.abs(weights).max()) or 1.0
            reference = linprog(
                gradient[part],
                A_ub=weights[None] / unit,
                b_ub=[(budget - offset + 1e-10 * budget) / unit],
                A_eq=sums,
                b_eq=blocks.totals,
                method="highs-ds",
                options={"primal_feasibility_tolerance": 1e-10},
            )
            assert reference.status == 0
            # linprog was lent 1e-10 of the budget and takes 1e-10 of its own: worth that much times the price it states
            lent = 1e-10 * (1.0 + budget / unit) * float(np.abs(reference.ineqlin.marginals).max())
            assert float(gradient[part] @ step.vertex) == pytest.approx(reference.fun, abs=1e-9 + lent)
            assert step.gap == pytest.approx(float(gradient[part] @ (start[part] - step.vertex)), abs=1e-12)
            expected = start.copy()
            expected[part] += 0.3 * (step.vertex - start[part])
            assert step.x == pytest.approx(expected, abs=1e-15)
        assert np.array_equal(start, kept)  # pure


def test_a_full_step_lands_on_the_vertex_exactly() -> None:
    space, cost, budget, generator = instance(4)
    start = maximum_entropy_start(space, cost, budget).x
    step = block_step(start, generator.normal(size=len(start)), space.alpha, space.blocks, cost, budget, 1.0)
    assert np.array_equal(step.x[space.alpha], step.vertex)


def test_it_descends_a_smooth_loss() -> None:
    """A strongly convex loss with its minimum inside: the gaps and the distance fall."""
    space = StagedBlocks.of([Stage((4, 4), (1, 2)), Stage((3, 3, 3), (1, 2, 3))])
    cost = space.cost(1.0, np.random.default_rng(5).random(space.alpha.stop) + 0.1)
    budget = cost.value(space.blocks.uniform()) * 1.05
    target = space.blocks.uniform()
    start = cheapest_start(space, cost, budget).x
    run = block_frank_wolfe(
        lambda x: x - target,
        space.blocks,
        (space.alpha, space.beta),
        cost,
        budget,
        start,
        iterations=600,
        generator=np.random.default_rng(1),
        objective=lambda x: 0.5 * float((x - target) @ (x - target)),
    )
    assert run.objectives[-1] < 1e-3 * run.objectives[0]
    exact = block_frank_wolfe(
        lambda x: x - target,
        space.blocks,
        (space.alpha, space.beta),
        cost,
        budget,
        start,
        iterations=200,
        generator=np.random.default_rng(1),
        step_rule=exact_line_search(),
        objective=lambda x: 0.5 * float((x - target) @ (x - target)),
    )
    assert (np.diff(exact.objectives) <= 1e-15).all()


def test_the_generator_decides_and_nothing_else() -> None:
    space, cost, budget, generator = instance(8)
    pull = generator.normal(size=space.blocks.dimension)
    start = maximum_entropy_start(space, cost, budget).x

    def end(seed: int) -> FloatArray:
        parts = (space.alpha, space.beta)
        rng = np.random.default_rng(seed)
        return block_frank_wolfe(
            lambda x: pull * x, space.blocks, parts, cost, budget, start, iterations=25, generator=rng
        ).result.x

    assert np.array_equal(end(3), end(3))


def test_several_budgets_go_to_highs() -> None:
    for seed in range(20):
        space, cost, budget, generator = instance(seed + 500)
        other = space.cost(1.0, generator.random(space.alpha.stop))
        start = maximum_entropy_start(space, cost, budget).x
        limit = other.value(start) + 0.05
        points: list[FloatArray] = []
        block_frank_wolfe(
            lambda x, generator=generator: generator.normal(size=len(x)),
            space.blocks,
            (space.alpha, space.beta),
            (cost, other),
            (budget, limit),
            start,
            iterations=15,
            generator=np.random.default_rng(seed),
            callback=lambda seen, points=points: points.append(seen.x),
        )
        assert points and worst_of(space, [cost, other], [budget, limit], points) <= FEASIBLE


def test_backends_take_the_same_step() -> None:
    for seed in range(12):
        space, cost, budget, generator = instance(seed)
        start = maximum_entropy_start(space, cost, budget).x
        gradient = generator.normal(size=len(start))
        for part in (space.alpha, space.beta):
            gaps = [
                block_step(start, gradient, part, space.blocks, cost, budget, 0.5, backend=backend).gap
                for backend in ("native", "highs", "scipy", "cvxpy")
            ]
            assert np.ptp(gaps) <= 1e-6  # budgets within 1e-12 of the least cost included: tolerances of the LP solvers show


def test_an_infeasible_step_leaves_the_point_and_says_so() -> None:
    space = StagedBlocks.of([Stage((2,), (1,))])
    cost = space.cost(0.0, [1.0, 2.0])
    step = block_step(np.array([0.5, 0.5, 1.0]), np.ones(3), space.alpha, space.blocks, cost, 0.5, 0.5)
    assert step.vertex is None and step.oracle.status is Status.INFEASIBLE
    assert step.x.tolist() == [0.5, 0.5, 1.0] and "least possible cost is 1.0" in step.oracle.message


def test_malformed_input() -> None:
    space = StagedBlocks.of([Stage((2, 2), (1, 2))])
    cost = space.cost(0.0, [1.0, 2.0, 1.0, 2.0])
    x, parts, generator = cheapest_start(space, cost, 9.0).x, (space.alpha, space.beta), np.random.default_rng(0)

    def run(start: FloatArray, budget: float = 9.0, **more: object) -> object:
        arguments = {"iterations": 1, "generator": generator, **more}
        return block_frank_wolfe(lambda y: np.ones_like(y), space.blocks, parts, cost, budget, start, **arguments)

    with pytest.raises(ValueError, match=r"start: costs 1\.0 under budget 0 of 0\.5"):
        run(x, 0.5)
    with pytest.raises(ValueError, match="not a point of the blocks"):
        run(x * 2)
    with pytest.raises(ValueError, match="momentum"):
        run(x, momentum=1.0)
    with pytest.raises(ValueError, match="one capacity a cost, got 2 costs"):
        block_oracle(x, space.alpha, space.blocks, (cost, cost), 9.0)
    with pytest.raises(ValueError, match="border"):
        block_oracle(x, slice(1, 3), space.blocks, cost, 9.0)
    with pytest.raises(ValueError, match="not affine"):
        block_oracle(x, slice(0, 6), space.blocks, cost, 9.0)
    with pytest.raises(ValueError, match=r"step size: expected a number in \[0, 1\], got 1.5"):
        block_step(x, np.ones(6), space.alpha, space.blocks, cost, 9.0, 1.5)
    with pytest.raises(ValueError, match="gradient: expected shape"):
        block_step(x, np.ones(5), space.alpha, space.blocks, cost, 9.0, 0.5)
    with pytest.raises(SolverError, match="not finite"):
        block_frank_wolfe(lambda y: y * np.nan, space.blocks, parts, cost, 9.0, x, iterations=1, generator=generator)

"""Frank-Wolfe: convergence pins of the toy problem, rates, gaps, step rules, variants."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.descent import (
    ActiveSet,
    BudgetOracle,
    Iterate,
    Run,
    SimplexOracle,
    StepRule,
    backtracking,
    exact_line_search,
    frank_wolfe,
    open_loop,
    short_step,
)
from solvers.descent.step_rules import Step, constant
from solvers.results import SolverError, Status
from solvers.sets import Blocks, BudgetedBlocks

D = 10  # the toy problem's dimension: min |x|^2 over the simplex, optimum 1 / D at the centre
SIMPLEX = SimplexOracle(Blocks.of([D]))


def toy(start: np.ndarray | ActiveSet, rule: StepRule, iterations: int, variant: str = "vanilla", **more: object) -> Run:
    return frank_wolfe(
        lambda x: 2 * x,
        SIMPLEX,
        start,
        iterations=iterations,
        step_rule=rule,
        variant=variant,
        objective=lambda x: float(x @ x),
        convex=True,
        **more,
    )


def interior(seed: int) -> np.ndarray:
    point = np.random.default_rng(seed).random(D)
    return point / point.sum()


def first_within(run: Run, relative: float = 1e-3) -> int:
    return int(np.argmax(run.objectives * D - 1.0 <= relative))


@pytest.mark.parametrize(("numerator", "steps"), [(2, 181), (4, 362)])
def test_open_loop_reaches_the_toy_optimum_when_published_readings_say(numerator: float, steps: int) -> None:
    sums: list[float] = []
    for start in (np.eye(D)[0], interior(0), interior(1)):
        run = toy(start, open_loop(numerator), 400, callback=lambda seen: sums.append(float(seen.x.sum())))
        assert first_within(run) == steps
    assert np.abs(np.array(sums) - 1.0).max() <= 1e-12


def test_faster_rules_need_fewer_steps() -> None:
    for seed in range(10):
        start = interior(seed)
        line = first_within(toy(start, exact_line_search(), 200))
        pairwise = first_within(toy(ActiveSet(start, np.eye(D)), exact_line_search(), 200, "pairwise"))
        away = first_within(toy(ActiveSet(start, np.eye(D)), exact_line_search(), 200, "away"))
        assert line <= 60 and pairwise <= 15 and away <= 15  # over 1000 starts: 12 to 55, 4 to 15


def test_variants_converge_linearly_where_vanilla_does_not() -> None:
    """The optimum lies within a face: Lacoste-Julien and Jaggi's reason for away steps."""
    target = np.r_[0.5, 0.3, 0.2, np.full(D - 3, -0.2)]
    start = np.full(D, 1 / D)
    ends = {}
    for variant in ("vanilla", "away", "pairwise"):
        run = frank_wolfe(
            lambda x: 2 * (x - target),
            SIMPLEX,
            ActiveSet(start, np.eye(D)),
            iterations=300,
            step_rule=exact_line_search(),
            variant=variant,
            objective=lambda x: float((x - target) @ (x - target)),
            convex=True,
            tolerance=1e-13,
        )
        ends[variant] = run.gaps[-1]
    assert ends["away"] <= 1e-13 and ends["pairwise"] <= 1e-13 and ends["vanilla"] > 1e-6


@pytest.mark.parametrize("rule", [open_loop(2), open_loop(4), open_loop(4, 8), exact_line_search(), backtracking(), short_step(2)])
def test_gap_bounds_the_error_and_the_rate_of_theory_holds(rule: StepRule) -> None:
    run = toy(np.eye(D)[3], rule, 300)
    errors = run.objectives - 1 / D
    assert (run.gaps >= errors - 1e-15).all()
    assert len(run.gaps) == len(run.steps) + 1 == len(run.objectives)
    # 2 C / (t + 2) with curvature C = L * diameter^2 = 4 (Jaggi, Theorem 1) for 2 / (t + 2); the others within a factor 4.
    assert (errors[1:] <= 4 * 2 * 4.0 / (np.arange(1, len(errors)) + 2)).all()
    assert run.result.certificate.bound <= 1 / D + 1e-15


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(["vanilla", "away", "pairwise"]), st.booleans())
def test_iterates_stay_feasible_under_a_budget(seed: int, variant: str, line_search: bool) -> None:
    generator = np.random.default_rng(seed)
    blocks = Blocks.of(generator.integers(2, 6, size=4))
    weights = generator.random(blocks.dimension)
    least = np.minimum.reduceat(weights, blocks.offsets[:-1]).sum()
    feasible = BudgetedBlocks.of(blocks, weights, least + generator.random())
    oracle = BudgetOracle.of(feasible)
    start, target = oracle.minimize(weights).x, generator.normal(size=blocks.dimension)
    worst = 0.0

    def watch(seen: Iterate) -> None:
        nonlocal worst
        worst = max(worst, feasible.residual(seen.x))

    rule = exact_line_search() if line_search else open_loop(4, 8)
    run = frank_wolfe(lambda x: x - target, oracle, start, iterations=60, step_rule=rule, variant=variant, callback=watch)
    assert max(worst, feasible.residual(run.result.x)) <= 1e-12
    assert run.gaps[-1] <= run.gaps[0] + 1e-12


def test_step_rules_at_a_step() -> None:
    def step(t: int, largest: float = 1.0, objective: Callable | None = None) -> Step:
        x = np.array([1.0, 0.0])
        return Step(t, x, np.array([-1.0, 1.0]), 2.0, largest, lambda y: 2 * y, objective)

    assert [open_loop(2)(step(t)) for t in (0, 2)] == [1.0, 0.5]
    assert open_loop(4, 8)(step(0)) == 0.5 and open_loop(4)(step(4)) == 0.5
    assert constant(0.25)(step(7)) == 0.25 and constant(0.25)(step(7, largest=0.1)) == 0.1
    assert short_step(2.0)(step(0)) == 0.5  # slope 2 / (2 * |d|^2 = 2)
    assert exact_line_search()(step(0)) == pytest.approx(0.5, abs=1e-12)  # |x + g d|^2 = (1 - g)^2 + g^2
    assert exact_line_search()(step(0, largest=0.3)) == 0.3
    assert backtracking()(step(0, objective=lambda y: float(y @ y))) == 0.5
    with pytest.raises(ValueError, match="needs the objective"):
        backtracking()(step(0))


def test_exact_line_search_on_a_function_that_is_not_quadratic() -> None:
    x, direction = np.array([1.0, 0.0]), np.array([-1.0, 1.0])
    weights = np.array([3.0, 1.0])  # sum w exp(x): stationary where 3 e^(1 - g) = e^g
    found = exact_line_search()(Step(0, x, direction, 3 * np.e - 1, 1.0, lambda y: weights * np.exp(y), None))
    assert found == pytest.approx(min(1.0, 0.5 + np.log(3.0) / 2), abs=1e-10)
    softer = np.array([1.2, 1.0])
    found = exact_line_search()(Step(0, x, direction, 1.2 * np.e - 1, 1.0, lambda y: softer * np.exp(y), None))
    assert found == pytest.approx(0.5 + np.log(1.2) / 2, abs=1e-10)


def test_callback_tolerance_and_status() -> None:
    assert toy(np.eye(D)[0], open_loop(2), 50, callback=lambda seen: seen.iteration == 7).result.iterations == 7
    done = toy(np.eye(D)[0], exact_line_search(), 500, tolerance=1e-3)
    assert done.result.status is Status.OPTIMAL and done.result.certificate.gap <= 1e-3
    unknown = frank_wolfe(lambda x: 2 * x, SIMPLEX, np.eye(D)[0], iterations=3)
    assert unknown.result.status is Status.FEASIBLE and unknown.result.certificate.bound is None
    assert unknown.objectives is None and unknown.result.require_feasible() is unknown.result


def test_an_empty_set_is_an_answer() -> None:
    oracle = BudgetOracle.of(BudgetedBlocks.of(Blocks.of([2]), [1.0, 2.0], 0.5))
    run = frank_wolfe(lambda x: x, oracle, np.array([1.0, 0.0]), iterations=3)
    assert run.result.status is Status.INFEASIBLE and "least possible cost is 1.0" in run.result.message


def test_malformed_input() -> None:
    start = np.eye(D)[0]
    with pytest.raises(ValueError, match="expected 'vanilla', 'away' or 'pairwise'"):
        frank_wolfe(lambda x: x, SIMPLEX, start, iterations=1, variant="blended")
    with pytest.raises(ValueError, match="iterations: expected 0 or more"):
        frank_wolfe(lambda x: x, SIMPLEX, start, iterations=-1)
    with pytest.raises(ValueError, match="gradient: expected shape"):
        frank_wolfe(lambda x: x[:3], SIMPLEX, start, iterations=1)
    with pytest.raises(SolverError, match="not finite at iteration 0"):
        frank_wolfe(lambda x: x * np.nan, SIMPLEX, start, iterations=1)
    with pytest.raises(ValueError, match="weights >= 0 that sum to 1"):
        frank_wolfe(lambda x: x, SIMPLEX, ActiveSet(np.array([0.5, 0.2]), np.eye(D)[:2]), iterations=1)
    with pytest.raises(ValueError, match="numerator"):
        open_loop(4, 2)
    with pytest.raises(ValueError, match=r"step in \(0, 1\]"):
        constant(0.0)
    with pytest.raises(ValueError, match="Lipschitz"):
        short_step(0.0)
    with pytest.raises(ValueError, match=r"factor in \(0, 1\)"):
        backtracking(1.0)

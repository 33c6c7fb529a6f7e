"""Joint projection under bilinear budgets: brute force, HiGHS, zero violations; and the paper's separate scheme, which violates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import brute_force_staged, highs_milp_staged
from support.staged_programs import Program, hardcore_program, small_program

from solvers import Blocks, Quadratic, Stage, StagedBlocks, StagedCost, Status
from solvers.staged import argmax_projection, project_jointly, project_separately, project_sequentially

# The certified gap of "exact", relative to max(1, |value|).
EXACT = 1e-9


def test_joint_projection_equals_brute_force() -> None:
    rng = np.random.default_rng(0)
    for index in range(300):
        program = small_program(rng)
        least, most = program.least, program.fixed + float(program.times.sum())
        budgets = [float(rng.uniform(least, most + 0.01)), least, float(np.nextafter(least, math.inf))]
        for budget in budgets:
            best = brute_force_staged(
                program.nested(program.scores),
                program.beta,
                program.depths,
                [program.nested(program.times)],
                [program.fixed],
                [budget],
            )
            assert best is not None
            backends = ("native", "highs", "scipy") if index % 15 == 0 else ("native",)
            for backend in backends:
                result = project_jointly(program.staged, program.scores, program.cost, budget, backend=backend)  # type: ignore[arg-type]
                assert result.x is not None and result.certificate is not None and result.status is Status.OPTIMAL
                assert abs(result.certificate.primal - best) <= EXACT * max(1.0, abs(best))
                assert result.certificate.bound is not None and result.certificate.bound >= best - 1e-12 * max(1.0, abs(best))
                assert program.recost(result.x) <= budget and result.certificate.violation == 0.0
                assert program.staged.blocks.residual(result.x) == 0.0 and set(np.unique(result.x)) <= {0.0, 1.0}


def test_several_bilinear_budgets_equal_brute_force() -> None:
    rng = np.random.default_rng(1)
    answered = 0
    for index in range(60):
        program = small_program(rng)
        memory = rng.random(program.staged.alpha.stop)
        second = StagedCost.of(program.staged, 0.1, memory)
        budgets = [
            float(rng.uniform(program.least, program.fixed + 0.6 * program.times.sum() + 0.01))
            if program.times.any()
            else program.fixed,
            float(second.least(program.staged.layout) + 0.2 * memory.sum()),
        ]
        budgets[0] = max(budgets[0], program.least)
        best = brute_force_staged(
            program.nested(program.scores),
            program.beta,
            program.depths,
            [program.nested(program.times), program.nested(memory)],
            [program.fixed, 0.1],
            budgets,
        )
        backend = "scipy" if index % 3 == 0 else "native"
        result = project_jointly(program.staged, program.scores, [program.cost, second], budgets, backend=backend)  # type: ignore[arg-type]
        if best is None:
            assert result.status is Status.INFEASIBLE and "together" in result.message
            continue
        answered += 1
        assert result.status is Status.OPTIMAL and result.certificate is not None
        assert abs(result.certificate.primal - best) <= EXACT * max(1.0, abs(best)) and result.certificate.violation == 0.0
    assert answered > 30


def test_joint_projection_equals_highs_at_hardcore_size() -> None:
    rng = np.random.default_rng(2)
    for _ in range(12):
        program, _, budget = hardcore_program(rng)
        result = project_jointly(program.staged, program.scores, program.cost, budget)
        reference = highs_milp_staged(
            program.nested(program.scores), program.beta, program.depths, program.nested(program.times), program.fixed, budget
        )
        assert reference is not None and result.certificate is not None and result.status is Status.OPTIMAL
        value, spent = reference
        assert value <= result.certificate.primal + EXACT * value or spent > budget
        assert result.certificate.primal >= value - 1e-6 * value  # HiGHS stops within its own 1e-6


def test_joint_never_violates_and_the_separate_scheme_does() -> None:
    rng = np.random.default_rng(3)
    count = 1000
    violations = dict.fromkeys(("argmax", "separate", "sequential", "joint"), 0)
    worst_separate, ratios = 0.0, []
    for _ in range(count):
        program, point, budget = hardcore_program(rng)
        arguments = (program.staged, program.scores, program.cost, budget)
        results = {
            "argmax": argmax_projection(*arguments),
            "separate": project_separately(*arguments, point),
            "sequential": project_sequentially(*arguments, point),
            "joint": project_jointly(*arguments),
        }
        values = {}
        for name, result in results.items():
            assert result.x is not None and result.certificate is not None
            excess = max(0.0, program.recost(result.x) - budget)
            assert result.certificate.violation == excess
            assert (result.status is Status.VIOLATED) == (excess > 0)
            violations[name] += excess > 0
            values[name] = result.certificate.primal
            if name == "separate":
                worst_separate = max(worst_separate, excess / budget)
        ratios.append(values["sequential"] / values["joint"])
        assert values["sequential"] <= values["joint"] * (1 + EXACT)
    shares = {name: hits / count for name, hits in violations.items()}
    assert shares["joint"] == shares["sequential"] == 0.0
    # Measured on these instances: argmax 0.43, Eq. 13 with its couples at the greater share 0.28, by up to 12 % of the budget;
    # the sequential scheme keeps 99.6 % of the credit. The margins allow for another generator's instances, not for another scheme.
    assert 0.35 < shares["argmax"] < 0.5 and 0.2 < shares["separate"] < 0.35, shares
    assert 0.02 < worst_separate < 0.25, worst_separate
    assert np.mean(ratios) > 0.99


@pytest.mark.slow
def test_joint_never_violates_in_ten_thousand_instances() -> None:
    rng = np.random.default_rng(4)
    for _ in range(10_000):
        program, _, budget = hardcore_program(rng)
        result = project_jointly(program.staged, program.scores, program.cost, budget)
        assert result.status is Status.OPTIMAL and result.x is not None
        assert program.recost(result.x) <= budget


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_sequential_fits_whenever_the_point_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = small_program(rng)
    point = np.concatenate([rng.dirichlet(np.full(size, 0.5)) for size in program.staged.blocks.sizes])
    budget = program.staged.cost(program.fixed, program.times).value(point)
    result = project_sequentially(program.staged, program.scores, program.cost, budget, point)
    assert result.x is not None and result.certificate is not None
    # The budget is itself a rounded dot product: 1e-12 of it is the room the scheme may take where only the cheapest is left.
    assert result.certificate.violation <= 1e-12 * budget
    joint = project_jointly(program.staged, program.scores, program.cost, budget)
    assert joint.certificate is not None
    assert joint.certificate.primal >= result.certificate.primal - EXACT or result.certificate.violation > 0


def test_a_quadratic_and_a_flat_cost_are_the_same() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        program = small_program(rng)
        quadratic = program.staged.cost(program.fixed, program.times)
        budget = program.least + 0.3
        flat = project_jointly(program.staged, program.scores, program.cost, budget)
        dense = project_jointly(program.staged, program.scores, quadratic, budget)
        assert flat.certificate is not None and dense.certificate is not None
        assert flat.certificate.primal == pytest.approx(dense.certificate.primal, rel=EXACT, abs=EXACT)
        for result in (flat, dense):
            assert result.status is Status.OPTIMAL and result.x is not None
            assert program.recost(result.x) <= budget and result.certificate.violation == 0.0
            assert quadratic.value(result.x) == pytest.approx(program.recost(result.x), rel=1e-12)


def test_many_stages_need_few_knapsacks() -> None:
    rng = np.random.default_rng(6)
    staged = StagedBlocks.of([Stage((6, 6, 6), (1, 2, 3))] * 60)  # 3^60 depth vectors
    program = Program(staged, rng.random(staged.blocks.dimension), rng.random(staged.alpha.stop), 0.0)
    for share in (0.1, 0.4, 0.8):
        result = project_jointly(staged, program.scores, program.cost, program.least + share * 60)
        assert result.status is Status.OPTIMAL and result.iterations < 500


def test_blocks_that_do_not_run_cost_nothing_and_take_their_best() -> None:
    staged = StagedBlocks.of([Stage((2, 2), (0, 1, 2))])
    scores = np.array([1.0, 5.0, 2.0, 7.0, 0.0, 0.5, 0.6])
    result = project_jointly(staged, scores, staged.cost(1.0, [1.0, 9.0, 1.0, 9.0]), 1.0)
    assert result.x is not None and result.x.tolist() == [0, 1, 0, 1, 1, 0, 0]
    assert result.certificate is not None and result.certificate.primal == 12.0


def test_infeasible_names_the_least_cost() -> None:
    staged = StagedBlocks.of([Stage((2, 1), (1, 2))])
    scores, cost = np.zeros(5), staged.cost(1.0, [2.0, 3.0, 4.0])
    result = project_jointly(staged, scores, cost, 2.5)
    assert result.status is Status.INFEASIBLE and result.x is None
    assert "budget 0 is 2.5, the least possible cost is 3.0" in result.message
    point = staged.blocks.uniform()
    for scheme in (project_separately, project_sequentially):
        answer = scheme(staged, scores, cost, 2.5, point)
        assert answer.status is Status.INFEASIBLE and "least cost of any architecture 3.0" in answer.message


def test_malformed_programs_are_refused() -> None:
    staged = StagedBlocks.of([Stage((2, 1), (1, 2))])
    good = staged.cost(0.0, [1.0, 2.0, 3.0])
    scores = np.zeros(5)
    with pytest.raises(ValueError, match=r"scores: expected shape \(5,\)"):
        project_jointly(staged, np.zeros(4), good, 1.0)
    with pytest.raises(ValueError, match="scores: expected finite"):
        project_jointly(staged, np.array([0.0, math.inf, 0.0, 0.0, 0.0]), good, 1.0)
    with pytest.raises(ValueError, match="not negative"):
        project_jointly(staged, scores, staged.cost(0.0, [1.0, -2.0, 3.0]), 1.0)
    with pytest.raises(ValueError, match="fixed cost"):
        StagedCost.of(staged, -1.0, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"built by StagedBlocks\.cost"):
        project_jointly(staged, scores, Quadratic.of(0.0, np.ones(5), good.theta), 1.0)
    with pytest.raises(ValueError, match="expected dimension 5"):
        project_jointly(staged, scores, Quadratic.of(0.0, np.ones(4)), 1.0)
    with pytest.raises(ValueError, match=r"budget: expected 1 number\(s\)"):
        project_jointly(staged, scores, good, [1.0, 2.0])
    with pytest.raises(ValueError, match="backend"):
        project_jointly(staged, scores, good, 1.0, backend="cplex")  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [((2.5,), (1,)), ((2,), (0.5,)), ((2.0,), (1,)), (("2",), (1,)), ((2,), (None,))])
def test_parts_of_an_option_or_a_block_are_refused(numbers: Any) -> None:
    with pytest.raises(ValueError, match=r"Stage: expected .* as whole numbers, got"):
        Stage(*numbers)
    whole = Stage((np.int64(2), 2), (np.int32(1), 2))  # type: ignore[arg-type]
    assert StagedBlocks.of([whole]).blocks.dimension == 6
    with pytest.raises(ValueError, match="Blocks: expected whole sizes, got"):
        Blocks.of([2, 2.5])  # type: ignore[list-item]

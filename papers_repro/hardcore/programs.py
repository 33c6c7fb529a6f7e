"""The constrained programs of a HardCoRe-NAS search, each by every back end that solves it, ready to be timed.

Problems are of the paper's size (20 blocks of 12 configurations, 5 depths of 3) with made-up latencies. What a search prepares once
(an oracle's model) is prepared apart from the call; what it does in every step is part of it.

Reference: Nayman et al., HardCoRe-NAS, Eq. 10-11 (steps), 13 (projection), 27 (balanced start).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from papers_repro.hardcore.points import SyntheticSpace, random_point
from solvers import (
    Quadratic,
    Result,
    StagedBlocks,
    StagedCost,
    argmax_projection,
    balanced_start,
    block_oracle,
    block_step,
    cheapest_start,
    maximum_entropy_start,
    project_jointly,
    project_separately,
    project_sequentially,
    project_to_budget,
)
from solvers.arrays import FloatArray

Backend = Literal["native", "highs", "scipy", "cvxpy"]


@dataclass(frozen=True, slots=True)
class Draw:
    """What changes from call to call: a gradient of the loss and a relaxed point on the budget, both (dimension,)."""

    gradient: FloatArray
    point: FloatArray


@dataclass(frozen=True, slots=True)
class Problem:
    """What a search holds fixed: latencies, budget, and the point ``base`` at which parts are frozen."""

    staged: StagedBlocks
    quadratic: Quadratic
    cost: StagedCost
    budget: float
    base: FloatArray
    draws: tuple[Draw, ...]


# Prepares what a search prepares once, and returns the call that is timed, with the objective it reaches (None: not comparable).
Program = Callable[[Problem, Any], Callable[[Draw], float | None]]


def draw_problem(space: SyntheticSpace, share: float, draws: int, generator: np.random.Generator) -> Problem:
    """Gradients fall with latency, as losses do, under noise as great as that trend."""
    cost = space.draw(generator)
    quadratic = space.staged.cost(cost.fixed, cost.per_configuration)
    drawn, budget = [], 0.0
    for _ in range(draws):
        instance = random_point("random", space.staged, cost, share, generator)
        trend = -quadratic.gradient(instance.point)
        noise = float(trend.std()) * generator.standard_normal(len(trend))
        drawn.append(Draw(trend + noise, instance.point))
        budget = instance.budget  # of the table and the share: the same for every draw
    base = maximum_entropy_start(space.staged, quadratic, budget).require_feasible().x
    return Problem(space.staged, quadratic, cost, budget, cast(FloatArray, base), tuple(drawn))


def search_programs() -> dict[str, tuple[Program, tuple[Backend, ...]]]:
    """Every program of a search, with the back ends that solve it."""
    return {
        "LP oracle, alpha": (_oracle("alpha"), ("native", "highs", "scipy", "cvxpy")),
        "LP oracle, beta": (_oracle("beta"), ("native", "highs", "scipy", "cvxpy")),
        "block step, alpha": (_step, ("native", "highs", "scipy", "cvxpy")),
        "start, balanced (27)": (_start(balanced_start), ("native", "highs", "cvxpy")),
        "start, max. entropy": (_start(maximum_entropy_start), ("native",)),
        "start, cheapest": (_start(cheapest_start), ("native",)),
        "argmax": (_rounding(argmax_projection, takes_point=False), ("native",)),
        "separate LP (13)": (_rounding(project_separately, takes_point=True), ("native",)),
        "sequential exact": (_rounding(project_sequentially, takes_point=True), ("native",)),
        "joint exact": (_joint, ("native", "highs", "scipy")),
        "project_to_budget": (_selection, ("native", "highs", "scipy")),
    }


def _objective(result: Result) -> float:
    certificate = result.require_feasible().certificate
    return float("nan") if certificate is None else certificate.primal


def _oracle(part_name: Literal["alpha", "beta"]) -> Program:
    def prepare(problem: Problem, backend: Any) -> Callable[[Draw], float | None]:
        part = problem.staged.alpha if part_name == "alpha" else problem.staged.beta
        oracle = block_oracle(problem.base, part, problem.staged.blocks, problem.quadratic, problem.budget, backend=backend)
        return lambda draw: _objective(oracle.minimize(draw.gradient[part]))

    return prepare


def _step(problem: Problem, backend: Any) -> Callable[[Draw], float | None]:
    part, blocks = problem.staged.alpha, problem.staged.blocks

    def solve(draw: Draw) -> float:
        step = block_step(problem.base, draw.gradient, part, blocks, problem.quadratic, problem.budget, 0.05, backend=backend)
        return float(draw.gradient @ step.x)

    return solve


def _start(start: Callable[..., Result]) -> Program:
    def prepare(problem: Problem, backend: Any) -> Callable[[Draw], float | None]:
        more = {} if backend == "native" else {"backend": backend}

        def solve(draw: Draw) -> None:
            start(problem.staged, problem.quadratic, problem.budget, **more)

        return solve

    return prepare


def _rounding(scheme: Callable[..., Result], *, takes_point: bool) -> Program:
    def prepare(problem: Problem, backend: Any) -> Callable[[Draw], float | None]:
        def solve(draw: Draw) -> None:
            more = (draw.point,) if takes_point else ()
            scheme(problem.staged, draw.point, problem.cost, problem.budget, *more)

        return solve

    return prepare


def _joint(problem: Problem, backend: Any) -> Callable[[Draw], float | None]:
    return lambda draw: _objective(project_jointly(problem.staged, draw.point, problem.cost, problem.budget, backend=backend))


def _selection(problem: Problem, backend: Any) -> Callable[[Draw], float | None]:
    """The front door on the configurations at full depth, from half of the budget range there up."""
    blocks = problem.staged.blocks.count - len(problem.staged.stages)
    costs = problem.cost.per_configuration.reshape(blocks, -1)
    budget = float(costs.min(axis=1).sum() + 0.5 * np.ptp(costs, axis=1).sum())
    return lambda draw: (
        project_to_budget(draw.point[problem.staged.alpha].reshape(costs.shape), costs, budget, backend=backend).value
    )

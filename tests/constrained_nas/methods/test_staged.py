"""Starts of HardCoRe-NAS under one and several budgets: all hold, and a start that spreads stays one that spreads."""

from __future__ import annotations

import numpy as np
import pytest
from support.fakes import true_table
from support.tiny import tiny_space

from constrained_nas.methods import Start, start_point
from constrained_nas.methods.distributions import mean_entropy
from constrained_nas.problem import Budget, SearchProblem
from graphs.costs import latency_cost, mac_cost, parameter_cost
from solvers import InfeasibleError, cheapest_start

SPACE = tiny_space()
COSTS = (latency_cost(true_table(SPACE), SPACE), mac_cost(SPACE), parameter_cost(SPACE))


def ends() -> list[tuple[float, float]]:
    """The least and the greatest cost of any architecture, each."""
    found = []
    for cost in COSTS:
        q = cost.quadratic
        least = cheapest_start(SPACE.staged, q, 1e18).require_feasible().x
        largest = SPACE.space.choose({d.name: d.options[-1] for d in SPACE.space.decisions})
        found.append((q.value(least), cost.cost(largest)))
    return found


def asked(*shares: float) -> SearchProblem:
    """Limits at these shares of the way from the least to the greatest cost."""
    limits = [low + share * (high - low) for (low, high), share in zip(ends(), shares, strict=False)]
    return SearchProblem(SPACE.space, tuple(Budget(c, limit, c.unit) for c, limit in zip(COSTS, limits, strict=False)))


@pytest.mark.parametrize("start", ["cheapest", "balanced", "entropy"])
@pytest.mark.parametrize("seed", range(10))
def test_every_budget_holds_at_the_start(start: Start, seed: int) -> None:
    problem = asked(*np.random.default_rng(seed).uniform(0.02, 0.6, 3))
    try:
        point = start_point(problem, SPACE.staged, start)
    except InfeasibleError:  # three budgets may exclude each other
        return
    blocks = SPACE.staged.blocks.split(point)
    assert all(block.sum() == pytest.approx(1.0, abs=1e-9) and block.min() >= -1e-12 for block in blocks)  # rounding
    for budget in problem.budgets:
        assert budget.cost.quadratic.value(point) <= budget.limit  # type: ignore[attr-defined]


def test_several_budgets_do_not_end_the_spreading() -> None:
    """Each budget's own start breaks the other, so that the sum of their shares has to be lowered."""
    crossing = 0
    for seed in range(40):
        shares = np.random.default_rng(seed).uniform(0.1, 0.5, 2)
        problem = asked(*shares)
        alone = [start_point(SearchProblem(SPACE.space, (budget,)), SPACE.staged, "entropy") for budget in problem.budgets]
        fits = [all(b.cost.quadratic.value(x) <= b.limit for b in problem.budgets) for x in alone]  # type: ignore[attr-defined]
        both = start_point(problem, SPACE.staged, "entropy")
        entropy = mean_entropy(SPACE.staged.blocks.split(both))
        if any(fits):
            most = max(mean_entropy(SPACE.staged.blocks.split(x)) for x, fit in zip(alone, fits, strict=True) if fit)
            assert entropy == pytest.approx(most, rel=1e-6)  # two that fit both have the greatest entropy there is
            continue
        crossing += 1
        # A vertex has none; how much of the lesser one is kept depends on how far the costs agree, here more than half.
        assert entropy > 0.5 * min(mean_entropy(SPACE.staged.blocks.split(x)) for x in alone)
    assert crossing > 0

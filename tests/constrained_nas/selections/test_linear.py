"""Projection for costs that add up: against all architectures, and its refusals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.selections import project_linear
from graphs import Architecture, Decision, SearchSpace
from graphs.costs import QuadraticCost
from solvers import InfeasibleError, Quadratic

SPACE = SearchSpace("three", tuple(Decision(name, ("x", "y", "z")) for name in "abc"))


class Callable:
    name, unit = "measured", "ms"

    def cost(self, architecture: Architecture) -> float:
        return 1.0


def problem(seed: int, limits: tuple[float, float], low: float = 0.0) -> SearchProblem:
    generator = np.random.default_rng(seed)
    costs = [QuadraticCost(n, "ms", SPACE, Quadratic.of(1.5, generator.uniform(low, 4, 9))) for n in ("first", "second")]
    return SearchProblem(SPACE, tuple(Budget(cost, limit, "ms") for cost, limit in zip(costs, limits, strict=True)))


def named(scores: np.ndarray) -> dict[str, dict[str, float]]:
    return {d.name: dict(zip(d.options, scores[SPACE.slice(d.name)].tolist(), strict=True)) for d in SPACE.decisions}


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_all_architectures(seed: int, low: float) -> None:
    searched = problem(seed, (9.0, 9.5), low)
    scores = np.random.default_rng(seed + 100).normal(size=9)
    all_of_them = [SPACE.architecture(SPACE.blocks.vertex(list(c))) for c in product(range(3), repeat=3)]
    fitting = [float(SPACE.point(a) @ scores) for a in all_of_them if searched.fits(a)]
    found = project_linear(searched, named(scores))
    assert found.feasible
    assert float(SPACE.point(found.architecture) @ scores) == pytest.approx(max(fitting), rel=1e-12)
    assert found.certificate is not None
    assert found.certificate.gap == pytest.approx(0, abs=1e-8)
    least = project_linear(searched, named(scores), minimize=True)
    assert float(SPACE.point(least.architecture) @ scores) == pytest.approx(min(fitting), rel=1e-12)


def test_refusals() -> None:
    scores = named(np.zeros(9))
    tight = problem(0, (1.6, 9.0))
    first = tight.budgets[0].cost
    assert isinstance(first, QuadraticCost)
    least = 1.5 + sum(float(part.min()) for part in SPACE.blocks.split(first.quadratic.linear))
    with pytest.raises(InfeasibleError, match=rf"'first' is 1\.6, the least possible cost is {str(least)[:6]}"):
        project_linear(tight, scores)
    theta = np.zeros((9, 9))
    theta[0, 5] = 1.0
    coupled = QuadraticCost("coupled", "ms", SPACE, Quadratic.of(0, np.zeros(9), theta))
    with pytest.raises(ValueError, match="'coupled' couples decisions"):
        project_linear(SearchProblem(SPACE, (Budget(coupled, 1.0, "ms"),)), scores)
    with pytest.raises(ValueError, match="'measured' has none"):
        project_linear(SearchProblem(SPACE, (Budget(Callable(), 1.0, "ms"),)), scores)

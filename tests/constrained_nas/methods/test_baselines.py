"""The baselines: the soft penalty may violate its budget, its projection never does; random networks that fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.searches import FABRIC, OPTIONS, data, problem, setting

from constrained_nas.methods import SoftPenalty, random_feasible
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import search
from graphs import Architecture, SearchSpace
from graphs.costs import mac_cost
from solvers import StagedBlocks


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_soft_penalty(share: float) -> None:
    space, net, cost, *_ = setting()
    asked = problem(share)
    limit = asked.limits[0]
    unsafe = search(asked, SoftPenalty(space.space, space.staged), net, data(), OPTIONS, FABRIC)
    safe = search(asked, SoftPenalty(space.space, space.staged, projection="joint"), net, data(), OPTIONS, FABRIC)
    assert np.array_equal(unsafe.result.point, safe.result.point), "the two ends are of the very same point"
    assert unsafe.result.feasible == (cost.cost(unsafe.result.architecture) <= limit)
    assert unsafe.result.certificate is None
    assert safe.result.feasible
    assert cost.cost(safe.result.architecture) <= limit


def test_the_soft_penalty_may_violate_and_its_projection_never_does() -> None:
    space, net, cost, *_ = setting()
    fits = []
    for seed in range(2):
        for coefficient in (0.0, 0.3, 3.0):
            asked, options = problem(0.05), replace(OPTIONS, seed=seed)
            method = SoftPenalty(space.space, space.staged, coefficient)
            unsafe = search(asked, method, net, data(), options, FABRIC).result
            safe = search(asked, replace(method, projection="joint"), net, data(), options, FABRIC).result
            assert np.array_equal(unsafe.point, safe.point)
            assert safe.feasible
            assert cost.cost(safe.architecture) <= asked.limits[0]
            fits.append(unsafe.feasible)
    assert not all(fits), "a weak penalty must be seen to violate, or this test shows nothing"


def test_the_penalty_pulls_the_latency_down() -> None:
    space, net, cost, *_ = setting()
    asked = problem(0.1)
    points = [
        search(asked, SoftPenalty(space.space, space.staged, coefficient=c), net, data(), OPTIONS, FABRIC).result.point
        for c in (0.0, 1.0, 100.0)
    ]
    latencies = [cost.quadratic.value(point) for point in points]
    assert latencies[2] < latencies[0]
    assert latencies[2] < cost.quadratic.value(space.staged.blocks.uniform())


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_random_networks_fit(share: float) -> None:
    space, _, cost, *_ = setting()
    asked = problem(share)
    drawn = [random_feasible(asked, space.staged, np.random.default_rng(seed)) for seed in range(20)]
    assert all(found.uniform and found.result.feasible for found in drawn)
    assert all(cost.cost(found.result.architecture) <= asked.limits[0] for found in drawn)
    assert all(found.result.costs == {"latency": cost.cost(found.result.architecture)} for found in drawn)
    assert len({tuple(found.result.point) for found in drawn}) > 5
    again = random_feasible(asked, space.staged, np.random.default_rng(3))
    assert again.result.architecture == drawn[3].result.architecture
    if share == 1.0:
        assert all(found.draws == 1 for found in drawn), "everything fits the costliest network's cost"


def test_random_networks_under_two_budgets() -> None:
    space, *_ = setting()
    macs = mac_cost(space)
    middle = macs.quadratic.value(space.staged.blocks.uniform())
    both = SearchProblem(space.space, (*problem(0.6).budgets, Budget(macs, middle, "MACs")))
    for seed in range(10):
        found = random_feasible(both, space.staged, np.random.default_rng(seed))
        assert both.fits(found.result.architecture)
        assert set(found.result.costs) == {"latency", "macs"}


class Depth:
    """A cost without a relaxed form, as one measured on whole networks."""

    name, unit = "depth", "blocks"

    def cost(self, architecture: Architecture) -> float:
        return float(sum(architecture.choice(name) for name in architecture.counts if name.endswith("depth")))


def test_random_networks_under_a_cost_that_only_prices_architectures() -> None:
    space, *_ = setting()
    asked = SearchProblem(space.space, (Budget(Depth(), 0.5, "blocks"),))
    assert all(random_feasible(asked, space.staged, np.random.default_rng(seed)).result.costs["depth"] == 0 for seed in range(5))
    with pytest.raises(ValueError, match="'depth' has none"):
        random_feasible(asked, space.staged, np.random.default_rng(0), draws=0)


def test_tight_budgets_are_projected_onto_and_said_not_to_be_uniform() -> None:
    space, _, cost, *_ = setting()
    asked = problem(0.0)  # the least cost there is: a handful of 16384 points
    found = random_feasible(asked, space.staged, np.random.default_rng(1), draws=3)
    assert (found.uniform, found.draws) == (False, 3)
    assert found.result.feasible
    assert cost.cost(found.result.architecture) <= asked.limits[0]
    assert space.staged.blocks.residual(found.result.point) == 0.0
    assert space.space.architecture(found.result.point) == found.result.architecture
    assert found.result.certificate is not None


def test_uniform_draws_are_uniform() -> None:
    """Over the four networks of a space small enough to count: two fit, and each is drawn as often as the other."""
    from graphs import Decision
    from graphs.costs import QuadraticCost
    from solvers import Stage

    staged = StagedBlocks.of([Stage((4,), (1,))])
    space = SearchSpace("four", (Decision("block", ("a", "b", "c", "d")), Decision("depth", ("1",))))
    cost = QuadraticCost("latency", "ms", space, staged.cost(0.0, [1.0, 2.0, 3.0, 4.0]))
    asked = SearchProblem(space, (Budget(cost, 2.5, "ms"),))
    generator = np.random.default_rng(0)
    drawn = [random_feasible(asked, staged, generator) for _ in range(1000)]
    picks = [found.result.architecture.choice("block") for found in drawn]
    assert set(picks) == {0, 1}
    assert abs(picks.count(0) - 500) < 5 * 250**0.5  # five standard deviations of a binomial of 1000 halves
    assert np.mean([found.draws for found in drawn]) == pytest.approx(2.0, abs=5 * (2 / 1000) ** 0.5)  # geometric, variance 2

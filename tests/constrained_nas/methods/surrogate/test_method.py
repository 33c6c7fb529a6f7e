"""Bayesian optimization under budgets: it beats random networks that fit, meets known optima, and runs on super-networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.macro import SPACE, counts, made_losses, points
from support.searches import FABRIC, OPTIONS, data, setting
from support.searches import problem as staged_problem

from constrained_nas.methods import PairwiseSurrogate, random_feasible
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import TabularRun, TabularTruth, search, search_table
from graphs.costs import mac_cost, parameter_cost
from solvers.arrays import FloatArray


def budgets(*quantiles: float) -> SearchProblem:
    costs = [mac_cost(SPACE), parameter_cost(SPACE)][: len(quantiles)]
    limits = [float(np.floor(np.quantile(row, q))) for row, q in zip(counts(), quantiles, strict=False)]
    return SearchProblem(SPACE.space, tuple(Budget(c, limit, c.unit) for c, limit in zip(costs, limits, strict=True)))


def fits(asked: SearchProblem) -> np.ndarray:
    return (counts()[: len(asked.limits)] <= np.array(asked.limits)[:, None]).all(0)


def run(asked: SearchProblem, losses: FloatArray, most: int, seed: int, **settings: bool) -> TabularRun:
    table = TabularTruth(SPACE.space, lambda network: float(losses[int(SPACE.code(network), 3)]), most)
    return search_table(asked, PairwiseSurrogate(SPACE.space, SPACE.staged, **settings), table, seed=seed)


def loss_of(found: TabularRun, losses: FloatArray) -> float:
    return float(losses[int(SPACE.code(found.result.architecture), 3)])


def test_it_beats_random_networks_that_fit() -> None:
    """With 30 evaluations each, under a budget that 3 of 10 networks meet."""
    asked, losses = budgets(0.3), made_losses(1, 0.15)
    least = losses[fits(asked)].min()
    ours, random = [], []
    for seed in range(6):
        found = run(asked, losses, 30, seed)
        ours.append(loss_of(found, losses) - least)
        assert found.result.feasible and found.evaluations == 30
        drawn = np.random.default_rng(seed)
        networks = [random_feasible(asked, SPACE.staged, drawn).result.architecture for _ in range(30)]
        random.append(min(losses[int(SPACE.code(network), 3)] for network in networks) - least)
    assert np.mean(np.array(ours) <= random) >= 5 / 6 and np.mean(ours) < 0.5 * np.mean(random)


@pytest.mark.parametrize("quantiles", [(0.2,), (0.2, 0.5), (0.5, 0.2), (0.4, 0.4)])
def test_optima_of_additive_losses_are_met(quantiles: tuple[float, ...]) -> None:
    asked = budgets(*quantiles)
    for seed in range(3):
        losses = made_losses(seed, 0.0)
        assert loss_of(run(asked, losses, 45, seed), losses) == losses[fits(asked)].min()


@pytest.mark.parametrize("quantiles", [(0.3,), (0.9,), (0.5, 0.7)])
def test_no_change_of_one_decision_that_fits_is_better(quantiles: tuple[float, ...]) -> None:
    """So nothing of a budget is left that one change could use, be the budget tight or loose."""
    asked, every = budgets(*quantiles), points()
    feasible = fits(asked)
    for seed in range(3):
        losses = made_losses(seed, 0.1)
        found = run(asked, losses, 60, seed)
        near = every @ SPACE.space.point(found.result.architecture) == len(SPACE.space.decisions) - 1
        assert near.sum() == 16 and losses[near & feasible].min() > loss_of(found, losses)


def test_every_network_asked_for_fits_and_is_new() -> None:
    asked, losses = budgets(0.4, 0.4), made_losses(2, 0.1)
    found = run(asked, losses, 60, 0)
    allowed = {point.tobytes() for point in points()[fits(asked)]}
    assert all(point.tobytes() in allowed for point in found.state.points)
    assert found.evaluations == found.asked == len(np.unique(found.state.points, axis=0)) == 60


def test_the_certificate_is_of_the_surrogate() -> None:
    asked, losses = budgets(0.3), made_losses(2, 0.1)
    result = run(asked, losses, 60, 0).result
    assert result.certificate is not None and result.certificate.bound is not None
    assert result.certificate.bound <= result.certificate.primal and not result.certificate.maximize
    assert "leave-one-out error" in result.remark and "measured" in result.remark


@pytest.mark.slow
def test_noisy_losses() -> None:
    """Noise as large as a third of the spread: the answer is far better than the luckiest observation."""
    asked, losses = budgets(0.4), made_losses(3, 0.05)
    generator = np.random.default_rng(0)
    noisy = losses + generator.normal(size=len(losses)) * 0.3 * losses.std()
    best, spread = losses[fits(asked)].min(), losses[fits(asked)].std()
    found = [run(asked, noisy, 120, seed, noisy=True) for seed in range(4)]
    regrets = [(loss_of(each, losses) - best) / spread for each in found]
    lucky = []
    for each in found:
        place = int(each.state.losses.argmin())
        lucky.append((losses[int(SPACE.code(SPACE.space.architecture(each.state.points[place])), 3)] - best) / spread)
    assert np.mean(regrets) < 0.25 and np.mean(regrets) <= np.mean(lucky)


@pytest.mark.parametrize("samples", [1, 4])
def test_on_a_super_network(samples: int, tmp_path: Path) -> None:
    space, net, cost, *_ = setting()
    asked = staged_problem(0.3)
    method = PairwiseSurrogate(space.space, space.staged, samples=samples, start=6, noisy=True)
    first = search(asked, method, net, data(), OPTIONS, FABRIC)
    assert first.result.feasible and cost.cost(first.result.architecture) <= asked.limits[0]
    assert len(first.state.losses) == samples * len(first.losses)
    saved = tmp_path / "search.safetensors"
    search(asked, method, net, data(), OPTIONS, FABRIC, saved)
    again = search(asked, method, net, data(), OPTIONS, FABRIC, saved)  # resumed: every epoch is done
    assert again.result.architecture == first.result.architecture and np.array_equal(again.state.losses, first.state.losses)
    tighter = method.finish(staged_problem(0.05), first.state)
    assert tighter.feasible and cost.cost(tighter.architecture) <= staged_problem(0.05).limits[0]


@pytest.mark.parametrize(("samples", "start"), [(0, 0), (1, -1)])
def test_settings_are_checked(samples: int, start: int) -> None:
    with pytest.raises(ValueError, match="samples >= 1 and start >= 0"):
        PairwiseSurrogate(SPACE.space, SPACE.staged, samples, start)

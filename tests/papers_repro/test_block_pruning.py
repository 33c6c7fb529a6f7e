"""Block pruning on a made landscape in which every decision counts by itself: the optimum under a budget is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import TabularTruth, search_table
from graphs import MacroSpace
from graphs.costs import mac_cost
from papers_repro.macro.block_pruning import BlockPruning

SPACE = MacroSpace()
GAINS = np.array([0.0, 0.03, 0.05])  # of the three options, the same in every layer


def loss(architecture: object) -> float:
    return 1.0 - float(sum(GAINS[int(digit)] for digit in SPACE.code(architecture)))  # type: ignore[arg-type]


def problem(share: float) -> SearchProblem:
    cost = mac_cost(SPACE)
    least, most = (cost.cost(SPACE.architecture(code)) for code in ("0" * 8, "2" * 8))
    return SearchProblem(SPACE.space, (Budget(cost, least + share * (most - least), cost.unit),))


def best_loss(wanted: SearchProblem) -> float:
    networks = (SPACE.architecture("".join(code)) for code in product("012", repeat=8))
    return min(loss(network) for network in networks if wanted.fits(network))


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_hard_answers_fit_and_are_near_the_optimum(share: float) -> None:
    wanted = problem(share)
    truth = TabularTruth(SPACE.space, loss, 200)
    run = search_table(wanted, BlockPruning(SPACE.staged, True, 0.03), truth, rows=2, gradients="differences", seed=0)
    assert run.result.feasible
    assert loss(run.result.architecture) <= best_loss(wanted) + 0.03, "at most one step of one layer away"
    assert all(layer.blocks.sum() < 3 for layer in run.state.layers), "in every layer a block fell"


def test_bisection_moves_alpha_towards_the_budget() -> None:
    wanted, method = problem(0.3), BlockPruning(SPACE.staged, False, 0.3, runs=4)
    generator = np.random.default_rng(0)
    state = method.init(wanted, generator)
    (low, high), lightest = state.bracket, SPACE.space.point(SPACE.architecture("0" * 8))
    assert method._survivors(state).tolist() == lightest.tolist(), "equal logits: the first option"
    fitting = method._next(wanted, state)
    assert fitting.bracket == (low, 0.5 * (low + high)) and len(fitting.answers) == 1, "it fits: a smaller alpha next"
    heaviest = tuple(replace(layer, logits=np.arange(len(layer.logits), dtype=np.float64)) for layer in state.layers)
    costly = method._next(wanted, replace(state, layers=heaviest))
    assert costly.bracket == (0.5 * (low + high), high) and not costly.answers
    truth = TabularTruth(SPACE.space, loss, 160)
    run = search_table(wanted, method, truth, rows=2, seed=0)
    assert run.state.run == 3 and run.result.feasible
    assert run.state.bracket != state.bracket


def test_a_penalty_is_the_gradient_of_alpha_times_a_power_of_the_logarithm() -> None:
    wanted, method = problem(0.5), BlockPruning(SPACE.staged, False)
    state = method.init(wanted, np.random.default_rng(0))
    (quadratic,) = wanted.quadratics("test")
    point = np.concatenate([layer.probabilities[:-1] for layer in state.layers])
    alpha = np.exp(0.5 * sum(state.bracket))
    slope = method._slope(wanted, state)
    for place in (0, 5, 20):
        step = np.zeros_like(point)
        step[place] = 1e-5
        ends = [alpha * np.log(quadratic.value(point + sign * step)) ** 0.6 for sign in (1, -1)]
        assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
    assert not BlockPruning(SPACE.staged, True)._slope(wanted, state).any(), "hard charges nothing"

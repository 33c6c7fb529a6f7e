"""The distribution of sub-graphs by enumeration: probabilities, gradients, baselines, stochastic costs."""

from __future__ import annotations

from itertools import product

import networkx as nx
import numpy as np
import pytest
from torch import nn

from constrained_nas.methods.budgeted import Baseline
from constrained_nas.methods.budgeted.subgraphs import (
    SubgraphDraws,
    advantages,
    chances_of_being_drawn,
    draw_subgraphs,
    log_probability,
    score,
    score_of_noise,
    sigmoid,
)
from graphs import DagSpace, add_edge, add_layer

# Layers 0..4; two modules join 0 and 1, and the one from 3 to 4 always runs.
EDGES = ((0, 1, "a"), (0, 1, "b"), (0, 2, "c"), (0, 4, "h"), (1, 2, "d"), (1, 3, "e"), (2, 3, "f"), (2, 4, "g"))


def network(edges: tuple[tuple[int, int, str], ...] = EDGES) -> DagSpace:
    dag = nx.MultiDiGraph()
    for layer in range(5):
        add_layer(dag, layer, (1,), "sum_relu" if layer else "identity")
    for source, target, name in edges:
        add_edge(dag, source, target, nn.Identity, decision=name, option=1, key=name)
    add_edge(dag, 3, 4, nn.Identity, key="always")
    return DagSpace("five layers", dag)


def outcomes(space: DagSpace, probabilities: np.ndarray) -> SubgraphDraws:
    """Every sub-graph that can be drawn, once."""
    count = len(space.space.decisions)
    wanted = np.array(list(product([False, True], repeat=count)))
    draws = draw_subgraphs(space, probabilities, np.where(wanted, 0.0, 0.999999))
    _, first = np.unique(np.concatenate([draws.on, draws.drawn], axis=1), axis=0, return_index=True)
    return SubgraphDraws(draws.on[first], draws.drawn[first], draws.connected[first])


def objective_of(draws: SubgraphDraws) -> np.ndarray:
    """Any function of the modules that run: here of all that are on."""
    worth = np.linspace(-1.0, 2.0, draws.on.shape[1])
    return (draws.on @ worth) ** 2 + 3.0 * ~draws.connected


def exact_gradient(space: DagSpace, logits: np.ndarray) -> np.ndarray:
    """Of the expected objective, by central differences of the enumeration."""

    def expected(at: np.ndarray) -> float:
        probabilities = sigmoid(at)
        draws = outcomes(space, probabilities)
        return float(np.exp(log_probability(probabilities, draws)) @ objective_of(draws))

    step = 1e-5  # error of order step^2
    moves = np.eye(len(logits)) * step
    return np.array([(expected(logits + move) - expected(logits - move)) / (2 * step) for move in moves])


def test_probabilities_of_all_that_can_be_drawn_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    space = network()
    for _ in range(5):
        probabilities = rng.random(len(EDGES))
        draws = outcomes(space, probabilities)
        assert np.exp(log_probability(probabilities, draws)).sum() == pytest.approx(1.0, abs=1e-12)
    assert len(draws.on) < 2 ** len(EDGES), "sub-graphs that differ in undrawn modules alone are one"


def test_twelve_modules_sum_to_one() -> None:
    more = (*EDGES, (0, 3, "i"), (1, 4, "j"), (2, 3, "k"), (0, 2, "l"))
    space, probabilities = network(more), np.random.default_rng(1).random(12)
    assert np.exp(log_probability(probabilities, outcomes(space, probabilities))).sum() == pytest.approx(1.0, abs=1e-12)


def test_sampling_follows_the_probabilities() -> None:
    space, rng = network(), np.random.default_rng(2)
    probabilities = rng.uniform(0.2, 0.9, len(EDGES))
    draws = draw_subgraphs(space, probabilities, rng.random((40_000, len(EDGES))))
    every = outcomes(space, probabilities)
    chances = np.exp(log_probability(probabilities, every))
    seen = {row.tobytes(): 0 for row in np.concatenate([every.on, every.drawn], axis=1)}
    for row in np.concatenate([draws.on, draws.drawn], axis=1):
        seen[row.tobytes()] += 1  # a KeyError is a sub-graph that cannot be drawn
    shares = np.array(list(seen.values())) / 40_000
    assert np.abs(shares - chances).max() < 5 * np.sqrt(chances.max() / 40_000)  # five standard errors


def test_undrawn_modules_are_off_and_have_no_score() -> None:
    space = network()
    probabilities = np.full(len(EDGES), 0.5)
    nothing_on = draw_subgraphs(space, probabilities, np.full((1, len(EDGES)), 0.9))
    assert nothing_on.drawn.tolist() == [[name in "abch" for _, _, name in EDGES]]
    assert not nothing_on.on.any()
    assert not nothing_on.connected[0]
    assert score(probabilities, nothing_on).tolist() == [[-0.5 if name in "abch" else 0.0 for _, _, name in EDGES]]


def test_scores_are_gradients_of_log_probabilities() -> None:
    space, logits = network(), np.random.default_rng(3).normal(size=len(EDGES))
    draws = outcomes(space, sigmoid(logits))
    step = 1e-6
    for place in range(len(EDGES)):
        move = np.eye(len(EDGES))[place] * step
        slopes = (log_probability(sigmoid(logits + move), draws) - log_probability(sigmoid(logits - move), draws)) / (2 * step)
        assert np.allclose(slopes, score(sigmoid(logits), draws)[:, place], atol=1e-8)


@pytest.mark.parametrize("baseline", ["leave_one_out", "batch_mean", "running"])
@pytest.mark.parametrize("noisy", [False, True])
def test_mean_of_the_estimators_by_enumeration(baseline: Baseline, noisy: bool) -> None:
    """Over every pair of samples, and with a stochastic cost every pair of its values: leave-one-out and a constant are unbiased,
    the batch's mean is (B - 1) / B = one half of the gradient."""
    space = network((*EDGES[:3], *EDGES[4:7]))
    logits = np.random.default_rng(4).normal(size=6)
    probabilities = sigmoid(logits)
    draws = outcomes(space, probabilities)
    chances, values = np.exp(log_probability(probabilities, draws)), objective_of(draws)
    scores = score(probabilities, draws)
    shocks = ((0.5, -1.0), (0.5, 1.0)) if noisy else ((1.0, 0.0),)  # probability, what it adds
    mean = np.zeros(6)
    for one, two in product(range(len(chances)), repeat=2):
        for (p, first), (q, second) in product(shocks, repeat=2):
            gained = advantages(np.array([values[one] + first, values[two] + second]), baseline, 0.7)
            mean += chances[one] * chances[two] * p * q * (gained[0] * scores[one] + gained[1] * scores[two]) / 2
    share = 0.5 if baseline == "batch_mean" else 1.0
    assert np.allclose(mean, share * exact_gradient(space, logits), atol=1e-8)


def test_one_sample_uses_the_running_baseline() -> None:
    for baseline in ("leave_one_out", "batch_mean", "running"):
        assert advantages(np.array([3.0]), baseline, 1.0).tolist() == [2.0]


def test_a_switch_of_several_modules_is_drawn_once() -> None:
    dag = nx.MultiDiGraph()
    for layer in range(3):
        add_layer(dag, layer, (1,))
    add_edge(dag, 0, 1, nn.Identity, decision="both", option=1)
    add_edge(dag, 1, 2, nn.Identity, decision="both", option=1)
    add_edge(dag, 0, 2, nn.Identity, decision="jump", option=1)
    space = DagSpace("shared", dag)
    draws = outcomes(space, np.array([0.3, 0.6]))
    assert np.exp(log_probability(np.array([0.3, 0.6]), draws)).sum() == pytest.approx(1.0)
    assert draws.drawn.all()


def test_projected_draws_take_the_score_of_their_noise() -> None:
    """Three modules, of which the two with the greatest noisy log-odds run: finite differences of the expected loss."""
    logits = np.array([0.4, -0.3, 0.9])
    losses = {(0, 1): 0.2, (0, 2): 1.0, (1, 2): 0.1}
    table = np.zeros((3, 3))
    for (one, two), loss in losses.items():
        table[one, two] = table[two, one] = loss
    uniforms = np.random.default_rng(5).random((400_000, 3))

    def loss_of(at: np.ndarray) -> np.ndarray:
        order = np.argsort(at - np.log(uniforms) + np.log1p(-uniforms), axis=1)
        return table[order[:, 1], order[:, 2]]

    step = 0.1
    moves = step * np.eye(3)
    differences = [(loss_of(logits + move).mean() - loss_of(logits - move).mean()) / (2 * step) for move in moves]
    gained = loss_of(logits) - loss_of(logits).mean()
    by_noise = (gained[:, None] * score_of_noise(uniforms)).mean(0)
    assert np.allclose(by_noise, differences, atol=4e-3)  # a few standard errors
    on = uniforms < sigmoid(logits)
    by_switch = (gained[:, None] * (on - sigmoid(logits))).mean(0)
    assert np.abs(by_switch - differences).max() > 0.01, "on or off alone is not what the projection depends on"


def test_given_what_is_on_the_score_of_the_noise_is_that_of_the_switch() -> None:
    uniforms = (np.arange(200_000) + 0.5)[:, None] / 200_000
    for probability in (0.2, 0.7):
        on = uniforms[:, 0] < probability
        scores = score_of_noise(uniforms)[:, 0]
        assert scores[on].mean() == pytest.approx(1 - probability, abs=1e-4)
        assert scores[~on].mean() == pytest.approx(-probability, abs=1e-4)


def test_chances_of_being_drawn() -> None:
    space, probabilities = network(), np.full(len(EDGES), 0.5)
    chances = dict(
        zip([decision.name for decision in space.space.decisions], chances_of_being_drawn(space, probabilities), strict=True)
    )
    assert [chances[name] for name in "abch"] == [1.0] * 4
    assert chances["d"] == pytest.approx(0.75) == chances["e"]  # two modules join 0 and 1
    assert chances["f"] == pytest.approx(1 - 0.5 * (1 - 0.75 * 0.5)) == chances["g"]
    nothing = chances_of_being_drawn(space, np.zeros(len(EDGES)))
    assert sum(nothing) == 4

"""PruNet under hard budgets: answers are the enumerated best, fit, and say what alpha would have been needed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from support.tiny import extremes, free, fresh, limited, method, stirred, striped_data, tiny

from constrained_nas.ask_tell import Feedback, Moment
from constrained_nas.methods.prunet import PruNet
from constrained_nas.methods.prunet.block_pruning import init_layer
from constrained_nas.methods.prunet.loss import latency_penalty
from constrained_nas.methods.prunet.state import PruNetState, layer_of, with_layers
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import PRUNET_TRAINING, SearchOptions, search
from graphs import Architecture, GPUNetSpace
from graphs.costs import width_count_cost
from graphs.supernet import remove_options
from solvers import InfeasibleError

FABRIC = Fabric(accelerator="cpu", devices=1)
TRAINING = replace(PRUNET_TRAINING, learning_rate=0.005)
OPTIONS = SearchOptions(epochs=6, batch_size=12, seed=3)


def settled(how: PruNet, seed: int) -> PruNetState:
    """One random block left in every layer, skips still to compete, random widths."""
    state = stirred(how, seed)
    generator = np.random.default_rng(seed)
    layers = [layer_of(state, how.layout, number) for number in range(5)]
    layers = [replace(layer, blocks=np.arange(2) == generator.integers(2)) for layer in layers]
    return with_layers(state, how.layout, layers)


def enumerated(how: PruNet, state: PruNetState) -> list[tuple[float, float]]:
    """(score, latency) of every network of what is left, by the definition."""
    space, q = tiny(), how.latency.quadratic
    alive, picked = how.alive(state), np.where(state.width_logits > 0, state.large, state.small)
    tables = []
    for number, name in enumerate(space.layers):
        shape, layer, known = space.layers[name], how.layout.layers[number], layer_of(state, how.layout, number)
        table = []
        for option in alive[name]:
            entry = shape.options[option]
            if known.skip == "later":
                score = np.log(0.5) if entry.block is None else 0.0  # it would join the last block as an equal
            else:
                score = float(np.log(known.probabilities[-1 if entry.block is None else entry.block]))
            if entry.width:
                assert entry.block is not None
                score -= how.kappa * np.log(entry.width / picked[layer.prunodes[entry.block]]) ** 2
            table.append((score, q.linear[space.space.slice(name)][option]))
        tables.append(table)
    return [(sum(s for s, _ in combination), q.offset + sum(c for _, c in combination)) for combination in product(*tables)]


@pytest.mark.parametrize("seed", range(4))
def test_hard_is_the_enumerated_best_of_what_is_left(seed: int) -> None:
    how = method(hard=True, kappa=2.0)
    state = settled(how, seed)
    values = enumerated(how, state)
    cheapest, costliest = min(c for _, c in values), max(c for _, c in values)
    for share in (0.01, 0.3, 0.7, 1.1):
        limit = cheapest + share * (costliest - cheapest)
        found = how.project(limited(limit), state)
        assert how.latency.cost(found.architecture) <= limit
        assert not found.returned
        assert found.certificate.gap == pytest.approx(0.0, abs=1e-9)
        assert found.certificate.violation == 0.0
        assert found.certificate.primal == pytest.approx(max(s for s, c in values if c <= limit), rel=1e-9)
        assert found.alphas is not None
        if share > 1:
            assert found.alphas == (0.0, 0.0)
        result = how.finish(limited(limit), state)
        assert result.feasible
        assert result.architecture == found.architecture


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [0.9, 0.99, 1.0])
def test_a_network_that_uses_its_budget_is_the_enumerated_best_of_those(seed: int, least: float) -> None:
    plain, fuller = method(hard=True, kappa=2.0), method(hard=True, kappa=2.0, least_use=least)
    state = settled(plain, seed)
    values = enumerated(plain, state)
    cheapest, costliest = min(c for _, c in values), max(c for _, c in values)
    moved = 0
    for share in (0.01, 0.2, 0.5, 0.9, 2.0):
        limit = cheapest + share * (costliest - cheapest)
        before, found = plain.project(limited(limit), state), fuller.project(limited(limit), state)
        window = [s for s, c in values if least * limit * (1 - 1e-12) <= c <= limit]  # sums in another order round otherwise
        assert how_much(fuller, found.architecture) <= limit
        if not window:  # nothing lies there: the answer is that of the budget alone
            assert found.architecture == before.architecture
            continue
        assert found.certificate.primal == pytest.approx(max(window), rel=1e-9)
        assert how_much(fuller, found.architecture) >= least * limit * (1 - 1e-12)
        assert (found.alphas is None) == (found.choices != before.choices)
        moved += found.choices != before.choices
    assert moved or least == 1.0  # the bound from below decided somewhere


def how_much(how: PruNet, architecture: Architecture) -> float:
    """Its latency in ms."""
    return how.latency.cost(architecture)


@pytest.mark.parametrize("price", [0.5, 5.0, 50.0])
def test_the_alpha_needed_is_the_price_that_leads_to_the_same_network(price: float) -> None:
    """Whatever is best at a price (nats a millisecond) is best under the budget it spends, and the alphas enclose that price."""
    how = method(hard=True)
    state = settled(how, 1)
    q, scores = how.latency.quadratic, how.scores(state)
    choices = {}
    for name, shape in tiny().layers.items():
        worth = np.where(scores[name].survives, scores[name].scores, -np.inf) - price * q.linear[tiny().space.slice(name)]
        choices[name] = shape.options[int(worth.argmax())].name
    best = tiny().space.choose(choices)
    latency = how.latency.cost(best)
    found = how.project(limited(latency), state)
    assert found.architecture == best
    assert found.alphas is not None
    needed = price / latency_penalty(latency, 1.0)[1]
    assert found.alphas[0] - 1e-9 <= needed <= found.alphas[1] + 1e-9


def test_a_tighter_budget_needs_a_greater_alpha() -> None:
    how = method(hard=True)
    state = settled(how, 1)
    least, most = extremes(tiny())
    alphas = []
    for share in (0.5, 0.25, 0.12):
        found = how.project(limited(least + share * (most - least)), state)
        assert found.alphas is not None
        alphas.append(found.alphas[0])
    assert alphas == sorted(alphas)
    assert alphas[-1] > 0


def test_pruned_options_return_where_nothing_left_fits_and_the_answer_says_so() -> None:
    how = method(hard=True)
    state = how.init(free_hard := limited(extremes(tiny())[1]), np.random.default_rng(0))
    layers = [layer_of(state, how.layout, number) for number in range(5)]
    layers[4] = replace(layers[4], blocks=np.array([False, True]), skip="impossible")
    layers[2] = replace(layers[2], blocks=np.array([False, True]), skip="impossible")
    state = with_layers(state, how.layout, layers)
    assert not how.project(free_hard, state).returned
    least, most = extremes(tiny())
    result = how.finish(limited(least + 0.001 * (most - least)), state)
    assert result.feasible
    assert result.remark.startswith("no network of the surviving options fits; returned, without weights: ")
    assert "stage3.layer2: skip" in result.remark
    net = fresh()
    remove_options(net, how.alive(state))
    with pytest.raises(InfeasibleError, match=f"{least:.4g}"):
        how.finish(limited(0.9 * least), state)
    with pytest.raises(InfeasibleError, match=f"{least:.4g}"):
        search(limited(0.9 * least), how, net, striped_data(32, 5), OPTIONS, FABRIC, training=TRAINING)


def taught(how: PruNet, problem: SearchProblem, worth: np.ndarray, epochs: int = 30, steps: int = 10) -> list[PruNetState]:
    """The states after every epoch under a loss that is linear in the gates: (dimension,) what each option saves."""
    generator = np.random.default_rng(0)
    state, states = how.init(problem, generator), []
    for epoch in range(epochs):
        for step in range(steps):
            moment = Moment("architecture", epoch, epochs, step, steps)
            proposal = how.ask(problem, state, 4, moment, generator)
            prices = {name: -worth[how.space.space.slice(name)] for name in how.space.layers}
            loss = sum(float(gate @ prices[name]) for name, gate in proposal.gates.items())
            gradients = {name: prices[name] for name in proposal.differentiable}
            state = how.tell(problem, state, proposal, Feedback(np.full(4, loss), gradients), moment)
        state = how.epoch_end(problem, state, moment)
        states.append(state)
    return states


def test_a_skip_that_could_not_be_judged_does_not_win() -> None:
    """With equal worths every layer loses its blocks in the last epoch alone; a skip that joined then would be a tie."""
    how = method(alpha=0.0, warm_up=1, first_threshold=0.0, last_threshold=0.55, hard=True)
    problem = limited(extremes(tiny())[1])
    state = taught(how, problem, np.zeros(len(benefits(tiny()))), epochs=2, steps=1)[-1]
    assert how.report(state)["options"] == 1.0
    for architecture in (how.survivors(state), how.finish(problem, state).architecture):
        assert "skip" not in tiny().space.describe(architecture).values()


def benefits(space: GPUNetSpace) -> np.ndarray:
    """Wider is better, at a falling rate; the second block is better than the first; any block better than none."""
    values = []
    for shape in space.layers.values():
        for option in shape.options:
            width = 0.1 * np.log(option.width) if option.width else 0.0
            values.append(0.0 if option.block is None else 0.1 * (1 + option.block) + width)
    return np.array(values)


def test_a_greater_alpha_gives_no_slower_network() -> None:
    latencies = []
    for alpha in (0.0, 1.0, 4.0, 16.0):
        how = method(alpha=alpha, warm_up=5)
        state = taught(how, free(), benefits(tiny()))[-1]
        latencies.append(how.latency.cost(how.survivors(state)))
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[0] > latencies[-1]
    assert latencies[-1] < sum(extremes(tiny())) / 2


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_what_every_epochs_projection_picks_survives(share: float) -> None:
    least, most = extremes(tiny())
    problem = limited(least + share * (most - least))
    how = method(alpha=0.0, warm_up=5, hard=True, hard_epochs=True)
    states = taught(how, problem, benefits(tiny()))
    for state in states:
        found = how.project(problem, state)
        assert not found.returned
        assert how.report(state)["selected_ms"] <= problem.limits[0]
    result = how.finish(problem, states[-1])
    assert result.feasible
    assert result.remark.startswith("alpha needed: ")


def test_two_budgets_hold_at_once() -> None:
    how = method(hard=True)
    state = settled(how, 2)
    least, most = extremes(tiny())
    parameters = width_count_cost(tiny(), "parameters")
    light = how.project(limited(least + 0.2 * (most - least)), state).architecture
    limit = 1.01 * parameters.cost(light)
    problem = SearchProblem(tiny().space, (*limited(most).budgets, Budget(parameters, limit, "parameters")))
    result = how.finish(problem, state)
    assert result.feasible
    assert result.costs["parameters"] <= limit


def test_a_layer_whose_blocks_all_lost_is_skipped_and_holds_nothing() -> None:
    how = method()
    state = how.init(free(), np.random.default_rng(0))
    layers = [layer_of(state, how.layout, number) for number in range(5)]
    layers[2] = replace(init_layer(2, True), blocks=np.zeros(2, dtype=np.bool_), skip="chosen")
    state = with_layers(state, how.layout, layers)
    net = fresh()
    remove_options(net, how.alive(state))
    proposal = how.ask(free(), state, 4, Moment("architecture", 3, 6, 0, 4), np.random.default_rng(1))
    assert proposal.gates["stage2.layer2"][-1] == 1.0
    assert proposal.gates["stage2.layer2"].sum() == 1.0
    assert "stage2.layer2" not in proposal.differentiable
    gates = {name: torch.tensor(gate, dtype=torch.float32) for name, gate in proposal.gates.items()}
    assert net(striped_data(4, 6).tensors[0], gates).shape == (4, 3)
    assert how.finish(free(), state).architecture.choice("stage2.layer2") == 8

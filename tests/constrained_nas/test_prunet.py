"""PruNet: its gradients are autograd's, blocks really go, a resumed search repeats an unbroken one, hard answers fit."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tiny_spaces import striped_data
from torch import Tensor

import constrained_nas.search as search_module
from constrained_nas.ask_tell import Feedback, Moment
from constrained_nas.methods import PruNet
from constrained_nas.methods.block_pruning import init_layer, output_scales
from constrained_nas.methods.prunet_loss import latency_penalty
from constrained_nas.methods.prunet_state import PruNetState, layer_of, with_layers
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions, SearchRun, search
from constrained_nas.weight_training import PRUNET_TRAINING, WeightTraining, forget_parameters, make_optimizer
from graphs import Architecture, GPUNetSettings, GPUNetSpace, GPUNetStage, Supernet
from graphs.costs import QuadraticCost
from graphs.costs.width_counts import width_count_cost
from graphs.fabrics.separate_candidates import separate_candidates
from graphs.removal import remove_options
from graphs.widths import BlockChoice
from solvers import InfeasibleError, Quadratic

FABRIC = Fabric(accelerator="cpu", devices=1)
TRAINING = replace(PRUNET_TRAINING, learning_rate=0.005)
OPTIONS = SearchOptions(epochs=6, batch_size=12, seed=3)


@cache
def tiny() -> GPUNetSpace:
    """Five layers of two blocks, four of them Prunodes and three skippable; 16x16 grey images of three classes."""
    blocks = (BlockChoice(3, False, "relu"), BlockChoice(5, True, "relu"))
    convolutions = (BlockChoice(3, False, "relu"), BlockChoice(5, False, "relu"))
    stages = (
        GPUNetStage("convolution", 1, 1, 8, convolutions),
        GPUNetStage("fused", 2, 2, 8, blocks),
        GPUNetStage("inverted", 2, 1, 16, blocks),
    )
    settings = GPUNetSettings(
        "tiny prunet", 16, 3, stages, image_channels=1, stem_channels=8, expansion=4, granularity=8, head_channels=16
    )
    return GPUNetSpace(settings)


def latency_of(space: GPUNetSpace) -> QuadraticCost:
    """Milliseconds that rise with the multiply-adds of a block, and a part that every block has."""
    macs = width_count_cost(space, "macs").quadratic
    return QuadraticCost("latency", "ms", space.space, Quadratic.of(0.1, 2e-6 * macs.linear + 0.05 * (macs.linear > 0)))


def method(space: GPUNetSpace | None = None, **settings: Any) -> PruNet:
    where = space or tiny()
    return PruNet(where, latency_of(where), **({"warm_up": 1} | settings))


def free(space: GPUNetSpace | None = None) -> SearchProblem:
    return SearchProblem((space or tiny()).space, ())


def limited(limit: float) -> SearchProblem:
    return SearchProblem(tiny().space, (Budget(latency_of(tiny()), limit, "ms"),))


def fresh(space: GPUNetSpace | None = None) -> Supernet:
    torch.manual_seed(0)
    return (space or tiny()).supernet()


def extremes(space: GPUNetSpace) -> tuple[float, float]:
    """The latencies of the fastest and of the slowest network."""
    q = latency_of(space).quadratic
    parts = [q.linear[space.space.slice(name)] for name in space.layers]
    return q.offset + sum(part.min() for part in parts), q.offset + sum(part.max() for part in parts)


def stirred(how: PruNet, seed: int) -> PruNetState:
    """A state in the middle of a search: one layer has lost a block, in another the skip competes, Prunodes have moved."""
    generator = np.random.default_rng(seed)
    state = replace(how, hard=False).init(free(how.space), generator)
    layers = [layer_of(state, how.layout, number) for number in range(len(how.layout.layers))]
    layers[1] = replace(layers[1], blocks=np.array([False, True]))
    layers[4] = replace(layers[4], blocks=np.array([True, False]), skip="competes")
    state = with_layers(state, how.layout, layers)
    count = len(state.small)
    small = how.layout.granularity * generator.integers(1, 3, count)
    return replace(
        state,
        logits=generator.normal(size=len(state.logits)),
        width_logits=generator.normal(size=count),
        small=small,
        large=small + how.layout.granularity * generator.integers(1, 3, count),
    )


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_gradients_of_the_loss_through_the_supernet_equal_autograds(temperature: float) -> None:
    how = method(alpha=1.5, temperature=temperature)
    state = stirred(how, 1)
    net = fresh().double().train()
    images, labels = striped_data(6, 4).tensors
    generator = np.random.default_rng(0)
    moment = Moment("architecture", 2, 6, 1, 4)
    proposal = how.ask(free(), state, 6, moment, generator)
    assert proposal.differentiable == set(tiny().layers), "every layer has something to learn"
    gates = {name: torch.tensor(gate, requires_grad=True) for name, gate in proposal.gates.items()}
    losses = torch.nn.functional.cross_entropy(net(images.double(), gates), labels, reduction="none")
    by_gate = torch.autograd.grad(losses.mean(), list(gates.values()))
    feedback = Feedback(losses.detach().numpy(), {name: g.numpy() for name, g in zip(gates, by_gate, strict=True)})
    found, total = how.gradient(state, proposal, feedback)

    logits, w = (torch.tensor(values, requires_grad=True) for values in (state.logits, state.width_logits))
    noise = {name: torch.tensor(values) for name, values in proposal.noise.items()}
    q = how.latency.quadratic
    milliseconds = torch.tensor(q.offset, dtype=torch.float64)
    explicit: dict[str, Tensor] = {}
    for number, layer in enumerate(how.layout.layers):
        known = layer_of(state, how.layout, number)
        alive = np.flatnonzero(known.alive)
        weights = torch.softmax((logits[layer.slots][alive] + noise["options"][layer.slots][alive]) / temperature, 0)
        scales = torch.tensor(output_scales(known, how.scales)[alive])
        options = layer.options(state.small, state.large)[alive]
        gate, table = torch.zeros(len(layer.shape.options), dtype=torch.float64), torch.tensor(q.linear[layer.point])
        for place, slot in enumerate(alive):
            node = int(layer.prunodes[slot])
            share = torch.ones(1, dtype=torch.float64)
            if node >= 0:
                keys = torch.stack([torch.zeros((), dtype=torch.float64), w[node]])
                share = torch.softmax((keys + noise["widths"][node]) / temperature, 0)
            for option, part in zip(options[place, -len(share) :], share, strict=True):
                one_hot = torch.nn.functional.one_hot(torch.tensor(option), len(gate))
                gate = gate + one_hot * weights[place] * part * scales[place]
                milliseconds = milliseconds + weights[place] * part * table[option]  # phi and lambda do not scale the latency
        explicit[layer.name] = gate
        np.testing.assert_allclose(proposal.gates[layer.name], gate.detach().numpy(), rtol=1e-10, atol=1e-15)
    assert any(layer_of(state, how.layout, number).skip == "competes" for number in range(5)), "scales are at work"
    entropy = torch.nn.functional.cross_entropy(net(images.double(), explicit), labels)
    loss = entropy + how.alpha * torch.log(1000 * milliseconds) ** how.beta
    expected = torch.autograd.grad(loss, [logits, w], allow_unused=True)
    assert total == pytest.approx(float(loss.detach()), rel=1e-12)
    wanted = np.concatenate([part.numpy() for part in expected if part is not None])
    # float64 sums over a network in two orders
    np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-10 * np.abs(wanted).max())
    assert np.abs(found[: len(state.logits)]).max() > 0
    assert np.abs(found[len(state.logits) :]).max() > 0


def watched(how: PruNet, problem: SearchProblem, net: Supernet, **settings: Any) -> tuple[SearchRun[PruNetState], list[int]]:
    """A search on two splits, and the super-network's parameters after every epoch."""
    counts: list[int] = []

    def score(_: Any) -> dict[str, float]:
        counts.append(sum(parameter.numel() for parameter in net.parameters()))
        return {"validation": 1.0}

    keywords = {"training": TRAINING, "weights_data": striped_data(64, 2), "score": score} | settings
    return search(problem, how, net, striped_data(32, 5), OPTIONS, FABRIC, **keywords), counts


def test_a_search_ends_with_one_option_a_layer_and_the_others_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers: list[torch.optim.Optimizer] = []

    def caught(network: Supernet, training: WeightTraining) -> torch.optim.Optimizer:
        optimizers.append(make_optimizer(network, training))
        return optimizers[-1]

    monkeypatch.setattr(search_module, "make_optimizer", caught)
    net, how = fresh(), method(alpha=1.0)
    whole = sum(parameter.numel() for parameter in net.parameters())
    run, counts = watched(how, free(), net)
    assert counts[0] == whole, "nothing goes while warming up"
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 0.7 * whole  # of two equal blocks a layer one went, stem and head stay
    for number in range(5):
        assert layer_of(run.state, how.layout, number).blocks.sum() <= 1
    (optimizer,) = optimizers
    left = {id(parameter) for parameter in net.parameters()}
    assert {id(parameter) for group in optimizer.param_groups for parameter in group["params"]} == left
    assert {id(parameter) for parameter in optimizer.state} <= left
    assert [entry["options"] for entry in run.history] == sorted((entry["options"] for entry in run.history), reverse=True)
    assert run.history[0]["frozen"] == 0.0
    assert run.history[-1]["frozen"] == 1.0
    assert len(run.seconds) == 6
    assert min(run.seconds) > 0
    assert np.mean(run.losses[-7:]) < np.mean(run.losses[:7]), "the weights learn in the same loop"
    images = striped_data(8, 6).tensors[0]
    bare = net.extract(run.result.architecture)
    torch.testing.assert_close(bare(images), net(images, net.gates(run.result.architecture)), rtol=1e-4, atol=1e-5)
    gone = next(iter(set(range(2)) - set(np.flatnonzero(layer_of(run.state, how.layout, 1).blocks))))
    lost = tiny().space.choose(
        tiny().space.describe(run.result.architecture) | {"stage2.layer1": tiny().layers["stage2.layer1"].options[4 * gone].name}
    )
    with pytest.raises(ValueError, match="was removed but has a gate above zero"):
        net(images, net.gates(lost))


@pytest.mark.parametrize("hard", [False, True])
def test_killed_and_resumed_across_a_pruning_is_unbroken(tmp_path: Path, hard: bool) -> None:
    how = method(alpha=2.0, hard=hard, hard_epochs=hard)
    least, most = extremes(tiny())
    problem = limited(least + 0.3 * (most - least))
    first = fresh()
    unbroken, counts = watched(how, problem, first)
    assert counts[3] < counts[0], "blocks went before the search is killed"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, _: str) -> None:
        if done > 0.75 * total:
            raise KilledError

    checkpoint = tmp_path / "search.safetensors"
    with pytest.raises(KilledError):
        watched(how, problem, fresh(), checkpoint=checkpoint, progress=kill)
    third = fresh()
    resumed, _ = watched(how, problem, third, checkpoint=checkpoint)
    assert resumed.losses == unbroken.losses
    assert resumed.history == unbroken.history
    assert resumed.result.architecture == unbroken.result.architecture
    assert resumed.result.remark == unbroken.result.remark
    assert len(resumed.seconds) == len(unbroken.seconds)
    for name in PruNetState.__slots__:
        assert np.array_equal(getattr(resumed.state, name), getattr(unbroken.state, name)), name
    for (name, mine), theirs in zip(third.state_dict().items(), first.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    if hard:
        assert resumed.result.feasible
    for changed in (replace(how, alpha=1.0), replace(how, scales=replace(how.scales, block=0.4))):
        with pytest.raises(ValueError, match="saved by another search"):
            watched(changed, problem, fresh(), checkpoint=checkpoint)


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
    cheapest, dearest = min(c for _, c in values), max(c for _, c in values)
    for share in (0.01, 0.3, 0.7, 1.1):
        limit = cheapest + share * (dearest - cheapest)
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
    cheapest, dearest = min(c for _, c in values), max(c for _, c in values)
    moved = 0
    for share in (0.01, 0.2, 0.5, 0.9, 2.0):
        limit = cheapest + share * (dearest - cheapest)
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


COLUMNS: dict[str, dict[str, bool]] = {
    "fbnet": {"prunode": False, "pruning": False, "skipping": False},
    "prunode": {"prunode": True, "pruning": False, "skipping": False},
    "block pruning": {"prunode": False, "pruning": True, "skipping": False},
    "layer skipping": {"prunode": False, "pruning": False, "skipping": True},
    "all": {"prunode": True, "pruning": True, "skipping": True},
}


@pytest.mark.parametrize("column", COLUMNS)
def test_each_optimisation_can_be_switched_off(column: str) -> None:
    switches = COLUMNS[column]
    space = tiny() if switches["prunode"] else separate_candidates(tiny())
    how = method(space, **switches)
    net = fresh(space)
    run, counts = watched(how, free(space), net)
    assert (counts[-1] < counts[0]) == switches["pruning"]
    chosen = space.space.describe(run.result.architecture)
    if not switches["skipping"]:
        assert "skip" not in chosen.values()
        assert not np.isin(run.state.skips, [2, 3]).any()
    widths = {name: shape.widths for name, shape in space.layers.items() if shape.widths}
    if not switches["prunode"]:
        assert all(len(rising) == 2 and 2 * rising[0] == rising[1] for rising in widths.values())
        assert len(run.state.small) == 0
        assert how.layout.slots == sum(len(shape.blocks) * max(1, len(shape.widths)) + 1 for shape in space.layers.values())
    images = striped_data(4, 6).tensors[0]
    bare = net.extract(run.result.architecture)
    torch.testing.assert_close(bare(images), net(images, net.gates(run.result.architecture)), rtol=1e-4, atol=1e-5)


def test_candidates_of_their_own_share_no_weights() -> None:
    space = separate_candidates(tiny())
    with pytest.raises(ValueError, match="search it with prunode=False"):
        method(space).init(free(space), np.random.default_rng(0))
    net = fresh(space)
    images = striped_data(4, 6).tensors[0]
    names = {name: shape.options[-2 if shape.skippable else -1].name for name, shape in space.layers.items()}
    wide, narrow = (space.space.choose(names | {"stage2.layer1": f"k3_relu_w{width}"}) for width in (32, 16))
    net.eval()
    (gate,) = (net(images, net.gates(narrow)).sum(),)
    gate.backward()
    module = dict(net.named_modules())["edge_modules.2"].blocks  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in module["k3_relu_w16"].parameters())  # type: ignore[index, union-attr]
    assert all(parameter.grad is None for parameter in module["k3_relu_w32"].parameters())  # type: ignore[index, union-attr]
    assert net.extract(wide)(images).shape == (4, 3)


def test_the_optimiser_forgets() -> None:
    net = fresh()
    optimizer = make_optimizer(net, TRAINING)
    assert isinstance(optimizer, torch.optim.RMSprop)
    images = striped_data(4, 6).tensors[0]
    gates = {d.name: torch.full((len(d.options),), 1 / len(d.options)) for d in tiny().space.decisions}
    net(images, gates).sum().backward()
    optimizer.step()
    before = len(optimizer.state)
    removed = remove_options(net, {"stage2.layer1": [0, 3]})
    forget_parameters(optimizer, removed)
    assert removed
    assert len(optimizer.state) == before - len(removed)
    assert remove_options(net, {"stage2.layer1": [0, 3]}) == []
    for wrong in ({"stage9": [0]}, {"stage2.layer1": []}, {"stage2.layer1": [99]}):
        with pytest.raises(ValueError, match="options left: decision 'stage"):
            remove_options(net, wrong)
    with pytest.raises(ValueError, match="expected 'sgd' or 'rmsprop', got 'adam'"):
        WeightTraining(optimizer="adam")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "expected positive numbers .*temperature 0.0"),
        ({"alpha": -1.0}, "alpha -1.0"),
        ({"hard_epochs": True}, "set hard=True too"),
        ({"least_use": 1.5}, "least_use is a share of the budget"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(**settings)


def test_what_does_not_suit_is_refused() -> None:
    space, cost = tiny(), latency_of(tiny())
    with pytest.raises(ValueError, match=r"latency in ms .* got one in 's'"):
        PruNet(space, QuadraticCost("latency", "s", space.space, cost.quadratic))
    coupled = np.zeros((cost.quadratic.dimension,) * 2)
    coupled[0, -1] = 1.0
    bilinear = QuadraticCost("latency", "ms", space.space, Quadratic.of(0.1, cost.quadratic.linear, coupled))
    with pytest.raises(ValueError, match="adds up over the layers"):
        PruNet(space, bilinear)
    with pytest.raises(ValueError, match="'latency' does not"):
        method(hard=True).init(SearchProblem(space.space, (Budget(bilinear, 1.0, "ms"),)), np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one budget"):
        method(hard=True).init(free(), np.random.default_rng(0))
    with pytest.raises(ValueError, match="the latency is of space"):
        PruNet(separate_candidates(space), cost, prunode=False)
    with pytest.raises(ValueError, match="0 <= warmup < epochs"):
        search(free(), method(warm_up=6), fresh(), striped_data(32, 5), OPTIONS, FABRIC, training=TRAINING)


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

"""PruNet: its gradients are autograd's, blocks really go, a resumed search repeats an unbroken one."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from support.tiny import extremes, free, fresh, latency_of, limited, method, stirred, striped_data, tiny
from torch import Tensor

from constrained_nas.ask_tell import Feedback, Moment
from constrained_nas.methods.prunet import PruNet
from constrained_nas.methods.prunet.block_pruning import output_scales
from constrained_nas.methods.prunet.state import PruNetState, layer_of
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import PRUNET_TRAINING, SearchOptions, SearchRun, WeightTraining, search
from constrained_nas.search import loop as search_module
from constrained_nas.search.weights import forget_parameters, make_optimizer
from graphs import Supernet
from graphs.costs import QuadraticCost
from graphs.supernet import remove_options
from papers_repro.prunet import separate_candidates
from solvers import Quadratic

FABRIC = Fabric(accelerator="cpu", devices=1)
TRAINING = replace(PRUNET_TRAINING, learning_rate=0.005)
OPTIONS = SearchOptions(epochs=6, batch_size=12, seed=3)


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
    whole, began = sum(parameter.numel() for parameter in net.parameters()), time.perf_counter()
    run, counts = watched(how, free(), net)
    elapsed = time.perf_counter() - began
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
    assert 0.02 * elapsed < sum(run.seconds) * len(run.losses) / 6 < elapsed, "of a step, not of an epoch"
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


COLUMNS: dict[str, dict[str, bool]] = {
    "fbnet": {"prunode": False, "pruning": False, "skipping": False},
    "prunode": {"prunode": True, "pruning": False, "skipping": False},
    "block pruning": {"prunode": False, "pruning": True, "skipping": False},
    "layer skipping": {"prunode": False, "pruning": False, "skipping": True},
    "all": {"prunode": True, "pruning": True, "skipping": True},
}


@pytest.mark.parametrize("column", COLUMNS)
def test_each_optimization_can_be_switched_off(column: str) -> None:
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


def test_the_optimizer_forgets() -> None:
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

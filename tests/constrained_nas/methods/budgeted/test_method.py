"""Budgeted super-networks: the learned network is the enumerated optimum, budgets hold, a resumed search repeats a whole one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from support.tiny import striped_data
from torch import nn

from constrained_nas.ask_tell import Feedback, Moment, Proposal
from constrained_nas.methods.budgeted import Budgeted
from constrained_nas.methods.budgeted.method import BudgetedState
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions, WeightTraining, search
from graphs import Architecture, DagSpace, add_edge, add_layer, resnet_fabric
from graphs.costs import CallableCost, connected_macs, connected_parameters, makespan_cost
from solvers import InfeasibleError

FABRIC = Fabric(accelerator="cpu", devices=1)
TRAINING = WeightTraining(learning_rate=0.05)
OPTIONS = SearchOptions(epochs=4, batch_size=16, seed=3)


def conv(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs))


def head(classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


@cache
def network() -> DagSpace:
    """Stem, three layers of four channels joined by eight convolutions and shortcuts, head; 16x16 grey images, three classes."""
    dag = nx.MultiDiGraph()
    add_layer(dag, "image", (1, 16, 16), "identity")
    add_layer(dag, "stem", (4, 8, 8), "identity")
    for layer in ("a", "b", "c"):
        add_layer(dag, layer, (4, 8, 8), "sum_relu")
    add_layer(dag, "logits", (3,), "identity")
    add_edge(dag, "image", "stem", lambda: conv(1, 4, 2))
    pairs = [("stem", "a"), ("a", "b"), ("b", "c"), ("stem", "c")]
    for source, target in pairs:
        add_edge(dag, source, target, lambda: conv(4, 4, 1), decision=f"{source}-{target} conv", option=1, key="conv")
        add_edge(dag, source, target, nn.Identity, decision=f"{source}-{target} skip", option=1, key="skip")
    add_edge(dag, "c", "logits", lambda: head(3))
    return DagSpace("eight switches", dag)


def all_costs() -> dict[str, float]:
    """Multiply-adds of every connected sub-graph, by its switches."""
    space, cost = network(), connected_macs(network())
    costs = {}
    for on in product([False, True], repeat=8):
        architecture = space.switched(np.array(on))
        if space.connectivity.running(space.space, architecture).any():
            costs["".join("01"[state] for state in on)] = cost.cost(architecture)
    return costs


def budget(share: float) -> Budget:
    """``share`` of the way from the cheapest connected network's multiply-adds to the whole's."""
    values = all_costs().values()
    return Budget(connected_macs(network()), min(values) + share * (max(values) - min(values)), "MACs")


def additive_loss(on: np.ndarray) -> np.ndarray:
    """A loss that adds up over the modules that run (samples,), the switches being ``on`` (samples, 8); 3 where none does."""
    space = network()
    worth = {"stem-a conv": 1.0, "a-b skip": 0.8, "b-c conv": 1.2, "stem-c conv": 0.9, "stem-c skip": -0.5, "a-b conv": 0.3}
    parts = space.connectivity
    running = parts.connected(parts.switched_on(np.stack([~on, on], axis=2).reshape(len(on), -1)))
    names = [space.space.decisions[column // 2].name if column >= 0 else "" for column in parts.columns]
    return 3.0 * ~running.any(1) - running @ np.array([worth.get(name, -0.2) if name else 0.0 for name in names])


def taught(method: Budgeted, problem: SearchProblem, steps: int) -> BudgetedState:
    """The state after ``steps`` batches of one example a sample under the additive loss."""
    generator = np.random.default_rng(0)
    state = method.init(problem, generator)
    for step in range(steps):
        moment = Moment("both", 0, 1, step, steps)
        proposal = method.ask(problem, state, method.samples, moment, generator)
        on = np.stack([proposal.gates[d.name][:, 1] > 0 for d in problem.space.decisions], axis=1)
        assert proposal.observed is not None
        costs = problem.observe(proposal.observed)
        state = method.tell(problem, state, proposal, Feedback(additive_loss(on), {}, costs), moment)
    return state


@pytest.mark.parametrize(("hard", "samples", "steps"), [(False, 16, 600), (True, 8, 100)])
def test_learns_the_enumerated_optimum(hard: bool, samples: int, steps: int) -> None:
    """The least of loss + penalty over all sub-graphs; without projection the distribution settles (Proposition 1)."""
    space = network()
    problem = SearchProblem(space.space, (budget(0.5),))
    method = Budgeted(
        space,
        samples,
        1.0,
        warm_up=0,
        learning_rate=0.3,
        momentum=0.5,
        milestones=(),
        baseline="leave_one_out",
        hard=hard,
        start=0.5,
    )
    limit, costs = problem.limits[0], all_costs()
    magnitude = 10.0 ** np.floor(np.log10(limit))
    objectives = {
        name: float(additive_loss(np.array([[bit == "1" for bit in name]]))[0]) + max(0.0, cost - limit) / magnitude
        for name, cost in costs.items()
        if not hard or cost <= limit
    }
    state = taught(method, problem, steps)
    result = method.finish(problem, state)
    found = "".join(str(result.architecture.choice(decision.name)) for decision in space.space.decisions)
    assert objectives[found] == pytest.approx(min(objectives.values()))
    if not hard:  # with projection, switches that the budget decides need not settle
        assert method.report(state)["entropy"] < 0.1


def test_hard_samples_all_fit_and_agree_with_the_draw_where_that_fits() -> None:
    space = network()
    problem = SearchProblem(space.space, (budget(0.3), Budget(connected_parameters(space), 400.0, "parameters")))
    method = Budgeted(space, samples=32, warm_up=0, hard=True)
    generator = np.random.default_rng(1)
    state = replace(method.init(problem, generator), logits=np.random.default_rng(2).normal(size=8))
    proposal = method.ask(problem, state, 32, Moment("both", 0, 1, 0, 1), generator)
    assert proposal.observed is not None
    assert len(proposal.observed) == 32
    for name, values in problem.observe(proposal.observed).items():
        assert (values <= {b.cost.name: b.limit for b in problem.budgets}[name]).all()
    replaced = proposal.noise["replaced"] > 0
    assert 0 < replaced.sum() < 32
    on = proposal.observed[:, 1::2] > 0
    assert np.array_equal(on[~replaced], (proposal.noise["on"] > 0)[~replaced])
    result = method.finish(problem, state)
    assert result.feasible
    assert result.certificate is not None
    assert result.certificate.gap is not None
    assert result.certificate.gap <= 1e-9 * max(1.0, abs(result.certificate.primal))


def test_hard_samples_a_hair_over_the_budget_are_replaced() -> None:
    space = network()
    cost = connected_parameters(space)
    method = Budgeted(space, samples=32, warm_up=0, hard=True)

    def observed(limit: float) -> NDArray[np.float64]:
        problem, generator = SearchProblem(space.space, (Budget(cost, limit, cost.unit),)), np.random.default_rng(1)
        state = replace(method.init(problem, generator), logits=np.random.default_rng(2).normal(size=8))
        proposal = method.ask(problem, state, 32, Moment("both", 0, 1, 0, 1), generator)
        assert proposal.observed is not None
        return problem.observe(proposal.observed)[cost.name]

    drawn = observed(1e9)
    for value in np.unique(drawn)[1:]:
        assert (observed(value / 1.005) < value).all() and value in observed(value)


def accuracy(supernet: nn.Module, architecture: Architecture) -> float:
    images, labels = striped_data(48, 9).tensors
    gates = supernet.gates(architecture)  # type: ignore[operator]
    return float((supernet(images, gates).argmax(1) == labels).float().mean())


@pytest.mark.parametrize(("hard", "samples"), [(False, 0), (False, 4), (True, 0), (True, 1), (True, 4)])
def test_a_search_ends_in_a_network_that_fits(hard: bool, samples: int) -> None:
    space = network()
    problem = SearchProblem(space.space, (budget(0.4),))
    torch.manual_seed(0)
    supernet = space.supernet(disconnected="zeros")
    method = Budgeted(space, samples=samples, warm_up=1, learning_rate=2.0, coefficient=10.0, hard=hard)
    options = replace(OPTIONS, epochs=8)
    run = search(
        problem,
        method,
        supernet,
        striped_data(96, 2),
        options,
        FABRIC,
        training=TRAINING,
        score=lambda result: {"validation": accuracy(supernet, result.architecture)},
    )
    assert run.result.feasible
    assert run.result.costs["macs"] <= problem.limits[0]
    assert not supernet.training
    assert [entry["epoch"] for entry in run.history] == list(range(1, 9))
    assert run.history[0]["entropy"] == pytest.approx(-(p := 1 / (1 + np.exp(-3))) * np.log(p) - (1 - p) * np.log(1 - p))
    last = run.history[-1]
    assert last["fits"]
    assert last["costs"] == run.result.costs
    assert last["choices"] == space.space.describe(run.result.architecture)
    assert run.losses[-1] < run.losses[0], "the weights learn in the same loop"
    images = striped_data(8, 5).tensors[0]
    bare = supernet.extract(run.result.architecture)
    torch.testing.assert_close(bare(images), supernet(images, supernet.gates(run.result.architecture)), rtol=1e-4, atol=1e-5)


def test_killed_and_resumed_is_unbroken(tmp_path: Path) -> None:
    space = network()
    problem = SearchProblem(space.space, (budget(0.4),))
    method = Budgeted(space, samples=4, warm_up=1, learning_rate=1.0)

    def started() -> nn.Module:
        torch.manual_seed(0)
        return space.supernet(disconnected="zeros")

    first = started()
    unbroken = search(problem, method, first, striped_data(64, 2), OPTIONS, FABRIC, training=TRAINING)  # type: ignore[arg-type]

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, _: str) -> None:
        if done > 0.6 * total:
            raise KilledError

    checkpoint = tmp_path / "search.safetensors"
    second = started()
    with pytest.raises(KilledError):
        search(problem, method, second, striped_data(64, 2), OPTIONS, FABRIC, checkpoint, kill, training=TRAINING)  # type: ignore[arg-type]
    third = started()
    resumed = search(problem, method, third, striped_data(64, 2), OPTIONS, FABRIC, checkpoint, training=TRAINING)  # type: ignore[arg-type]
    assert np.array_equal(resumed.state.logits, unbroken.state.logits)
    assert resumed.losses == unbroken.losses
    assert resumed.history == unbroken.history
    for (name, mine), theirs in zip(third.state_dict().items(), first.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    with pytest.raises(ValueError, match="saved by another search"):
        changed = replace(TRAINING, learning_rate=0.1)
        search(problem, method, third, striped_data(64, 2), OPTIONS, FABRIC, checkpoint, training=changed)  # type: ignore[arg-type]


def test_any_cost_will_do_and_a_bad_one_is_named() -> None:
    space = network()
    torch.manual_seed(0)
    supernet = space.supernet(disconnected="zeros")
    steps = makespan_cost(space, 2)
    shocks = np.random.default_rng(7)
    noisy = CallableCost("weather", "points", space, lambda architecture: 5.0 + float(shocks.normal()))
    problem = SearchProblem(space.space, (Budget(steps, 6.0, "steps"), Budget(noisy, 9.0, "points")))
    method = Budgeted(space, samples=4, warm_up=0, learning_rate=2.0, coefficient=20.0)
    run = search(problem, method, supernet, striped_data(96, 2), replace(OPTIONS, epochs=6), FABRIC, training=TRAINING)
    assert run.result.costs[steps.name] <= 6.0

    def fails(_: Architecture) -> float:
        raise RuntimeError("no device")

    for function, message in ((fails, "weather.*RuntimeError: no device"), (lambda _: float("nan"), "weather.*nan")):
        bad = SearchProblem(space.space, (Budget(CallableCost("weather", "points", space, function), 9.0, "points"),))
        with pytest.raises(ValueError, match=message):
            search(bad, method, supernet, striped_data(96, 2), OPTIONS, FABRIC, training=TRAINING)
    with pytest.raises(ValueError, match=r"hard=True needs budgets that add up.*steps"):
        Budgeted(space, hard=True).init(SearchProblem(space.space, (Budget(steps, 6.0, "steps"),)), np.random.default_rng(0))


def test_budgets_below_the_cheapest_connected_network_are_refused_with_the_least_cost() -> None:
    space, least = network(), min(all_costs().values())
    tight = SearchProblem(space.space, (Budget(connected_macs(space), least - 1, "MACs"),))
    for hard in (False, True):
        with pytest.raises(InfeasibleError, match=f"{least:.0f}"):
            Budgeted(space, hard=hard).init(tight, np.random.default_rng(0))
    exactly = SearchProblem(space.space, (Budget(connected_macs(space), least, "MACs"),))
    assert Budgeted(space).init(exactly, np.random.default_rng(0)).steps == 0


def test_settings_out_of_range_are_refused() -> None:
    for changed, message in (
        ({"samples": -1}, "samples"),
        ({"coefficient": -1.0}, "coefficient"),
        ({"ramp": 2.0}, "ramp"),
        ({"baseline": "median"}, "baseline"),
        ({"anneal": -0.1}, "anneal"),
        ({"clamp": 0.0}, "clamp"),
        ({"settle": "project"}, "finite one for settle"),
        ({"charge": "later"}, "charge, settle"),
    ):
        with pytest.raises(ValueError, match=message):
            Budgeted(network(), **changed)  # type: ignore[arg-type]


def test_what_was_never_drawn_earns_nothing_in_a_projection() -> None:
    """Switches behind an unlikely module keep the logits they began with: these are no reason to switch the module on."""
    space = network()
    problem = SearchProblem(space.space, (budget(1.0),))
    method = Budgeted(space, hard=True)
    logits = {"stem-a conv": -1.0, "stem-a skip": -2.0, "stem-c conv": 2.0, "stem-c skip": -1.0}
    state = replace(
        method.init(problem, np.random.default_rng(0)),
        logits=np.array([logits.get(decision.name, 3.0) for decision in space.space.decisions]),
    )
    found = method.finish(problem, state).architecture
    assert [decision.name for decision in space.space.decisions if found.choice(decision.name)] == ["stem-c conv"]


def test_the_entropy_leaves_out_what_is_never_drawn() -> None:
    """Fig. 4's entropy tends to 0 although switches behind a module that is off keep their even odds."""
    space = network()
    settled = {"stem-a conv": -12.0, "stem-a skip": -12.0, "stem-c conv": 12.0, "stem-c skip": -12.0}
    logits = np.array([settled.get(decision.name, 0.0) for decision in space.space.decisions])
    method = Budgeted(space)
    state = replace(method.init(SearchProblem(space.space, ()), np.random.default_rng(0)), logits=logits)
    assert method.report(state)["entropy"] < 1e-3 < np.log(2) * np.mean(logits == 0)
    assert method.report(replace(state, logits=np.zeros_like(logits)))["entropy"] == pytest.approx(np.log(2))


def test_a_disconnected_sample_pays_as_much_as_the_costliest() -> None:
    space = network()
    problem = SearchProblem(space.space, (budget(0.2),))
    method = Budgeted(space, samples=2, warm_up=0, baseline="leave_one_out", learning_rate=1.0, momentum=0.0)
    state = method.init(problem, np.random.default_rng(0))
    on = np.zeros((2, 8), dtype=bool)
    on[0] = True  # the whole super-network, and nothing
    noise = {"on": on, "drawn": np.ones_like(on), "connected": [1, 0], "replaced": [0, 0], "share": [0, 1]}
    whole = np.stack([~on[:1], on[:1]], axis=2).reshape(1, -1).astype(float)
    arrays = {name: np.asarray(values, dtype=float) for name, values in noise.items()}
    feedback = Feedback(np.array([1.0, 1.0]), {}, problem.observe(whole))
    told = method.tell(problem, state, Proposal({}, frozenset(), arrays, whole), feedback, Moment("both", 0, 1, 0, 1))
    assert np.array_equal(told.logits, state.logits), "equal losses and equal penalties move nothing"


def three_ways() -> DagSpace:
    """Three convolutions alike between two layers."""
    dag = nx.MultiDiGraph()
    for layer in ("a", "b"):
        add_layer(dag, layer, (4, 8, 8))
    for name in "xyz":
        add_edge(dag, "a", "b", lambda: conv(4, 4, 1), decision=name, option=1, key=name)
    return DagSpace("three ways", dag)


def test_the_gradient_of_projected_samples_is_that_of_finite_differences() -> None:
    """One of three modules fits; the expected loss is compared under logits moved this way and that, with the same noise."""
    space = three_ways()
    cost = connected_parameters(space)
    problem = SearchProblem(space.space, (Budget(cost, cost.cost(space.switched(np.array([True, False, False]))), cost.unit),))
    rows = 20_000
    method = Budgeted(space, rows, warm_up=0, learning_rate=1.0, momentum=0.0, milestones=(), hard=True)
    worth = np.array([0.2, 1.0, 0.1])
    logits, moment = np.array([0.4, -0.3, 0.9]), Moment("both", 0, 1, 0, 1)
    state = replace(method.init(problem, np.random.default_rng(0)), logits=logits)

    def asked(at: np.ndarray) -> tuple[Proposal, np.ndarray]:
        proposal = method.ask(problem, replace(state, logits=at), rows, moment, np.random.default_rng(1))
        on = np.stack([proposal.gates[name][:, 1] for name in "xyz"], axis=1)
        return proposal, (on @ worth) ** 2

    proposal, losses = asked(logits)
    told = method.tell(problem, state, proposal, Feedback(losses, {}), moment)
    moves = 0.2 * np.eye(3)
    differences = [(asked(logits + move)[1].mean() - asked(logits - move)[1].mean()) / 0.4 for move in moves]
    assert np.allclose(logits - told.logits, differences, atol=0.015)
    replaced = proposal.noise["replaced"] > 0
    assert 0.05 < replaced.mean() < 0.95
    by_switch = ((losses - losses.mean())[:, None] * (proposal.noise["on"] - 1 / (1 + np.exp(-logits)))).mean(0)
    assert np.abs(by_switch - differences).max() > 0.03


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_run_on_costs_alone_stays_at_the_limit(share: float) -> None:
    """All losses are zero: nothing but the budget moves the logits, and they stop where the mean sample meets it."""
    space = resnet_fabric(3, image_channels=1, side=16, widths=(4, 8, 16))
    cost = connected_macs(space)
    problem = SearchProblem(space.space, (Budget(cost, share * cost.cost(space.whole), cost.unit),))
    settings = {"charge": "expected", "anneal": 0.6, "clamp": 3.0, "settle": "project", "coefficient": 10.0}
    method = Budgeted(space, 32, warm_up=0, learning_rate=0.1, milestones=(0.6, 0.85), **settings)  # type: ignore[arg-type]
    generator, steps, shares = np.random.default_rng(0), 240, []
    state = method.init(problem, generator)
    for step in range(steps):
        moment = Moment("both", 0, 1, step, steps)
        proposal = method.ask(problem, state, 32, moment, generator)
        assert proposal.observed is not None
        costs = problem.observe(proposal.observed)
        shares.append(float(costs["macs"].mean()) / problem.limits[0])
        state = method.tell(problem, state, proposal, Feedback(np.zeros(32), {}, costs), moment)
    assert 0.9 < np.mean(shares[-20:]) < 1.1
    free = np.ones(len(state.logits), dtype=np.bool_)
    columns = space.connectivity.columns
    free[columns[(columns >= 0) & (cost.per_edge > 0)] // 2] = False
    assert free.any() and (state.logits[free] == method.start).all(), "identities cost nothing and are charged nothing"
    assert (state.logits[~free] < 0).any()
    assert np.abs(state.logits).max() <= 3.0
    result = method.finish(problem, state)
    assert result.feasible and result.costs["macs"] > 0.9 * problem.limits[0]
    assert result.certificate is not None


def test_steps_on_machines_settle_within_their_budget() -> None:
    space = network()
    steps = makespan_cost(space, 1)
    problem = SearchProblem(space.space, (Budget(steps, 5.0, "steps"),))
    method = Budgeted(space, settle="project", clamp=3.0)
    state = replace(method.init(problem, np.random.default_rng(0)), logits=np.linspace(-2.0, 2.0, 8))
    result = method.finish(problem, state)
    assert result.feasible and result.costs[steps.name] > 3
    wide = SearchProblem(space.space, (Budget(steps, steps.cost(space.whole), "steps"),))
    assert method.finish(wide, state).architecture == space.whole


def test_logits_without_bounds_end_in_their_modes() -> None:
    space = network()
    problem = SearchProblem(space.space, ())
    method = Budgeted(space)
    assert math.isinf(method.clamp)
    result = method.finish(problem, method.init(problem, np.random.default_rng(0)))
    assert result.architecture == space.whole and result.certificate is None and result.objective is None

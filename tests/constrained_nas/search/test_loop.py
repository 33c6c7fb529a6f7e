"""Searches: every iterate fits, the result fits, a resumed search repeats an unbroken one, and what does not suit is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from support.searches import FABRIC, OPTIONS, data, problem, setting
from support.tiny import random_architecture, striped_data, tiny_space
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from constrained_nas.ask_tell import Feedback, Moment, Proposal
from constrained_nas.methods import HardCoRe, HardCoReState, SoftPenalty, random_feasible
from constrained_nas.methods.distributions import point_gradient
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions, search
from constrained_nas.search.loop import _batches
from graphs import Architecture, MBConvSpace
from graphs.costs import mac_cost
from solvers import InfeasibleError, project_jointly


@dataclass(frozen=True)
class Watched:
    """A method that notes every state it passes through."""

    method: Any
    states: list[Any]

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Any:
        self.states.append(self.method.init(problem, generator))
        return self.states[-1]

    def ask(self, problem: SearchProblem, state: Any, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        return self.method.ask(problem, state, rows, moment, generator)

    def tell(self, problem: SearchProblem, state: Any, proposal: Proposal, feedback: Feedback, moment: Moment) -> Any:
        self.states.append(self.method.tell(problem, state, proposal, feedback, moment))
        return self.states[-1]

    def epoch_end(self, problem: SearchProblem, state: Any, moment: Moment) -> Any:
        return self.method.epoch_end(problem, state, moment)

    def alive(self, state: Any) -> Any:
        return self.method.alive(state)

    def report(self, state: Any) -> dict[str, float]:
        return self.method.report(state)

    def finish(self, problem: SearchProblem, state: Any) -> Any:
        return self.method.finish(problem, state)


METHODS: dict[str, Callable[[MBConvSpace], HardCoRe]] = {
    "paper": lambda s: HardCoRe(s.space, s.staged),
    "cheapest": lambda s: HardCoRe(s.space, s.staged, start="cheapest"),
    "entropy": lambda s: HardCoRe(s.space, s.staged, start="entropy", offset=8, momentum=0.9, objective="linearize"),
}


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.1, 0.5, 0.9, 1.5])
@pytest.mark.parametrize("name", METHODS)
def test_every_iterate_fits_and_so_does_the_result(share: float, name: str) -> None:
    space, net, cost, *_ = setting()
    asked = problem(share)
    limit = asked.limits[0]
    watched = Watched(METHODS[name](space), [])
    run = search(asked, watched, net, data(), OPTIONS, FABRIC)
    assert len(watched.states) == 17  # the start and two epochs of eight steps
    for state in watched.states:
        assert space.staged.blocks.residual(state.point) <= 1e-9  # what a QP start may be off by
        assert cost.quadratic.value(state.point) <= limit * (1 + 1e-9)  # the oracle relaxes the budget by 1e-10 against round-off
    result = run.result
    assert result.feasible
    assert cost.cost(result.architecture) <= limit
    assert result.costs == {"latency": cost.cost(result.architecture)}
    assert np.array_equal(result.point, run.state.point)
    assert result.certificate is not None
    assert result.certificate.violation == 0.0
    assert result.certificate.gap is not None
    assert result.certificate.gap <= 1e-9 * max(1.0, abs(result.certificate.primal))
    assert len(run.losses) == 16
    assert np.isfinite(run.losses).all()


def test_the_projection_is_the_best_network_that_fits() -> None:
    space, net, cost, *_ = setting()
    asked = problem(0.4)
    run = search(asked, HardCoRe(space.space, space.staged), net, data(), OPTIONS, FABRIC)
    best = -np.inf
    generator = np.random.default_rng(0)
    point = run.result.point
    for _ in range(3000):
        architecture = random_architecture(space.space, generator)
        if cost.cost(architecture) <= asked.limits[0]:
            best = max(best, float(point @ space.space.point(architecture)))
    found = float(point @ space.space.point(run.result.architecture))
    assert found >= best - 1e-12  # sums of ten numbers of at most 1


@pytest.mark.parametrize("share", [0.1, 0.3, 1.5])
@pytest.mark.parametrize("name", METHODS)
def test_the_way_is_down(name: str, share: float) -> None:
    """On a loss that adds up over the choices the search ends at the least that fits; only the last budget lets everything pass."""
    space, *_ = setting()
    asked = problem(share)
    method = METHODS[name](space)
    generator = np.random.default_rng(0)
    prices = {d.name: np.random.default_rng(5).permutation(len(d.options)).astype(float) for d in space.space.decisions}
    state = begun = method.init(asked, generator)
    moment = Moment("architecture", 0, 1, 0, 200)
    for _ in range(200):
        proposal = method.ask(asked, state, 16, moment, generator)
        gradients = {decision: np.tile(prices[decision] / 16, (16, 1)) for decision in proposal.differentiable}
        losses = sum((proposal.gates[decision] @ price for decision, price in prices.items()), np.zeros(16))
        state = method.tell(asked, state, proposal, Feedback(losses, gradients), moment)
    assert state.step == 200
    result = method.finish(asked, state)
    flat = np.concatenate([prices[d.name] for d in space.space.decisions])
    best = project_jointly(space.staged, -flat, asked.quadratics("test"), asked.limits).require_feasible().x
    free = project_jointly(space.staged, -flat, problem(1.5).quadratics("test"), problem(1.5).limits).require_feasible().x
    assert best is not None and free is not None
    assert asked.fits(result.architecture)
    assert (flat @ best > flat @ free) == (share < 1)  # the budget binds
    found = float(flat @ space.space.point(result.architecture))
    assert found >= flat @ best - 1e-9
    if share > 1 or method.objective == "linearize":
        assert found <= flat @ best + 1e-9
    else:  # credits under a binding budget end at a vertex of one part, given the other: better than the start is all there is
        assert found < flat @ begun.point


def test_searches_repeat_and_seeds_differ() -> None:
    space, net, *_ = setting()
    method = HardCoRe(space.space, space.staged)
    runs = [search(problem(0.5), method, net, data(), replace(OPTIONS, seed=seed), FABRIC) for seed in (1, 1, 2)]
    assert np.array_equal(runs[0].result.point, runs[1].result.point)
    assert runs[0].losses == runs[1].losses
    assert not np.array_equal(runs[0].result.point, runs[2].result.point)


@pytest.mark.parametrize("statistics", [True, False])
def test_the_supernet_is_left_as_it_was(statistics: bool) -> None:
    space, net, *_ = setting()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    momenta = [m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    options = replace(OPTIONS, epochs=1, batch_statistics=statistics)
    search(problem(0.5), HardCoRe(space.space, space.staged), net, data(), options, FABRIC)
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)] == momenta
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert not any(module.training for module in net.modules())


def make_method(name: str, space: MBConvSpace) -> Any:
    if name == "soft":
        return SoftPenalty(space.space, space.staged, projection="joint")
    return HardCoRe(space.space, space.staged, momentum=0.9, objective="linearize")


@pytest.mark.parametrize("name", ["hardcore", "soft"])
def test_killed_searches_resume_to_the_same_result(tmp_path: Path, name: str) -> None:
    space, net, *_ = setting()
    method, asked = make_method(name, space), problem(0.5)
    options = replace(OPTIONS, epochs=3)
    unbroken = search(asked, method, net, data(), options, FABRIC)

    def kill(done: int, total: int, what: str) -> None:
        assert (total, what) == (24, "search")
        if done == 13:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "search.safetensors"
    with pytest.raises(KeyboardInterrupt):
        search(asked, method, net, data(), options, FABRIC, checkpoint, kill)
    assert not any(module.training for module in net.modules()), "a killed search must leave the super-network as it was"
    resumed = search(asked, method, net, data(), options, FABRIC, checkpoint)
    assert np.array_equal(resumed.result.point, unbroken.result.point)
    assert resumed.losses == unbroken.losses
    assert resumed.result.architecture == unbroken.result.architecture


def test_checkpoints_of_other_searches(tmp_path: Path) -> None:
    space, net, *_ = setting()
    checkpoint = tmp_path / "s.safetensors"
    method, options = HardCoRe(space.space, space.staged), replace(OPTIONS, epochs=1)
    search(problem(0.5), method, net, data(), options, FABRIC, checkpoint)
    others: list[tuple[SearchProblem, Any, SearchOptions, str]] = [
        (problem(0.3), method, options, "budgets"),
        (problem(0.5), replace(method, momentum=0.5), options, "settings"),
        (problem(0.5), make_method("soft", space), options, "method"),
        (problem(0.5), method, replace(options, epochs=2), "options"),
    ]
    for asked, how, changed, what in others:
        with pytest.raises(ValueError, match=rf"s\.safetensors: saved by another search, with .*'{what}'"):
            search(asked, how, net, data(), changed, FABRIC, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"s\.safetensors: cut off"):
        search(problem(0.5), method, net, data(), options, FABRIC, checkpoint)


def test_budgets_that_nothing_fits() -> None:
    space, net, cost, low, _ = setting()
    too_tight = SearchProblem(space.space, (Budget(cost, 0.99 * low, "ms"),))
    least = rf"{low:.4g}"[:5].replace(".", r"\.")
    starts: tuple[Literal["balanced", "cheapest", "entropy"], ...] = ("balanced", "cheapest", "entropy")
    for start in starts:
        with pytest.raises(InfeasibleError, match=least):
            search(too_tight, HardCoRe(space.space, space.staged, start=start), net, data(), OPTIONS, FABRIC)
    with pytest.raises(InfeasibleError, match=least):
        random_feasible(too_tight, space.staged, np.random.default_rng(0), draws=5)


def test_losses_that_are_not_finite() -> None:
    space, net, *_ = setting()
    x, labels = data().tensors
    broken = TensorDataset(torch.full_like(x, torch.nan), labels)
    with pytest.raises(FloatingPointError, match="super-network's loss is not finite"):
        search(problem(0.5), HardCoRe(space.space, space.staged), net, broken, OPTIONS, FABRIC)
    assert all(torch.isfinite(value).all() for value in net.state_dict().values()), "NaN must not reach the running statistics"
    with pytest.raises(ValueError, match="a batch of 8 is larger than the architecture split"):
        search(problem(0.5), HardCoRe(space.space, space.staged), net, striped_data(7, 0), OPTIONS, FABRIC)


@dataclass(frozen=True)
class Measured:
    """A cost that only prices whole networks."""

    name: str = "measured latency"
    unit: str = "ms"

    def cost(self, architecture: Architecture) -> float:
        return float(sum(index * count for counts in architecture.counts.values() for index, count in enumerate(counts)))


def test_costs_without_a_relaxed_form_are_refused_at_the_start() -> None:
    space, net, *_ = setting()
    asked = SearchProblem(space.space, (Budget(Measured(), 10.0, "ms"),))
    for method in (HardCoRe(space.space, space.staged), SoftPenalty(space.space, space.staged)):
        with pytest.raises(ValueError, match="'measured latency' has none: use a method that samples"):
            search(asked, method, net, data(), OPTIONS, FABRIC)
    assert asked.fits(space.space.choose({d.name: d.options[0] for d in space.space.decisions}))
    assert not asked.fits(space.space.choose({d.name: d.options[-1] for d in space.space.decisions}))


def test_no_budget_is_refused() -> None:
    space, net, *_ = setting()
    with pytest.raises(ValueError, match="expected at least one budget"):
        search(SearchProblem(space.space, ()), HardCoRe(space.space, space.staged), net, data(), OPTIONS, FABRIC)


@pytest.mark.parametrize("share", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("name", METHODS)
def test_two_budgets_hold_at_once(share: float, name: str) -> None:
    """Latency in the middle of its range, multiply-adds from next to the least up to more than the most."""
    space, net, cost, *_ = setting()
    macs = mac_cost(space)
    lightest = macs.cost(space.space.choose({d.name: d.options[0] for d in space.space.decisions}))
    heaviest = macs.cost(space.space.choose({d.name: d.options[-1] for d in space.space.decisions}))
    limit = lightest + share * (heaviest - lightest)
    two = SearchProblem(space.space, (*problem(0.5).budgets, Budget(macs, limit, "MACs")))
    watched = Watched(METHODS[name](space), [])
    run = search(two, watched, net, data(), OPTIONS, FABRIC)
    for state in watched.states:
        for relaxed, most in ((cost, two.limits[0]), (macs, limit)):
            assert relaxed.quadratic.value(state.point) <= most * (1 + 1e-9)
    assert run.result.feasible
    assert set(run.result.costs) == {"latency", "macs"}
    assert two.fits(run.result.architecture)


def test_budgets_that_exclude_each_other_are_infeasible() -> None:
    space, net, *_ = setting()
    macs = mac_cost(space)
    lightest = macs.cost(space.space.choose({d.name: d.options[0] for d in space.space.decisions}))
    two = SearchProblem(space.space, (*problem(0.5).budgets, Budget(macs, lightest * 0.99, "MACs")))
    with pytest.raises(InfeasibleError, match="least possible cost"):
        search(two, HardCoRe(space.space, space.staged), net, data(), OPTIONS, FABRIC)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"offset": 3.0}, "0 < numerator <= offset"),
        ({"numerator": 0.0}, "0 < numerator <= offset"),
        ({"momentum": 1.0}, r"momentum in \[0, 1\), got 1\.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    space = tiny_space()
    with pytest.raises(ValueError, match=message):
        HardCoRe(space.space, space.staged, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected 'balanced', 'cheapest' or 'entropy', got 'middle'"):
        HardCoRe(space.space, space.staged, start="middle").init(problem(0.5), np.random.default_rng(0))  # type: ignore[arg-type]


def test_budgets_in_the_wrong_unit_or_doubled() -> None:
    space, _, cost, *_ = setting()
    with pytest.raises(ValueError, match="budget on latency: the limit is in 's' but the cost is in 'ms'"):
        Budget(cost, 0.025, "s")
    for limit in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="budget on latency: expected a positive limit in ms"):
            Budget(cost, limit, "ms")
    with pytest.raises(ValueError, match=r"different names, repeated: \['latency'\]"):
        SearchProblem(space.space, (Budget(cost, 3.0, "ms"), Budget(cost, 4.0, "ms")))


def test_gate_gradients_reach_the_method() -> None:
    """The loop's feedback, turned into a gradient of the point, is autograd's through softmax(log p + noise), straight-through."""
    space, net, *_ = setting()
    asked = problem(0.5)
    told: list[tuple[HardCoReState, Proposal, Feedback]] = []

    @dataclass(frozen=True)
    class Spy(Watched):
        def tell(self, problem: SearchProblem, state: Any, proposal: Proposal, feedback: Feedback, moment: Moment) -> Any:
            told.append((state, proposal, feedback))
            return self.method.tell(problem, state, proposal, feedback, moment)

    x, labels = (tensor[:1].expand(8, *tensor.shape[1:]) for tensor in data().tensors)  # one image: order is no matter
    one_batch = TensorDataset(x, labels)
    options = replace(OPTIONS, epochs=6, batch_statistics=False)
    search(asked, Spy(HardCoRe(space.space, space.staged, start="entropy"), []), net, one_batch, options, FABRIC)
    assert {min(feedback.gate_gradients) for _, _, feedback in told} == {"stage1.block1", "stage1.depth"}, "both parts were drawn"
    for state, proposal, feedback in told:
        assert proposal.differentiable == set(feedback.gate_gradients)
        point, gates = torch.tensor(state.point), {}
        leaves = {}
        for decision in space.space.decisions:
            leaf = leaves[decision.name] = point[space.space.slice(decision.name)].clone().requires_grad_()
            noise = torch.tensor(proposal.noise[decision.name])
            soft = torch.softmax(leaf.log() + noise, 1)
            hard = functional.one_hot(soft.argmax(1), len(decision.options)).double()
            assert np.array_equal(hard.numpy(), proposal.gates[decision.name])
            gates[decision.name] = (hard - soft.detach() + soft).float()
        loss = functional.cross_entropy(net(x, gates), labels)
        assert float(loss.detach()) == pytest.approx(float(feedback.losses.mean()), rel=1e-5)  # float32
        for name in feedback.gate_gradients:
            p = state.point[space.space.slice(name)]
            positive = p > 0  # autograd of log p gives NaN at 0
            (expected,) = torch.autograd.grad(loss, leaves[name], retain_graph=True)
            found = point_gradient(p, proposal.noise[name], feedback.gate_gradients[name])
            compared = expected.numpy()[positive]
            # float32 networks: gradients agree to some 1e-5 of the greatest
            np.testing.assert_allclose(found[positive], compared, atol=1e-4 * max(1e-3, np.abs(compared).max()))


class Drawn(Dataset[Any]):
    """Images that carry what was drawn for them."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.rand(1, 2, 2), index


def test_processes_that_load_change_no_batch_of_two_splits() -> None:
    def epoch(workers: int) -> list[torch.Tensor]:
        options = SearchOptions(batch_size=4, workers=workers)
        shuffle = torch.Generator().manual_seed(0)
        return [images for _, images, _ in _batches(Drawn(), Drawn(), True, options, shuffle, torch.device("cpu"))]

    assert len(epoch(0)) == 6 and all(map(torch.equal, epoch(0), epoch(1)))

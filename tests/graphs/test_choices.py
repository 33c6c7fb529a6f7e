"""Choices in a user's network: found, run under gates, priced, and replaced by what was picked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import random_architecture, stir
from torch import Tensor, nn

from graphs import Choice, ChoiceSpace, choice_space
from graphs.costs import RelaxedCost, choice_cost, choice_macs, choice_parameters, count


def conv(channels: int, kernel: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, channels, kernel, padding=kernel // 2), nn.BatchNorm2d(channels), nn.ReLU())


class Own(nn.Module):
    """Three decisions: one inside a list, one with a choice inside it, one with two inputs that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, 2, 1)
        inner = Choice("kernel", {"3": nn.Conv2d(8, 8, 3, padding=1), "5": nn.Conv2d(8, 8, 5, padding=2)})
        wide = nn.Sequential(nn.Conv2d(4, 8, 1), inner, nn.ReLU(), nn.Conv2d(8, 4, 1))
        self.blocks = nn.ModuleList(
            [
                Choice("first", {"conv3": conv(4, 3), "conv5": conv(4, 5), "skip": nn.Identity()}),
                Choice("second", {"skip": nn.Identity(), "wide": wide}),
            ]
        )
        self.merge = Choice("merge", {"sum": Sum(), "mix": Mix(4)})
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = stem = self.stem(images)
        for block in self.blocks:
            features = block(features)
        features = self.merge(self.merge(features, stem), stem)
        return self.head(features.mean((2, 3)))


class Sum(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


class Mix(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.weigh(torch.cat([left, right], 1))


@pytest.fixture
def own() -> ChoiceSpace:
    torch.manual_seed(0)
    network = Own().double()
    stir(network, 1)
    return choice_space(network, batch(2), "own")


def batch(rows: int, seed: int = 0) -> Tensor:
    return torch.randn((rows, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_decisions_and_joint_options(own: ChoiceSpace) -> None:
    options = {decision.name: decision.options for decision in own.space.decisions}
    assert options == {
        "first": ("conv3", "conv5", "skip"),
        "second": ("skip", "wide(kernel=3)", "wide(kernel=5)"),
        "merge": ("sum", "mix"),
    }
    assert len(own.inputs["merge"]) == 2  # two calls
    assert own.module.training  # as it was
    assert not own.module.head.weight.grad_fn


def test_every_architecture_runs_and_extracts_to_the_same(own: ChoiceSpace) -> None:
    supernet = own.supernet().eval()
    images = batch(3, 1)
    outputs = set()
    for picked in product(*map(range, own.space.blocks.sizes)):
        architecture = own.space.architecture(own.space.blocks.vertex(list(picked)))
        extracted = own.extract(architecture)
        assert not any(isinstance(module, Choice) for module in extracted.modules())
        with torch.no_grad():
            expected = supernet(images, supernet.gates(architecture))
            assert torch.equal(extracted(images), expected)
        outputs.add(float(expected.sum()))
    assert len(outputs) == 18
    assert supernet.extract(architecture) is not extracted
    weights = {tensor.data_ptr() for tensor in own.module.parameters()}
    assert weights.isdisjoint({tensor.data_ptr() for tensor in extracted.parameters()})  # copies


def test_gates_a_row_are_each_rows_own_network(own: ChoiceSpace) -> None:
    supernet, images, generator = own.supernet().eval(), batch(6, 2), np.random.default_rng(0)
    architectures = [random_architecture(own.space, generator) for _ in range(6)]
    one = [supernet.gates(architecture) for architecture in architectures]
    rows = {name: torch.stack([gates[name] for gates in one]) for name in one[0]}
    with torch.no_grad():
        together = supernet(images, rows)
        alone = torch.cat([own.extract(a)(images[n : n + 1]) for n, a in enumerate(architectures)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


def test_relaxed_gates_mix_joint_options_and_have_the_right_gradient(own: ChoiceSpace) -> None:
    """With the other decisions held, the output of the merged features is the mixture of the joint options'."""
    space = choice_space(nn.Sequential(own.module.stem, own.module.blocks[1]), batch(2))
    supernet, images = space.supernet().eval(), batch(2)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True)
    mixed = supernet(images, {"second": weights})
    each = [space.extract(space.space.choose({"second": option}))(images) for option in space.space.decisions[0].options]
    torch.testing.assert_close(mixed, 0.2 * each[0] + 0.3 * each[1] + 0.5 * each[2])
    (gradient,) = torch.autograd.grad(mixed.sum(), weights)
    torch.testing.assert_close(gradient, torch.stack([output.sum() for output in each]))
    # At a corner too: options whose gate is 0 run if a gradient is wanted.
    corner = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(supernet(images, {"second": corner}).sum(), corner)
    torch.testing.assert_close(gradient, torch.stack([output.sum() for output in each]))


def test_only_options_with_a_gate_run(own: ChoiceSpace) -> None:
    ran: list[str] = []
    for option in ("conv3", "conv5", "skip"):
        module = own.module.blocks[0].option(option)
        module.register_forward_hook(lambda *_, option=option: ran.append(option))
    supernet = own.supernet().eval()
    gates = supernet.gates(own.space.choose({"first": "conv5", "second": "skip", "merge": "sum"}))
    supernet(batch(2), gates)
    assert ran == ["conv5"]
    supernet(batch(2), gates | {"first": torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])})
    assert ran == ["conv5", "conv3", "skip"]


def test_counts_are_those_of_the_extracted_networks(own: ChoiceSpace) -> None:
    macs, parameters, generator = choice_macs(own), choice_parameters(own), np.random.default_rng(1)
    assert isinstance(macs, RelaxedCost)
    for _ in range(10):
        architecture = random_architecture(own.space, generator)
        counted = count(own.extract(architecture), (1, 8, 8))
        assert (macs.cost(architecture), parameters.cost(architecture)) == (counted.macs, counted.parameters)
    table = own.table(macs.quadratic.linear)
    assert table["first"] == {"conv3": 16 * 4 * 4 * 9, "conv5": 16 * 4 * 4 * 25, "skip": 0}
    assert table["merge"] == {"sum": 0, "mix": 2 * 16 * 4 * 8}  # two calls


def test_measured_costs_see_the_inputs_of_the_choice(own: ChoiceSpace) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def measure(module: nn.Module, inputs: tuple[Any, ...]) -> float:
        assert not module.training
        module(*inputs)
        seen.append([tuple(value.shape) for value in inputs])
        return 1.0 + len(list(module.parameters()))

    cost = choice_cost(own, "time", "ms", measure)
    assert seen.count([(2, 4, 4, 4), (2, 4, 4, 4)]) == 4  # merge: two options, two calls
    first = own.space.choose({"first": "conv3", "second": "skip", "merge": "sum"})
    whole = own.extract(first)
    assert cost.cost(first) == pytest.approx(1.0 + len(list(whole.parameters())))
    assert choice_cost(own, "time", "ms", measure, fixed=7.0).quadratic.offset == 7.0
    with pytest.raises(ValueError, match=r"decision 'first', option 'conv3': expected a number of ms"):
        choice_cost(own, "time", "ms", lambda *_: -1.0)


def test_copies_of_the_supernet_are_independent(own: ChoiceSpace) -> None:
    supernet = own.supernet().eval()
    twin = copy.deepcopy(supernet)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        architecture = random_architecture(own.space, np.random.default_rng(0))
        assert not torch.equal(twin(batch(2), twin.gates(architecture)), supernet(batch(2), supernet.gates(architecture)))
    assert set(supernet.state_dict()) == {f"module.{name}" for name in own.module.state_dict()}


def test_the_network_may_be_a_choice_itself() -> None:
    space = choice_space(Choice("all", {"a": nn.Linear(2, 3), "b": Choice("in", {"x": nn.Linear(2, 3)})}), torch.zeros(1, 2))
    assert space.space.decisions[0].options == ("a", "b(in=x)")
    assert isinstance(space.extract(space.space.choose({"all": "b(in=x)"})), nn.Linear)


def shared() -> nn.Module:
    inner = Choice("inner", {"a": nn.Identity(), "b": nn.ReLU()})
    return Choice("outer", {"one": nn.Sequential(inner), "two": nn.Sequential(inner, nn.ReLU())})


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.never = Choice("never", {"a": nn.Identity()})

    def forward(self, features: Tensor) -> Tensor:
        return features


def nested(depth: int) -> nn.Module:
    parts: list[nn.Module] = [Choice(f"c{depth}_{n}", {"a": nn.Identity(), "b": nn.ReLU(), "c": nn.Tanh()}) for n in range(8)]
    return Choice("outer", {"chain": nn.Sequential(*parts), "none": nn.Identity()})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Linear(2, 2), "has no choices"),
        (lambda: nn.Sequential(Choice("x", {"a": nn.ReLU()}), Choice("x", {"a": nn.ReLU()})), "two choices are called 'x'"),
        (shared, "'inner' is one module in two places"),
        (Idle, "'never' never ran"),
        (lambda: nested(1), "6,562 joint options"),
        (lambda: Choice("x", {"a": nn.Linear(2, 3), "b": nn.Linear(2, 4)}), r"option 'b' gives shape \(1, 4\)"),
        (lambda: Choice("x", {"a": nn.Linear(2, 3), "b": nn.Linear(3, 3)}), "option 'b' cannot take inputs"),
        (lambda: Choice("x", {}), "at least one option"),
        (lambda: Choice("x", {"a.b": nn.ReLU()}), "without dots"),
    ],
)
def test_what_is_no_space_is_said(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choice_space(make(), torch.zeros(1, 2))


def test_running_wrongly_is_said(own: ChoiceSpace) -> None:
    with pytest.raises(ValueError, match="'first' was not told what to run"):
        own.module(batch(1))
    supernet = own.supernet().eval()
    gates = supernet.gates(random_architecture(own.space, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"'merge': expected a gate of shape \(2,\) or \(4, 2\), got no gate"):
        supernet(batch(4), {name: gate for name, gate in gates.items() if name != "merge"})
    with pytest.raises(ValueError, match="'first': no option has a gate above zero"):
        supernet(batch(4), gates | {"first": torch.zeros(3)})
    with pytest.raises(ValueError, match="was not told what to run"):
        own.module(batch(1))  # also after an error no gates are left behind


def test_costs_that_do_not_add_up_are_refused() -> None:
    layer = nn.Linear(4, 4)
    network = nn.Sequential(
        Choice("a", {"none": nn.Identity(), "layer": layer}), Choice("b", {"none": nn.Identity(), "layer": layer})
    )
    space = choice_space(network, torch.zeros(1, 4))
    assert choice_macs(space).quadratic.linear.tolist() == [0, 16, 0, 16]
    with pytest.raises(ValueError, match="do not add up"):
        choice_parameters(space)

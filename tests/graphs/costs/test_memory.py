"""The peak of feature maps: by hand on small networks, against whole networks on spaces, and as a budget that is held exactly."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.selections import project_linear
from graphs import Architecture, Choice, ChoiceSpace, choice_space
from graphs.costs import PeakCost, block_memory, choice_memory, choice_parameters, peak_activations
from graphs.spaces import MBConvSettings, MBConvSpace, StageSetting
from solvers import InfeasibleError

NUMBER = 4  # bytes


def conv(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return images + self.inner(images)


def net(skips: bool) -> ChoiceSpace:
    """A choice beside a skip connection, and one in the chain."""
    first = {"narrow": conv(8, 8), "wide": nn.Sequential(conv(8, 32), conv(32, 8, 3))}
    second = {"plain": conv(8, 8, 3), "wide": nn.Sequential(conv(8, 64), nn.Conv2d(64, 8, 1))}
    if skips:
        first |= {"skip": nn.Identity()}
        second |= {"skip": nn.Identity()}
    body = conv(3, 8, 3), Residual(Choice("first", first)), nn.MaxPool2d(2), Choice("second", second)
    network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return choice_space(network, torch.zeros(2, 3, 16, 16), "net")


def all_of(space: ChoiceSpace) -> list[Architecture]:
    decisions = space.space.decisions
    picks = itertools.product(*(d.options for d in decisions))
    return [space.space.choose({d.name: option for d, option in zip(decisions, pick, strict=True)}) for pick in picks]


@pytest.mark.parametrize(
    ("network", "numbers"),
    [
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()), (2 + 4) * 64),  # the activation writes over what it reads
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Hardswish(), nn.Conv2d(4, 9, 1)), (4 + 9) * 64),
        (Residual(nn.Conv2d(2, 2, 1)), 2 * 2 * 64),  # the sum writes over the branch
        (Residual(nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 2, 1))), (2 + 8 + 2) * 64),  # what is skipped to lives on
        (Residual(nn.ReLU()), 2 * 2 * 64),  # what is read later is not written over
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.MaxPool2d(2)), (2 + 4) * 64),  # indices that nobody reads are not kept
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), 128 + 3),  # views are no maps of their own
    ],
)
def test_peaks_by_hand(network: nn.Module, numbers: int) -> None:
    network.train()
    assert peak_activations(network, torch.zeros(1, 2, 8, 8)) == NUMBER * numbers
    assert network.training


def test_the_cost_of_choices_is_the_peak_of_their_networks() -> None:
    space = net(skips=False)
    cost = choice_memory(space)
    found = {cost.cost(one): peak_activations(space.extract(one), torch.zeros(1, 3, 16, 16)) for one in all_of(space)}
    assert len(found) > 1 and all(ours == theirs for ours, theirs in found.items())


def test_options_that_hand_their_input_on_are_never_undercounted() -> None:
    space = net(skips=True)
    cost = choice_memory(space)
    for one in all_of(space):
        assert cost.cost(one) >= peak_activations(space.extract(one), torch.zeros(1, 3, 16, 16))


def small() -> MBConvSpace:
    stages = (StageSetting(4, 2, "relu"), StageSetting(6, 2))
    sizes = {"stem_channels": 4, "separable_channels": 0, "head_channels": 8, "features": 8}
    choices = {"blocks_per_stage": 2, "depths": (1, 2), "expansions": (1, 6), "kernels": (3,), "squeeze_excite": (False,)}
    return MBConvSpace(MBConvSettings("small", 16, 3, stages, 1, **sizes, **choices))  # type: ignore[arg-type]


def test_the_cost_of_blocks_is_the_peak_of_their_networks() -> None:
    space, generator = small(), np.random.default_rng(0)
    cost, supernet = block_memory(space), space.supernet()
    found = set()
    for _ in range(8):
        one = space.space.architecture(space.staged.blocks.vertex([int(p) for p in generator.integers(space.staged.blocks.sizes)]))
        assert cost.cost(one) == peak_activations(supernet.extract(one), torch.zeros(1, 1, 16, 16))
        found.add(cost.cost(one))
    assert len(found) > 1  # blocks that do not run do not count, and options differ


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
def test_a_limit_forbids_exactly_what_exceeds_it(share: float) -> None:
    space = net(skips=True)
    memory, parameters = choice_memory(space), choice_parameters(space)
    most = max(memory.cost(one) for one in all_of(space))
    problem = SearchProblem(space.space, (Budget(memory, share * most, "bytes"), Budget(parameters, 1e9, "parameters")))
    relaxed = memory.within(share * most)
    fitting = [one for one in all_of(space) if memory.cost(one) <= share * most]
    for one in all_of(space):
        assert (relaxed.value(np.asarray(space.space.point(one))) <= share * most) == (one in fitting)
    scores = {
        d.name: {option: float(7 * place + len(option)) for place, option in enumerate(d.options)} for d in space.space.decisions
    }
    if not fitting:
        with pytest.raises(InfeasibleError):
            project_linear(problem, scores)
        return
    worth = max(sum(scores[name][option] for name, option in space.space.describe(one).items()) for one in fitting)  # type: ignore[index]
    found = project_linear(problem, scores)
    chosen = space.space.describe(found.architecture)
    assert found.feasible and sum(scores[name][str(option)] for name, option in chosen.items()) == worth


def test_a_peak_is_no_sum() -> None:
    assert not hasattr(choice_memory(net(skips=True)), "quadratic")  # methods that need one take the budget's, not the cost's
    assert isinstance(block_memory(small()), PeakCost)


def test_what_is_fixed_may_be_the_peak(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 64, 1), nn.Conv2d(64, 1, 1), Choice("c", {"a": nn.Conv2d(1, 1, 1), "b": nn.Identity()}))
    cost = choice_memory(choice_space(network, torch.zeros(1, 1, 4, 4)))
    assert cost.fixed == NUMBER * 16 * 65 and cost.peaks.max() == NUMBER * 16 * 2
    assert cost.within(cost.fixed - 1).offset > cost.fixed  # nothing fits

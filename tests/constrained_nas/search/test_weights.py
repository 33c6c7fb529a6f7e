"""Weights that learn during a search: their optimizers' steps written out, and the rate over a whole search."""

from __future__ import annotations

import pytest
import torch
from support.searches import FABRIC, OPTIONS, problem, setting
from support.tiny import striped_data, tiny_space
from torch import nn

from constrained_nas.methods import HardCoRe
from constrained_nas.search import WeightTraining, search
from constrained_nas.search import loop as search_module
from constrained_nas.search.weights import make_optimizer


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_steps_are_the_optimizers_with_decay(name: str, momentum: float) -> None:
    network = nn.Linear(1, 1, bias=False).double()
    weight = network.weight.item()
    optimizer = make_optimizer(network, WeightTraining(0.02, momentum, 0.5, optimizer=name))  # type: ignore[arg-type]
    square = speed = 0.0
    for slope in (1.0, -0.3, 0.0):
        network.weight.grad = torch.full_like(network.weight, slope)
        optimizer.step()
        decayed = slope + 0.5 * weight
        square = 0.99 * square + 0.01 * decayed**2
        speed = momentum * speed + (decayed if name == "sgd" else decayed / (square**0.5 + 1e-8))
        weight -= 0.02 * speed
        assert network.weight.item() == pytest.approx(weight, rel=1e-9)


def test_the_rate_falls_at_each_milestone_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def watched(network: nn.Module, training: WeightTraining) -> torch.optim.Optimizer:
        optimizer = make_optimizer(network, training)
        optimizer.register_step_pre_hook(lambda stepping, *_: rates.append(stepping.param_groups[0]["lr"]))
        return optimizer

    monkeypatch.setattr(search_module, "make_optimizer", watched)
    space = setting()[0]
    training = WeightTraining(0.08, milestones=(0.25, 0.75), factor=0.5)
    net = tiny_space().supernet()
    search(problem(0.5), HardCoRe(space.space, space.staged), net, striped_data(64, 2), OPTIONS, FABRIC, training=training)
    assert len(rates) == 16 and rates == pytest.approx([0.08] * 4 + [0.04] * 8 + [0.02] * 4)

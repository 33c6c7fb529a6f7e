"""How the weights of a super-network learn while a search is under way, and how their optimizer forgets those that have gone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class WeightTraining:
    """How the weights learn during the search: by an optimizer whose rate falls by ``factor`` at each milestone.

    Attributes:
        learning_rate, momentum, weight_decay: of the optimizer; the defaults are Budgeted Super Networks'.
        milestones: shares of the search, each in (0, 1).
        optimizer: ``sgd``, or ``rmsprop`` with torch's smoothing of 0.99.

    Raises:
        ValueError: an unknown optimizer.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    optimizer: Literal["sgd", "rmsprop"] = "sgd"

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "rmsprop"):
            raise ValueError(f"optimizer: expected 'sgd' or 'rmsprop', got {self.optimizer!r}")


PRUNET_TRAINING = WeightTraining(0.002, 0.0, 1e-5, milestones=(), optimizer="rmsprop")
"""RMSprop at a constant rate, as PruNet searches; the paper states no momentum, so there is none."""


def make_optimizer(network: nn.Module, training: WeightTraining) -> torch.optim.Optimizer:
    """A fresh optimizer of all parameters of ``network``."""
    rate, momentum, decay = training.learning_rate, training.momentum, training.weight_decay
    if training.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), rate, momentum=momentum, weight_decay=decay)
    return torch.optim.SGD(network.parameters(), rate, momentum, weight_decay=decay)


def set_rate(optimizer: torch.optim.Optimizer, training: WeightTraining, progress: float) -> None:
    """The rate after a share ``progress`` of the search, in closed form: it needs no state of its own to resume."""
    passed = sum(progress >= milestone for milestone in training.milestones)
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * training.factor**passed


def forget_parameters(optimizer: torch.optim.Optimizer, removed: Collection[nn.Parameter]) -> None:
    """Take parameters out of the optimizer's groups and drop what it kept for them."""
    gone = {id(parameter) for parameter in removed}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gone]
    for parameter in removed:
        optimizer.state.pop(parameter, None)

"""What the options of a user's choices cost: counted, or by any measuring function, as linear costs.

All options of a choice give the same shape, so what one choice costs does not depend on the others and a network costs what is
fixed plus the sum over its choices. Where that fails (weights that options share, a forward that looks at the data) the counted
costs say so instead of being wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphs.choices import ChoiceSpace
from graphs.costs.conditions import measured_name, medians_by_key
from graphs.costs.counts import count
from graphs.costs.latency import LatencyTable
from graphs.costs.models import QuadraticCost
from graphs.space import Architecture
from solvers import Quadratic

Measure = Callable[[nn.Module, tuple[Any, ...]], float]


def choice_macs(space: ChoiceSpace) -> QuadraticCost:
    """Multiply-adds of one example, exact; what :func:`graphs.costs.count` counts (2-d convolutions and linear layers).

    Raises:
        ValueError: the multiply-adds of a network are not the sum over its choices.

    Example:
        >>> from graphs import Choice, choice_space
        >>> block = Choice("block", {"conv": nn.Conv2d(3, 3, 1), "skip": nn.Identity()})
        >>> choice_macs(choice_space(nn.Sequential(block), torch.zeros(1, 3, 8, 8))).quadratic.linear.tolist()
        [576.0, 0.0]
    """
    cost = choice_cost(space, "macs", "MACs", _macs)
    return _checked(space, cost, lambda network: _macs(network, space.example))


def choice_parameters(space: ChoiceSpace) -> QuadraticCost:
    """Parameters of a network, exact.

    Raises:
        ValueError: the parameters of a network are not the sum over its choices, e.g. as two options share a weight.

    Example:
        >>> from graphs import Choice, choice_space
        >>> block = Choice("block", {"conv": nn.Conv2d(3, 3, 1), "skip": nn.Identity()})
        >>> choice_parameters(choice_space(nn.Sequential(block), torch.zeros(1, 3, 8, 8))).quadratic.linear.tolist()
        [12.0, 0.0]
    """
    options = [_parameters(space.option(d.name, place)) for d in space.space.decisions for place in range(len(d.options))]
    # A choice that is called twice has its parameters once.
    first = [options[space.space.slice(decision.name).start] for decision in space.space.decisions]
    fixed = _parameters(space.extract(_picking(space, 0))) - sum(first)
    cost = QuadraticCost("parameters", "parameters", space.space, Quadratic.of(fixed, np.array(options, dtype=np.float64)))
    return _checked(space, cost, _parameters)


def choice_latency(table: LatencyTable, space: ChoiceSpace) -> QuadraticCost:
    """Latency in ms, or energy in mJ, by a table whose blocks are the decisions of the space.

    Raises:
        ValueError: the table is of another space, or has none or two entries for an option; names the first.
    """
    wanted = [(decision.name, option) for decision in space.space.decisions for option in decision.options]
    entries = (((entry.block, entry.configuration), entry.median) for entry in table.entries)
    medians = medians_by_key(table, space.space.name, entries, wanted, "decision {!r}, option {!r}".format)
    times = np.array([medians[key] for key in wanted])
    return QuadraticCost(measured_name(table), table.unit, space.space, Quadratic.of(table.fixed, times))


def choice_cost(space: ChoiceSpace, name: str, unit: str, measure: Measure, fixed: float | None = None) -> QuadraticCost:
    """A linear cost from one measurement an option (and one of a whole network, for what is fixed).

    Args:
        measure: ``measure(module, inputs)`` gives the cost of running a module on inputs, e.g. its median latency in ``unit``. It
            gets copies in evaluation mode, and the inputs that the choice had on the example.
        fixed: cost of what is not chosen; by default, a whole network's less its options' (of the first option everywhere).

    Raises:
        ValueError: a measurement that is negative or not a number; names the option.

    Example:
        >>> from graphs import Choice, choice_space
        >>> space = choice_space(nn.Sequential(Choice("block", {"relu": nn.ReLU(), "skip": nn.Identity()})), torch.zeros(1, 3))
        >>> cost = choice_cost(space, "latency", "ms", lambda module, _: 2.0 if isinstance(module, nn.ReLU) else 0.5, fixed=1.0)
        >>> cost.cost(space.space.choose({"block": "relu"}))
        3.0
    """
    values = []
    for decision in space.space.decisions:
        for place, label in enumerate(decision.options):
            option = space.option(decision.name, place).eval()
            parts = [float(measure(option, inputs)) for inputs in space.inputs[decision.name]]
            values.append(math.fsum(parts))
            if not (math.isfinite(values[-1]) and min(parts) >= 0):
                where = f"decision {decision.name!r}, option {label!r}"
                raise ValueError(f"cost {name!r}, {where}: expected a number of {unit}, not negative, got {values[-1]}")
    if fixed is None:
        first = [values[space.space.slice(decision.name).start] for decision in space.space.decisions]
        whole = float(measure(space.extract(_picking(space, 0)).eval(), space.example))
        fixed = math.fsum([whole, *(-value for value in first)])
    return QuadraticCost(name, unit, space.space, Quadratic.of(fixed, np.array(values)))


def _picking(space: ChoiceSpace, place: int) -> Architecture:
    """The option number ``place`` (counted from the end if negative) of every decision."""
    return space.space.architecture(space.space.blocks.vertex([place % len(d.options) for d in space.space.decisions]))


def _checked(space: ChoiceSpace, cost: QuadraticCost, whole: Callable[[nn.Module], float]) -> QuadraticCost:
    """The cost, if it is also that of a network other than the one its fixed part comes from."""
    last = _picking(space, -1)
    if (counted := whole(space.extract(last))) != (summed := cost.cost(last)):
        raise ValueError(
            f"cost {cost.name!r}: the network of all last options has {counted:,} {cost.unit}, the sum over its choices is "
            f"{summed:,.0f}: the choices do not add up (shared weights, or a forward that depends on the data)"
        )
    return cost


def _parameters(module: nn.Module) -> float:
    return float(sum(parameter.numel() for parameter in module.parameters()))


def _macs(module: nn.Module, inputs: Sequence[Any]) -> float:
    batch = next(len(value) for value in inputs if isinstance(value, Tensor))
    rows = tuple(value[:1] if isinstance(value, Tensor) and value.ndim and len(value) == batch else value for value in inputs)
    return float(count(_Fed(module, rows), (1,)).macs)


class _Fed(nn.Module):
    """A module that brings its inputs along, however many they are."""

    def __init__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, _: Tensor) -> Tensor:
        with torch.no_grad():
            output: Tensor = self.module(*self.inputs)
        return output

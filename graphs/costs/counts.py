"""Multiply-adds and parameters, counted on the modules themselves.

A multiply-add (MAC) is one multiplication with its addition, in convolutions and linear layers; normalization, activations, pooling
and additions count nothing. FLOPs as ``torch.utils.flop_counter`` counts them are twice the MACs; the tests hold the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from graphs.costs.models import QuadraticCost
from graphs.files import out_of_memory
from graphs.spaces import BlockShape, MacroSpace, MBConvSpace


@dataclass(frozen=True, slots=True)
class Counts:
    """Multiply-adds of one example and number of parameters."""

    macs: int
    parameters: int


def count(module: nn.Module, input_shape: tuple[int, ...]) -> Counts:
    """Count a module for one example of ``input_shape`` (no batch dimension).

    Parameters are those of the module. Works on any device, on the meta device without arithmetic.

    Raises:
        ValueError: the module cannot take that shape.

    Example:
        >>> count(nn.Conv2d(3, 8, 3, padding=1), (3, 32, 32))
        Counts(macs=221184, parameters=224)
    """
    macs = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            window = layer.kernel_size[0] * layer.kernel_size[1] * layer.in_channels // layer.groups
            macs += output[0].numel() * window
        elif isinstance(layer, nn.Linear):
            macs += output[0].numel() * layer.in_features

    hooks = [layer.register_forward_hook(add) for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    training = module.training
    reference = next(module.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *input_shape, device=reference.device, dtype=reference.dtype))
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise ValueError(f"cannot count the module on input shape {input_shape}: {error}") from error
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return Counts(macs, sum(parameter.numel() for parameter in module.parameters()))


def mac_cost(space: MBConvSpace | MacroSpace) -> QuadraticCost:
    """Multiply-adds of a whole network, exact for every architecture.

    Example:
        >>> from graphs import hardcore_small
        >>> space = hardcore_small()
        >>> mac_cost(space).cost(space.heaviest())
        1991168.0
    """
    return _counted_cost(space, "macs")


def parameter_cost(space: MBConvSpace | MacroSpace) -> QuadraticCost:
    """Parameters of a whole network, exact for every architecture.

    Example:
        >>> from graphs import hardcore_small
        >>> space = hardcore_small()
        >>> parameter_cost(space).cost(space.heaviest())
        190146.0
    """
    return _counted_cost(space, "parameters")


def _counted_cost(space: MBConvSpace | MacroSpace, what: str) -> QuadraticCost:
    with torch.device("meta"):
        per_shape = {shape: [float(getattr(c, what)) for c in _block_counts(space, shape)] for shape in set(space.block_shapes)}
        per_configuration = [per_shape[shape] for shape in space.block_shapes]
        fixed = sum(getattr(count(module, shape), what) for module, shape in space.fixed_modules())
    quadratic = space.staged.cost(float(fixed), np.concatenate(per_configuration))
    return QuadraticCost(what, "MACs" if what == "macs" else "parameters", space.space, quadratic)


@lru_cache(maxsize=256)  # counting is slow beside everything else a search does before it trains; both costs need the same counts
def _block_counts(space: MBConvSpace | MacroSpace, shape: BlockShape) -> tuple[Counts, ...]:
    size = (shape.inputs, shape.side, shape.side)
    return tuple(count(module, size) for module in space.option_modules(shape))

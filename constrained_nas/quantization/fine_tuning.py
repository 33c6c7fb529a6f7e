"""Quantization-aware fine-tuning: the network learns with its weights and inputs rounded as the plan says.

Gradients pass the rounding as if it were not there, for weights within the grid; scales stay. The teacher is the network in
floating point, so that labels are half of what it learns from.

Reference: Bengio et al., Estimating or propagating gradients through stochastic neurons (straight through); Hinton et al.
(teacher).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import Dataset

from constrained_nas.quantization.layers import Rounding
from constrained_nas.quantization.quantizer import QuantizedWeight, code_range
from constrained_nas.training import TrainingOptions, fine_tune


class _Rounded(nn.Module):
    """A weight on its grid; gradients pass within it."""

    scales: Tensor

    def __init__(self, weight: QuantizedWeight) -> None:
        super().__init__()
        shape = (-1, *[1] * (weight.codes.ndim - 1))
        self.register_buffer("scales", torch.where(weight.scales == 0, 1.0, weight.scales).reshape(shape))
        self.limits = code_range(weight.bits)

    def forward(self, weight: Tensor) -> Tensor:
        given = (weight / self.scales).clamp(*self.limits)
        return (given + (given.round() - given).detach()) * self.scales


def fine_tune_quantized(
    network: nn.Module,
    rounding: Rounding,
    data: Dataset[Any],
    options: TrainingOptions,
    fabric: Any,
    progress: Any = None,
) -> None:
    """Train a network whose layers ``rounding`` has rounded, in place; ``rounding.weights`` are its new codes afterwards.

    Raises:
        ValueError: a network that cannot be trained (a program of torch.export).
    """
    try:
        network.train()
    except NotImplementedError as error:
        raise ValueError("a program of torch.export cannot be trained: fine-tune the network that it was made of") from error
    floats = {layer.name: weight for layer, (_, weight, _) in zip(rounding.layers, rounding.kept, strict=True)}
    with rounding.in_floats():
        teacher = copy.deepcopy(network)
    modules = {layer.name: layer.module for layer in rounding.layers}
    for name, weight in rounding.weights.items():
        modules[name].weight = nn.Parameter(floats[name].detach().clone())
        parametrize.register_parametrization(modules[name], "weight", _Rounded(weight))
    try:
        fine_tune(network, data, options, fabric, teacher, progress=progress)
    finally:
        for name, weight in list(rounding.weights.items()):
            module = modules[name]
            parts: Any = module.parametrizations
            scales = parts.weight[0].scales
            codes = (parts.weight.original.detach() / scales).round().clamp(*parts.weight[0].limits)
            parametrize.remove_parametrizations(module, "weight")
            rounding.weights[name] = QuantizedWeight(codes.to(torch.int16).contiguous(), weight.scales, weight.bits)
            module.weight = nn.Parameter(rounding.weights[name].values)
    network.eval()

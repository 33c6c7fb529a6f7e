"""How much each layer minds each pair of bits: the table that a choice of bit widths starts from.

One layer at a time is rounded, and what that does to the network is measured on some images:

- ``divergence``: the Kullback-Leibler divergence of its predictions from those in floating point (nats; no labels needed);
- ``loss``: the cross-entropy that it adds (may be negative);
- ``logits``: the mean squared distance of its outputs;
- ``second-order``: what the divergence is to second order, ``1/2 sum F_i (w_i' - w_i)^2`` with the diagonal of the Fisher
  information: no network runs for an option, so that it is by far the fastest; of weights alone.

Layers are measured in turn and kept, so that a measurement that was ended goes on where it stopped. What is additive here is an
assumption: losses of layers rounded together need not add up, so measure the choice as well.

Reference: Cai et al., ZeroQ (one layer at a time, Kullback-Leibler); Dong et al., HAWQ-V2 (second order).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from constrained_nas.quantization.layers import QuantizableLayer, network_logits, rounded
from constrained_nas.quantization.quantizer import Quantizer, quantize_weight
from graphs import Operation
from graphs.files import SealedRecord, load_json, save_json
from graphs.filters import FLOAT_BITS

Measure = Literal["divergence", "loss", "logits", "second-order"]
Progress = Callable[[int, int, str], None]


class Sensitivities(SealedRecord):
    """``added[layer][bits]``, in the unit of ``measure``; ``measured_on`` tells networks, data and options apart."""

    measure: Measure
    measured_on: str
    added: dict[str, dict[str, float]] = Field(default_factory=dict)


def bits_name(operation: Operation) -> str:
    """``4/8``: weight and input bits; ``4`` where inputs stay in floating point.

    Example:
        >>> bits_name(Operation(4, 8)), bits_name(Operation(4, 32))
        ('4/8', '4')
    """
    weight, inputs = operation.weight_bits, operation.activation_bits
    return f"{weight}" if inputs == FLOAT_BITS else f"{weight}/{inputs}"


def distance(measure: Measure, before: Tensor, after: Tensor, labels: Tensor | None) -> float:
    """How far outputs (B, classes, ...) moved, see the module.

    Raises:
        ValueError: ``loss`` without labels.
    """
    if measure == "logits":
        return float((after.double() - before.double()).square().mean())
    if measure == "loss":
        if labels is None:
            raise ValueError("the added loss needs labels; measure the divergence instead")
        return float(functional.cross_entropy(after.double(), labels) - functional.cross_entropy(before.double(), labels))
    first, second = (functional.log_softmax(each.double(), 1) for each in (before, after))
    return max(0.0, float((first.exp() * (first - second)).sum(1).mean()))


def measure_sensitivities(
    network: nn.Module,
    layers: Sequence[QuantizableLayer],
    operations: Sequence[Operation],
    images: Tensor,
    labels: Tensor | None = None,
    *,
    measure: Measure = "divergence",
    quantizer: Quantizer = "least-squares",
    batch_size: int = 64,
    kept: Path | None = None,
    measured_on: str = "",
    progress: Progress | None = None,
) -> Sensitivities:
    """Measure every layer under every operation.

    Args:
        network: in evaluation mode; ``layers`` are its, see :func:`constrained_nas.quantization.find_layers`.
        images, labels: (B, C, H, W) and (B,); some dozens will do.
        kept: a JSON file that is written after each layer and read at the start.
        measured_on: what else decides the numbers; a file kept of something else is not gone on with.

    Raises:
        ValueError: an unknown measure, ``second-order`` with input bits, ``loss`` without labels, or a file of something else.
    """
    if measure not in get_args(Measure):
        raise ValueError(f"measure: expected one of {', '.join(get_args(Measure))}, got {measure!r}")
    found = Sensitivities(measure=measure, measured_on=measured_on)
    if kept is not None and kept.exists():
        earlier = load_json(kept, Sensitivities, "table of sensitivities")
        if (earlier.measure, earlier.measured_on) != (measure, measured_on):
            raise ValueError(f"{kept}: measured for another network, other images or options: choose another folder")
        found = earlier
    missing = [layer for layer in layers if set(found.added.get(layer.name, {})) != set(map(bits_name, operations))]
    if not missing:
        return found
    if measure == "second-order":
        rows: Iterable[list[float]] = _second_order(network, missing, operations, images, quantizer)
    else:
        rows = _one_by_one(network, missing, operations, images, labels, measure, quantizer, batch_size)
    for number, (layer, row) in enumerate(zip(missing, rows, strict=True), start=1 + len(layers) - len(missing)):
        found.added[layer.name] = dict(zip(map(bits_name, operations), row, strict=True))
        if kept is not None:
            save_json(found, kept)
        if progress:
            progress(number, len(layers), "measuring layers")
    return found


def _one_by_one(
    network: nn.Module,
    layers: Sequence[QuantizableLayer],
    operations: Sequence[Operation],
    images: Tensor,
    labels: Tensor | None,
    measure: Measure,
    quantizer: Quantizer,
    batch_size: int,
) -> Iterable[list[float]]:
    before = network_logits(network, images, batch_size)
    for layer in layers:
        row = []
        for operation in operations:
            with rounded([layer], [operation], quantizer=quantizer):
                row.append(distance(measure, before, network_logits(network, images, batch_size), labels))
        yield row


def _second_order(
    network: nn.Module, layers: Sequence[QuantizableLayer], operations: Sequence[Operation], images: Tensor, quantizer: Quantizer
) -> Iterable[list[float]]:
    """Labels are drawn from the network's own predictions: the Fisher information, not the squared gradients of a loss."""
    if any(operation.activation_bits != FLOAT_BITS for operation in operations):
        raise ValueError("second-order: of weights alone; measure the divergence for input bits")
    generator = torch.Generator().manual_seed(0)
    weights = [layer.module.weight for layer in layers]
    squares = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    required = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        for image in images:
            logits = network(image[None])
            drawn = torch.multinomial(logits.detach().softmax(1).cpu(), 1, generator=generator)[:, 0].to(logits.device)
            gradients = torch.autograd.grad(functional.cross_entropy(logits, drawn), weights)
            for square, gradient in zip(squares, gradients, strict=True):
                square += gradient.detach().square() / len(images)
    finally:
        for weight, before in zip(weights, required, strict=True):
            weight.requires_grad_(before)
    for weight, square in zip(weights, squares, strict=True):
        row = []
        for operation in operations:
            if operation.weight_bits == FLOAT_BITS:
                row.append(0.0)
                continue
            values = quantize_weight(weight, operation.weight_bits, quantizer).values.to(square)
            row.append(float(0.5 * (square * (values - weight.detach()).square()).sum(dtype=torch.float64)))
        yield row

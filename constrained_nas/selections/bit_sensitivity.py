"""How much each convolution of a network minds being quantized, and what its bits cost: the tables to choose bit widths from.

For a trained network of any make: forward hooks note which convolutions run, on how many positions, and over what range their
inputs spread; then one layer at a time is quantized (weights per filter, inputs per layer) and the Kullback-Leibler divergence of
the network's predictions from those in floating point is measured. No labels are needed, and the network is left as it was.

An operation's activation bits are here those of a layer's *input*, so each layer's cost is its own and costs add up over layers:
``H W C' n (b_w b_a + b_w + b_a + log2 n)`` bit operations with n weights a filter, accumulator included (the homogeneous case of
``graphs.costs.BitOperations``). Images have 8 bits. Divergences of layers quantized together need not add up: measure the choice.

Reference: Zur et al., Eq. 27, times the positions that it omits; Cai et al., ZeroQ (one layer at a time, Kullback-Leibler).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from graphs import Operation
from graphs.filters import FLOAT_BITS, fake_quantize_weights

_IMAGE_BITS = 8
_TAIL = 0.001  # of the inputs are clamped on either side: single outliers would make every step coarse
_QUANTILE_OF = 1_000_000  # values; quantiles of more take long and tell no more


@dataclass(frozen=True, slots=True, eq=False)
class QuantizableLayer:
    """A convolution of a network.

    Attributes:
        positions: pixels of its output.
        reads_image: its input is the image itself, which keeps its 8 bits.
        low, high: the range of its inputs, all but a thousandth on either side; 0 lies within.
    """

    name: str
    conv: nn.Conv2d
    positions: int
    reads_image: bool
    low: float
    high: float

    def bit_operations(self, operation: Operation) -> float:
        """Of one image."""
        bits = _IMAGE_BITS if self.reads_image else operation.activation_bits
        fan_in = self.conv.weight[0].numel()  # input channels of its group times the window
        each = fan_in * (operation.weight_bits * bits + operation.weight_bits + bits + math.log2(fan_in))
        return self.positions * self.conv.out_channels * each

    def megabytes(self, operation: Operation) -> float:
        """10^6 bytes of its weights."""
        return self.conv.weight.numel() * operation.weight_bits / 8e6


@torch.no_grad()
def find_layers(network: nn.Module, images: Tensor) -> list[QuantizableLayer]:
    """Every convolution that runs, in order, with its positions and the range of its inputs on ``images`` (B, C, H, W).

    Raises:
        ValueError: none runs.
    """
    found: dict[nn.Module, tuple[int, bool, float, float]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = inputs[0].flatten()[:: max(1, inputs[0].numel() // _QUANTILE_OF)].float()
        low, high = torch.quantile(values, torch.tensor([_TAIL, 1 - _TAIL], device=values.device)).tolist()
        reads_image = inputs[0].shape == images.shape and torch.equal(inputs[0], images)
        found[module] = (output.shape[-1] * output.shape[-2], reads_image, min(low, 0.0), max(high, 1e-6))

    convs = {module: name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    hooks = [module.register_forward_hook(note) for module in convs]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError("expected a network with convolutions (torch.nn.Conv2d) that run on these images, found none")
    return [QuantizableLayer(convs[module], module, *facts) for module, facts in found.items() if isinstance(module, nn.Conv2d)]


@contextmanager
def quantized(layers: Sequence[QuantizableLayer], operations: Sequence[Operation]) -> Iterator[None]:
    """Inside the block these layers round their weights (per filter) and inputs (per layer); afterwards they are as before."""
    hooks, kept = [], [layer.conv.weight for layer in layers]
    try:
        for layer, operation in zip(layers, operations, strict=True):
            bits = torch.full((layer.conv.out_channels,), operation.weight_bits)
            rounded = fake_quantize_weights(layer.conv.weight.detach(), bits.to(layer.conv.weight.device))
            layer.conv.weight = nn.Parameter(rounded, requires_grad=False)
            if not layer.reads_image and operation.activation_bits != FLOAT_BITS:
                hooks.append(layer.conv.register_forward_pre_hook(_rounding(layer, operation.activation_bits)))
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.conv.weight = weight
        for hook in hooks:
            hook.remove()


def _rounding(layer: QuantizableLayer, bits: int) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    """Inputs to 2^bits levels over the layer's range; zero is one of them."""
    levels = 2**bits - 1
    step = (layer.high - layer.low) / levels
    zero = round(-layer.low / step)
    return lambda _, inputs: torch.fake_quantize_per_tensor_affine(inputs[0], step, zero, 0, levels)


@torch.no_grad()
def network_logits(network: nn.Module, images: Tensor, batch_size: int = 64) -> Tensor:
    """(B, classes) of images (B, C, H, W), in batches; put the network in evaluation mode first."""
    return torch.cat([network(batch) for batch in images.split(batch_size)])


def divergence(reference: Tensor, logits: Tensor) -> float:
    """Mean Kullback-Leibler divergence of ``logits`` from ``reference``, both (B, classes), in nats; never negative."""
    first, second = (functional.log_softmax(each.double(), 1) for each in (reference, logits))
    return max(0.0, float(functional.kl_div(second, first, reduction="batchmean", log_target=True)))


def measure_divergences(
    network: nn.Module,
    layers: Sequence[QuantizableLayer],
    operations: Sequence[Operation],
    images: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """The divergence when one layer alone is quantized, (layers, operations), in nats.

    The network is in evaluation mode, its ``layers`` are those of :func:`find_layers`; some dozens of images (B, C, H, W) will do.
    """
    reference = network_logits(network, images)
    table = np.zeros((len(layers), len(operations)))
    for row, layer in enumerate(layers):
        for column, operation in enumerate(operations):
            with quantized([layer], [operation]):
                table[row, column] = divergence(reference, network_logits(network, images))
        if progress:
            progress(row + 1, len(layers))
    return table

"""The layers of a network that can be quantized, what their bits cost, and the network with rounded layers.

Convolutions and linear layers, attention's projections among them. Forward hooks note which of them run, on how many positions, and
a sample of what they read. Weights are rounded a channel at a time, inputs a layer at a time: an operation's activation bits are
those of a layer's *input*, so each layer's cost is its own and costs add up. The image keeps its 8 bits.

With n weights an output channel a layer takes ``positions * C * n (b_w b_a + b_w + b_a + log2 n)`` bit operations, accumulator
included, and its weights take ``b_w`` bits each and four bytes a channel for the scale.

Reference: Zur et al., Eq. 27, times the positions that it omits; Nagel et al., Data-free quantization (bias correction).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from constrained_nas.quantization.packing import packed_bytes
from constrained_nas.quantization.quantizer import ActivationGrid, QuantizedWeight, Quantizer, activation_grid, quantize_weight
from graphs import Operation
from graphs.filters import FLOAT_BITS

_IMAGE_BITS = 8
_SAMPLE = 20_000  # values of a layer's inputs that are kept to choose ranges by
KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizableLayer:
    """A convolution or linear layer of a network.

    Attributes:
        positions: outputs of one channel for one image (pixels, tokens).
        reads_image: its input is the image itself, which keeps its 8 bits.
        sample: values of its inputs, some thousands.
        means: (input channels,) the mean of each.
    """

    name: str
    module: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
    positions: int
    reads_image: bool
    sample: Tensor
    means: Tensor

    @property
    def weights(self) -> int:
        """How many it has."""
        return self.module.weight.numel()

    @property
    def channels(self) -> int:
        """Of its output: one scale each."""
        return len(self.module.weight)

    def bit_operations(self, operation: Operation) -> float:
        """Of one image."""
        bits = _IMAGE_BITS if self.reads_image else operation.activation_bits
        fan_in = self.weights // self.channels
        each = fan_in * (operation.weight_bits * bits + operation.weight_bits + bits + math.log2(fan_in))
        return self.positions * self.channels * each

    def mean_output(self, weight: Tensor) -> Tensor:
        """(output channels,) the mean of what such a weight puts out, but for what padding changes."""
        each = weight.flatten(2).sum(2) if weight.ndim > 2 else weight  # (output channels, input channels of a group)
        groups = 1 if isinstance(self.module, nn.Linear) else self.module.groups
        means = self.means.to(each).reshape(groups, -1).repeat_interleave(len(each) // groups, 0)
        return (each * means).sum(1)

    def weight_bytes(self, bits: int) -> int:
        """Its weights in a file, scales included."""
        return 4 * self.weights if bits == FLOAT_BITS else packed_bytes(self.weights, bits) + 4 * self.channels


@torch.no_grad()
def find_layers(network: nn.Module, batches: Iterable[Tensor]) -> list[QuantizableLayer]:
    """Every convolution and linear layer that runs on the images, in the order of their first run.

    Put the network in evaluation mode first, and exchange its attention: :func:`with_projections`.

    Raises:
        ValueError: none runs, or two share a weight.
    """
    found: dict[Any, _Notes] = {}
    layers: dict[Any, str] = {module: name for name, module in network.named_modules() if isinstance(module, KINDS)}
    images: Tensor | None = None

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.setdefault(module, _Notes()).add(module, inputs[0], output, images)

    hooks = [module.register_forward_hook(note) for module in layers]
    try:
        for images in batches:
            for notes in found.values():
                notes.positions = 0  # counted anew in each batch: a layer may run several times
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError("expected a network with convolutions or linear layers that run on these images, found none")
    owners: dict[int, str] = {}
    for module in found:
        first = owners.setdefault(id(module.weight), layers[module])
        if first != layers[module]:
            raise ValueError(f"{first} and {layers[module]} share their weight: they cannot have bits of their own")
    return [notes.layer(layers[module], module) for module, notes in found.items()]


@torch.no_grad()
def network_logits(network: nn.Module, images: Tensor, batch_size: int = 64) -> Tensor:
    """(B, classes) of images (B, C, H, W), in batches; put the network in evaluation mode first."""
    return torch.cat([network(batch) for batch in images.split(batch_size)])


class Rounding:
    """Layers whose weights and inputs are rounded in place, until :meth:`undo`.

    Where a layer has a bias, what its rounded weights add to its mean output is taken off it.

    Attributes:
        weights: by layer; those in floating point are not there.
        grids: of inputs, by layer; likewise.
        kept: each layer's module, weight and bias as they were.
    """

    @torch.no_grad()
    def __init__(
        self,
        layers: Sequence[QuantizableLayer],
        operations: Sequence[Operation],
        *,
        quantizer: Quantizer = "least-squares",
        bias_correction: bool = True,
    ) -> None:
        self.layers, self.operations = tuple(layers), tuple(operations)
        self.weights: dict[str, QuantizedWeight] = {}
        self.grids: dict[str, ActivationGrid] = {}
        self.kept = [(layer.module, layer.module.weight, layer.module.bias) for layer in layers]
        for layer, operation in zip(layers, operations, strict=True):
            module = layer.module
            if operation.weight_bits != FLOAT_BITS:
                found = self.weights[layer.name] = quantize_weight(module.weight, operation.weight_bits, quantizer)
                values = found.values.to(module.weight)
                if bias_correction and module.bias is not None:
                    moved = layer.mean_output(values - module.weight)
                    module.bias = nn.Parameter(module.bias - moved, requires_grad=module.bias.requires_grad)
                module.weight = nn.Parameter(values, requires_grad=module.weight.requires_grad)
            if not layer.reads_image and operation.activation_bits != FLOAT_BITS:
                self.grids[layer.name] = activation_grid(layer.sample, operation.activation_bits)
        self._hooks: list[RemovableHandle] = []
        self.round_inputs()

    def round_inputs(self) -> None:
        """Round inputs (again, after :meth:`inputs_in_floats`)."""
        self.inputs_in_floats()
        modules = {layer.name: layer.module for layer in self.layers}
        self._hooks = [round_inputs(modules[name], grid) for name, grid in self.grids.items()]

    def inputs_in_floats(self) -> None:
        """Leave inputs as they are; weights stay rounded."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @contextmanager
    def in_floats(self) -> Iterator[None]:
        """Inside the block weights, biases and inputs are as they were; afterwards rounded again."""
        rounded = [(module, module.weight, module.bias) for module, _, _ in self.kept]
        self.undo()
        try:
            yield
        finally:
            for module, weight, bias in rounded:
                module.weight, module.bias = weight, bias
            self.round_inputs()

    def undo(self) -> None:
        """Weights, biases and inputs as they were."""
        for module, weight, bias in self.kept:
            module.weight, module.bias = weight, bias
        self.inputs_in_floats()


def round_inputs(module: nn.Module, grid: ActivationGrid) -> RemovableHandle:
    """From now on the module reads what the grid makes of its first input."""
    return module.register_forward_pre_hook(lambda _, inputs: (grid.rounded(inputs[0]), *inputs[1:]))


@contextmanager
def rounded(
    layers: Sequence[QuantizableLayer],
    operations: Sequence[Operation],
    *,
    quantizer: Quantizer = "least-squares",
    bias_correction: bool = True,
) -> Iterator[Rounding]:
    """Inside the block these layers are rounded, see :class:`Rounding`; afterwards they are as before."""
    rounding = Rounding(layers, operations, quantizer=quantizer, bias_correction=bias_correction)
    try:
        yield rounding
    finally:
        rounding.undo()


class _Notes:
    """What is seen of a layer while batches run."""

    def __init__(self) -> None:
        self.positions, self.number, self.reads_image = 0, 0, False
        self.sums: Tensor | float = 0.0
        self.samples: list[Tensor] = []

    def add(self, module: Any, inputs: Tensor, output: Tensor, images: Tensor | None) -> None:
        linear = isinstance(module, nn.Linear)
        by_channel = inputs.reshape(-1, inputs.shape[-1]) if linear else inputs.transpose(0, 1).flatten(1).T
        self.positions += output.numel() // (len(module.weight) * (len(images) if images is not None else 1))
        self.sums = self.sums + by_channel.double().sum(0)
        self.number += len(by_channel)
        self.reads_image |= images is not None and inputs.shape == images.shape and torch.equal(inputs, images)
        self.samples.append(_thinned(inputs.flatten()))

    def layer(self, name: str, module: nn.Module) -> QuantizableLayer:
        assert isinstance(module, KINDS)
        means = torch.as_tensor(self.sums) / max(1, self.number)
        return QuantizableLayer(name, module, self.positions, self.reads_image, _thinned(torch.cat(self.samples)), means)


def _thinned(line: Tensor) -> Tensor:
    """Some thousands of the values; an odd stride meets every channel and place."""
    return line[:: max(1, len(line) // _SAMPLE) | 1].clone()

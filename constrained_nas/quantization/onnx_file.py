"""A quantized network as one ONNX file that is as small as its bits say, and that onnxruntime runs as it is.

Weights of 8 and 4 bits are INT8 and INT4 tensors behind ``DequantizeLinear``, a scale for each output channel. Widths that no
runtime has a type for are stored as packed bytes behind ``Unpack3``, a function that the file itself defines in standard operators:
its inputs are constants, so that onnxruntime computes the weights once, when it loads the file. Inputs of layers pass through
``QuantizeLinear`` and ``DequantizeLinear`` (8 or 16 bits; fewer by a ``Clip`` in front).

Where a matrix product reads floating point, ``Cast`` and ``Mul`` stand in for ``DequantizeLinear``: onnxruntime (1.32) would fuse
the latter into a kernel that rounds the product's inputs to 8 bits, which nobody asked for and which moves outputs by per cents.
Beside dequantized inputs it rounds biases to whole steps as well, and weights that are no integers in the file to 8 bits a tensor
(its ``WeightBiasQuantization``). So biases of layers with rounded inputs are added behind the layer, and inputs are dequantized by
``Cast``, ``Sub`` and ``Mul`` where weights are not INT8 or INT4. With ``integer_kernels`` biases stay where they are: the runtime
then rounds them, and computes in integers.

The exporter folds batch normalization into the convolutions: their scales then carry its factors, the codes stay. Everything that
only names things is left out: it would take more than the weights of a small network.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constrained_nas.export import ExportedOnnx, exported_model, run_onnx
from constrained_nas.quantization.layers import QuantizableLayer, Rounding
from constrained_nas.quantization.packing import pack
from constrained_nas.quantization.quantizer import RUNTIME_BITS, ActivationGrid, QuantizedWeight
from graphs import Operation
from graphs.files import written_whole
from graphs.filters import FLOAT_BITS

_OPSET, _IR = 21, 10  # the first with 4-bit integers
_WITH_BIAS = ("Conv", "Gemm")
_DOMAIN = "p"  # of the functions that unpack
_SAME = 1e-4  # of the greatest weight: how near the exporter's weights must be to the network's to be recognized


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where the exporter put a layer's weight: the initializer, the axis of its output channels, and factors folded into them."""

    initializer: str
    axis: int
    factors: NDArray[np.float32]
    product: bool = False  # a MatMul reads it
    biased: bool = False  # what reads it adds a bias


class OnnxTemplate:
    """A network in floating point as an ONNX model with the places of its layers' weights.

    Args:
        network: its weights may be rounded already, its inputs not: see ``Rounding.inputs_in_floats``.
        example: images (B, ...).
        integer_kernels: leave biases in the layers.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: the network cannot be exported, or a layer's weight is not found in what was exported.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[QuantizableLayer], example: Tensor, integer_kernels: bool = False
    ) -> None:
        self.integer_kernels = integer_kernels
        self.onnx: Any = importlib.import_module("onnx")
        self.model = _compact(exported_model(network, example))
        for entry in self.model.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = max(entry.version, _OPSET)  # what lies between only adds types
        self.model.ir_version = _IR
        self.places = self._find(layers)

    def fixed_bytes(self, widths: Iterable[int]) -> int:
        """Of the file besides the layers' weights, with the functions that weights of these widths need."""
        sizes = {each.name: each.ByteSize() for each in self.model.graph.initializer}
        weights = sum(_framed(sizes[place.initializer]) for place in self.places.values())
        functions = sum(
            _framed(self._unpacking(bits).ByteSize()) for bits in set(widths) if bits not in (*RUNTIME_BITS, FLOAT_BITS)
        )
        return int(self.model.ByteSize()) - weights + functions

    def layer_bytes(self, layer: QuantizableLayer, operation: Operation) -> int:
        """What a layer's weight, and the rounding of its input, take in the file."""
        shape, bits, place = tuple(layer.module.weight.shape), operation.weight_bits, self.places[layer.name]
        floats = layer.reads_image or operation.activation_bits == FLOAT_BITS
        parts: list[Any] = []
        if bits == FLOAT_BITS:
            parts += [self._tensor("w", np.zeros(shape, dtype=np.float32))]
        else:
            empty = QuantizedWeight(torch.zeros(shape, dtype=torch.int16), torch.ones(layer.channels), bits)
            tensors, nodes = self._weight("wxyz", empty, replace(place, factors=np.ones(layer.channels, dtype=np.float32)), floats)
            parts += [*tensors, *nodes]
        if not floats:
            grid = ActivationGrid(0.1, 3, 2**operation.activation_bits - 1)
            tensors, nodes, _ = self._input("wxyz", "wxy", grid, bits in RUNTIME_BITS)
            parts += [*tensors, *nodes, *([self._apart("xy", "wxy", "xy")] if place.biased and not self.integer_kernels else [])]
        return sum(_framed(part.ByteSize()) for part in parts)

    def write(self, rounding: Rounding, network: nn.Module, example: Tensor, path: Path | str, tolerance: float) -> ExportedOnnx:
        """Write the file, run it in onnxruntime and set it against ``network``, whose layers ``rounding`` has rounded.

        Raises:
            ValueError: outputs differ by more than ``tolerance`` of the greatest; the file is then removed.
        """
        model = self._quantized(rounding)
        target = Path(path)
        with written_whole(target) as partial:
            partial.write_bytes(model.SerializeToString())
            self.onnx.checker.check_model(str(partial))
            with torch.no_grad():
                expected = network(example)
            difference = run_onnx(partial, [example], [expected], tolerance)
        return ExportedOnnx(target, _OPSET, difference)

    def _quantized(self, rounding: Rounding) -> Any:
        model = self.onnx.ModelProto()
        model.CopyFrom(self.model)
        graph, front, replaced = model.graph, list[Any](), dict[str, str]()
        used, before = set[int](), dict[str, tuple[str, ActivationGrid, bool]]()
        for number, layer in enumerate(rounding.layers):
            place, name = self.places[layer.name], f"q{number}"
            if layer.name in rounding.grids:
                integers = layer.name in rounding.weights and rounding.weights[layer.name].bits in RUNTIME_BITS
                before[place.initializer] = f"i{number}", rounding.grids[layer.name], integers
            if layer.name not in rounding.weights:
                continue
            weight = rounding.weights[layer.name]
            tensors, nodes = self._weight(name, weight, place, layer.name not in rounding.grids)
            graph.initializer.remove(next(each for each in graph.initializer if each.name == place.initializer))
            graph.initializer.extend(tensors)
            front += nodes
            replaced[place.initializer] = name
            used |= {weight.bits} - set(RUNTIME_BITS)
        nodes = []
        for node in graph.node:
            apart: list[Any] = []
            for initializer in [name for name in node.input if name in before]:
                at = 1 if node.input[0] == initializer else 0
                name, grid, integers = before[initializer]
                tensors, rounds, output = self._input(name, node.input[at], grid, integers)
                if not any(each.name == tensors[0].name for each in graph.initializer):
                    graph.initializer.extend(tensors)
                    nodes += rounds
                node.input[at] = output
                apart += self._added_apart(graph, node, name)
            for at, name in enumerate(node.input):
                node.input[at] = replaced.get(name, name)
            nodes += [node, *apart]
        copied = [self.onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend([*front, *copied])
        model.functions.extend(self._unpacking(bits) for bits in sorted(used))
        if used:
            model.opset_import.append(self.onnx.helper.make_opsetid(_DOMAIN, 1))
        return model

    def _weight(self, name: str, weight: QuantizedWeight, place: _Place, floats: bool) -> tuple[list[Any], list[Any]]:
        """Tensors and nodes that put a weight out under ``name``; ``floats``: beside inputs that are not rounded."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        codes, factors = weight.codes.cpu().numpy(), place.factors
        if weight.bits in RUNTIME_BITS:  # the codes are symmetric, so that scales stay positive
            codes, factors = codes * np.where(factors < 0, -1, 1).reshape(-1, *[1] * (codes.ndim - 1)), np.abs(factors)
        scales = (weight.scales.cpu().numpy() * factors).astype(np.float32)
        scales[scales == 0] = 1.0  # codes are zero there, and runtimes divide by scales
        codes = np.moveaxis(codes, 0, place.axis) if place.axis else codes
        plain = weight.bits in RUNTIME_BITS and not (floats and place.product)
        tensors = [self._tensor(f"{name}s", scales if plain else scales.reshape(_channels(codes, place.axis)))]
        if weight.bits == 8:
            tensors.append(self._tensor(f"{name}c", codes.astype(np.int8)))
        elif weight.bits == 4:
            nibbles = np.append(codes.reshape(-1), [0] * (codes.size % 2)).astype(np.uint8) & 15
            raw = (nibbles[0::2] | (nibbles[1::2] << 4)).astype(np.uint8).tobytes()
            tensors.append(types(name=f"{name}c", data_type=types.INT4, dims=codes.shape, raw_data=raw))
        else:
            tensors.append(self._tensor(f"{name}c", pack(codes, weight.bits)))
            tensors.append(self._tensor(f"{name}d", np.array(codes.shape, dtype=np.int64)))
            inputs = [f"{name}c", f"{name}d", f"{name}s"]
            return tensors, [helper.make_node(f"Unpack{weight.bits}", inputs, [name], domain=_DOMAIN)]
        if not plain:
            cast = helper.make_node("Cast", [f"{name}c"], [f"{name}f"], to=types.FLOAT)
            return tensors, [cast, helper.make_node("Mul", [f"{name}f", f"{name}s"], [name])]
        return tensors, [helper.make_node("DequantizeLinear", [f"{name}c", f"{name}s"], [name], axis=place.axis)]

    def _input(self, name: str, source: str, grid: ActivationGrid, integers: bool) -> tuple[list[Any], list[Any], str]:
        """Tensors and nodes that round ``source``, and the name of what comes out; ``integers``: the weights are INT8 or INT4."""
        kind: Any = np.uint8 if grid.levels < 2**8 else np.uint16
        tensors = [self._tensor(f"{name}s", np.float32(grid.step)), self._tensor(f"{name}z", np.array(grid.zero, dtype=kind))]
        make, nodes, last = self.onnx.helper.make_node, list[Any](), source
        if grid.levels != np.iinfo(kind).max:
            ends = [-grid.zero * grid.step, (grid.levels - grid.zero) * grid.step]
            tensors += [self._tensor(f"{name}{end}", np.float32(value)) for end, value in zip("lh", ends, strict=True)]
            nodes.append(make("Clip", [source, f"{name}l", f"{name}h"], [f"{name}k"]))
            last = f"{name}k"
        nodes.append(make("QuantizeLinear", [last, f"{name}s", f"{name}z"], [f"{name}q"]))
        if integers:
            nodes.append(make("DequantizeLinear", [f"{name}q", f"{name}s", f"{name}z"], [name]))
            return tensors, nodes, name
        tensors.append(self._tensor(f"{name}o", np.float32(grid.zero)))
        nodes.append(make("Cast", [f"{name}q"], [f"{name}c"], to=self.onnx.TensorProto.FLOAT))
        nodes.append(make("Sub", [f"{name}c", f"{name}o"], [f"{name}d"]))
        nodes.append(make("Mul", [f"{name}d", f"{name}s"], [name]))
        return tensors, nodes, name

    def _apart(self, bias: str, name: str, output: str) -> Any:
        """What adds a bias to the output of a layer."""
        return self.onnx.helper.make_node("Add", [f"{name}y", bias], [output])

    def _added_apart(self, graph: Any, node: Any, name: str) -> list[Any]:
        """Take the bias off a convolution or product; what adds it behind, the bias shaped to the channels there."""
        if self.integer_kernels or node.op_type not in _WITH_BIAS or len(node.input) < 3:
            return []
        bias, output = node.input.pop(), node.output[0]
        node.output[0] = f"{name}y"
        tensor = next(each for each in graph.initializer if each.name == bias)
        kernel = next((each.ints for each in node.attribute if each.name == "kernel_shape"), ())
        if any(bias in other.input for other in graph.node):  # of other layers as well
            tensor = graph.initializer.add()
            tensor.CopyFrom(next(each for each in graph.initializer if each.name == bias))
            bias = tensor.name = f"{name}b"
        tensor.dims.extend([1] * len(kernel))
        return [self._apart(bias, name, output)]

    def _unpacking(self, bits: int) -> Any:
        """The function that turns bytes, a shape and scales into a weight: see ``packing`` for the layout."""
        make = self.onnx.helper.make_node

        def constant(name: str, value: NDArray[Any]) -> Any:
            return make("Constant", [], [name], value=self.onnx.numpy_helper.from_array(value))

        nodes = [
            constant("a", np.array([-1, 1])),
            constant("b", np.arange(8, dtype=np.uint8)),
            constant("c", np.array(1, dtype=np.uint8)),
            constant("d", np.array([-1, bits])),
            constant("e", (2.0 ** np.arange(bits)).astype(np.float32)[:, None]),
            constant("f", np.array([-1])),
            constant("g", np.array([0])),
            constant("h", np.array(2 ** (bits - 1), dtype=np.float32)),
            make("Reshape", ["x", "a"], ["i"]),
            make("BitShift", ["i", "b"], ["j"], direction="RIGHT"),
            make("BitwiseAnd", ["j", "c"], ["k"]),  # (bytes, 8)
            make("Cast", ["k"], ["l"], to=self.onnx.TensorProto.FLOAT),
            make("Reshape", ["l", "d"], ["m"]),  # (numbers, bits)
            make("MatMul", ["m", "e"], ["n"]),
            make("Reshape", ["n", "f"], ["o"]),
            make("ReduceProd", ["y"], ["p"]),
            make("Reshape", ["p", "f"], ["q"]),
            make("Slice", ["o", "g", "q"], ["r"]),
            make("Reshape", ["r", "y"], ["s"]),
            make("Sub", ["s", "h"], ["t"]),
            make("Mul", ["t", "z"], ["w"]),
        ]
        opsets = [self.onnx.helper.make_opsetid("", _OPSET)]
        return self.onnx.helper.make_function(_DOMAIN, f"Unpack{bits}", ["x", "y", "z"], ["w"], nodes, opsets)

    def _tensor(self, name: str, value: Any) -> Any:
        return self.onnx.numpy_helper.from_array(np.asarray(value), name)

    def _find(self, layers: Sequence[QuantizableLayer]) -> dict[str, _Place]:
        arrays = {each.name: self.onnx.numpy_helper.to_array(each) for each in self.model.graph.initializer}
        products = {name for node in self.model.graph.node if node.op_type == "MatMul" for name in node.input}
        adding = [node for node in self.model.graph.node if node.op_type in _WITH_BIAS and len(node.input) > 2]
        biased = {name for node in adding for name in node.input}
        found: dict[str, _Place] = {}
        for layer in layers:
            weight = layer.module.weight.detach().float().cpu().numpy()
            likely = sorted((name for name, array in arrays.items() if array.size == weight.size), key=_number)
            place = next((place for name in likely if (place := _placed(name, arrays[name], weight))), None)
            if place is None:
                raise ValueError(
                    f"{layer.name}: its weight is not in what torch exports to ONNX; pin it to 32 bits, or write --to packed"
                )
            found[layer.name] = replace(place, product=place.initializer in products, biased=place.initializer in biased)
            arrays.pop(place.initializer)
        return found


def _number(name: str) -> tuple[int, str]:
    return len(name), name  # compact names, in the order of the file


def _channels(codes: NDArray[Any], axis: int) -> tuple[int, ...]:
    return tuple(size if at == axis else 1 for at, size in enumerate(codes.shape))


def _placed(name: str, array: NDArray[Any], weight: NDArray[Any]) -> _Place | None:
    """Whether an initializer is this weight, times a factor a channel (folded normalization), or transposed."""
    for axis in (0, 1):
        if axis == 1 and weight.ndim != 2:
            return None
        given = np.asarray(array, dtype=np.float32) if axis == 0 else np.asarray(array, dtype=np.float32).T
        if given.shape != weight.shape:
            continue
        rows, ours = given.reshape(len(given), -1), weight.reshape(len(weight), -1)
        squares = (ours.astype(np.float64) ** 2).sum(1)
        factors = np.where(squares > 0, (rows.astype(np.float64) * ours).sum(1) / np.where(squares > 0, squares, 1.0), 1.0)
        if np.abs(rows - ours * factors[:, None]).max() <= _SAME * max(np.abs(rows).max(), 1e-30):
            return _Place(name, axis, factors.astype(np.float32))
    return None


def _framed(size: int) -> int:
    """A part of a message with its tag and length."""
    return size + 1 + max(1, -(-size.bit_length() // 7))


def _compact(model: Any) -> Any:
    """The model without what only names or describes, its values called by short numbers."""
    model.ClearField("metadata_props")
    model.producer_name = model.producer_version = model.domain = model.doc_string = ""
    graph = model.graph
    for field in ("value_info", "metadata_props", "doc_string"):
        graph.ClearField(field)
    outer = {each.name for each in (*graph.input, *graph.output)}
    names: dict[str, str] = {"": ""} | {name: name for name in outer}

    def short(name: str) -> str:
        return names.setdefault(name, f"{len(names):x}")

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
    for node in graph.node:
        for field in ("name", "doc_string", "metadata_props"):
            node.ClearField(field)
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    return model

"""A quantized network as a safetensors file for torch: packed weights, scales, and everything else as it is.

``load_packed`` puts it into a network of the same code, whose layers then hold the rounded weights as floating point numbers and
round their inputs as the file says. The file is read as numbers only; nothing in it is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from constrained_nas.quantization.attention import with_projections
from constrained_nas.quantization.layers import KINDS, Rounding, round_inputs
from constrained_nas.quantization.packing import pack, unpack
from constrained_nas.quantization.quantizer import ActivationGrid, QuantizedWeight
from graphs.files import written_whole

_CODES, _SCALES = ".codes", ".scales"  # behind the name of a weight


def packed_content(network: nn.Module, weights: Mapping[str, QuantizedWeight], grids: Mapping[str, ActivationGrid]) -> bytes:
    """The file: ``weights`` and ``grids`` by layer, and what else ``network`` keeps."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in network.state_dict().items():
        name = key.removesuffix(".weight")
        if key.endswith(".weight") and name in weights:
            tensors[key + _CODES] = torch.from_numpy(pack(weights[name].codes.cpu().numpy(), weights[name].bits))
            tensors[key + _SCALES] = weights[name].scales.cpu()
        else:
            tensors[key] = tensor.detach().cpu().contiguous().clone()
    layers: dict[str, Any] = {name: [weight.bits, *weight.codes.shape] for name, weight in weights.items()}
    inputs = {name: [grid.step, grid.zero, grid.levels] for name, grid in grids.items()}
    return save(tensors, {"quantized": json.dumps({"weights": layers, "inputs": inputs}, separators=(",", ":"))})


def save_packed(network: nn.Module, rounding: Rounding, path: Path | str) -> Path:
    """Write a network whose layers ``rounding`` has rounded."""
    target = Path(path)
    with written_whole(target) as partial:
        partial.write_bytes(packed_content(network, rounding.weights, rounding.grids))
    return target


def load_packed(path: Path | str, network: nn.Module) -> nn.Module:
    """The quantized network of the file, in evaluation mode.

    Args:
        network: of the same code, with any weights; it is changed in place (attention is exchanged as for quantizing).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, or of another network; names the layer.
    """
    network = with_projections(network)
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {})["quantized"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise
    except Exception as error:  # the reader raises its own kind
        raise ValueError(f"{path}: not a packed network: {error}") from error
    modules = {name: module for name, module in network.named_modules() if isinstance(module, KINDS)}
    for name, (bits, *shape) in said["weights"].items():
        if name not in modules or tuple(modules[name].weight.shape) != tuple(shape):
            raise ValueError(f"{path}: layer {name!r} of shape {tuple(shape)} is not in this network")
        codes = torch.from_numpy(unpack(tensors.pop(f"{name}.weight{_CODES}").numpy(), bits, tuple(shape)).astype(np.int16))
        tensors[f"{name}.weight"] = QuantizedWeight(codes, tensors.pop(f"{name}.weight{_SCALES}"), bits).values
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: of another network: {error}") from error
    for name, (step, zero, levels) in said["inputs"].items():
        round_inputs(modules[name], ActivationGrid(step, zero, levels))
    return network.eval()

"""Modules as the calls that built them: the arguments of this library's blocks and of the layers of ``torch.nn``.

Nothing is taken on trust: a call is written only if it builds a module with the same classes, settings and tensors.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from graphs.blocks import (
    ACTIVATIONS,
    ConvNormActivation,
    FusedInvertedResidual,
    InvertedResidual,
    ResidualConvolution,
    SqueezeExcite,
)

_PLAIN = (bool, int, float, str, type(None))


def block_arguments(module: nn.Module) -> dict[str, Any] | None:
    """The arguments of one of this library's blocks; None for other modules, and for blocks whose parts were exchanged."""
    try:
        return _ARGUMENTS[type(module)](module)
    except (KeyError, AttributeError, ValueError, TypeError):
        return None


def layer_arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments of a layer's class that the layer keeps as attributes of the same name."""
    values: dict[str, Any] = {}
    for name in inspect.signature(type(module)).parameters:
        if name not in ("device", "dtype") and not name.startswith("_") and hasattr(module, name):
            value = getattr(module, name)
            values[name] = value is not None if name == "bias" and not isinstance(value, bool) else value
    return values


def rebuilt(module: nn.Module, values: dict[str, Any]) -> str | None:
    """``Kind(arguments)`` with as few of them as build a module with the same settings and tensors, None if none do."""
    kind, wanted = type(module), _settings(module)

    def builds(arguments: dict[str, Any]) -> bool:
        try:
            with torch.device("meta"):
                return _settings(kind(**arguments)) == wanted
        except (TypeError, ValueError, RuntimeError):
            return False

    parameters = inspect.signature(kind).parameters
    given = {name: value for name, value in values.items() if name in parameters and _is_plain(value)}
    square = {n: v[0] if isinstance(v, tuple) and len(v) > 1 and len(set(v)) == 1 else v for n, v in given.items()}
    given = square if builds(square) else given  # a kernel of 3 rather than (3, 3)
    if not builds(given):
        return None
    required = [name for name in given if parameters[name].default is inspect.Parameter.empty]
    for name in [name for name in given if name not in required]:
        fewer = {other: value for other, value in given.items() if other != name}
        given = fewer if builds(fewer) else given
    written = [literal(given[name]) for name in required]
    written += [f"{name}={literal(value)}" for name, value in given.items() if name not in required]
    return f"{kind.__name__}({', '.join(written)})"


def literal(value: Any) -> str:
    """A plain value as Python, strings in double quotes."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _conv_arguments(block: Any) -> dict[str, Any]:
    conv = block.conv
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    return {
        "inputs": conv.in_channels,
        "outputs": conv.out_channels,
        "kernel": conv.kernel_size[0],
        "stride": conv.stride[0],
        "groups": conv.groups,
        "activation": names.get(type(block.activation)),
        "bias": conv.bias is not None,
    }


def _residual_arguments(block: Any, main: Any) -> dict[str, Any]:
    """Those that both inverted residuals have; ``main`` is the part with the kernel and the stride."""
    spatial, first = _conv_arguments(main), _conv_arguments(block.expand)
    reduced = block.squeeze_excite.reduce.out_channels if isinstance(block.squeeze_excite, SqueezeExcite) else 0
    return {
        "inputs": first["inputs"],
        "hidden": first["outputs"],
        "outputs": block.project.conv.out_channels,
        "kernel": spatial["kernel"],
        "stride": spatial["stride"],
        "reduced": reduced,
        "activation": spatial["activation"],
    }


def _settings(module: nn.Module) -> dict[str, Any]:
    """Every part's class and plain attributes, and the shapes of the tensors."""
    parts = {
        name: (type(part), {k: v for k, v in vars(part).items() if k != "training" and _is_plain(v)})
        for name, part in module.named_modules()
    }
    return {"parts": parts, "tensors": {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}}


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, tuple | list) else isinstance(value, _PLAIN)


_ARGUMENTS: dict[type[nn.Module], Callable[[Any], dict[str, Any]]] = {
    ConvNormActivation: _conv_arguments,
    SqueezeExcite: lambda b: {"channels": b.reduce.in_channels, "reduced": b.reduce.out_channels},
    InvertedResidual: lambda b: _residual_arguments(b, b.depthwise),
    FusedInvertedResidual: lambda b: _residual_arguments(b, b.expand),
    ResidualConvolution: lambda b: {k: v for k, v in _conv_arguments(b.convolution).items() if k not in ("groups", "bias")},
}
PARTS: dict[type[nn.Module], Sequence[type[nn.Module]]] = {
    InvertedResidual: (ConvNormActivation, SqueezeExcite),
    FusedInvertedResidual: (ConvNormActivation, SqueezeExcite),
    ResidualConvolution: (ConvNormActivation,),
}

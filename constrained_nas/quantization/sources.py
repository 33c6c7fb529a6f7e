"""A network to quantize: by the name of a torchvision or timm network, a Python file of one's own, or an exported program.

Weights come from disk or not at all: nothing is downloaded.
"""

from __future__ import annotations

import logging
import operator
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn

from constrained_nas.training import seeded
from graphs import Choice
from graphs.files import shortened
from graphs.own_code import own_built

_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_CONVOLUTIONS = {
    torch.ops.aten.conv1d.default: nn.Conv1d,
    torch.ops.aten.conv2d.default: nn.Conv2d,
    torch.ops.aten.conv3d.default: nn.Conv3d,
}


def read_network(source: str, classes: int, seed: int = 0, **offered: int) -> nn.Module:
    """The network that ``source`` names, with fresh weights (those of the file, for a program), in evaluation mode.

    Args:
        source: ``resnet18`` (torchvision), ``timm:mobilenetv3_small_050`` or any name that only timm has, ``mynet.py:build``, a
            callable whose file is run, or ``model.pt2``, a program of ``torch.export``.
        classes: outputs of a named network.
        seed: of fresh weights.
        offered: what a callable is given besides ``classes`` where it takes it: ``channels``, ``resolution``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such network; what the file holds is none.
    """
    if source.endswith(".pt2") or zipfile.is_zipfile(source):  # what is in a file decides, not its name
        return _program(Path(source))
    if ".py:" in source:
        built = seeded(lambda: own_built(source, classes=classes, **offered), seed)
        if not isinstance(built, nn.Module):
            raise ValueError(f"{source}: expected a callable that returns a torch.nn.Module, got {type(built).__name__}")
        if any(isinstance(module, Choice) for module in built.modules()):
            raise ValueError(
                f"{source} still has choices: search it, then quantise what export RUN --to program writes (RUN/export/network.pt2)"
            )
        return built.eval()
    return seeded(lambda: _named(source, classes), seed).eval()


def load_weights_file(network: nn.Module, path: Path) -> None:
    """Put the state dict of a safetensors file into a network. Pickled files (.pt, .pth) are not read: they may run anything.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, whatever it is called, or of another network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as file:
        pickled = file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    if pickled:
        raise ValueError(
            f"{path}: pickled weights are not read here; convert them where you trust them: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), 'weights.safetensors')"
        )
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit the network: {shortened(' '.join(str(error).split()), 300)}") from error


def _named(source: str, classes: int) -> nn.Module:
    import torchvision

    if not source.startswith("timm:") and source in torchvision.models.list_models():
        network: nn.Module = torchvision.models.get_model(source, weights=None, num_classes=classes)
        return network
    name = source.removeprefix("timm:")
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"torchvision has no network {source!r}, and timm is not installed: pip install 'constrained-nas[timm]'"
        ) from error
    if not timm.is_model(name):
        raise ValueError(f"neither torchvision nor timm has a network {name!r}; expected a name, FILE.py:CALLABLE or FILE.pt2")
    built: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    return built


def _program(path: Path) -> nn.Module:
    """The module of an exported program, its convolutions and linear layers as layers again."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with _numbers_alone():
            module = torch.export.load(path).module()
    except Exception as error:  # the loader raises many kinds
        raise ValueError(f"{path}: no program of torch.export: {shortened(' '.join(str(error).split()), 200)}") from error
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _CONVOLUTIONS:
            _as_layer(module, node, _convolution(module, node))
        elif node.op == "call_function" and node.target is torch.ops.aten.linear.default:
            weight, bias = _tensor(module, node, 1), _tensor(module, node, 2)
            if weight is not None:
                _as_layer(module, node, _filled(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight, bias))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


@contextmanager
def _numbers_alone() -> Iterator[None]:
    """torch's loader unpickles some parts of a program, which could run anything: inside the block it takes tensors alone."""
    before, logger = os.environ.get(_FORCED), logging.getLogger("torch.export")
    level = logger.level
    os.environ[_FORCED] = "1"
    logger.setLevel(logging.CRITICAL)  # a traceback of its own, beside the error
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.pop(_FORCED)
        if before is not None:
            os.environ[_FORCED] = before


def _convolution(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    weight, bias = _tensor(module, node, 1), _tensor(module, node, 2)
    if weight is None:
        return None
    settings: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    settings |= dict(zip(settings, node.args[3:], strict=False)) | {k: v for k, v in node.kwargs.items() if k in settings}
    settings = {
        key: tuple(value) if isinstance(value, list | fx.immutable_collections.immutable_list) else value
        for key, value in settings.items()
    }
    kind: Any = _CONVOLUTIONS[node.target]  # type: ignore[index]
    channels = weight.shape[1] * settings["groups"]
    return _filled(kind(channels, weight.shape[0], tuple(weight.shape[2:]), bias=bias is not None, **settings), weight, bias)


def _filled(layer: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    filled: nn.Module = layer
    return filled


def _tensor(module: fx.GraphModule, node: fx.Node, at: int) -> Tensor | None:
    """A parameter that a call takes in that place."""
    given = node.args[at] if len(node.args) > at else None
    if not isinstance(given, fx.Node) or given.op != "get_attr":
        return None
    found: Tensor = operator.attrgetter(str(given.target))(module)
    return found


def _as_layer(module: fx.GraphModule, node: fx.Node, layer: nn.Module | None) -> None:
    if layer is None:
        return
    source = node.args[1]
    name = str(source.target if isinstance(source, fx.Node) else node.name).removesuffix(".weight").replace(".", "_")
    while hasattr(module, name):
        name += "_"
    module.add_module(name, layer)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, (node.args[0],))
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)

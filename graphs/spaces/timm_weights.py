"""Weights that timm keeps for a network of its block strings, put into the same network as it is rebuilt here.

The modules are the same, their names are not: ``blocks.2.0.conv_pwl.weight`` is ``stage2_block1.project.conv.weight`` here. timm
numbers all stages from 0, the separable block and the convolution before the pooling among them, and has a 1x1 convolution where
the classifier here has a linear layer.

Files are safetensors. Pickled ones (.pth, .pt, .bin) may run anything and are not read; a state dict in memory is.

Reference: the library timm (its ``MobileNetV3``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from graphs.files import shortened

_STATISTICS = "num_batches_tracked"  # counts the batches of training; files may leave it out
_SEPARABLE = {"0.conv": "conv_dw", "0.norm": "bn1", "1.conv": "conv_pw", "1.norm": "bn2"}
_RESIDUAL = {
    "expand.conv": "conv_pw",
    "expand.norm": "bn1",
    "depthwise.conv": "conv_dw",
    "depthwise.norm": "bn2",
    "squeeze_excite.reduce": "se.conv_reduce",
    "squeeze_excite.expand": "se.conv_expand",
    "project.conv": "conv_pwl",
    "project.norm": "bn3",
}


def load_timm_weights(network: nn.Sequential, weights: Path | str | Mapping[str, Tensor]) -> None:
    """Put the weights of timm's network into ``network``, in place; dtype and device stay those of ``network``.

    Args:
        network: as :func:`graphs.network_from_strings` builds it from the strings of timm's.
        weights: a safetensors file, or a state dict as ``timm.create_model(name).state_dict()`` gives it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or its tensors are not those of the network: names the first that are missing, left
            over or of another shape. The network is then as it was.

    Example:
        >>> import torch
        >>> from graphs import network_from_strings
        >>> network = network_from_strings([["ir_r1_k3_s2_e3_c16_nre"], ["cn_r1_k1_s1_c64"]], classes=10)
        >>> load_timm_weights(network, {"conv_stem.weight": torch.zeros(32, 3, 3, 3)})
        Traceback (most recent call last):
        ValueError: the weights are not of this network: missing bn1.weight, bn1.bias, bn1.running_mean and 25 more
    """
    given, what = (_read(Path(weights)), str(weights)) if isinstance(weights, Path | str) else (weights, "the weights")
    if not given or not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in given.items()):
        raise ValueError(f"{what}: expected a state dict, tensors by their names")
    own, names = network.state_dict(), _timm_names(network)
    wrong = _differences(own, names, given)
    if wrong:
        raise ValueError(f"{what} {'are' if given is weights else 'is'} not of this network: {wrong}")
    taken = {name: given[theirs].reshape(own[name].shape) for name, theirs in names.items() if theirs in given}
    network.load_state_dict(own | taken)


def _timm_names(network: nn.Sequential) -> dict[str, str]:
    """timm's name of every tensor in the state dict of a network of block strings.

    Raises:
        ValueError: a module that is none of such a network.
    """
    modules = dict(_modules(network))
    names = {}
    for name in network.state_dict():
        module, _, tensor = name.rpartition(".")
        if module not in modules:
            raise ValueError(f"module {module!r} is none of a network of block strings")
        names[name] = f"{modules[module]}.{tensor}"
    return names


def _modules(network: nn.Sequential) -> Iterator[tuple[str, str]]:
    """The modules that have tensors, as they are named here and in timm."""
    yield from (("stem.conv", "conv_stem"), ("stem.norm", "bn1"))
    stages = dict.fromkeys(name.partition("_")[0] for name, _ in network.named_children() if name not in ("stem", "logits"))
    for number, stage in enumerate(stages):
        for name in (name for name, _ in network.named_children() if name.partition("_")[0] == stage):
            parts, place = (_SEPARABLE, 0) if name == "separable" else (_RESIDUAL, int(name.rpartition("block")[2] or 1) - 1)
            yield from ((f"{name}.{ours}", f"blocks.{number}.{place}.{theirs}") for ours, theirs in parts.items())
    yield from (("logits.conv.conv", f"blocks.{len(stages)}.0.conv"), ("logits.conv.norm", f"blocks.{len(stages)}.0.bn1"))
    yield from (("logits.hidden", "conv_head"), ("logits.logits", "classifier"))


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: pickled weights are not read here; convert them where you trust them: "
            f"safetensors.torch.save_file(torch.load({path.name!r}, weights_only=True), 'weights.safetensors')"
        )
    try:
        found: Mapping[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: no safetensors file: {shortened(' '.join(str(error).split()), 160)}") from error
    return found


def _differences(own: Mapping[str, Tensor], names: Mapping[str, str], given: Mapping[str, Tensor]) -> str:
    """What is wrong with the given tensors, in words; nothing where they fit."""
    missing = [theirs for theirs in names.values() if theirs not in given and not theirs.endswith(_STATISTICS)]
    left = sorted(given.keys() - set(names.values()))
    shapes = []
    for name, theirs in names.items():
        if theirs in given and not _fits(own[name], given[theirs]):
            one = given[theirs]
            expected = _shape(own[name]) if own[name].is_floating_point() == one.is_floating_point() else str(own[name].dtype)
            shapes.append(f"{theirs} of {_shape(one) if expected[0] == '(' else one.dtype} (expected {expected})")
    said = [f"{what} {_listed(found)}" for what, found in (("missing", missing), ("left over", left), ("", shapes)) if found]
    return "; ".join(said).strip()


def _fits(own: Tensor, given: Tensor) -> bool:
    """Of the same kind and shape; a 1x1 convolution stands for a linear layer."""
    shape = tuple(given.shape)
    shape = shape[:2] if len(own.shape) == 2 and shape[2:] == (1, 1) else shape
    return shape == tuple(own.shape) and given.is_floating_point() == own.is_floating_point()


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

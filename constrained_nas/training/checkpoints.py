"""Checkpoints that survive a kill and never unpickle: tensors in safetensors, everything else as JSON in its header.

A file is written beside its target and moved over it, so it is whole or not there. Training leaves one after every epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from constrained_nas.training.precision import load_scaler, scaler_state
from graphs.files import written_whole


def save_checkpoint(path: Path | str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON-ready values to ``path``, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path, shared=False) as partial:
        save_file(plain, partial, metadata={"values": json.dumps(dict(values))})


def load_checkpoint(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off or is no checkpoint.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            values = json.loads((file.metadata() or {})["values"])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: cut off, or not a checkpoint of this library ({error}); delete it to start over") from error


def load_same(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint whose value ``identity`` is this one.

    Raises:
        ValueError: as :func:`load_checkpoint`, or it is of another search; says how that differs.
    """
    tensors, values = load_checkpoint(path)
    saved = values.get("identity", {})
    was = {name: saved.get(name) for name, value in identity.items() if saved.get(name) != value}
    if was:
        raise ValueError(f"{path}: saved by another search, with {was}; delete it to start over")
    return tensors, values


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimizer's state as named tensors and JSON-ready parameter groups."""
    state = optimizer.state_dict()
    tensors = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    return tensors, state["param_groups"]


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """Put back what :func:`flatten_optimizer` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in part_of(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_training(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    options: dict[str, Any],
    checkpoint: Path,
    epochs: int,
    fabric: Fabric,
) -> None:
    """Write the weights, the state of the optimizer and of the precision's scaler, the moving average if there is one, and the
    options (JSON-ready)."""
    tensors, groups = flatten_optimizer(optimizer)
    tensors |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    save_checkpoint(checkpoint, tensors, {"options": options, "epochs": epochs, "groups": groups, "scaler": scaler_state(fabric)})


def load_weights(network: nn.Module, checkpoint: Path) -> None:
    """Load what the training of a checkpoint had come to: its moving average where it keeps one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, or from another network.
    """
    tensors, _ = load_checkpoint(checkpoint)
    try:
        network.load_state_dict(part_of(tensors, "average.module.") or part_of(tensors, "network."))
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: saved from another network ({error})") from error


def load_training(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    options: dict[str, Any],
    checkpoint: Path | None,
    fabric: Fabric,
) -> int:
    """Load the checkpoint, if there is one, and return the number of epochs already done.

    Raises:
        ValueError: the file is cut off, or saved under other options or from another network.
    """
    if checkpoint is None or not checkpoint.exists():
        return 0
    tensors, values = load_checkpoint(checkpoint)
    if values["options"] != options:
        raise ValueError(f"{checkpoint}: saved under other options ({values['options']}); delete it or restore them")
    try:
        network.load_state_dict(part_of(tensors, "network."))
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: saved from another network ({error}); delete it to start over") from error
    if average is not None:
        average.load_state_dict(part_of(tensors, "average."))
    restore_optimizer(optimizer, tensors, values["groups"])
    load_scaler(fabric, values.get("scaler", {}))
    return int(values["epochs"])

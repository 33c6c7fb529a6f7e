"""What training leaves on disk after every epoch, and how it takes up from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from constrained_nas.checkpoints import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint

__all__ = ["load_training", "save_training"]


def save_training(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    options: dict[str, Any],
    checkpoint: Path,
    epochs: int,
) -> None:
    """Write the weights, the optimiser's state, the moving average if there is one, and the options (JSON-ready)."""
    tensors, groups = flatten_optimizer(optimizer)
    tensors |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    save_checkpoint(checkpoint, tensors, {"options": options, "epochs": epochs, "groups": groups})


def load_training(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    options: dict[str, Any],
    checkpoint: Path | None,
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
        network.load_state_dict(_part(tensors, "network."))
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: saved from another network ({error}); delete it to start over") from error
    if average is not None:
        average.load_state_dict(_part(tensors, "average."))
    restore_optimizer(optimizer, tensors, values["groups"])
    return int(values["epochs"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

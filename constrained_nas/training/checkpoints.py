"""Checkpoints that survive a kill and never unpickle: tensors in safetensors, everything else as JSON in its header.

A file is written beside its target and moved over it, so it is whole or not there. Training leaves one after every epoch. Every
file holds a hash of its own content, and where it is a :class:`Checkpoint` what made it: it is not taken up for anything else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from constrained_nas.training.precision import load_scaler, scaler_state
from constrained_nas.training.stopping import Within
from graphs.files import out_of_memory, require_size, require_unicode, shortened, written_whole

MOST_WEIGHTS = 2**33  # bytes of a file; the largest super-networks, with what their optimizers keep, have 2 GiB


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that work is kept in while it is under way, and what decides that work.

    Attributes:
        path: of the file.
        made_by: everything that the content depends on, JSON-ready, in nested mappings; a file made by anything else is refused.
        remarks: where is added what a reader should know of a file that was taken up.
    """

    path: Path
    made_by: Mapping[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def exists(self) -> bool:
        """Whether there is such a file."""
        return self.path.exists()

    def named(self, word: str) -> Checkpoint:
        """Another file of the same work, beside this one: ``word`` comes before the suffix."""
        return Checkpoint(self.path.with_suffix(f".{word}{self.path.suffix}"), self.made_by, self.remarks)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


Place = Path | str | Checkpoint


def save_checkpoint(path: Place, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON-ready values to ``path``, whole or not at all; of a run that was removed no folder is made again.

    Raises:
        OSError: the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"values": dict(values), "made_by": _made_by(path)})
    # One entry: safetensors writes several in any order, and equal checkpoints should be equal files.
    header = json.dumps({"content": text, "sha256": _hash(plain, text)})
    with written_whole(Path(path), parents=not isinstance(path, Checkpoint)) as partial:
        save_tensors(plain, partial, {"checkpoint": header})


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file as it stands, inside ``graphs.files.written_whole``; what shares memory, every name anew.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    places: set[int] = set()
    apart = {}  # a module that runs in two places of a network has its weights under two names, which safetensors refuses
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in places else tensor
        places.add(place)
    try:
        save_file(apart, path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:  # of writing: its only other cause is a name that is taken
        raise OSError(f"{path.parent}: cannot write weights there: {error}") from error


def load_checkpoint(path: Place) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off or damaged, is no checkpoint, or was made by something else; says by what.
    """
    require_unicode(str(path))
    require_size(Path(path), MOST_WEIGHTS)
    with open(path, "rb"):
        pass  # where that is forbidden, safetensors says that there is no such file
    try:
        with safe_open(str(path), framework="pt") as file:
            values, maker, hashed = _header(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = shortened(str(error), 200)
        raise ValueError(f"{path}: cut off, or not a checkpoint of this library ({said}); delete it to start over") from error
    if hashed is not None and hashed[1] != _hash(tensors, hashed[0]):
        raise ValueError(f"{path}: damaged, its content has another sha256 than it had when written; delete it to start over")
    if not isinstance(values, dict) or not isinstance(maker, dict):
        raise ValueError(f"{path}: not a checkpoint of this library; delete it to start over")
    if isinstance(path, Checkpoint) and path.made_by:
        _check_maker(path, maker)
    return tensors, values


def load_same(path: Place, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint whose value ``identity`` is this one.

    Raises:
        ValueError: as :func:`load_checkpoint`, or it is of another search; says how that differs.
    """
    tensors, values = load_checkpoint(path)
    saved = values.get("identity", {})
    was = {name: saved.get(name) for name, value in identity.items() if _deciding(saved.get(name)) != _deciding(value)}
    if was:
        raise ValueError(f"{path}: saved by another search, with {shortened(str(was))}; delete it to start over")
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
    checkpoint: Place,
    epochs: int,
    fabric: Fabric,
    within: Within | None = None,
) -> None:
    """Write the weights, the state of the optimizer and of the precision's scaler, the moving average if there is one, and the
    options (JSON-ready).

    ``epochs`` are done, and ``within`` says how far the next one is.
    """
    tensors, groups = flatten_optimizer(optimizer)
    tensors |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    values = {"options": options, "epochs": epochs, "groups": groups, "scaler": scaler_state(fabric)}
    if within is not None:
        tensors, values = tensors | within.tensors, values | {"within": within.saved()}
    save_checkpoint(checkpoint, tensors, values)


def load_weights(network: nn.Module, checkpoint: Place) -> None:
    """Load what the training of a checkpoint had come to: its moving average where it keeps one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, was made by something else, or is from another network.
    """
    tensors, _ = load_checkpoint(checkpoint)
    with of_another(checkpoint, "network"):
        network.load_state_dict(part_of(tensors, "average.module.") or part_of(tensors, "network."))


def load_training(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    options: dict[str, Any],
    checkpoint: Path | Checkpoint | None,
    fabric: Fabric,
) -> tuple[int, Within | None]:
    """Load the checkpoint, if there is one, and return the number of epochs already done, and how far the next one is.

    Raises:
        ValueError: the file is cut off, or saved under other options or from another network.
    """
    if checkpoint is None or not checkpoint.exists():
        return 0, None
    tensors, values = load_checkpoint(checkpoint)
    if _deciding(values.get("options")) != _deciding(options):
        raise ValueError(
            f"{checkpoint}: saved under other options ({shortened(str(values.get('options')))}); delete it or restore them"
        )
    with of_another(checkpoint, "network"):
        network.load_state_dict(part_of(tensors, "network."))
        if average is not None:
            average.load_state_dict(part_of(tensors, "average."))
        restore_optimizer(optimizer, tensors, values["groups"])
        load_scaler(fabric, values.get("scaler", {}))
        return int(values["epochs"]), Within.read(tensors, values)


@contextmanager
def of_another(checkpoint: Place, what: str) -> Iterator[None]:
    """Content that does not fit where it is to go is of another network, or of another search.

    Raises:
        ValueError: it does not; says which file and how.
    """
    try:
        yield
    except (RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
        if out_of_memory(error):
            raise
        said = shortened(" ".join(f"{type(error).__name__}: {error}".split()), 200)
        raise ValueError(f"{checkpoint}: saved from another {what} ({said}); delete it to start over") from error


def _made_by(path: Place) -> Mapping[str, Any]:
    return path.made_by if isinstance(path, Checkpoint) else {}


def _deciding(options: Any) -> Any:
    """Options without the number of processes that load data, and what is computed again to save memory: they decide nothing.

    Normalization over processes is left out where it is not asked for: files of before it do not name it.
    """
    if not isinstance(options, dict):
        return options
    idle = {"workers", "recompute"} | ({"sync_batchnorm"} if not options.get("sync_batchnorm") else set())
    return {name: _deciding(value) for name, value in options.items() if name not in idle}


def _header(header: Mapping[str, str]) -> tuple[Any, Any, tuple[str, str] | None]:
    """Values, what made them, and the text that was hashed with its hash; files of before have values alone."""
    if "checkpoint" not in header:
        return json.loads(header["values"]), {}, None
    written = json.loads(header["checkpoint"])
    content = json.loads(written["content"])
    return content["values"], content["made_by"], (written["content"], written["sha256"])


def _hash(tensors: Mapping[str, Tensor], text: str) -> str:
    """Of the text, and of names, types, shapes and every bit."""
    whole = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return whole.hexdigest()


def _check_maker(checkpoint: Checkpoint, was: Mapping[str, Any]) -> None:
    """Compare what made a file with what would make it now."""
    if not was:
        checkpoint.remarks.append(
            f"{os.path.basename(checkpoint)} does not say what made it, as of an older version: it was trusted"
        )
        return
    before, now = _flat(was), _flat(json.loads(json.dumps(checkpoint.made_by)))
    differing = [
        f"{name} {shortened(str(before.get(name, 'not stated')), 80)}, now {shortened(str(now.get(name, 'not stated')), 80)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differing:
        more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise ValueError(f"{checkpoint}: made with {'; '.join(differing[:4])}{more}. Restore that, or delete it to start over")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat

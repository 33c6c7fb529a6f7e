"""What a search leaves on disk after every epoch, and how it takes up from there.

Arrays of the method's state, weights and the optimizer's moments are tensors of the file; everything else is JSON in its header,
with what the search was asked (``search_identity``), so that no search resumes from another's file. Options that had been removed
are removed again before the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric

from constrained_nas.ask_tell import SearchMethod
from constrained_nas.problem import SearchProblem
from constrained_nas.search.weights import WeightTraining, forget_parameters
from constrained_nas.training import (
    Checkpoint,
    Within,
    flatten_optimizer,
    load_checkpoint,
    load_same,
    load_scaler,
    of_another,
    part_of,
    restore_optimizer,
    save_checkpoint,
    scaler_state,
)
from graphs import Supernet
from graphs.supernet import remove_options

State = TypeVar("State")


@dataclass(slots=True)
class Journal(Generic[State]):
    """What a search has come to after ``epochs`` epochs, and ``within`` the next; other fields are those of ``SearchRun``."""

    state: State
    epochs: int
    losses: list[float]
    history: list[dict[str, Any]]
    seconds: list[float]
    within: Within | None = None


def search_identity(
    problem: SearchProblem, method: SearchMethod[Any], options: Any, training: WeightTraining | None
) -> dict[str, Any]:
    """What a checkpoint must agree on to be resumed, JSON-ready."""
    values: dict[str, Any] = {field.name: getattr(method, field.name) for field in fields(method)} if is_dataclass(method) else {}
    plain = {name: _plain(value) for name, value in values.items() if _is_plain(value)}
    budgets = [[budget.cost.name, budget.unit, float(budget.limit)] for budget in problem.budgets]
    named = {"method": type(method).__name__, "settings": plain, "space": problem.space.name, "budgets": budgets}
    return {**named, "options": asdict(options), "training": None if training is None else _plain(training)}


def branch_search(source: Path | Checkpoint, target: Path | Checkpoint, identity: dict[str, Any], free: Collection[str]) -> None:
    """Let a search go on from what another one came to: its checkpoint under the identity of the new one.

    Args:
        identity: of the new search (:func:`search_identity`).
        free: names of settings of the method that may differ, having decided nothing so far; budgets may.

    Raises:
        ValueError: the searches differ in anything else, or as ``constrained_nas.training.load_checkpoint``.
    """
    tensors, values = load_checkpoint(source)
    was, now = (_bound(one, free) for one in (values.get("identity", {}), identity))
    if was != now:
        named = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
        raise ValueError(f"{source}: a search of another {', '.join(named)} cannot go on from there")
    save_checkpoint(target, tensors, values | {"identity": identity})


def _bound(identity: dict[str, Any], free: Collection[str]) -> dict[str, Any]:
    settings = {name: value for name, value in identity.get("settings", {}).items() if name not in free}
    return identity | {"settings": settings, "budgets": None}


def drop_options(method: SearchMethod[State], state: State, supernet: Supernet, optimizer: torch.optim.Optimizer | None) -> None:
    """Remove from the super-network, and from the weights' optimizer, what the method has given up."""
    alive = method.alive(state)
    if alive is None:
        return
    removed = remove_options(supernet, alive)
    if optimizer is not None:
        forget_parameters(optimizer, removed)


def save_search(
    journal: Journal[Any],
    identity: dict[str, Any],
    checkpoint: Path | Checkpoint,
    supernet: Supernet,
    optimizer: torch.optim.Optimizer | None,
    fabric: Fabric,
) -> None:
    """Write the file, whole or not at all."""
    entries = {field.name: getattr(journal.state, field.name) for field in fields(journal.state)}
    tensors = {name: torch.as_tensor(value) for name, value in entries.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in entries.items() if not isinstance(value, np.ndarray)}
    values = {"identity": identity, "epochs": journal.epochs, "losses": journal.losses, "history": journal.history}
    values |= {"seconds": journal.seconds, "state": plain, "scaler": scaler_state(fabric)}
    if optimizer is not None:
        learned, values["groups"] = flatten_optimizer(optimizer)
        tensors |= learned | {f"network.{name}": tensor for name, tensor in supernet.state_dict().items()}
    if journal.within is not None:
        tensors |= journal.within.tensors
        values["within"] = journal.within.saved()
    save_checkpoint(checkpoint, tensors, values)


def load_search(
    method: SearchMethod[State],
    state: State,
    identity: dict[str, Any],
    checkpoint: Path | Checkpoint,
    supernet: Supernet,
    optimizer: torch.optim.Optimizer | None,
    fabric: Fabric,
) -> Journal[State]:
    """Take up a search: the super-network shrinks to what was left of it, then the weights and the optimizer's state are loaded.

    Args:
        state: of the same type as the one that was saved.
        optimizer: as made for the whole super-network; None where weights do not learn.

    Raises:
        ValueError: the file is cut off, or of another search.
    """
    tensors, values = load_same(checkpoint, identity)
    learned = ("network.", "optimizer.", "generator.")
    with of_another(checkpoint, "search"):
        entries = values["state"] | {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith(learned)}
        resumed = type(state)(**entries)
        drop_options(method, resumed, supernet, optimizer)
        if optimizer is not None:
            supernet.load_state_dict(part_of(tensors, "network."))
            restore_optimizer(optimizer, tensors, values["groups"])
        load_scaler(fabric, values.get("scaler", {}))
        done, within = int(values["epochs"]), Within.read(tensors, values)
        return Journal(resumed, done, list(values["losses"]), list(values["history"]), list(values["seconds"]), within)


_SCALARS = str | int | float | None


def _is_plain(value: Any) -> bool:
    """Settings: numbers, words, tuples of these and dataclasses of all that. Spaces are named instead."""
    if is_dataclass(value) and not isinstance(value, type):
        return all(_is_flat(getattr(value, field.name)) for field in fields(value))
    return _is_flat(value)


def _is_flat(value: Any) -> bool:
    return all(isinstance(item, _SCALARS) for item in (value if isinstance(value, tuple) else (value,)))


def _plain(value: Any) -> Any:
    """As JSON gives it back: settings as mappings, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return list(value) if isinstance(value, tuple) else value

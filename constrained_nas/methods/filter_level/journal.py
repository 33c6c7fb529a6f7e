"""What a filter-level search has come to, and its checkpoint: whole iterations, and where it stands inside the one under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from constrained_nas.methods.filter_level.interpolation_loss import InterpolationLoss
from constrained_nas.methods.filter_level.method import FilterLevelState
from constrained_nas.methods.filter_level.training import Training
from constrained_nas.training import load_same, part_of, save_checkpoint
from graphs import FilterNetwork


@dataclass(slots=True)
class Inside:
    """A place inside an iteration.

    Attributes:
        losses: of the journal, how many came before the iteration.
        generator: the state of its generator of draws, JSON-ready, where what is not done yet begins.
        weights, training: the seed of the shared weights' training, and how far it has come.
        law: the seed of the law's batches; None before its steps begin.
        steps, objectives: of the law, that are done.
        samples: state dicts of the networks that were trained for the step under way.
    """

    losses: int
    generator: Mapping[str, Any] = field(default_factory=dict)
    weights: int | None = None
    training: Training = field(default_factory=Training)
    law: int | None = None
    steps: int = 0
    objectives: list[float] = field(default_factory=list)
    samples: list[Mapping[str, Tensor]] = field(default_factory=list)


@dataclass(slots=True)
class Journal:
    """What a search has come to after so many iterations, and ``inside`` the next one."""

    state: FilterLevelState
    iterations: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    references: InterpolationLoss | None = None
    reference_losses: list[float] = field(default_factory=list)
    network: FilterNetwork | None = None
    inside: Inside | None = None


def save_journal(path: Path, journal: Journal, identity: Mapping[str, Any]) -> None:
    """Write it whole; ``identity`` is what the search must agree on that takes it up, JSON-ready."""
    state, references, inside = journal.state, journal.references, journal.inside
    tensors = {"parameters": torch.as_tensor(state.parameters), "velocity": torch.as_tensor(state.velocity)}
    if journal.network is not None:
        tensors |= {f"network.{name}": tensor for name, tensor in journal.network.state_dict().items()}
    values = {"identity": dict(identity), "iterations": journal.iterations, "steps": state.steps}
    values |= {"losses": journal.losses, "history": journal.history, "reference_losses": journal.reference_losses}
    values["references"] = None if references is None else asdict(references)
    if inside is not None:
        tensors |= {f"training.{name}": tensor for name, tensor in inside.training.tensors.items()}
        for place, sample in enumerate(inside.samples):
            tensors |= {f"sample{place}.{name}": tensor for name, tensor in sample.items()}
        values["inside"] = {
            **{name: getattr(inside, name) for name in ("losses", "generator", "weights", "law", "steps", "objectives")},
            "epochs": inside.training.epochs,
            "epoch_losses": inside.training.losses,
            "samples": len(inside.samples),
        }
    save_checkpoint(path, tensors, values)


def load_journal(path: Path, identity: Mapping[str, Any], network: FilterNetwork | None) -> Journal:
    """Read it; the shared weights go into ``network``.

    Raises:
        ValueError: the file is damaged, or of another search; says how it differs.
    """
    tensors, values = load_same(path, identity)
    state = FilterLevelState(tensors["parameters"].numpy(), tensors["velocity"].numpy(), int(values["steps"]))
    journal = Journal(state, int(values["iterations"]), values["losses"], values["history"])
    journal.reference_losses = values.get("reference_losses", [])
    if network is not None and (weights := part_of(tensors, "network.")):
        network.load_state_dict(weights)
        journal.network = network
    if (kept := values["references"]) is not None:
        journal.references = InterpolationLoss(tuple(kept["costs"]), tuple(kept["losses"]), float(kept["slope"]))
    if (within := values.get("inside")) is not None:
        training = Training(within.pop("epochs"), within.pop("epoch_losses"), part_of(tensors, "training."))
        samples: list[Mapping[str, Tensor]] = [part_of(tensors, f"sample{place}.") for place in range(within.pop("samples"))]
        journal.inside = Inside(**within, training=training, samples=samples)
    return journal

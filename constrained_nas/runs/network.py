"""The network that a finished run found, read back from its folder: plain modules with the weights it was tested with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from constrained_nas.records import ArchitectureRecord, load_architecture
from constrained_nas.runs.families import Family, plan_of
from constrained_nas.runs.settings import load_settings
from constrained_nas.runs.setup import untrained
from constrained_nas.runs.verification import trusted_run
from constrained_nas.training import load_checkpoint, seeded
from graphs import Architecture
from graphs.files import load_json


@dataclass(frozen=True, slots=True, eq=False)
class RunNetwork:
    """A found network.

    Attributes:
        network: on the CPU, in evaluation mode.
        images: (8, channels, side, side) of its test data, to try it on.
        family, architecture: what it is one of.
        record: its choices and how they stand to the budgets.
        facts: what its images are: class names, channels, resolution, mean and deviation, sizing; see ``data.Preparation``.
    """

    network: nn.Module
    images: Tensor
    family: Family
    architecture: Architecture
    record: ArchitectureRecord
    facts: Mapping[str, Any]


def load_network(folder: Path | str) -> RunNetwork:
    """Build the network of a finished run and give it its weights.

    Args:
        folder: of the run; its data must still be where they were (the embedded digits always are).

    Raises:
        FileNotFoundError: the folder has no finished run, or the data are gone.
        ValueError: a file is damaged, or the files of the folder do not belong together.
    """
    run = Path(folder)
    trusted_run(run)
    prepared = untrained(plan_of(load_settings(run)), run)
    family, path = prepared.family, run / "architecture.json"
    architecture = load_architecture(path, family.decisions)
    tensors, _ = load_checkpoint(run / "network.safetensors")
    network = seeded(partial(family.network, architecture), 0)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{run}: network.safetensors holds other weights than architecture.json asks for") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{run}: network.safetensors holds weights that are not finite")
    images = torch.stack([prepared.data.test[number][0] for number in range(8)])
    record = load_json(path, ArchitectureRecord, "architecture")
    data = prepared.data
    facts = data.preparation.facts(data.image_channels, data.resolution)
    return RunNetwork(network.cpu().eval(), images, family, architecture, record, facts)

"""What decides a trained network or a search, for its checkpoint: data, space, settings, versions, threads, device, precision.

Where things lie, and how many processes load data, decide nothing and are no part of it.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from constrained_nas.data import DataSplits
from constrained_nas.runs.settings import RunSettings, TrainingSettings
from graphs import SearchSpace

# Stated in parts of their own, or without influence.
_ELSEWHERE = {"data", "data_root", "data_cache", "energy_table", "workers", "device", "threads", "recompute"}
_SHARED = set(TrainingSettings.model_fields) - _ELSEWHERE
_SEARCHED = _SHARED | {"budget", "method", "penalty", "soft_end"}
_LENGTH = {"epochs", "samples", "evaluations", "judged_images"}  # of the search


def fingerprint(settings: RunSettings, space: SearchSpace, data: DataSplits, fabric: Fabric, *, shared: bool) -> dict[str, Any]:
    """All that decides what is trained or found, JSON-ready.

    Args:
        settings: none of them open.
        space: what is searched.
        data: what is learned from.
        fabric: where.
        shared: of a super-network that serves every search; else of a search and what follows it.
    """
    names = _SHARED - _LENGTH if shared else _SEARCHED
    if not settings.sync_batchnorm:
        names = names - {"sync_batchnorm"}  # as in files of before there was such an option
    values = settings.model_dump(mode="json", include=names)
    return {
        "data": {"name": data.name, **data.identity},
        "space": {"name": space.name, "decisions": digest([[d.name, list(d.options), d.units] for d in space.decisions])},
        "settings": dict(sorted(values.items())),
        "versions": versions(),
        "threads": settings.threads or torch.get_num_threads(),
        "device": _device(fabric.device),
    }


def versions() -> dict[str, str]:
    """Of the libraries that decide results to the last bit."""
    return {"constrained-nas": version("constrained-nas"), "torch": torch.__version__, "numpy": np.__version__}


def digest(values: Any) -> str:
    """A hash of anything JSON knows, 24 hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]


def _device(device: torch.device) -> str:
    """The kind of GPU, or the instructions that the processor has: torch chooses its kernels by them."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return f"{device.type}, {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type

"""Retraining of found networks from fresh weights, each kept in a file of its own; with a teacher, if one is named.

Optimizer, EMA, drop path, label smoothing and distillation are options of the one training function,
``constrained_nas.training.loop.fine_tune``. Networks train on the examples of both splits of their search, all of them augmented
where any is, and are tested on others. There is no mixup.

Reference: PruNet, Sec. 4, Table 4 (teachers).
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from constrained_nas.data import DataSplits
from constrained_nas.training import TrainingOptions, evaluate, fine_tune, timm_teacher
from graphs.files import Record, save_json
from papers_repro.experiment import kept_record, kept_under, make_fabric
from papers_repro.harness import Reports
from papers_repro.prunet.setup import SetupOptions, load_data, make_space

# What decides neither a search nor a retraining.
_INCIDENTAL = ("share_warm_up", "processes", "workers", "resume", "latency_table", "data_root")
_TEACHING = ("teacher", "teacher_resolution", "teacher_weights", "teacher_temperature")
_RETRAINING = (
    *("retrain_data", "retrain_epochs", "retrain_batch", "retrain_rate"),
    *("retrain_optimizer", "retrain_weight_decay", "test_crop"),
    *("decay", "drop_path", "ema_decay", "label_smoothing", *_TEACHING),
)
# Options that records of earlier versions do not know; such a record is of their defaults.
_ADDED = (
    *("data", "augment", "retrain_data", "hard_epochs", "label_smoothing", *_TEACHING),
    *("split_seed", "recipe", "test_crop", "retrain_optimizer", "retrain_weight_decay", "latency_runtime", "latency_half"),
    "search_images",
)


class Retrained(Record):
    """Test accuracy (share of right answers) of the network retrained from scratch."""

    choices: dict[str, dict[str, str | int] | str]
    accuracy: float
    seconds: float
    settings: dict[str, Any]


def retrained(
    name: str, seed: int, choices: dict[str, dict[str, str | int] | str], setup: SetupOptions, folder: Path, progress: Reports
) -> Retrained:
    """Train a found network from fresh weights, or load what the folder kept of that.

    Args:
        seed: of data and weights.
        choices: block and width, or skip, of every layer.
        setup: data and training; what decides nothing in retraining is not compared with what was kept.
        folder: keeps the record and, after every epoch, a checkpoint.

    Raises:
        ValueError: a kept record is of other options, or the teacher does not suit the data.
    """
    path, settings = folder / "retrained" / f"{name}.json", settings_of(setup, retrain=True)
    kept = kept_record(path, Retrained, "training", choices=choices, settings=settings)
    if kept is not None:
        return kept
    data, fabric, began = load_data(setup, seed, retrain=True), make_fabric(setup), time.perf_counter()
    space = make_space(setup, data.classes, data.image_channels)
    options = TrainingOptions(
        setup.retrain_epochs,
        setup.retrain_batch,
        setup.retrain_rate,
        weight_decay=setup.retrain_weight_decay,
        label_smoothing=setup.label_smoothing,
        mixup=0.0,
        ema_decay=setup.ema_decay,
        workers=setup.workers,
        seed=seed,
        drop_path=setup.drop_path,
        decay=setup.decay,
        optimizer=setup.retrain_optimizer,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = space.network(space.architecture(choices))
    checkpoint = folder / "checkpoints" / f"{name}_retrained.safetensors"
    told = progress.callback(f"{name} retrained")
    teacher, kept_at = teacher_of(setup, data), kept_under(checkpoint, data)
    fine_tune(network, all_training(data), options, fabric, teacher, setup.teacher_temperature, kept_at, told)
    accuracy = evaluate(network, data.test, fabric)
    found = Retrained(choices=choices, accuracy=accuracy, seconds=time.perf_counter() - began, settings=settings)
    save_json(found, path)
    return found


def all_training(data: DataSplits) -> Dataset[Any]:
    """The examples of both splits, augmented as those that train weights: the two are parts of one folder, read in two ways."""
    if isinstance(data.weights, Subset):
        whole: Dataset[Any] = data.weights.dataset
        return whole
    return ConcatDataset([data.weights, data.architecture])


def teacher_of(setup: SetupOptions, data: DataSplits) -> nn.Module | None:
    """The network that retraining distils from, if any.

    Raises:
        ValueError, FileNotFoundError: as :func:`constrained_nas.training.teachers.timm_teacher`.
    """
    if not setup.teacher:
        return None
    return timm_teacher(setup.teacher, data.classes, data.image_channels, setup.teacher_resolution, setup.teacher_weights)


def settings_of(setup: SetupOptions, retrain: bool) -> dict[str, Any]:
    """What decides a search, or a retraining, JSON-ready."""
    left_out = {*_INCIDENTAL, *(() if retrain else _RETRAINING)}
    left_out |= {name for name in _ADDED if getattr(setup, name) == getattr(SetupOptions(), name)}
    every = asdict(setup) | {"data": Path(setup.data), "retrain_data": Path(setup.retrain_data)}
    values: dict[str, Any] = plain({name: value for name, value in every.items() if name not in left_out})
    return values


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as they come back from a file, and of paths the last part: records name no folders."""
    named = {name: value.name if isinstance(value, Path) else value for name, value in values.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}

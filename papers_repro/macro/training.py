"""A super-network of NAS-Bench-Macro's space trained by us, and what it says of networks whose true accuracy is known.

Training is the library's: the heaviest network first, then a path drawn uniformly for every example. A network inherits the
weights; its statistics of batch normalization are those of training, where paths of all kinds meet, or its own, recalibrated.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric import Fabric

from constrained_nas.data import DataSplits
from constrained_nas.training import TrainingOptions, seeded, train_supernet
from graphs import MacroSpace, Supernet
from graphs.files import read_json, save_json
from graphs.supernet import compile_supernet
from papers_repro.experiment import DrawingOptions, LoopOptions, kept_under, load_images
from papers_repro.harness import Reports


@dataclass(frozen=True)
class TrainingChoices(LoopOptions, DrawingOptions):
    """Data, and how the super-network is trained."""

    width: float = 0.5
    """Channels of the super-network, as a share of the benchmark's."""
    architecture_share: float = 0.2
    """Share of the training images kept for ranking and search."""
    warm_up_epochs: int = 1
    """Of the heaviest network."""
    path_epochs: int = 12
    """With a path drawn uniformly for every example."""
    batch_size: int = 128
    """Of training."""
    learning_rate: float = 0.1
    """At the start of either phase; a cosine."""
    weight_decay: float = 1e-4
    """Of all weights."""
    label_smoothing: float = 0.1
    """Of the labels."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The space, its images, the super-network, and the seconds of its training."""

    space: MacroSpace
    data: DataSplits
    supernet: Supernet
    seconds: float


def trained(options: TrainingChoices, seed: int, fabric: Fabric, folder: Path, progress: Reports, resume: bool = True) -> Trained:
    """Train, or go on with what ``folder`` has of it.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range, or a checkpoint of other options.
    """
    data = load_images(options, options.architecture_share, seed, recipe="crop_flip")
    space = MacroSpace(data.classes, data.resolution, data.image_channels, options.width)
    supernet = seeded(lambda: compile_supernet(space.dag(), space.space, rows="route"), seed)
    checkpoint = kept_under(folder / f"supernet_seed{seed}.safetensors", data)
    if not resume:
        for old in folder.glob(f"supernet_seed{seed}.*"):
            old.unlink()
    clock = folder / f"supernet_seed{seed}.json"
    before = float(read_json(clock, "time of training")["seconds"]) if clock.exists() else 0.0
    began = time.perf_counter()
    try:
        train_supernet(
            supernet,
            supernet.gates(space.heaviest()),
            data.weights,
            schedule(options, options.warm_up_epochs, seed),
            schedule(options, options.path_epochs, seed),
            fabric,
            checkpoint,
            progress.callback(f"seed {seed}"),
        )
    finally:
        seconds = before + time.perf_counter() - began
        save_json({"seconds": seconds}, clock)
    return Trained(space, data, supernet, seconds)


def schedule(options: TrainingChoices, epochs: int, seed: int) -> TrainingOptions:
    """Of so many epochs."""
    return TrainingOptions(
        epochs=epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        mixup=0.0,
        workers=options.workers,
        seed=seed,
    )

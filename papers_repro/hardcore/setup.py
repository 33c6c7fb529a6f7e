"""What every HardCoRe-NAS experiment begins with: data, a trained super-network, and a latency table of this machine.

The super-network is trained as in Sec. 3.3: the heaviest network first, then uniformly drawn paths, one for every example, or one
a batch.

At laptop scale the data are scikit-learn's digits, made harder (see ``constrained_nas.data.digits``), in the space
``hardcore_small``; at paper scale an ImageNet folder, the paper's space and its schedule.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from constrained_nas.data import DataSplits
from constrained_nas.training import Checkpoint, TrainingOptions, heaviest_file, load_weights, path_a_batch, train_supernet
from graphs import MBConvSpace, Supernet, hardcore_imagenet, hardcore_small
from graphs.costs import LatencyTable, QuadraticCost
from papers_repro.experiment import fresh_supernet, kept_under, load_images
from papers_repro.hardcore.latencies import BlockLatencies, measure_latencies
from papers_repro.hardcore.options import SetupOptions
from papers_repro.harness import Reports


@dataclass(frozen=True, slots=True, eq=False)
class TrainedSupernet:
    """What a search needs.

    Attributes:
        space, data: the space, and the splits of the data.
        supernet: trained, in evaluation mode, on the fabric's device.
        timed: latencies, shared by all seeds; None where they were not asked for.
        teacher: the heaviest network as it was before paths were sampled (Appendix G: w-bar*).
        training_seconds: of this run; less than the whole where training was resumed.
        resumed: whether a checkpoint was found.
    """

    space: MBConvSpace
    data: DataSplits
    supernet: Supernet
    timed: BlockLatencies | None
    teacher: nn.Module
    training_seconds: float
    resumed: bool

    @property
    def latencies(self) -> BlockLatencies:
        """Those that were asked for."""
        if self.timed is None:
            raise ValueError("this super-network was prepared without latencies")
        return self.timed

    @property
    def table(self) -> LatencyTable:
        """The calibrated latency table."""
        return self.latencies.table

    @property
    def cost(self) -> QuadraticCost:
        """The latency model in ms."""
        return self.latencies.cost


def load_data(options: SetupOptions, seed: int) -> DataSplits:
    """The data, as :func:`load_images` reads them."""
    return load_images(options, options.architecture_share, seed)


def make_space(options: SetupOptions, classes: int, image_channels: int) -> MBConvSpace:
    """The search space of the options for such data."""
    if options.space == "imagenet":
        return hardcore_imagenet(options.variant, classes, options.resolution, image_channels)
    return hardcore_small(classes, options.resolution, image_channels)


def prepare(
    options: SetupOptions,
    seed: int,
    fabric: Fabric,
    progress: Reports,
    folder: Path | None = None,
    latencies: BlockLatencies | None = None,
    timed: bool = True,
) -> TrainedSupernet:
    """Load the data, train the super-network and, unless ``latencies`` are given or it is not to be ``timed``, measure them.

    Args:
        seed: of data, weights and training.
        folder: keeps checkpoints and the table; with ``options.resume`` what is there is used, else it is started over.
        latencies: those of another seed's run of the same options.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range, or a checkpoint of other options.
    """
    data = load_data(options, seed)
    space = make_space(options, data.classes, data.image_channels)
    if latencies is None and timed:
        latencies = measure_latencies(space, options, seed, progress, folder)
    supernet = fresh_supernet(space, seed)
    checkpoint = folder / "checkpoints" / f"supernet_seed{seed}.safetensors" if folder is not None else None
    before = list(checkpoint.parent.glob(f"supernet_seed{seed}.*safetensors")) if checkpoint is not None else []
    if not options.resume:
        for old in before:
            old.unlink()
    kept = None if checkpoint is None else kept_under(checkpoint, data)
    heaviest, draw = supernet.gates(space.heaviest()), None
    if options.path_per == "batch":
        draw = path_a_batch(supernet, heaviest)
        kept = kept and replace(kept, made_by={**kept.made_by, "path per": "batch"})
    began = time.perf_counter()
    train_supernet(
        supernet,
        heaviest,
        data.weights,
        training_options(options, options.warm_up_epochs, options.learning_rate, seed),
        replace(
            training_options(options, options.multi_path_epochs, options.multi_path_rate, seed),
            batch_size=options.multi_path_batch or options.batch_size,
        ),
        fabric,
        kept,
        progress.callback(f"seed {seed}, a path per {options.path_per}"),
        draw,
    )
    seconds = time.perf_counter() - began
    teacher = _teacher(space, supernet, kept)
    return TrainedSupernet(space, data, supernet, latencies, teacher, seconds, options.resume and bool(before))


def _teacher(space: MBConvSpace, supernet: Supernet, checkpoint: Checkpoint | None) -> nn.Module:
    """Of the file that training left; without one, of what the paths left."""
    if checkpoint is not None and heaviest_file(checkpoint).exists():
        supernet = fresh_supernet(space, 0)
        load_weights(supernet, heaviest_file(checkpoint))
    return supernet.extract(space.heaviest()).to(memory_format=torch.channels_last)


def training_options(options: SetupOptions, epochs: int, rate: float, seed: int) -> TrainingOptions:
    """Of so many epochs that begin at this rate, and in all else as the options say."""
    return TrainingOptions(
        epochs=epochs,
        batch_size=options.batch_size,
        learning_rate=rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        mixup=options.mixup,
        ema_decay=options.ema_decay,
        workers=options.workers,
        seed=seed,
    )

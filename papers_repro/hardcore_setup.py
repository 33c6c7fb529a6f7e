"""What every HardCoRe-NAS experiment begins with: data, a trained super-network, and a latency table of this machine.

The table holds the median time of every block in every configuration, timed in context (Sec. 3.1), calibrated on networks measured
whole; it does not depend on weights, so one serves all seeds. The super-network is trained as in Sec. 3.3: the heaviest network
first, then a uniformly drawn path for every example.

At laptop scale the data are scikit-learn's digits, made harder (see ``constrained_nas.data``), in the space ``hardcore_small``; at
paper scale an ImageNet folder, the paper's space and its schedule.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric

from constrained_nas.data import DataSplits, cifar, digits, image_folder
from constrained_nas.timing import TableFit, Timer, calibrate, device_name, measure_table
from constrained_nas.training import TrainingOptions, train_supernet
from graphs import Architecture, MBConvSpace, Supernet, hardcore_imagenet, hardcore_small
from graphs.costs import LatencyTable, QuadraticCost, latency_cost, load_latency_table, save_latency_table
from graphs.costs.conditions import TableConditions, require_conditions
from papers_repro.progress import Reports
from papers_repro.rows import Scale

__all__ = [
    "Latencies",
    "Prepared",
    "SetupOptions",
    "heaviest_architecture",
    "load_data",
    "make_fabric",
    "make_space",
    "measure_latencies",
    "prepare",
    "setup_preset",
]


@dataclass(frozen=True, slots=True)
class SetupOptions:
    """Data, space, training of the super-network and measuring of its latencies; the values shown are those of the scale."""

    data: str = "digits"
    """digits (embedded), cifar10 or cifar100 (binary version, under --data-root), or an image folder with train/ and val/."""
    data_root: Path = Path("data")
    """Where the CIFAR folders lie."""
    resolution: int = 32
    """Side of the images in pixels."""
    training_digits: int = 800
    """How many of the 1797 digits may be trained and searched on; the others are test digits."""
    draws: int = 4
    """Drawings of each training digit."""
    test_draws: int = 2
    """Drawings of each test digit."""
    architecture_share: float = 0.2
    """Share of the training examples kept for the search."""
    augment: bool = True
    """Crops, flips and AutoAugment on CIFAR and image folders (digits are drawn anew instead)."""
    space: Literal["small", "imagenet"] = "small"
    """small: three stages for CPUs. imagenet: the paper's five."""
    variant: Literal["paper", "release"] = "release"
    """Of the imagenet space: activations as printed, or as in the authors' release."""
    warm_up_epochs: int = 4
    """Epochs of the heaviest network, before paths are sampled."""
    multi_path_epochs: int = 10
    """Epochs with a path drawn uniformly for every example."""
    batch_size: int = 32
    """Of training."""
    learning_rate: float = 0.1
    """Of SGD at the start of the heaviest network's cosine schedule."""
    multi_path_rate: float = 0.06
    """Of SGD at the start of the sampled paths' cosine schedule."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 1e-4
    """L2 penalty of SGD."""
    label_smoothing: float = 0.1
    """Share of a label's weight spread over all classes."""
    mixup: float = 0.0
    """Parameter of mixup's Beta distribution; 0 turns it off."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights; 0 turns it off."""
    workers: int = 0
    """Processes that load data."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where networks are trained."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Of training."""
    latency_device: str = "cpu"
    """Where latencies are measured: cpu, cuda, cuda:1 ..."""
    latency_batch: int = 32
    """Images in a timed pass."""
    latency_threads: int = 1
    """Torch threads of a timed pass."""
    rounds: int = 60
    """Timed passes of every uniform network, in random order."""
    calibration_networks: int = 24
    """Random networks measured whole: half calibrate the table, half check it."""
    calibration_rounds: int = 20
    """Timed passes of each of them."""
    latency_table: Path | None = None
    """A table measured before (JSON), instead of measuring."""
    resume: bool = False
    """Continue from the checkpoints and the latency table in the output folder instead of starting over."""


def setup_preset(scale: Scale) -> SetupOptions:
    """The options of a scale: smoke ends in seconds, laptop in a minute on two cores, paper is the paper's protocol."""
    if scale == "smoke":
        return SetupOptions(
            training_digits=200,
            draws=2,
            test_draws=1,
            resolution=16,
            warm_up_epochs=1,
            multi_path_epochs=1,
            latency_batch=8,
            rounds=5,
            calibration_networks=6,
            calibration_rounds=3,
        )
    if scale == "laptop":
        return SetupOptions()
    return SetupOptions(
        data="imagenet",
        resolution=224,
        space="imagenet",
        warm_up_epochs=250,
        multi_path_epochs=100,
        batch_size=256,
        multi_path_rate=0.1,
        mixup=0.2,
        ema_decay=0.9999,
        workers=8,
        device="auto",
        latency_batch=1,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """The latencies of a space on this machine.

    Attributes:
        table, cost: the calibrated table, and the cost model it makes, in ms.
        timer: how it was measured, to measure whole networks alike.
        raw_fit: of the uncalibrated table on the calibration networks; None for a table that was loaded.
        fit: of the calibrated table on networks that took no part in the calibration; None likewise.
        cheapest_ms, dearest_ms: the least and the greatest latency of any network, by the table.
        seconds: what measuring took.
    """

    table: LatencyTable
    cost: QuadraticCost
    timer: Timer
    raw_fit: TableFit | None
    fit: TableFit | None
    cheapest_ms: float
    dearest_ms: float
    seconds: float

    def budgets(self, shares: Sequence[float]) -> list[float]:
        """Budgets in ms at these shares of the way from the cheapest to the dearest network."""
        return [self.cheapest_ms + share * (self.dearest_ms - self.cheapest_ms) for share in shares]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What a search needs.

    Attributes:
        space, data: the space, and the splits of the data.
        supernet: trained, in evaluation mode, on the fabric's device.
        latencies: shared by all seeds.
        training_seconds: of this run; less than the whole where training was resumed.
        resumed: whether a checkpoint was found.
    """

    space: MBConvSpace
    data: DataSplits
    supernet: Supernet
    latencies: Latencies
    training_seconds: float
    resumed: bool

    @property
    def table(self) -> LatencyTable:
        """The calibrated latency table."""
        return self.latencies.table

    @property
    def cost(self) -> QuadraticCost:
        """The latency model in ms."""
        return self.latencies.cost


def make_fabric(options: SetupOptions) -> Fabric:
    """One device at the options' precision."""
    return Fabric(accelerator=options.device, devices=1, precision=options.precision)


def load_data(options: SetupOptions, seed: int) -> DataSplits:
    """The data; ``seed`` decides the splits and, for digits, every drawing.

    Raises:
        FileNotFoundError: CIFAR or the folder is not where the options say.
        ValueError: an option out of range.
    """
    if options.data == "digits":
        return digits(
            options.resolution, options.training_digits, options.draws, options.test_draws, options.architecture_share, seed
        )
    if options.data in ("cifar10", "cifar100"):
        classes = int(options.data.removeprefix("cifar"))
        return cifar(options.data_root, classes, options.resolution, options.architecture_share, options.augment, seed)
    if not Path(options.data).is_dir():
        raise FileNotFoundError(
            f"--data: no folder {options.data!r}; expected digits, cifar10, cifar100 or an image folder with train/ and val/"
        )
    return image_folder(options.data, options.resolution, options.architecture_share, options.augment, seed)


def make_space(options: SetupOptions, classes: int, image_channels: int) -> MBConvSpace:
    """The search space of the options for such data."""
    if options.space == "imagenet":
        return hardcore_imagenet(options.variant, classes, options.resolution, image_channels)
    return hardcore_small(classes, options.resolution, image_channels)


def heaviest_architecture(space: MBConvSpace) -> Architecture:
    """The last option of every decision: greatest expansion and kernel, squeeze-and-excitation, full depth."""
    return space.space.choose({decision.name: decision.options[-1] for decision in space.space.decisions})


def measure_latencies(
    space: MBConvSpace, options: SetupOptions, seed: int, progress: Reports, folder: Path | None = None
) -> Latencies:
    """Measure, calibrate and (where there is a folder) save the table; or load the one that the options name or resume from.

    Args:
        space: whose blocks to time; weights do not matter.
        options: how.
        seed: of the order of the rounds and of the calibration networks.
        progress: shows bars.
        folder: of the script's results; the table goes to ``latency_table.json`` in it.

    Raises:
        ValueError: a table of another space, damaged, or measured on another device or with another batch or threads than the
            options ask for.
    """
    began = time.perf_counter()
    timer = Timer(batch=options.latency_batch, threads=options.latency_threads, device=options.latency_device)
    saved = folder / "latency_table.json" if folder is not None else None
    source = options.latency_table or (saved if options.resume and saved is not None and saved.exists() else None)
    raw_fit = fit = None
    if source is not None:
        table = load_latency_table(source)
        # Found networks are timed as the timer says: estimates of another batch would stand beside what they do not estimate.
        require_conditions(table, TableConditions(device_name(timer.device), timer.batch, "ms", timer.threads), str(source))
    else:
        generator = np.random.default_rng(seed)
        supernet = _fresh_supernet(space, seed)
        report = progress.callback("latency table")
        table = measure_table(space, supernet, timer, options.rounds, generator, report)
        table, raw_fit, fit = calibrate(
            table, space, supernet, timer, options.calibration_networks, options.calibration_rounds, generator, report
        )
        if saved is not None:
            save_latency_table(table, saved)
    cost = latency_cost(table, space)
    times = space.staged.per_configuration(cost.quadratic).reshape(len(space.block_names), -1)
    shallow = [space.settings.depths[0] > block % space.settings.blocks_per_stage for block in range(len(times))]
    deep = [space.settings.depths[-1] > block % space.settings.blocks_per_stage for block in range(len(times))]
    cheapest, dearest = times.min(axis=1)[shallow].sum(), times.max(axis=1)[deep].sum()
    fixed, seconds = table.fixed, time.perf_counter() - began
    return Latencies(table, cost, timer, raw_fit, fit, float(fixed + cheapest), float(fixed + dearest), seconds)


def prepare(
    options: SetupOptions,
    seed: int,
    fabric: Fabric,
    progress: Reports,
    folder: Path | None = None,
    latencies: Latencies | None = None,
) -> Prepared:
    """Load the data, train the super-network and, unless ``latencies`` are given, measure them.

    Args:
        options: see :class:`SetupOptions`.
        seed: of data, weights and training.
        fabric: where to train; see :func:`make_fabric`.
        progress: shows bars.
        folder: keeps checkpoints and the table; with ``options.resume`` what is there is used, else it is started over.
        latencies: those of another seed's run of the same options.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range, or a checkpoint of other options.
    """
    data = load_data(options, seed)
    space = make_space(options, data.classes, data.image_channels)
    if latencies is None:
        latencies = measure_latencies(space, options, seed, progress, folder)
    supernet = _fresh_supernet(space, seed)
    checkpoint = folder / "checkpoints" / f"supernet_seed{seed}.safetensors" if folder is not None else None
    before = list(checkpoint.parent.glob(f"supernet_seed{seed}.*safetensors")) if checkpoint is not None else []
    if not options.resume:
        for old in before:
            old.unlink()
    began = time.perf_counter()
    train_supernet(
        supernet,
        supernet.gates(heaviest_architecture(space)),
        data.weights,
        _training(options, options.warm_up_epochs, options.learning_rate, seed),
        _training(options, options.multi_path_epochs, options.multi_path_rate, seed),
        fabric,
        checkpoint,
        progress.callback(f"seed {seed}"),
    )
    return Prepared(space, data, supernet, latencies, time.perf_counter() - began, options.resume and bool(before))


def _training(options: SetupOptions, epochs: int, rate: float, seed: int) -> TrainingOptions:
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


def _fresh_supernet(space: MBConvSpace, seed: int) -> Supernet:
    """Weights drawn from ``seed``; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return space.supernet()

"""What every PruNet experiment begins with: data, a search space, a latency table of this machine, and the constants of a search.

At laptop scale the data are scikit-learn's digits drawn at 16x16 among clutter, the space is ``gpunet_small`` (a residual
convolution and eight Prunode layers, 1.5e13 networks), and a search has 10 epochs instead of 200. As few epochs have few
architecture steps, batches are small and a third of the training digits (not a fifth) learns the architecture: 96 steps after the
warm-up, in which Algorithm 1 finds four of five optima where there is no noise (``prunet_prunode``). The paper's scale is its
ImageNet or Imagewoof space on a folder of images; it searches on a tenth of the classes, so give ``--data`` a folder of those and
``--retrain-data`` all of them. The gpu scale is CIFAR-10 in a folder of images, on one split for all seeds; the cpu scale is the
same at 16x16, in a space of six layers, and searches on a part of the images.

Searches of one seed share their warm-up: until it ends nothing in it depends on alpha, thresholds, phi, lambda or budgets.

Latencies are measured with the processor's clock on a CPU, so that other work on the machine counts only where it slows ours down;
the table says so.

Reference: PruNet, Sec. 3 and 4, Tables 1 and 5.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from constrained_nas.data import DataSplits
from constrained_nas.latency import Clock, Timer, calibrate_width_table, device_name, measure_width_table
from graphs.costs import TableConditions, WidthLatencyTable, load_width_latency_table, require_conditions, width_latency_cost
from graphs.files import save_json
from graphs.spaces import GPUNetSpace
from papers_repro.experiment import (
    DrawingOptions,
    Latencies,
    LoopOptions,
    MeasuringOptions,
    ParallelOptions,
    Recipe,
    load_images,
    part_of,
)
from papers_repro.harness import Reports, Scale, ScriptOptions
from papers_repro.prunet.published import TEACHERS
from papers_repro.prunet.spaces import SpaceName, named_space

WidthLatencies = Latencies[WidthLatencyTable]


@dataclass(frozen=True)
class SetupOptions(MeasuringOptions, LoopOptions, ParallelOptions, DrawingOptions):
    """Data, space, latencies, searches and retraining; the values shown are those of the scale."""

    search_images: int = 0
    """At most so many training images from disk that a search sees; 0: all."""
    retrain_data: str = ""
    """Image folder to retrain on; the same as --data if empty."""
    training_digits: int = 720
    draws: int = 1
    architecture_share: float = 1 / 3
    """Share of the training examples that the architecture learns from (the paper: 0.2)."""
    split_seed: int | None = None
    """Of the splits and drawings of all seeds, which then differ in weights and order alone; None: every seed has its own."""
    recipe: Recipe = "auto_augment"
    """How images from disk are augmented; rand_augment: the paper's m9-mstd0.5."""
    test_crop: float = 0.875
    """Share of the shorter side that tests see, of images from disk above 64 pixels."""
    space: SpaceName = "small"
    """small: nine layers for CPUs. cifar: seven for images of 32 pixels. narrow: six like those, of a quarter of the channels.
    imagenet, imagewoof: the paper's."""
    epochs: int = 10
    """Of a search."""
    warm_up: int = 2
    """Epochs of it in which all blocks stay equal."""
    share_warm_up: bool = True
    """One warm-up for all searches of a seed, as in the paper's Table 6."""
    batch_size: int = 20
    """Of a search."""
    weights_rate: float = 0.005
    """RMSprop's rate, constant (the paper: 0.002, over 200 epochs)."""
    logit_rate: float = 0.1
    """Adam's rate for the architecture, falling by a cosine."""
    temperature: float = 1.0
    """Of the Gumbel-softmax, constant."""
    clamp: float | None = None
    """Greatest logit that Algorithm 1 may use; none in the paper."""
    hard_epochs: bool = False
    """Searches under a budget also project every epoch's selection, and keep what it picks from being pruned."""
    retrain_epochs: int = 50
    """Of the found network, from fresh weights."""
    retrain_batch: int = 32
    """Of retraining."""
    retrain_rate: float = 0.1
    """The first learning rate of retraining."""
    retrain_optimizer: Literal["sgd", "rmsprop"] = "sgd"
    """Of retraining."""
    retrain_weight_decay: float = 1e-4
    """L2 penalty in retraining."""
    decay: float = 0.0
    """Factor of the retraining rate every 2.4 epochs; 0: a cosine."""
    drop_path: float = 0.0
    """Rate at which the last block is left out in retraining."""
    ema_decay: float = 0.0
    """Of the moving average of the weights in retraining; 0: none."""
    label_smoothing: float = 0.1
    """In retraining."""
    teacher: str = ""
    """A network of timm to distil from in retraining, e.g. efficientnet_b3; empty: none. For timm's own weights --retrain-data must
    have their classes."""
    teacher_resolution: int | None = None
    """Side of the images that the teacher sees, in pixels (the paper: 300 for efficientnet_b3 and students at 288); None: what timm
    trained it at."""
    teacher_weights: Path | None = None
    """Its weights (safetensors), of a network trained on the same data; None: timm's own, which are downloaded."""
    teacher_temperature: float = 1.0
    """Of the distillation."""
    clock: Clock = "processor"
    """processor: the time that the thread ran (CPU only). wall: the time that went by."""
    latency_runtime: Literal["torch", "cuda-graphs", "onnxruntime"] = "torch"
    """torch: as it is. cuda-graphs: recorded once and replayed (GPU). onnxruntime: through TensorRT where it has that."""
    latency_half: bool = False
    """Latencies in float16."""
    widths_per_block: int | None = 4
    """Widths of a block that are measured, the others being interpolated; None measures all."""

    @property
    def title(self) -> str:
        """The data in words, for pictures: no folders."""
        return f"{Path(self.data).name}, {self.resolution}x{self.resolution}"

    def __post_init__(self) -> None:
        positive = {
            "--batch-size": self.batch_size,
            "--retrain-epochs": self.retrain_epochs,
            "--retrain-batch": self.retrain_batch,
            "--latency-batch": self.latency_batch,
            "--teacher-temperature": self.teacher_temperature,
        }
        if self.search_images < 0:
            raise ValueError(f"--search-images: expected 0 or more, got {self.search_images}")
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        if not 0 <= self.warm_up < self.epochs:
            raise ValueError(f"--warm-up: expected 0 or more and less than the {self.epochs} --epochs, got {self.warm_up}")
        shares = {"--drop-path": self.drop_path, "--ema-decay": self.ema_decay, "--label-smoothing": self.label_smoothing}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name}: expected 0 or more and less than 1, got {share}")
        if self.widths_per_block is not None and self.widths_per_block < 2:
            raise ValueError(f"--widths-per-block: expected 2 or more, or None for all, got {self.widths_per_block}")
        if not self.teacher and (self.teacher_weights is not None or self.teacher_resolution is not None):
            raise ValueError("--teacher-weights and --teacher-resolution are of a teacher: say which with --teacher")


@dataclass(frozen=True)
class PruNetOptions(ScriptOptions):
    """What every script that searches is asked."""

    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data, space, searches, retraining and measuring."""


def setup_preset(scale: Scale) -> SetupOptions:
    """The options of a scale: smoke ends in seconds, laptop in minutes on two cores, cpu in about an hour of one, gpu in tens of
    minutes on a GPU, paper is the paper's protocol on ImageNet (Sec. 4): space of Table 1 at 288 pixels, 200 epochs of search of
    which 70 warm up, batch 256 in mixed precision, RMSprop at 0.002; 450 epochs of retraining, batch 1536, rate 0.06 x 0.97 every
    2.4 epochs, weight decay 1e-5, drop path 0.2, average of the weights 0.9999, no mixup, augmentation m9-mstd0.5, the crop of
    Table 4; latencies at batch 1, in float16, on a GPU.

    The rate and its decay are those with which EfficientNets are trained by RMSprop: so is retraining; ``--retrain-optimizer sgd``
    is the other reading.
    """
    if scale == "smoke":
        return SetupOptions(
            training_digits=180,
            test_draws=1,
            epochs=4,
            warm_up=1,
            batch_size=20,
            retrain_epochs=1,
            latency_batch=16,
            rounds=5,
            calibration_networks=8,
            calibration_rounds=5,
            widths_per_block=3,
            processes=1,
        )
    if scale == "laptop":
        return SetupOptions()
    if scale == "cpu":
        return SetupOptions(
            data="cifar10-folder",
            search_images=5000,
            split_seed=0,
            recipe="crop_flip",
            space="narrow",
            epochs=6,
            batch_size=32,
            retrain_epochs=2,
            retrain_batch=128,
            retrain_weight_decay=5e-4,
            calibration_networks=16,
            widths_per_block=3,
        )
    if scale == "gpu":
        return SetupOptions(
            data="cifar10-folder",
            resolution=32,
            architecture_share=0.2,
            split_seed=0,
            recipe="crop_flip",
            space="cifar",
            epochs=40,
            warm_up=10,
            batch_size=128,
            weights_rate=0.002,
            retrain_epochs=30,
            retrain_batch=256,
            retrain_weight_decay=5e-4,
            device="auto",
            precision="bf16-mixed",
            processes=4,
            latency_device="cuda",
            latency_batch=128,
            clock="wall",
        )
    return SetupOptions(
        data="imagenet-tenth",
        retrain_data="imagenet",
        resolution=288,
        architecture_share=0.2,
        recipe="rand_augment",
        test_crop=TEACHERS[288][2],
        space="imagenet",
        epochs=200,
        warm_up=70,
        batch_size=256,
        weights_rate=0.002,
        retrain_epochs=450,
        retrain_batch=1536,
        retrain_rate=0.06,
        retrain_optimizer="rmsprop",
        retrain_weight_decay=1e-5,
        decay=0.97,
        drop_path=0.2,
        ema_decay=0.9999,
        workers=8,
        device="auto",
        precision="16-mixed",
        latency_device="cuda",
        latency_runtime="cuda-graphs",
        latency_half=True,
        latency_batch=1,
        clock="wall",
        widths_per_block=8,
    )


def imagewoof_preset() -> SetupOptions:
    """The paper's protocol on Imagewoof (Table 5, Fig. 5, Appendix B.1): its space, 224 pixels, all classes in the search too.

    What the paper does not state for Imagewoof (epochs of the search, its batch, its optimizers) is that of ImageNet.
    """
    return replace(
        setup_preset("paper"),
        data="imagewoof",
        retrain_data="",
        resolution=224,
        space="imagewoof",
        retrain_batch=32,
        retrain_rate=0.2,
        retrain_optimizer="sgd",
        decay=0.0,
        test_crop=0.875,
    )


def load_data(options: SetupOptions, seed: int, retrain: bool = False) -> DataSplits:
    """The data to search on, or to retrain on, as :func:`load_images` reads them."""
    split = seed if options.split_seed is None else options.split_seed
    folder = options.retrain_data if retrain else ""
    data = load_images(options, options.architecture_share, split, folder=folder, recipe=options.recipe, crop=options.test_crop)
    return data if retrain or not options.search_images else part_of(data, options.search_images)


def make_space(options: SetupOptions, classes: int, image_channels: int) -> GPUNetSpace:
    """The search space of the options for such data."""
    return named_space(options.space, classes, options.resolution, image_channels)


def measured_space(options: SetupOptions, seed: int, folder: Path, progress: Reports) -> tuple[GPUNetSpace, WidthLatencies]:
    """The search space for the data, and its latencies: see :func:`measure_latencies`."""
    data = load_data(options, seed)
    space = make_space(options, data.classes, data.image_channels)
    return space, measure_latencies(space, options, seed, progress, folder)


def measure_latencies(space: GPUNetSpace, options: SetupOptions, seed: int, progress: Reports, folder: Path) -> WidthLatencies:
    """Measure, calibrate and save the table; or load the one that the options name or resume from.

    Args:
        seed: of the order of the rounds and of the networks.
        folder: of the script's results; the table goes to ``latency_table.json`` in it.

    Raises:
        ValueError: a table of another space, damaged, or measured otherwise than the options ask for.
    """
    began = time.perf_counter()
    timer = Timer(batch=options.latency_batch, device=options.latency_device, clock=options.clock, half=options.latency_half)
    saved = folder / "latency_table.json"
    source = options.latency_table or (saved if options.resume and saved.exists() else None)
    raw_fit = fit = None
    if source is not None:
        table = load_width_latency_table(source)
        _check_conditions(table, timer, source)
    else:
        generator, report = np.random.default_rng(seed), progress.callback("latency table")
        widths, runtime = options.widths_per_block, options.latency_runtime
        table = measure_width_table(space, timer, options.rounds, generator, widths, report, runtime)
        table, raw_fit, fit = calibrate_width_table(
            table,
            space,
            timer,
            options.calibration_networks,
            options.calibration_rounds,
            generator,
            progress.callback("timing networks"),
        )
        table = table.model_copy(update={"runtime": f"{table.runtime}, {timer.clock} clock"})
        save_json(table, saved)
    cost = width_latency_cost(table, space)
    q = cost.quadratic
    parts = [q.linear[space.space.slice(name)] for name in space.layers]
    least, most = (q.offset + sum(float(end(part)) for part in parts) for end in (np.min, np.max))
    return Latencies(table, cost, timer, raw_fit, fit, least, most, time.perf_counter() - began)


def _check_conditions(table: WidthLatencyTable, timer: Timer, source: Path) -> None:
    """Found networks are timed as ``timer`` says: a table of another batch would put estimates beside what they do not estimate."""
    require_conditions(table, TableConditions(device_name(timer.device), timer.batch, "ms", timer.threads), str(source))
    if (table.dtype == "float16") != timer.half:
        raise ValueError(f"{source}: measured in {table.dtype}, unlike what --latency-half asks for: measure it again")
    clock = table.runtime.split(", ")[-1]
    if clock != f"{timer.clock} clock":
        raise ValueError(f"{source}: measured with the {clock} where the {timer.clock} clock is asked for: measure it again")

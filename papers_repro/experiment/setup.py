"""What experiments begin with on whatever paper: the options of data, training and measuring, and the data themselves.

The options of a paper extend these. Where a paper has a default of its own it names the field again; the text stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from lightning_fabric import Fabric
from torch.utils.data import Subset

from constrained_nas.data import DataSplits, cifar, digit_scenes, digits, load_splits, part_labels
from constrained_nas.latency import TableFit, Timer
from constrained_nas.training import Checkpoint, seeded
from graphs import MBConvSpace, Supernet
from graphs.costs import LatencyTable, QuadraticCost, WidthLatencyTable
from graphs.files import Record
from graphs.spaces import GPUNetSpace
from papers_repro.harness import available_cores, versions

Recipe = Literal["auto_augment", "rand_augment", "crop_flip"]
Table = TypeVar("Table", LatencyTable, WidthLatencyTable)
Kept = TypeVar("Kept", bound=Record)


@dataclass(frozen=True)
class ImageOptions:
    """Images and their splits."""

    data: str = "digits"
    """digits (embedded), cifar10 or cifar100 (binary version, under --data-root), or an image folder with train/ and val/."""
    data_root: Path = Path("data")
    """Where the folders of CIFAR lie."""
    resolution: int = 16
    """Side of the images in pixels."""
    training_digits: int = 800
    """How many of the 1797 digits may be trained and selected on; the others are test digits."""


@dataclass(frozen=True)
class DrawingOptions(ImageOptions):
    """Images, and how often each is drawn or changed."""

    draws: int = 2
    """Drawings of each training digit."""
    test_draws: int = 2
    """Drawings of each test digit."""
    clutter: float = 1.0
    """Strength of the clutter around digits; 0 leaves it out."""
    augment: bool = True
    """Crops, flips and the like of images from disk (digits are drawn anew instead)."""


@dataclass(frozen=True)
class DeviceOptions:
    """Where networks are trained, and whether from the beginning."""

    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where networks are trained."""
    resume: bool = True
    """Go on from what the output folder already has (tables, checkpoints, finished runs); --no-resume starts over. Where options
    differ from before, --resume itself has to be given."""


@dataclass(frozen=True)
class ParallelOptions(DeviceOptions):
    """The same, with several pieces of work side by side."""

    processes: int = 0
    """Pieces of work at a time, a process each; 0: one a core, or one on a GPU."""

    def side_by_side(self, pieces: int) -> int:
        """How many of so many pieces of work run at a time."""
        return min(self.processes or (available_cores() if self.device == "cpu" else 1), max(1, pieces))


@dataclass(frozen=True)
class LoopOptions:
    """How a loop over batches runs."""

    workers: int = 0
    """Processes that load data, for each training."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Of training."""


@dataclass(frozen=True)
class MeasuringOptions:
    """How latencies are measured."""

    latency_device: str = "cpu"
    """Where latencies are measured: cpu, cuda, cuda:1 ..."""
    latency_batch: int = 32
    """Images in a timed pass."""
    rounds: int = 30
    """Timed passes of every network that holds blocks to measure."""
    calibration_networks: int = 32
    """Random networks measured whole: half calibrate the table, half check it."""
    calibration_rounds: int = 30
    """Timed passes of each of them."""
    latency_table: Path | None = None
    """A table measured before (JSON), instead of measuring."""


def load_images(
    options: ImageOptions, share: float, seed: int, *, folder: str = "", recipe: Recipe = "auto_augment", crop: float = 7 / 8
) -> DataSplits:
    """The data; ``seed`` decides the splits (but those of Part Labels) and, for digits, every drawing. Digits and CIFAR
    are kept, since every training of a process asks for them.

    Args:
        options: see :class:`ImageOptions`; ``data`` may also be digit-scenes or part-labels.
        share: of the training examples that is split off, for the architecture or for validation.
        seed: of the splits.
        folder: of images, instead of the one that the options name.
        recipe: of augmentation on CIFAR and image folders.
        crop: share of the shorter side that tests see, of image folders above 64 pixels.

    Raises:
        FileNotFoundError: the files are not where the options say.
        ValueError: an option out of range, or damaged files.
    """
    name, side = options.data, options.resolution
    draws, test_draws, augment, clutter = 1, 1, True, 1.0
    if isinstance(options, DrawingOptions):
        draws, test_draws, augment, clutter = options.draws, options.test_draws, options.augment, options.clutter
    if name in ("digits", "digit-scenes"):
        return _drawn(name, side, options.training_digits, draws, test_draws, share, seed, clutter)
    if name == "part-labels":
        return part_labels(options.data_root, side, augment)
    if name in ("cifar10", "cifar100"):
        return _cifar(options.data_root, int(name.removeprefix("cifar")), side, share, augment, seed, recipe)
    return load_splits(folder or name, side, share, seed, augment=augment, recipe=recipe, crop=crop)


def part_of(data: DataSplits, images: int) -> DataSplits:
    """At most so many of the training images that are in splits of an order at random, of both by their sizes; all test images."""
    splits = data.weights, data.architecture
    sizes = [len(split) for split in splits]  # type: ignore[arg-type]
    wanted = [min(size, round(images * size / sum(sizes))) for size in sizes]
    weights, architecture = (Subset(split, range(many)) for split, many in zip(splits, wanted, strict=True))
    return replace(data, weights=weights, architecture=architecture, identity={**data.identity, "images": wanted})


def kept_under(path: Path, data: DataSplits) -> Checkpoint:
    """Where work on ``data`` is kept while it is under way; it is not taken up on other data, or with other versions of torch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made_by = {name: number for name, number in versions().items() if name in ("constrained-nas", "numpy", "torch")}
    return Checkpoint(path, {"data": {"name": data.name, **data.identity}, "versions": made_by})


@lru_cache(maxsize=3)
def _drawn(name: str, side: int, training: int, draws: int, test_draws: int, share: float, seed: int, clutter: float) -> DataSplits:
    if name == "digits":
        return digits(side, training, draws, test_draws, share, seed, clutter)
    return digit_scenes(side, training, draws, test_draws, share, seed)


_cifar = lru_cache(maxsize=2)(cifar)


def make_fabric(options: DeviceOptions) -> Fabric:
    """One device, at the options' precision where they have one."""
    return Fabric(accelerator=options.device, devices=1, precision=getattr(options, "precision", "32-true"))


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """On a CPU runs share the cores, and threads of such small networks only wait for one another: torch gets one inside."""
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def kept_record(path: Path, kind: type[Kept], what: str, **decides: object) -> Kept | None:
    """The record that an earlier run left at ``path``, if any.

    Raises:
        ValueError: one of its fields is not as ``decides`` says: it is of a ``what`` of other options.
    """
    if not path.exists():
        return None
    record = kind.model_validate_json(path.read_text(encoding="utf-8"))
    if any(getattr(record, name) != value for name, value in decides.items()):
        raise ValueError(f"{path}: kept from a {what} of other options; start over with --no-resume, or restore the options")
    return record


def fresh_supernet(space: MBConvSpace | GPUNetSpace, seed: int) -> Supernet:
    """Weights drawn from ``seed``."""
    return seeded(space.supernet, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Latencies(Generic[Table]):
    """The latencies of a space on this machine.

    Attributes:
        table, cost: the calibrated table, and the cost model it makes, in ms.
        timer: how it was measured, to measure whole networks alike.
        raw_fit: of the uncalibrated table on the calibration networks; None for a table that was loaded.
        fit: of the calibrated table on networks that took no part in the calibration; None likewise.
        cheapest_ms, slowest_ms: the least and the greatest latency of any network, by the table.
        seconds: what measuring took.
    """

    table: Table
    cost: QuadraticCost
    timer: Timer
    raw_fit: TableFit | None
    fit: TableFit | None
    cheapest_ms: float
    slowest_ms: float
    seconds: float

    def budgets(self, shares: Sequence[float]) -> list[float]:
        """Budgets in ms at these shares of the way from the cheapest to the costliest network."""
        return [self.cheapest_ms + share * (self.slowest_ms - self.cheapest_ms) for share in shares]

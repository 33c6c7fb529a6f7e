"""What every search from the command line begins with: data, space, and (for methods with frozen weights) a trained super-network.

One :class:`Prepared` serves any number of searches: budgets, tables and methods do not enter it. The super-network of a HardCoRe
space is trained as in the paper, the heaviest network first, then a path drawn uniformly for every example; the other methods
train theirs while they search.
"""

from __future__ import annotations

import time
from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric

from constrained_nas.data import DataSplits, cifar, digits, image_folder
from constrained_nas.latency import Progress
from constrained_nas.runs.settings import Plan, RunSettings, plan_of, resolved
from constrained_nas.runs.spaces import RunSpace, make_space
from constrained_nas.training import TrainingOptions, train_supernet
from graphs import Architecture, MBConvSpace, Supernet


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What searches share.

    Attributes:
        settings: with nothing left open.
        space: of one of the families.
        data: the splits.
        fabric: where networks are trained.
        supernet: of a HardCoRe space, trained once :func:`train_prepared` has run; None in other families.
        folder: of the run; its checkpoints lie in ``checkpoints``.
    """

    settings: RunSettings
    space: RunSpace
    data: DataSplits
    fabric: Fabric
    supernet: Supernet | None
    folder: Path

    @property
    def plan(self) -> Plan:
        """The settings' numbers, none of them open."""
        return plan_of(self.settings)

    def checkpoint(self, name: str) -> Path:
        """Where something of that name is kept while it is under way."""
        return self.folder / "checkpoints" / f"{name}.safetensors"


def prepare(settings: RunSettings, folder: Path, progress: Progress | None = None) -> Prepared:
    """Load the data, build the space and train its super-network.

    Args:
        settings: budgets, table and method do not matter.
        folder: keeps checkpoints; what is there is gone on with.
        progress: told (steps done, steps in all, what) after each step.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range, or a checkpoint of other options.
    """
    prepared = untrained(settings, folder)
    train_prepared(prepared, progress)
    return prepared


def untrained(settings: RunSettings, folder: Path) -> Prepared:
    """:func:`prepare` without the training, for checks that should come first.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range.
    """
    chosen, plan = resolved(settings), plan_of(settings)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU on this machine; use cpu or auto")
    data = load_splits(chosen)
    _require_batch(chosen, data)
    space = make_space(chosen.space, data.classes, data.image_channels, plan.resolution)
    fabric = Fabric(accelerator=chosen.device, devices=1, precision=chosen.precision)
    supernet = None
    if isinstance(space, MBConvSpace):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(chosen.seed)
            supernet = space.supernet()
    return Prepared(chosen, space, data, fabric, supernet, folder)


def _require_batch(settings: RunSettings, data: DataSplits) -> None:
    """Nothing, if there is a whole batch of every split that the method learns from."""
    plan = plan_of(settings)
    learns = plan.method in ("hardcore", "soft-penalty", "prunet")  # the architecture, from a split of its own
    splits = (data.weights, data.architecture) if learns else (data.weights,)
    shortest = min(len(cast(Sized, split)) for split in splits)
    if plan.batch_size > shortest:
        raise ValueError(
            f"--batch-size {plan.batch_size}: a split has {shortest} examples: choose a smaller batch, or use more data"
        )


def train_prepared(prepared: Prepared, progress: Progress | None = None) -> float:
    """Train the super-network in place where the family has one, or go on with it; the seconds that took.

    Raises:
        ValueError: a checkpoint of other options.
    """
    settings, plan, space, supernet = prepared.settings, prepared.plan, prepared.space, prepared.supernet
    if supernet is None or not isinstance(space, MBConvSpace):
        return 0.0

    def options(epochs: int, rate: float) -> TrainingOptions:
        return TrainingOptions(epochs, plan.batch_size, rate, mixup=0.0, workers=settings.workers, seed=settings.seed)

    began = time.perf_counter()
    train_supernet(
        supernet,
        supernet.gates(heaviest_of(space)),
        prepared.data.weights,
        options(plan.warm_up, plan.learning_rate),
        options(plan.train_epochs, 0.6 * plan.learning_rate),  # the paths begin lower: they take up trained weights
        prepared.fabric,
        prepared.checkpoint("supernet"),
        progress,
    )
    return time.perf_counter() - began


def load_splits(settings: RunSettings) -> DataSplits:
    """The data; ``seed`` decides the splits and, for digits, every drawing.

    Raises:
        FileNotFoundError: CIFAR or the folder is not where the settings say.
        ValueError: an option out of range.
    """
    side, share, seed = plan_of(settings).resolution, settings.architecture_share, settings.seed
    if settings.data == "digits":
        return digits(side, settings.training_digits, settings.draws, min(settings.draws, 2), share, seed)
    if settings.data in ("cifar10", "cifar100"):
        classes = int(settings.data.removeprefix("cifar"))
        return cifar(settings.data_root, classes, side, share, settings.augment, seed)
    if not Path(settings.data).is_dir():
        raise FileNotFoundError(
            f"--data: no folder {settings.data!r}; expected digits, cifar10, cifar100 or an image folder with train/ and val/"
        )
    return image_folder(settings.data, side, share, settings.augment, seed)


def heaviest_of(space: MBConvSpace) -> Architecture:
    """The last option of every decision: greatest expansion and kernel, squeeze-and-excitation, full depth."""
    return space.space.choose({decision.name: decision.options[-1] for decision in space.space.decisions})

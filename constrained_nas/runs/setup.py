"""What every search from the command line begins with: data, space, and (where searches share one) a trained super-network.

One :class:`Prepared` serves any number of searches: budgets, tables and methods do not enter it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from constrained_nas.data import DataSplits, folder_facts, load_splits
from constrained_nas.latency import Progress
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families import Costs, Family, Found, Plan, Prepared, Saved
from constrained_nas.runs.settings import ENERGY_FILE, RunSettings
from constrained_nas.training import Parts, make_fabric, seeded


def prepare(plan: Plan, folder: Path, progress: Progress | None = None) -> Prepared:
    """Load the data, build the space and train its super-network.

    Args:
        plan: budgets, table and method do not matter.
        folder: keeps checkpoints; training resumes from them if they exist.
        progress: told (steps done, steps in all, what) after each step.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range, or a checkpoint of other options.
    """
    prepared = untrained(plan, folder)
    train_prepared(prepared, progress)
    return prepared


def untrained(
    plan: Plan, folder: Path, family: Family | Callable[[DataSplits], Family] | None = None, data: DataSplits | None = None
) -> Prepared:
    """:func:`prepare` without the training, for checks that should come first.

    Args:
        family: the space, or what builds it for the data; by default it is built by its name.
        data: the splits; by default those that the settings name.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: an option out of range.
    """
    settings = plan.settings
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU on this machine; use cpu or auto")
    facts = folder_facts(settings.data)
    data = data or load_splits(
        settings.data,
        plan.resolution,
        settings.architecture_share,
        settings.seed,
        root=settings.data_root,
        cache=settings.data_cache,
        augment=settings.augment,
        training_digits=settings.training_digits,
        draws=settings.draws,
        test_draws=min(settings.draws, 2),
        recipe="crop_flip" if facts is not None and facts.few else "auto_augment",
    )
    _check_batch(plan, data)
    fabric = make_fabric(settings.device, settings.precision)
    Parts(settings.parts or 1, fabric, settings.sync_batchnorm).check(plan.batch_size)
    if family is None:
        built: Family = plan.family.build(settings.space, data.classes, data.image_channels, plan.resolution)
    else:
        built = family if not callable(family) else family(data)
    built = with_energy(built, settings, folder)
    prepared = Prepared(plan, built, data, fabric, seeded(built.supernet, settings.seed), folder)
    if facts is not None and facts.side and abs(facts.side - plan.resolution) > plan.resolution / 8:
        prepared.remarks.append(f"images of about {facts.side} pixels are resized to {plan.resolution} (--resolution)")
    return prepared


def with_energy(family: Family, settings: RunSettings, folder: Path) -> Family:
    """The family with the energy of the run's table among its costs, if it has one: the folder's copy, else the file given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no table of energies of this space.
    """
    if settings.energy_table is None:
        return family
    kept = folder / ENERGY_FILE
    return family.with_energy(kept if kept.exists() else settings.energy_table)


def train_prepared(prepared: Prepared, progress: Progress | None = None) -> float:
    """Train the super-network in place where searches share one, or resume its training; the seconds that took.

    Raises:
        ValueError: a checkpoint of other options.
    """
    began = time.perf_counter()
    prepared.family.train(prepared, prepared.saved("supernet", progress))
    return time.perf_counter() - began


def search_problem(prepared: Prepared, problem: SearchProblem, costs: Costs, saved: Saved, method: str | None = None) -> Found:
    """One search. A shared super-network (``prepared.supernet``, trained) stays as it is; others are trained on the way.

    Args:
        costs: see ``families.costs_of``; PruNet charges ``latency_ms``.
        saved: of this problem and method alone; the search resumes from it if it exists.
        method: another one than the plan's.

    Raises:
        ValueError: a method that does not search the space, or a checkpoint of another search.
    """
    began = time.perf_counter()
    found = prepared.family.search(prepared, problem, costs, method or prepared.plan.method, saved)
    return replace(found, seconds=time.perf_counter() - began)


def _check_batch(plan: Plan, data: DataSplits) -> None:
    """Check that there is a whole batch of every split that the method learns from."""
    learns = plan.method in ("hardcore", "surrogate", "soft-penalty", "prunet")  # the architecture, from a split of its own
    splits = (data.weights, data.architecture) if learns else (data.weights,)
    shortest = min(len(cast(Sized, split)) for split in splits)
    if plan.batch_size > shortest:
        raise ValueError(
            f"--batch-size {plan.batch_size}: a split has {shortest} examples: choose a smaller batch, or use more data"
        )

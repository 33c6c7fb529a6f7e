"""The end of a run: the found network with weights of its own, its test accuracy, networks to hold it against, and the record.

A network of a HardCoRe space takes the super-network's weights and is fine-tuned towards labels and the heaviest network's answers
("2 for 1", HardCoRe-NAS, Appendix G); one of switched modules is fine-tuned from the weights that the search ended with; PruNet's
and filter-level networks are trained from fresh weights. References go the same way.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from constrained_nas.ask_tell import SearchResult
from constrained_nas.data import loader
from constrained_nas.latency import Progress, device_name
from constrained_nas.methods.filter_level import (
    Configuration,
    FilterWeights,
    fresh_network,
    recalibrate_configuration,
    train_configurations,
)
from constrained_nas.problem import SearchProblem
from constrained_nas.records import budget_records, save_architecture
from constrained_nas.runs.costs import cheapest_network, largest_network
from constrained_nas.runs.methods import Found
from constrained_nas.runs.record import MeasuredBudget, RunRecord, certificate_record, network_record, save_run
from constrained_nas.runs.setup import Prepared, heaviest_of
from constrained_nas.runs.spaces import FilterFamily
from constrained_nas.training import TrainingOptions, evaluate, fine_tune, recalibrate, save_checkpoint
from graphs import Architecture, DagSpace, GPUNetSpace, MBConvSpace, Supernet
from graphs.costs import CostModel


def finish_run(
    prepared: Prepared,
    problem: SearchProblem,
    costs: Mapping[str, CostModel],
    found: Found,
    result: SearchResult,
    measured: MeasuredBudget | None,
    seconds: Mapping[str, float],
    remarks: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> RunRecord:
    """Train and test the found network and its references, and write ``network.safetensors``, ``architecture.json``, ``run.json``.

    Args:
        prepared: its folder gets the files.
        problem: what was asked.
        costs: all that the space knows; each enters the record.
        found: of the search.
        result: its answer, or what the device made of it.
        measured: on the device, if anything was.
        seconds: of the parts before.
        remarks: for the reader.
        progress: told after each step.
    """
    plan, settings = prepared.plan, prepared.settings
    began = time.perf_counter()
    network, accuracy = trained_network(prepared, found.supernet, result.architecture, "network", progress)
    save_checkpoint(prepared.folder / "network.safetensors", network.state_dict(), {})
    timed = {} if measured is None else {measured.cost: (measured.median, measured.fits)}
    save_architecture(problem, result, plan.method, prepared.folder / "architecture.json", timed)
    spent = {**seconds, "fine-tuning and test": time.perf_counter() - began}
    began = time.perf_counter()
    named = {model.name: model for model in costs.values()}
    told = partial(network_record, problem, named)
    ours = told("found", result.architecture, accuracy)
    references = []
    first = problem.budgets[0].cost
    ends = {"cheapest": cheapest_network(prepared.space, first), "largest": largest_network(prepared.space, first)}
    for name, architecture in ends.items():
        tested: float | None = None
        if architecture == result.architecture:
            tested = accuracy
        # A super-network that was trained while it was searched favours what was found: its other networks tell little.
        elif settings.test_references and not isinstance(prepared.space, DagSpace):
            tested = trained_network(prepared, found.supernet, architecture, f"reference_{name}", progress)[1]
        references.append(told(name, architecture, tested))
    spent["references"] = time.perf_counter() - began
    said = (*remarks, *((result.remark,) if result.remark else ()))
    record = RunRecord(
        space=problem.space.name,
        method=plan.method,
        data=prepared.data.name,
        seed=settings.seed,
        settings=settings.model_dump(mode="json"),
        budgets=budget_records(problem, result.architecture, timed),
        measured=measured,
        found=ours,
        references=tuple(references),
        units={model.name: model.unit for model in named.values()},
        certificate=certificate_record(problem, result),
        history=tuple(found.history),
        seconds=spent,
        remarks=said,
        versions={"constrained-nas": version("constrained-nas"), "torch": torch.__version__, "numpy": np.__version__},
        machine=f"{device_name('cpu')}, {platform.system()}, Python {platform.python_version()}",
    )
    save_run(record, prepared.folder)
    return record


def trained_network(
    prepared: Prepared, supernet: Supernet | None, architecture: Architecture, name: str, progress: Progress | None = None
) -> tuple[nn.Module, float]:
    """The bare network with weights of its own, and its test accuracy in %.

    Args:
        prepared: space, data, settings.
        supernet: with trained weights; None in families whose networks are trained from scratch.
        architecture: which.
        name: of its checkpoint; what is there is gone on with.
        progress: told after each step.
    """
    space, plan, settings = prepared.space, prepared.plan, prepared.settings
    everything: Dataset[Any] = ConcatDataset([prepared.data.weights, prepared.data.architecture])
    if isinstance(space, FilterFamily):
        network: nn.Module = _filters_trained(prepared, space, architecture, name, progress)
        return network, 100 * evaluate(network, prepared.data.test, prepared.fabric)
    options = TrainingOptions(
        plan.fine_tune_epochs, plan.batch_size, plan.fine_tune_rate, mixup=0.0, workers=settings.workers, seed=settings.seed
    )
    teacher, data = None, prepared.data.weights
    if isinstance(space, GPUNetSpace):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = space.network(architecture)
        data = everything
    elif supernet is None:
        raise ValueError(f"networks of {settings.space} take the super-network's weights, and there is none")
    else:
        network = _inherited(prepared, supernet, architecture)
        if isinstance(space, MBConvSpace) and options.epochs:
            teacher = _inherited(prepared, supernet, heaviest_of(space))

    def told(done: int, total: int, what: str) -> None:
        if progress:
            progress(done, total, f"training: {name.replace('_', ' ')}")

    fine_tune(network, data, options, prepared.fabric, teacher, checkpoint=prepared.checkpoint(name), progress=told)
    network.to(prepared.fabric.device).eval()
    return network, 100 * evaluate(network, prepared.data.test, prepared.fabric)


def _inherited(prepared: Prepared, supernet: Supernet, architecture: Architecture) -> nn.Module:
    """The bare network with the super-network's weights, and statistics of its own."""
    network = supernet.extract(architecture)
    network.to(prepared.fabric.device).to(memory_format=torch.channels_last)

    def batches() -> Iterator[Callable[[], Tensor]]:
        shuffle = torch.Generator().manual_seed(prepared.settings.seed)
        shuffled = loader(prepared.data.weights, prepared.plan.batch_size, shuffle, True)
        for _, (images, _) in zip(range(10), shuffled, strict=False):
            yield partial(network, prepared.fabric.to_device(images))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(prepared.settings.seed)  # augmentation draws from torch's global state
        recalibrate(network, batches)
    return network


def _filters_trained(
    prepared: Prepared, space: FilterFamily, architecture: Architecture, name: str, progress: Progress | None
) -> nn.Module:
    """Trained in one go from fresh weights: the same network again if it is interrupted."""
    plan, seed = prepared.plan, prepared.settings.seed
    weights = FilterWeights(plan.batch_size, plan.fine_tune_rate)
    configuration = Configuration(space.space.layer_counts(architecture))
    data = prepared.data.weights
    network = fresh_network(lambda: space.build(()), seed, data, weights, prepared.fabric)

    def told(epochs: int) -> bool:
        if progress:
            progress(epochs, plan.fine_tune_epochs, f"training: {name.replace('_', ' ')}")
        return False

    one = [configuration]
    train_configurations(network, lambda _: one, data, plan.fine_tune_epochs, weights, prepared.fabric, seed, after_epoch=told)
    recalibrate_configuration(network, configuration, data, plan.batch_size, prepared.fabric, seed)
    return network.extract().to(prepared.fabric.device).eval()

"""The end of a run: the found network with weights of its own, its test accuracy, networks to hold it against, and the record."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from functools import partial

from torch import nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import Progress, device_name
from constrained_nas.problem import SearchProblem
from constrained_nas.records import budget_records, save_architecture
from constrained_nas.runs.families import Found, Prepared
from constrained_nas.runs.fingerprint import versions
from constrained_nas.runs.nearby import nearby_networks
from constrained_nas.runs.objective import OBJECTIVE_FILE, save_objective
from constrained_nas.runs.record import (
    ImageShape,
    MeasuredBudget,
    NetworkRecord,
    RunRecord,
    certificate_record,
    network_record,
    save_run,
)
from constrained_nas.runs.soundness import chance_remarks, training_remarks
from constrained_nas.runs.verification import hash_files
from constrained_nas.training import evaluate, save_checkpoint
from graphs import Architecture
from graphs.costs import CostModel


def finish_run(
    prepared: Prepared,
    problem: SearchProblem,
    costs: Mapping[str, CostModel],
    found: Found,
    result: SearchResult,
    measured: MeasuredBudget | None,
    seconds: Mapping[str, float],
    progress: Progress | None = None,
) -> RunRecord:
    """Train and test the found network and its references, and write ``network.safetensors``, ``architecture.json``, ``run.json``.

    Args:
        prepared: its folder gets the files.
        costs: all that the space knows; each enters the record.
        result: its answer, or what the device made of it.
        measured: on the device, if anything was.
        seconds: of the parts before.
        progress: told after each step.
    """
    plan, settings = prepared.plan, prepared.settings
    began = time.perf_counter()
    network, accuracy = trained_network(prepared, found.supernet, result.architecture, "network", progress)
    prepared.remarks.extend(training_remarks(network, prepared.data, prepared.fabric))
    prepared.remarks.extend(chance_remarks(accuracy, prepared.data))
    save_checkpoint(prepared.folder / "network.safetensors", network.state_dict(), {})
    if result.objective is not None and result.certificate is not None:
        save_objective(result.objective, prepared.folder / OBJECTIVE_FILE)
    timed = {} if measured is None else {measured.cost: (measured.median, measured.fits)}
    save_architecture(problem, result, plan.method, prepared.folder / "architecture.json", timed)
    spent = {**seconds, "fine-tuning and test": time.perf_counter() - began}
    began = time.perf_counter()
    named = {model.name: model for model in costs.values()}
    told = partial(network_record, problem, named)
    ours = told("found", result.architecture, accuracy)
    references = list[NetworkRecord]()
    for name, architecture in _others(prepared, problem).items():
        tested: float | None = None
        known = [other for other in (ours, *references) if other.choices == problem.space.describe(architecture)]
        if known:
            tested = known[0].accuracy
        elif settings.test_references:
            supernet = found.supernet if prepared.family.tests_references else None
            tested = trained_network(prepared, supernet, architecture, f"reference_{name}", progress)[1]
        references.append(told(name, architecture, tested))
    spent["references"] = time.perf_counter() - began
    fitted = None if measured is None else next((one for one in reversed(measured.attempts) if one.fits), None)
    limits = {} if measured is None or fitted is None else {measured.cost: fitted.limit}
    said = (*dict.fromkeys(prepared.remarks), *((result.remark,) if result.remark else ()))
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
        nearby=nearby_networks(problem, found, result, limits),
        history=tuple(found.history),
        seconds=spent,
        remarks=said,
        versions=versions(),
        machine=f"{device_name('cpu')}, {platform.system()}, Python {platform.python_version()}",
        images=ImageShape(classes=prepared.data.classes, channels=prepared.data.image_channels),
        files=hash_files(prepared.folder),
    )
    save_run(record, prepared.folder)
    return record


def _others(prepared: Prepared, problem: SearchProblem) -> dict[str, Architecture]:
    """Networks to hold the found one against, by name."""
    family, first = prepared.family, problem.budgets[0].cost
    others = {"cheapest": family.cheapest(first), "largest": family.largest(first)}
    more = {"random": family.random(problem, prepared.settings.seed), "uniform": family.uniform(problem)}
    return others | {name: architecture for name, architecture in more.items() if architecture is not None}


def trained_network(
    prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, name: str, progress: Progress | None = None
) -> tuple[nn.Module, float]:
    """The bare network with weights of its own, and its test accuracy in %; see :meth:`Family.trained`."""
    saved = prepared.saved(name, progress, network=prepared.family.decisions.describe(architecture))
    network = prepared.family.trained(prepared, supernet, architecture, saved)
    return network, 100 * evaluate(network, prepared.data.test, prepared.fabric, workers=prepared.settings.workers)

"""The end of a run: the found network with weights of its own, its test accuracy, networks to hold it against, and the record."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from functools import partial

from torch import nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import Progress, device_name
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import budget_records, save_architecture
from constrained_nas.runs.families import Found, Prepared
from constrained_nas.runs.fingerprint import versions
from constrained_nas.runs.objective import OBJECTIVE_FILE, save_objective
from constrained_nas.runs.record import (
    ImageShape,
    MeasuredBudget,
    NearbyRecord,
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
from solvers import InfeasibleError

_SHARES = (0.7, 0.8, 0.9, 0.95, 1.02, 1.05, 1.1, 1.2, 1.4)  # of a limit that nearby networks are projected onto


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


def nearby_networks(
    problem: SearchProblem, found: Found, result: SearchResult, limits: Mapping[str, float]
) -> tuple[NearbyRecord, ...]:
    """The same scores projected onto other limits, budget by budget: what a budget buys, and which options change next.

    That takes milliseconds and no training. Limits that nothing meets are left out, and all where limits decide nothing.

    Args:
        result: the answer that changes are told from.
        limits: that it was projected onto, by cost; those of the problem where there are none.
    """
    if not found.tightens or result.certificate is None:
        return ()
    records, own = [], problem.space.describe(result.architecture)
    at = [Budget(budget.cost, limits.get(budget.cost.name, budget.limit), budget.unit) for budget in problem.budgets]
    for place, budget in enumerate(at):
        for share in _SHARES:
            limit = share * budget.limit
            other = SearchProblem(problem.space, (*at[:place], Budget(budget.cost, limit, budget.unit), *at[place + 1 :]))
            try:
                there = found.again(other)
            except InfeasibleError:
                continue
            told = problem.space.describe(there.architecture)
            changes = {name: option for name, option in told.items() if option != own[name]}
            score = None if there.certificate is None else there.certificate.primal
            records.append(NearbyRecord(cost=budget.cost.name, limit=limit, costs=there.costs, score=score, changes=changes))
    return tuple(records)


def trained_network(
    prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, name: str, progress: Progress | None = None
) -> tuple[nn.Module, float]:
    """The bare network with weights of its own, and its test accuracy in %; see :meth:`Family.trained`."""
    saved = prepared.saved(name, progress, network=prepared.family.decisions.describe(architecture))
    network = prepared.family.trained(prepared, supernet, architecture, saved)
    return network, 100 * evaluate(network, prepared.data.test, prepared.fabric, workers=prepared.settings.workers)

"""One cell of a sweep: search or project, test the network, write the record. Runs in any process that sees the sweep's folder.

A process loads data and super-network once and keeps them for its next cells. Searches leave their checkpoint in the folder, so a
cell that only projects loads the finished search instead of repeating it; tests are remembered by network.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from torch import nn

from constrained_nas.latency import Progress
from constrained_nas.problem import SearchProblem
from constrained_nas.records import architecture_of, budget_records
from constrained_nas.runs import (
    Costs,
    Found,
    Prepared,
    RunSettings,
    against_itself,
    certificate_record,
    check_network,
    contradictions,
    costs_of,
    load_objective,
    make_problem,
    network_record,
    plan_of,
    prepare,
    save_objective,
    search_problem,
    trained_network,
)
from constrained_nas.sweeps.grid import Cell, key_of, settings_key
from constrained_nas.sweeps.record import CellRecord
from constrained_nas.training import training_threads
from graphs import Architecture
from graphs.files import SealedRecord, load_json, save_json


class TestedNetwork(SealedRecord):
    """The test accuracy of a network, in %."""

    accuracy: float = Field(ge=0, le=100)


@dataclass(frozen=True, slots=True)
class SweepTask:
    """A cell and where it belongs: the sweep's folder, its settings as JSON, a hash of the super-network and of what made it,
    whether to test, and the number of threads."""

    folder: str
    settings: str
    weights: str
    cell: Cell
    test: bool
    threads: int

    @property
    def key(self) -> str:
        """Of the cell."""
        return key_of(self.cell, self.weights, settings_key(RunSettings.model_validate_json(self.settings)), self.test)


def checked_cell(task: SweepTask, prepared: Prepared) -> CellRecord:
    """The record of a cell that is there, which must be of that cell, of a network of the space, and right about its costs.

    Raises:
        ValueError: it is damaged, or says what is not so.
    """
    path, cell = cell_path(Path(task.folder), task.key), task.cell
    record = load_json(path, CellRecord, "sweep cell")
    told = record.key, record.method, record.table, tuple(record.limits.items()), record.how
    if told != (task.key, cell.method, cell.table, cell.limits, cell.how) or record.network is None:
        raise ValueError(f"{path}: of another cell than its name says; delete it to have it computed again")
    costs = costs_under(prepared, cell.table)
    problem = make_problem(prepared.family, dict(cell.limits), costs)
    try:
        architecture = architecture_of(record.network.choices, prepared.family.decisions)
        check_network(record.network, architecture, {model.name: model for model in costs.values()})
        for wrong in _wrong(record, architecture, problem, prepared, task):
            raise ValueError(wrong)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it to have it computed again") from error
    if record.budgets != budget_records(problem, architecture) or (record.network.accuracy is None) == task.test:
        raise ValueError(f"{path}: says other of its budgets than is so; delete it to have it computed again")
    return record


def _wrong(
    record: CellRecord, architecture: Architecture, problem: SearchProblem, prepared: Prepared, task: SweepTask
) -> Iterator[str]:
    """What the certificate says and is not so."""
    yield from against_itself(record.certificate)
    kept, space = _objective(prepared, task), prepared.family.decisions
    if record.certificate is not None and kept.exists():
        objective = load_objective(kept, space)
        limits = {budget.cost: budget.limit for budget in problem.budgets}
        yield from contradictions(record.certificate, objective, space, architecture, {}, limits, prepared.family.free)


def _objective(prepared: Prepared, task: SweepTask) -> Path:
    """What all cells of a search project onto their budgets."""
    return prepared.folder / "objectives" / f"{_search_key(prepared, task)}.safetensors"


def cell_path(folder: Path, key: str) -> Path:
    """Where a cell's record lies."""
    return folder / "cells" / f"{key}.json"


def table_path(folder: Path, content: str) -> Path:
    """Where the sweep's copy of a table lies."""
    return folder / "tables" / f"{content}.json"


def compute_cell(task: SweepTask, prepared: Prepared | None = None) -> None:
    """Compute a cell and write its record; one that is there already stays. ``prepared`` spares the loading in this process."""
    folder, cell = Path(task.folder), task.cell
    path = cell_path(folder, task.key)
    if path.exists():
        return
    prepared = prepared or _prepared(task.folder, task.settings)
    began = time.perf_counter()
    costs = costs_under(prepared, cell.table)
    problem = make_problem(prepared.family, dict(cell.limits), costs)
    with training_threads(task.threads):
        found = _searched(prepared, task, costs)
        result = found.result if cell.how == "searched" else found.again(problem)
        accuracy = tested_accuracy(prepared, _weights(prepared, task), result.architecture, found.supernet) if task.test else None
    named = {model.name: model for model in costs.values()}
    if result.objective is not None and result.certificate is not None and not (kept := _objective(prepared, task)).exists():
        save_objective(result.objective, kept)
    record = CellRecord(
        key=task.key,
        method=cell.method,
        table=cell.table,
        limits=dict(cell.limits),
        how=cell.how,
        searched={} if cell.how == "drawn" else dict(cell.searched),
        budgets=budget_records(problem, result.architecture),
        network=network_record(problem, named, "found", result.architecture, accuracy),
        certificate=certificate_record(problem, result),
        remark=result.remark,
        seconds=time.perf_counter() - began,
    )
    save_json(record, path)


def search_only(task: SweepTask, prepared: Prepared | None = None) -> None:
    """The search behind a cell, into its checkpoint."""
    prepared = prepared or _prepared(task.folder, task.settings)
    with training_threads(task.threads):
        _searched(prepared, task, costs_under(prepared, task.cell.table))


@lru_cache(maxsize=16)
def costs_under(prepared: Prepared, table: str) -> Costs:
    """The costs of the space, with the latencies of the sweep's table of that hash (none for ''); counted once a process."""
    loaded = prepared.family.read_table(table_path(prepared.folder, table)) if table else None
    return costs_of(prepared.family, loaded)


def tested_accuracy(
    prepared: Prepared, weights: str, architecture: Architecture, supernet: nn.Module | None, progress: Progress | None = None
) -> float:
    """The network's test accuracy in %, remembered in the sweep's folder; first it is trained as its family does.

    Args:
        weights: a hash of what it starts from.
        supernet: which that is; None where networks are trained from scratch.
    """
    described = prepared.family.decisions.describe(architecture)
    text = f"{weights} {settings_key(prepared.settings)} {sorted(described.items())}"
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    path = prepared.folder / "tests" / f"{name}.json"
    if not path.exists():
        _, accuracy = trained_network(prepared, supernet, architecture, f"tested_{name}", progress)
        save_json(TestedNetwork(accuracy=accuracy), path)
        prepared.saved(f"tested_{name}").path.unlink(missing_ok=True)  # a sweep tests many networks and keeps none
    return load_json(path, TestedNetwork, "test of a network").accuracy


@lru_cache(maxsize=1)
def _prepared(folder: str, settings: str) -> Prepared:
    """Data and the trained super-network, once a process."""
    return prepare(plan_of(RunSettings.model_validate_json(settings)), Path(folder))


def _weights(prepared: Prepared, task: SweepTask) -> str:
    """A hash of what networks start from: where weights are trained by a search, they are of that search alone."""
    return task.weights if prepared.supernet is not None else f"{task.weights} {_search_key(prepared, task)}"


def _search_key(prepared: Prepared, task: SweepTask) -> str:
    alone = Cell(task.cell.method, task.cell.table, task.cell.searched, task.cell.searched)
    return key_of(alone, task.weights, settings_key(prepared.settings), test=False)


def _searched(prepared: Prepared, task: SweepTask, costs: Costs) -> Found:
    cell = task.cell
    problem = make_problem(prepared.family, dict(cell.searched), costs)
    name = _search_key(prepared, task)
    return search_problem(prepared, problem, costs, prepared.saved(f"search_{name}"), cell.method)

"""Many budgets: budgets x latency tables x methods, and the Pareto front of what they find, on one super-network where searches
share one.

A search costs minutes, a projection milliseconds. So by default every (table, method) is searched once, under the budget in the
middle of the grid, and what that search has learned is projected, exactly and with a certificate, onto all the other budgets
(``search="every"`` searches each). Records say which was done. Every cell is a file under its key (see
``constrained_nas.sweeps.grid``): started again, a sweep computes only what is missing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from constrained_nas.latency import Progress
from constrained_nas.runs import (
    MethodName,
    NetworkRecord,
    Plan,
    Prepared,
    RunSettings,
    check_feasible,
    check_method,
    data_remarks,
    digest,
    make_problem,
    network_record,
    plan_of,
    train_prepared,
    untrained,
)
from constrained_nas.sweeps.cell import (
    SweepTask,
    cell_path,
    checked_cell,
    compute_cell,
    costs_under,
    search_only,
    table_path,
    tested_accuracy,
)
from constrained_nas.sweeps.grid import Cell, SearchMode, cells_of, weights_hash
from constrained_nas.sweeps.parallel import Backend, run_surviving, workers
from constrained_nas.sweeps.record import CellRecord, SweepRecord, SweepTable, SweepThreads, fronts_of
from constrained_nas.training import process_count, training_threads
from graphs.files import load_json, own_folder, read_json, save_json, shortened
from graphs.folder_lock import owned
from solvers import InfeasibleError

Limits = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What is swept and how.

    Attributes:
        grid: of limits by name; see ``sweep_grid.parse_grid``.
        tables: files of latency tables; none where no budget is a latency.
        methods: of search.
        search: ``once`` a table and method, or ``every`` cell.
        searched: for ``once``, the budgets to search under; None for the middle of those that can be met.
        test: whether networks are tested.
        jobs, backend: see ``parallel.run_tasks``.
    """

    grid: tuple[Limits, ...]
    tables: tuple[Path, ...] = ()
    methods: tuple[MethodName, ...] = ("hardcore",)
    search: SearchMode = "once"
    searched: Limits | None = None
    test: bool = True
    jobs: int = 1
    backend: Backend = "joblib"


def run_sweep(settings: RunSettings, options: SweepOptions, folder: Path, progress: Progress | None = None) -> SweepRecord:
    """Sweep, or continue a sweep, and write ``sweep.json``.

    Args:
        settings: of data, space, super-network and search; its own budget, table and method do not matter.
        options: what is swept.
        folder: of the sweep: super-network, searches, cells, tables. On a cluster all machines must see it.
        progress: told (steps done, steps in all, what).

    Raises:
        ValueError: a method that does not suit the space, a table that is missing, not
            needed, damaged or of another space, or budgets of which none can be met.
        FileNotFoundError: data or a table are not there.
        BlockingIOError: another process is at work in the folder.
    """
    plan = plan_of(settings)
    if process_count() > 1:
        raise ValueError("a sweep starts processes of its own (--jobs, --backend): start it without torchrun")
    if options.jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {options.jobs}")
    for method in options.methods:
        check_method(plan, method)
    with owned(folder):
        threads = _threads(settings, options, folder)
        with training_threads(threads.training):
            chosen = settings.model_copy(update={"threads": threads.training})
            return _swept(plan_of(chosen), options, folder, threads.cells, progress)


def _swept(plan: Plan, options: SweepOptions, folder: Path, threads: int, progress: Progress | None) -> SweepRecord:
    times = _times(folder)
    prepared = untrained(plan, folder)
    tables = _tables(options, prepared)
    hashes = [table.hash for table in tables] or [""]
    cells, impossible = _cells(prepared, options, hashes)
    possible = [cell for cell in cells if cell not in impossible]
    for name in ("checkpoints", "cells", "objectives", "tests"):
        own_folder(folder, name)
    began = time.perf_counter()
    train_prepared(prepared, progress)
    trained = time.perf_counter()
    weights, text = _weights(prepared), prepared.settings.model_dump_json()
    made = digest([weights, dict(prepared.saved("supernet").checkpoint.made_by), threads])
    tasks = [SweepTask(str(folder), text, made, cell, options.test, threads) for cell in possible]
    missing = [task for task in tasks if not cell_path(folder, task.key).exists()]
    failed: dict[Cell, str] = {}
    with workers(options.backend if missing else "joblib", options.jobs):
        if options.search == "once":
            firsts = {(task.cell.method, task.cell.table): task for task in missing if task.cell.method != "random"}
            _run(search_only, list(firsts.values()), options, prepared, "searches", progress)
        searched = time.perf_counter()
        for cell, error in _run(compute_cell, missing, options, prepared, "cells", progress).items():
            failed[cell] = shortened(f"{type(error).__name__}: {error}".replace("\n", " "), 300)
            if len(failed) == len(tasks):  # nothing to show
                raise error
    computed = time.perf_counter()
    records = {
        task.cell: _failed(task, failed[task.cell]) if task.cell in failed else checked_cell(task, prepared) for task in tasks
    }
    # What a cell took is left out, so that the file is the same however often the sweep was interrupted.
    kept = [impossible.get(cell) or records[cell].model_copy(update={"seconds": None}) for cell in cells]
    with training_threads(threads):
        references, largest = _references(prepared, options, tables, made, progress)
    units = {model.name: model.unit for content in hashes for model in costs_under(prepared, content).values()}
    record = SweepRecord(
        space=prepared.family.decisions.name,
        data=prepared.data.name,
        weights=weights,
        search=options.search,
        tested=_tested(prepared, options),
        settings=prepared.settings.model_dump(mode="json"),
        units=units,
        tables=tuple(tables),
        methods=options.methods,
        cells=tuple(kept),
        references=references,
        fronts=fronts_of(kept, largest, units),
        remarks=(
            *dict.fromkeys([*prepared.remarks, *data_remarks(prepared.data)]),
            *_same_networks(kept, tables),
            *([f"{len(failed)} of {len(tasks)} cells failed; the same command tries them again"] if failed else []),
        ),
    )
    save_json(record, folder / "sweep.json")
    seconds = {
        "super-network": trained - began,
        "searches": searched - trained,
        "cells": computed - searched,
        "references and fronts": time.perf_counter() - computed,
        "cells computed": len(missing),
        "cells in all": len(tasks),
        "jobs": options.jobs,
    }
    save_json([*times, seconds], folder / "times.json")
    return record


def _run(
    function: Callable[..., None],
    tasks: Sequence[SweepTask],
    options: SweepOptions,
    prepared: Prepared,
    what: str,
    progress: Progress | None,
) -> dict[Cell, BaseException]:
    """What failed, and how, by cell."""

    def told(done: int) -> None:
        if progress:
            progress(done, len(tasks), what)

    if not tasks:
        return {}
    told(0)
    jobs = min(options.jobs, len(tasks))
    here = jobs == 1 and options.backend == "joblib"
    called = partial(function, prepared=prepared) if here else function
    failures = run_surviving(called, tasks, jobs, options.backend, told, prepared.folder / "jobs")
    return {tasks[place].cell: error for place, error in failures.items()}


def _failed(task: SweepTask, said: str) -> CellRecord:
    cell = task.cell
    return CellRecord(key="", method=cell.method, table=cell.table, limits=dict(cell.limits), how="failed", remark=said)


def _tables(options: SweepOptions, prepared: Prepared) -> list[SweepTable]:
    """The tables, copied into the sweep's folder under a hash of their content."""
    wanted = any(name == "latency_ms" for name, _ in options.grid[0])
    if wanted and not options.tables:
        raise ValueError(
            "a budget in latency_ms needs a latency table: constrained-nas profile measures one, then give --table table.json"
        )
    if options.tables and not wanted:
        raise ValueError("--table without a budget in latency_ms: leave the table out, or add --budget latency_ms=...")
    tables: list[SweepTable] = []
    for path in options.tables:
        table = prepared.family.read_table(path)
        content = hashlib.sha256(table.model_dump_json().encode()).hexdigest()[:24]
        if any(other.hash == content for other in tables):
            raise ValueError(f"{path}: the same table twice")
        own_folder(prepared.folder, "tables")
        save_json(table, table_path(prepared.folder, content))
        costs_under(prepared, content)  # says so if it is of another space
        tables.append(SweepTable(hash=content, name=path.stem, device=table.device, batch=table.batch, threads=table.threads))
    return tables


def _cells(prepared: Prepared, options: SweepOptions, tables: Sequence[str]) -> tuple[list[Cell], dict[Cell, CellRecord]]:
    """All cells, and the records of those that no network meets."""
    impossible: dict[tuple[str, Limits], str] = {}
    searched: dict[str, Limits] = {}
    for table in tables:
        costs = costs_under(prepared, table)
        for limits in options.grid:
            try:
                check_feasible(prepared.plan, prepared.family, make_problem(prepared.family, dict(limits), costs), costs)
            except InfeasibleError as error:
                impossible[table, limits] = str(error)
        possible = [limits for limits in options.grid if (table, limits) not in impossible]
        if not possible:
            raise ValueError(f"no network meets any of the budgets: {next(iter(impossible.values()))}")
        searched[table] = options.searched or possible[len(possible) // 2]
        if options.searched is not None:
            problem = make_problem(prepared.family, dict(options.searched), costs)
            check_feasible(prepared.plan, prepared.family, problem, costs)
    cells = cells_of(options.grid, tables, options.methods, options.search, searched)
    return cells, {
        cell: CellRecord(
            key="", method=cell.method, table=cell.table, limits=dict(cell.limits), how="impossible", remark=impossible[place]
        )
        for cell in cells
        if (place := (cell.table, cell.limits)) in impossible
    }


def _references(
    prepared: Prepared, options: SweepOptions, tables: Sequence[SweepTable], weights: str, progress: Progress | None
) -> tuple[tuple[NetworkRecord, ...], dict[str, dict[str, float]]]:
    """The cheapest network under the first budget and the largest, priced by the first table; the costs of the largest by table."""
    largest: dict[str, dict[str, float]] = {}
    references: list[NetworkRecord] = []
    for place, content in enumerate([table.hash for table in tables] or [""]):
        costs = costs_under(prepared, content)
        problem = make_problem(prepared.family, dict(options.grid[0]), costs)
        first = problem.budgets[0].cost
        named = {model.name: model for model in costs.values()}
        whole = prepared.family.largest(first)
        largest[content] = {name: model.cost(whole) for name, model in named.items()}
        if place == 0:
            for name, architecture in (("cheapest", prepared.family.cheapest(first)), ("largest", whole)):
                tests = options.test and prepared.family.tests_references
                accuracy = tested_accuracy(prepared, weights, architecture, prepared.supernet, progress) if tests else None
                references.append(network_record(problem, named, name, architecture, accuracy))
    return tuple(references), largest


def _same_networks(cells: Sequence[CellRecord], tables: Sequence[SweepTable]) -> list[str]:
    """A remark for every search whose projections are fewer networks than budgets: a loose budget may have nothing to buy."""
    names, remarks = {table.hash: table.name for table in tables}, []
    for method, content in dict.fromkeys((cell.method, cell.table) for cell in cells):
        networks = [str(cell.network.choices) for cell in cells if cell.network and (cell.method, cell.table) == (method, content)]
        if len(set(networks)) < len(networks):
            table = f" by {names[content]}" if content else ""
            unspent = "; where a budget is not used up, the search's scores know nothing better to spend it on"
            scored = "" if method == "random" else unspent
            remarks.append(f"{method}{table}: {len(networks)} budgets led to {len(set(networks))} different networks{scored}")
    return remarks


def _weights(prepared: Prepared) -> str:
    """Of the super-network that all searches share; nothing where each trains its own."""
    return "" if prepared.supernet is None else weights_hash(prepared.supernet)


def _tested(prepared: Prepared, options: SweepOptions) -> str:
    if not options.test:
        return "not tested"
    epochs = prepared.plan.fine_tune_epochs
    return f"fine-tuned for {epochs} epoch(s)" if epochs else "with the super-network's weights"


def _times(folder: Path) -> list[dict[str, float]]:
    """What earlier calls took (s)."""
    path = folder / "times.json"
    told = read_json(path, "list of times") if path.exists() else []
    if not isinstance(told, list):
        raise ValueError(f"{path}: expected a list of times; delete it to begin a new one")
    return told


def _threads(settings: RunSettings, options: SweepOptions, folder: Path) -> SweepThreads:
    """Those that the sweep began with, or now begins with: workers side by side share them."""
    path = folder / "threads.json"
    if path.exists():
        began = load_json(path, SweepThreads, "number of threads")
        return began if settings.threads is None else began.model_copy(update={"training": settings.threads})
    training = settings.threads or torch.get_num_threads()
    threads = SweepThreads(training=training, cells=max(1, training // options.jobs))
    save_json(threads, path)
    return threads

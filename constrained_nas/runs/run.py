"""A run from start to end, in a folder: checks, table, super-network, search, device, network, record.

``begin_run`` refuses what cannot be done and writes the settings; ``carry_out`` does the rest and may be killed at any point:
called again it resumes from the checkpoints and ends in the same network. The folder holds ``settings.json``, ``table.json`` (a
copy, or measured), ``checkpoints``, ``curves.jsonl``, ``device.json``, ``network.safetensors``, ``architecture.json`` and, last of
all, ``run.json``.
Started by torchrun, several processes do one run: all call the same, the first alone writes to the folder and measures latencies.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from constrained_nas.latency import Progress
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.checks import absolute_limit, check_feasible, check_method, check_tables, loose_budgets, make_problem
from constrained_nas.runs.families import Costs, Plan, Prepared, RunTable, costs_of, plan_of
from constrained_nas.runs.fingerprint import digest
from constrained_nas.runs.finish import finish_run
from constrained_nas.runs.latency import DEVICE_FILE, check_measurable, fit_found, measure_run_table, read_run_table
from constrained_nas.runs.record import RunRecord
from constrained_nas.runs.settings import ENERGY_FILE, RunSettings, load_settings, require_unused, save_settings
from constrained_nas.runs.setup import search_problem, train_prepared, untrained
from constrained_nas.runs.soundness import data_remarks
from constrained_nas.runs.together import Together, working_folder
from constrained_nas.runs.verification import trusted_run
from constrained_nas.training import (
    CURVES_FILE,
    Curves,
    first_process,
    make_fabric,
    process_count,
    stopping_together,
    training_threads,
)
from graphs.costs import load_energy_table
from graphs.files import own_folder, save_json
from graphs.folder_lock import owned
from graphs.own_code import is_own, require_elsewhere

TABLE_FILE = "table.json"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A run that can be done: everything but training, before it.

    Attributes:
        prepared: its super-network is not trained yet.
        table: of latencies, if there is one.
        costs: that the space knows.
        problem: the space under the run's budgets.
    """

    prepared: Prepared
    table: RunTable | None
    costs: Costs
    problem: SearchProblem


def begin_run(settings: RunSettings, folder: Path) -> Asked | None:
    """Check a run and write its settings, and a copy of its table, into its folder; None where its table is yet to be measured.

    The number of threads becomes a setting here, so that a resumed run has the same.

    Raises:
        ValueError: a run that cannot be done, or a folder that has one already; says what to do instead.
        FileNotFoundError: data or table are not there.
    """
    if is_own(settings.space):
        require_elsewhere(settings.space, folder)
    count = process_count()
    together = make_fabric(settings.device) if count > 1 else None
    decided = {"threads": settings.threads or torch.get_num_threads(), "parts": settings.parts or (count if count > 1 else None)}
    plan, asked = plan_of(settings.model_copy(update=decided)), None
    if first_process():
        require_unused(folder)
    chosen = plan.settings
    if not chosen.measure_table:
        asked = checked(plan, folder, chosen.table)
    else:
        check_tables(plan)
        counted = {name: limit for name, limit in chosen.limits.items() if name != "latency_ms"}
        if isinstance(chosen.limits.get("latency_ms"), str):
            raise ValueError("--budget latency_ms: a share of it needs a table: give --table, or say milliseconds")
        if counted:  # what a table is not needed for need not wait for it
            without = chosen.model_copy(update={"budget": _as_typed(counted)})
            numbers = checked(replace(plan, settings=without), folder, None).prepared.settings.budgets
            chosen = chosen.model_copy(update={"budget": _as_typed({**chosen.limits, **numbers})})
    if asked is not None:
        chosen = asked.prepared.settings
    if first_process():
        with owned(folder):
            require_unused(folder)  # another may have begun one meanwhile
            if asked is not None and asked.table is not None:
                save_json(asked.table, folder / TABLE_FILE)
            if chosen.energy_table is not None:
                save_json(load_energy_table(chosen.energy_table), folder / ENERGY_FILE)
            save_settings(chosen, folder)
    if together is not None:
        together.barrier()
    return asked


def _as_typed(limits: Mapping[str, float | str]) -> tuple[str, ...]:
    """As ``--budget`` has them."""
    return tuple(f"{name}={limit if isinstance(limit, str) else repr(limit)}" for name, limit in limits.items())


def checked(plan: Plan, folder: Path, table_path: Path | None) -> Asked:
    """Everything that can be known before training.

    Raises:
        ValueError: a budget, method, space or table that do not go together, or nothing fits; says what to do instead.
        FileNotFoundError: data or table are not there.
    """
    check_method(plan)
    settings = plan.settings
    latency = "latency_ms" in settings.limits
    if latency or table_path is not None:
        check_tables(plan)
    if latency and table_path is None:
        raise ValueError(
            f"a budget in latency_ms needs a latency table: constrained-nas profile {settings.space} --out table.json measures "
            "one, then give --table table.json; or let the run measure it with --measure-table"
        )
    prepared = untrained(plan, folder)
    family = prepared.family
    table = None if table_path is None else read_run_table(family, table_path, settings)
    costs = costs_of(family, table)
    absolute = {name: absolute_limit(family, costs, name, limit) for name, limit in settings.limits.items()}
    problem = make_problem(family, absolute, costs)
    if absolute != settings.limits:
        settings = settings.model_copy(update={"budget": _as_typed(absolute)})
        prepared = replace(prepared, plan=replace(plan, settings=settings))
        plan = prepared.plan
    prepared.remarks.extend(loose_budgets(family, problem))
    check_feasible(plan, family, problem, costs)
    if latency and settings.measure and table is not None:
        check_measurable(prepared, table)
    return Asked(prepared, table, costs, problem)


def carry_out(folder: Path, progress: Progress | None = None, asked: Asked | None = None) -> RunRecord:
    """Do the run whose settings lie in the folder, or what is left of it; a finished one is only read.

    Args:
        folder: as :func:`begin_run` left it, or a run that was killed.
        progress: told (steps done, steps in all, what).
        asked: of :func:`begin_run`, which need not be checked again.

    Raises:
        FileNotFoundError: no run began there, or data are not there any more.
        ValueError: files that are damaged, or made by anything else than this run would make them by now.
        BlockingIOError: another process is at work in the folder.
        InfeasibleError: no network fits on the device; with all that were measured.
    """
    settings = load_settings(folder)
    if (folder / "run.json").exists():
        return trusted_run(folder)
    remarks, threads = list[str](), settings.threads or torch.get_num_threads()
    if settings.threads is None:
        remarks.append(f"the number of threads at the start was not recorded; from here on there were {threads}")
    plan, seconds = plan_of(settings), dict[str, float]()

    def first() -> None:
        own_folder(folder, "checkpoints")
        if settings.measure_table and not (folder / TABLE_FILE).exists():
            began = time.perf_counter()
            measure_run_table(untrained(plan, folder), folder / TABLE_FILE, progress)
            seconds["latency table"] = time.perf_counter() - began

    with training_threads(threads), working_folder(folder, settings.device, first) as together:
        return _carried_out(together, plan, progress, asked, remarks, seconds)


def _carried_out(
    together: Together,
    plan: Plan,
    alone: Progress | None,
    asked: Asked | None,
    remarks: list[str],
    seconds: dict[str, float],
) -> RunRecord:
    """``alone`` is told by the first process of what it does alone, and of the rest by all of them."""
    folder, settings = together.own, plan.settings
    path = folder / TABLE_FILE
    progress = alone if together.fabric is None else stopping_together(alone, together.fabric)
    resumed = any((folder / "checkpoints").iterdir())
    if asked is None:
        asked = checked(plan, folder, path if path.exists() else None)
    curves = Curves(folder / CURVES_FILE, asked.prepared.data.architecture)
    prepared, problem = replace(asked.prepared, folder=folder, curves=curves), asked.problem
    prepared.remarks.extend([*remarks, *data_remarks(prepared.data)])
    if together.fabric is not None:
        prepared.remarks.append(f"{together.fabric.world_size} processes computed it together")
    seconds["super-network"] = train_prepared(prepared, progress)
    by_table = {} if asked.table is None else {"table": digest(asked.table.model_dump(mode="json"))}
    found = search_problem(prepared, problem, asked.costs, prepared.saved("search", progress, **by_table))
    seconds["search"] = found.seconds
    result, measured = found.result, None
    if asked.table is not None and "latency_ms" in settings.budgets and settings.measure:
        if found.tightens:
            fitted = partial(fit_found, prepared, problem, found, asked.table, alone)
            result, measured, seconds["device"] = together.first_does(fitted, DEVICE_FILE)
        else:
            prepared.remarks.append("the argmax of a soft penalty follows no limit: it was not measured and tightened")
    if resumed:
        prepared.remarks.append("the run was interrupted: seconds are those since it was resumed")
    return finish_run(prepared, problem, asked.costs, found, result, measured, seconds, progress)

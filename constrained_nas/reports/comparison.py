"""Several searches side by side: what they were asked, what they found, and which of them no other beats.

Accuracies are compared within one data set only, costs as measured on the device where every run of the group was measured, else
as estimated. A record that cannot be read is named and left out. What makes a comparison lame (other spaces, devices, single
seeds) is a remark.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from constrained_nas.records import BudgetRecord
from constrained_nas.runs import RunRecord, verified_run
from graphs.files import Record, csv_cell, save_json, written_whole
from solvers import non_dominated

_CONDITIONS = ("latency_device", "latency_batch", "latency_threads")


class ComparedRun(Record):
    """One run: ``measured`` is the median on the device, ``fits`` is about every budget, and the measurement where there is one.

    ``best`` says that no other run on the same data is at least as accurate and at most as expensive; None where that is not known.
    """

    run: str
    space: str
    data: str
    method: str
    seed: int
    budgets: tuple[BudgetRecord, ...]
    measured: dict[str, float]
    costs: dict[str, float]
    units: dict[str, str]
    fits: bool
    accuracy: float | None
    gap: float | None
    seconds: float
    best: bool | None = None


class Comparison(Record):
    """The runs, in the order given; ``left_out`` says which could not be read and why."""

    kind: Literal["comparison"] = "comparison"
    schema_version: Literal[1] = 1
    runs: tuple[ComparedRun, ...]
    left_out: dict[str, str]
    remarks: tuple[str, ...]


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Read the records of finished searches and compare them.

    Raises:
        ValueError: no folder, or none of them holds a record that can be read.
    """
    if not folders:
        raise ValueError("no runs: give the folders of finished searches, for example runs/*")
    records: dict[str, RunRecord] = {}
    left_out: dict[str, str] = {}
    unknown = list[str]()
    for name, folder in zip(_names(folders), folders, strict=True):
        try:
            records[name], said = verified_run(folder)
            unknown += [f"{name}: {line}" for line in said]
        except (ValueError, OSError) as error:
            left_out[name] = str(error)
    if not records:
        first, more = next(iter(left_out.values())), len(left_out) - 1
        raise ValueError(f"none of the runs can be read: {first}" + (f"; and {more} more" if more else ""))
    runs, remarks = [_compared(name, record) for name, record in records.items()], [*unknown, *_remarks(records)]
    best: dict[str, bool] = {}
    for data in dict.fromkeys(run.data for run in runs):
        group = [run for run in runs if run.data == data]
        found, notes = _front(group)
        best |= found
        remarks += notes
    runs = [run.model_copy(update={"best": best.get(run.run)}) for run in runs]
    return Comparison(runs=tuple(runs), left_out=left_out, remarks=tuple(remarks))


def save_comparison(comparison: Comparison, folder: Path) -> tuple[Path, Path]:
    """Write ``compare.json`` and ``compare.csv`` (a line a run), each whole or not at all; returns their paths.

    Raises:
        OSError: a file cannot be written.
    """
    json_path, csv_path = folder / "compare.json", folder / "compare.csv"
    save_json(comparison, json_path)
    costs = list(dict.fromkeys(cost for run in comparison.runs for cost in run.costs))
    limited = list(dict.fromkeys(budget.cost for run in comparison.runs for budget in run.budgets))
    measured = list(dict.fromkeys(cost for run in comparison.runs for cost in run.measured))
    units = {cost: unit for run in comparison.runs for cost, unit in run.units.items()}
    head = ["run", "space", "data", "method", "seed", *(f"limit of {cost} ({units.get(cost, '')})" for cost in limited)]
    head += [f"{cost} ({units.get(cost, '')})" for cost in costs] + [
        f"measured {cost} ({units.get(cost, '')})" for cost in measured
    ]
    head += ["fits", "accuracy (%)", "gap", "seconds", "not dominated"]
    with written_whole(csv_path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(csv_cell, head))
        for run in comparison.runs:
            limits = {budget.cost: budget.limit for budget in run.budgets}
            row = [run.run, run.space, run.data, run.method, run.seed, *(limits.get(cost) for cost in limited)]
            row += [run.costs.get(cost) for cost in costs] + [run.measured.get(cost) for cost in measured]
            writer.writerow(map(csv_cell, [*row, run.fits, run.accuracy, run.gap, run.seconds, run.best]))  # None is an empty cell
    return json_path, csv_path


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of the folders; their whole paths where two folders are called the same."""
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]


def _compared(name: str, record: RunRecord) -> ComparedRun:
    measured = {} if record.measured is None else {record.measured.cost: record.measured.median}
    return ComparedRun(
        run=name,
        space=record.space,
        data=record.data,
        method=record.method,
        seed=record.seed,
        budgets=record.budgets,
        measured=measured,
        costs=record.found.costs,
        units=record.units,
        fits=all(budget.fits for budget in record.budgets),
        accuracy=record.found.accuracy,
        gap=None if record.certificate is None else record.certificate.gap,
        seconds=sum(record.seconds.values()),
    )


def _front(group: Sequence[ComparedRun]) -> tuple[dict[str, bool], list[str]]:
    """Which runs of one data set no other beats, by name, in accuracy and all costs that are limited in each of them."""
    able = [run for run in group if run.accuracy is not None and run.fits]
    remarks = []
    skipped = [run.run for run in group if run not in able]
    if skipped and len(group) > 1:
        remarks.append(f"not among the non-dominated, because not tested or over a budget: {', '.join(skipped)}")
    shared = [
        cost
        for cost in dict.fromkeys(budget.cost for run in able for budget in run.budgets)
        if all(cost in run.costs for run in able)
    ]
    if not able or not shared:
        if len(group) > 1:
            remarks.append(f"{group[0].data}: no cost is known of all tested runs, so none can be said to beat another")
        return {}, remarks
    on_device = {cost for cost in shared if all(cost in run.measured for run in able)}
    points = [[*((run.measured if cost in on_device else run.costs)[cost] for cost in shared), run.accuracy or 0.0] for run in able]
    kept = non_dominated(points, [False] * len(shared) + [True])
    if len(group) > 1:
        named = ", ".join(f"{cost} ({'measured' if cost in on_device else 'estimated or counted'})" for cost in shared)
        remarks.append(f"{group[0].data}: non-dominated in test accuracy and {named}")
    return {run.run: bool(keep) for run, keep in zip(able, kept.tolist(), strict=True)}, remarks


def _remarks(records: dict[str, RunRecord]) -> list[str]:
    remarks = []
    for what, said in (
        ("data", "different data: accuracies are compared only within one data set"),
        ("space", "different spaces: accuracy and costs are comparable only as far as data, resolution and device agree"),
        ("machine", "different machines: seconds and measured latencies are not comparable"),
    ):
        values = list(dict.fromkeys(str(getattr(record, what)) for record in records.values()))
        if len(values) > 1:
            remarks.append(f"{said} ({'; '.join(value or 'not recorded' for value in values)})")
    for key in _CONDITIONS:
        values = list(dict.fromkeys(str(record.settings.get(key, "not recorded")) for record in records.values()))
        if len(values) > 1:
            remarks.append(f"latencies of different conditions are not comparable: {key} is {' / '.join(values)}")
    asked: dict[tuple[str, ...], set[int]] = {}
    for record in records.values():
        limits = [f"{budget.cost}<={budget.limit}" for budget in record.budgets]
        asked.setdefault((record.space, record.data, record.method, *limits), set()).add(record.seed)
    fewest = min(len(seeds) for seeds in asked.values())
    if len(records) > 1 and fewest < 3:
        seeds = "one seed" if fewest == 1 else f"{fewest} seeds"
        remarks.append(f"some methods ran with {seeds} under a budget: small differences of accuracy may be chance")
    return remarks

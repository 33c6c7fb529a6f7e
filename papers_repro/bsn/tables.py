"""What the scripts of the tables of Budgeted Super Networks do: reference rows, published rows, then ours at the chosen scale."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from graphs.files import save_json
from papers_repro.bsn.contest import run_contest
from papers_repro.bsn.learned import budget_rows, difference_rows, front_rows
from papers_repro.bsn.published import DataName
from papers_repro.bsn.reference import TABLES, TableSpec, learned_published_rows, reference_rows
from papers_repro.bsn.runs import RunsRecord
from papers_repro.bsn.setup import ContestOptions, contest_preset, setup_preset
from papers_repro.harness import Rows, Scale, output_folder, print_rows, progress_bars, save_record


@dataclass(frozen=True)
class TableOptions:
    """A table of Budgeted Super Networks: what the reference networks cost by our own definitions beside the published numbers, the
    published learned networks, and networks learned at this scale."""

    scale: Scale = "laptop"
    """smoke: seconds, to see that it runs. laptop: minutes on two cores. paper: the paper's protocol on its data."""
    seed: int = 0
    """The first seed."""
    out: Path | None = None
    """Folder of the results; runs/ and the name of the script by default."""
    learn: bool = True
    """Search too; --no-learn prints what needs no training."""
    contest: Annotated[ContestOptions, tyro.conf.arg(name="")] = field(default_factory=ContestOptions)
    """Budgets, searches, data."""


def table_preset(scale: Scale, data: DataName = "CIFAR-10") -> TableOptions:
    """The options of a scale for a table about ``data``."""
    return TableOptions(scale, contest=contest_preset(scale, data))


def print_tables(script: str, tables: Sequence[TableSpec], options: TableOptions) -> None:
    """Print the tables and write ``script.json`` and the record of all runs, which the figures read."""
    began = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 120)
    folder = output_folder(options.out, script)
    console.print(f"{script}, scale {options.scale}: results go to {folder}", highlight=False)
    shown: list[Rows] = []

    def show(rows: Rows) -> None:
        print_rows(rows, console)
        shown.append(rows)

    for table in tables:
        show(reference_rows(table))
        show(learned_published_rows(table))
    records = contest_of_tables(script, tables, options, folder, console) if options.learn else {}
    for table in tables:
        if table.number in records:
            console.rule(f"Table {table.number} ({table.title}): learned here", align="left")
            for make in (budget_rows, difference_rows, front_rows):
                show(make(records[table.number], table.cost, table.families))
    record = save_record(folder, script, options.scale, options.seed, options, shown, began)
    console.print(f"{record} in {time.perf_counter() - began:.0f} s", highlight=False)


def contest_of_tables(
    script: str, tables: Sequence[TableSpec], options: TableOptions, folder: Path, console: Console
) -> dict[int, RunsRecord]:
    """The runs behind each table, by its number; tables on the same data share a contest.

    At smoke and laptop scale all data of classification are the same digits. Each contest is written to
    ``script_<data>_runs.json``.
    """
    found: dict[int, RunsRecord] = {}
    grouped: dict[ContestOptions, list[TableSpec]] = {}
    for table in tables:
        grouped.setdefault(_on_data_of(table, options), []).append(table)
    for contest, group in grouped.items():
        families = tuple(dict.fromkeys(family for table in group for family in table.families))
        costs = tuple(dict.fromkeys(table.cost for table in group))
        place = folder / contest.setup.data
        with progress_bars(console) as progress:
            record = run_contest(families, costs, contest, options.scale, options.seed, place, progress)
        path = folder / f"{script}_{contest.setup.data}_runs.json"
        save_json(record, path)
        seconds = sum(run.seconds for run in record.runs)
        console.print(f"{len(record.runs)} runs of {seconds:.0f} s together: {path}", highlight=False)
        found |= {table.number: record for table in group}
    return found


def _on_data_of(table: TableSpec, options: TableOptions) -> ContestOptions:
    """The contest on the data of the table, where they are CIFAR's."""
    contest = options.contest
    if not contest.setup.data.startswith("cifar"):
        return contest
    return replace(contest, setup=replace(contest.setup, data=setup_preset("paper", table.data).data))


def table_of(number: int) -> TableSpec:
    """The table of that number.

    Raises:
        ValueError: the paper has none of that number.
    """
    if number not in TABLES:
        raise ValueError(f"--table {number}: expected one of {', '.join(map(str, TABLES))}")
    return TABLES[number]

"""What the scripts of the tables of Budgeted Super Networks do: reference rows, published rows, then ours at the chosen scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, TypeVar

import tyro

from graphs.files import save_json
from papers_repro.bsn.contest import run_contest
from papers_repro.bsn.learned import budget_rows, difference_rows, front_rows, scratch_rows
from papers_repro.bsn.published import DataName
from papers_repro.bsn.reference import TABLES, TableSpec, learned_published_rows, reference_rows
from papers_repro.bsn.runs import RunsRecord
from papers_repro.bsn.setup import ContestOptions, contest_preset, setup_preset
from papers_repro.harness import Scale, Script, ScriptOptions


@dataclass(frozen=True)
class TableOptions(ScriptOptions):
    """A table of Budgeted Super Networks: what the reference networks cost by our own definitions beside the published numbers, the
    published learned networks, and networks learned at this scale."""

    learn: bool = True
    """Search too; --no-learn prints what needs no training."""
    contest: Annotated[ContestOptions, tyro.conf.arg(name="")] = field(default_factory=ContestOptions)
    """Budgets, searches, data."""


def table_preset(scale: Scale, data: DataName = "CIFAR-10") -> TableOptions:
    """The options of a scale for a table about ``data``."""
    return TableOptions(scale, contest=contest_preset(scale, data))


Options = TypeVar("Options", bound=TableOptions)


def print_tables(script: Script[Options], numbers: Sequence[int]) -> None:
    """Show the tables of these numbers and write the record of all runs, which the figures read."""
    tables = [table_of(number) for number in numbers]
    for table in tables:
        script.show(reference_rows(table), learned_published_rows(table))
    records = contest_of_tables(script, tables) if script.options.learn else {}
    for number, record in records.items():
        table = TABLES[number]
        script.console.rule(f"Table {number} ({table.title}): learned here", align="left")
        script.show(
            *(make(record, table.cost, table.families) for make in (scratch_rows, budget_rows, difference_rows, front_rows))
        )


def contest_of_tables(script: Script[Options], tables: Sequence[TableSpec]) -> dict[int, RunsRecord]:
    """The runs behind each table, by its number; tables on the same data share a contest.

    At smoke and laptop scale all data of classification are the same digits. Each contest is written to
    ``script_<data>_runs.json``.
    """
    found: dict[int, RunsRecord] = {}
    options, folder = script.options, script.folder
    grouped: dict[ContestOptions, list[TableSpec]] = {}
    for table in tables:
        grouped.setdefault(_on_data_of(table, options), []).append(table)
    for contest, group in grouped.items():
        families = tuple(dict.fromkeys(family for table in group for family in table.families))
        costs = tuple(dict.fromkeys(table.cost for table in group))
        place = folder / contest.setup.data
        with script.bars() as progress:
            record = run_contest(families, costs, contest, options.scale, options.seed, place, progress)
        path = folder / f"{script.name}_{contest.setup.data}_runs.json"
        save_json(record, path)
        seconds = sum(run.seconds for run in record.runs)
        script.say(f"{len(record.runs)} runs of {seconds:.0f} s together: {path}")
        found |= {table.number: record for table in group}
    return {table.number: found[table.number] for table in tables}


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

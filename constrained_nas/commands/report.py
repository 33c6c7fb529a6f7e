"""The command ``report``: what a search found, as one page, and a summary on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.commands.console import PlainConsole

if TYPE_CHECKING:
    from constrained_nas.runs import RunRecord


@dataclass(frozen=True)
class Report:
    """Say what a search found: budgets, certificate, network, curves, and the networks to hold it against.

    Writes report.html, one page that holds all its pictures and can be sent to somebody. For example: report runs/x
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished search."""
    out: Path | None = None
    """Folder of the report; by default that of the run."""


def report(command: Report) -> None:
    """Write the report of a run and print its summary.

    Raises:
        FileNotFoundError: no search has ended there.
        ValueError: the record is damaged or of another version.
        OSError: the report cannot be written.
    """
    from constrained_nas.reports import certificate_sentence, verdict, write_report
    from constrained_nas.runs import trusted_run

    record = trusted_run(command.run)
    console = PlainConsole()
    with console.status("drawing"):
        path = write_report(record, command.out or command.run, command.run.resolve().name, command.run)
    _print(console, record)
    console.print(verdict(record))
    console.print(certificate_sentence(record))
    console.print(f"written to {path}", soft_wrap=True)


def _print(console: Console, record: RunRecord) -> None:
    from constrained_nas.reports import plain_number, with_unit

    networks = (record.found, *record.references)
    costs = [cost for cost in record.units if any(cost in network.costs for network in networks)]
    limits = {budget.cost: budget.limit for budget in record.budgets}
    console.print(f"{record.space}, {record.method}, {record.data}, seed {record.seed}")
    table = Table()
    table.add_column("network")
    for cost in costs:
        table.add_column(with_unit(cost, record.units[cost]), justify="right")
    table.add_column("test accuracy", justify="right")
    table.add_row("limit", *(plain_number(limits[cost]) if cost in limits else "-" for cost in costs), "", style="dim")
    for network in networks:
        numbers = [plain_number(network.costs[cost]) if cost in network.costs else "-" for cost in costs]
        accuracy = "not tested" if network.accuracy is None else f"{network.accuracy:.2f} %"
        table.add_row(network.name, *numbers, accuracy)
    console.print(table)

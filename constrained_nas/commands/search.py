"""The commands ``search`` and ``resume``: from a space and its budgets to a network that fits, in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.commands.console import PlainConsole, stoppable
from constrained_nas.commands.progress import logged, progress_shown
from constrained_nas.data import require_images
from constrained_nas.runs import RunSettings, load_settings, require_unused

if TYPE_CHECKING:
    from constrained_nas.latency import Progress
    from constrained_nas.reports import EventsOfCurves
    from constrained_nas.runs import Asked, RunRecord


@dataclass(frozen=True)
class Search:
    """Find a network within budgets, train it, and write it with a record of how good it is.

    The super-network is trained (or learns along the way), the search runs, and its answer is projected exactly onto all budgets;
    with a latency table it is measured too, and the budget tightened until it fits. Then it is fine-tuned and tested.

    Continue a run that was killed with: constrained-nas resume RUN. Examples:
    search hardcore-small --budget params=40e3 --out runs/x
    search hardcore-small --budget latency_ms=2 --budget params=60e3 --table table.json --out runs/y
    """

    settings: Annotated[RunSettings, tyro.conf.arg(name="")]
    out: Path = Path("runs/search")
    """Folder for the record (run.json), the network, and what is needed to resume."""
    json: bool = False
    """Print the record as JSON instead of tables."""
    quiet: bool = False
    """Print nothing but errors; what would have been printed is in log.txt of the folder, with times, in any case."""
    tensorboard: bool = False
    """Also write the curves (curves.jsonl) as events for TensorBoard, into tensorboard/ of the folder."""


@dataclass(frozen=True)
class Resume:
    """Continue a search that was interrupted, from its settings and checkpoints, to the same result.

    For example: resume runs/x
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    quiet: bool = False
    """Print nothing but errors."""
    tensorboard: bool = False
    """Also write the curves as events for TensorBoard, those of before included."""


def search_run(command: Search) -> None:
    """Search and print what was found.

    Raises:
        ValueError: a run that cannot be done; says why and what to do instead.
        FileNotFoundError: data or table are not there.
    """
    _require_files(command)
    from constrained_nas.runs import begin_run
    from constrained_nas.training import first_process

    events = _events(command.out) if command.tensorboard and first_process() else None
    asked = begin_run(command.settings, command.out)
    first = first_process()
    with logged(command.out if first else None, command.quiet or not first, command.json) as console:
        with progress_shown(console) as shown, stoppable(shown, _again(command.out)) as progress:
            record = _carried_out(command.out, progress, asked, events)
        if command.json:
            console.keep(f"written to {command.out}")
            if not console.quiet:
                PlainConsole().print_json(record.model_dump_json())
        else:
            _print(console, record, command.out)


def _require_files(command: Search) -> None:
    """What is not there, and what is already: said before torch is imported."""
    settings = command.settings
    require_images(settings.data)
    for option, table in (("--table", settings.table), ("--energy-table", settings.energy_table)):
        if table is not None and not table.is_file():
            made = f"; constrained-nas profile {settings.space} --out {table} measures one" if option == "--table" else ""
            raise FileNotFoundError(f"{option}: there is no file {table}{made}")
    if "LOCAL_RANK" not in os.environ:  # torchrun's: of several processes the first checks, and writes
        require_unused(command.out)


def resume(command: Resume) -> None:
    """Continue a run and print what it found.

    Raises:
        FileNotFoundError: no run began there.
        ValueError: files that are damaged or of other settings.
    """
    load_settings(command.run)
    from constrained_nas.runs import trusted_run
    from constrained_nas.training import first_process

    events = _events(command.run) if command.tensorboard and first_process() else None
    finished = (command.run / "run.json").exists()
    first = first_process()
    with logged(command.run if first and not finished else None, command.quiet or not first) as console:
        if finished:
            record = trusted_run(command.run)
            console.print(f"{command.run} is finished: nothing to resume.")
            if events is not None:
                events.close()
        else:
            with progress_shown(console) as shown, stoppable(shown, _again(command.run)) as progress:
                record = _carried_out(command.run, progress, None, events)
        _print(console, record, command.run)


def _events(folder: Path) -> EventsOfCurves:
    from constrained_nas.reports import EventsOfCurves

    return EventsOfCurves(folder)


def _carried_out(folder: Path, progress: Progress, asked: Asked | None, events: EventsOfCurves | None) -> RunRecord:
    from constrained_nas.runs import carry_out

    if events is None:
        return carry_out(folder, progress, asked)
    try:
        return carry_out(folder, events.after(progress), asked)
    finally:
        events.close()


def _again(folder: Path) -> str:
    return f"continue with constrained-nas resume {folder}"


def _print(console: Console, record: RunRecord, folder: Path) -> None:
    from constrained_nas.reports import plain_number

    console.print(f"{record.space}, {record.method}, {record.data}, seed {record.seed}")
    table = Table()
    for column in ("budget", "limit", "spent", "measured", "fits"):
        table.add_column(column, justify="left" if column == "budget" else "right")
    for budget in record.budgets:
        measured = "" if budget.measured is None else plain_number(budget.measured)
        limit, spent = plain_number(budget.limit), plain_number(budget.value)
        table.add_row(_titled(budget.cost, budget.unit), limit, spent, measured, "yes" if budget.fits else "NO")
    console.print(table)
    networks = Table(title_justify="left")
    networks.add_column("network")
    networks.add_column("test accuracy, %", justify="right")
    for cost, unit in record.units.items():
        networks.add_column(_titled(cost, unit), justify="right", overflow="fold")
    for network in (record.found, *record.references):
        accuracy = "-" if network.accuracy is None else f"{network.accuracy:.1f}"
        networks.add_row(network.name, accuracy, *(plain_number(network.costs[cost]) for cost in record.units))
    console.print(networks)
    if record.measured is not None:
        told = record.measured
        console.print(
            f"On the device the median is {told.median:.4g} {told.unit}, at most {told.bound:.4g} with {told.confidence:.0%} "
            f"confidence; {len(told.attempts)} network(s) measured.",
        )
    for line in (_certified(record), *record.remarks, f"written to {folder}"):
        console.print(line)
    console.print(f"next: constrained-nas report {folder}, constrained-nas export {folder} --to python onnx", soft_wrap=True)


def _titled(cost: str, unit: str) -> str:
    return cost if unit == cost else f"{cost}, {unit}"


def _certified(record: RunRecord) -> str:
    certificate = record.certificate
    if certificate is None:
        return "No certificate: the answer is no exact projection."
    if certificate.bound is None:
        return "The budgets hold; no bound is known on the projection's objective."
    gap = certificate.gap or 0.0
    return f"Certificate of the projection: {certificate.primal:.6g}, bound {certificate.bound:.6g}, gap {gap:.2g}."

"""The command ``sweep``: budgets x tables x methods on one trained super-network, and the Pareto front of what was found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.commands.console import stoppable
from constrained_nas.commands.progress import logged, progress_shown
from constrained_nas.runs import MethodName, RunSettings, TrainingSettings, parse_budgets
from constrained_nas.sweeps import Backend, SearchMode

if TYPE_CHECKING:
    from constrained_nas.sweeps import SweepFront, SweepRecord


@dataclass(frozen=True)
class Sweep:
    """Find networks for many budgets on one trained super-network, and their Pareto front.

    Started again, a sweep computes only what is missing. For example: sweep hardcore-small --budget latency_ms=2:6:10 --table
    laptop.json --table phone.json --method hardcore --method random --out runs/s
    """

    space: Annotated[str, tyro.conf.Positional]
    """A space of search (constrained-nas spaces), or FILE.py:CALLABLE, a network of your own: the file is run. Searches of hardcore
    spaces share one super-network that is trained before; in other spaces each trains its own."""
    out: Path
    """Folder of the sweep: sweep.json, fronts as pictures, a file a cell, the super-network's checkpoint."""
    budget: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=LOW:HIGH:COUNT (evenly spaced) or NAME=LIMIT,LIMIT,... with NAME latency_ms, params or macs; several make every
    combination."""
    table: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Latency tables, for budgets in latency_ms; each has a front of its own."""
    method: tyro.conf.UseAppendAction[tuple[MethodName, ...]] = ()
    """By default the one that the space is made for; several are compared."""
    search: SearchMode = "once"
    """once: one search a table and method; its findings are projected onto the other budgets. every: each budget is searched."""
    search_at: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=LIMIT of the one search; by default the budget in the middle. Say it if more budgets may come later."""
    jobs: int = 1
    """Processes at a time."""
    backend: Backend = "joblib"
    """joblib: processes on this machine. ray: a Ray cluster that sees the folder (RAY_ADDRESS), or a local one. slurm: jobs of a
    Slurm cluster that sees the folder, or processes here."""
    test: bool = True
    """Test every network; without it there is no front."""
    fine_tune_epochs: int | None = None
    """Before a network is tested; 0 tests it with the super-network's weights. By default 0 in hardcore spaces, else as suits."""
    quiet: bool = False
    """Print nothing but errors; what would have been printed is in log.txt of the folder, with times, in any case."""
    training: Annotated[TrainingSettings, tyro.conf.arg(name="")] = field(default_factory=TrainingSettings)
    """Data, training and the length of searches."""


def sweep(command: Sweep) -> None:
    """Sweep, print what was found, and draw the fronts.

    Raises:
        ValueError: options that do not go together, or budgets of which none can be met.
        OSError: data or a table are not there, or a file cannot be written.
    """
    from constrained_nas.runs import plan_of
    from constrained_nas.sweeps import SweepOptions, parse_grid, run_sweep

    package = {"ray": "ray", "slurm": "submitit"}.get(command.backend)
    if package is not None and find_spec(package) is None:  # or hours later, when cells begin
        raise ImportError(f"--backend {command.backend} needs {package}: pip install 'constrained-nas[{command.backend}]'")
    grid = parse_grid(command.budget)
    plan = plan_of(RunSettings(space=command.space))
    methods: tuple[MethodName, ...] = tuple(dict.fromkeys(command.method)) or (cast(MethodName, plan.method),)
    epochs = 0 if command.fine_tune_epochs is None and plan.family.shares_supernet else command.fine_tune_epochs
    if command.search_at and command.search == "every":
        raise ValueError("--search-at is for --search once: with every there is no one search")
    options = SweepOptions(
        grid=tuple(grid),
        tables=command.table,
        methods=methods,
        search=command.search,
        searched=_search_at(command.search_at, [name for name, _ in grid[0]]),
        test=command.test,
        jobs=command.jobs,
        backend=command.backend,
    )
    settings = RunSettings(space=command.space, fine_tune_epochs=epochs, **command.training.model_dump())
    again = "the same command computes what is missing"
    command.out.mkdir(parents=True, exist_ok=True)
    with logged(command.out, command.quiet) as console:
        with progress_shown(console) as shown, stoppable(shown, again) as progress:
            record = run_sweep(settings, options, command.out, progress)
            pictures = draw_sweep(record, command.out)
        _print(console, record)
        console.print(f"written to {', '.join(map(str, (command.out / 'sweep.json', *pictures)))}", soft_wrap=True)


def draw_sweep(record: SweepRecord, folder: Path) -> list[Path]:
    """Draw every front of a sweep into a picture (``front_latency.png`` ...); returns their paths.

    Raises:
        OSError: a picture cannot be written.
    """
    from constrained_nas.reports import FrontPoint, draw_front, with_unit

    written = []
    names = {table.hash: table for table in record.tables}
    for front in record.fronts:
        cells = [cell for cell in record.cells if cell.network is not None and front.table in ("", cell.table)]
        points = [
            FrontPoint(cell.network.costs[front.cost], cell.network.accuracy, cell.method, cell.fits)
            for cell in cells
            if cell.network is not None and cell.network.accuracy is not None
        ]
        first = not front.table or front.table == record.tables[0].hash  # references are priced by the first table
        points += [
            FrontPoint(network.costs[front.cost], network.accuracy, network.name, reference=True)
            for network in record.references
            if first and network.accuracy is not None
        ]
        limits = [budget.limit for cell in cells for budget in cell.budgets if budget.cost == front.cost]
        label, title = with_unit(front.cost, front.unit), f"{record.space} on {record.data}, one super-network"
        name = f"front_{front.cost}"
        if front.table:
            table = names[front.table]
            threads = "one thread" if table.threads == 1 else f"{table.threads} threads"
            label += f": {table.device}, batch {table.batch}, {threads}"
            name += f"_{table.name}" if len(record.tables) > 1 else ""
        counts = Counter(cell.how for cell in cells)
        told = ", ".join(f"{count} {how}" for how, count in counts.items())
        title += f"\n{len(cells)} cells ({told}), hypervolume {front.hypervolume:.4f} of the box below the largest network"
        path = folder / (re.sub(r"\W+", "_", name).strip("_") + ".png")
        draw_front(points, path, label, f"test accuracy (%), {record.tested}", title, limits)
        written.append(path)
    return written


def _search_at(given: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, float], ...] | None:
    if not given:
        return None
    budgets = parse_budgets(given)
    if sorted(budgets) != sorted(names):
        raise ValueError(f"--search-at: expected a limit for each of {', '.join(names)}, got {', '.join(budgets)}")
    return tuple((name, budgets[name]) for name in names)


def _print(console: Console, record: SweepRecord) -> None:
    from constrained_nas.reports import plain_number, with_unit

    on_front = {key for front in record.fronts for key in front.keys}
    limited = {budget.cost: budget.unit for cell in record.cells for budget in cell.budgets}
    names = {table.hash: table.name for table in record.tables}
    table = Table(title=f"{record.space} on {record.data}: {len(record.cells)} cells, {record.tested}", title_justify="left")
    for column in ("", "method", *(("table",) if len(names) > 1 else ()), "how"):
        table.add_column(column, overflow="fold")
    for column in (*(f"{with_unit(cost, unit)}: used of limit" for cost, unit in limited.items()), "accuracy, %", "gap"):
        table.add_column(column, justify="right", overflow="fold")
    for cell in record.cells:
        start = [
            "*" if cell.key in on_front else "",
            cell.method,
            *((names.get(cell.table, ""),) if len(names) > 1 else ()),
            cell.how,
        ]
        if cell.network is None:
            said = "failed" if cell.how == "failed" else "nothing fits"
            table.add_row(*start, *(plain_number(limit) for limit in cell.limits.values()), said, "-", style="dim")
            continue
        used = [f"{plain_number(b.value)} of {plain_number(b.limit)}" for b in cell.budgets]
        accuracy = "not tested" if cell.network.accuracy is None else f"{cell.network.accuracy:.2f}"
        gap = "-" if cell.certificate is None or cell.certificate.gap is None else f"{cell.certificate.gap:.2g}"
        table.add_row(*start, *used, accuracy, gap)
    console.print(table)
    for front in record.fronts:
        console.print(_said(front, names))
    for remark in record.remarks:
        console.print(f"- {remark}")
    for cell in record.cells:
        if cell.how == "failed":
            limits = ", ".join(f"{name}={plain_number(limit)}" for name, limit in cell.limits.items())
            console.print(f"- {cell.method} at {limits} failed: {cell.remark}")


def _said(front: SweepFront, tables: dict[str, str]) -> str:
    table = f" by {tables[front.table]}" if front.table and len(tables) > 1 else ""
    each = ", ".join(f"{method} {volume:.4f}" for method, volume in front.by_method.items())
    return (
        f"front over {front.cost}{table}: {len(front.keys)} networks (*), hypervolume {front.hypervolume:.4f} ({each}); 1 is 100 % "
        f"accuracy at no cost, costs counted up to the largest network's ({front.reference:,.6g} {front.unit})"
    )

"""The command ``compare``: finished searches side by side, and which of them no other beats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from constrained_nas.commands.console import PlainConsole

if TYPE_CHECKING:
    from constrained_nas.reports import Comparison


@dataclass(frozen=True)
class Compare:
    """Compare finished searches: budgets, costs, accuracy, gaps and times; a star marks those that no other run beats.

    For example: compare runs/* --out comparison
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of finished searches. One that cannot be read is named and left out, and the exit status is 1."""
    out: Path | None = None
    """Folder for compare.json, compare.csv, and a picture of the front for every cost (front_latency_ms.png ...)."""
    json: bool = False
    """Print JSON instead of a table."""


def compare(command: Compare) -> None:
    """Print the comparison, write it if asked to, and fail at the end if a run could not be read.

    Raises:
        ValueError: no run can be read, or some could not be.
        OSError: a file cannot be written.
    """
    from constrained_nas.reports import compare_runs, save_comparison

    comparison = compare_runs(command.runs)
    console = PlainConsole()
    if command.json:
        console.print_json(comparison.model_dump_json())
    else:
        _print(console, comparison)
    if command.out is not None:
        written = [*save_comparison(comparison, command.out), *_draw(comparison, command.out)]
        if not command.json:
            console.print(f"written to {', '.join(map(str, written))}", soft_wrap=True)
    if comparison.left_out:
        raise ValueError("left out: " + "; ".join(comparison.left_out.values()))


def _print(console: Console, comparison: Comparison) -> None:
    from constrained_nas.reports import plain_number, with_unit

    title = "searches (costs: used, of limit; m: measured)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # 80 columns hold three costs
    varying = [what for what in ("space", "data") if len({getattr(run, what) for run in comparison.runs}) > 1]
    costs = {budget.cost: budget.unit for run in comparison.runs for budget in run.budgets}
    table.add_column("")
    table.add_column(f"run ({', '.join(['method', *varying])})", overflow="fold")
    for column in (
        *(with_unit(cost, unit).replace(" (", "\n(") for cost, unit in costs.items()),
        "fits",
        "accuracy\n%",
        "gap",
        "s",
    ):
        table.add_column(column, justify="right", overflow="fold")
    for run in comparison.runs:
        budgets = {budget.cost: budget for budget in run.budgets}
        used = []
        for cost in costs:
            text = f"{plain_number(run.costs[cost])}" if cost in run.costs else "-"
            if cost in budgets:
                text = f"{plain_number(budgets[cost].value)}\nof {plain_number(budgets[cost].limit)}"
            used.append(text + (f"\nm {plain_number(run.measured[cost])}" if cost in run.measured else ""))
        table.add_row(
            "*" if run.best else "",
            f"{run.run}\n({', '.join([run.method, *(str(getattr(run, what)) for what in varying)])})",
            *used,
            "yes" if run.fits else Text("NO", style="bold red"),
            "not tested" if run.accuracy is None else f"{run.accuracy:.2f}",
            "-" if run.gap is None else f"{run.gap:.2g}",
            f"{run.seconds:,.0f}",
        )
    console.print(table)
    if any(run.best for run in comparison.runs):
        console.print("* no other run on the same data is as accurate and as cheap, or better")
    for remark in comparison.remarks:
        console.print(f"- {remark}")


def _draw(comparison: Comparison, folder: Path) -> list[Path]:
    """A picture for every data set and every cost that a budget limits; none where fewer than one run was tested."""
    from constrained_nas.reports import FrontPoint, draw_front, with_unit

    written = []
    sets = list(dict.fromkeys(run.data for run in comparison.runs))
    for data in sets:
        group = [run for run in comparison.runs if run.data == data and run.accuracy is not None]
        for cost in dict.fromkeys(budget.cost for run in group for budget in run.budgets):
            having = [run for run in group if cost in run.costs]
            on_device = all(cost in run.measured for run in having)
            spaces = len({run.space for run in having}) > 1
            points = [
                FrontPoint(
                    (run.measured if on_device else run.costs)[cost],
                    run.accuracy or 0.0,
                    f"{run.method}, {run.space}" if spaces else run.method,
                    run.fits,
                )
                for run in having
            ]
            limits = [budget.limit for run in having for budget in run.budgets if budget.cost == cost]
            label = with_unit(cost, having[0].units.get(cost, "")) + (", measured" if on_device else "")
            name = f"front_{cost}" if len(sets) == 1 else f"front_{cost}_{data}"
            path = folder / (re.sub(r"\W+", "_", name).strip("_") + ".png")
            title = f"{', '.join(dict.fromkeys(run.space for run in having))} on {data}: {len(points)} searches"
            draw_front(points, path, label, "test accuracy (%)", title, limits)
            written.append(path)
    return written

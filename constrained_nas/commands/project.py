"""The command ``project``: the best selection from a CSV table that fits its budgets, with a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.budgets import read_budgets
from constrained_nas.commands.console import PlainConsole

if TYPE_CHECKING:
    from constrained_nas.selections import SelectionRecord, SelectionTable


@dataclass(frozen=True)
class Project:
    """Choose one option a group from a table, so that the summed score is greatest and every budget is kept.

    The table is a CSV file with the columns group, option, score and any number of costs. The answer is exact: it comes with a
    bound that says nothing within the budgets is better. For example: project table.csv --budget latency_ms=40 --budget params=5e6
    """

    table: Annotated[Path, tyro.conf.Positional]
    """CSV: group,option,score,<cost>,<cost>... with one option a line. A cost of inf forbids its option."""
    budget: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """COLUMN=LIMIT; may be given several times, and all of them hold at once. LIMIT is a number in the column's unit, or with one
    (latency=40ms, size=2MB, params=5M), a share of the costliest such as 60%, or both bounds as LOWER..UPPER, of which one may be
    left out."""
    link: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """GROUP,GROUP,...: groups that take the same option; may be given several times."""
    minimize_cost: str | None = None
    """COLUMN: ask for the least of this cost instead, with --at-least (or, of losses, --at-most) and without budgets."""
    at_least: float | None = None
    """With --minimize-cost: the least summed score that will do."""
    at_most: float | None = None
    """With --minimize-cost: the scores are losses, and this is the greatest sum that will do."""
    minimize: bool = False
    """Scores are losses: the smallest sum is best."""
    verify: bool = False
    """Have an independent solver recheck the certificate."""
    time_limit: float | None = None
    """Seconds after which the best selection so far is given, with how far from the best it can be."""
    gap: str = "0"
    """Stop once no selection can be better by more: a number in the unit of the scores, or a share such as 0.1%."""
    out: Path | None = None
    """Also write the selection: .json (everything) or .csv (the chosen lines of the table)."""
    json: bool = False
    """Print JSON instead of tables."""


def project(command: Project) -> None:
    """Solve the table and print the selection.

    Raises:
        ValueError: a malformed table or budget, or nothing fits.
        OSError: a file cannot be read or written.
    """
    if command.time_limit is not None and not command.time_limit > 0:
        raise ValueError(f"--time-limit: expected a positive number of seconds, got {command.time_limit}")
    from constrained_nas.selections import read_selection_table, save_selection, select, select_cheapest
    from solvers import SolverError

    table = read_selection_table(command.table)
    budgets = read_budgets(command.budget, table.costs, "COLUMN")
    links = [tuple(group.strip() for group in link.split(",")) for link in command.link]
    column = command.minimize_cost
    asked: dict[str, Any] = {"at_least": command.at_least, "at_most": command.at_most}
    if column is None and asked != {"at_least": None, "at_most": None}:
        raise ValueError("--at-least, --at-most: go with --minimize-cost COLUMN")
    if column is not None and (budgets or command.minimize):
        raise ValueError("--minimize-cost: goes with --at-least or --at-most, without --budget and --minimize")
    if column is not None and command.gap != "0":
        raise ValueError("--gap: goes with --budget, not with --minimize-cost")
    try:
        gap = command.gap if command.gap.endswith("%") else float(command.gap)
    except ValueError as error:
        raise ValueError(f"--gap: expected a number, or a share such as 0.1%, got {command.gap!r}") from error
    limits: Any = {"links": links, "verify": command.verify, "time_limit_seconds": command.time_limit}
    try:
        if column is not None:
            found = select_cheapest(table, column, **asked, **limits)
        else:
            found = select(table, budgets, minimize=command.minimize, gap=gap, **limits)
    except SolverError as error:  # nothing found in time: the user may allow more
        raise ValueError(str(error)) from error
    if command.out is not None:
        save_selection(found, table, command.out)
    console = PlainConsole()
    if command.json:
        console.print_json(found.model_dump_json())
        return
    if table.read_as:
        console.print(f"{table.source}: {table.read_as}")
    _print(console, table, found, command.verify)
    if command.out is not None:
        console.print(f"written to {command.out}")


def _print(console: Console, table: SelectionTable, found: SelectionRecord, verified: bool) -> None:
    chosen = Table(title=f"{found.table}: one option a group", title_justify="left")
    chosen.add_column("group")
    chosen.add_column("option")
    for column in ("score", *table.costs):
        chosen.add_column(column, justify="right")
    for group, option in found.choices.items():
        prices = [cost[group][option] for cost in table.costs.values()]
        chosen.add_row(group, option, *(f"{value:.6g}" for value in (table.scores[group][option], *prices)))
    chosen.add_section()
    chosen.add_row("sum", "", *(f"{value:.6g}" for value in (found.score, *found.totals.values())))
    console.print(chosen)
    spent = Table(title="budgets", title_justify="left")
    for column in ("cost", "limit", "spent", "left", "price: score for one unit more"):
        spent.add_column(column, justify="left" if column == "cost" else "right")
    for name, budget in found.budgets.items():
        price = "-" if budget.price is None else f"{budget.price:.4g}"
        limit = f"{budget.limit:.6g}" if budget.floor is None else f"{budget.floor:.6g} to {budget.limit:.6g}"
        spent.add_row(name, limit, f"{budget.spent:.6g}", f"{budget.limit - budget.spent:.3g}", price)
    if found.budgets:
        console.print(spent)
    bound = "no bound known" if found.bound is None else f"no selection that fits scores better than {found.bound:.9g}"
    if found.bound is not None and found.minimized:
        bound = f"no selection that is as good has less {found.minimized} than {found.bound:.9g}"
    gap = "" if found.gap is None else f" (gap {found.gap:.2g})"
    console.print(f"{found.status}: {bound}{gap}{', rechecked by another solver' if verified else ''}")

"""The best selection from a table of measurements: one option a group, several budgets at once, with a proof.

The table (``selection_table.csv`` beside this file) has one option a line: its group, its name, a score, and what it costs. From
the command line the same is done by

    constrained-nas project examples/selection_table.csv --budget latency_ms=20 --budget params=5e5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.selections import SelectionTable, read_selection_table, save_selection, select
from solvers import InfeasibleError, frontier

_TABLE = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class Options:
    """Choose one option a group from a CSV table under budgets, and see what more budget would buy."""

    table: Path = _TABLE
    """CSV with the columns group, option, score and any number of costs."""
    latency_ms: float = 20.0
    """Budget on the column latency_ms."""
    params: float = 5e5
    """Budget on the column params."""
    out: Path | None = None
    """Write the selection here (.json or .csv)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = tyro.cli(Options, args=arguments, description=__doc__)
    console = Console()
    table = read_selection_table(options.table)
    budgets = {"latency_ms": options.latency_ms, "params": options.params}
    found = select(table, budgets, verify=True)  # an independent solver rechecks the certificate
    for group, option in found.choices.items():
        console.print(f"{group}: {option}", highlight=False)
    for name, budget in found.budgets.items():
        console.print(f"{name}: {budget.spent:,.6g} of {budget.limit:,.6g}", highlight=False)
    console.print(f"score {found.score:.6g}, none that fits is above {found.bound:.6g}: {found.status}", highlight=False)
    console.print(_curve(table, budgets))
    half = sum(min(costs.values()) for costs in table.costs["latency_ms"].values()) / 2
    try:
        select(table, {"latency_ms": half})
    except InfeasibleError as error:  # what is asked for in vain is said, with the least there is
        console.print(f"half of the least: {error}", highlight=False)
    if options.out is not None:
        save_selection(found, table, options.out)
        console.print(f"written to {options.out}", highlight=False)


def _curve(table: SelectionTable, budgets: dict[str, float]) -> Table:
    """The score against the latency alone, at the budgets where the relaxation is exact, and what one millisecond more is worth."""
    curve = frontier(table.scores, table.costs["latency_ms"])
    shown = Table(title="latency against score (no other budget)", title_justify="left")
    for column in ("latency_ms", "score", "score for 1 ms more"):
        shown.add_column(column, justify="right")
    for budget, value, price in zip(curve.budgets, curve.values, curve.prices, strict=True):
        mark = " <" if budget <= budgets["latency_ms"] else ""
        shown.add_row(f"{budget:.2f}{mark}", f"{value:.1f}", f"{price:.3g}")
    return shown


if __name__ == "__main__":
    main()

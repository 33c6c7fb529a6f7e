"""What the figures of Budgeted Super Networks share: their options, the runs they show, colours, published curves apart from ours.

A figure reads the record of a table's runs (``--record runs/bsn_table1/bsn_table1_digits_runs.json``) or, without one, runs the
contest itself at the chosen scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from graphs.files import load_json, save_json
from papers_repro.bsn.contest import run_contest
from papers_repro.bsn.learned import budgets_in, chosen_of_seeds
from papers_repro.bsn.networks import Family, published_unit
from papers_repro.bsn.published import CostName, DataName, accuracies_of, curves, networks_of
from papers_repro.bsn.runs import ContestBudget, Method, RunsRecord
from papers_repro.bsn.setup import ContestOptions
from papers_repro.harness import Rows, Script, ScriptOptions, half_width, save_figure

COLOURS: dict[Method, str] = {"plain": "#5a5a5a", "soft": "#d62728", "hard": "#1f77b4"}
MARKERS: dict[Method, str] = {"soft": "o", "hard": "s", "plain": "^"}
_PUBLISHED = {"B-ResNet": "#9467bd", "B-CNF": "#2ca02c", "MSDNet": "#8c564b", "LCCL": "#17becf", "ResNet": "0.35", "CNF": "0.6"}


@dataclass(frozen=True)
class FigureOptions(ScriptOptions):
    """A figure of Budgeted Super Networks, from the record of a table's runs or from runs of its own."""

    record: Path | None = None
    """Runs to show (bsn_table1_digits_runs.json or the like), instead of new ones."""
    contest: Annotated[ContestOptions, tyro.conf.arg(name="")] = field(default_factory=ContestOptions)
    """Budgets, searches, data of new runs."""


Options = TypeVar("Options", bound=FigureOptions)


def make_figure(
    script: Script[Options],
    families: Sequence[Family],
    costs: Sequence[CostName],
    draw: Callable[[RunsRecord], Figure],
    tables: Callable[[RunsRecord], Sequence[Rows]],
) -> None:
    """Get the runs, show the numbers behind the picture, and write it.

    Raises:
        FileNotFoundError: there is no such record.
        ValueError: it is none, or holds no run that the figure could show.
    """
    options, contest = script.options, script.options.contest
    if options.record is not None:
        record = load_json(options.record, RunsRecord, "record of runs")
        script.scale = record.scale
    else:
        with script.bars() as progress:
            place = script.folder / contest.setup.data
            record = run_contest(families, costs, contest, options.scale, options.seed, place, progress)
        save_json(record, script.folder / f"{script.name}_{contest.setup.data}_runs.json")
    script.show(*tables(record))
    try:
        save_figure(draw(record), script.picture)
    except ValueError as error:  # nothing to show, and why
        raise SystemExit(f"no picture: {error}") from error


def draw_ours(axes: Axes, record: RunsRecord, family: Family, cost: CostName) -> None:
    """Test accuracy of the networks chosen within each budget over what they cost; budgets as vertical lines."""
    budgets = budgets_in(record, family, cost)
    unit, size = published_unit(cost, [budget.limit for budget in budgets])
    for budget in budgets:
        axes.axvline(budget.limit / size, color="0.8", linewidth=1, zorder=0)
    for method in COLOURS:
        groups = [_points(record, family, budget, method, size) for budget in budgets]
        groups = [group for group in groups if group]
        if not groups:
            continue
        colour = COLOURS[method]
        dots = np.array([point for group in groups for point in group])
        axes.scatter(dots[:, 0], dots[:, 1], s=12, color=colour, alpha=0.4, linewidths=0)
        means = np.array([np.mean(group, axis=0) for group in groups])
        halves = np.nan_to_num([half_width([y for _, y in group]) for group in groups])
        reach = np.minimum([halves, halves], [means[:, 1], 100 - means[:, 1]])  # no accuracy lies beyond 0 or 100 %
        # Soft marks are large and hollow, so that those of hard searches can be seen in them.
        face, size_of_mark, width = ("none", 11, 3.5) if method == "soft" else (colour, 6, 1.3)
        axes.errorbar(
            means[:, 0],
            means[:, 1],
            reach,
            label=method,
            marker=MARKERS[method],
            color=colour,
            capsize=0.4 * size_of_mark,
            markersize=size_of_mark,
            markerfacecolor=face,
            linewidth=1.3,
            elinewidth=width,
        )
    if cost.startswith("steps"):
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, (low + high) / 2 - 2), max(high, (low + high) / 2 + 2))  # a single budget has ticks beside it
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"ours, {family}: {record.data}, {record.scale} scale"
    axes.set(xlabel=f"{unit} (lines: budgets)", ylabel="test accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    legend_below(axes)


def legend_below(axes: Axes, columns: int = 3, gap: float = 0.16) -> None:
    """A legend under the axis' label, where it hides no data, ``gap`` heights below."""
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -gap), ncols=columns, frameon=False)


def _points(record: RunsRecord, family: Family, budget: ContestBudget, method: Method, size: float) -> list[tuple[float, float]]:
    chosen = chosen_of_seeds(record, family, budget, method)
    return [(entry.costs[budget.cost] / size, 100 * entry.test) for entry in chosen.values() if entry is not None]


def draw_published(axes: Axes, data: DataName, cost: CostName) -> None:
    """The published points of a data set under a cost: open markers and broken lines, as nothing of ours is drawn."""
    unit = "steps"
    for curve in curves(data, cost):
        x, y = zip(*sorted(curve.points), strict=True)
        colour = _PUBLISHED[curve.family]
        axes.plot(x, y, "--", marker="o", markerfacecolor="white", color=colour, label=curve.family, linewidth=1.2, markersize=5)
        unit = curve.unit
    size = 1e6 if cost in ("macs", "parameters") else 1.0
    for family, prefix in (("ResNet", "resnet-"), ("CNF", "cnf-")):
        points = []
        for network in networks_of(data, cost):
            accuracy, _ = accuracies_of(network.name, data)
            if network.name.startswith(prefix) and accuracy is not None:
                points.append((network.cost(cost, data) / size, accuracy))
        if points:
            x, y = zip(*sorted(points), strict=True)
            axes.plot(x, y, ":", marker="^", markerfacecolor="white", color=_PUBLISHED[family], label=family, markersize=5)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=unit, ylabel="test accuracy, %")
    axes.set_title(f"published, {data}", fontsize=10, style="italic")
    axes.grid(alpha=0.25)
    legend_below(axes)

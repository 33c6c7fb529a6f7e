"""Figures 3 and 6 of Budgeted Super Networks: the architectures found, drawn on the grid of their super-network.

For every budget the network of the seed with the best validation accuracy among those that fit. A module of it is drawn as wide as
it was probable at the end of its search, dashed where of a body and its shortcut only the shortcut is left; the rest of the
super-network are hair lines. ``--segmentation`` draws those of a fabric for segmentation (Fig. 6).

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 3 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constrained_nas.reports import draw_super_network
from graphs import DagSpace
from graphs.supernet import EdgeKey
from papers_repro.bsn import (
    ContestBudget,
    ContestOptions,
    ContestRun,
    CostName,
    EpochRecord,
    Family,
    FigureOptions,
    Method,
    RunsRecord,
    budgets_in,
    contest_preset,
    families_in,
    make_figure,
    published_unit,
    runs_of,
    switches,
)
from papers_repro.harness import Column, Row, Rows, Scale, new_figure, started

SCRIPT = "bsn_figure3"


@dataclass(frozen=True)
class Options(FigureOptions):
    """The architectures found under each budget, from the record of a table's runs or from runs of its own."""

    segmentation: bool = False
    """A fabric for segmentation (Fig. 6) instead of the fabrics for classification, in new runs."""
    method: Method = "soft"
    """Whose networks: soft or hard."""


def preset(scale: Scale) -> Options:
    """The options of a scale: new runs are searches of one seed, without reference networks."""
    return Options(scale, contest=replace(contest_preset(scale), seeds=1, plain=False, methods=("soft",), randoms=0, scratch=0))


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        families: tuple[Family, ...] = ("ResNet", "CNF")
        if options.segmentation:
            script.options, families = replace(options, contest=_on_scenes(options)), ("CNF segmentation",)
        make_figure(
            script,
            families,
            ("macs",),
            lambda record: draw(record, options.method),
            lambda record: [found_rows(record, options.method)],
        )


def _on_scenes(options: Options) -> ContestOptions:
    """The options with the data and budgets of segmentation at the same scale."""
    there = contest_preset(options.scale, "Part Labels")
    return replace(options.contest, setup=there.setup, cnf_sizes=there.cnf_sizes, cnf_shares=there.cnf_shares)


def draw(record: RunsRecord, method: Method = "soft", cost: CostName | None = None) -> Figure:
    """A row a super-network, a column a budget.

    Args:
        cost: of the budgets; the first of the record if not given.

    Raises:
        ValueError: no network of that method fits a budget.
    """
    rows = [(family, _found(record, family, method, cost)) for family in families_in(record)]
    rows = [(family, found) for family, found in rows if found]
    if not rows:
        raise ValueError(f"no {method} network of the record fits its budget")
    columns = max(len(found) for _, found in rows)
    figure = new_figure(4.6 * columns, sum(2.7 if family == "ResNet" else 3.6 for family, _ in rows))
    axes = figure.subplots(
        len(rows), columns, squeeze=False, height_ratios=[2.7 if family == "ResNet" else 3.6 for family, _ in rows]
    )
    for places, (_, found) in zip(axes, rows, strict=True):
        for place in places[len(found) :]:
            place.set_visible(False)
        for place, (budget, run, entry) in zip(places, found, strict=False):
            draw_found(place, run, entry)
            place.set_title(_caption(budget, run, entry), fontsize=9)
    figure.suptitle(f"Networks found ({method}; {record.data}, {record.scale} scale)", fontsize=12)
    return figure


def draw_found(axes: Axes, run: ContestRun, entry: EpochRecord) -> None:
    """The network of an epoch of a run on the grid of its super-network."""
    space = run.network.space()
    draw_super_network(axes, space.dag, module_use(space, entry, run.probabilities))


def module_use(space: DagSpace, entry: EpochRecord, probabilities: Sequence[float]) -> dict[EdgeKey, float]:
    """How much each module of an epoch's network was used: its probability at the end of the search, 1 if it has no switch."""
    parts = space.connectivity
    running = parts.running(space.space, space.switched(switches(entry.modules)))
    used = {}
    for edge in np.flatnonzero(running).tolist():
        column = int(parts.columns[edge])
        used[parts.edges[edge]] = 1.0 if column < 0 else max(0.05, probabilities[column // 2])  # what runs is never invisible
    return used


def best_found(record: RunsRecord, family: Family, budget: ContestBudget, method: Method) -> tuple[ContestRun, EpochRecord] | None:
    """The network of the best validation accuracy among all seeds' that fit; None where none fits."""
    runs = [run for run in runs_of(record, family, budget.cost, method) if run.budget == budget]
    found = [(run, entry) for run in runs if (entry := run.chosen(budget.cost, budget.limit)) is not None]
    return max(found, key=lambda pair: pair[1].validation, default=None)


def found_rows(record: RunsRecord, method: Method = "soft", cost: CostName | None = None) -> Rows:
    """The networks that are drawn."""
    shown = [(family, entry) for family in families_in(record) for entry in _found(record, family, method, cost)]
    rows: list[Row] = [
        {
            "network": f"{family}, {budget.name}",
            "limit": budget.limit,
            "cost": entry.costs[budget.cost],
            "modules": int(run.network.space().connectivity.running(space.space, space.switched(switches(entry.modules))).sum()),
            "accuracy": 100 * entry.test,
            "seed": run.seed,
        }
        for family, (budget, run, entry) in shown
        for space in [run.network.space()]
    ]
    columns = [
        Column("network", "network", f"super-network and budget; searched by the method {method!r}"),
        Column("limit", "budget", "in what the cost counts", ",.0f"),
        Column("cost", "cost", "of the network, alike", ",.0f"),
        Column("modules", "modules", "that run, stem and head included"),
        Column("accuracy", "test %", "test accuracy of one seed: the one of the best validation accuracy", ".1f"),
        Column("seed", "seed", "which"),
    ]
    return Rows("Networks drawn", columns, rows)


def _found(
    record: RunsRecord, family: Family, method: Method, cost: CostName | None
) -> list[tuple[ContestBudget, ContestRun, EpochRecord]]:
    budgets = [run.budget for run in record.runs if run.budget is not None]
    chosen = cost or budgets[0].cost
    found = [(budget, best_found(record, family, budget, method)) for budget in budgets_in(record, family, chosen)]
    return [(budget, *pair) for budget, pair in found if pair is not None]


def _caption(budget: ContestBudget, run: ContestRun, entry: EpochRecord) -> str:
    unit, size = published_unit(budget.cost, [budget.limit])
    within = f"{entry.costs[budget.cost] / size:.4g} of {budget.limit / size:.4g} {unit}"
    return f"{run.network.title}, budget {budget.name}\n{within}, test {100 * entry.test:.1f} %"


if __name__ == "__main__":
    main()

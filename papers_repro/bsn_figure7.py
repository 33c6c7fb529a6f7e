"""Figure 7 of Budgeted Super Networks: validation and test accuracy of every run, with the Pareto front.

A dot is the deterministic network after an epoch of a search. The front of cost and validation accuracy is what is kept (left); the
same networks on test data are what is reported (right): chosen among many, they do worse there on average.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers_repro.bsn import (
    COLOURS,
    ContestRun,
    CostName,
    EpochRecord,
    Family,
    FigureOptions,
    Method,
    RunsRecord,
    contest_preset,
    families_in,
    front_rows,
    legend_below,
    make_figure,
    pareto_front,
    published_unit,
    runs_of,
)
from papers_repro.harness import Rows, Scale, new_figure, started

SCRIPT = "bsn_figure7"


def preset(scale: Scale) -> FigureOptions:
    """The options of a scale: new runs are searches of the ResNet fabric, without reference networks."""
    return FigureOptions(scale, contest=replace(contest_preset(scale), plain=False, methods=("soft",), randoms=0, scratch=0))


def main() -> None:

    def tables(record: RunsRecord) -> Sequence[Rows]:
        return [front_rows(record, cost_of(record), families_in(record))]

    with started(SCRIPT, preset) as script:
        make_figure(script, ("ResNet",), ("macs",), draw, tables)


def cost_of(record: RunsRecord) -> CostName:
    """The cost of the first budget.

    Raises:
        ValueError: the record holds no search.
    """
    for run in record.runs:
        if run.budget is not None:
            return run.budget.cost
    raise ValueError("the record holds no search, only reference networks")


def draw(record: RunsRecord) -> Figure:
    """A row a super-network: validation, then test accuracy over cost."""
    families, cost = families_in(record), cost_of(record)
    figure = new_figure(11, 0.5 + 3.9 * len(families))
    axes = figure.subplots(len(families), 2, squeeze=False, sharex="row", sharey="row")
    for places, family in zip(axes, families, strict=True):
        for place, split in zip(places, ("validation", "test"), strict=True):
            _draw_split(place, record, family, cost, split)
    figure.suptitle(f"Every epoch of every search, and the front: {record.data}, {record.scale} scale", fontsize=12)
    return figure


def _draw_split(axes: Axes, record: RunsRecord, family: Family, cost: CostName, split: str) -> None:
    methods: tuple[Method, ...] = ("soft", "hard")
    searches = {method: runs_of(record, family, cost, method) for method in methods}
    entries = [entry for runs in searches.values() for run in runs for entry in run.history]
    unit, size = published_unit(cost, [entry.costs[cost] for entry in entries])
    limits = {run.budget.limit for runs in searches.values() for run in runs if run.budget}
    for limit in limits:
        axes.axvline(limit / size, color="0.8", linewidth=1, zorder=0)
    for method, runs in searches.items():
        if not runs:
            continue
        dots = _points([(run, entry) for run in runs for entry in run.history], cost, size, split)
        axes.scatter(dots[:, 0], dots[:, 1], s=13, color=COLOURS[method], alpha=0.3, linewidths=0, label=f"{method}, every epoch")
        front = _points(pareto_front(runs, cost), cost, size, split)
        style = "-" if split == "validation" else ":"
        axes.plot(front[:, 0], front[:, 1], style, marker="D", markersize=5, color=COLOURS[method], label=f"{method}, front")
    axes.set(xlabel=f"{unit} (lines: budgets)", ylabel=f"{split} accuracy, %")
    axes.set_title(f"{family}: {split}" + (" (of the front chosen on validation)" if split == "test" else ""), fontsize=10)
    axes.grid(alpha=0.25)
    legend_below(axes, 4)


def _points(pairs: Sequence[tuple[ContestRun, EpochRecord]], cost: CostName, size: float, split: str) -> np.ndarray:
    return np.array([(entry.costs[cost] / size, 100 * float(getattr(entry, split))) for _, entry in pairs])


if __name__ == "__main__":
    main()

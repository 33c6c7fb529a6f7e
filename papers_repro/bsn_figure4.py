"""Figure 4 of Budgeted Super Networks: the loss and the entropy of the switches over the epochs of the searches.

The loss is that of the sampled networks; the entropy is the mean over the switches, in nats: it tends to 0 as the distribution
becomes deterministic. Thin lines are seeds, thick ones their mean; dotted: the plain
network of equal cost, which samples nothing.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from papers_repro.bsn import (
    ContestRun,
    FigureOptions,
    Method,
    RunsRecord,
    budgets_in,
    contest_preset,
    families_in,
    legend_below,
    make_figure,
    runs_of,
)
from papers_repro.harness import Column, Row, Rows, Scale, new_figure, started

SCRIPT = "bsn_figure4"
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_WHAT = {"loss": "loss of sampled networks", "entropy": "entropy a switch, nats", "cost": "cost / budget"}


def preset(scale: Scale) -> FigureOptions:
    """The options of a scale: new runs are soft searches and the reference networks, nothing trained alone besides."""
    return FigureOptions(scale, contest=replace(contest_preset(scale), methods=("soft",), randoms=0, scratch=0))


def main() -> None:
    with started(SCRIPT, preset) as script:
        make_figure(script, ("ResNet", "CNF"), ("macs",), draw, lambda record: [curve_rows(record)])


def draw(record: RunsRecord) -> Figure:
    """A row a super-network and method; loss, entropy, and cost of the deterministic network over its budget."""
    groups = _groups(record)
    figure = new_figure(12, 0.6 + 3.0 * len(groups))
    axes = figure.subplots(len(groups), 3, squeeze=False, sharex=True)
    for row, (places, (title, runs)) in enumerate(zip(axes, groups, strict=True), 1):
        for place, what in zip(places, _WHAT, strict=True):
            _draw_curves(place, runs, what)
            if what == "loss":
                _draw_plain(place, record, runs)
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
        places[0].set_title(title, fontsize=10, loc="left")
        legend_below(places[0], gap=0.24 if row == len(groups) else 0.04)  # under the axis' label, where it has one
    for place in axes[-1]:
        place.set_xlabel("epoch (grey: warm-up)")
    figure.suptitle(f"Searches: {record.data}, {record.scale} scale", fontsize=12)
    return figure


def curve_rows(record: RunsRecord) -> Rows:
    """Loss, entropy and cost at the end of every group of searches."""
    rows: list[Row] = []
    for title, runs in _groups(record):
        for name, of_budget in _by_budget(runs).items():
            values = {what: np.mean([_values(run, what) for run in of_budget], axis=0) for what in _WHAT}
            rows.append({"search": f"{title}: {name}", **{what: float(curve[-1]) for what, curve in values.items()}})
            rows[-1]["first"] = float(values["entropy"][of_budget[0].warm_up - 1])
    columns = [
        Column("search", "searches", "super-network, method, budget; means over the seeds"),
        Column("loss", "loss", "of the networks sampled in the last epoch", ".3f"),
        Column("first", "entropy before", "mean entropy of a switch in nats when sampling begins", ".3f"),
        Column("entropy", "after", "the same after the last epoch", ".3f"),
        Column("cost", "cost / budget", "of the deterministic network after the last epoch", ".2f"),
    ]
    return Rows("Loss and entropy of the searches", columns, rows)


def _groups(record: RunsRecord) -> list[tuple[str, list[ContestRun]]]:
    """Searches of one super-network by one method under budgets on one cost.

    Raises:
        ValueError: the record holds no search.
    """
    costs = list(dict.fromkeys(run.budget.cost for run in record.runs if run.budget))
    methods: tuple[Method, ...] = ("soft", "hard")
    kinds = [(family, method, cost) for cost in costs for family in families_in(record) for method in methods]
    groups = [
        (f"{family}, {method}, {cost}", [run for run in runs_of(record, family, cost, method) if run.budget])
        for family, method, cost in kinds
        if budgets_in(record, family, cost)
    ]
    groups = [(title, runs) for title, runs in groups if runs]
    if not groups:
        raise ValueError("the record holds no search, only reference networks")
    return groups


def _by_budget(runs: Sequence[ContestRun]) -> dict[str, list[ContestRun]]:
    grouped: dict[str, list[ContestRun]] = {}
    for run in sorted(runs, key=lambda run: run.budget.limit if run.budget else 0.0):
        grouped.setdefault(run.budget.name if run.budget else "", []).append(run)
    return grouped


def _values(run: ContestRun, what: str) -> list[float]:
    if what == "cost":
        return [entry.costs[run.budget.cost] / run.budget.limit for entry in run.history] if run.budget else []
    return [float(getattr(entry, what)) for entry in run.history]


def _draw_curves(axes: Axes, runs: Sequence[ContestRun], what: str) -> None:
    axes.axvspan(0.5, runs[0].warm_up + 0.5, color="0.93", zorder=0)
    for place, (colour, (name, of_budget)) in enumerate(zip(_COLOURS, _by_budget(runs).items(), strict=False)):
        epochs = [entry.epoch for entry in of_budget[0].history]
        curves = np.array([_values(run, what) for run in of_budget])
        for curve in curves:
            axes.plot(epochs, curve, color=colour, linewidth=0.7, alpha=0.45)
        # Later ones are broken, so that what lies beneath shows where curves coincide.
        style = (0, (4, place)) if place else "-"
        axes.plot(epochs, curves.mean(axis=0), color=colour, linewidth=2, linestyle=style, label=name)
    if what == "cost":
        axes.axhline(1.0, color="0.3", linewidth=1, linestyle="--")
    axes.set_ylabel(_WHAT[what])
    axes.set_xlim(0.5, len(runs[0].history) + 0.5)
    axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
    axes.grid(alpha=0.25)


def _draw_plain(axes: Axes, record: RunsRecord, runs: Sequence[ContestRun]) -> None:
    """The training loss of the plain network of each budget that is named after one: the mean over its seeds."""
    for colour, name in zip(_COLOURS, _by_budget(runs), strict=False):
        plain = [run for run in record.runs if run.method == "plain" and run.network.title == name]
        if plain:
            losses = np.mean([[entry.loss for entry in run.history] for run in plain], axis=0)
            epochs = [entry.epoch for entry in plain[0].history]
            axes.plot(epochs, losses, ":", color=colour, linewidth=1.6, label=f"{name}, plain")


if __name__ == "__main__":
    main()

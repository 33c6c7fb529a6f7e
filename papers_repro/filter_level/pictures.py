"""Accuracy against cost as the paper draws it: the homogeneous line with its interval, heterogeneous networks beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from papers_repro.filter_level.homogeneous_line import Comparison
from papers_repro.filter_level.setup import Kind
from papers_repro.filter_level.trainings import Trained
from papers_repro.harness import half_width, new_figure
from solvers.arrays import FloatArray

CONFIDENCE = 0.6827  # the paper's intervals: one sigma of a normal distribution
_LINE, _PLAIN, _BETTER, _WORSE = "#222222", "#7f8c9b", "#1a7f5a", "#b5472f"
UNITS = {"quantization": ("bit operations of an image, millions", 1e6), "pruning": ("multiply-adds of an image, thousands", 1e3)}


def new_panels(rows: int, columns: int, height: float = 4.6) -> tuple[Figure, Any]:
    """A figure and its axes as an array (rows, columns)."""
    figure = new_figure(6.2 * columns, height * rows)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_accuracies(axes: Any, kind: Kind, trained: Sequence[Trained], comparisons: Sequence[Comparison]) -> None:
    """The homogeneous line with a band of 0.6827, and the heterogeneous networks with bars of the same, coloured by the verdict;
    grey without one."""
    scale = UNITS[kind][1]
    line = sorted((each for each in trained if each.candidate.homogeneous), key=lambda each: each.candidate.cost)
    costs, means = np.array([each.candidate.cost for each in line]) / scale, np.array([each.mean for each in line])
    halves = np.nan_to_num([half_width(each.test, CONFIDENCE) for each in line])
    below, above = bars(means, halves)
    axes.fill_between(costs, means - below, means + above, color=_LINE, alpha=0.12, lw=0)
    axes.plot(costs, means, "-o", color=_LINE, ms=5, lw=1.4, label="homogeneous, 0.6827 band", zorder=3)
    for place, (each, cost, mean) in enumerate(zip(line, costs, means, strict=True)):
        name = axes.annotate(each.candidate.name, (cost, mean), (7, -12) if place % 2 else (-6, 9), textcoords="offset points")
        name.set(fontsize=9, color=_LINE, zorder=6, path_effects=[withStroke(linewidth=3, foreground="white")])
    groups = {"better": (_BETTER, "^", "above the line"), "worse": (_WORSE, "v", "below the line")}
    verdicts = {id(each.trained): each.gain.verdict(CONFIDENCE) for each in comparisons}
    others = [each for each in trained if not each.candidate.homogeneous]
    for verdict in ("cannot be told apart", "better", "worse", "one training", "not compared"):
        found = [each for each in others if verdicts.get(id(each), "not compared") == verdict]
        if not found:
            continue
        colour, marker, label = groups.get(verdict, (_PLAIN, "o", verdict))
        middles = np.array([each.mean for each in found])
        axes.errorbar(
            [each.candidate.cost / scale for each in found],
            middles,
            yerr=bars(middles, np.nan_to_num([half_width(each.test, CONFIDENCE) for each in found])),
            fmt=marker,
            color=colour,
            ms=5,
            lw=1,
            capsize=2,
            label=f"heterogeneous, {label} ({len(found)})",
            zorder=2,
        )
    finish_axes(axes, UNITS[kind][0], "test accuracy, %", kind)


def bars(means: FloatArray, halves: FloatArray) -> FloatArray:
    """Lengths of error bars below and above accuracies in %, (2, n): none leaves 0 to 100."""
    return np.stack([np.minimum(halves, means), np.minimum(halves, 100.0 - means)])


def finish_axes(axes: Any, across: str, up: str, title: str, legend_columns: int = 2) -> None:
    """Labels, a light grid, no frame above and to the right; the legend stands below, where it hides nothing."""
    axes.set(xlabel=across, ylabel=up, title=title)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": legend_columns}
    axes.legend(fontsize=9, frameon=False, **below)


def side_by_side(places: Sequence[float], span: float, step: float) -> list[float]:
    """What to add to places so that those within 2 % of ``span`` of each other stand ``step`` apart, around where they are."""
    order, shifts = np.argsort(places, kind="stable").tolist(), [0.0] * len(places)
    group: list[int] = []
    for index in [*order, None]:
        if group and (index is None or places[index] - places[group[-1]] > 0.02 * span):
            for position, member in enumerate(group):
                shifts[member] = step * (position - (len(group) - 1) / 2)
            group = []
        if index is not None:
            group.append(index)
    return shifts

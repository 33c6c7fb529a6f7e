"""A picture of networks, accuracy over one cost, with the Pareto front of those that fit drawn as the staircase it is.

Methods have a colour and a marker each; networks that another beats in both respects are faint, those over their budget crossed
out, references are grey squares, limits are dashed lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from constrained_nas.reports.networks import save_figure
from constrained_nas.reports.words import plain_number
from solvers import non_dominated

_COLOURS = ("#1f6fb2", "#d9741a", "#2a9d55", "#8e5bb5", "#c0392b", "#6b6b2a", "#17899b", "#8c564b")
_MARKERS = "oD^vPX*p"


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A network: what it costs, its accuracy in %, whose it is (a method and what sets it apart), and whether it fits.

    A ``reference`` is named in the picture and takes no part in the front.
    """

    cost: float
    accuracy: float
    series: str
    fits: bool = True
    reference: bool = False


def draw_front(
    points: Sequence[FrontPoint], path: Path, cost_label: str, accuracy_label: str, title: str, limits: Sequence[float] = ()
) -> None:
    """Draw networks, at least one, and their front into a picture (.png, .pdf, .svg); ``limits`` are budgets on this cost.

    Raises:
        ValueError: no points.
        OSError: the file cannot be written.
    """
    if not points:
        raise ValueError("a front of no networks cannot be drawn")
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    for limit in sorted(set(limits)):
        axes.axvline(limit, color="0.82", lw=0.9, ls=(0, (4, 3)), zorder=0)
    on_front = _staircase(axes, points)
    series = list(dict.fromkeys(point.series for point in points if not point.reference))
    handles = [_series(axes, points, on_front, name, place) for place, name in enumerate(series)]
    for point in points:
        if point.reference:
            axes.plot([point.cost], [point.accuracy], "s", color="0.55", markersize=7, zorder=2)
            place, below = (point.cost, point.accuracy), (0, -14)
            axes.annotate(point.series, place, below, textcoords="offset points", ha="center", fontsize=8, color="0.4")
    if any(on_front):
        handles.append(Line2D([], [], color="0.35", lw=1.3, label="Pareto front"))
    if limits:
        handles.append(Line2D([], [], color="0.7", lw=0.9, ls=(0, (4, 3)), label="budgets"))
    if not all(point.fits for point in points):
        handles.append(Line2D([], [], color="0.2", marker="x", ls="none", label="over its budget"))
    axes.set(xlabel=cost_label, ylabel=accuracy_label)
    axes.set_title(title, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(lambda value, _: plain_number(value))
    axes.margins(0.07, 0.12)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=handles, loc="best", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
    save_figure(figure, path)


def _staircase(axes: Axes, points: Sequence[FrontPoint]) -> list[bool]:
    """Draw the front of the points that fit; which points are on it."""
    able = [place for place, point in enumerate(points) if point.fits and not point.reference]
    table = np.array([(points[place].cost, points[place].accuracy) for place in able]).reshape(-1, 2)
    kept = non_dominated(table, [False, True])
    on_front = [False] * len(points)
    for place, keep in zip(able, kept.tolist(), strict=True):
        on_front[place] = keep
    if kept.any():
        steps = table[kept][np.lexsort((table[kept][:, 1], table[kept][:, 0]))]
        axes.step(steps[:, 0], steps[:, 1], where="post", color="0.35", lw=1.3, zorder=1)
    return on_front


def _series(axes: Axes, points: Sequence[FrontPoint], on_front: Sequence[bool], name: str, place: int) -> Line2D:
    colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
    for point, best in zip(points, on_front, strict=True):
        if point.series != name or point.reference:
            continue
        size, alpha, edge, order = (9, 1.0, "white", 4) if best else (6, 0.4, "none", 3)
        style: dict[str, Any] = {"color": colour, "markersize": size, "alpha": alpha, "markeredgecolor": edge, "zorder": order}
        axes.plot([point.cost], [point.accuracy], marker, **style)
        if not point.fits:
            axes.plot([point.cost], [point.accuracy], "x", color="0.2", markersize=8, zorder=5)
    return Line2D([], [], color=colour, marker=marker, ls="none", markersize=7, label=name)

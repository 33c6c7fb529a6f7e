"""Pictures of accuracy and loss over latency: found networks, their fronts, and the published ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from constrained_nas.latency import Measurement
from papers_repro.harness import new_figure, save_figure
from papers_repro.prunet.published import FRONT
from papers_repro.prunet.searches import Pruned
from solvers.pareto import non_dominated

COLOURS = ("#1f6fb2", "#d9741a", "#2a9d5b", "#b0305c", "#6a4c93")
_MARKERS = "osD^v"
_NAMED = {  # where a name stands beside its marker, in points
    "EfficientNet-B0": (0, -11, "center"),
    "ResNet-50": (2, 6, "left"),
    "GPUNet-1": (6, -3, "left"),
    "GPUNet-2": (0, 6, "left"),
    "EfficientNet-B3": (6, -2, "left"),
    "ResNet-101": (0, -11, "center"),
    "REGNETY-32GF": (0, -11, "center"),
}
_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 4, "frameon": False}


def draw_table2(found: Sequence[Pruned], measured: Sequence[Measurement], limits: Sequence[float], path: Path, task: str) -> None:
    """Left ours: soft by alpha and hard by budget, means over seeds with every seed as a dot; right the published networks."""
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    kinds = (
        ("alpha", "soft, by alpha", COLOURS[0], "o"),
        ("hard", "hard budget T", COLOURS[1], "s"),
        ("full", "hard, T used in full", COLOURS[2], "D"),
        ("random", "random, T used in full", "0.4", "v"),
        ("random_alpha", "random, as costly as soft", "0.4", "^"),
        ("uniform_alpha", "uniform, as costly as soft", COLOURS[4], "P"),
    )
    for start, name, colour, marker in kinds:
        groups: dict[float, list[tuple[float, float]]] = {}
        for entry, time in zip(found, measured, strict=True):
            if re.match(r"[a-z]+(_alpha)?", entry.spec.name)[0] == start:  # type: ignore[index] # names begin with a word
                key = entry.spec.alpha if "alpha" in start else entry.spec.budget_ms or 0.0
                groups.setdefault(key, []).append((time.median, entry.accuracy))
        if not groups:
            continue
        dots = [dot for group in groups.values() for dot in group]
        left.scatter(*zip(*dots, strict=True), s=14, color=colour, alpha=0.45, linewidths=0)
        means = sorted((float(np.mean([x for x, _ in g])), float(np.mean([y for _, y in g])), key) for key, g in groups.items())
        open_marker: dict[str, Any] = {"mfc": "none", "ms": 10} if start == "hard" else {}  # may lie under that of "full"
        left.plot([x for x, _, _ in means], [y for _, y, _ in means], marker=marker, color=colour, label=name, **open_marker)
        for x, y, key in means if start == "alpha" else ():
            left.annotate(f"α {key:g}", (x, y), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=colour)
    for limit in limits:
        left.axvline(limit, color="0.6", linewidth=1, linestyle="--", zorder=0)
        left.annotate(f"T {limit:.2f}", (limit, 0.01), (3, 0), ("data", "axes fraction"), "offset points", fontsize=8, color="0.35")
    budgets = " (dashed: budgets, estimated)" if limits else ""
    left.set(xlabel=f"measured latency, ms{budgets}", ylabel="test accuracy, %", title=f"found here: {task}")
    left.legend(fontsize=8, **_BELOW | {"ncols": 3})
    for own, colour, name in ((False, "0.45", "others"), (True, COLOURS[3], "PRUNET-0 to -6")):
        rows = [row for row in FRONT if row.name.startswith("PRUNET") == own]
        points = [row.latency_ms for row in rows], [row.top1 for row in rows]
        right.plot(*points, "o-" if own else "o", color=colour, label=name, markersize=5)
    for row in FRONT:
        if row.name in _NAMED:
            across, up, side = _NAMED[row.name]
            place = row.latency_ms, row.top1
            right.annotate(row.name, place, (across, up), textcoords="offset points", ha=side, fontsize=7, color="0.3")
    right.set_xscale("log")
    right.set_xlim(0.42, 7)
    right.set_ylim(bottom=76.6)
    right.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    right.minorticks_off()
    right.set(xlabel="latency, ms (V100, half precision; logarithmic)", ylabel="ImageNet top-1, %")
    right.set_title("published (Table 2, without distillation)")
    right.legend(fontsize=8, **_BELOW)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    save_figure(figure, path)


def draw_two(
    groups: Mapping[str, Sequence[Pruned]], times: Mapping[str, Sequence[float]], path: Path, task: str, unit: str
) -> None:
    """Accuracy (left) and the search's cross-entropy (right) over latency, a colour a group, its front as a line.

    Args:
        groups: searches by what sets them apart.
        times: latencies in ms, in the order of each group's searches.
        unit: what the latencies are, e.g. "estimated latency, ms".
    """
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    for number, (name, entries) in enumerate(groups.items()):
        accuracies, losses = [entry.accuracy for entry in entries], [entry.record.cross_entropy for entry in entries]
        size = 4.0 + 2.5 * (len(groups) - 1 - number)  # open and smaller from group to group: equal networks are all to be seen
        style = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
        if np.isfinite(accuracies).all():
            scatter_front(left, times[name], accuracies, name, *style, maximize=True, size=size)
        scatter_front(right, times[name], losses, name, *style, maximize=False, size=size)
    left.set(xlabel=unit, ylabel="test accuracy after retraining, %", title=task)
    right.set(xlabel=unit, ylabel="cross-entropy in the search's last epoch", title="search")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, **_BELOW)
    save_figure(figure, path)


def scatter_front(
    axes: Axes, x: Sequence[float], y: Sequence[float], name: str, colour: str, marker: str, maximize: bool, size: float = 5.0
) -> None:
    """All points, and a line through those that none beats in both, whose markers of ``size`` points are open."""
    points = np.column_stack([x, y])
    kept = points[non_dominated(points, [False, maximize])]
    order = kept[kept[:, 0].argsort()]
    axes.scatter(points[:, 0], points[:, 1], s=22, color=colour, marker=marker, alpha=0.55, linewidths=0)
    axes.plot(order[:, 0], order[:, 1], marker=marker, mfc="none", color=colour, label=name, markersize=size, linewidth=1.3)

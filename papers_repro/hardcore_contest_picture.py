"""The picture of table 1: accuracy over measured latency, a dot a seed, a line through the means, budgets as vertical lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from papers_repro.hardcore_contest import CHEAPEST, METHODS, Tested

__all__ = ["draw_contest"]


def draw_contest(tested: Sequence[Tested], path: Path, task: str, conditions: str) -> None:
    """Write the picture to ``path``; ``task`` and ``conditions`` say what was tested and how latencies were measured."""
    figure, axes = plt.subplots(figsize=(8.5, 5))
    colours = dict(zip(METHODS, ("#d62728", "#ff7f0e", "#7f7f7f", "#1f77b4", "#2ca02c", "#9467bd"), strict=True))
    markers = dict(zip(METHODS, "oPsD^v", strict=True))
    budgets = sorted({t.outcome.budget for t in tested})
    for budget in budgets:
        limit = next(t.outcome.limit_ms for t in tested if t.outcome.budget == budget)
        axes.axvline(limit, color="0.6", linewidth=1, linestyle="--", zorder=0)
        axes.annotate(
            f"T = {limit:.2f} ms",
            (limit, 1),
            (2, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=8,
            color="0.35",
        )
    for method in METHODS:
        shown = budgets[:1] if method == CHEAPEST else budgets
        groups = [[t for t in tested if t.outcome.method == method and t.outcome.budget == budget] for budget in shown]
        dots = [t for group in groups for t in group]
        axes.scatter(
            [t.measured.median for t in dots], [t.accuracy for t in dots], s=14, color=colours[method], alpha=0.45, linewidths=0
        )
        x = [float(np.mean([t.measured.median for t in group])) for group in groups]
        y = [float(np.mean([t.accuracy for t in group])) for group in groups]
        axes.plot(x, y, marker=markers[method], color=colours[method], label=method, markersize=7, linewidth=1.3, alpha=0.9)
    axes.set_xlabel(f"measured latency, ms ({conditions})")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"Networks under hard latency budgets: {task} (small dots)", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)

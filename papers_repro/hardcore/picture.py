"""The picture of Table 1, drawn from its record: budgets as lines, networks by measured latency and test accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from papers_repro.hardcore.contest import CHEAPEST, METHODS, OURS, PENALTY
from papers_repro.hardcore.contest_rows import EVERY
from papers_repro.harness import mean, new_figure, save_figure

_STYLES = dict(zip(METHODS, ("#d62728", "#e377c2", "#ff7f0e", "#7f7f7f", "#1f77b4", "#8c564b", "#2ca02c", "#9467bd"), strict=True))
_MARKERS = dict(zip(METHODS, "o*PXDv^s", strict=True))


def draw_contest(record: Any, path: Path) -> None:
    """Write the picture of a record to ``path``.

    Raises:
        ValueError: the record has no table of every network.
    """
    table = next((table for table in record["tables"] if table["title"] == EVERY), None)
    if table is None:
        raise ValueError(f"no table {EVERY!r} in the record: is it of hardcore_table1?")
    rows: Sequence[Mapping[str, Any]] = table["ours"]
    budgets = sorted({row["budget"] for row in rows})
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    for limit in budgets:
        axes.axvline(limit, color="0.35", linewidth=1.2, linestyle="--", zorder=0)
        axes.annotate(
            f"T = {limit:.2f} ms",
            (limit, 0),
            (3, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            va="bottom",
            fontsize=9,
            color="0.35",
        )
    for method in METHODS:
        shown = budgets[:1] if method == CHEAPEST else budgets
        groups = [[row for row in rows if row["method"] == method and row["budget"] == limit] for limit in shown]
        ours, colour = method == OURS, _STYLES[method]
        dots = [row for group in groups for row in group] if method in (OURS, PENALTY) else []
        axes.scatter([d["measured"] for d in dots], [d["accuracy"] for d in dots], s=12, color=colour, alpha=0.5, linewidths=0)
        axes.plot(
            [mean(row["measured"] for row in group) for group in groups],
            [mean(row["accuracy"] for row in group) for group in groups],
            marker=_MARKERS[method],
            color=colour,
            label=method,
            markersize=9 if ours else 6,
            linewidth=2.2 if ours else 1,
            linestyle="-" if ours else ":",
            zorder=5 if ours else 2,
        )
    axes.set_xlabel("measured latency, ms")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"Networks under hard latency budgets: {table['remark']}", fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    save_figure(figure, path)

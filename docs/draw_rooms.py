"""Draws images/rooms.svg: the packages, their rooms, and who may import whom. Run it by hand after a room has come or gone."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

# Each package from its lowest row to its highest: a room imports from rows below it, never from above.
ROOMS = {
    "solvers": [["kernels", "backends"], ["knapsack", "subgraphs"], ["budgets", "descent"], ["selection"], ["staged"]],
    "graphs": [["blocks"], ["supernet", "filters"], ["spaces"], ["costs"]],
    "constrained_nas": [
        ["data", "latency"],
        ["training", "selections"],
        ["methods", "search"],
        ["runs", "export"],
        ["sweeps", "reports"],
        ["commands"],
    ],
    "papers_repro": [
        ["harness"],
        ["experiment"],
        ["bsn", "hardcore"],
        ["prunet", "filter_level"],
        ["scripts (files at the top)"],
    ],
}
ABOUT = {
    "solvers": "programs, budgets, certificates\n(numpy, no torch)",
    "graphs": "spaces, super-networks, costs\n(torch, networkx)",
    "constrained_nas": "searches, measuring, commands",
    "papers_repro": "the papers' tables and figures",
}
COLOURS = ("#dbe9f6", "#e2f0d9", "#fff2cc", "#fbe0d5")


def _box(axes, left: float, bottom: float, width: float, height: float, colour: str) -> None:  # type: ignore[no-untyped-def]
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor=colour, edgecolor="#555", linewidth=0.8))


def main() -> None:
    """Draw the picture beside this file."""
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rooms", "font.size": 9})
    figure = Figure(figsize=(10.4, 4.6))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, 10.4), ylim=(0, 4.6))
    axes.axis("off")
    for place, (package, rows) in enumerate(ROOMS.items()):
        left = 0.15 + 2.6 * place
        _box(axes, left, 0.15, 2.2, 4.3, COLOURS[place])
        axes.text(left + 1.1, 4.22, package, ha="center", va="center", weight="bold", size=10)
        axes.text(left + 1.1, 3.83, ABOUT[package], ha="center", va="center", size=8, style="italic")
        for row, rooms in enumerate(rows):
            width = (2.0 - 0.1 * (len(rooms) - 1)) / len(rooms)
            for column, room in enumerate(rooms):
                x, y = left + 0.1 + column * (width + 0.1), 0.25 + 0.55 * row
                _box(axes, x, y, width, 0.42, "white")
                axes.text(x + width / 2, y + 0.21, room, ha="center", va="center", size=8.5)
        if place:
            axes.annotate("", (left - 0.42, 2.3), (left - 0.02, 2.3), arrowprops={"arrowstyle": "->", "color": "#333", "lw": 1.4})
            axes.text(left - 0.2, 2.42, "imports", ha="center", va="bottom", size=7.5)
    target = Path(__file__).parent / "images" / "rooms.svg"
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()

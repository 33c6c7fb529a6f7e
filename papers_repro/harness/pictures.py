"""Pictures without a display, all of one look."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from graphs.files import written_whole


def new_figure(width: float, height: float) -> Figure:
    """A figure of that size in inches, drawn without a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write it as PNG."""
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=150)

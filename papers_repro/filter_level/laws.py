"""Pictures of the laws that searches learn: their parameters over the iterations, and the distributions they come to.

Operations: above, the probability of every operation, a thin line a layer and a thick one for their mean; below, what the last law
gives to the operations, layer by layer. Widths: above, the probability with which a filter is kept, a line a stage or layer; below,
the distribution of every width, as a share of the filters.

Reference: Zur et al., Fig. A.2, B.5 and B.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from constrained_nas.methods.filter_level import FilterLaw
from graphs import FilterSpace
from papers_repro.filter_level.pictures import finish_axes, new_panels
from papers_repro.filter_level.searches import Answers
from papers_repro.filter_level.setup import FilterSetup, space_of
from papers_repro.harness import save_figure
from solvers.arrays import FloatArray

_COLOURS = ("#1f6fb2", "#d9741a", "#1a7f5a", "#8e44ad", "#b5472f", "#7a6a2f")
_STYLES = ("-", "--", "-.", ":", "-", "--")
_ACROSS = 3


def draw_laws(found: Sequence[Answers], setup: FilterSetup, path: Path) -> None:
    """Write the picture: two panels a search, one above the other, three searches side by side."""
    figure, axes = new_panels(2 * -(-len(found) // _ACROSS), min(_ACROSS, len(found)), 3.9)
    for panel in axes.flat:
        panel.set_axis_off()
    for number, search in enumerate(found):
        row, column = 2 * (number // _ACROSS), number % _ACROSS
        panels = axes[row : row + 2, column]
        for panel in panels:
            panel.set_axis_on()
        space = space_of(setup, search.plan.kind)
        law = FilterLaw(space)
        start = law.start(search.plan.settings.get("start", 0.5))
        course = np.stack([start, *(np.array(entry["parameters"]) for entry in search.record.history)])
        probabilities = np.stack(
            [kept_probabilities(law, parameters) for parameters in course]
        )  # (iterations + 1, decisions, options)
        if space.kind == "quantization":
            _draw_operations(panels, search.plan.name, space, probabilities)
        else:
            _draw_widths(panels, search.plan.name, space, probabilities[:, :, 1])
        panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"The laws of filters, {setup.title} (Zur et al., Fig. A.2, B.5, B.6)")
    save_figure(figure, path)


def kept_probabilities(law: FilterLaw, parameters: FloatArray) -> FloatArray:
    """Of the options of a single filter: (decisions, operations), or (decisions, 2) for pruned and kept."""
    return np.stack([np.exp(weights) for weights in law.log_weights(parameters)])


def _draw_operations(panels: Any, name: str, space: FilterSpace, probabilities: FloatArray) -> None:
    above, below = panels
    iterations = np.arange(len(probabilities))
    for index, (operation, colour) in enumerate(zip(space.operations, _COLOURS, strict=False)):
        above.plot(iterations, probabilities[:, :, index], color=colour, lw=0.6, alpha=0.35)
        above.plot(iterations, probabilities[:, :, index].mean(1), color=colour, lw=2.2, label=operation.name)
    finish_axes(above, "iteration", "probability", f"{name}: layers thin, their mean thick", legend_columns=4)
    last, places = probabilities[-1], 1 + np.arange(len(space.units))
    bottom = np.zeros(len(places))
    for index, (operation, colour) in enumerate(zip(space.operations, _COLOURS, strict=False)):
        below.bar(places, last[:, index], 0.8, bottom=bottom, color=colour, label=operation.name)
        bottom += last[:, index]
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish_axes(below, "layer", "probability", f"{name}: the last law", legend_columns=4)


def _draw_widths(panels: Any, name: str, space: FilterSpace, kept: FloatArray) -> None:
    above, below = panels
    iterations, count = np.arange(len(kept)), len(space.units)
    many = count > len(_COLOURS)
    for index, filters in enumerate(space.units.tolist()):
        place = index / max(1, count - 1)
        colour: Any = (0.1 + 0.8 * place, 0.35, 0.75 - 0.6 * place) if many else _COLOURS[index]
        label = f"layer {index + 1}" if many else f"stage {index + 1}, {filters} filters"
        label = "" if many and 0 < index < count - 1 else label  # the colours between run from the first's to the last's
        above.plot(iterations, kept[:, index], "-" if many else _STYLES[index], color=colour, label=label)
        widths = np.arange(1, filters + 1)
        law = _binomial(filters - 1, float(kept[-1, index]))
        below.plot(widths / filters, law, color=colour, marker=".", ms=3, lw=1, label=label)
    finish_axes(above, "iteration", "probability to keep a filter", name, legend_columns=3)
    finish_axes(below, "width, share of the filters", "probability", f"{name}: the last law", legend_columns=3)


def _binomial(trials: int, probability: float) -> FloatArray:
    from scipy.stats import binom

    return np.asarray(binom.pmf(np.arange(trials + 1), trials, probability), dtype=np.float64)

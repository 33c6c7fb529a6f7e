"""Pictures of super-networks and of what was found in them.

Layers are dots where their positions put them (a fabric's grid), modules are arrows: coloured by what they do to the side of the
feature map, as wide as they are used. Of a body and its shortcut an arrow with a light core shows both, a solid one the body alone,
a dashed one the shortcut alone.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 3 and 6.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.text import Text

from graphs import MBConvSpace
from graphs.files import written_whole
from graphs.supernet import EdgeKey, layer_of

Positions = Mapping[Hashable, tuple[float, float]]
_SAME, _SMALLER, _LARGER = "#4d4d4d", "#1f6fb2", "#d9741a"  # apart from each other in greyscale and to the colour-blind
_HAIR, _DASHES = 0.4, (0, (3, 2))
_KINDS = {_SAME: "same side", _SMALLER: "to a smaller side", _LARGER: "to a larger side"}


def layer_positions(dag: nx.MultiDiGraph) -> dict[Hashable, tuple[float, float]]:
    """Where to draw each layer: its ``position`` if all carry one, else (longest path from the source, place among equals).

    Raises:
        ValueError: the graph has a cycle.
    """
    if all("position" in data for _, data in dag.nodes(data=True)):
        return dict(dag.nodes(data="position"))
    if not nx.is_directed_acyclic_graph(dag):
        raise ValueError("a graph with a cycle has no layers to draw in order")
    return {
        node: (float(depth), (len(generation) - 1) / 2 - place)
        for depth, generation in enumerate(nx.topological_generations(dag))
        for place, node in enumerate(generation)
    }


def staged_positions(space: MBConvSpace) -> dict[Hashable, tuple[float, float]]:
    """A stage a row, its blocks and then its end, every other row from right to left; what comes before stage 1 above it."""
    blocks, stages = space.settings.blocks_per_stage, len(space.settings.stages)
    dag = space.dag()
    before = [node for node in ("input", "stem", "separable") if node in dag]
    places: dict[Hashable, tuple[float, float]] = {node: (float(place - len(before) + 1), 0.0) for place, node in enumerate(before)}
    for stage in range(stages):
        row = [*(f"stage{stage + 1}.block{block + 1}" for block in range(blocks)), f"stage{stage + 1}"]
        for place, node in enumerate(row if stage % 2 == 0 else row[::-1]):
            places[node] = (float(place), -1.0 - stage)
    end, up = places[f"stage{stages}"]
    places["logits"] = (end + (1.0 if stages % 2 else -1.0), up)
    return places


def draw_super_network(
    axes: Axes, dag: nx.MultiDiGraph, use: Mapping[EdgeKey, float] | None = None, positions: Positions | None = None
) -> None:
    """Draw a super-network, or, with ``use``, the part of it that is used.

    Args:
        axes: scaled here so that a unit is as long across as down.
        use: how much each module is used, 0 to 1 (a module that is missing is not): the width of its arrow. A pair of modules under
            the keys ``body`` and ``skip`` is one arrow, with a light core where both are used, dashed where only the shortcut is.
            Unused pairs stay as hair lines.
        positions: of the layers; those of :func:`layer_positions` if not given.

    Raises:
        ValueError: a use that is not between 0 and 1 or of a module that is not there, or a layer without a position.
    """
    places = layer_positions(dag) if positions is None else dict(positions)
    lost = [node for node in dag if node not in places]
    if lost:
        raise ValueError(f"layer {lost[0]!r} has no position (and {len(lost) - 1} more)")
    for key, amount in (use or {}).items():
        if not dag.has_edge(*key) or not 0 <= amount <= 1:
            raise ValueError(f"use {amount} of module {key!r}: expected a module of the super-network and a number from 0 to 1")
    kinds, lowest = set(), 0.0
    for source, target in dict.fromkeys(dag.edges()):
        keys = list(dag[source][target])
        amounts = {key: 1.0 if use is None else float(use.get((source, target, key), 0.0)) for key in keys}
        amount = max(amounts.values())
        kind = "plain"
        if use is not None and amounts.get("skip", 0.0) > 0 and "body" in amounts:
            kind = "both" if amounts["body"] else "dashed"
        colour = _colour(dag, source, target) if amount else "0.85"
        kinds |= {colour} & set(_KINDS)
        sag = _arrow(axes, source, target, places, colour, _HAIR + 2.6 * amount if amount else _HAIR, kind)
        lowest = min(lowest, sag)
    used = {end for key, amount in (use or {}).items() if amount for end in key[:2]}
    for node in dag:
        _dot(axes, dag, node, places[node], faint=use is not None and node not in used)
    _label_rows(axes, dag, places)
    lines = [Line2D([], [], color=colour, label=label) for colour, label in _KINDS.items() if colour in kinds]
    if use is not None and any(key == "skip" for *_, key in dag.edges(keys=True)):
        both = Line2D([], [], color=_SAME, linewidth=3, path_effects=[Normal(), Stroke(linewidth=1, foreground="white")])
        both.set_label("body and shortcut")
        body = Line2D([], [], color=_SAME, linewidth=3, label="body only")
        lines += [both, body, Line2D([], [], color=_SAME, linewidth=2, linestyle=_DASHES, label="shortcut only")]
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False, fontsize=8)
    across, up = zip(*places.values(), strict=True)
    axes.set_xlim(min(across) - 0.6, max(across) + 0.6)
    axes.set_ylim(min(*up, lowest) - 0.5, max(up) + 0.5)
    axes.set_aspect("equal")
    axes.axis("off")


def save_picture(
    path: Path, dag: nx.MultiDiGraph, title: str, use: Mapping[EdgeKey, float] | None = None, positions: Positions | None = None
) -> None:
    """Draw a super-network into a file of its own (.png, .pdf, .svg, ...), as large as it needs to be.

    Raises:
        ValueError: as :func:`draw_super_network`, or a kind of file that matplotlib does not write.
        OSError: the file cannot be written.
    """
    places = layer_positions(dag) if positions is None else dict(positions)
    across, up = (np.ptp([place[axis] for place in places.values()]) for axis in (0, 1))
    figure = Figure(figsize=(max(5.0, 0.75 * across + 2.2), max(2.2, 0.75 * up + 1.6)), layout="constrained")
    axes = figure.add_subplot()
    draw_super_network(axes, dag, use, places)
    axes.set_title(title, fontsize=10)
    save_figure(figure, path, 200, tight=True)


def save_figure(figure: Figure, path: Path, dots_per_inch: int = 150, tight: bool = False) -> None:
    """Write a figure into a file, in a folder that is made where it is missing; ``tight`` as large as what is drawn needs.

    Raises:
        ValueError: a kind of file that matplotlib does not write.
        OSError: the file cannot be written.
    """
    known = FigureCanvasAgg(figure).get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known:
        raise ValueError(f"{path}: cannot draw this kind of file; there are {', '.join('.' + kind for kind in sorted(known))}")
    ticks = {text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in ticks:
            text.set_parse_math(False)  # a dollar in a name is a dollar
    with written_whole(path) as partial:
        figure.savefig(partial, dpi=dots_per_inch, bbox_inches="tight" if tight else None)


def _colour(dag: nx.MultiDiGraph, source: Hashable, target: Hashable) -> str:
    before, after = layer_of(dag, source).shape, layer_of(dag, target).shape
    if len(before) < 3 or len(after) < 3 or before[-1] == after[-1]:
        return _SAME
    return _SMALLER if after[-1] < before[-1] else _LARGER


def _arrow(axes: Axes, source: Hashable, target: Hashable, places: Positions, colour: str, width: float, kind: str) -> float:
    """Draw one arrow, sagging below layers that lie in between; how low it comes."""
    start, end = np.array(places[source]), np.array(places[target])
    others = np.array([place for node, place in places.items() if node not in (source, target)]).reshape(-1, 2)
    along = end - start
    share = np.clip((others - start) @ along / max(float(along @ along), 1e-12), 0, 1)
    blocked = bool((np.linalg.norm(others - start - share[:, None] * along, axis=1) < 0.2).any())
    bend = 0.35 * (-1 if along[0] < 0 else 1) if blocked else 0.0
    axes.add_patch(
        FancyArrowPatch(
            (start[0], start[1]),
            (end[0], end[1]),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=5 + 2 * width,
            shrinkA=5.5,
            shrinkB=5.5,
            linewidth=width,
            linestyle=_DASHES if kind == "dashed" else "-",
            color=colour,
            zorder=2 if width > _HAIR else 1,
        )
    )
    if kind == "both":
        core = FancyArrowPatch(
            (start[0], start[1]),
            (end[0], end[1]),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-",
            shrinkA=6,
            shrinkB=10 + width,
            linewidth=0.4 * width,
            color="white",
            zorder=2.5,
        )
        axes.add_patch(core)
    return float(min(start[1], end[1]) - abs(bend * along[0]) / 2)  # a quadratic curve comes half way to its control point


def _dot(axes: Axes, dag: nx.MultiDiGraph, node: Hashable, place: tuple[float, float], faint: bool) -> None:
    ends = dag.in_degree(node) == 0 or dag.out_degree(node) == 0
    edge = "0.75" if faint else "0.2"
    face = "0.9" if ends else "white"
    axes.plot(*place, marker="s" if ends else "o", markersize=9, markerfacecolor=face, markeredgecolor=edge, zorder=3)
    if ends:
        axes.annotate(str(node), place, (0, 8), textcoords="offset points", ha="center", va="bottom", fontsize=8, color=edge)


def _label_rows(axes: Axes, dag: nx.MultiDiGraph, places: Positions) -> None:
    """To the left of every row whose layers (source and sink aside) have one shape: that shape."""
    inner = [node for node in dag if dag.in_degree(node) and dag.out_degree(node)]
    left = min(across for across, _ in places.values())
    for up in sorted({places[node][1] for node in inner}):
        shapes = {layer_of(dag, node).shape for node in inner if places[node][1] == up}
        if len(shapes) == 1:
            label = " × ".join(map(str, shapes.pop()))
            axes.annotate(label, (left - 0.6, up), ha="right", va="center", fontsize=8, color="0.3", annotation_clip=False)

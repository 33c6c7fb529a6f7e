"""Figure 8 of Budgeted Super Networks: what a schedule costs depends on the graph, not on how many modules it has.

Modules are edges, additions are free, two machines work side by side. A chain of three modules followed by two branches of three
that join (9 modules) takes 6 steps; two separate chains of five (10 modules) take 5. Nothing is trained: the steps are those of
``graphs.costs.makespan_cost``, whose schedules are drawn. Runs in a second or two at every scale.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 8.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from graphs import DagSpace, add_edge, add_layer
from graphs.costs import makespan_cost
from graphs.supernet import EdgeKey
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, new_figure, row_of, save_figure, started

SCRIPT = "bsn_figure8"
MACHINES = 2
_COLOURS = ("#1f6fb2", "#d9741a", "#4d8f4d")


@dataclass(frozen=True)
class Options(ScriptOptions):
    """The scheduling example: steps on two machines of a fork and of two chains, with their schedules."""

    scale: Scale = "laptop"
    """Nothing depends on it."""
    seed: int = 0
    """Nothing depends on it."""
    resume: bool = False
    """Nothing to resume: it takes a second."""


def fork() -> DagSpace:
    """A chain of three modules, then two branches of three that join: 9 modules."""
    ways = [["in", "a1", "a2", "a3"], ["a3", "b1", "b2", "out"], ["a3", "c1", "c2", "out"]]
    places = {"in": (0.0, 0.0), "a1": (1.0, 0.0), "a2": (2.0, 0.0), "a3": (3.0, 0.0), "out": (6.0, 0.0)}
    places |= {"b1": (4.0, 0.6), "b2": (5.0, 0.6), "c1": (4.0, -0.6), "c2": (5.0, -0.6)}
    return _space("fork", ways, places)


def chains() -> DagSpace:
    """Two separate chains of five modules: 10 modules."""
    ways = [["in", *(f"{chain}{place}" for place in range(1, 5)), "out"] for chain in "ab"]
    places = {"in": (0.0, 0.0), "out": (5.0, 0.0)}
    places |= {f"{chain}{place}": (float(place), 0.6 * sign) for chain, sign in (("a", 1), ("b", -1)) for place in range(1, 5)}
    return _space("two chains", ways, places)


GRAPHS = {"a chain of 3, then two branches of 3": (fork, 6), "two chains of 5": (chains, 5)}


def preset(scale: Scale) -> Options:
    return Options(scale)


def main() -> None:
    """Print the steps, draw the graphs and their schedules."""
    with started(SCRIPT, preset) as script:
        script.show(step_rows())
        save_figure(draw(), script.picture)


def step_rows() -> Rows:
    """Steps of both graphs on one, two and four machines."""
    columns = [
        Column("graph", "graph", "modules are edges, additions take no step"),
        Column("modules", "modules", "how many there are"),
        Column("on1", "1 machine", "our steps on one machine"),
        Column("on2", "2", "on two"),
        Column("on4", "4", "on four"),
        Column("published", "published", "the published number for two machines"),
        Column("equal", "equal", "✓ where ours on two machines is equal to it"),
    ]
    rows: list[Row] = []
    for name, (build, published) in GRAPHS.items():
        space = build()
        steps = {machines: round(makespan_cost(space, machines, additions=0).cost(space.whole)) for machines in (1, 2, 4)}
        equal = "✓" if steps[MACHINES] == published else "✗"
        rows.append(row_of(columns, name, space.dag.number_of_edges(), *steps.values(), published, equal))
    return Rows("Sequential steps of the example", columns, rows)


def draw() -> Figure:
    """The graphs, each beside its schedule on two machines."""
    figure = new_figure(10.5, 4.4)
    axes = figure.subplots(2, 2, width_ratios=(1, 1))
    for places, (name, (build, _)) in zip(axes, GRAPHS.items(), strict=True):
        space = build()
        cost = makespan_cost(space, MACHINES, additions=0)
        schedule = [[task.edge for task in step if task.edge is not None] for step in cost.schedule(space.whole)]
        numbers = {edge: number for number, edge in enumerate(dict.fromkeys(edge for step in schedule for edge in step), 1)}
        _draw_graph(places[0], space.dag, numbers)
        places[0].set_title(f"{name}: {space.dag.number_of_edges()} modules", fontsize=10)
        _draw_schedule(places[1], schedule, numbers)
        places[1].set_title(f"{len(schedule)} steps on {MACHINES} machines", fontsize=10)
    return figure


def _space(name: str, ways: Sequence[Sequence[str]], places: dict[str, tuple[float, float]]) -> DagSpace:
    dag = nx.MultiDiGraph()
    for layer in dict.fromkeys(layer for way in ways for layer in way):
        add_layer(dag, layer, (1,), "sum")
        dag.nodes[layer]["position"] = places[layer]
    for way in ways:
        for source, target in pairwise(way):
            add_edge(dag, source, target, partial(nn.Linear, 1, 1), decision=f"{source} -> {target}", option=1)
    return DagSpace(name, dag)


def _draw_graph(axes: Axes, dag: nx.MultiDiGraph, numbers: dict[EdgeKey, int]) -> None:
    positions = dict(dag.nodes(data="position"))
    for edge in dag.edges(keys=True):
        (x0, y0), (x1, y1) = positions[edge[0]], positions[edge[1]]
        arrow = {"arrowstyle": "-|>", "color": _colour(edge[:2]), "linewidth": 1.8, "shrinkA": 5, "shrinkB": 5}
        axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        axes.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.1, str(numbers[edge]), ha="center", va="bottom", fontsize=9)
    for x, y in positions.values():
        axes.plot(x, y, "o", color="white", markeredgecolor="0.3", markersize=9, zorder=3)
    axes.set_xlim(-0.4, 6.4)
    axes.set_ylim(-1.0, 1.1)
    axes.axis("off")


def _draw_schedule(axes: Axes, schedule: Sequence[Sequence[EdgeKey]], numbers: dict[EdgeKey, int]) -> None:
    for step, edges in enumerate(schedule, 1):
        for machine, edge in enumerate(edges):
            axes.add_patch(Rectangle((step - 0.96, machine + 0.08), 0.92, 0.84, color=_colour(edge[:2])))
            axes.text(step - 0.5, machine + 0.5, str(numbers[edge]), ha="center", va="center", color="white", fontsize=10)
    axes.set_xlim(0, 6)
    axes.set_ylim(MACHINES, 0)
    axes.set_xticks([step + 0.5 for step in range(6)], [str(step + 1) for step in range(6)])
    axes.set_yticks([machine + 0.5 for machine in range(MACHINES)], [f"machine {machine + 1}" for machine in range(MACHINES)])
    axes.set_xlabel("step")
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _colour(ends: tuple[Hashable, Hashable]) -> str:
    """Of the chain that a module belongs to: that of the named layer at its end."""
    chain = str(ends[1])[0] if ends[1] != "out" else str(ends[0])[0]
    return _COLOURS["abc".index(chain)]


if __name__ == "__main__":
    main()

"""Pictures of one search: how far each budget is used, the curves of the epochs, and the found network among its references.

What a record does not hold is not drawn: a picture of nothing returns False, and the report says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from constrained_nas.reports.networks import save_figure
from constrained_nas.runs import RunRecord

_FITS, _OVER, _LINE, _LIMIT = "#1f6fb2", "#c0392b", "#1f6fb2", "#d9741a"
_KEYS_OF_TIME = {"epoch", "seconds", "step"}
_TIMES = {"ms", "us", "s"}  # what a table estimates; other units are counted


def plain_number(value: float) -> str:
    """A number as people write it: 28,000 and 4.312, not 2.8e+04."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def with_unit(cost: str, unit: str) -> str:
    """``latency (ms)``; where the name says the unit, the name alone."""
    return cost if not unit or unit.lower() in cost.lower().split() else f"{cost} ({unit})"


def draw_budgets(record: RunRecord, path: Path) -> bool:
    """Bars of what the found network costs, by the table or count and as measured, in % of each limit. False without budgets."""
    if not record.budgets:
        return False
    bars: list[tuple[str, float, float, str, bool]] = []  # label, value, limit, unit, measured
    for budget in record.budgets:
        kind = "estimated" if budget.unit in _TIMES else "counted"
        bars.append((f"{budget.cost}\n{kind}", budget.value, budget.limit, budget.unit, False))
        if record.measured is not None and record.measured.cost == budget.cost:
            bars.append((f"{budget.cost}\nmeasured", record.measured.median, record.measured.limit, record.measured.unit, True))
    figure = Figure(figsize=(7.2, 0.62 * len(bars) + 1.3), layout="constrained")
    axes = figure.add_subplot()
    longest = 100.0
    for place, (_, value, limit, unit, measured) in enumerate(bars):
        share = 100 * value / limit
        longest = max(longest, share)
        colour = _FITS if value <= limit else _OVER
        axes.barh(place, share, height=0.6, color=colour, alpha=0.75 if measured else 1.0, hatch="//" if measured else None)
        text = f"{plain_number(value)} of {plain_number(limit)} {unit}"
        by, side = (-6, "right") if share > 45 else (6, "left")  # inside the bar where it is long enough
        colour = "white" if share > 45 and not measured else "0.1"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0} if measured else None
        where: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center"}
        axes.annotate(text, (share, place), (by, 0), fontsize=9, color=colour, bbox=box, **where)
    if record.measured is not None and any(measured for *_, measured in bars):
        place = next(place for place, bar in enumerate(bars) if bar[4])
        bound = 100 * record.measured.bound / record.measured.limit
        middle = 100 * record.measured.median / record.measured.limit
        axes.errorbar(middle, place, xerr=np.array([[0.0], [max(0.0, bound - middle)]]), color="0.1", capsize=4, lw=1.2)
        longest = max(longest, bound)
    axes.axvline(100, color=_LIMIT, lw=1.8, ls="--")
    _call_limit(axes, (100, 1), (3, 2), ("data", "axes fraction"))
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.set(xlim=(0, longest * 1.08), xlabel="% of the budget")
    axes.invert_yaxis()
    _calm(axes, "x")
    save_figure(figure, path)
    return True


def draw_curves(record: RunRecord, path: Path) -> bool:
    """A panel for every number that the history holds, over the epochs; costs with their limits. False without a history."""
    limits = {budget.cost: budget.limit for budget in record.budgets}
    panels = _panels(record)
    if not panels:
        return False
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(3.6 * across + 0.4, 2.6 * down + 0.2), layout="constrained")
    for place, (name, points) in enumerate(panels.items()):
        axes = figure.add_subplot(down, across, place + 1)
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, "o-", color=_LINE, markersize=4, lw=1.5)
        cost = name.removeprefix("expected ").removeprefix("found network: ")
        if cost in limits:
            axes.axhline(limits[cost], color=_LIMIT, ls="--", lw=1.4)
            _call_limit(axes, (1, limits[cost]), (-2, 3), ("axes fraction", "data"), ha="right")
        axes.set_title(name if cost not in limits else with_unit(name, record.units.get(cost, "")), fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.ticklabel_format(axis="y", useOffset=False)
        _calm(axes, "both")
    save_figure(figure, path)
    return True


def draw_networks(record: RunRecord, path: Path) -> bool:
    """A panel a cost: test accuracy over cost of the found network and its references. False where none of them was tested."""
    tested = [network for network in (record.found, *record.references) if network.accuracy is not None]
    if not tested:
        return False
    limits = {budget.cost: budget.limit for budget in record.budgets}
    costs = [name for name in record.units if any(name in network.costs for network in tested)]
    if not costs:
        return False
    figure = Figure(figsize=(max(5.0, 3.9 * len(costs)), 3.6), layout="constrained")
    for place, cost in enumerate(costs):
        axes = figure.add_subplot(1, len(costs), place + 1)
        for network in tested:
            if cost in network.costs and network.accuracy is not None:
                _point(axes, network.name, network.costs[cost], network.accuracy, found=network is record.found)
        if cost in limits:
            axes.axvline(limits[cost], color=_LIMIT, ls="--", lw=1.4)
            _call_limit(axes, (limits[cost], 1), (3, -3), ("data", "axes fraction"), rotation=90, va="top")
        axes.set_xlabel(with_unit(cost, record.units[cost]))
        if place == 0:
            axes.set_ylabel("test accuracy (%)")
        axes.margins(0.18)
        axes.xaxis.set_major_formatter(lambda value, _: plain_number(value))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        _calm(axes, "both")
    save_figure(figure, path)
    return True


def _point(axes: Axes, name: str, cost: float, accuracy: float, found: bool) -> None:
    marker, size, colour = ("o", 10, _LINE) if found else ("s", 7, "0.55")
    axes.plot([cost], [accuracy], marker, markersize=size, color=colour, zorder=3 if found else 2)
    label, colour = f"{name}\n{accuracy:.1f} %", "0.1" if found else "0.4"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    axes.annotate(label, (cost, accuracy), (0, 9), textcoords="offset points", ha="center", fontsize=8, color=colour, bbox=box)


def _panels(record: RunRecord) -> dict[str, list[tuple[int, float]]]:
    """{name: [(epoch, value)]} of everything in the history that is a number."""
    panels: dict[str, list[tuple[int, float]]] = {}
    for place, entry in enumerate(record.history):
        epoch = int(entry.get("epoch", place + 1))
        for name, value in _numbers(entry):
            panels.setdefault(name, []).append((epoch, value))
    return panels


def _numbers(entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The entry's numbers; those of the network it stands for are ``found network: cost``, expectations ``expected cost``."""
    numbers = []
    for name, value in entry.items():
        if isinstance(value, Mapping):
            prefix = {"costs": "found network: ", "expected_costs": "expected ", "expected": "expected ", "scores": ""}.get(name)
            if prefix is not None:
                numbers += [(prefix + inner, float(given)) for inner, given in value.items() if _is_number(given)]
        elif name not in _KEYS_OF_TIME and _is_number(value):
            numbers.append((name.replace("expected_", "expected "), float(value)))
    return numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _call_limit(axes: Axes, place: tuple[float, float], by: tuple[float, float], coordinates: Any, **style: Any) -> None:
    axes.annotate("limit", place, by, xycoords=coordinates, textcoords="offset points", fontsize=8, color=_LIMIT, **style)


def _calm(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, axis=grid)  # type: ignore[arg-type] # one of matplotlib's three words

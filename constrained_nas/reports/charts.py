"""Charts of a report: budgets, networks among each other, what other budgets would have brought, curves, and the search itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from constrained_nas.reports.svg import Panel, element, stacked, words
from constrained_nas.reports.words import plain_number, with_unit
from constrained_nas.runs import RunRecord

_KEYS_OF_TIME = {"epoch", "iteration", "seconds", "step"}
_ROWS = 48  # decisions that are shown at once
_SERIES = ("", "second", "third")


def budget_bars(record: RunRecord) -> str:
    """A bar a budget: the share of it that the found network uses, as counted and as measured."""
    bars = []
    for budget in record.budgets:
        at = record.measured
        measured = at if at is not None and at.cost == budget.cost else None
        values = [("", budget.value, budget.limit)] + ([] if measured is None else [(" measured", measured.median, measured.limit)])
        for what, value, limit in values:
            share = 100 * value / limit
            scale = max(100.0, share) * 1.02
            text = f"{budget.cost}{what}: {plain_number(value)} of {plain_number(limit)} {budget.unit}, {share:.1f} %"
            over = " over" if value > limit else ""
            bars.append(
                f'<div class="faint">{words(text)}</div><div class="bar{over}"><b style="width:{share / scale:.2%}"></b>'
                f'<i style="left:{100 / scale:.2%}"></i></div>'
            )
    return "".join(bars)


def network_panels(record: RunRecord) -> list[str]:
    """A panel a cost: test accuracy over cost of the found network and the others. None where no network was tested."""
    tested = [network for network in (record.found, *record.references) if network.accuracy is not None]
    limits = {budget.cost: budget.limit for budget in record.budgets}
    panels = []
    for cost, unit in record.units.items():
        having = [(network, network.costs[cost], network.accuracy or 0.0) for network in tested if cost in network.costs]
        if not having:
            continue
        points = [(value, accuracy) for _, value, accuracy in having]
        held = [*points, *([(limits[cost], points[0][1])] if cost in limits else [])]
        panel = Panel.around("test accuracy, %", held, with_unit(cost, unit), margin=0.12)
        if cost in limits:
            panel.limit(limits[cost], "limit", upright=True)
        for network, value, accuracy in reversed(having):
            found = network is record.found
            panel.dot(value, accuracy, "" if found else "other", network.name, 6 if found else 4.5)
        panels.append(panel.render())
    return panels


def nearby_panels(record: RunRecord) -> list[str]:
    """A panel a budget: the best score that each limit allows, by the search's own scores."""
    certificate = record.certificate
    if certificate is None:
        return []
    panels = []
    for budget in record.budgets:
        there = [(near.costs[budget.cost], near.score) for near in record.nearby if near.cost == budget.cost]
        points = sorted((cost, score) for cost, score in there if score is not None)
        if len(points) < 2:
            continue
        own = (budget.value, certificate.primal)
        what = "score" if certificate.maximize else "loss"
        held = [*points, own, (budget.limit, own[1])]
        panel = Panel.around(f"best {what} within a limit", held, with_unit(budget.cost, budget.unit), margin=0.1)
        panel.limit(budget.limit, "limit", upright=True)
        panel.line(sorted([*points, own]), "", dots=True)
        panel.dot(*own, "second", "found", 5.5)
        panels.append(panel.render())
    return panels


def training_panels(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """A panel a phase and number: loss, accuracy (%) and learning rate over steps, training and held-out images together."""
    phases: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        phases.setdefault(line["phase"], []).append(line)
    panels = []
    for phase, told in phases.items():
        for title, names in (
            ("loss", ("loss", "objective", "architecture_loss")),
            ("accuracy, %", ("accuracy",)),
            ("learning rate", ("rate",)),
        ):
            series = {name: _points(told, name) for name in names}
            if title != "learning rate":
                inner = title.partition(",")[0]
                held = [
                    (float(line["step"]), line["validation"].get(inner))
                    for line in told
                    if isinstance(line.get("validation"), Mapping)
                ]
                series["held out"] = [(step, float(value)) for step, value in held if _is_number(value)]
            series = {name: points for name, points in series.items() if points}
            if not series or (title == "learning rate" and len({rate for _, rate in series["rate"]}) < 2):
                continue
            panel = Panel.around(f"{phase}: {title}", [point for points in series.values() for point in points], "step", whole=True)
            for place, (name, points) in enumerate(series.items()):
                panel.line(points, _SERIES[place % 3], dots=len(points) < 12)
                if len(series) > 1:
                    panel.series.append((_SAID.get(name, name), _SERIES[place % 3]))
            panels.append(panel.render())
    return panels


_SAID = {"loss": "training", "accuracy": "training", "architecture_loss": "architecture's images", "objective": "with penalty"}


def history_panels(record: RunRecord) -> list[str]:
    """A panel for every number of the history, over the epochs; costs with their limits."""
    limits = {budget.cost: budget.limit for budget in record.budgets}
    series: dict[str, list[tuple[float, float]]] = {}
    for place, entry in enumerate(record.history):
        epoch = entry.get("epoch", entry.get("iteration", place + 1))
        for name, value in _numbers(entry):
            series.setdefault(name, []).append((float(epoch) if _is_number(epoch) else place + 1.0, value))
    panels = []
    for name, points in series.items():
        cost = name.removeprefix("expected ").removeprefix("found network: ")
        held = [*points, *([(points[0][0], limits[cost])] if cost in limits else [])]
        panel = Panel.around(name if cost not in limits else with_unit(name, record.units.get(cost, "")), held, "epoch", whole=True)
        if cost in limits:
            panel.limit(limits[cost], "limit", upright=False)
        panel.line(points, "", dots=len(points) < 30)
        panels.append(panel.render())
    return panels


def search_picture(record: RunRecord, lines: Sequence[Mapping[str, Any]]) -> str:
    """What the search decided over its steps: a row a decision with the probability of every option, and what would be spent.

    Empty where no probabilities were recorded.
    """
    told = [line for line in lines if isinstance(line.get("probabilities"), Mapping)]
    if not told:
        return ""
    names = list(told[0]["probabilities"])
    options = {name: list(dict.fromkeys(o for line in told for o in line["probabilities"].get(name, {}))) for name in names}
    rows = []
    for name in names:
        chances = [[_chance(line, name, option) for option in options[name]] for line in told]
        band = stacked(chances, options[name], f"{name}: the probability of every option over the search")
        chosen = record.found.choices.get(name, "")
        rows.append((name, band, chosen if isinstance(chosen, str) else "", max(map(max, chances))))
    shown = "".join(_row(*row[:3]) for row in rows[:_ROWS])
    more = rows[_ROWS:]
    hidden = f'<div class="decisions">{"".join(_row(*row[:3]) for row in more)}</div>'
    rest = f"<details><summary>{len(more)} more decisions</summary>{hidden}</details>"
    head = '<span class="faint">decision</span><span class="faint">first step to last</span><span class="faint">chosen</span>'
    grid = f'<div class="decisions">{head}{shown}</div>{rest if more else ""}'
    return _keys(options) + grid + _spent(record, told)


def _row(name: str, band: str, chosen: str) -> str:
    return f"<span>{words(name)}</span>{band}<span>{words(chosen)}</span>"


def _keys(options: Mapping[str, Sequence[str]]) -> str:
    """Colours of the options, for every set of them; of more than four the bands themselves say which is which."""
    kinds = list(dict.fromkeys(tuple(names) for names in options.values()))
    if len(kinds) > 4:
        return '<p class="faint">A band names its options where the pointer rests.</p>'
    made = []
    for kind in kinds:
        squares = [
            element("svg", {"viewBox": "0 0 1 1"}, element("rect", {"width": 1, "height": 1, "class": f"h{place % 12}"}))
            for place in range(len(kind))
        ]
        made.append(
            f'<div class="key">{"".join(f"<span>{s}{words(name)}</span>" for s, name in zip(squares, kind, strict=True))}</div>'
        )
    return "".join(made)


def _spent(record: RunRecord, told: Sequence[Mapping[str, Any]]) -> str:
    limits = {budget.cost: budget.limit for budget in record.budgets}
    series = {
        cost: [
            (float(line["step"]), 100 * line["costs"][cost] / limit) for line in told if _is_number(line.get("costs", {}).get(cost))
        ]
        for cost, limit in limits.items()
    }
    series = {cost: points for cost, points in series.items() if points}
    if not series:
        return ""
    held = [*(point for points in series.values() for point in points), (float(told[0]["step"]), 100.0)]
    panel = Panel.around("spent so far, % of the budget", held, "step", whole=True)
    panel.limit(100.0, "limit", upright=False)
    for place, (cost, points) in enumerate(series.items()):
        panel.line(points, _SERIES[place % 3], dots=len(points) < 12)
        if len(series) > 1:
            panel.series.append((cost, _SERIES[place % 3]))
    return f'<div class="panels"><figure>{panel.render()}</figure></div>'


def _chance(line: Mapping[str, Any], name: str, option: str) -> float:
    value = line["probabilities"].get(name, {}).get(option, 0.0)
    return min(1.0, max(0.0, float(value))) if _is_number(value) else 0.0


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(float(line["step"]), float(line[name])) for line in lines if _is_number(line.get(name))]


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

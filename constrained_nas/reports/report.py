"""A report of one search that a person can read, as one page: the verdict first, then all that it rests on.

``report.html`` holds everything it shows and loads nothing. What the record does not hold (an accuracy, a measurement, a
certificate) is said to be missing; nothing is drawn as zero. Words of a record are text, never markup.
"""

from __future__ import annotations

import base64
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import numpy as np

from constrained_nas.records import BudgetRecord, architecture_of
from constrained_nas.reports.blocks import draw_blocks, traced_blocks, with_choices
from constrained_nas.reports.charts import (
    budget_bars,
    history_panels,
    nearby_panels,
    network_panels,
    search_picture,
    training_panels,
)
from constrained_nas.reports.choices import draw_choices, skipped_layers
from constrained_nas.reports.networks import save_picture
from constrained_nas.reports.style import STYLE
from constrained_nas.reports.svg import words
from constrained_nas.reports.words import certificate_sentence, compared_sentences, plain_number, verdict, with_unit
from constrained_nas.runs import NearbyRecord, NetworkRecord, RunRecord, SpaceName, family_named, run_family
from constrained_nas.runs.families import DagFamily, Family, costs_of
from constrained_nas.training import CURVES_FILE, read_curves
from graphs import DagSpace
from graphs.files import save_text, visible

# Whatever stands in the page, a browser loads nothing for it and runs nothing.
_POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">\n"""
_NUMBER = re.compile(r"[+-]?\d[\d,.e+-]*( [^\d ]+){0,2}")
_CHANGES = 6  # options that are named of a network under another limit


def write_report(record: RunRecord, folder: Path, name: str = "", run: Path | None = None) -> Path:
    """Write ``report.html`` into ``folder`` and return its path; a report of before is replaced.

    Args:
        name: of the run, for the title.
        run: its folder, for the curves and to build the network again; without it they are left out.

    Raises:
        ValueError: the run's curves are damaged.
        OSError: the file cannot be written.
    """
    title = _words(name or folder.name)
    family = None if run is None else run_family(run, record)
    lines = [] if run is None else read_curves(run / CURVES_FILE)
    parts = [
        _verdict(record, title),
        _section("Budgets", _budgets(record)),
        _section("The network", _network(record, family, run)),
        _section("Beside other networks", _others(record)),
        _section("What other budgets would bring", _nearby(record)),
        _section("How good it can be", _paragraph(certificate_sentence(record))),
        _section("The search", _search(record, lines)),
        _section("Training", _training(lines)),
        _section("Again", _again(record)),
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n{_POLICY}'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{''.join(parts)}</body></html>\n"
    )
    save_text(page, folder / "report.html")
    return folder / "report.html"


def _words(text: str) -> str:
    """Words of a record as markup: nothing in them is a tag or a control character."""
    return words(" ".join(visible(text).splitlines()))


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>\n{inside}</section>\n"


def _paragraph(text: str) -> str:
    return f"<p>{_words(text)}</p>"


def _verdict(record: RunRecord, title: str) -> str:
    fits = all(budget.fits for budget in record.budgets)
    accuracy = record.found.accuracy
    tested = "not tested" if accuracy is None else f"{accuracy:.2f} %"
    said = [
        f'<p class="said">{_words(verdict(record))}</p>',
        _paragraph(f"Test accuracy: {tested}. Data: {record.data}; seed {record.seed}."),
    ]
    lines = compared_sentences(record)
    said += [
        *map(_paragraph, lines[:2]),
        f"<ul>{''.join(f'<li>{_words(line)}</li>' for line in lines[2:])}</ul>" if lines[2:] else "",
    ]
    named = f"{title}: {_words(record.space)}, {_words(record.method)}"
    return f'<h1>{named}</h1>\n<div class="verdict{"" if fits else " over"}">{"".join(said)}</div>\n'


def _budgets(record: RunRecord) -> str:
    if not record.budgets:
        return _paragraph("There was no budget.")
    rows = []
    for budget in record.budgets:
        limit, value = (f"{plain_number(number)} {budget.unit}" for number in (budget.limit, budget.value))
        rows.append((budget.cost, limit, value, _measured(record, budget.cost), _yes(budget.fits)))
    return (
        budget_bars(record)
        + _table(("cost", "limit", "of the found network", "measured (median)", "fits"), rows)
        + _attempts(record)
    )


def _measured(record: RunRecord, cost: str) -> str:
    if record.measured is None or record.measured.cost != cost:
        return "not measured"
    return f"{plain_number(record.measured.median)} {record.measured.unit}"


def _attempts(record: RunRecord) -> str:
    if record.measured is None or len(record.measured.attempts) < 2:
        return ""
    unit = record.measured.unit
    rows = [
        (str(place), *(f"{plain_number(value)} {unit}" for value in (a.limit, a.estimated, a.median, a.bound)), _yes(a.fits))
        for place, a in enumerate(record.measured.attempts, start=1)
    ]
    said = (
        "Networks measured on the device; each next limit is the estimate times budget over bound, and the last that fits is taken:"
    )
    return _paragraph(said) + _table(("", "limit of the projection", "estimate", "median", "its upper bound", "fits"), rows)


def _network(record: RunRecord, family: Family | None, run: Path | None) -> str:
    choices, skipped = record.found.choices, frozenset[str]()
    fabric = _dag_space(record, family)
    if fabric is not None:
        running = fabric.connectivity.running(
            fabric.space, fabric.space.choose({key: str(value) for key, value in choices.items()})
        )
        use = {fabric.connectivity.edges[edge]: 1.0 for edge in np.flatnonzero(running).tolist()}
        said = f"{len(use)} of {len(fabric.connectivity.edges)} modules run."
        drawn = _image(lambda path: save_picture(path, fabric.dag, visible(record.space), use), "The modules that run")
    else:
        skipped = skipped_layers(choices)
        said = f"{len(skipped)} of the layers below do not run." if skipped else "Every layer runs."
        drawn = _to_scale(record, family, run) or _image(
            lambda path: draw_choices(choices, path, visible(record.space)), "The choices"
        )
    rows = [
        (name, (option if isinstance(option, str) else _counts(option)) + (" (does not run)" if name in skipped else ""))
        for name, option in choices.items()
    ]
    table = _table(("layer", "option"), rows)
    if len(rows) > 12:
        table = f"<details><summary>All {len(rows)} options</summary>{table}</details>"
    return _paragraph(said) + drawn + table


def _to_scale(record: RunRecord, family: Family | None, run: Path | None) -> str:
    """The network's blocks; empty where it cannot be built or has too many."""
    images = record.images
    if family is None or images is None or run is None:
        return ""
    side, space = int(record.settings.get("resolution") or 32), family.decisions
    try:
        architecture = architecture_of(record.found.choices, space)
        blocks = traced_blocks(family.network(architecture), (images.channels, side, side))
        table = run / "table.json"
        costs = costs_of(family, family.read_table(table) if table.exists() else None)
        named = {model.name: model for model in costs.values()}
        first = record.budgets[0] if record.budgets else None
        cost = None if first is None else named.get(first.cost)
        drawn = with_choices(blocks, space, architecture, cost)
    except (ValueError, RuntimeError, TypeError):
        return ""
    return draw_blocks(drawn, "" if first is None else first.unit)


def _dag_space(record: RunRecord, family: Family | None) -> DagSpace | None:
    """The fabric of that name, if the record is of one and of the same decisions."""
    if isinstance(family, DagFamily):
        return family.space
    names: tuple[SpaceName, ...] = get_args(SpaceName)
    for name in names:
        if name in (record.settings.get("space"), record.space) and family_named(name) is DagFamily:
            made = DagFamily.build(name, 10, 3, record.settings.get("resolution") or 32)  # classes and channels change no decision
            if {decision.name for decision in made.decisions.decisions} == set(record.found.choices):
                return made.space
    return None


def _others(record: RunRecord) -> str:
    networks = (record.found, *record.references)
    costs = [cost for cost in record.units if any(cost in network.costs for network in networks)]
    rows = [_network_row(network, costs, found=network is record.found) for network in networks]
    table = _table(("network", *(with_unit(cost, record.units[cost]) for cost in costs), "test accuracy"), rows)
    missing = "" if record.references else _paragraph("No reference network was recorded.")
    untested = "No network was tested, so there is no picture of accuracy over cost."
    return table + missing + _panels(network_panels(record), untested)


def _network_row(network: NetworkRecord, costs: Sequence[str], found: bool) -> tuple[str, ...]:
    numbers = [plain_number(network.costs[cost]) if cost in network.costs else "not counted" for cost in costs]
    accuracy = "not tested" if network.accuracy is None else f"{network.accuracy:.2f} %"
    return (f"{network.name} (found)" if found and network.name != "found" else network.name, *numbers, accuracy)


def _nearby(record: RunRecord) -> str:
    made, certificate = "", record.certificate
    if certificate is not None and certificate.prices:
        rows = [(with_unit(cost, record.units.get(cost, "")), f"{price:.4g}") for cost, price in certificate.prices.items()]
        made += _table(("budget", "its price: score for one unit more"), rows)
    if not record.nearby:
        return made + _paragraph("The record holds no networks under other limits.")
    said = "The same scores projected onto another limit, the other budgets as they are: which options change next."
    return made + _panels(nearby_panels(record), "") + _paragraph(said) + "".join(map(partial(_steps, record), record.budgets))


def _steps(record: RunRecord, budget: BudgetRecord) -> str:
    """The networks along one budget, those that are the same together."""
    certificate, lines = record.certificate, list[str]()
    along = [near for near in record.nearby if near.cost == budget.cost]
    for _, same in groupby(sorted(along, key=lambda near: near.limit), key=lambda near: near.changes):
        group = list(same)
        first, last = group[0], group[-1]
        where = [f"{plain_number(near.limit)} ({near.limit / budget.limit:.0%})" for near in (first, last)]
        said = where[0] if first is last else " to ".join(where)
        spends = f"spends {plain_number(last.costs.get(budget.cost, 0.0))}"
        gain = "" if last.score is None or certificate is None else f", score {last.score - certificate.primal:+.3g}"
        told = spends + gain if last.changes else "the found network"
        lines.append(f"<li><b>{_words(said)}</b>: {_words(told)}{_changes(record, last)}</li>")
    return f"<p>{_words(with_unit(budget.cost, budget.unit))}:</p><ul>{''.join(lines)}</ul>" if lines else ""


def _changes(record: RunRecord, near: NearbyRecord) -> str:
    told = []
    for name, option in list(near.changes.items())[:_CHANGES]:
        before = record.found.choices.get(name, "")
        sides = [one if isinstance(one, str) else _counts(one) for one in (before, option)]
        told.append(f"{name} {sides[0]} → {sides[1]}")
    more = len(near.changes) - len(told)
    said = "; ".join(told) + (f"; {more} more" if more else "")
    return f'<div class="faint">{_words(said)}</div>' if said else ""


def _search(record: RunRecord, lines: Sequence[Mapping[str, Any]]) -> str:
    return search_picture(record, lines) + _panels(history_panels(record), "The record holds no history of the epochs.")


def _training(lines: Sequence[Mapping[str, Any]]) -> str:
    others = [line for line in lines if line["phase"].startswith("reference")]
    shown = _panels(training_panels([line for line in lines if line not in others]), "The record holds no curves of training.")
    hidden = _panels(training_panels(others), "")
    return shown + (f"<details><summary>The networks beside it</summary>{hidden}</details>" if hidden else "")


def _again(record: RunRecord) -> str:
    lines = list[str]()
    if record.remarks:
        lines.append("<p>Remarks:</p><ul>" + "".join(f"<li>{_words(remark)}</li>" for remark in record.remarks) + "</ul>")
    lines.append(_paragraph("How to do it again (the seed decides all draws; on another machine the last bits may differ):"))
    lines.append(f"<pre>{_words(_command(record.settings))}</pre>")
    lines.append(_paragraph(f"Machine: {record.machine or 'not recorded'}."))
    if record.seconds:
        lines.append(_table(("part", "seconds"), [(part, f"{seconds:,.1f} s") for part, seconds in record.seconds.items()]))
    settings = {**record.settings, **{f"version of {name}": version for name, version in record.versions.items()}}
    if settings:
        table = _table(("setting", "value"), [(name, str(value)) for name, value in settings.items()])
        lines.append(f"<details><summary>All settings and versions</summary>{table}</details>")
    return "".join(lines)


def _command(settings: Mapping[str, Any]) -> str:
    """The command that asks for the same."""
    told = ["constrained-nas", "search", str(settings.get("space", "SPACE"))]
    for name, value in settings.items():
        if name in ("space", "kind", "schema_version") or value is None:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            told.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            told += [part for one in value for part in (f"--{flag}", str(one))]
        else:
            told += [f"--{flag}", str(value)]
    return shlex.join(told)


def _counts(option: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in option.items() if count)


def _yes(fits: bool) -> str:
    return "yes" if fits else "NO"


def _panels(panels: Sequence[str], missing: str) -> str:
    if not panels:
        return _paragraph(missing) if missing else ""
    return f'<div class="panels">{"".join(f"<figure>{panel}</figure>" for panel in panels)}</div>'


def _image(draw: Callable[[Path], None], caption: str) -> str:
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "picture.png"
        draw(path)
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img src="data:image/png;base64,{content}" alt="{words(caption)}"></p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of numbers are set to the right."""
    right = [bool(rows) and all(_NUMBER.fullmatch(row[place]) for row in rows) for place in range(len(head))]

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="number"' if to else "" for to in right]
        made = (f"<{tag}{kind}>{_words(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    return f'<div class="scroll"><table>{line(head, "th")}{"".join(line(row, "td") for row in rows)}</table></div>'

"""A report of one search that a person can read: what was asked, what was found, whether it fits, and how good it can be.

``report.md`` with its pictures beside it, and the same as one self-contained ``report.html``. What the record does not hold (an
accuracy, a measurement, a certificate) is said to be missing; nothing is drawn as zero.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import get_args

import numpy as np
from markdown_it import MarkdownIt

from constrained_nas.records import BudgetRecord
from constrained_nas.reports.choices import draw_choices, skipped_layers
from constrained_nas.reports.networks import save_picture
from constrained_nas.reports.pictures import draw_budgets, draw_curves, draw_networks, plain_number, with_unit
from constrained_nas.runs import NetworkRecord, RunRecord, SpaceName, family_named
from constrained_nas.runs.families import DagFamily
from graphs import DagSpace
from graphs.files import save_text, visible

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:54em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border-bottom:1px solid #ddd;padding:.25em .8em;text-align:left}
img{max-width:100%}code{background:#f4f4f4;padding:0 .2em}"""
# Whatever stands in the page, a browser loads nothing for it and runs nothing.
_POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">\n"""


def write_report(record: RunRecord, folder: Path, name: str = "") -> Path:
    """Write ``report.md``, its pictures and ``report.html`` into ``folder``; returns the path of the Markdown file.

    A report of before is replaced. ``name`` is the run's, for the title.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = _markdown(record, folder, name or folder.name)
    for file, content in (("report.md", text), ("report.html", _html(text, folder, name or folder.name))):
        save_text(content, folder / file)
    return folder / "report.md"


def verdict(record: RunRecord) -> str:
    """One sentence: whether the found network fits its budgets, by the table or count, and on the device where it was measured."""
    over = [b for b in record.budgets if not b.fits]
    if not record.budgets:
        said = "There was no budget."
    elif over:
        excess = ", ".join(f"{b.cost} by {plain_number((b.measured or b.value) - b.limit)} {b.unit}" for b in over)
        said = f"The found network does NOT fit: it exceeds {excess}."
    else:
        said = f"The found network fits {'its budget' if len(record.budgets) == 1 else f'all {len(record.budgets)} budgets'}."
    measured = record.measured
    if measured is None:
        return said + " Nothing was measured on the device: costs are those of the table or of counting."
    fits = "within" if measured.fits else "NOT shown to be within"
    return (
        f"{said} Measured on the device, its median {measured.cost} is {plain_number(measured.median)} {measured.unit}, {fits} the "
        f"limit of {plain_number(measured.limit)} {measured.unit} (upper bound of the median {plain_number(measured.bound)} "
        f"{measured.unit}, confidence {measured.confidence:.0%}, {measured.samples} passes)."
    )


def certificate_sentence(record: RunRecord) -> str:
    """What the certificate proves, for a reader who does not know what a dual bound is."""
    certificate = record.certificate
    if certificate is None:
        return (
            f"There is no certificate: the search ({record.method}) ended without an exact projection, so nothing is proven about "
            "how far its network is from the best that fits."
        )
    found = f"{certificate.primal:.6g}"
    if certificate.violation > 0:
        return (
            f"The certificate speaks of an answer that exceeds a budget by {certificate.violation:.4g} (its score: {found}): it "
            "proves nothing of networks that fit."
        )
    if certificate.bound is None:
        return f"The found network scores {found} by the search's own scores; no bound is known, so a better one may fit."
    better = "scores better than" if certificate.maximize else "has a loss below"
    verb = "scores" if certificate.maximize else "has a loss of"
    gap = certificate.gap if certificate.gap is not None else abs(certificate.bound - certificate.primal)
    # Sums of a few dozen scores in double precision agree to about 1e-12 of their size; 1e-9 is far from any real gap.
    proven = gap <= 1e-9 * max(1.0, abs(certificate.primal))
    end = "so by these scores it is proven to be the best there is" if proven else f"so at most {gap:.3g} could still be gained"
    return (
        f"No network within these budgets {better} {certificate.bound:.6g} by the search's scores; the found one {verb} {found}, "
        f"{end} (gap {gap:.2g}). These scores are what the search learned about every option, summed; they are not test accuracies."
    )


def _markdown(record: RunRecord, folder: Path, name: str) -> str:
    lines = [f"# Search {_words(f'{name}: {record.space}, {record.method}')}", "", _words(verdict(record)), ""]
    accuracy = record.found.accuracy
    tested = f"{accuracy:.2f} %" if accuracy is not None else "not tested"
    lines += [f"Test accuracy: {tested}. Data: {_words(record.data)}; seed {record.seed}.", "", "## Budgets", ""]
    if record.budgets:
        rows = [_budget_row(record, budget) for budget in record.budgets]
        lines += _table(("cost", "limit", "of the found network", "measured (median)", "fits"), rows)
    lines += _picture(
        draw_budgets(record, folder / "budgets.png"), "budgets.png", "Share of every budget that is used", "no budgets"
    )
    lines += _attempts(record)
    lines += ["## How good it can be", "", _words(certificate_sentence(record)), ""]
    if record.certificate is not None and record.certificate.prices:
        rows = [(with_unit(cost, record.units.get(cost, "")), f"{price:.4g}") for cost, price in record.certificate.prices.items()]
        lines += _table(("budget", "its price: score for one unit more"), rows)
    lines += ["## The network", ""]
    lines += _architecture(record, folder)
    lines += ["## The search", ""]
    drawn = draw_curves(record, folder / "search.png")
    lines += _picture(drawn, "search.png", "Curves of the search over its epochs", "The record holds no history of the epochs.")
    lines += ["## Beside other networks", ""]
    lines += _networks(record)
    drawn = draw_networks(record, folder / "networks.png")
    missing = "No network was tested, so there is no picture of accuracy over cost."
    lines += _picture(drawn, "networks.png", "Test accuracy over cost: the found network and its references", missing)
    lines += _rest(record)
    return "\n".join(lines).rstrip() + "\n"


def _words(text: str) -> str:
    """Words in which Markdown sees no picture, link, emphasis, code or HTML."""
    return re.sub(r"[\\`*<>\[\]!]|\b_|_\b", r"\\\g<0>", " ".join(visible(text).splitlines()))


def _budget_row(record: RunRecord, budget: BudgetRecord) -> tuple[str, ...]:
    limit, value = (f"{plain_number(number)} {budget.unit}" for number in (budget.limit, budget.value))
    return budget.cost, limit, value, _measured(record, budget.cost), _yes(budget.fits)


def _measured(record: RunRecord, cost: str) -> str:
    if record.measured is None or record.measured.cost != cost:
        return "not measured"
    return f"{plain_number(record.measured.median)} {record.measured.unit}"


def _attempts(record: RunRecord) -> list[str]:
    if record.measured is None or len(record.measured.attempts) < 2:
        return []
    unit = record.measured.unit
    rows = [
        (str(place), *(f"{plain_number(value)} {unit}" for value in (a.limit, a.estimated, a.median, a.bound)), _yes(a.fits))
        for place, a in enumerate(record.measured.attempts, start=1)
    ]
    said = (
        "Networks measured on the device; each next limit is the estimate times budget over bound, and the last that fits is taken:"
    )
    return [said, "", *_table(("", "limit of the projection", "estimate", "median", "its upper bound", "fits"), rows)]


def _architecture(record: RunRecord, folder: Path) -> list[str]:
    picture, choices = folder / "architecture.png", record.found.choices
    fabric, skipped = _dag_space(record), frozenset[str]()
    if fabric is not None:
        running = fabric.connectivity.running(
            fabric.space, fabric.space.choose({key: str(value) for key, value in choices.items()})
        )
        use = {fabric.connectivity.edges[edge]: 1.0 for edge in np.flatnonzero(running).tolist()}
        save_picture(picture, fabric.dag, record.space, use)
        said = f"{len(use)} of {len(fabric.connectivity.edges)} modules run."
    else:
        draw_choices(choices, picture, record.space)
        skipped = skipped_layers(choices)
        said = f"{len(skipped)} of the layers below do not run." if skipped else "Every layer runs."
    lines = [said, "", *_picture(True, picture.name, "The network that was found", "")]
    if len(choices) <= 60:
        rows = [
            (name, (option if isinstance(option, str) else _counts(option)) + (" (does not run)" if name in skipped else ""))
            for name, option in choices.items()
        ]
        lines += _table(("layer", "option"), rows)
    return lines


def _dag_space(record: RunRecord) -> DagSpace | None:
    """The fabric of that name, if the record is of one and of the same decisions."""
    names: tuple[SpaceName, ...] = get_args(SpaceName)
    for name in names:
        if name in (record.settings.get("space"), record.space) and family_named(name) is DagFamily:
            made = DagFamily.build(name, 10, 3, record.settings.get("resolution") or 32)  # classes and channels change no decision
            if {decision.name for decision in made.decisions.decisions} == set(record.found.choices):
                return made.space
    return None


def _networks(record: RunRecord) -> list[str]:
    networks = (record.found, *record.references)
    costs = [cost for cost in record.units if any(cost in network.costs for network in networks)]
    rows = [_network_row(network, costs, found=network is record.found) for network in networks]
    lines = _table(("network", *(with_unit(cost, record.units[cost]) for cost in costs), "test accuracy"), rows)
    return lines if record.references else [*lines, "No reference network was recorded.", ""]


def _network_row(network: NetworkRecord, costs: Sequence[str], found: bool) -> tuple[str, ...]:
    numbers = [plain_number(network.costs[cost]) if cost in network.costs else "not counted" for cost in costs]
    accuracy = "not tested" if network.accuracy is None else f"{network.accuracy:.2f} %"
    return (f"{network.name} (found)" if found and network.name != "found" else network.name, *numbers, accuracy)


def _rest(record: RunRecord) -> list[str]:
    lines = []
    if record.remarks:
        lines += ["## Remarks", "", *(f"- {_words(remark)}" for remark in record.remarks), ""]
    if record.seconds:
        rows = [(part, f"{seconds:,.1f} s") for part, seconds in record.seconds.items()]
        lines += ["## Time", "", *_table(("part", "seconds"), rows)]
    lines += ["## Conditions", "", f"Machine: {_words(record.machine or 'not recorded')}.", ""]
    settings = {**record.settings, **{f"version of {name}": version for name, version in record.versions.items()}}
    return [*lines, *_table(("setting", "value"), [(name, str(value)) for name, value in settings.items()])] if settings else lines


def _counts(option: dict[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in option.items() if count)


def _yes(fits: bool) -> str:
    return "yes" if fits else "NO"


def _picture(drawn: bool, name: str, caption: str, missing: str) -> list[str]:
    return [f"![{caption}]({name})", ""] if drawn else [missing, ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[_words(str(cell)).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:], ""]


def _html(text: str, folder: Path, name: str) -> str:
    """The Markdown as one page with its pictures inside; HTML in the record's own words is escaped."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)

    def inside(match: re.Match[str]) -> str:
        return f'src="data:image/png;base64,{base64.b64encode((folder / match[1]).read_bytes()).decode("ascii")}"'

    body = re.sub(r'src="((?:budgets|architecture|search|networks)\.png)"', inside, body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n{_POLICY}<title>{escape(name)}</title>\n'
        f"<style>{_STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )

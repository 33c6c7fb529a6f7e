"""A picture of a chain of choices: a row a stage, a box a layer with its option's name; what a shallow network skips is faint.

Option names are read as words joined by underscores: ``e6_k5_se`` is e = 6, k = 5 and the flag ``se``. Of the numbers that
differ between layers, the one of most values is the height of a box (expansion, width), the next its colour (kernel);
squeeze-and-excitation is a thick border. Options that are plain words have a colour each. Counts (filters at several bit
widths) are stacked shares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from constrained_nas.reports.networks import save_figure

Choices = Mapping[str, str | Mapping[str, int]]
_COLOURS = ("#9ecae1", "#fdae6b", "#a1d99b", "#bcbddc", "#fc9272", "#c7c7c7", "#dadaeb", "#ffe08a", "#8dd3c7", "#e7969c")
_PER_ROW = 12  # boxes of a row before it goes on below: more are too narrow for an option's name
_NONE = {"skip", "off", "0", "none", "identity"}


def skipped_layers(choices: Choices) -> frozenset[str]:
    """The layers that do not run: those that chose to be skipped, and blocks beyond their stage's depth."""
    skipped = {name for name, option in choices.items() if isinstance(option, str) and option in _NONE}
    for name, option in choices.items():
        stage, _, what = name.rpartition(".")
        if what == "depth" and isinstance(option, str) and option.isdigit():
            for other in choices:
                place = re.search(r"(\d+)$", other)
                if other.startswith(stage + ".") and other != name and place and int(place[1]) > int(option):
                    skipped.add(other)
    return frozenset(skipped)


def choice_rows(choices: Choices) -> list[tuple[str, list[str]]]:
    """(label, layers) of every row: layers share a row if their names agree up to the last dot; depths are not layers."""
    rows: dict[str, list[str]] = {}
    for name in choices:
        stage, _, what = name.rpartition(".")
        if what != "depth":
            rows.setdefault(stage, []).append(name)
    wrapped = []
    for stage, names in rows.items():
        for start in range(0, len(names), _PER_ROW):
            wrapped.append((stage if start == 0 else "", names[start : start + _PER_ROW]))
    return wrapped


def draw_choices(choices: Choices, path: Path, title: str = "") -> None:
    """Draw an architecture's choices, as ``graphs.SearchSpace.describe`` gives them, into a picture (.png, .pdf, .svg).

    Raises:
        ValueError: no layers.
        OSError: the file cannot be written.
    """
    rows, skipped = choice_rows(choices), skipped_layers(choices)
    if not rows:
        raise ValueError("an architecture without choices cannot be drawn")
    widest = max(len(names) for _, names in rows)
    figure = Figure(figsize=(max(5.0, 1.05 * widest + 1.6), 0.95 * len(rows) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    legend = _draw(axes, rows, choices, skipped)
    axes.set(xlim=(-1.1, widest), ylim=(-len(rows), 0.15))
    axes.axis("off")
    if title:
        axes.set_title(title, fontsize=10)
    if legend:
        axes.legend(handles=legend, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, frameon=False, fontsize=8)
    save_figure(figure, path, tight=True)  # the legend may be wider than the boxes


def _draw(axes: Axes, rows: Sequence[tuple[str, list[str]]], choices: Choices, skipped: frozenset[str]) -> list[Patch]:
    layers = [name for _, names in rows for name in names]
    words = {name: _words(option) for name in layers if isinstance(option := choices[name], str) and option not in _NONE}
    values = {key: {parts.get(key) for parts in words.values()} - {None} for key in _keys(words)}
    numbers = sorted((key for key in values if len(values[key]) > 1), key=lambda key: -len(values[key]))
    flagged = bool(numbers) and any("se" in parts for parts in words.values())
    height_key = numbers[0] if numbers else ""
    colour_key = numbers[1] if len(numbers) > 1 else ""
    top = max((parts.get(height_key) or 0.0 for parts in words.values()), default=0.0) or 1.0
    kinds = _kinds(layers, choices, words, colour_key, plain=not numbers)
    for row, (label, names) in enumerate(rows):
        axes.text(-0.15, -row - 0.45, label, ha="right", va="center", fontsize=9)
        for place, name in enumerate(names):
            option = choices[name]
            if isinstance(option, Mapping):
                _stack(axes, place, row, name, option, kinds)
                continue
            parts = words.get(name, {})
            share = (parts.get(height_key) or top) / top if height_key else 1.0
            height, faint = 0.3 + 0.5 * share, name in skipped
            kind = _kind(option, parts, colour_key, plain=not numbers)
            axes.add_patch(
                Rectangle(
                    (place + 0.06, -row - 0.45 - height / 2),
                    0.88,
                    height,
                    facecolor="white" if faint else kinds.get(kind, _COLOURS[0]),
                    edgecolor="0.8" if faint else "0.25",
                    linestyle="--" if faint else "-",
                    linewidth=2.2 if flagged and "se" in parts and not faint else 0.8,
                )
            )
            shown = option if len(option) <= 10 else _folded(option)
            size = min(8.0, 80 / max(len(line) for line in shown.split("\n")))
            axes.text(place + 0.5, -row - 0.45, shown, ha="center", va="center", fontsize=size, color="0.7" if faint else "0.1")
    handles = [Patch(facecolor=colour, edgecolor="0.25", label=kind) for kind, colour in kinds.items()] if len(kinds) > 1 else []
    if height_key:
        handles.append(Patch(facecolor="none", edgecolor="none", label=f"height: {height_key}"))
    if flagged:
        handles.append(Patch(facecolor="white", edgecolor="0.25", linewidth=2.2, label="thick: squeeze-and-excitation"))
    if skipped & set(layers):
        handles.append(Patch(facecolor="white", edgecolor="0.8", linestyle="--", label="does not run"))
    return handles


def _words(option: str) -> dict[str, float | None]:
    """``e6_k5_se`` -> {e: 6, k: 5, se: None}; a plain number is under the name "number"."""
    words: dict[str, float | None] = {}
    for word in re.split(r"[_ ]", option):
        match = re.fullmatch(r"([A-Za-z]*)(\d+(?:\.\d+)?)", word)
        if match:
            words[match[1] or "number"] = float(match[2])
        elif word:
            words[word] = None
    return words


def _folded(option: str) -> str:
    """A long name on two lines, broken at the word boundary nearest to its middle."""
    places = [match.end() for match in re.finditer(r"[_ ]", option)]
    if not places:
        return option
    middle = min(places, key=lambda place: abs(2 * place - len(option)))
    return option[:middle] + "\n" + option[middle:]


def _keys(words: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    return list(dict.fromkeys(key for parts in words.values() for key, value in parts.items() if value is not None))


def _kind(option: str, parts: Mapping[str, float | None], colour_key: str, plain: bool) -> str:
    if plain:
        return option
    value = parts.get(colour_key)
    return "" if value is None else f"{colour_key} = {value:g}"


def _kinds(
    layers: Sequence[str], choices: Choices, words: Mapping[str, dict[str, float | None]], colour_key: str, plain: bool
) -> dict[str, str]:
    """A colour for everything that is told apart by colour."""
    found: set[str] = set()
    for name in layers:
        option = choices[name]
        if isinstance(option, Mapping):
            found |= set(option)
        elif name in words:
            found.add(_kind(option, words[name], colour_key, plain))
    ordered = sorted(found - {""}, key=lambda kind: [float(number) for number in re.findall(r"\d+(?:\.\d+)?", kind)] or [0.0])
    return {kind: _COLOURS[place % len(_COLOURS)] for place, kind in enumerate(ordered)}


def _stack(axes: Axes, place: int, row: int, name: str, counts: Mapping[str, int], kinds: Mapping[str, str]) -> None:
    """The shares of a count, side by side in one box, under the layer's name and the number of its units."""
    total, left = sum(counts.values()) or 1, place + 0.06
    for option, count in counts.items():
        width = 0.88 * count / total
        axes.add_patch(Rectangle((left, -row - 0.85), width, 0.6, facecolor=kinds[option], edgecolor="none"))
        left += width
    axes.add_patch(Rectangle((place + 0.06, -row - 0.85), 0.88, 0.6, facecolor="none", edgecolor="0.25", linewidth=0.8))
    label = f"{name.rpartition('.')[2]}: {sum(counts.values())}"
    axes.text(place + 0.5, -row - 0.16, label, ha="center", va="center", fontsize=7, color="0.3")

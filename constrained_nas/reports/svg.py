"""Pictures as SVG inside a page: text is escaped, and colours are classes that follow the page's light or dark style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

Points = Sequence[tuple[float, float]]
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 34  # pixels around a panel


def element(name: str, attributes: Mapping[str, str | float], *inside: str) -> str:
    """An element; ``inside`` is markup already, attributes are not."""
    told = "".join(
        f' {key}="{escape(f"{value:.5g}" if isinstance(value, float) else str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{told}>{''.join(inside)}</{name}>"


def words(text: str) -> str:
    """Text as markup."""
    return escape(text)


def picture(width: float, height: float, label: str, *inside: str, fixed: bool = False) -> str:
    """An SVG as wide as the page lets it be, or of that size; ``label`` says to those who cannot see it what it shows."""
    size: dict[str, str | float] = {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": label}
    if fixed:
        size |= {"width": width, "height": height}
    return element("svg", size, element("title", {}, words(label)), *inside)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    if not high > low or not math.isfinite(high - low):
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float, digits: int = 3) -> str:
    """A number for an axis: 28k, 1.2M, 0.05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def labels(values: Sequence[float]) -> list[str]:
    """Numbers for an axis, with as many digits as tell them apart."""
    for digits in range(3, 12):
        told = [short(value, digits) for value in values]
        if len(set(told)) == len(told):
            break
    return told


@dataclass(slots=True)
class Panel:
    """A chart of numbers over numbers. Draw into it, then :meth:`render` it.

    Attributes:
        x, y: the ranges that are shown.
        whole: whether x has whole numbers alone.
        named: where names of points stand.
        series: names of lines, with their kinds: a key beside the title.
    """

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    xlabel: str = ""
    whole: bool = False
    width: float = 420.0
    height: float = 250.0
    inside: list[str] = field(default_factory=list)
    named: list[tuple[float, float]] = field(default_factory=list)
    series: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def around(cls, title: str, points: Points, xlabel: str = "", whole: bool = False, margin: float = 0.06) -> Panel:
        """A panel that holds all the points, with a margin."""
        ranges = []
        for values in zip(*points, strict=True):
            low, high = min(values), max(values)
            wide = (high - low) or abs(high) or 1.0
            ranges.append((low - margin * wide, high + margin * wide))
        return cls(title, ranges[0], ranges[1], xlabel, whole)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies, in pixels."""
        (left, right), (low, high) = self.x, self.y
        across = (x - left) / ((right - left) or 1.0)
        up = (y - low) / ((high - low) or 1.0)
        return (
            _LEFT + across * (self.width - _LEFT - _RIGHT),
            self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM),
        )

    def line(self, points: Points, kind: str, dots: bool = False) -> None:
        """A line through the points, in the order given."""
        places = [self.place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self.inside.append(element("polyline", {"points": path, "class": f"line {kind}"}))
        if dots or len(points) == 1:
            for x, y in places:
                self.inside.append(element("circle", {"cx": x, "cy": y, "r": 2.5, "class": f"dot {kind}"}))

    def dot(self, x: float, y: float, kind: str, label: str = "", size: float = 4.5) -> None:
        """A point with its name beside it, on the side where there is room."""
        across, down = self.place(x, y)
        self.inside.append(element("circle", {"cx": across, "cy": down, "r": size, "class": f"dot {kind}"}))
        if label:
            right = across < self.width * 0.6
            x, y = across + (9 if right else -9), down + 4
            while any(abs(y - other) < 13 and abs(x - beside) < 90 for beside, other in self.named):
                y -= 13
            self.named.append((x, y))
            where: dict[str, str | float] = {"x": x, "y": y, "class": "small ink", "text-anchor": "start" if right else "end"}
            self.inside.append(element("text", where, words(label)))

    def limit(self, value: float, label: str, upright: bool) -> None:
        """A dashed line at a limit: upright at x, or level at y."""
        (left, right), (low, high) = self.x, self.y
        ends = [(value, low), (value, high)] if upright else [(left, value), (right, value)]
        (x1, y1), (x2, y2) = (self.place(*end) for end in ends)
        self.inside.append(element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": "limit"}))
        at: dict[str, str | float] = {"x": x2 + 4, "y": y2 + 10} if upright else {"x": x2, "y": y2 - 4, "text-anchor": "end"}
        self.inside.append(element("text", at | {"class": "small limit-word"}, words(label)))

    def render(self) -> str:
        """The markup."""
        made = [element("text", {"x": 4.0, "y": 15.0, "class": "title ink"}, words(self.title))]
        bottom, right = self.height - _BOTTOM, self.width - _RIGHT
        levels = ticks(*self.y)
        for value, told in zip(levels, labels(levels), strict=True):
            y = self.place(self.x[0], value)[1]
            made.append(element("line", {"x1": float(_LEFT), "y1": y, "x2": right, "y2": y, "class": "grid"}))
            made.append(element("text", {"x": _LEFT - 6.0, "y": y + 4, "class": "small faint", "text-anchor": "end"}, told))
        across = [value for value in ticks(*self.x) if not self.whole or value == round(value)]
        for value, told in zip(across, labels(across), strict=True):
            x = self.place(value, self.y[0])[0]
            made.append(element("text", {"x": x, "y": bottom + 15, "class": "small faint", "text-anchor": "middle"}, told))
        made.append(element("line", {"x1": float(_LEFT), "y1": bottom, "x2": right, "y2": bottom, "class": "axis"}))
        key, x = [], right
        for name, kind in reversed(self.series):
            at: dict[str, str | float] = {"x": x, "y": 15.0, "class": f"small key-word {kind}", "text-anchor": "end"}
            key.append(element("text", at, words(name)))
            x -= 6.2 * len(name) + 12
        made += key
        if self.xlabel:
            where: dict[str, str | float] = {"x": right, "y": self.height - 4, "class": "small faint", "text-anchor": "end"}
            made.append(element("text", where, words(self.xlabel)))
        return picture(self.width, self.height, self.title, *made, *self.inside)


def stacked(rows: Sequence[Sequence[float]], names: Sequence[str], label: str, height: float = 26.0) -> str:
    """Shares over time as one band: a colour each name, ``rows`` in equal steps, stretched to the width of the page."""
    wide, inside = 100.0, []
    steps = len(rows)
    below = [0.0] * steps
    for place, name in enumerate(names):
        above = [low + row[place] for low, row in zip(below, rows, strict=True)]
        if max(row[place] for row in rows) > 0:
            xs = [wide * step / max(1, steps - 1) for step in range(steps)] if steps > 1 else [0.0]
            lower = [(x, height * (1 - low)) for x, low in zip(xs, below, strict=True)]
            upper = [(x, height * (1 - high)) for x, high in zip(xs, above, strict=True)]
            if steps == 1:
                lower, upper = [*lower, (wide, lower[0][1])], [*upper, (wide, upper[0][1])]
            path = " ".join(f"{x:.2f},{y:.2f}" for x, y in [*lower, *upper[::-1]])
            inside.append(element("polygon", {"points": path, "class": f"h{place % 12}"}, element("title", {}, words(name))))
        below = above
    size: dict[str, str | float] = {"viewBox": f"0 0 {wide:g} {height:g}", "preserveAspectRatio": "none", "class": "band"}
    return element("svg", size | {"role": "img", "aria-label": label}, *inside)

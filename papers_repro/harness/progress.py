"""Progress of long runs: bars while work goes on, and a line with its time for every piece of work that ended.

The lines stay, so that a log written to a file tells as much as a terminal does. Libraries report by plain callbacks
``(steps done, steps in all, what is going on)``; :meth:`ProgressBars.callback` makes one of them into a bar.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
ProgressCallback = Callable[[int, int, str], None]  # steps done, steps in all, what is going on

_PARTS = 1000  # steps of a phase's bar
_WORTH_A_LINE = 2.0  # seconds; what takes less leaves no line behind


class Reports(Protocol):
    """What work reports its progress to, here or from another process."""

    def callback(self, label: str = "") -> ProgressCallback:
        """A callback whose bar is named ``label: what``."""

    def update(self, description: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps are done."""


@dataclass(frozen=True, slots=True, eq=False)
class ProgressBars:
    """The bars of a script, one for each piece of work that is going on. Get it from :func:`progress_bars`."""

    display: Progress
    tasks: dict[str, tuple[TaskID, float]] = field(default_factory=dict)  # by description: the bar and when it appeared

    def callback(self, label: str = "") -> ProgressCallback:
        """A callback whose bar is named ``label: what``."""

        def report(done: int, total: int, what: str) -> None:
            self.update(f"{label}: {what}" if label else what, done, total)

        return report

    def track(self, items: Sequence[Item], description: str) -> Iterable[Item]:
        """Iterate over ``items`` with a bar."""
        for done, item in enumerate(items):
            self.update(description, done, len(items))
            yield item
        self.update(description, len(items), len(items))

    def update(self, description: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps are done; the last one replaces the bar by a line."""
        if description not in self.tasks:
            self.tasks[description] = self.display.add_task(description, total=total), time.perf_counter()
        task, began = self.tasks[description]
        self.display.update(task, completed=done, total=total)
        if done >= total:
            seconds = time.perf_counter() - began
            self.display.remove_task(task)
            del self.tasks[description]
            if seconds >= _WORTH_A_LINE:
                steps = "" if total == _PARTS else f"{total} steps, "
                self.display.console.print(f"  {description}: {steps}{seconds:.1f} s", style="dim", highlight=False)

    @contextmanager
    def phase(self, description: str, pieces: float, weights: Mapping[str, float] | None = None) -> Iterator[Phase]:
        """One bar for many pieces of work inside the block, and one line when it ends.

        Args:
            pieces: the sum of all pieces' weights.
            weights: of pieces whose description ends in one of these names; of all others 1.
        """
        phase = Phase(self, description, pieces, weights or {})
        self.update(description, 0, _PARTS)
        yield phase
        self.update(description, _PARTS, _PARTS)


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """Reports of many pieces of work shown as one bar. Get it from :meth:`ProgressBars.phase`."""

    bars: ProgressBars
    description: str
    pieces: float
    weights: Mapping[str, float]
    parts: dict[str, float] = field(default_factory=dict)

    def callback(self, label: str = "") -> ProgressCallback:
        """A callback for the piece of that label."""
        return lambda done, total, what: self.update(f"{label}: {what}" if label else what, done, total)

    def update(self, description: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps of a piece are done."""
        weight = next((weight for name, weight in self.weights.items() if description.endswith(name)), 1.0)
        self.parts[description] = weight * done / max(total, 1)
        share = sum(self.parts.values()) / self.pieces
        self.bars.update(self.description, min(round(_PARTS * share), _PARTS - 1), _PARTS)


@contextmanager
def progress_bars(console: Console) -> Iterator[ProgressBars]:
    """Show bars on ``console`` inside the block; they vanish with it, the lines stay."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as display:
        yield ProgressBars(display)

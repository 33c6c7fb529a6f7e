"""Progress of the commands: a live bar for the phase under way, a line for every phase that ended, and a log in the run's folder.

Where nobody looks (a pipe) there is a line now and then instead of the bar, on the standard error stream.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from constrained_nas.commands.console import PlainConsole, told
from graphs.files import append_text, visible

if TYPE_CHECKING:
    from constrained_nas.latency import Progress

LOG_FILE = "log.txt"
_EVERY = 30.0  # seconds between lines in a pipe
_WIDTH = 132  # of tables in a log
_PART = re.compile(r"iteration \d+: ")  # of a search that reports what its iterations do


class LoggedConsole(PlainConsole):
    """A console whose words are appended to a file too, each line with its time; quiet it writes to the file alone."""

    def __init__(self, path: Path | None, quiet: bool = False, stderr: bool = False) -> None:
        super().__init__(quiet=quiet, stderr=stderr)
        self.path = path

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if self.path is not None:
            plain = PlainConsole(file=io.StringIO(), width=_WIDTH, no_color=True, force_terminal=False)
            plain.print(*objects, **options)
            self.keep(plain.file.getvalue())  # type: ignore[attr-defined]

    def keep(self, text: str) -> None:
        """Append to the file alone."""
        if self.path is None:
            return
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = [f"{now}  {visible(line)}".rstrip() for line in text.splitlines() if line.strip()]
        append_text("".join(f"{line}\n" for line in lines), self.path)


@contextmanager
def logged(folder: Path | None, quiet: bool = False, stderr: bool = False) -> Iterator[LoggedConsole]:
    """A console inside the block that also writes to the log of a run's folder, with the command and how it ended.

    Args:
        folder: None for no log.
        quiet: nothing on the screen.
        stderr: print on the standard error stream.
    """
    path = None if folder is None else folder / LOG_FILE
    if path is not None and path.is_symlink():  # of a folder that was sent: what is written would land elsewhere
        path.unlink()
    console = LoggedConsole(path, quiet, stderr)
    console.keep(shlex.join(["constrained-nas", *sys.argv[1:]]))
    try:
        yield console
    except SystemExit as end:  # rich ends so where nobody reads on
        with suppress(OSError):  # of a folder that is gone
            console.keep("interrupted" if end.code == 130 else "what was printed was not read to its end")
        raise
    except Exception as error:
        with suppress(OSError):
            console.keep(told(error))
        raise


@dataclass(slots=True)
class _Phase:
    """A phase under way: where it was when first heard of, where it is, and since when."""

    what: str
    first: int
    done: int
    total: int
    began: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def rate(self) -> str:
        """Steps a second, or seconds a step."""
        steps = (self.done - self.first + 1) / max(self.seconds, 1e-9)
        return f"{steps:.3g} a second" if steps >= 1 else f"{1 / max(steps, 1e-9):.3g} s each"

    @property
    def left(self) -> str:
        each = self.seconds / max(1, self.done - self.first + 1)
        return duration(each * max(0, self.total - self.done))

    @property
    def line(self) -> str:
        """What stays of it."""
        count = f"{self.total}" if self.done >= self.total else f"{self.done} of {self.total}"
        before = f" ({self.first - 1} before)" if self.first > 1 else ""
        return f"{self.what}: {count}{before} in {duration(self.seconds)}, {self.rate}"


@dataclass(slots=True, eq=False)
class Phases:
    """A callback of progress that follows phases, one at a time.

    Attributes:
        say: prints the line of a phase that has ended.
        show: shows the phase under way.
    """

    say: Callable[[str], None]
    show: Callable[[_Phase | None, str], None]
    ended: float
    current: _Phase | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        part = what if _PART.match(what) else ""
        name = "search" if part else what
        if self.current is not None and self.current.what != name:
            self.end()
        if self.current is None:
            self.current = _Phase(name, max(done, 1) if not part else 1, 0, total, self.ended)
        if part:
            self.show(self.current, f"{part}, {done} of {total}")
            return
        self.current.done, self.current.total = done, total
        self.show(self.current, name)
        if done >= total:
            self.end()

    def end(self) -> None:
        """The phase under way is over."""
        if self.current is not None:
            if self.current.done:
                self.say(self.current.line)
            self.current, self.ended = None, time.monotonic()
        self.show(None, "")


@contextmanager
def progress_shown(console: PlainConsole) -> Iterator[Progress]:
    """A callback of progress inside the block: a bar for the phase under way, a line for every one that ended."""
    if not console.is_terminal or console.quiet:
        phases = _piped(console)
        yield phases
        phases.end()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    text = [TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[rate]", "fields[left]")]
    with Bars(text[0], BarColumn(), MofNCompleteColumn(), *text[1:], console=console, transient=True) as bars:
        tasks = list[TaskID]()

        def show(phase: _Phase | None, what: str) -> None:
            if phase is None:
                while tasks:
                    bars.remove_task(tasks.pop())
                return
            if not tasks:
                tasks.append(bars.add_task(what, total=phase.total, rate="", left=""))
            left = f"{phase.left} left" if phase.done else ""
            rate = phase.rate if phase.done else ""
            bars.update(tasks[0], completed=phase.done, total=phase.total, description=visible(what), rate=rate, left=left)

        phases = Phases(console.print, show, time.monotonic())
        yield phases
        phases.end()


def _piped(console: PlainConsole) -> Phases:
    """A line now and then on the standard error stream; those of phases that ended go to the log, if there is one."""
    errors, last = PlainConsole(stderr=True, quiet=console.quiet), time.monotonic()

    def say(line: str) -> None:
        if isinstance(console, LoggedConsole):
            console.keep(line)

    def show(phase: _Phase | None, what: str) -> None:
        nonlocal last
        if phase is not None and time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            errors.print(f"{what}: {phase.done} of {phase.total}, {phase.rate}, {phase.left} left")

    return Phases(say, show, time.monotonic())


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 14 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

"""A script from its command line to its record: the options that every script has, where it writes, what it prints and keeps."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import Console

from graphs.folder_lock import owned
from papers_repro.harness.command_line import read_options
from papers_repro.harness.kept import check_kept, set_aside
from papers_repro.harness.progress import ProgressBars, progress_bars
from papers_repro.harness.rows import Rows, Scale, print_rows, save_record


@dataclass(frozen=True)
class ScriptOptions:
    """What every script is asked; a script's own options follow in a dataclass that extends this one."""

    scale: Scale = "laptop"
    """smoke: seconds, to see that it runs. laptop: minutes on two cores. cpu: an hour of a core, on CIFAR-10, and gpu: tens of
    minutes on a GPU, on CIFAR-10, where a script has such a scale. paper: the paper's protocol on its data."""
    seed: int = 0
    """The first seed."""
    out: Path | None = None
    """Folder of the results; runs/ and the name of the script by default."""


Options = TypeVar("Options", bound=ScriptOptions)


@dataclass(slots=True, eq=False)
class Script(Generic[Options]):
    """A script that runs. Get it from :func:`started`.

    Attributes:
        name: without suffix; its record and its picture are named after it.
        options: read from the command line.
        scale: of what it shows; that of the options, unless it shows an earlier run.
        folder: where it writes; made if it was missing.
        console: as wide as the terminal, or COLUMNS, or 120.
        tables: what was shown so far; they go into the record.
    """

    name: str
    options: Options
    scale: Scale
    folder: Path
    console: Console
    tables: list[Rows] = field(default_factory=list)

    @property
    def picture(self) -> Path:
        """Where its picture goes."""
        return self.folder / f"{self.name}.png"

    def bars(self) -> AbstractContextManager[ProgressBars]:
        """Progress bars inside a block."""
        return progress_bars(self.console)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False)

    def show(self, *tables: Rows) -> None:
        """Print tables and keep them for the record."""
        for rows in tables:
            print_rows(rows, self.console)
            self.console.print()
            self.tables.append(rows)


@contextmanager
def started(name: str, preset: Callable[[Scale], Options]) -> Iterator[Script[Options]]:
    """Read the options, say where results go, run the block, and write the record of what it showed.

    Args:
        name: of the script, without suffix.

    Raises:
        SystemExit: a value that the options refuse, a scale that the script does not have, a folder that another process is writing
            to, or that holds results of other options, said in one line.
    """
    options, began = read_options(preset), time.perf_counter()
    if options.scale in ("cpu", "gpu") and preset(options.scale) == replace(preset("paper"), scale=options.scale):
        raise SystemExit(f"{name} has no scale {options.scale}: take laptop or paper")
    folder = Path("runs") / name if options.out is None else options.out
    try:
        with owned(folder):
            yield from _running(name, options, folder, began)
    except BlockingIOError as error:
        raise SystemExit(str(error)) from error


def _running(name: str, options: Options, folder: Path, began: float) -> Iterator[Script[Options]]:
    try:
        put_by = None if "--no-resume" in sys.argv[1:] else set_aside(folder, name, options)
        goes_on = check_kept(folder, name, options, "--resume" in sys.argv[1:])
    except ValueError as error:
        raise SystemExit(str(error)) from error
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)
    script = Script(name, options, options.scale, folder, console)
    script.say(f"{name}, scale {options.scale}: results go to {folder}")
    if put_by is not None:
        script.say(put_by)
    if goes_on:
        script.say("going on from what is there; --no-resume starts over")
    yield script
    record = save_record(folder, name, script.scale, options.seed, script.options, script.tables, began)
    beside = [entry for entry in (f"{name}.png", "searches/", "architectures/") if (folder / entry).exists()]
    script.say(f"{', '.join([str(record), *beside])} in {time.perf_counter() - began:.0f} s")

"""The console of the commands, and what a user is told of an error: words as they are, never markup, never a traceback."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from constrained_nas.latency import Progress
from constrained_nas.training import Stopped
from graphs.files import out_of_memory, shortened, visible

_WORKERS = ("TerminatedWorkerError", "BrokenProcessPool", "WorkerCrashedError", "NodeDiedError")


class PlainConsole(Console):
    """Prints names as they are: nothing in them is markup, an emoji or a command to the terminal. Styles are given as ``Text``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Any string that is printed, also in a table, becomes text here."""
        return super().render_str(visible(text), **options)


@contextmanager
def stoppable(progress: Progress, again: str) -> Iterator[Progress]:
    """A callback of progress by which a signal to end (SIGTERM, or Ctrl-C) ends the work after the step that is under way.

    Args:
        progress: to be told.
        again: says how to go on.

    A second signal ends it at once. Outside the main thread signals are left alone.
    """
    asked = list[int]()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    def passed_on(done: int, total: int, what: str) -> None:
        progress(done, total, what)
        if asked:
            raise Stopped

    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)} if here else {}
    try:
        yield passed_on
    except (Stopped, KeyboardInterrupt) as stop:
        raise SystemExit(f"interrupted; {again}") from stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def told(error: BaseException) -> str:
    """What went wrong in a line of some hundred characters, and what to do where that is known."""
    kind, text = type(error).__name__, str(error).strip()
    if out_of_memory(error):
        first = text.splitlines()[0] if text else "more was asked for than there is"
        said = f"memory is exhausted ({shortened(first, 150)}): take smaller batches, images or networks, or fewer jobs"
    elif kind in _WORKERS:
        said = "a worker process was killed, perhaps for memory: started again, what is missing is computed; fewer --jobs need less"
    elif isinstance(error, OSError) and error.filename and error.strerror:
        said = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError | ValueError | ImportError | FloatingPointError):
        said = " ".join(text.splitlines()) or kind
    elif isinstance(error, RecursionError):
        said = "something is nested too deeply to be read"
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}, line {place.lineno}"
        said = f"unexpected {kind} in {where}: {' '.join(text.splitlines())}; please report it"
    return visible(shortened(said))

"""The console of the commands, and what a user is told of an error: words as they are, never markup, never a traceback."""

from __future__ import annotations

import traceback
from typing import Any

from rich.console import Console
from rich.text import Text

from graphs.files import out_of_memory, shortened, visible

_WORKERS = ("TerminatedWorkerError", "BrokenProcessPool", "WorkerCrashedError", "NodeDiedError")


class PlainConsole(Console):
    """Prints names as they are: nothing in them is markup, an emoji or a command to the terminal. Styles are given as ``Text``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Any string that is printed, also in a table, becomes text here."""
        return super().render_str(visible(text), **options)


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

"""The console of the commands: arguments read, progress shown, and what a user is told of an error.

Words are printed as they are, never as markup; an error ends in a line or two, never in a traceback.
"""

from __future__ import annotations

import io
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from difflib import get_close_matches
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import tyro
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from graphs.files import out_of_memory, shortened, visible

if TYPE_CHECKING:
    from constrained_nas.latency import Progress

Command = TypeVar("Command")

_WORKERS = ("TerminatedWorkerError", "BrokenProcessPool", "WorkerCrashedError", "NodeDiedError")
_PEERS = {"DistBackendError", "DistNetworkError", "DistStoreError"}  # torch's, where a process is gone
_KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path"}


class PlainConsole(Console):
    """Prints names as they are: nothing in them is markup, an emoji or a command to the terminal. Styles are given as ``Text``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Any string that is printed, also in a table, becomes text here."""
        return super().render_str(visible(text), **options)


def refuse(said: str, help_command: str) -> NoReturn:
    """End with what was not understood and how to learn more, in two lines; the exit status is 2."""
    print(f"constrained-nas: {said}\n{help_command} says more", file=sys.stderr)
    raise SystemExit(2)


def parsed(kind: type[Command], program: str, arguments: Sequence[str]) -> Command:
    """The arguments of a command; what is not understood ends in a line or two that name what was meant.

    Raises:
        SystemExit: help was asked for (0), or an argument is not understood (2).
    """
    heard = io.StringIO()
    try:
        with redirect_stderr(heard):
            return tyro.cli(kind, prog=program, args=list(arguments))
    except ValidationError as error:  # settings that their own model refuses
        refuse(visible(shortened(_first(error))), f"{program} --help")
    except SystemExit as end:
        if not end.code:
            raise
    refuse(visible(shortened(_refusal(kind, program, arguments, _flat(heard.getvalue())))), f"{program} --help")


def _first(error: ValidationError) -> str:
    """What is wrong with the first option that is, in a line."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    options = ", ".join(f"--{name}".replace("_", "-") for name in first["loc"] if name != "space")
    return said if not options or said.startswith("--") else f"{options}: {said} (got {first['input']!r})"


def _refusal(kind: type, program: str, arguments: Sequence[str], heard: str) -> str:
    """What the parser says, in a line: the nearest option or value instead of all there are."""
    given = [text.split("=")[0] for text in arguments if text.startswith("--")]
    known = _flags(kind, program)
    for flag in given:
        if flag.replace("_", "-") not in known:
            near = get_close_matches(flag, known, 1)
            return f"no option {flag}" + (f": did you mean {near[0]}?" if near else "")
    choice = re.search(r"invalid choice '(.*?)' for argument '(.*?)'. Expected one of \((.*?)\)", heard)
    if choice:
        value, argument = choice[1], choice[2].removeprefix("settings.")
        options = sorted({option.strip("' ") for option in choice[3].split(",")} - {"", "None"})
        near = get_close_matches(value, options, 1)
        return f"{argument}: no {value!r}: " + (f"did you mean {near[0]}?" if near else f"there are {_some(options)}")
    kind_of = re.search(r"(--[\w-]+): no type matching \{None\}\|(\w+) could be instantiated from \['(.*?)'\]", heard)
    if kind_of:
        return f"{kind_of[1]}: expected {_KINDS.get(kind_of[2], kind_of[2])}, got {kind_of[3]!r}"
    number = re.search(r"(--[\w-]+): invalid literal for int\(\) with base 10: ('.*?')", heard)
    if number:
        return f"{number[1]}: expected a whole number, got {number[2]}"
    missing = re.search(r"Missing from [^:]*: (.*?) (?:Unrecognized|For full)", heard)
    if missing:
        options = re.findall(r"--[a-z][\w-]*(?= [A-Z{])", missing[1])
        positional = re.match(r"(?:\{[^}]*\} )?([\w.-]+)", missing[1])
        first = [positional[1]] if positional and not options else []
        return f"missing: {', '.join([*first, *options])}"
    said = re.split(r" (?:For full helptext|Argument helptext|Perhaps you meant)", heard)[0]
    return said.removeprefix("Value error ").removeprefix("Error parsing ")


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _flags(kind: type, program: str) -> set[str]:
    """The options there are, as the command's help names them."""
    shown = io.StringIO()
    with redirect_stderr(shown), redirect_stdout(shown), suppress(SystemExit):
        tyro.cli(kind, prog=program, args=["--help"])
    return set(re.findall(r"--[a-z][\w-]*", shown.getvalue())) | {"--help"}


def _flat(text: str) -> str:
    """The words of a box, without its frame and colours, in one line."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m|[\u2500-\u257f]", " ", text).split())


@contextmanager
def stoppable(progress: Progress, again: str) -> Iterator[Progress]:
    """A callback of progress by which a signal to end (SIGTERM, Ctrl-C, or that of a terminal that is closed) ends the work after
    the step that is under way.

    Args:
        progress: to be told.
        again: says how to go on.

    A second signal ends it at once. Outside the main thread signals are left alone.
    """
    from constrained_nas.training import Stopped

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
    before = {number: signal.signal(number, ask) for number in _ending()} if here else {}
    try:
        yield passed_on
    except (Stopped, KeyboardInterrupt) as stop:
        with suppress(OSError):  # of a terminal that is gone
            print(f"interrupted; {again}", file=sys.stderr, flush=True)
        raise SystemExit(130) from stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending() -> list[signal.Signals]:
    """The signals that ask for an end; under nohup that of a closed terminal is not one."""
    closed: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    kept = [closed] if closed is not None and signal.getsignal(closed) is not signal.SIG_IGN else []
    return [signal.SIGTERM, signal.SIGINT, *kept]


def told(error: BaseException) -> str:
    """What went wrong in a line of some hundred characters, and what to do where that is known."""
    kind, text = type(error).__name__, str(error).strip()
    if out_of_memory(error):
        first = text.splitlines()[0] if text else "more was asked for than there is"
        said = f"memory is exhausted ({shortened(first, 150)}): take smaller batches, images or networks, or fewer jobs"
    elif kind in _WORKERS:
        said = "a worker process was killed, perhaps for memory: started again, what is missing is computed; fewer --jobs need less"
    elif isinstance(error, RuntimeError) and (kind in _PEERS or "gloo/transport" in text):
        said = "another process of this run was killed or has failed: resume goes on from what was kept"
    elif isinstance(error, ValidationError):
        said = _first(error)
    elif isinstance(error, OSError) and error.filename and error.strerror:
        said = f"{error.filename2 or error.filename}: {error.strerror}"  # of a move, where it was to go
    elif isinstance(error, OSError | ValueError | ImportError | FloatingPointError):
        said = " ".join(text.splitlines()) or kind
    elif isinstance(error, RecursionError):
        said = "something is nested too deeply to be read"
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}, line {place.lineno}"
        said = f"unexpected {kind} in {where}: {' '.join(text.splitlines())}; please report it"
    return visible(shortened(said))

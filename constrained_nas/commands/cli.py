"""The command ``constrained-nas``: from a device and a search space to networks that fit, and what can be said of them.

``constrained-nas --help`` and ``constrained-nas COMMAND --help`` say what each option does. A command's module is imported when it
is asked for, and torch only after its arguments were understood: a mistake is answered at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

PROGRAM = "constrained-nas"
# By name: the module in this room, the class of its arguments and the function that carries it out, and what it is for.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "spaces": ("describe:Spaces:spaces", "looking round", "which spaces there are, their sizes and methods"),
    "describe": ("describe:Describe:describe", "looking round", "what a space holds and costs; a picture of it"),
    "doctor": ("doctor:Doctor:doctor", "looking round", "what is installed, and whether latencies can be trusted here"),
    "profile": ("profile:Profile:profile", "latencies", "measure a latency table on this machine"),
    "validate": ("validate:Validate:validate", "latencies", "compare a table with networks measured whole"),
    "import-table": ("profile:ImportTable:import_table", "latencies", "read a table that was measured elsewhere"),
    "search": ("search:Search:search_run", "networks", "find, train and record a network within budgets"),
    "resume": ("search:Resume:resume", "networks", "continue a search that was interrupted"),
    "sweep": ("sweep:Sweep:sweep", "networks", "many budgets on one super-network, and their front"),
    "report": ("report:Report:report", "networks", "say what a search found, with pictures"),
    "compare": ("compare:Compare:compare", "networks", "finished searches side by side"),
    "export": ("export:Export:export", "networks", "write a found network as Python, ONNX and others"),
    "quantise": ("bits:Quantise:quantise", "networks", "a bit width for every layer, and the file that runs so"),
    "project": ("project:Project:project", "tables of one's own", "the best selection within budgets from a CSV file"),
    "allocate": ("bits:Allocate:allocate", "tables of one's own", "types for the tensors of a language model"),
}
_AFTER = f"""
{PROGRAM} COMMAND --help: every option. --version: the version.
--tyro-print-completion bash (zsh, tcsh, fish): a script that completes options.
Exit status: 0 done, 1 could not be done (the last line says why), 2 options
not understood, 130 interrupted. CONSTRAINED_NAS_TRACEBACK=1: tracebacks."""


def main() -> None:
    """Entry point of the console command; what goes wrong ends in one line.

    With CONSTRAINED_NAS_TRACEBACK in the environment the traceback is shown, for a report.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of letters that the terminal's encoding lacks
    try:
        os.getcwd()  # libraries of torch need one to be loaded
    except FileNotFoundError:
        raise SystemExit(f"{PROGRAM}: the current folder is gone: change to one that is there") from None
    try:
        _carry_out(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # nobody reads on
        raise SystemExit(1) from None
    except OSError as error:  # those of commands were told of where they are carried out
        raise SystemExit(f"{PROGRAM}: what was found cannot be printed: {error.strerror or error}") from None
    finally:
        _drop_what_cannot_be_printed()


def _drop_what_cannot_be_printed() -> None:
    """Python would try once more as it ends, and tell of it in lines of its own."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _carry_out(arguments: Sequence[str]) -> None:
    first = arguments[0] if arguments else ""
    if first in ("", "-h", "--help", "help"):
        print(_help())
        if not first:
            raise SystemExit(2)
        return
    if first in ("-V", "--version"):
        from importlib.metadata import version

        print(f"{PROGRAM} {version(PROGRAM)}")
        return
    if first.startswith("--tyro-"):
        _complete(arguments)
    if first not in _COMMANDS:
        near = get_close_matches(first, (*_COMMANDS, "--version", "--help"), 1)
        hint = f"did you mean {near[0]}?" if near else f"{', '.join(_COMMANDS)}"
        from constrained_nas.commands.console import refuse

        refuse(f"no command {first!r}: {hint}", f"{PROGRAM} --help")
    kind, function = _loaded(first)
    from constrained_nas.commands.console import parsed, told

    command: Any = parsed(kind, f"{PROGRAM} {first}", arguments[1:])
    try:
        function(command)
    except Exception as error:  # whatever it is, a user can do nothing with a traceback
        if os.environ.get("CONSTRAINED_NAS_TRACEBACK"):
            raise
        raise SystemExit(f"{PROGRAM}: {told(error)}") from error


def _loaded(name: str) -> tuple[type, Callable[[Any], None]]:
    """The class of a command's arguments, and its function."""
    module, kind, function = _COMMANDS[name][0].split(":")
    loaded = import_module(f"constrained_nas.commands.{module}")
    return getattr(loaded, kind), getattr(loaded, function)


def _help() -> str:
    """The program in one screen: a line a command."""
    lines, before = [f"usage: {PROGRAM} COMMAND ...", "", "Networks that fit hard budgets, with a certificate."], ""
    for name, (_, group, said) in _COMMANDS.items():
        lines += [f"{group}:"] if group != before else []
        lines.append(f"  {name:<13} {said}")
        before = group
    return "\n".join([*lines, _AFTER])


def _complete(arguments: Sequence[str]) -> None:
    """Print a script by which a shell completes commands and options."""
    import tyro

    kinds: dict[str, Callable[..., Any]] = {name: _loaded(name)[0] for name in _COMMANDS}
    tyro.extras.subcommand_cli_from_dict(kinds, prog=PROGRAM, args=list(arguments))

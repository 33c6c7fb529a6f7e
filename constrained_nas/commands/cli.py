"""The command ``constrained-nas``: from a device and a search space to networks that fit, and what can be said of them.

``constrained-nas --help`` and ``constrained-nas COMMAND --help`` say what each option does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tyro
from pydantic import ValidationError

from constrained_nas.commands.bits import Allocate, Quantise, allocate, quantise
from constrained_nas.commands.compare import Compare, compare
from constrained_nas.commands.console import told
from constrained_nas.commands.describe import Describe, describe
from constrained_nas.commands.export import Export, export
from constrained_nas.commands.import_table import ImportTable, import_table
from constrained_nas.commands.profile import Profile, profile
from constrained_nas.commands.project import Project, project
from constrained_nas.commands.report import Report, report
from constrained_nas.commands.search import Resume, Search, resume, search_run
from constrained_nas.commands.sweep import Sweep, sweep
from constrained_nas.commands.validate import Validate, validate
from graphs.files import shortened, visible

_COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "describe": (Describe, describe),
    "profile": (Profile, profile),
    "validate": (Validate, validate),
    "import-table": (ImportTable, import_table),
    "allocate": (Allocate, allocate),
    "project": (Project, project),
    "search": (Search, search_run),
    "resume": (Resume, resume),
    "report": (Report, report),
    "compare": (Compare, compare),
    "export": (Export, export),
    "quantise": (Quantise, quantise),
    "sweep": (Sweep, sweep),
}


def main() -> None:
    """Entry point of the console command; what goes wrong ends in one line.

    With CONSTRAINED_NAS_TRACEBACK in the environment the traceback is shown, for a report.
    """
    kinds: dict[str, Callable[..., Any]] = {name: kind for name, (kind, _) in _COMMANDS.items()}
    try:
        command = tyro.extras.subcommand_cli_from_dict(kinds, prog="constrained-nas")
    except ValidationError as error:  # settings that their own model refuses
        raise SystemExit(f"constrained-nas: {visible(shortened(_first(error)))}") from error
    carry_out = next(function for kind, function in _COMMANDS.values() if isinstance(command, kind))
    try:
        carry_out(command)
    except KeyboardInterrupt as error:
        raise SystemExit("constrained-nas: interrupted") from error
    except Exception as error:  # whatever it is, a user can do nothing with a traceback
        if os.environ.get("CONSTRAINED_NAS_TRACEBACK"):
            raise
        raise SystemExit(f"constrained-nas: {told(error)}") from error


def _first(error: ValidationError) -> str:
    """What is wrong with the first option that is, in a line."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    options = ", ".join(f"--{name}".replace("_", "-") for name in first["loc"])
    return said if not options or said.startswith("--") else f"{options}: {said} (got {first['input']!r})"

"""The command ``constrained-nas``: from a device and a search space to networks that fit, and what can be said of them.

``constrained-nas --help`` and ``constrained-nas COMMAND --help`` say what each option does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tyro
from pydantic import ValidationError

from constrained_nas.commands.compare import Compare, compare
from constrained_nas.commands.describe import Describe, describe
from constrained_nas.commands.export import Export, export
from constrained_nas.commands.import_table import ImportTable, import_table
from constrained_nas.commands.profile import Profile, profile
from constrained_nas.commands.project import Project, project
from constrained_nas.commands.report import Report, report
from constrained_nas.commands.search import Resume, Search, resume, search_run
from constrained_nas.commands.sweep import Sweep, sweep
from constrained_nas.commands.validate import Validate, validate

_COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "describe": (Describe, describe),
    "profile": (Profile, profile),
    "validate": (Validate, validate),
    "import-table": (ImportTable, import_table),
    "project": (Project, project),
    "search": (Search, search_run),
    "resume": (Resume, resume),
    "report": (Report, report),
    "compare": (Compare, compare),
    "export": (Export, export),
    "sweep": (Sweep, sweep),
}


def main() -> None:
    """Entry point of the console command; what a user can mend ends in one line, not in a traceback."""
    kinds: dict[str, Callable[..., Any]] = {name: kind for name, (kind, _) in _COMMANDS.items()}
    try:
        command = tyro.extras.subcommand_cli_from_dict(kinds, prog="constrained-nas")
    except ValidationError as error:  # settings that their own model refuses
        raise SystemExit(f"constrained-nas: {_first(error)}") from error
    carry_out = next(function for kind, function in _COMMANDS.values() if isinstance(command, kind))
    try:
        carry_out(command)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        raise SystemExit(f"constrained-nas: {said}") from error
    except (ValueError, ImportError, FloatingPointError) as error:  # the last: training that diverged
        raise SystemExit(f"constrained-nas: {error}") from error


def _first(error: ValidationError) -> str:
    """What is wrong with the first option that is, in a line."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    options = ", ".join(f"--{name}".replace("_", "-") for name in first["loc"])
    return said if not options or said.startswith("--") else f"{options}: {said} (got {first['input']!r})"

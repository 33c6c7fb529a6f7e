"""Scripts run as a user runs them, but in the process of the tests, where torch is imported already."""

from __future__ import annotations

import io
import os
import runpy
import sys
from contextlib import chdir, redirect_stdout
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[2]


def run_script(script: str, *arguments: str, folder: Path, columns: int = 80) -> str:
    """What ``python <script> <arguments>`` prints in ``folder``, on a terminal that is ``columns`` wide.

    Args:
        script: its path within the repository.
        arguments: of the command line.
        folder: where it is run.
        columns: width of its terminal.
    """
    path, printed = str(ROOT / script), io.StringIO()
    settings = patch.dict(os.environ, COLUMNS=str(columns))
    with settings, patch.object(sys, "argv", [path, *arguments]), chdir(folder), redirect_stdout(printed):
        runpy.run_path(path, run_name="__main__")
    return printed.getvalue()

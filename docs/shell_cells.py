"""Cells of the pages that begin with ``%%bash``: run whole, as in a terminal without colours, and printed whole.

IPython's own ``%%bash`` prints piece by piece as the output comes, and pieces end in the middle of a line; commands would also
inherit what the notebook says of colours and of how it draws.
"""

from __future__ import annotations

import os
import subprocess

from IPython.core.magic import register_cell_magic

_OF_THE_NOTEBOOK = ("MPLBACKEND", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")


def shell_cells(columns: int = 86) -> None:
    """Have ``%%bash`` run so from now on; a command that fails ends the page with what it said."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_THE_NOTEBOOK}
    environment = kept | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}

    @register_cell_magic
    def bash(_: str, cell: str) -> None:
        done = subprocess.run(["bash", "-c", cell], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr}")
        print(done.stdout, end="")

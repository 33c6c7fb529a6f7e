"""Work for processes of their own, at the top of a module as they need it."""

from __future__ import annotations

import time
from pathlib import Path

from papers_repro.harness import Reports


def squared(seed: int, progress: Reports) -> int:
    """Reports its seed; refuses 7."""
    progress.update(f"seed {seed}", 1, 1)
    if seed == 7:
        raise ArithmeticError("seven")
    return seed * seed


def handed_over(folder: Path, piece: tuple[int, str], progress: Reports) -> str:
    """(seed, "made") writes a file after a moment, (seed, "read") returns what it says."""
    seed, part = piece
    if part == "made":
        time.sleep(0.2 * (3 - seed))
        (folder / str(seed)).write_text(f"of {seed}")
        return ""
    return (folder / str(seed)).read_text()

"""Work for processes of their own, at the top of a module as they need it."""

from __future__ import annotations

from papers_repro.harness import Reports


def squared(seed: int, progress: Reports) -> int:
    """Reports its seed; refuses 7."""
    progress.update(f"seed {seed}", 1, 1)
    if seed == 7:
        raise ArithmeticError("seven")
    return seed * seed

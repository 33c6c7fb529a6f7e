"""Seeds side by side: answers in order, progress shown here, failures raised here."""

from __future__ import annotations

import pytest
from support.seeds import squared

from papers_repro.harness import ProgressCallback, run_seeds


class Shown:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told = list[tuple[str, int, int]]()

    def update(self, description: str, done: int, total: int) -> None:
        self.told.append((description, done, total))

    def callback(self, label: str = "") -> ProgressCallback:
        raise NotImplementedError


def test_seeds_in_two_processes() -> None:
    shown = Shown()
    assert run_seeds(squared, [3, 1, 2], 2, shown) == [9, 1, 4]
    assert set(shown.told) <= {(f"seed {seed}", 1, 1) for seed in (1, 2, 3)} and shown.told


def test_the_first_failure_is_raised() -> None:
    with pytest.raises(ArithmeticError, match="seven"):
        run_seeds(squared, [1, 7, 2], 1, Shown())

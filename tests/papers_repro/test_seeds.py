"""Seeds side by side: answers in order, progress shown here, failures raised here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from support.seeds import handed_over, squared

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


@pytest.mark.parametrize("processes", [1, 2])
def test_a_piece_begins_after_what_it_needs(processes: int, tmp_path: Path) -> None:
    pieces = [(seed, part) for part in ("made", "read") for seed in range(3)]
    after = {(seed, "read"): (seed, "made") for seed in range(3)}
    answers = run_seeds(partial(handed_over, tmp_path), pieces, processes, Shown(), after)
    assert answers == ["", "", "", "of 0", "of 1", "of 2"]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_failure_is_raised(processes: int) -> None:
    with pytest.raises(ArithmeticError, match="seven"):
        run_seeds(squared, [1, 7, 2], processes, Shown(), {2: 7})

"""The front of a search's networks and the choice among those that fit."""

from __future__ import annotations

from typing import Any

import pytest

from constrained_nas.search import front
from constrained_nas.search.front import select


def entry(epoch: int, cost: float, validation: float, fits: bool) -> dict[str, Any]:
    return {"epoch": epoch, "costs": {"macs": cost}, "fits": fits, "scores": {"validation": validation, "test": 1 - validation}}


ENTRIES = [
    entry(1, 10, 0.5, True),
    entry(2, 20, 0.7, False),
    entry(3, 12, 0.6, True),
    entry(4, 15, 0.6, True),
    entry(5, 10, 0.5, True),
]


def test_front_by_cost_and_score() -> None:
    assert front(ENTRIES, "macs").tolist() == [True, True, True, False, False]
    assert front(ENTRIES, "macs", by="test").tolist() == [True, False, False, False, False]
    assert front([], "macs").tolist() == []


def test_the_best_that_fits_and_the_earliest_of_equals() -> None:
    assert select(ENTRIES)["epoch"] == 3
    assert select(ENTRIES, by="test")["epoch"] == 1


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="none of the 1 networks"):
        select([ENTRIES[1]])
    with pytest.raises(ValueError, match="epoch 1: no costs called 'steps'"):
        front(ENTRIES, "steps")
    with pytest.raises(ValueError, match="no scores called 'train'"):
        select(ENTRIES, by="train")

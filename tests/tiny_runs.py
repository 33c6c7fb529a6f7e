"""Searches from the command line at settings that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from constrained_nas.run_record import RunRecord
from constrained_nas.run_search import begin_run, carry_out
from constrained_nas.run_settings import RunSettings

TINY: dict[str, Any] = {
    "resolution": 16,
    "training_digits": 40,
    "draws": 1,
    "epochs": 2,
    "warm_up": 1,
    "train_epochs": 1,
    "batch_size": 8,
    "fine_tune_epochs": 1,
    "samples": 2,
    "test_references": False,
}


def settings(space: str, *budget: str, **more: Any) -> RunSettings:
    return RunSettings(space=space, budget=budget, **{**TINY, **more})  # type: ignore[arg-type]


def run(folder: Path, asked: RunSettings) -> RunRecord:
    return carry_out(folder, asked=begin_run(asked, folder))

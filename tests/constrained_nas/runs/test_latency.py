"""A table of another device names the flags with which it is taken, and is taken with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fakes import true_table

from constrained_nas.runs import RunSettings
from constrained_nas.runs.families.hardcore import HardCoReFamily
from constrained_nas.runs.latency import read_run_table
from graphs import hardcore_small
from graphs.files import save_json


def test_a_foreign_table_names_its_flags(tmp_path: Path) -> None:
    family = HardCoReFamily(hardcore_small())
    table = true_table(family.space).model_copy(update={"device": "Pixel 6", "batch": 4, "threads": 2})
    save_json(table, tmp_path / "phone.json")
    settings = RunSettings(space="hardcore-small", resolution=table.resolution)
    with pytest.raises(ValueError, match="device 'Pixel 6' where") as refused:
        read_run_table(family, tmp_path / "phone.json", settings)
    flags = "--latency-device 'Pixel 6' --no-measure --latency-batch 4 --latency-threads 2"
    assert str(refused.value).endswith(f"the flags for this one: {flags}")
    taken = {"latency_device": "Pixel 6", "measure": False, "latency_batch": 4, "latency_threads": 2}
    assert read_run_table(family, tmp_path / "phone.json", settings.model_copy(update=taken)).device == "Pixel 6"

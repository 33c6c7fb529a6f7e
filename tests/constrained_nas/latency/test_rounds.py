"""Killed runs: what was measured is there, half a line is not, and other settings are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from constrained_nas.latency import log_beside
from constrained_nas.latency.rounds import MeasurementLog

HEADER = {"space": "tiny", "batch": 1}
ROUNDS = [{"a": [1.0, 2.5], "b": [0.1]}, {"a": [1.1, 2.4], "b": [0.3]}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = log_beside(tmp_path / "deep" / "table.json")
    log = MeasurementLog.opened(path, HEADER)
    assert log.rounds == []
    for times in ROUNDS:
        log.add(dict(times))
    return path


def test_goes_on_where_it_was(path: Path) -> None:
    assert path.name == "table.json.partial.jsonl"
    log = MeasurementLog.opened(path, dict(HEADER))
    assert log.rounds == ROUNDS
    log.add({"a": [9.0, 9.0], "b": [9.0]})
    assert len(MeasurementLog.opened(path, HEADER).rounds) == 3
    log.close()
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 10])
def test_half_a_line_is_dropped(path: Path, cut: int) -> None:
    path.write_text(path.read_text(encoding="utf-8")[:-cut], encoding="utf-8")
    log = MeasurementLog.opened(path, HEADER)
    assert log.rounds == ROUNDS[:1]
    log.add(dict(ROUNDS[1]))  # must not land behind the half line
    assert MeasurementLog.opened(path, HEADER).rounds == ROUNDS


def test_killed_in_the_first_line(path: Path) -> None:
    path.write_text('{"space": "ti', encoding="utf-8")
    assert MeasurementLog.opened(path, HEADER).rounds == []
    assert MeasurementLog.opened(path, HEADER).rounds == []


def test_other_settings_and_other_files(path: Path) -> None:
    with pytest.raises(ValueError, match=r"with batch 1, not 8: finish them .* or delete the file"):
        MeasurementLog.opened(path, HEADER | {"batch": 8})
    with pytest.raises(ValueError, match="with threads None, not 2"):
        MeasurementLog.opened(path, HEADER | {"threads": 2})
    path.write_text("no json\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no measurements"):
        MeasurementLog.opened(path, HEADER)


def test_in_memory() -> None:
    log = MeasurementLog.opened(None, HEADER)
    log.add(dict(ROUNDS[0]))
    assert log.rounds == ROUNDS[:1]
    log.close()

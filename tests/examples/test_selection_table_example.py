"""The example of a table of measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.selection_table import main


def test_it_solves_the_table_beside_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "selection.json")])
    printed = capsys.readouterr().out
    assert "optimal" in printed
    assert "least possible cost is 7.7" in " ".join(printed.split())
    record = json.loads((tmp_path / "selection.json").read_text())
    assert record["totals"]["latency_ms"] <= 20.0
    assert record["totals"]["params"] <= 5e5
    main(["--latency-ms", "8.9"])
    assert "stage3: none" in capsys.readouterr().out
    table = tmp_path / "mine.csv"
    table.write_text("group,option,score,latency_ms,params\na,wide,2,3,9e5\na,narrow,1,2,1e5\n")
    main(["--table", str(table), "--params", "2e5", "--out", str(tmp_path / "mine.json")])
    assert json.loads((tmp_path / "mine.json").read_text())["totals"] == {"latency_ms": 2.0, "params": 1e5}


def test_its_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "one option a group" in capsys.readouterr().out

"""The script on what a path is drawn for, at smoke scale."""

from __future__ import annotations

import json
from pathlib import Path

from support.scripts import run_script

from papers_repro.hardcore_paths import METHODS, OURS


def test_script(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_script("papers_repro/hardcore_paths.py", "--scale", "smoke", "--out", str(out), folder=tmp_path, columns=160)
    (table,) = json.loads((out / "hardcore_paths.json").read_text())["tables"]
    rows = {(row["path"], row["method"]): row for row in table["ours"]}
    assert rows.keys() == {(way, method) for way in ("example", "batch") for method in METHODS["hardcore-small"]}
    for key, row in rows.items():
        assert 0 <= row["accuracy"] <= 100 and 0 < row["use"] <= 100  # every network fits
        assert (key == OURS) == (row.get("against") is None)

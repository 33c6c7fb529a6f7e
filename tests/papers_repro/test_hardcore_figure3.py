"""Figure 3 of HardCoRe-NAS, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from graphs import hardcore_small
from graphs.costs import latency_cost, load_latency_table

ROOT = Path(__file__).parents[2]


def run(out: Path, *arguments: str) -> tuple[str, dict]:
    script = str(ROOT / "papers_repro" / "hardcore_figure3.py")
    command = [sys.executable, script, "--scale", "smoke", "--out", str(out), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(command, cwd=out.parent, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((out / "hardcore_figure3.json").read_text(encoding="utf-8"))


def test_smoke(tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed, record = run(out)
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines() if "│" in line) <= 80
    assert (out / "hardcore_figure3.png").read_bytes().startswith(b"\x89PNG")
    assert record["scale"] == "smoke" and str(out) not in json.dumps(record)
    fit, evidence, networks = record["tables"]
    assert fit["published"] == [{"what": "HardCoRe-NAS", "slope": 1.003, "r_squared": 0.99}]
    assert {row["what"] for row in evidence["ours"]} == {"network", "isolated"}
    assert not evidence["published"] and not networks["published"]
    assert len(networks["ours"]) == 6
    table = load_latency_table(out / "latency_table.json")
    assert latency_cost(table, hardcore_small()).unit == "ms"
    assert sorted(path.name for path in out.iterdir()) == ["hardcore_figure3.json", "hardcore_figure3.png", "latency_table.json"]
    # The table is kept, not measured again.
    _, again = run(out, "--resume", "--networks", "3")
    assert load_latency_table(out / "latency_table.json") == table
    assert again["tables"][1]["ours"] == evidence["ours"]
    assert len(again["tables"][2]["ours"]) == 3

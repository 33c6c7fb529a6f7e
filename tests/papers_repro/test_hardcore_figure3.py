"""Figure 3 of HardCoRe-NAS, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from support.scripts import run_script

from graphs import hardcore_small
from graphs.costs import latency_cost, load_latency_table


def run(out: Path, *arguments: str) -> tuple[str, dict]:
    script = "papers_repro/hardcore_figure3.py"
    printed = run_script(script, "--scale", "smoke", "--out", str(out), *arguments, folder=out.parent)
    return printed, json.loads((out / "hardcore_figure3.json").read_text(encoding="utf-8"))


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
    written = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))  # the lock and the options are hidden
    assert written == ["hardcore_figure3.json", "hardcore_figure3.png", "latency_table.json"]
    # The table is kept, not measured again.
    _, again = run(out, "--resume", "--networks", "3")
    assert load_latency_table(out / "latency_table.json") == table
    assert again["tables"][1]["ours"] == evidence["ours"]
    assert len(again["tables"][2]["ours"]) == 3

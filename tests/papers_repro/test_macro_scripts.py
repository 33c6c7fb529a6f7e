"""The script on NAS-Bench-Macro, on a made file of the benchmark's form; and what its reader refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.macro import benchmark_path, write_made_benchmark
from support.scripts import run_script

from papers_repro.macro import read_benchmark


def test_regret(tmp_path: Path) -> None:
    file, out = write_made_benchmark(tmp_path / "made.json"), tmp_path / "run"
    arguments = ("--scale", "smoke", "--out", str(out), "--benchmark", str(file))
    printed = run_script("papers_repro/macro_regret.py", *arguments, folder=tmp_path, columns=140)
    assert "…" not in printed and (out / "macro_regret.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "macro_regret.json").read_text())
    (table,) = record["tables"]
    rows = {row["method"]: row for row in table["ours"]}
    assert "25 networks looked up: odd budgets of macs, both, odd seeds" in table["title"] and str(file) not in json.dumps(record)
    ours, random = rows["ours: pairwise surrogate"], rows["random that fits"]
    assert ours["violations"] == random["violations"] == 0 and ours["regret"] < random["regret"]
    for name, row in rows.items():
        assert row["seen"] >= -1e-9 and row["seconds"] > 0, name
        if name != "soft penalty + argmax":
            assert row["violations"] == 0, name
    assert {"HardCoRe-NAS as printed", "REINFORCE", "RLOO", "Gumbel with pruning", "local search"} <= rows.keys()


def test_the_file_is_asked_for(tmp_path: Path) -> None:
    for arguments, said in (((), "--benchmark"), (("--benchmark", "nowhere.json"), "no such file")):
        with pytest.raises(SystemExit, match=said):
            run_script("papers_repro/macro_regret.py", "--scale", "smoke", *arguments, folder=tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    whole = json.loads(write_made_benchmark(tmp_path / "made.json").read_text())
    code = "01201201"
    for change, said in (
        ({code: None}, "network 01201201, mean_acc: expected a number from 0 to 100, got None"),
        ({code: whole[code] | {"mean_acc": 120.0}}, "mean_acc: expected a number from 0 to 100, got 120"),
        ({code: whole[code] | {"flops": True}}, "flops"),
        ({code: whole[code] | {"params": float("nan")}}, "params"),
        ({"extra": {}}, "expected an object of 6561 networks, got 6562 entries"),
    ):
        file = tmp_path / "damaged.json"
        file.write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match=said):
            read_benchmark(file)
    renamed = {("0120120x" if name == code else name): entry for name, entry in whole.items()}
    file.write_text(json.dumps(renamed))
    with pytest.raises(ValueError, match="0120120x"):
        read_benchmark(file)
    for text, said in (("{", "not complete JSON"), ("[]", "got list")):
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_benchmark(file)


def test_the_benchmarks_own_file() -> None:
    table = read_benchmark(benchmark_path())
    assert table.accuracies[table.place["22212220"]] == table.accuracies.max() and round(float(table.accuracies.max()), 3) == 93.127

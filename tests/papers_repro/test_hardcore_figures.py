"""The scripts of HardCoRe-NAS's figures 1, 4, 5, 7 and 8, run as a user runs them; and how rows are printed and saved."""

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.scripts import ROOT, run_script

from papers_repro.hardcore_figure1 import Options as Figure1
from papers_repro.harness import Column, Rows, print_rows, save_record
from papers_repro.harness.rows import machine


def run(script: str, out: Path, *arguments: str) -> dict:
    """Run a script in a folder of its own and read its record."""
    printed = run_script(f"papers_repro/{script}.py", "--scale", "smoke", "--out", str(out), *arguments, folder=out.parent)
    assert "…" not in printed  # no number is cut on a narrow terminal
    assert (out / f"{script}.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / f"{script}.json").read_text())
    assert record["scale"] == "smoke" and record["machine"]["cores"] >= 1 and "numpy" in record["versions"]
    assert str(out) not in json.dumps(record)
    return record


def test_figure_5(tmp_path: Path) -> None:
    methods, starts = run("hardcore_figure5", tmp_path / "run")["tables"]
    rows = {row["method"]: row for row in methods["ours"]}
    assert rows["FW, 2 / (t + 2)"]["reached"] == 181 and rows["FW, 4 / (t + 4)"]["reached"] == 362
    assert all(row["violation"] <= 1e-12 for name, row in rows.items() if name.startswith("FW"))
    soft = {name: row for name, row in rows.items() if name.startswith("lambda")}
    assert [name for name, row in soft.items() if row["diverged"]] == ["lambda 10, rate 0.01", "lambda 100, rate 0.01"]
    for row in soft.values():
        if not row["diverged"]:  # the violation of lambda .1 shrinks slowest, by 1 - .01 * (2 + 2 lambda d) = .96 a step: 2e-11
            assert row["violation"] == pytest.approx(row["predicted"], rel=1e-9)
    assert all(row["worst"] <= 1e-12 for row in starts["ours"]) and not starts["published"]


def test_figure_5_says_what_was_not_reached(tmp_path: Path) -> None:
    _, starts = run("hardcore_figure5", tmp_path / "run", "--iterations", "200", "--starts", "2")["tables"]
    rows = {row["method"]: row for row in starts["ours"]}
    assert rows["FW, 2 / (t + 2)"]["most"] == 181 and rows["FW, 4 / (t + 4)"]["least"] is None  # 362: infinite is null in JSON
    assert "of at most 200" in starts["title"]


def test_figure_7(tmp_path: Path) -> None:
    (table,) = run("hardcore_figure7", tmp_path / "run", "--no-references")["tables"]
    assert len(table["ours"]) == 6
    assert all(row["fits"] and row["residual"] <= 1e-12 for row in table["ours"])
    alive = {row["start"]: row["alive"] for row in table["ours"]}
    assert alive["cheapest"] == pytest.approx(100 / 12) and alive["maximum entropy"] > alive["balanced"]
    assert "made up" in table["remark"]


def test_figure_7_below_the_least_latency(tmp_path: Path) -> None:
    (table,) = run("hardcore_figure7", tmp_path / "run", "--no-references", "--budgets-ms", "1.0", "40.0")["tables"]
    notes = [row.get("note") for row in table["ours"]]
    assert all("the budget is 1.0, the least possible cost is" in note for note in notes[:3]) and notes[3:] == [None] * 3


def test_figure_7_on_a_measured_table(tmp_path: Path) -> None:
    names = ("ir_e3", "ir_e6")
    entries = [
        {"block": f"stage{s}.block{b}", "configuration": name, "median": 1.0 + place, "spread": 0.1, "samples": 5}
        for s in (1, 2)
        for b in (1, 2, 3)
        for place, name in enumerate(names)
    ]
    table = {
        "unit": "ms",
        "space": "made for a test",
        "device": "a processor",
        "runtime": "eager",
        "threads": 1,
        "dtype": "float32",
        "batch": 1,
        "resolution": 32,
        "torch_version": "2",
        "fixed": 0.5,
        "entries": entries,
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table))
    arguments = ("--table", str(path), "--depths", "2", "3", "--no-references", "--budgets-ms", "6.0")
    (rows,) = run("hardcore_figure7", tmp_path / "run", *arguments)["tables"]
    assert [row["latency"] for row in rows["ours"]] == pytest.approx([4.5, 6.0, 6.0], abs=1e-9)
    assert rows["remark"].startswith("Latencies: measured: a processor")


def test_figure_1(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="the peers of Fig. 1 are timm's")
    (table,) = run("hardcore_figure1", tmp_path / "run")["tables"]
    rows = {row["timm"]: row for row in table["ours"]}
    assert rows.keys() == {"mnasnet_100", "mobilenetv3_large_100", "hardcorenas_a", "hardcorenas_f"}
    assert all(row["measured"] > 0 for row in rows.values())
    assert rows["hardcorenas_f"]["parameters"] == pytest.approx(8.199688) and rows["hardcorenas_f"]["accuracy"] == 78.0
    # F is the best as published, so nothing beats it; a network on the front is beaten by none in both.
    assert rows["hardcorenas_f"]["front"]
    for row in rows.values():
        beaten = [other for other in rows.values() if other["accuracy"] > row["accuracy"] and other["measured"] < row["measured"]]
        assert row["front"] == (not beaten)


def test_figure_1_asks_for_networks_that_are_known() -> None:
    with pytest.raises(ValueError, match="expected two or more of mnasnet_100"):
        Figure1(networks=("resnet18", "mnasnet_100"))


def test_figure_4(tmp_path: Path) -> None:
    table, every = run("hardcore_figure4", tmp_path / "run")["tables"]
    rows = {(row["guess"], row.get("statistics")): row for row in table["ours"]}
    ways = ("multi path: one an example", "single path: one a batch")
    assert {(way, statistics) for way in ways for statistics in ("own", "training")} < rows.keys()
    assert all(-1 <= row["tau"] <= 1 and -1 <= row["spearman"] <= 1 for row in rows.values() if row.get("spearman") is not None)
    assert all(-1 <= row["tuned"] <= 1 for row in rows.values() if row["guess"] in ways)
    assert rows["another training alone", None]["tau"] is not None  # two seeds rank each other
    assert [row["network"] for row in every["ours"]] == ["d2_e3_k3", "d4_e6_k5"]
    assert all(0 <= row[way] <= 100 for row in every["ours"] for way in ("alone", "example", "batch"))
    assert table["published"][0] == {"guess": ways[0], "tau": 0.95, "spearman": 0.99} and table["source"]


def test_figure_8(tmp_path: Path) -> None:
    table, every = run("hardcore_figure8", tmp_path / "run")["tables"]
    assert [row["way"] for row in table["ours"]] == ["w* as it is", "w* fine-tuned, 1 epoch", "from scratch, 1 epoch"]
    assert [row["network"] for row in every["ours"]] == ["d2_e3_k3", "d4_e6_k5"]
    for row in table["ours"]:
        assert row["accuracy"] == pytest.approx(sum(one[row["way"]] for one in every["ours"]) / 2)
    assert all(row["seconds"] > 0 for row in table["ours"]) and "against" not in table["ours"][-1]
    assert "equal" in table["ours"][1] and "equal" not in table["ours"][0]
    again = run("hardcore_figure8", tmp_path / "run")["tables"]  # every accuracy is kept, none is measured again
    assert again[1]["ours"] == every["ours"] and again[0]["ours"][1]["seconds"] == table["ours"][1]["seconds"]


@pytest.mark.parametrize("script", ["hardcore_figure5", "hardcore_figure7"])
def test_help_explains_the_options(script: str) -> None:
    command = [sys.executable, str(ROOT / "papers_repro" / f"{script}.py"), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "--scale {smoke,laptop,cpu,gpu,paper}" in done.stdout and "--seed" in done.stdout


@dataclass(frozen=True)
class Chosen:
    """Options of a script that does not exist."""

    budget: float = float("inf")
    out: Path = Path("somewhere")
    data: str = "somebody/images"


COLUMNS = (Column("name", "name", "who"), Column("top1", "top-1 %", "accuracy", ".1f"))


def test_published_rows_stand_apart_and_are_named(tmp_path: Path) -> None:
    rows = Rows("Table", COLUMNS, [{"name": "ours", "top1": 91.26}], [{"name": "theirs", "top1": 75.0}], "Table 1")
    written = io.StringIO()
    print_rows(rows, Console(file=written, width=60))
    text = written.getvalue()
    assert text.index("ours") < text.index("published (Table 1)") < text.index("theirs")
    assert "91.3" in text and "top-1 %: accuracy" in text
    record = json.loads(save_record(tmp_path, "nothing", "smoke", 3, Chosen(), [rows], time.perf_counter()).read_text())
    assert record["tables"][0]["ours"] == [{"name": "ours", "top1": 91.26}]
    assert record["tables"][0]["published"][0]["name"] == "theirs" and record["tables"][0]["source"] == "Table 1"
    # Infinities are not JSON, paths are nobody's business.
    assert record["options"] == {"budget": None, "data": "images"} and record["seed"] == 3
    assert set(machine()) == {"processor", "cores", "threads", "system", "architecture"}
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    assert machine()["threads"] == 3
    torch.set_num_threads(before)


def test_rows_are_checked() -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(ValueError, match=r"no column for \['speed'\]"):
        print_rows(Rows("Table", COLUMNS, [{"speed": 1.0}]), console)
    with pytest.raises(ValueError, match="published rows need a source"):
        print_rows(Rows("Table", COLUMNS, [], [{"name": "theirs"}]), console)

"""The scripts on NAS-Bench-Macro, on a made file of the benchmark's form; and what its reader refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.macro import benchmark_path, write_made_benchmark
from support.scripts import run_script

from constrained_nas.search import TabularRun, search_table
from graphs import MacroSpace
from graphs.costs import mac_cost
from papers_repro.macro import contest, drawn_codes, ranking, read_benchmark, run_once
from papers_repro.macro.found import budget_problem, from_ranked


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
        if name not in ("soft penalty + argmax", "block pruning, soft alpha"):
            assert row["violations"] == 0, name
    assert {"HardCoRe-NAS as printed", "REINFORCE", "RLOO", "Gumbel with pruning", "local search"} <= rows.keys()


def test_a_settled_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the optimum told, the rest is not waited for: same answer, same curve, fewer networks; without it all are looked up."""
    table, name = read_benchmark(write_made_benchmark(tmp_path / "made.json")), "local search"
    looked_up: list[int] = []
    before = 0

    def noted(*arguments: Any, **named: Any) -> TabularRun[Any]:
        run = search_table(*arguments, **named)
        looked_up.append(run.evaluations)
        return run

    monkeypatch.setattr(contest, "search_table", noted)
    for evaluations, settles in ((400, True), (20, False)):
        whole = run_once(table, name, "both", 0, 0.5, 1, evaluations)
        with monkeypatch.context() as patched:
            patched.setitem(contest.ENTRIES, name, replace(contest.ENTRIES[name], settles=True))
            ended = run_once(table, name, "both", 0, 0.5, 1, evaluations)
        assert ended.regret == whole.regret and ended.fits and (whole.regret == 0) == settles
        assert ended.seen.tolist() == whole.seen.tolist()
        before = int((ended.seen > 0).sum()) if settles else before
    assert looked_up == [400, before + 1, 20, 20], "the first look-up after the optimum ends it"


def test_passes(tmp_path: Path) -> None:
    """Additive losses re-linearized are known after one pass; swaps climb past what single changes that fit cannot leave."""
    additive = read_benchmark(write_made_benchmark(tmp_path / "additive.json", interaction=0.0))
    for cost in ("macs", "both"):
        for seed in range(3):
            found = run_once(additive, "re-linearized", cost, 0, 0.5, seed, 18)  # type: ignore[arg-type]
            assert found.fits and found.regret == 0, "a network, its 16 changes, and the projection"
    table = read_benchmark(write_made_benchmark(tmp_path / "made.json"))
    swaps, changes = (
        [run_once(table, name, "both", 0, 0.3, seed, 250).regret for seed in range(4)]
        for name in ("one and two swaps", "local search")
    )
    assert max(swaps) == 0 < max(changes)


def test_the_file_is_asked_for(tmp_path: Path) -> None:
    for arguments, said in (((), "--benchmark"), (("--benchmark", "nowhere.json"), "no such file")):
        with pytest.raises(SystemExit, match=said):
            run_script("papers_repro/macro_regret.py", "--scale", "smoke", *arguments, folder=tmp_path)


def test_supernet(tmp_path: Path) -> None:
    file, out = write_made_benchmark(tmp_path / "made.json"), tmp_path / "run"
    arguments = ("--scale", "smoke", "--out", str(out), "--benchmark", str(file))
    printed = run_script("papers_repro/macro_supernet.py", *arguments, folder=tmp_path, columns=160)
    assert "…" not in printed and (out / "macro_supernet.png").read_bytes().startswith(b"\x89PNG")
    ranks, found = json.loads((out / "macro_supernet.json").read_text())["tables"]
    by = {row["guess"]: row for row in ranks["ours"]}
    assert all(-1 <= by[name]["tau"] <= 1 for name in by) and by["super-network: accuracy"]["mean"] > 5
    rows = {row["method"]: row for row in found["ours"]}
    assert rows["most multiply-adds that fit"]["use"] > 99
    for name, row in rows.items():
        if name != "soft penalty + argmax":  # every other answer fits the benchmark's own counts, though the network is narrower
            assert row["violations"] == 0 and row["regret"] >= 0, name
    again = run_script("papers_repro/macro_supernet.py", *arguments, folder=tmp_path, columns=160)
    assert "going on from what is there" in again
    kept = json.loads((out / "macro_supernet.json").read_text())["tables"][0]
    assert kept["ours"] == ranks["ours"]


def test_statistics(tmp_path: Path) -> None:
    file, out = write_made_benchmark(tmp_path / "made.json"), tmp_path / "run"
    arguments = ("--scale", "smoke", "--out", str(out), "--benchmark", str(file))
    run_script("papers_repro/macro_statistics.py", *arguments, folder=tmp_path, columns=160)
    (table,) = json.loads((out / "macro_statistics.json").read_text())["tables"]
    batch, training, random = table["ours"]
    for row in (batch, training, random):
        assert row["regret"] == pytest.approx((row["s0"] + row["s1"]) / 2) and row["s0"] >= 0 and row["use"] <= 100
    assert training["against"].startswith(f"{batch['regret'] - training['regret']:+.2f} ") and "against" not in batch
    assert "statistics of training" in training["method"]


def test_variants(tmp_path: Path) -> None:
    file, out = write_made_benchmark(tmp_path / "made.json"), tmp_path / "run"
    arguments = ("--scale", "smoke", "--out", str(out), "--benchmark", str(file))
    run_script("papers_repro/macro_variants.py", *arguments, folder=tmp_path, columns=160)
    (table,) = json.loads((out / "macro_variants.json").read_text())["tables"]
    assert [row["way"] for row in table["ours"]] == ["example", "in-place distillation", "shared norm"]
    assert all(row["epochs"] > 0 and -1 <= row["tau"] <= 1 for row in table["ours"])


def test_start(tmp_path: Path) -> None:
    file, out = write_made_benchmark(tmp_path / "made.json"), tmp_path / "run"
    arguments = ("--scale", "smoke", "--out", str(out), "--benchmark", str(file))
    run_script("papers_repro/macro_start.py", *arguments, folder=tmp_path, columns=160)
    assert (out / "macro_start.png").read_bytes().startswith(b"\x89PNG")
    (table,) = json.loads((out / "macro_start.json").read_text())["tables"]
    assert [(row["variant"], row["start"]) for row in table["ours"]] == [
        (variant, start) for variant in ("as printed", "small steps") for start in ("balanced", "cheapest", "entropy")
    ]
    for row in table["ours"]:
        assert 60 < row["accuracy"] < 95 and (row["start"] != "cheapest" or row["worth"] == 0)


def test_ranking() -> None:
    truth, cost = np.arange(20.0), np.arange(20.0)[::-1].copy()
    same, opposite = ranking(truth**3, truth, cost), ranking(-truth, truth, cost)
    assert same.tau == same.spearman == same.within == 1 and opposite.tau == opposite.spearman == opposite.within == -1
    # Fifths by cost are right among themselves, though in the opposite order of one another.
    assert ranking(np.concatenate(np.split(truth, 5)[::-1]), truth, cost).within == 1
    nothing = ranking(np.ones(20), truth, cost)
    assert nothing.tau == nothing.spearman == nothing.within == 0
    codes = read_codes()
    assert len({*drawn_codes(codes, 50, 1)}) == 50 and drawn_codes(codes, 50, 1) != drawn_codes(codes, 50, 2)


def test_ranked_networks_find_the_best(tmp_path: Path) -> None:
    """The pairwise model of 200 networks whose losses are the truth, which is additive here, meets the optimum."""
    table = read_benchmark(write_made_benchmark(tmp_path / "made.json", interaction=0.0))
    space = MacroSpace(resolution=16, width=0.5)
    ranked = {code: 1 - float(table.accuracies[table.place[code]]) / 100 for code in drawn_codes(table.codes, 200, 0)}
    for share in (0.2, 0.6):
        limits = table.limits("macs", share)
        answer = from_ranked(space, budget_problem(space, float(limits[0])), ranked, 0)
        assert table.macs[table.place[space.code(answer)]] <= limits[0]
        assert table.best("macs", limits) - table.accuracy(space, answer) < 0.05


def test_narrow_space() -> None:
    whole, narrow = MacroSpace(), MacroSpace(width=0.5)
    assert whole.space.name != narrow.space.name and MacroSpace(width=1.0).space.name == "macro-32-3x10"
    macs = [mac_cost(space).cost(space.heaviest()) for space in (whole, narrow)]
    assert 0.2 < macs[1] / macs[0] < 0.35
    images = torch.zeros(2, 3, 32, 32)
    supernet = narrow.supernet().eval()
    assert tuple(supernet(images, supernet.gates(narrow.architecture("01201201"))).shape) == (2, 10)


def read_codes() -> list[str]:
    return ["".join(code) for code in product("012", repeat=8)]


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

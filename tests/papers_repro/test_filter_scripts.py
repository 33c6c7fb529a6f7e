"""The filter-level scripts, run as a user runs them at smoke scale, and what they compare with."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from constrained_nas.filter_records import load_filter_search
from constrained_nas.records import load_architecture
from papers_repro import filter_figure1, filter_figure2, filter_variance
from papers_repro.command_line import read_options
from papers_repro.filter_grid import homogeneous_candidates, pruning_grid, quantisation_grid
from papers_repro.filter_searches import plans
from papers_repro.filter_setup import cost_of, setup_preset, space_of
from papers_repro.filter_trainings import Candidate, Trained
from papers_repro.filter_variance import conclusion, detectable
from papers_repro.homogeneous_line import compare_with_line, holm, pooled_deviation
from papers_repro.intervals import half_width

ROOT = Path(__file__).parents[2]


def run(script: ModuleType, out: Path, *arguments: str) -> dict:
    """Run a script at smoke scale, here (imports take longer than the script), and read its record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.SCRIPT, "--scale", "smoke", "--out", str(out), *arguments])
        script.main()
    return record_of(script.SCRIPT, out)


def record_of(script: str, out: Path) -> dict:
    assert (out / f"{script}.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / f"{script}.json").read_text())
    assert record["scale"] == "smoke" and str(out) not in json.dumps(record)
    return record


def test_bops_agree_everywhere(tmp_path: Path) -> None:
    out = tmp_path / "run"  # in a process of its own, as a user runs it
    command = [sys.executable, str(ROOT / "papers_repro" / "filter_bops.py"), "--scale", "smoke", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert "…" not in done.stdout and "31 of 31 agree" in done.stdout
    tables = record_of("filter_bops", out)["tables"]
    ticks = [row["tick"] for table in tables for row in table["ours"]]
    assert ticks == ["✓"] * 31
    assert tables[0]["ours"][1]["ours"] == pytest.approx(0.898799343, abs=5e-10)


def test_figure_1_and_its_resumption(tmp_path: Path) -> None:
    first = run(filter_figure1, tmp_path / "run")["tables"]
    quantisation, pruning = (table["ours"] for table in first)
    assert [row["name"] for row in quantisation[:4]] == ["w2a2", "w2a4", "w3a3", "w8a8"]
    assert len(quantisation) == 10 and len(pruning) == 8
    assert all("verdict" not in row for row in quantisation[:4]) and all("verdict" in row for row in quantisation[4:])
    files = sorted((tmp_path / "run" / "checkpoints" / "trainings").glob("*.json"))
    assert len(files) == 2 * 18
    files[0].unlink()  # as if it had been killed: only this training is done again
    before = {path.name: path.stat().st_mtime_ns for path in files[1:]}
    again = run(filter_figure1, tmp_path / "run", "--resume")["tables"]
    assert {path.name: path.stat().st_mtime_ns for path in files[1:]} == before and files[0].exists()
    for one, other in zip(first, again, strict=True):
        assert one["ours"] == other["ours"]


def test_figure_2_leaves_a_record_of_every_algorithm(tmp_path: Path) -> None:
    proposals, *_ = run(filter_figure2, tmp_path / "run")["tables"]
    rows = {row["name"]: row for row in proposals["ours"]}
    assert len(rows) == 12
    setup = setup_preset("smoke")
    for plan in plans("smoke", setup, 0):
        hard = rows[f"{plan.name}, hard"]
        assert hard["fits"] and hard["cost"] <= 1.0
        name = plan.name.lower().replace(" ", "_").replace(".", "")
        record = load_filter_search(tmp_path / "run" / "searches" / f"{name}.json")
        assert record.algorithm == plan.name and len(record.history) == 2
        space = space_of(setup, plan.kind)
        architecture = load_architecture(tmp_path / "run" / "architectures" / f"{name}_hard.json", space.space)
        budget = record.result.budgets[0]
        assert cost_of(space).cost(architecture) == budget.value <= budget.limit


def test_variance(tmp_path: Path) -> None:
    summary, quantisation, pruning = run(filter_variance, tmp_path / "run")["tables"]
    assert [row["kind"] for row in summary["ours"]] == ["quantisation", "pruning"]
    assert summary["published"] and summary["source"]
    for row, table in zip(summary["ours"], (quantisation, pruning), strict=True):
        assert row["tested"] == len(table["ours"]) == 6
        assert row["above"] == sum(entry["verdict"] == "better" for entry in table["ours"])
        assert row["significant"] == sum(entry["holm"] < 0.05 for entry in table["ours"])
        assert row["kind"] in summary["remark"]


def trained(name: str, cost: float, test: list[float], homogeneous: bool = False) -> Trained:
    return Trained(Candidate("pruning", name, ((1,),), cost, homogeneous), tuple(test), tuple(test), (1,) * len(test), 1.0)


def test_comparison_with_the_line_is_welchs_at_a_homogeneous_cost() -> None:
    generator = np.random.default_rng(0)
    line = [trained("a", 1.0, (70 + generator.normal(size=6)).tolist(), True), trained("b", 3.0, [80.0, 81.0, 79.0, 80.5], True)]
    other = trained("c", 3.0, (83 + 2 * generator.normal(size=5)).tolist())
    (found,) = compare_with_line([*line, other])
    welch = stats.ttest_ind(other.test, line[1].test, equal_var=False, alternative="greater")
    assert found.p_value == pytest.approx(welch.pvalue, rel=1e-9) and found.freedom == pytest.approx(welch.df, rel=1e-9)
    low, high = stats.ttest_ind(other.test, line[1].test, equal_var=False).confidence_interval(0.6827)
    assert 2 * found.half(0.6827) == pytest.approx(high - low, rel=1e-9)
    between = compare_with_line([*line, trained("d", 1.5, [75.0, 76.0])])[0]
    assert between.line == pytest.approx(0.75 * line[0].mean + 0.25 * line[1].mean) and not between.extrapolated
    assert compare_with_line([*line, trained("e", 0.5, [70.0, 71.0])])[0].extrapolated
    with pytest.raises(ValueError, match="no homogeneous networks"):
        compare_with_line([other])


def test_false_alarms_come_as_often_as_they_should() -> None:
    # Networks that are no better than the line, normal spreads: a sixth lies above by its 0.6827 interval.
    generator = np.random.default_rng(1)
    above, corrected, count = 0, 0, 400
    for _ in range(count):
        line = [
            trained("a", 1.0, generator.normal(size=5).tolist(), True),
            trained("b", 2.0, generator.normal(size=5).tolist(), True),
        ]
        found = compare_with_line([*line, *(trained(f"c{i}", 1.5, generator.normal(size=5).tolist()) for i in range(6))])
        above += sum(each.verdict(0.6827) == "better" for each in found)
        corrected += min(holm([each.p_value for each in found])) < 0.05
    # The six share a line, so their count varies more than a binomial's: its error is taken six times as large as one a round.
    assert above / (6 * count) == pytest.approx(0.1587, abs=4 * math.sqrt(0.1587 * 0.8413 / count))
    assert corrected / count < 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)


def test_holm_power_and_pooled_deviation() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    runs = [trained("a", 1.0, [1.0, 3.0], True), trained("b", 2.0, [1.0, 2.0, 3.0], True)]
    assert pooled_deviation(runs) == pytest.approx(math.sqrt((2.0 + 2.0) / 3))
    comparisons = compare_with_line([*runs, trained("c", 1.0, [9.0, 9.5, 9.2, 9.1])])
    assert detectable(comparisons) > 0 and "cannot be established" in conclusion("pruning", comparisons[:0])
    assert half_width([1.0, 2.0, 4.0], 0.6827) < half_width([1.0, 2.0, 4.0])


def test_grids_hold_what_the_paper_searches() -> None:
    setup = setup_preset("paper")
    assert len(quantisation_grid(setup, 4)) == 35 - 4  # compositions of four parts among four operations
    assert len(pruning_grid(setup, (0.25, 0.5, 0.75, 1.0))) == 64 - 4
    space = space_of(setup, "quantisation")
    for each in quantisation_grid(setup, 4):
        assert (np.array(each.counts).sum(1) == space.units).all() and not each.homogeneous
    assert [each.name for each in homogeneous_candidates(setup, "pruning", (0.5, 1.0))] == ["x0.5", "x1"]
    assert homogeneous_candidates(setup, "pruning", (1.0,))[0].cost == 40812544


def test_flags_take_the_values_of_their_scale(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_options(filter_figure1.preset, ["--scale", "paper"]).parts == 4
    assert read_options(filter_figure1.preset, ["--scale", "smoke"]).setup.filters == (4, 6, 8)
    assert read_options(filter_variance.preset, []).repeats == 5
    with pytest.raises(SystemExit):
        read_options(filter_figure2.preset, ["--help"])
    assert "--line-shares" in capsys.readouterr().out

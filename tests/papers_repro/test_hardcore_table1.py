"""Table 1 at smoke scale: it runs as a user runs it, its networks fit, and its record says what is ours and what is published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress
from support.scripts import ROOT, run_script

from constrained_nas.records import load_architecture
from graphs import hardcore_small
from graphs.costs import latency_cost, load_latency_table
from graphs.files import save_json
from papers_repro.experiment import one_thread
from papers_repro.hardcore import METHODS, draw_contest, measure_latencies, setup_preset
from papers_repro.hardcore.contest import CHEAPEST, HELD, PENALTY
from papers_repro.hardcore_table1 import PAPER_BUDGETS_MS, preset
from papers_repro.harness import ProgressBars, compared, half_width, verdict

_SMOKE = ("papers_repro/hardcore_table1.py", "--scale", "smoke", "--processes", "1", "--out")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run for all tests, in this process: two seeds, one after another."""
    folder = tmp_path_factory.mktemp("table1")
    with one_thread("cpu"):  # threads that share busy cores wait for one another
        return folder, run_script(*_SMOKE, str(folder), folder=ROOT)


def test_networks_of_ours_fit_their_budgets(run: tuple[Path, str]) -> None:
    folder, _ = run
    space = hardcore_small(resolution=16)
    cost = latency_cost(load_latency_table(folder / "latency_table.json"), space)
    cheapest = next((folder / "architectures").glob("cheapest*.json"))
    least = cost.cost(load_architecture(cheapest, space.space))
    files = sorted((folder / "architectures").glob("ours*.json"))
    assert len(files) == 4  # two budgets, two seeds
    for file in files:
        written = json.loads(file.read_text())
        budget = written["budgets"][0]
        if budget["value"] != pytest.approx(least):  # a budget may leave nothing else on a busy machine: there is no program then
            assert written["bound"] is not None
        assert budget["unit"] == "ms"
        assert budget["value"] == pytest.approx(cost.cost(load_architecture(file, space.space)))
        assert budget["fits"] == (budget["measured"] <= budget["limit"])


def test_record_holds_every_network_and_no_published_row_unasked(run: tuple[Path, str]) -> None:
    folder, output = run
    record = json.loads((folder / "hardcore_table1.json").read_text())
    table, together, every = record["tables"]
    assert [row["method"] for row in table["ours"]] == [*METHODS, *METHODS]  # two budgets
    assert [row["method"] for row in together["ours"]] == list(METHODS)
    assert len(every["ours"]) == 2 * 2 * len(METHODS)
    assert not any(each["published"] for each in record["tables"])
    assert "published" not in output
    for row in every["ours"]:
        assert row["measured"] > 0 and (row["bound"] is None or row["bound"] <= row["budget"])
        if row["method"] in HELD and row["bound"] is not None:
            assert 1 <= row["attempts"] <= 3
    rows = [line for line in output.splitlines() if ": " in line and line.startswith("  ") and line.endswith(" s")]
    assert len(rows) <= 4  # a line a phase
    assert "Kendall tau" in output and "heaviest network" in output
    assert (folder / "hardcore_table1.png").stat().st_size > 10_000


def test_the_picture_is_drawn_from_the_record(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    record = json.loads((folder / "hardcore_table1.json").read_text())
    draw_contest(record, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size == (folder / "hardcore_table1.png").stat().st_size
    with pytest.raises(ValueError, match="no table 'Every network'"):
        draw_contest(record | {"tables": record["tables"][:2]}, tmp_path / "other.png")


def test_resume_repeats_the_accuracies(run: tuple[Path, str]) -> None:
    folder, _ = run
    record = folder / "hardcore_table1.json"
    before = json.loads(record.read_text())
    with one_thread("cpu"):
        run_script(*_SMOKE, str(folder), "--resume", "--seeds", "1", "--shares", "0.4", "--ranked-networks", "0", folder=ROOT)
    after = _accuracies(json.loads(record.read_text()))
    save_json(before, record)
    kept = {(0, PENALTY), (0, CHEAPEST)}  # nothing was held to T anew
    assert {key: after[key] for key in kept} == {key: _accuracies(before)[key] for key in kept}


def _accuracies(record: dict[str, Any]) -> dict[tuple[int, str], float]:
    """Under the first budget, by seed and method."""
    rows = record["tables"][2]["ours"]
    least = min(row["budget"] for row in rows)
    return {(row["seed"], row["method"]): row["accuracy"] for row in rows if row["budget"] == least}


def test_a_table_measured_otherwise_is_refused(run: tuple[Path, str]) -> None:
    folder, _ = run
    setup = replace(setup_preset("smoke"), latency_table=folder / "latency_table.json")
    reports = ProgressBars(Progress(disable=True))
    assert measure_latencies(hardcore_small(resolution=16), setup, 0, reports).timer.batch == 8
    with pytest.raises(ValueError, match="measured with batch 8 where 32 is asked for"):
        measure_latencies(hardcore_small(resolution=16), replace(setup, latency_batch=32), 0, reports)


def test_intervals() -> None:
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)  # t(0.975, 2 degrees of freedom)
    assert np.isnan(half_width([1.0]))
    assert verdict([0.0, 0.0, 0.0], "ours") == "the same"
    assert verdict([1.0], "ours") == "one seed: no interval"
    assert verdict([1.0, 1.1, 0.9], "ours") == "ours better"
    assert verdict([-1.0, -1.1, -0.9], "ours") == "ours worse"
    assert verdict([1.0, -1.0, 0.1], "ours") == "cannot be told apart"
    assert compared([3.0, 3.1, 2.9], [2.0, 2.0, 2.0], "ours").startswith("+1.00 ±")


def test_the_paper_scale_is_the_papers() -> None:
    """The numbers of Sec. 3.1 to 4.1, Table 1 and Appendices A and G; what is not listed has no number in the paper."""
    options = preset("paper")
    setup, contest = options.setup, options.contest
    assert (setup.data, setup.resolution, setup.space, setup.architecture_share) == ("imagenet", 224, "imagenet", 0.2)
    assert (setup.warm_up_epochs, setup.multi_path_epochs) == (250, 100)
    assert (setup.batch_size, setup.multi_path_batch, setup.precision) == (200, 16, "16-mixed")
    assert (setup.learning_rate, setup.multi_path_rate, setup.momentum, setup.weight_decay) == (0.1, 0.1, 0.9, 1e-4)
    assert (setup.label_smoothing, setup.mixup) == (0.1, 0.2)
    assert setup.ema_decay > 0
    assert (options.budgets_ms, setup.latency_batch) == ((40.0, 45.0, 50.0, 55.0, 60.0), 1)
    assert PAPER_BUDGETS_MS["cuda"] == (25.0, 30.0, 40.0)
    assert (contest.search_epochs, contest.fine_tune_epochs) == (2, 10)

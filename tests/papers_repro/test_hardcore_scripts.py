"""HardCoRe-NAS's Table 2 and Appendix H, run as a user runs them, and the points and schemes behind Table 2."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.scripts import run_script

from papers_repro.hardcore import (
    SCHEMES,
    Instance,
    check_joint,
    frank_wolfe_point,
    project_point,
    random_point,
    setup_preset,
    synthetic_space,
    undecided_point,
)
from papers_repro.hardcore.points import SyntheticSpace, expected_latency
from papers_repro.hardcore_appendix_h import preset as appendix_preset
from papers_repro.hardcore_table1 import PAPER_BUDGETS_MS
from papers_repro.hardcore_table1 import preset as table1_preset
from papers_repro.hardcore_table2 import preset
from papers_repro.harness import progress_bars, read_options


def run(script: str, out: Path, *arguments: str) -> dict:
    """Run a script at smoke scale, on a narrow terminal, and read its record."""
    printed = run_script(f"papers_repro/{script}.py", "--scale", "smoke", "--out", str(out), *arguments, folder=out.parent)
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines() if "│" in line) <= 80  # no column is cut on a narrow terminal
    assert (out / f"{script}.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / f"{script}.json").read_text())
    assert record["scale"] == "smoke" and str(out) not in json.dumps(record)
    return record


@pytest.fixture(scope="module")
def space() -> SyntheticSpace:
    return synthetic_space()


def instances(space: SyntheticSpace, count: int) -> list[Instance]:
    """Points of every family that needs no training."""
    generator, made = np.random.default_rng(7), []
    for index in range(count):
        share = (0.1, 0.3, 0.5, 0.7, 0.9)[index % 5]
        made.append(random_point("random", space.staged, space.draw(generator), share, generator))
        made.append(random_point("free", space.staged, space.draw(generator), share, generator, free_option=True))
        made.append(undecided_point("undecided", space.staged, space.draw(generator), share, generator))
        made.append(frank_wolfe_point("fw", space.staged, space.draw(generator), share, generator, iterations=10))
    return made


def test_points_lie_on_their_budgets(space: SyntheticSpace) -> None:
    for each in instances(space, 5):
        latency = expected_latency(each.staged, each.cost, each.point)
        quadratic = each.staged.cost(each.cost.fixed, each.cost.per_configuration)
        assert latency == pytest.approx(quadratic.value(each.point), rel=1e-12)
        assert each.staged.blocks.residual(each.point) <= 1e-12
        if each.family == "fw":
            assert latency <= each.budget * (1 + 1e-9)  # every iterate is feasible, to the round-off that a step may add
        else:  # bisected to rounding, from below; the latency is a sum of some 240 products
            assert each.budget * (1 - 1e-9) <= latency <= each.budget
    with pytest.raises(ValueError, match=r"strictly between 0 and 1, got 1\.5"):
        random_point("random", space.staged, space.draw(np.random.default_rng(0)), 1.5, np.random.default_rng(0))


def test_exact_schemes_fit_and_the_papers_do_not(space: SyntheticSpace) -> None:
    violating = dict.fromkeys(SCHEMES, 0)
    for number, each in enumerate(instances(space, 25)):
        rows = {row.scheme: row for row in project_point(number, each)}
        assert list(rows) == list(SCHEMES)
        for scheme, row in rows.items():
            assert row.latency is not None and row.credit is not None and row.excess is not None
            assert row.fits != row.violates and row.violates == (row.latency > each.budget * (1 + 1e-12))
            violating[scheme] += row.violates
            if row.fits:
                assert row.credit <= (rows["joint"].credit or 0.0) + 1e-9
    assert violating["joint"] == violating["sequential"] == 0
    # Shares are about 60, 35 and 8 % of these families over budgets from .3 up; any sound scheme would show none.
    assert violating["argmax"] > violating["separate LP"] > violating["separate exact"] > 0


def test_table_2(tmp_path: Path) -> None:
    arguments = ("--training-digits", "100", "--search-batch", "20", "--rounds", "3", "--shares", "0.5")
    summary, budgets, found = run("hardcore_table2", tmp_path / "run", *arguments)["tables"]
    rows = {row["points"]: row for row in summary["ours"]}
    families = ("random", "free option", "undecided", "Frank-Wolfe", "learned", "soft penalty")
    assert {f"{family}: {scheme}" for family in families for scheme in SCHEMES} <= set(rows)
    for family in families[:-1]:
        assert rows[f"{family}: joint"]["violating"] == rows[f"{family}: sequential"]["violating"] == 0.0
        lost = [rows[f"{family}: {scheme}"]["lost"] for scheme in SCHEMES]
        assert min(loss for loss in lost if loss is not None) >= 0.0  # no scheme that fits has more credit than the joint one
    assert rows["soft penalty: joint"]["violating"] == 0.0 and rows["learned: joint"]["count"] == 2
    assert rows["random: argmax"]["violating"] > 0 and rows["random: argmax"]["worst"] > 0
    assert [row["family"] for row in budgets["ours"]][:4] == list(families[:4])
    told = re.search(r"greatest certified gap (\S+); (\d+) of them solved again by HiGHS, .* credit (\S+)\.$", summary["remark"])
    assert told is not None and float(told[1]) <= 1e-9 and int(told[2]) > 0 and float(told[3]) <= 1e-9
    assert all(row["joint"] <= row["budget"] for row in found["ours"])
    assert found["source"].startswith("Table 2") and found["published"][0] == {"budget": 35, "argmax": 36, "separate LP": 35}
    assert (tmp_path / "run" / "latency_table.json").exists()


def test_appendix_h(tmp_path: Path) -> None:
    (table,) = run("hardcore_appendix_h", tmp_path / "run", "--backends", "native", "highs")["tables"]
    rows = {row["program"]: row for row in table["ours"]}
    assert all(row["median"] > 0 for row in rows.values())
    assert rows["back-propagation to the weights"]["ratio"] == pytest.approx(100.0)
    for program in ("LP oracle, alpha", "LP oracle, beta", "block step, alpha", "joint exact", "project_to_budget"):
        # The same program by two solvers: HiGHS is asked for 1e-10 on scaled rows, and 0-1 points are summed anew.
        assert rows[f"{program}: highs"]["differs"] <= 1e-8
        assert rows[f"{program}: highs"]["native"] == pytest.approx(
            rows[f"{program}: highs"]["median"] / rows[f"{program}: native"]["median"]
        )
    assert table["published"][1]["median"] == pytest.approx(41.4) and table["source"].startswith("Appendix H")


def test_checks_count_points_beyond_their_budget(space: SyntheticSpace) -> None:
    made = instances(space, 2)
    first = made[0]
    made.append(Instance("outside", first.staged, first.cost, first.share, 0.99 * first.budget, first.point))
    with progress_bars(Console(file=io.StringIO())) as progress:
        checks = check_joint(made, 1, progress)
    assert checks.outside == {"random": 0, "free": 0, "undecided": 0, "fw": 0, "outside": 1}
    assert checks.compared == 5 and checks.greatest_difference <= 1e-9 and checks.greatest_gap <= 1e-9


def test_a_flag_left_out_takes_the_value_of_its_scale() -> None:
    paper = read_options(preset, ["--scale", "paper", "--batch-size", "128"])
    assert paper.scale == "paper" and paper.setup.warm_up_epochs == 250 and paper.setup.batch_size == 128
    assert read_options(preset, []).scale == "laptop" and read_options(preset, ["--scale=smoke"]).random_points == 10
    with pytest.raises(SystemExit):
        read_options(preset, ["--scale", "huge"])


def test_paper_scale_is_the_papers_protocol() -> None:
    paper = setup_preset("paper")
    assert (paper.warm_up_epochs, paper.multi_path_epochs) == (250, 100)  # Sec. 3.3: the heaviest network, then paths
    assert (paper.batch_size, paper.multi_path_batch) == (200, 16)  # Appendix A: a GPU
    assert (paper.learning_rate, paper.multi_path_rate, paper.momentum, paper.weight_decay) == (0.1, 0.1, 0.9, 1e-4)  # Appendix A
    assert (paper.label_smoothing, paper.mixup, paper.precision) == (0.1, 0.2, "16-mixed") and 0.99 < paper.ema_decay < 1
    assert (paper.data, paper.resolution, paper.space, paper.architecture_share) == ("imagenet", 224, "imagenet", 0.2)  # Sec. 4.1
    assert PAPER_BUDGETS_MS == {"cpu": (40.0, 45.0, 50.0, 55.0, 60.0), "cuda": (25.0, 30.0, 40.0)}  # Table 1
    contest = table1_preset("paper").contest
    assert contest.search_epochs == 2 and contest.fine_tune_epochs == 10  # Sec. 3.2, Appendix G


def test_help_shows_the_values_of_the_scale(capsys: pytest.CaptureFixture[str]) -> None:
    for script_preset in (preset, appendix_preset):
        with pytest.raises(SystemExit) as ended:
            read_options(script_preset, ["--scale", "paper", "--help"])
        text = capsys.readouterr().out
        assert ended.value.code == 0 and "--scale {smoke,laptop,cpu,gpu,paper}" in text and "--shares" in text
    assert "(default: imagenet)" in text and "(default: 224)" in text

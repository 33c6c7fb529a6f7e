"""The PruNet scripts, run at smoke scale with few searches, resumed after a kill; bisection over alpha by enumeration."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from constrained_nas.latency import Measurement
from constrained_nas.records import load_architecture
from graphs.costs import load_width_latency_table, width_latency_cost
from graphs.spaces import gpunet_small
from papers_repro import (
    prunet_figure3,
    prunet_figure5,
    prunet_figure6,
    prunet_prunode,
    prunet_table1,
    prunet_table2,
    prunet_table3,
    prunet_table6,
)
from papers_repro.harness import progress_bars
from papers_repro.prunet import TABLE3, MatchOptions, Measured, SearchSpec, match_budgets, setup_preset
from papers_repro.prunet import matching as prunet_matching
from papers_repro.prunet.rivals import draw_network, uniform_network

SPACE = gpunet_small(10, 16, 1)
SHORT = ("--training-digits", "60", "--epochs", "3", "--test-draws", "1")


def run(script: ModuleType, out: Path, *arguments: str) -> dict[str, Any]:
    """Run a script at smoke scale, here (imports take longer than the script), and read its record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.SCRIPT, "--scale", "smoke", "--out", str(out), *arguments])
        script.main()
    record = json.loads((out / f"{script.SCRIPT}.json").read_text())
    assert record["scale"] == "smoke" and str(out) not in json.dumps(record["tables"])
    return record


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Table 6: four searches, whose folder and latency table the other tests use."""
    folder = tmp_path_factory.mktemp("grid")
    return folder, run(prunet_table6, folder, *SHORT)


def test_table_1_agrees_with_the_paper_to_the_digit(tmp_path: Path) -> None:
    sizes = next(t for t in run(prunet_table1, tmp_path)["tables"] if t["title"] == "Sizes by the paper's formulas")["ours"]
    assert {row["size"] if "size" in row else row["networks"] for row in sizes} >= {"9007199254740992", "150094635296999121"}
    assert [row["equal"] for row in sizes] == [True] * len(TABLE3)


def test_prunodes_find_all_219_optima(tmp_path: Path) -> None:
    exact, _, by_steps = (table["ours"] for table in run(prunet_prunode, tmp_path)["tables"])
    assert "219/219" in exact[-1].values()
    found = {(row["space"], row["steps"]): row for row in by_steps}
    laptop = setup_preset("laptop")
    steps = int(laptop.training_digits * laptop.draws * laptop.architecture_share) // laptop.batch_size
    assert steps * (laptop.epochs - laptop.warm_up) == 96  # those of the searches at laptop scale have a row of their own
    assert [round(found["laptop", steps]["exact"]) for steps in (48, 96, 200, 1000)] == [46, 79, 93, 96]
    assert all(row["exact"] > row["exact0"] > row["exact1"] for key, row in found.items() if key[1] > 48)
    assert [round(found["paper", steps]["exact"]) for steps in (48, 1000)] == [9, 96]
    assert found["laptop", 48]["noise1"] > found["laptop", 200]["noise1"]
    assert (tmp_path / "prunet_prunode.png").read_bytes().startswith(b"\x89PNG")


def test_table_6_has_a_row_a_setting(grid: tuple[Path, dict[str, Any]]) -> None:
    folder, record = grid
    rows = record["tables"][0]["ours"]
    assert [row["setting"] for row in rows] == ["0.6; 1, 1", "0.6; 1.1, 0.85", "0.6; 1.1, 0.55", "0.6; 1.1, 0.4"]
    assert rows[0]["difference"] is None and all(math.isfinite(row["difference"]) for row in rows[1:])
    table = load_width_latency_table(folder / "latency_table.json")
    cost = width_latency_cost(table, SPACE)
    for path in sorted((folder / "searches").glob("*.json")):
        search = json.loads(path.read_text())
        architecture = load_architecture(folder / "architectures" / path.name, SPACE.space)
        assert cost.cost(architecture) == pytest.approx(search["latency_ms"], rel=1e-12)  # the same sum, in the same order
        assert SPACE.describe(architecture) == search["choices"]


def test_a_shared_warm_up_changes_nothing(grid: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = grid
    assert len(list((folder / "checkpoints").glob("warm_up_*.safetensors"))) == 1, "four searches of a seed share one"
    shutil.copy(folder / "latency_table.json", tmp_path)
    table = str(tmp_path / "latency_table.json")
    run(prunet_table6, tmp_path, *SHORT, "--no-share-warm-up", "--latency-table", table)
    assert not list((tmp_path / "checkpoints").glob("warm_up_*"))
    for path in sorted((folder / "searches").glob("*.json")):
        shared, alone = (json.loads((one / "searches" / path.name).read_text()) for one in (folder, tmp_path))
        for name in ("choices", "latency_ms", "loss", "cross_entropy", "undecided"):
            assert shared[name] == alone[name], name
        assert len(shared["processor_seconds"]) == len(alone["processor_seconds"]) == 3


def test_figure_6_goes_on_with_the_searches_of_table_6(grid: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = grid
    searches = sorted((folder / "searches").glob("*.json"))
    gone, kept = searches[0], searches[1:]
    text = gone.read_text()
    gone.unlink()  # as if killed before it was written; its checkpoint is there still
    before = {path: path.stat().st_mtime_ns for path in kept}
    record = run(prunet_figure6, folder, *SHORT, "--resume", "--measuring-rounds", "2")
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    again, first = json.loads(gone.read_text()), json.loads(text)
    for name in ("choices", "latency_ms", "loss", "undecided", "spec", "settings"):
        assert again[name] == first[name], name
    assert len(record["tables"][1]["ours"]) == 4
    searches = [json.loads(path.read_text()) for path in sorted((folder / "searches").glob("*.json"))]
    assert sorted(row["entropy"] for row in record["tables"][1]["ours"]) == sorted(one["cross_entropy"] for one in searches)
    for one in searches:  # the penalty is 0.6 (ln LAT)^0.6 of mixtures, whose latency lies within the table's
        assert 0.6 * 2.0 < one["loss"] - one["cross_entropy"] < 0.6 * 5.0
    assert (folder / "prunet_figure6.png").read_bytes().startswith(b"\x89PNG")


def test_other_options_do_not_resume(grid: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = grid
    with pytest.raises(ValueError, match="kept from a search of other options"):
        run(prunet_table6, folder, *SHORT, "--resume", "--logit-rate", "0.2")


def test_figure_3_draws_saved_networks(grid: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    paths = [str(path) for path in sorted((grid[0] / "architectures").glob("*.json"))]
    rows = run(prunet_figure3, tmp_path, "--networks", *paths)["tables"][0]["ours"]
    assert len(rows) == len(SPACE.layers)
    assert (tmp_path / "prunet_figure3.png").read_bytes().startswith(b"\x89PNG")


def test_figure_5_has_both_thresholds(grid: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    table = str(grid[0] / "latency_table.json")
    rows = run(prunet_figure5, tmp_path, *SHORT, "--latency-table", table)["tables"][0]["ours"]
    assert [row["setting"] for row in rows] == ["0.6, rising", "0.6, constant"]
    seconds = {
        name: json.loads((tmp_path / "searches" / f"{name}_alpha0.6_seed0.json").read_text())["processor_seconds"]
        for name in ("rising", "constant")
    }
    assert [row["after"] for row in rows] == pytest.approx([sum(seconds[name][1:]) for name in ("rising", "constant")])
    assert seconds["rising"][0] == seconds["constant"][0] > 0, "they share the warm-up"
    assert rows[0]["slower"] is None and rows[1]["slower"] == pytest.approx(
        sum(seconds["constant"][1:]) / sum(seconds["rising"][1:])
    )


def made_table(measured: Path, folder: Path) -> str:
    """The table that was measured, with made times: larger kernels, attention and each further filter cost something.

    Where networks lie between a limit and 1 % less then depends on no clock.
    """
    table = json.loads(measured.read_text())
    for number, entry in enumerate(table["entries"]):
        name, width = entry["option"], re.search(r"_w(\d+)", entry["option"])
        entry["median"] = (
            0.1 + 0.03 * ("k5" in name) + 0.05 * ("_se" in name) + 0.0017 * int(width[1] if width else 8) + 0.0003 * (number % 7)
        )
    path = folder / "made_table.json"
    path.write_text(json.dumps({**table, "fixed": 0.4}))
    return str(path)


def load_architecture_choices(path: Path) -> dict[str, Any]:
    choices: dict[str, Any] = json.loads(path.read_text())["choices"]
    return choices


def test_table_2_hard_networks_fit(grid: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    table = made_table(grid[0] / "latency_table.json", tmp_path)
    tables = run(prunet_table2, tmp_path, *SHORT, "--latency-table", table, "--match.runs", "1", "--peers")["tables"]
    found, against, matching, *_ = tables
    losses = {
        scale: json.loads((tmp_path / "searches" / f"alpha0.6_lambda{scale}_seed0.json").read_text())["loss"]
        for scale in ("0.55", "0.4")
    }
    assert found["ours"][0]["scale"] == min(losses, key=lambda scale: losses[scale])
    assert len(list((tmp_path / "retrained").glob("alpha*.json"))) == 1, "the other lambda's network is not retrained"
    soft, hard, full, *rivals, random = found["ours"]
    assert [row["search"].split(",")[0] for row in found["ours"]] == ["soft", "hard", "full", "uniform", "random", "random"]
    uniform, drawn_alike = rivals
    assert uniform["search"] == "uniform, as alpha 0.6" and uniform["fits"] is None and uniform["scale"] is None
    assert all(0.9 * soft["estimated"] < row["estimated"] <= soft["estimated"] for row in rivals)
    own = next((tmp_path / "retrained").glob("alpha*.json"))
    assert load_architecture_choices(tmp_path / "retrained" / "random_alpha0.6_seed0_draw1.json") != load_architecture_choices(own)
    (row,) = against["ours"]
    assert (row["found"], row["random"], row["uniform"]) == tuple(one["accuracy"] for one in (soft, drawn_alike, uniform))
    assert row["versus_random"].startswith(f"{row['found'] - row['random']:+.2f}")
    assert row["versus_uniform"].startswith(f"{row['found'] - row['uniform']:+.2f}")
    assert row["use"] == pytest.approx(min(one["estimated"] for one in rivals) / soft["estimated"])
    assert soft["fits"] is None and hard["fits"] == full["fits"] == random["fits"] == "1/1"
    drawn = load_architecture_choices(tmp_path / "retrained" / "random0_seed0.json")
    limit = float(random["search"].removeprefix("random, T ").removesuffix(" ms"))
    cost = width_latency_cost(load_width_latency_table(Path(table)), SPACE).cost(SPACE.architecture(drawn))
    assert 0.99 * limit - 5e-4 <= cost <= limit + 5e-4 and cost == pytest.approx(random["estimated"])
    assert matching["ours"][0]["random"].startswith(f"{hard['accuracy'] - random['accuracy']:+.2f}")
    assert [row["method"] for row in matching["ours"]] == ["hard", "full", "soft"]
    assert [row["runs"] for row in matching["ours"]] == ["1", "1", "1"]
    assert matching["ours"][1]["landed"] == "1/1"  # some network of this space lies in any window of 1 % there


def test_rivals_cost_what_was_found(grid: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    table = made_table(grid[0] / "latency_table.json", tmp_path)
    cost = width_latency_cost(load_width_latency_table(Path(table)), SPACE)
    latencies: Any = SimpleNamespace(cost=cost)
    for limit in (1.0, 1.5, 2.0):
        spec = SearchSpec("one", 3, 0.8, limit, least_use=0.99)
        drawn = [draw_network(SPACE, latencies, spec, draw) for draw in (1, 2)]
        assert drawn[0] != drawn[1] and all(0.99 * limit <= cost.cost(each) <= limit for each in drawn)
        uniform = uniform_network(SPACE, latencies, spec)
        assert 0.9 * limit < cost.cost(uniform) <= limit
        chosen = SPACE.chosen(uniform)
        assert all(option.block in (0, None) for option in chosen.values()), "one kernel, no squeeze-and-excitation"
        kept = [option.block is not None for option in chosen.values()]
        if all(kept):
            shares = [o.width / SPACE.layers[name].widths[-1] for name, o in chosen.items() if o.width]
            assert max(shares) - min(shares) <= 0.25 + 1e-9, "of one share but for a step, of four in the narrowest layers"
        else:  # not even the narrowest fits
            narrowest = {name: shape.options[0].name for name, shape in SPACE.layers.items()}
            assert cost.cost(SPACE.space.choose(narrowest)) > limit
    with pytest.raises(ValueError, match="a rival needs a budget"):
        draw_network(SPACE, latencies, SearchSpec("one", 3, 0.8))


def test_table_3_memory_is_exact(grid: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    table = str(grid[0] / "latency_table.json")
    sizes, times, memory, _ = run(prunet_table3, tmp_path, *SHORT, "--latency-table", table)["tables"]
    rows = {row["optimization"]: row for row in sizes["ours"]}
    assert int(rows["all"]["networks"]) == SPACE.sizes.all and int(rows["Prunode alone"]["networks"]) == SPACE.sizes.prunode
    assert rows["FBNet"]["networks"] == rows["block pruning alone"]["networks"]
    assert rows["Prunode alone"]["ratio"] < 1.2  # of two candidates a block, whatever the number of widths
    assert times["ours"][0]["gain"] == 1.0
    coarse, fine = memory["ours"]
    assert coarse["ratio"] < 1.2 and fine["ratio"] < 1.2
    assert fine["prunode"] < 1.05 * coarse["prunode"]  # twice as many widths cost nothing; candidates for each cost in proportion
    assert fine["every"] > 1.5 * coarse["every"]


@pytest.mark.parametrize("limit", [0.52, 0.8, 1.3])
def test_bisection_lands_under_the_limit_or_says_it_did_not(limit: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Latency falls with alpha: 0.4 + 1 / (1 + alpha)."""

    def searched(spec: Any, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(spec=spec, record=SimpleNamespace(latency_ms=0.4 + 1 / (1 + spec.alpha)))

    monkeypatch.setattr(prunet_matching, "run_search", searched)
    setup = replace(setup_preset("smoke"), data="made up")
    for runs in (2, 12):
        options = MatchOptions(runs=runs)
        with progress_bars(Console(file=io.StringIO())) as progress:
            (found,) = match_budgets([limit], [0], options, setup, None, tmp_path, progress)  # type: ignore[arg-type]
        under = [ms for _, ms in found.tried if ms <= limit]
        assert found.landed == any(ms >= 0.99 * limit for ms in under)
        assert len(found.tried) <= runs and (found.best is None) == (not under)
        if found.best is not None:
            assert found.best.record.latency_ms == max(under)
        if runs == 12:  # the wanted alpha lies within the bracket, and latency changes slowly with its logarithm
            assert found.landed


def test_drift_and_the_tables_own_error_are_told_apart() -> None:
    measured = Measured(tuple(Measurement(m, 0.0, 1) for m in (1.1, 2.2)), (1.0, 2.0), 1.1)
    assert measured.errors == pytest.approx([1 - 1 / 1.1] * 2)
    assert measured.levelled == pytest.approx([0.0, 0.0], abs=1e-12)  # rounding
    assert "1.100 times" in measured.remark

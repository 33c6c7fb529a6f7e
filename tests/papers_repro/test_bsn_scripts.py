"""Scripts of Budgeted Super Networks: ticks of the reference rows, contests at smoke scale, rows and figures of made records."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import same_color
from rich.console import Console
from support.bsn_runs import EPOCHS, made_record
from support.scripts import run_script

from constrained_nas.problem import Budget, SearchProblem
from graphs.costs import connected_architecture
from graphs.files import load_json, save_json
from papers_repro import bsn_figure2, bsn_figure3, bsn_figure4, bsn_figure5, bsn_figure6, bsn_figure7, bsn_figure8
from papers_repro.bsn import (
    TABLES,
    ContestOptions,
    EpochRecord,
    Method,
    RunsRecord,
    budget_rows,
    budgets_in,
    contest_preset,
    front_rows,
    pareto_front,
    published_unit,
    runs_of,
    switches,
    table_of,
)
from papers_repro.bsn.contest import budgets_of, run_contest
from papers_repro.bsn.learned import chosen_of_seeds, difference_rows, scratch_rows
from papers_repro.bsn.networks import NetworkSpec, cost_model, named_network
from papers_repro.bsn.published import CURVES, NETWORKS
from papers_repro.bsn.reference import learned_published_rows, reference_rows
from papers_repro.bsn.scratch import random_networks, reduced
from papers_repro.bsn.setup import load_data
from papers_repro.bsn_tables5to9 import preset as steps_preset
from papers_repro.harness import compared, print_rows, progress_bars, read_options, save_figure


@pytest.fixture(scope="module")
def made() -> RunsRecord:
    return made_record()


def contest(families, costs, options: ContestOptions, folder: Path) -> RunsRecord:
    """Run it here, in one process."""
    with progress_bars(Console(file=io.StringIO())) as progress:
        return run_contest(families, costs, replace(options, processes=1), "smoke", 0, folder, progress)


@pytest.mark.parametrize("number", sorted(TABLES))
def test_every_reference_row_is_equal_to_the_convention_of_the_paper(number: int) -> None:
    rows = reference_rows(TABLES[number]).ours
    assert [row["equal"] for row in rows] == ["✓"] * len(rows)
    assert len(rows) == {1: 14, 2: 5, 3: 14, 4: 1, 5: 14, 6: 14, 7: 10, 8: 14, 9: 10}[number]
    for row in rows:
        assert row["ours"] == row["derived"]
    print_rows(learned_published_rows(TABLES[number]), Console(file=io.StringIO()))


def test_a_wrong_cost_gets_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(NETWORKS[-1], macs=NETWORKS[-1].macs + 1)
    monkeypatch.setattr("papers_repro.bsn.reference.NETWORKS", (wrong,))
    rows = reference_rows(TABLES[4])
    assert [row["equal"] for row in rows.ours] == ["✗"] and rows.remark.startswith("0 of 1")


def test_published_curves_are_quoted_as_given() -> None:
    assert sum(len(curve.points) for curve in CURVES) == 4 + 10 + 7 + 5 + 7 + 6 + 7 + 6 + 2 + 5 + 7 + 5 + 6 + 5 + 4 + 6 + 5
    by_key = {(curve.data, curve.cost, curve.family): curve.points for curve in CURVES}
    assert (258.20, 94.15) in by_key["CIFAR-10", "macs", "B-ResNet"]
    assert by_key["CIFAR-100", "steps-1", "B-ResNet"][0] == (320, 74.35)
    assert len(by_key) == len(CURVES)
    assert all(10 < accuracy < 100 and cost > 0 for curve in CURVES for cost, accuracy in curve.points)
    with pytest.raises(ValueError, match="the paper gives no parameters of resnet-20 on CIFAR-100"):
        NETWORKS[0].cost("parameters", "CIFAR-100")


def test_budgets_are_what_reference_networks_cost() -> None:
    fabric = NetworkSpec(family="ResNet", size=3, widths=(8, 16, 32), image_channels=1, side=16)
    budgets = budgets_of(fabric, "steps-4", (1, 2, 3), (0.6,))
    # The whole fabric takes as many steps on four machines as its longest ResNet: that is no budget.
    assert [(budget.name, budget.limit) for budget in budgets] == [("ResNet-8", 8), ("60% of the whole", 12), ("ResNet-14", 14)]
    space = fabric.plain(2).space()
    assert budgets_of(fabric, "macs", (2,), ())[0].limit == cost_model(space, "macs").cost(space.whole)
    assert published_unit("macs", [2_552_640.0]) == ("M multiply-adds", 1e6)
    assert published_unit("macs", [776_000.0]) == ("K multiply-adds", 1e3)
    with pytest.raises(ValueError, match="no network of the name"):
        named_network("vgg-16")


def test_a_contest_fits_selects_and_resumes(tmp_path: Path) -> None:
    options = replace(contest_preset("smoke"), seeds=1, epochs=4, scratch_epochs=4, randoms=2)
    record = contest(["ResNet"], ["macs"], options, tmp_path)
    (budget,) = budgets_in(record, "ResNet", "macs")
    assert [run.method for run in record.runs] == ["soft", "hard", "random", "plain"]
    hard = runs_of(record, "ResNet", "macs", "hard")[0]
    sampled = hard.history[hard.warm_up - 1 :]  # the warm-up trains the whole, its network is projected all the same
    assert all(entry.costs["macs"] <= budget.limit for entry in sampled)
    images = len(load_data(options.setup, 0).test)  # type: ignore[arg-type] # it has a length
    for run in record.runs:
        space = run.network.space()
        cost = cost_model(space, "macs")
        assert len(run.history) == (0 if run.method == "random" else 4) and 0 < run.seconds < 300
        assert len(run.scratch) == (options.randoms if run.method == "random" else options.scratch)
        for network in run.scratch:
            assert 0.5 * budget.limit < network.costs["macs"] <= budget.limit
            assert network.test * images == pytest.approx(round(network.test * images))  # a share of the images
        for entry in run.history:
            assert entry.costs["macs"] == cost.cost(space.switched(switches(entry.modules)))
            assert entry.test * images == pytest.approx(round(entry.test * images))
        if run.history:
            chosen = run.chosen("macs", budget.limit)
            assert chosen is not None, "what a search ends in fits"
            fitting = [entry.validation for entry in run.history if entry.costs["macs"] <= budget.limit]
            assert chosen.validation == max(fitting)
    plain = record.runs[3]
    assert plain.scratch[0].test == plain.history[-1].test, "the plain network is trained alone in the first place"

    again = contest(["ResNet"], ["macs"], replace(options, resume=True, seeds=1), tmp_path)
    assert again == record  # seconds included: nothing was run anew
    kept = tmp_path / "runs" / "resnet_macs_resnet-6_soft10_seed0.json"
    kept.unlink()
    resumed = contest(["ResNet"], ["macs"], replace(options, resume=True), tmp_path)
    assert resumed.runs[0].history == record.runs[0].history  # from its checkpoint
    assert resumed.runs[0].seconds < record.runs[0].seconds
    with pytest.raises(ValueError, match="kept from a contest of other options"):
        contest(["ResNet"], ["macs"], replace(options, resume=True, batch_size=16), tmp_path)


def test_steps_and_segmentation_at_smoke_scale(tmp_path: Path) -> None:
    options = replace(contest_preset("smoke"), seeds=1, plain=False, randoms=0, scratch=0)
    steps = contest(["ResNet"], ["steps-2"], options, tmp_path / "steps")
    assert [run.method for run in steps.runs] == ["soft"]  # steps do not add up: no hard search
    space = steps.runs[0].network.space()
    for entry in steps.runs[0].history:
        assert entry.costs["steps-2"] == cost_model(space, "steps-2").cost(space.switched(switches(entry.modules)))
    (limit,) = budgets_in(steps, "ResNet", "steps-2")
    assert steps.runs[0].history[-1].costs["steps-2"] <= limit.limit
    scenes = replace(contest_preset("smoke", "Part Labels"), seeds=1, methods=("hard",), randoms=0, scratch=0)
    pixels = contest(["CNF segmentation"], ["macs"], scenes, tmp_path / "pixels")
    (budget,) = budgets_in(pixels, "CNF segmentation", "macs")
    assert pixels.data.startswith("digit-scenes") and {run.method for run in pixels.runs} == {"hard", "plain"}
    assert chosen_of_seeds(pixels, "CNF segmentation", budget, "hard")[0] is not None
    assert pixels.runs[0].history[-1].test > 0.3  # three quarters of the pixels are background


def test_table_1_as_a_user_runs_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ["--scale", "smoke", "--out", str(out), "--seeds", "1", "--processes", "1", "--epochs", "2"]
    assert "…" not in run_script("papers_repro/bsn_table1.py", *arguments, folder=tmp_path, columns=120)
    assert "HiGHS" not in capfd.readouterr().out, "a solver's own banner in the middle of a table"
    record = json.loads((out / "bsn_table1.json").read_text())
    reference, published, alone, budgets, differences, front = record["tables"]
    assert all(row["equal"] == "✓" for row in reference["ours"])
    assert not published["ours"] and published["source"].endswith("Table 1")
    rows = {row["network"]: row for row in budgets["ours"]}
    assert {"ResNet, hard, ResNet-6", "CNF, hard, CNF W=2", "ResNet-6, plain", "CNF W=2, plain"} <= set(rows)
    for row in rows.values():
        assert row.get("cost") is None or row["cost"] <= row["limit"]
    assert all(row["fits"] == "1/1" and row["ended"] == "1/1" for row in rows.values())
    trained = {row["network"]: row for row in alone["ours"]}
    assert all(row["cost"] <= row["limit"] and "over_random" in row and "over_plain" in row for row in trained.values())
    assert trained["CNF, hard, CNF W=2"]["published"] < trained["CNF, hard, CNF W=2"]["cost"]
    assert {row["pair"] for row in differences["ours"]} >= {"ResNet, ResNet-6: hard - plain"}
    assert front["ours"] and str(out) not in json.dumps(record)
    assert len(load_json(out / "bsn_table1_digits_runs.json", RunsRecord, "record of runs").runs) == 8


def test_rows_choose_on_validation_and_say_what_fits(made: RunsRecord) -> None:
    for family in ("ResNet", "CNF"):
        for budget in budgets_in(made, family, "macs"):
            for method in ("soft", "hard"):
                for seed, entry in chosen_of_seeds(made, family, budget, method).items():
                    runs = [r for r in runs_of(made, family, "macs", method) if (r.budget, r.seed) == (budget, seed)]
                    fitting = [e for run in runs for e in run.history if e.costs["macs"] <= budget.limit]
                    assert (entry is None) == (not fitting)
                    assert entry is None or entry.validation == max(e.validation for e in fitting)
    rows = budget_rows(made, "macs", ("ResNet", "CNF")).ours
    assert all(row.get("cost", 0) <= row["limit"] for row in rows)  # type: ignore[operator] # numbers
    named = {row["network"] for row in rows}
    assert {"ResNet, soft, ResNet-8", "ResNet-8, plain", "ResNet, hard, 60% of the whole"} <= named
    assert "60% of the whole, plain" not in named
    differences = {row["pair"]: str(row["difference"]) for row in difference_rows(made, "macs", ("ResNet",)).ours}
    assert "±" in differences["ResNet, ResNet-8: soft - plain"]
    told = [(100 * soft.test, 100 * plain.test) for soft, plain in _both(made, "soft", "plain", "ResNet-8")]
    assert differences["ResNet, ResNet-8: soft - plain"] == compared(*zip(*told, strict=True), "soft")


def _both(record: RunsRecord, first: Method, second: Method, name: str) -> list[tuple[EpochRecord, EpochRecord]]:
    """What two methods chose within a budget of the ResNet fabric, by seed."""
    (budget,) = [budget for budget in budgets_in(record, "ResNet", "macs") if budget.name == name]
    chosen = [chosen_of_seeds(record, "ResNet", budget, method) for method in (first, second)]
    return [(chosen[0][seed], chosen[1][seed]) for seed in sorted(chosen[0])]  # type: ignore[misc] # made to fit


def test_networks_trained_alone_are_compared_by_seed(made: RunsRecord) -> None:
    """The made records' random networks are 10 points worse than learned ones, and plain ones 20, up to what chance gives each."""
    rows = {row["network"]: row for row in scratch_rows(made, "macs", ("ResNet", "CNF")).ours}
    assert set(rows) >= {"ResNet, soft, ResNet-8", "ResNet, hard, ResNet-8", "CNF, soft, CNF W=2"}
    for name, row in rows.items():
        assert row["accuracy"] - 14 < row["random"] < row["accuracy"] - 6  # type: ignore[operator] # numbers
        assert str(row["over_random"]).endswith("learned better"), name
        assert str(row["over_plain"]).endswith("learned better"), name
        assert ("published" in row) == name.startswith("CNF")
    share = rows["ResNet, soft, 60% of the whole"]  # named after no network: beside the costliest one that it holds
    assert share["plain"] == pytest.approx(rows["ResNet, soft, ResNet-14"]["plain"])


def test_random_networks_use_the_budget_and_differ() -> None:
    fabric = NetworkSpec(family="ResNet", size=3, widths=(8, 16, 32), image_channels=1, side=16)
    space, (budget,) = fabric.space(), budgets_of(fabric, "macs", (2,), ())
    cost = cost_model(space, "macs")
    found = list(random_networks(space, SearchProblem(space.space, (Budget(cost, budget.limit, cost.unit),)), 4, 0))
    costs = [cost.cost(connected_architecture(space, running)) for running in found]
    assert all(0.9 * budget.limit < paid <= budget.limit for paid in costs)
    assert len({running.tobytes() for running in found}) == 4
    part = reduced(space, found[0])
    assert cost_model(part, "macs").cost(part.whole) == costs[0]
    assert len(part.space.decisions) == sum(space.connectivity.columns[found[0]] >= 0)


def test_a_budget_that_nothing_fits_is_said_so(made: RunsRecord) -> None:
    strict = [run for run in made.runs if run.method == "soft" and run.network.family == "ResNet"][:1]
    budget = strict[0].budget.model_copy(update={"limit": 1.0})  # type: ignore[union-attr] # a search has one
    record = made.model_copy(update={"runs": (strict[0].model_copy(update={"budget": budget}),)})
    (row,) = budget_rows(record, "macs", ("ResNet",)).ours
    assert row["fits"] == "0/1" and "cost" not in row and "accuracy" not in row
    with pytest.raises(ValueError, match="no soft network of the record fits"):
        bsn_figure3.draw(record)


def test_the_front_holds_what_nothing_beats(made: RunsRecord) -> None:
    runs = runs_of(made, "ResNet", "macs", "soft")
    front = pareto_front(runs, "macs")
    every = [entry for run in runs for entry in run.history]
    for _, kept in front:
        assert not any(e.costs["macs"] <= kept.costs["macs"] and e.validation > kept.validation for e in every)
    costs = [entry.costs["macs"] for _, entry in front]
    assert costs == sorted(costs) and len(front) < len(every)
    assert len(front_rows(made, "macs", ("ResNet",)).ours) == sum(
        len(pareto_front(runs_of(made, "ResNet", "macs", method), "macs")) for method in ("soft", "hard")
    )


def test_figures_show_what_the_record_holds(made: RunsRecord, tmp_path: Path) -> None:
    figures = {
        "figure2": bsn_figure2.draw(made),
        "figure3": bsn_figure3.draw(made),
        "figure4": bsn_figure4.draw(made),
        "figure7": bsn_figure7.draw(made),
        "figure8": bsn_figure8.draw(),
    }
    titles = [axes.get_title() for axes in figures["figure2"].axes]
    assert sum(title.startswith("ours") for title in titles) == sum(title.startswith("published") for title in titles) == 2
    for axes in figures["figure2"].axes:  # published markers are open, ours are filled
        for line in axes.lines:
            if axes.get_title().startswith("published"):
                assert same_color(line.get_markerfacecolor(), "white") and line.get_linestyle() in ("--", ":")
    curves = figures["figure4"].axes[0].lines
    budgets, seeds = len(budgets_in(made, "ResNet", "macs")), 3
    assert len(curves) == budgets * (seeds + 1) + 2 and len(curves[0].get_xdata()) == EPOCHS  # with two plain networks
    assert {line.get_label() for line in curves} >= {"ResNet-8", "ResNet-8, plain", "ResNet-14, plain"}
    validation, test = figures["figure7"].axes[:2]
    dots = len(runs_of(made, "ResNet", "macs", "soft")) * EPOCHS
    assert len(validation.collections[0].get_offsets()) == len(test.collections[0].get_offsets()) == dots
    for name in ("figure2", "figure4", "figure7"):  # legends lie below the axes, and bars within 0 and 100 %
        for axes in figures[name].axes:
            legend = axes.get_legend()
            assert legend is None or legend.get_bbox_to_anchor().y0 < axes.bbox.y0
            for bars in (low for collection in axes.collections for low in getattr(collection, "get_segments", list)()):
                assert not len(bars) or (bars[:, 1].min() >= 0 and bars[:, 1].max() <= 100)
    for name, figure in figures.items():
        save_figure(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_figure_3_draws_the_modules_of_the_network(made: RunsRecord) -> None:
    budget = budgets_in(made, "ResNet", "macs")[0]
    found = bsn_figure3.best_found(made, "ResNet", budget, "soft")
    assert found is not None
    run, entry = found
    space = run.network.space()
    use = bsn_figure3.module_use(space, entry, run.probabilities)
    parts = space.connectivity
    running = parts.running(space.space, space.switched(switches(entry.modules)))
    assert set(use) == {parts.edges[edge] for edge in np.flatnonzero(running)}
    assert use["image", "stem", "stem"] == 1.0 and all(0 < share <= 1 for share in use.values())


def test_figure_6_is_of_the_protocol_for_pixels() -> None:
    paper = bsn_figure6.preset("paper").contest
    assert (paper.setup.data, paper.epochs, paper.milestones) == ("part-labels", 200, (0.65,))
    assert (paper.seeds, paper.methods, paper.plain) == (1, ("soft",), False)
    drawn = bsn_figure3.draw(made_record(("CNF segmentation",), seeds=1)).axes
    assert [axes.get_title().startswith("CNF segmentation") for axes in drawn if axes.get_visible()] == [True] * 2


def test_figure_5_has_a_column_for_each_number_of_machines(tmp_path: Path) -> None:
    record = made_record(("ResNet",), ("steps-1", "steps-4"), seeds=2)
    figure = bsn_figure5.draw(record)
    assert len(figure.axes) == 2 * 3
    with pytest.raises(ValueError, match="no search under a budget on steps"):
        bsn_figure5.draw(made_record(("CNF",), ("parameters",), seeds=1))


def test_the_scheduling_example_takes_6_and_5_steps() -> None:
    rows = bsn_figure8.step_rows().ours
    assert [(row["modules"], row["on1"], row["on2"], row["equal"]) for row in rows] == [(9, 9, 6, "✓"), (10, 10, 5, "✓")]
    schedule = bsn_figure8.draw().axes[1]
    assert len(schedule.patches) == 9 and "6 steps" in schedule.get_title()


def test_records_are_read_back_or_refused(made: RunsRecord, tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    save_json(made, path)
    assert load_json(path, RunsRecord, "record of runs") == made
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ValueError, match="not complete JSON"):
        load_json(path, RunsRecord, "record of runs")
    path.write_text('{"kind": "architecture"}')
    with pytest.raises(ValueError, match="holds a record of kind"):
        load_json(path, RunsRecord, "record of runs")


def test_the_paper_preset_is_the_protocol_on_cifar(tmp_path: Path) -> None:
    """Sec. 5.1 and the supplementary material; what is not the paper's is named last."""
    paper = read_options(steps_preset, ["--scale", "paper", "--table", "5", "9"])
    settings, setup = paper.contest, paper.contest.setup
    assert paper.table == (5, 9)
    assert (setup.data, setup.resolution, setup.validation_share) == ("cifar10", 32, 0.1)  # 45,000 / 5,000 / 10,000 images
    assert (setup.blocks, setup.widths) == (18, (16, 32, 64))  # Sec. 3.1: the fabric that holds ResNet-110
    assert (setup.columns, setup.scales, setup.filters) == (8, 6, 128)  # Sec. 3.1: W = 8
    assert (settings.epochs, settings.warm_up) == (300, 50)  # Sec. 5.1: 50 epochs of the whole first
    assert (settings.learning_rate, settings.momentum, settings.weight_decay) == (0.1, 0.9, 1e-4)
    assert settings.milestones == (0.5, 0.75)  # a tenth after 150 and 225 epochs
    assert (settings.samples, settings.baseline) == (0, "batch_mean")  # Eq. 7: a sub-graph an example
    assert settings.resnet_sizes == (3, 5, 7, 9, 18) and settings.cnf_sizes == (1, 2, 4, 8)  # Tables 1, 3, 5-9
    assert settings.penalties == (1.0, 3.0, 10.0)  # of 10^-(m+1) to 10^-(m-1)
    assert settings.recalibration == 0
    ours = (settings.charge, settings.anneal, settings.clamp)  # the printed hinge collapses: see constrained_nas.methods.budgeted
    assert ours == ("expected", 0.7, 4.0)
    assert contest_preset("paper", "CIFAR-100").setup.data == "cifar100"


def test_the_paper_preset_is_the_protocol_on_part_labels() -> None:
    faces = contest_preset("paper", "Part Labels")
    assert (faces.epochs, faces.milestones, faces.batch_size) == (200, (0.65,), 16)  # a tenth after 130 epochs
    assert (faces.setup.data, faces.setup.resolution) == ("part-labels", 256)
    assert (faces.setup.columns, faces.setup.scales, faces.setup.filters) == (8, 9, 64)
    assert (faces.cnf_sizes, faces.cnf_shares) == ((8,), (0.6, 0.8))  # Table 4: 21.37 and 28.49 of 35.61 G


def test_the_gpu_preset_is_one_split_of_cifar_under_three_budgets() -> None:
    gpu = contest_preset("gpu")
    assert (gpu.setup.data, gpu.setup.split_seed, gpu.setup.blocks, gpu.seeds) == ("cifar10-folder", 0, 3, 3)
    fabric = NetworkSpec(family="ResNet", size=3, widths=gpu.setup.widths)
    budgets = budgets_of(fabric, "macs", gpu.resnet_sizes, gpu.resnet_shares, gpu.fractions)
    assert [budget.limit for budget in budgets] == [10_224_800, 20_449_600, 40_899_200]  # of ResNet-20: a quarter, half, all
    assert [budget.name for budget in budgets] == ["25% of ResNet-20", "50% of ResNet-20", "ResNet-20"]
    assert (gpu.device, gpu.precision, gpu.randoms > 0, gpu.scratch > 0) == ("auto", "bf16-mixed", True, True)


def test_data_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    settings = contest_preset("paper")
    assert contest_preset("laptop").seeds >= 3
    with pytest.raises(FileNotFoundError, match=r"no folder '.*cifar10-folder'"):
        load_data(replace(contest_preset("gpu").setup, data_root=tmp_path), 1)
    with pytest.raises(FileNotFoundError, match="cifar-10-batches-bin"):
        load_data(replace(settings.setup, data_root=tmp_path), 0)
    with pytest.raises(ValueError, match="expected one of 1, 2, 3, 4, 5, 6, 7, 8, 9"):
        table_of(10)

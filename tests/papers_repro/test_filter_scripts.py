"""The filter-level scripts, run as a user runs them at smoke scale, and what they compare with."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from constrained_nas.methods.filter_level import FilterLevel, FilterWeights
from constrained_nas.methods.filter_level.record import load_filter_search
from constrained_nas.records import load_architecture
from graphs.costs import BitOperations, SlimmableMacs
from graphs.filters.quantization import CLAMP_SIGMAS
from papers_repro import filter_bops, filter_figure1, filter_figure2, filter_variance
from papers_repro.filter_level import (
    CONFIDENCE,
    Trained,
    bars,
    compare_with_line,
    deviation_ratio,
    holm,
    homogeneous_candidates,
    mean_difference,
    minus_others,
    plans,
    pruning_grid,
    quantization_grid,
    random_configurations,
    setup_preset,
    side_by_side,
    typical_deviation,
)
from papers_repro.filter_level.setup import cost_of, space_of
from papers_repro.filter_level.trainings import Candidate
from papers_repro.filter_variance import detectable, statement
from papers_repro.harness import half_width, read_options


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


def test_bops_agree_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(filter_bops, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "…" not in printed and "31 of 31 agree" in printed
    tables = record_of("filter_bops", tmp_path / "run")["tables"]
    ticks = [row["tick"] for table in tables for row in table["ours"]]
    assert ticks == ["✓"] * 31
    assert tables[0]["ours"][1]["ours"] == pytest.approx(0.898799343, abs=5e-10)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of Figure 1; its trainings are those of ``filter_variance`` at this scale."""
    out = tmp_path_factory.mktemp("grid") / "run"
    run(filter_figure1, out)
    return out


def trainings_of(out: Path) -> list[Path]:
    return sorted((out / "checkpoints" / "trainings").glob("*.json"))


def test_figure_1_and_its_resumption(grid: Path, tmp_path: Path) -> None:
    first = record_of("filter_figure1", grid)["tables"]
    quantization, pruning = (table["ours"] for table in first)
    assert [row["name"] for row in quantization[:4]] == ["w2a2", "w2a4", "w3a3", "w8a8"]
    assert len(quantization) == 10 and len(pruning) == 8
    for table in first:  # a training of an epoch on 80 digits teaches nothing
        assert all("verdict" not in row for row in table["ours"]) and "near chance, which is 10 %" in table["remark"]
    assert len(trainings_of(grid)) == 2 * 18
    out = tmp_path / "run"
    shutil.copytree(grid, out)
    files = trainings_of(out)
    files[0].unlink()  # as if it had been killed: only this training is done again
    before = {path.name: path.stat().st_mtime_ns for path in files[1:]}
    again = run(filter_figure1, out, "--resume")["tables"]
    assert {path.name: path.stat().st_mtime_ns for path in files[1:]} == before and files[0].exists()
    for one, other in zip(first, again, strict=True):
        assert one["ours"] == other["ours"]


def test_figure_2_leaves_a_record_of_every_algorithm(tmp_path: Path) -> None:
    proposals, drawn, passing, *_ = run(filter_figure2, tmp_path / "run")["tables"]
    rows = {row["name"]: row for row in proposals["ours"]}
    assert len(rows) == 12 and "near chance" in proposals["remark"]
    assert not any({"difference", "half", "random"} & row.keys() for row in rows.values()), "nothing is compared at chance"
    assert [row["name"] for row in passing["ours"][:3]] == ["C.1 to w3a3 1", "C.1 to w3a3 2", "C.1 to w2a4 1"]
    assert len(passing["ours"]) == 12, "what every search proposed after each of two iterations"
    assert [row["name"] for row in drawn["ours"]] == [f"random {n} to {to}" for to in ("w3a3", "w2a4", "x0.5") for n in (1, 2)]
    assert all(row["cost"] <= 1.0 and "difference" not in row for row in drawn["ours"])
    assert (tmp_path / "run" / "filter_figure2_laws.png").read_bytes().startswith(b"\x89PNG")
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


def test_changes_of_appendix_b_reach_the_searches(tmp_path: Path) -> None:
    out, changes = tmp_path / "run", ("--samples", "3", "--coefficient", "0.01", "--rate", "0.2", "--start", "0.75")
    run(filter_figure2, out, "--algorithms", "C.2", "C.4", "--widths", "layer", *changes, "--on-the-way", "0")
    record = load_filter_search(out / "searches" / "c2.json")
    assert (record.options["samples"], record.settings["coefficient"]) == (3, 0.01)  # B.8, B.9
    assert (record.settings["learning_rate"], record.settings["start"]) == (0.2, 0.75)  # B.10
    assert len(record.history[0]["parameters"]) == len(record.expected.decisions) == 7  # a width a layer; one a stage would be 3
    fours = ("w2a2", "w3a3", "w4a4", "w8a3", "w8a8")  # B.4
    setup = replace(setup_preset("smoke"), operations=fours)
    assert [operation.name for operation in space_of(setup, "quantization").operations] == list(fours)
    assert [each.name for each in homogeneous_candidates(setup, "quantization", ())] == list(fours)
    with pytest.raises(ValueError, match="operation 'w2': expected bits"):
        replace(setup, operations=("w2",))
    with pytest.raises(ValueError, match="w2a4 not among --operations"):
        replace(filter_figure2.preset("smoke"), setup=setup)


def test_the_papers_networks_and_trainings() -> None:
    setup = setup_preset("paper")
    assert (setup.filters, setup.blocks, setup.resolution) == ((16, 32, 64), 3, 32)  # Sec. 4: ResNet-20
    assert setup.data == "cifar10"  # Sec. 4
    assert setup.operations == ("w2a2", "w2a4", "w3a3", "w8a8")  # Sec. 4, as bits of weights and activations
    assert (setup.widths, setup.patience) == ("stage", 150)  # block-binomial; Sec. 4: 150 epochs without a new best
    assert (setup.noise_share, CLAMP_SIGMAS) == (0.05, 3.45)  # the quantizer: 5 % of the weights get noise, clamp at 3.45 sigma
    space = space_of(setup, "quantization")
    assert BitOperations(space).image_bits == 8  # images have 8 bits
    assert SlimmableMacs(space_of(setup, "pruning")).cost(space_of(setup, "pruning").homogeneous(share=0.5)) == 10313728  # no FC
    assert CONFIDENCE == 0.6827  # Fig. 1
    for script, repeats in ((filter_figure1, 3), (filter_figure2, 3)):
        assert script.preset("paper").repeats == repeats  # Sec. 4: three trainings of a configuration
    assert filter_figure1.preset("paper").line_shares == (0.25, 0.5, 0.75, 1.0)  # Fig. 1
    assert (setup.device, setup.precision, setup.processes) == ("auto", "16-mixed", 4)  # ours: four trainings share a GPU
    # The paper prints none of these: He et al.'s for ResNet-20.
    assert (setup.batch_size, setup.learning_rate, setup.momentum, setup.weight_decay, setup.rise) == (128, 0.1, 0.9, 1e-4, 0.0)


def test_a_search_of_the_paper_is_the_papers() -> None:
    options = filter_figure2.preset("paper")
    assert options.searches.targets == ("w3a3", "w2a4")  # Fig. B.3
    by_name = {plan.name: plan for plan in plans("paper", options.setup, 0, options.searches)}
    assert list(by_name) == ["C.1 to w3a3", "C.1 to w2a4", "C.2", "C.3", "C.4", "C.5"]
    coefficients = {name: plan.settings["coefficient"] for name, plan in by_name.items()}
    assert coefficients == {"C.1 to w3a3": 1, "C.1 to w2a4": 1, "C.2": 1, "C.3": 1, "C.4": 1, "C.5": 0}  # Fig. B.3; Eq. 7 has none
    assert {plan.settings["estimator"] for plan in by_name.values()} == {"plain"}  # Eq. 3
    assert {plan.settings["start"] for plan in by_name.values() if plan.kind == "pruning"} == {0.5}  # Fig. B.10
    assert all(plan.options.samples == 6 for plan in by_name.values())  # Fig. B.8
    rates = {name: plan.settings["learning_rate"] for name, plan in by_name.items()}
    assert rates["C.2"] == 5e-4 and rates["C.3"] == rates["C.4"] == rates["C.5"] == 1e-4  # Fig. B.10
    assert all(plan.options.law_batches == 0 for plan in by_name.values())  # C.1 to C.5: the law steps along every batch
    searched = {name.removesuffix(" to w3a3"): plan.options for name, plan in by_name.items()}
    switches = {name: (o.split, o.sharing, o.sampling, o.loss) for name, o in searched.items()}
    assert switches["C.1"] == ("halves", "sampled", "batch", "penalty")  # Algorithm C.1
    assert switches["C.2"] == ("halves", "slimmable", "batch", "penalty")  # Algorithm C.2
    assert switches["C.3"] == ("whole", "slimmable", "iteration", "penalty")  # Algorithm C.3
    assert switches["C.4"] == ("whole", "none", "iteration", "penalty")  # Algorithm C.4
    assert switches["C.5"] == ("whole", "none", "iteration", "interpolation")  # Algorithm C.5, Eq. 7
    assert searched["C.2"].sample_epochs == searched["C.3"].sample_epochs == 5  # Algorithms C.2, C.3
    assert searched["C.1"].sample_epochs == 0  # Algorithm C.1: shared weights as they are
    assert 10 <= searched["C.3"].reset_period <= 20 and searched["C.2"].reset_period == 0  # Algorithm C.3: k_omega
    assert (searched["C.5"].reference_trainings, searched["C.5"].relative) == (5, False)  # Eq. 7
    assert searched["C.2"].shares == searched["C.5"].shares == (0.25, 0.5, 0.75, 1.0)  # Algorithm C.2
    method = FilterLevel(space_of(options.setup, "pruning"), **by_name["C.2"].settings)
    assert method.power == 2.0  # sigma, of the authors' release


def test_the_gpu_scale_tells_four_tenths_of_a_per_cent() -> None:
    gpu = setup_preset("gpu")
    assert (gpu.epochs, gpu.batch_size, gpu.learning_rate, gpu.weight_decay) == (30, 512, 0.4, 5e-4)
    wanted = filter_variance.preset("gpu")
    assert wanted.repeats == 10
    counted = [homogeneous_candidates(gpu, kind, wanted.line_shares) for kind in ("quantization", "pruning")]
    assert sum(map(len, counted)) + len(quantization_grid(gpu, wanted.parts)) + len(pruning_grid(gpu, wanted.shares)) == 20


def test_random_configurations_fit_and_use_their_budget() -> None:
    setup = setup_preset("cpu")
    for kind, target in (("pruning", "x0.5"), ("quantization", "w3a3")):
        space = space_of(setup, kind)
        shares = {each.name: each.cost for each in homogeneous_candidates(setup, kind, (0.5,))}
        found = random_configurations(setup, kind, target, shares[target], 4, 0)
        assert [each.name for each in found] == [f"random {number} to {target}" for number in (1, 2, 3, 4)]
        assert len({each.counts for each in found}) == 4 and not any(each.homogeneous for each in found)
        for each in found:
            assert 0.95 * shares[target] <= each.cost <= shares[target]
            assert each.cost == cost_of(space).cost(space.architecture(np.array(each.counts)))
        assert found == random_configurations(setup, kind, target, shares[target], 4, 0)
        assert found != random_configurations(setup, kind, target, shares[target], 4, 1)


def test_a_network_minus_others_counts_how_these_vary() -> None:
    one = trained("one", 1.0, [80.0, 82.0, 81.0])
    others = [trained(name, 1.0, test) for name, test in (("a", [70.0, 72.0]), ("b", [75.0, 75.0]), ("c", [79.0, 77.0]))]
    found = minus_others(one, others)
    welch = stats.ttest_ind(one.test, [each.mean for each in others], equal_var=False, alternative="greater")
    assert found.difference == pytest.approx(81.0 - np.mean([71.0, 75.0, 78.0])) and found.p_value == pytest.approx(welch.pvalue)
    with pytest.raises(ValueError, match="no networks to compare with"):
        minus_others(one, [])


def test_the_cpu_scale_searches_where_the_budget_binds() -> None:
    options = filter_figure2.preset("cpu")
    assert options.setup.resolution == 16 and options.searches.coefficient == 0.01  # Fig. B.9
    wanted = plans("cpu", options.setup, 0, options.searches)
    assert [(plan.name, plan.target) for plan in wanted] == [("C.3", "x0.5"), ("C.4", "x0.5")]


def test_a_rate_that_rises_first() -> None:
    weights = FilterWeights(learning_rate=0.4, rise=0.2)
    assert [weights.rate(share) for share in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.2, 0.4, 0.2, 0.0])
    assert FilterWeights(learning_rate=0.4).rate(0.0) == 0.4


def test_bars_stay_within_what_an_accuracy_can_be() -> None:
    assert bars(np.array([2.0, 50.0, 99.0]), np.array([5.0, 5.0, 5.0])).tolist() == [[2.0, 5.0, 5.0], [5.0, 5.0, 1.0]]


def teach(out: Path) -> None:
    """Give the kept trainings other accuracies, of networks that have learned: around 70 %, better where they are wider."""
    for number, path in enumerate(trainings_of(out)):
        kept = json.loads(path.read_text())
        wide = np.sum(kept["identity"]["counts"]) / 30
        kept["result"] |= {"test": 70.0 + wide + 0.1 * (number % 5), "validation": 70.0}
        path.write_text(json.dumps(kept))


def test_networks_that_have_learned_are_compared(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(grid, out)
    teach(out)
    for table in run(filter_figure1, out, "--resume")["tables"]:
        lines = 4 if "quantization" in table["title"] else 2
        assert all("verdict" not in row for row in table["ours"][:lines]) and all("verdict" in row for row in table["ours"][lines:])
        assert "by chance alone" in table["remark"] and "near chance" not in table["remark"]


def test_variance(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(grid / "checkpoints", out / "checkpoints")
    untaught = run(filter_variance, out, "--resume")["tables"][0]
    assert untaught["ours"] == [{"kind": "quantization"}, {"kind": "pruning"}]
    assert untaught["remark"].count("Nothing can be said of the line") == 2 and "95 % interval" not in untaught["remark"]
    teach(out)
    summary, quantization, pruning = run(filter_variance, out, "--resume")["tables"]
    assert len(trainings_of(out)) == 2 * 18, "the grid's trainings are these"
    assert [row["kind"] for row in summary["ours"]] == ["quantization", "pruning"]
    assert summary["published"] and summary["source"]
    for row, table in zip(summary["ours"], (quantization, pruning), strict=True):
        assert row["tested"] == len(table["ours"]) == 6
        assert row["above"] == sum(entry["verdict"] == "better" for entry in table["ours"])
        assert row["significant"] == sum(entry["holm"] < 0.05 for entry in table["ours"])
        assert row["average"] == pytest.approx(np.mean([entry["difference"] for entry in table["ours"]]), abs=1e-12)
        assert f"{row['kind']}: " in summary["remark"]
    assert summary["remark"].count("95 % interval") >= 4


def trained(name: str, cost: float, test: list[float], homogeneous: bool = False) -> Trained:
    return Trained(Candidate("pruning", name, ((1,),), cost, homogeneous), tuple(test), tuple(test), (1,) * len(test), 1.0)


def test_comparison_with_the_line_is_welchs_at_a_homogeneous_cost() -> None:
    generator = np.random.default_rng(0)
    line = [trained("a", 1.0, (70 + generator.normal(size=6)).tolist(), True), trained("b", 3.0, [80.0, 81.0, 79.0, 80.5], True)]
    other = trained("c", 3.0, (83 + 2 * generator.normal(size=5)).tolist())
    (found,) = compare_with_line([*line, other])
    welch = stats.ttest_ind(other.test, line[1].test, equal_var=False, alternative="greater")
    assert found.gain.p_value == pytest.approx(welch.pvalue, rel=1e-9) and found.gain.freedom == pytest.approx(welch.df, rel=1e-9)
    low, high = stats.ttest_ind(other.test, line[1].test, equal_var=False).confidence_interval(0.6827)
    assert 2 * found.gain.half(0.6827) == pytest.approx(high - low, rel=1e-9)
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
        above += sum(each.gain.verdict(0.6827) == "better" for each in found)
        corrected += min(holm([each.gain.p_value for each in found])) < 0.05
    # The six share a line, so their count varies more than a binomial's: its error is taken six times as large as one a round.
    assert above / (6 * count) == pytest.approx(0.1587, abs=4 * math.sqrt(0.1587 * 0.8413 / count))
    assert corrected / count < 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)


def test_the_mean_of_all_is_a_contrast_of_its_own() -> None:
    # Four networks on one line: their differences share its error, so the mean's is no mean of independent ones.
    generator = np.random.default_rng(2)
    covered, count = 0, 600
    for _ in range(count):
        line = [trained(name, cost, generator.normal(size=5).tolist(), True) for name, cost in (("a", 1.0), ("b", 2.0))]
        others = [trained(f"c{i}", 1.0 + 0.25 * i, generator.normal(1.5, 1.0, size=5).tolist()) for i in range(4)]
        gain = mean_difference([*line, *others])
        covered += abs(gain.difference - 1.5) <= gain.half(0.95)
    assert gain.difference == pytest.approx(np.mean([each.gain.difference for each in compare_with_line([*line, *others])]))
    # Three standard errors either way: Welch's degrees of freedom are an approximation that costs less than 1 %.
    assert covered / count == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / count))
    with pytest.raises(ValueError, match="no heterogeneous networks"):
        mean_difference(line)


def test_ratios_of_deviations_cover_the_true_one() -> None:
    generator = np.random.default_rng(3)
    covered, count = 0, 600
    for _ in range(count):
        wide = [trained(f"w{i}", 1.0, (3 * generator.normal(size=4)).tolist()) for i in range(5)]
        narrow = [trained(f"n{i}", 1.0, generator.normal(size=4).tolist()) for i in range(5)]
        ratio, low, high = deviation_ratio(wide, narrow)
        assert low < ratio < high
        covered += low <= 3.0 <= high
    assert covered / count == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / count))
    assert math.isnan(deviation_ratio(wide, [trained("n", 1.0, [1.0, 1.0])] * 2)[0])


def test_statements_follow_from_the_numbers() -> None:
    line = [trained("a", 1.0, [70.0, 70.2, 69.8, 70.1], True), trained("b", 2.0, [80.0, 80.3, 79.9, 80.1], True)]
    good, poor = trained("good", 1.5, [79.0, 79.2, 78.9, 79.1]), trained("poor", 1.5, [74.8, 75.3, 75.1, 74.9])
    said = statement("pruning", [*line, good, poor])
    assert said.startswith("pruning: 1 of 2 are better at 5 % after Holm's correction: good +4.00 (95 % interval +3.7")
    assert "(as in the paper)" in said and "mean of all: +1.99 (95 %" in said
    assert "(not as in the paper)" in statement("quantization", [*line, good, poor])
    said = statement("quantization", [*line, poor])
    assert "cannot be established; greatest: poor" in said and "(as in the paper)" in said
    # The error of four trainings' mean over that of sixteen is 2, and Student's t is longer with few.
    more = [trained(one.candidate.name, one.candidate.cost, list(one.test * 4), one.candidate.homogeneous) for one in (*line, poor)]
    few, many = (detectable(compare_with_line(networks)) for networks in ([*line, poor], more))
    assert 2 * many < few < 3 * many
    gain = compare_with_line([*line, poor])[0].gain
    assert 2.4 * gain.error < few < 3.2 * gain.error  # 1.64 + .84 for many degrees of freedom, more for few


def test_markers_of_one_cost_stand_side_by_side() -> None:
    assert side_by_side([5.0, 1.0, 5.1, 1.0, 9.0], 10.0, 0.4) == pytest.approx([-0.2, -0.2, 0.2, 0.2, 0.0])


def test_holm_and_typical_deviation() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    runs = [trained("a", 1.0, [1.0, 3.0], True), trained("b", 2.0, [1.0, 2.0, 3.0], True)]
    assert typical_deviation(runs) == pytest.approx((math.sqrt(2.0) + 1.0) / 2)
    assert half_width([1.0, 2.0, 4.0], 0.6827) < half_width([1.0, 2.0, 4.0])


def test_grids_hold_what_the_paper_searches() -> None:
    setup = setup_preset("paper")
    assert len(quantization_grid(setup, 4)) == 35 - 4  # compositions of four parts among four operations
    assert len(pruning_grid(setup, (0.25, 0.5, 0.75, 1.0))) == 64 - 4
    space = space_of(setup, "quantization")
    for each in quantization_grid(setup, 4):
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

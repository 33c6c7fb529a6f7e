"""NAS-Bench-Macro with a super-network of our own: does it rank networks as the truth does, and what does a search on it find?

A super-network of the space is trained on CIFAR-10 as HardCoRe-NAS trains its own (the heaviest network, then a path for every
example). Networks drawn at random inherit its weights, and what it says of them is held against their true accuracy: Kendall's tau
decides what any search on it can reach (HardCoRe-NAS, Fig. 4). Batch normalization uses the statistics of training, where paths of
all kinds met, or is recalibrated for each network. Multiply-adds alone are a guess, too, and stand beside it. Then the
super-network is searched under budgets on the benchmark's multiply-adds, and the true accuracy of what is found is looked up.

At laptop scale the super-network sees smaller images and has half of the channels; the truth is of whole networks, which the
benchmark's authors trained.

Reference: Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021 (NAS-Bench-Macro); Nayman et al.,
HardCoRe-NAS, Sec. 3.3 and Fig. 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from constrained_nas.search import JudgeOptions
from papers_repro.experiment import DeviceOptions, make_fabric, one_thread
from papers_repro.harness import Column, Row, Rows, Scale, ScriptOptions, mean, new_figure, save_figure, started
from papers_repro.macro import (
    DEAREST,
    JUDGED,
    LINEAR_TRAINED,
    METHODS,
    PRINTED,
    RANDOM,
    RANKED,
    REGRET,
    USE,
    Found,
    Judge,
    MacroTable,
    SearchChoices,
    Seen,
    TrainingChoices,
    benchmark_path,
    budget_columns,
    drawn_codes,
    ranking,
    read_benchmark,
    searched,
    trained,
)
from solvers.arrays import FloatArray

SCRIPT = "macro_supernet"
LOSS = "super-network: loss"
ACCURACY = "super-network: accuracy"
OWN_LOSS = "super-network, recalibrated: loss"
OWN_ACCURACY = "super-network, recalibrated: accuracy"


@dataclass(frozen=True)
class Options(TrainingChoices, DeviceOptions, ScriptOptions):
    """Rank correlation of a super-network with the truth, and regret of searches on it.

    Writes macro_supernet.json and macro_supernet.png. Needs the benchmark's file, --benchmark nas-bench-macro_cifar10.json
    (github.com/xiusu/NAS-Bench-Macro), and CIFAR-10: --data FOLDER (images in train/ and val/ or test/), or --data cifar10
    with --data-root.
    """

    benchmark: Path | None = None
    """The benchmark's file."""
    networks: int = 200
    """Networks that are ranked."""
    ranking_images: int = 1_000
    """Images kept from training on which they are ranked."""
    calibration_batches: int = 4
    """Training batches from which a network's own statistics are made."""
    budgets: tuple[float, ...] = (0.2, 0.35, 0.5, 0.65, 0.8)
    """As shares of the way from the multiply-adds of the cheapest network to those of the costliest."""
    search_seeds: int = 1
    """Searches of every method under every budget."""
    search: SearchChoices = field(default_factory=SearchChoices)


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(
            scale,
            data="digits",
            training_digits=200,
            width=0.125,
            path_epochs=1,
            batch_size=32,
            networks=12,
            ranking_images=80,
            calibration_batches=2,
            budgets=(0.4,),
            search=SearchChoices(search_images=64, search_batch=16, judged=JudgeOptions(networks=12, images=40, rows=4)),
        )
    if scale == "laptop":
        return Options(scale, data="cifar10")
    return Options(  # on a GPU; the benchmark's own size of images and networks
        scale,
        data="cifar10",
        device="auto",
        resolution=32,
        width=1.0,
        warm_up_epochs=30,
        path_epochs=150,
        ranking_images=10_000,
        calibration_batches=20,
        search_seeds=5,
        search=SearchChoices(search_images=10_000, search_epochs=2),
        workers=4,
    )


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        benchmark = benchmark_path(options.benchmark)
        fabric = make_fabric(options)
        try:
            table = read_benchmark(benchmark)
            with one_thread(options.device), script.bars() as progress:
                made = trained(options, options.seed, fabric, script.folder / "checkpoints", progress, options.resume)
                memory = script.folder / "checkpoints" / f"ranked_seed{options.seed}.json"
                batches, size = options.calibration_batches, options.batch_size
                judge = Judge(made, options.ranking_images, batches, size, fabric, memory)
                codes = drawn_codes(table.codes, options.networks, options.seed)
                seen = {code: judge(made.space.architecture(code)) for code in progress.track(codes, "ranking")}
                judge.keep()
                ranked = {code: of_network.loss for code, of_network in seen.items()}
                seeds = range(options.seed, options.seed + options.search_seeds)
                found = searched(made, table, options.budgets, ranked, options.search, seeds, fabric, progress)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        script.show(_ranking_table(table, seen, made.seconds, options), _search_table(found, options))
        _plot(table, seen, found, options, script.picture)


def _ranking_table(table: MacroTable, seen: dict[str, Seen], seconds: float, options: Options) -> Rows:
    places = np.array([table.place[code] for code in seen])
    truth, macs, params = table.accuracies[places], table.macs[places], table.params[places]
    guesses: dict[str, FloatArray] = {
        LOSS: np.array([-of_network.loss for of_network in seen.values()]),
        ACCURACY: np.array([of_network.accuracy for of_network in seen.values()]),
        OWN_LOSS: np.array([-of_network.own_loss for of_network in seen.values()]),
        OWN_ACCURACY: np.array([of_network.own_accuracy for of_network in seen.values()]),
        "multiply-adds": macs,
        "parameters": params,
    }
    rows: list[Row] = []
    for name, guess in guesses.items():
        agrees = ranking(guess, truth, macs)
        row: Row = {"guess": name, "tau": agrees.tau, "half": agrees.half, "spearman": agrees.spearman, "within": agrees.within}
        if name in (ACCURACY, OWN_ACCURACY):
            row |= {"mean": float(guess.mean()), "best": float(guess.max())}
        rows.append(row)
    columns = (
        Column(
            "guess",
            "ranked by",
            "inherited weights on images kept from training, or only what networks cost; recalibrated: see notes",
        ),
        Column("tau", "tau", "Kendall's, with the true accuracy", ".3f"),
        Column("half", "±", "half of its 95 % interval, by resampling the networks", ".3f"),
        Column("spearman", "Spearman", "rank correlation with the true accuracy", ".3f"),
        Column(
            "within", "tau within", "mean of tau in fifths of the networks by multiply-adds: what a budget leaves to decide", ".3f"
        ),
        Column("mean", "mean %", "accuracy with inherited weights", ".1f"),
        Column("best", "best %", "the best of them", ".1f"),
    )
    shape = f"{options.resolution} x {options.resolution} pixels, {options.width:g} of the channels"
    title = f"NAS-Bench-Macro: {len(seen)} networks by our super-network ({shape}) and by the truth"
    epochs = f"{options.warm_up_epochs} epochs of the heaviest network, {options.path_epochs} of paths"
    return Rows(title, columns, rows, remark=f"{epochs}: {seconds / 60:.0f} minutes. Truth: whole networks, 32 x 32 pixels.")


def _search_table(found: Sequence[Found], options: Options) -> Rows:
    rows: list[Row] = []
    for method in [method for method in METHODS if any(answer.method == method for answer in found)]:
        own = [answer for answer in found if answer.method == method]
        fitting = [answer for answer in own if answer.fits]
        row: Row = {
            "method": method,
            "regret": mean(answer.regret for answer in fitting) if fitting else float("nan"),
            "violations": 100 * mean(not answer.fits for answer in own),
            "use": mean(answer.use for answer in own),
            "seconds": mean(answer.seconds for answer in own),
        }
        for budget in range(len(options.budgets)):
            inside = [answer.regret for answer in fitting if answer.budget == budget]
            row[f"b{budget}"] = mean(inside) if inside else float("nan")
        rows.append(row)
    columns = (
        Column("method", "method", "see the script's notes; random: the mean of 200 networks a budget"),
        REGRET,
        *budget_columns(options.budgets),
        USE,
        Column("violations", "over %", "share of answers beyond the budget; these are left out of the regret", ".0f"),
        Column("seconds", "s", "of a search, without training and ranking", ".1f"),
    )
    return Rows("Searches of the super-network under budgets on multiply-adds, by the truth", columns, rows)


def _plot(table: MacroTable, seen: dict[str, Seen], found: Sequence[Found], options: Options, path: Path) -> None:
    """Left: the super-network's accuracy and the truth; right: true accuracy of what was found, over the budget."""
    figure = new_figure(12, 4.8)
    left, right = figure.subplots(1, 2)
    places = np.array([table.place[code] for code in seen])
    losses = np.array([of_network.loss for of_network in seen.values()])
    dots = left.scatter(losses, table.accuracies[places], c=table.macs[places] / 1e6, s=16, cmap="viridis")
    figure.colorbar(dots, ax=left, label="million multiply-adds")
    agrees = ranking(-losses, table.accuracies[places], table.macs[places])
    left.set(xlabel="loss with the super-network's weights", ylabel="true accuracy, %")
    left.invert_xaxis()
    left.set_title(f"{len(seen)} networks: tau {agrees.tau:.2f}, Spearman {agrees.spearman:.2f}", fontsize=10)
    limits = [float(table.limits("macs", share)[0]) for share in options.budgets]
    x = [limit / 1e6 for limit in limits]
    right.plot(x, [table.best("macs", np.array([limit])) for limit in limits], "k--", marker="*", label="best there is")
    for method, style in ((RANKED, "o-"), (JUDGED, "s-"), (LINEAR_TRAINED, "^-"), (PRINTED, "<-"), (DEAREST, "d-"), (RANDOM, "v-")):
        answers = [[a.accuracy for a in found if a.method == method and a.budget == b] for b in range(len(x))]
        if all(answers):
            right.plot(x, [mean(of_budget) for of_budget in answers], style, label=method, markersize=5)
    right.set(xlabel="budget, million multiply-adds", ylabel="true accuracy of the answer, %")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save_figure(figure, path)


if __name__ == "__main__":
    main()

"""NAS-Bench-Macro and HardCoRe-NAS, Eq. 28: what the balanced start is worth against the cheapest one, by the truth.

The paper averages ``100 (Acc_balanced - Acc_cheapest) / Acc_cheapest`` over budgets: both searches are the same but for where they
begin. Here every accuracy is the benchmark's own, budgets are on multiply-adds, and this library's start, the joint maximum-entropy
point, stands beside the two. Searches are HardCoRe-NAS as printed, and with the small steps that ``search`` takes. Gradients are
exact, by differences: at a vertex, as the cheapest start is, nothing else is sampled that one could learn from.

Reference: Nayman et al., HardCoRe-NAS, Eq. 27-28 and Appendix E.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from constrained_nas.methods import HardCoRe, Start, small_steps
from constrained_nas.search import TabularTruth, search_table
from graphs import MacroSpace
from papers_repro.harness import (
    Column,
    Reports,
    Row,
    Rows,
    Scale,
    ScriptOptions,
    at_a_time,
    half_width,
    mean,
    new_figure,
    run_seeds,
    save_figure,
    started,
)
from papers_repro.macro import MacroTable, benchmark_path, read_benchmark

SCRIPT = "macro_start"
STARTS: tuple[Start, ...] = ("balanced", "cheapest", "entropy")
VARIANTS = ("as printed", "small steps")


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """The worth of the balanced start on NAS-Bench-Macro.

    Writes macro_start.json and macro_start.png. Needs the benchmark's file: --benchmark nas-bench-macro_cifar10.json
    (github.com/xiusu/NAS-Bench-Macro).
    """

    benchmark: Path | None = None
    """The benchmark's file."""
    budgets: int = 10
    """Budgets from 15 to 85 % of the way from the cheapest network's multiply-adds to the costliest's."""
    seeds: int = 10
    """Searches from every start under every budget."""
    evaluations: int = 300
    """Networks that a search may look up."""
    processes: int = 0
    """Seeds at a time; 0: as many as there are cores."""

    @property
    def shares(self) -> list[float]:
        """The budgets."""
        return np.linspace(0.15, 0.85, self.budgets).tolist()


@dataclass(frozen=True, slots=True)
class Answer:
    """True accuracy in % of what one search found."""

    variant: str
    start: Start
    budget: int
    seed: int
    accuracy: float


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(scale, budgets=2, seeds=2, evaluations=40, processes=1)
    return Options(scale) if scale == "laptop" else Options(scale, budgets=20, seeds=50)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        benchmark = benchmark_path(options.benchmark)
        try:
            table = read_benchmark(benchmark)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        seeds = list(range(options.seed, options.seed + options.seeds))
        with script.bars() as progress:
            work, processes = partial(_of_seed, table, options), at_a_time(options.processes, len(seeds))
            answers = [answer for of_seed in run_seeds(work, seeds, processes, progress) for answer in of_seed]
        script.show(_table(answers, options))
        _plot(table, answers, options, script.picture)


def _of_seed(table: MacroTable, options: Options, seed: int, progress: Reports) -> list[Answer]:
    space, answers, told = MacroSpace(), list[Answer](), progress.callback(f"seed {seed}")
    small = small_steps(space.space, space.staged)
    methods = {"as printed": HardCoRe(space.space, space.staged), "small steps": small}
    for budget, share in enumerate(options.shares):
        problem = table.problem(space, "macs", table.limits("macs", share))
        for variant, method in methods.items():
            for start in STARTS:
                truth = TabularTruth(space.space, lambda network: 1 - table.accuracy(space, network) / 100, options.evaluations)
                run = search_table(problem, replace(method, start=start), truth, gradients="differences", seed=seed)
                answers.append(Answer(variant, start, budget, seed, table.accuracy(space, run.result.architecture)))
        told(budget + 1, options.budgets, "budgets")
    return answers


def _accuracies(answers: Sequence[Answer], variant: str, start: Start, budget: int | None = None) -> dict[int, list[float]]:
    """By seed, in the order of the budgets."""
    found: dict[int, list[float]] = {}
    for answer in answers:
        if (answer.variant, answer.start) == (variant, start) and budget in (None, answer.budget):
            found.setdefault(answer.seed, []).append(answer.accuracy)
    return found


def _table(answers: Sequence[Answer], options: Options) -> Rows:
    rows: list[Row] = []
    for variant in VARIANTS:
        cheapest = _accuracies(answers, variant, "cheapest")
        for start in STARTS:
            own = _accuracies(answers, variant, start)
            worth = [mean(100 * (a - b) / b for a, b in zip(values, cheapest[seed], strict=True)) for seed, values in own.items()]
            accuracy = mean(mean(values) for values in own.values())
            row: Row = {"variant": variant, "start": start, "accuracy": accuracy, "worth": mean(worth)}
            rows.append(row | {"half": half_width(worth)})
    columns = (
        Column("variant", "HardCoRe-NAS", "as printed: steps 4 / (t + 4), credits; small steps: as search takes them"),
        Column("start", "start", "balanced: Eq. 27; cheapest: the cheapest network; entropy: the joint maximum-entropy point"),
        Column("accuracy", "accuracy %", "true accuracy of the answer, over budgets and seeds", ".2f"),
        Column("worth", "Eq. 28 %", "relative accuracy gained over the cheapest start, mean over the budgets", "+.2f"),
        Column("half", "±", f"half of its 95 % interval over {options.seeds} seeds", ".2f"),
    )
    title = f"What a start is worth on NAS-Bench-Macro: {options.budgets} budgets, {options.evaluations} networks looked up"
    published: list[Row] = [{"variant": "as printed", "start": "balanced", "worth": 8.3}]
    return Rows(title, columns, rows, published, "HardCoRe-NAS, Appendix E: ImageNet, T = 35 to 55 ms")


def _plot(table: MacroTable, answers: Sequence[Answer], options: Options, path: Path) -> None:
    figure = new_figure(11, 4.5)
    for axes, variant in zip(figure.subplots(1, 2, sharey=True), VARIANTS, strict=True):
        limits = [table.limits("macs", share) for share in options.shares]
        x = [float(limit[0]) / 1e6 for limit in limits]
        axes.plot(x, [table.best("macs", limit) for limit in limits], "k--", label="best there is")
        for start, width in zip(STARTS, (5.0, 2.5, 1.2), strict=True):  # curves that coincide are all seen
            y = [mean(mean(values) for values in _accuracies(answers, variant, start, b).values()) for b in range(options.budgets)]
            axes.plot(x, y, marker="o", markersize=3 + width, linewidth=width, label=f"{start} start")
        axes.set(xlabel="budget, million multiply-adds", ylabel="true accuracy of the answer, %", title=variant)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()

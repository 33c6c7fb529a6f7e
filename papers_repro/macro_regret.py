"""NAS-Bench-Macro: how far the answers of searches under hard budgets are from the best network that fits, by the truth.

All 6,561 networks of the space were trained by its authors, so the best within any budgets is known by enumeration. Every method
runs behind the same ask/tell protocol and may look up the same number of networks; a network that it asks for twice is remembered.
Budgets lie between 15 and 85 % of the way from the cheapest network to the costliest (below, some fifty networks fit and a hundred
evaluations try them all), on multiply-adds, on parameters, and on both at once. Constants were chosen on the budgets and seeds of
even number (``--tune``); what is reported are the odd ones.

Reference: Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

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
    verdict,
)
from papers_repro.macro import OURS, CostName, MacroTable, Outcome, available, benchmark_path, read_benchmark, run_once

SCRIPT = "macro_regret"
LEAST, MOST = 0.15, 0.85  # of the way from the cheapest network to the costliest
QUARTERS = 4
OPTIMAL = 1e-9


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """Regret of searches on NAS-Bench-Macro under budgets, at equal numbers of evaluated networks.

    Prints mean regret with its interval, by quarter of the budgets, violations and seconds; writes macro_regret.json and
    macro_regret.png. Needs the benchmark's file: --benchmark nas-bench-macro_cifar10.json (github.com/xiusu/NAS-Bench-Macro).
    """

    benchmark: Path | None = None
    """The benchmark's file."""
    costs: tuple[CostName, ...] = ("macs", "params", "both")
    """What is budgeted; both: multiply-adds and parameters at once."""
    evaluations: tuple[int, ...] = (100,)
    """Networks that a search may look up."""
    budgets: int = 20
    """Budgets of each cost, of which every other one is used."""
    seeds: int = 20
    """Seeds, of which every other one is used."""
    tune: bool = False
    """The budgets and seeds of even number, to choose constants on; otherwise the odd ones."""
    methods: tuple[str, ...] = ()
    """By name; all of them if none is given. Optuna's TPE is left out where optuna is not installed."""
    processes: int = 0
    """Seeds at a time; 0: as many as there are cores."""

    @property
    def shares(self) -> list[tuple[int, float]]:
        """The budgets used: number and share of the range."""
        step = (MOST - LEAST) / max(1, self.budgets - 1)
        return [(number, LEAST + step * number) for number in range(0 if self.tune else 1, self.budgets, 2)]


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(scale, costs=("macs", "both"), evaluations=(25,), budgets=4, seeds=4, processes=1)
    return Options(scale) if scale == "laptop" else Options(scale, evaluations=(100, 300, 1000))


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        benchmark = benchmark_path(options.benchmark)
        try:
            table, methods = read_benchmark(benchmark), available(options.methods)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from error
        seeds = list(range(options.seed + (0 if options.tune else 1), options.seed + options.seeds, 2))
        with script.bars() as progress:
            work = partial(_of_seed, table, methods, options)
            found = run_seeds(work, seeds, at_a_time(options.processes, len(seeds)), progress)
        outcomes = [outcome for of_seed in found for outcome in of_seed]
        for evaluations in options.evaluations:
            script.show(_table([outcome for outcome in outcomes if outcome.evaluations == evaluations], methods, seeds, options))
        _plot(outcomes, methods, options, script.picture)


def _of_seed(table: MacroTable, methods: Sequence[str], options: Options, seed: int, progress: Reports) -> list[Outcome]:
    cells = [(e, m, c, *b) for e in options.evaluations for m in methods for c in options.costs for b in options.shares]
    outcomes, told = [], progress.callback(f"seed {seed}")
    for done, (evaluations, method, cost, budget, share) in enumerate(cells):
        outcomes.append(run_once(table, method, cost, budget, share, seed, evaluations))
        told(done + 1, len(cells), "searches")
    return outcomes


def _table(outcomes: Sequence[Outcome], methods: Sequence[str], seeds: Sequence[int], options: Options) -> Rows:
    by_seed = {
        method: [mean(o.regret for o in outcomes if o.method == method and o.seed == seed and o.fits) for seed in seeds]
        for method in methods
    }
    rows: list[Row] = []
    for method in methods:
        own = [outcome for outcome in outcomes if outcome.method == method]
        row: Row = {
            "method": method,
            "regret": mean(by_seed[method]),
            "half": half_width(by_seed[method]),
            "seen": mean(outcome.seen[-1] for outcome in own),
            "optimal": 100 * mean(outcome.fits and outcome.regret <= OPTIMAL for outcome in own),
            "violations": 100 * mean(not outcome.fits for outcome in own),
            "seconds": mean(outcome.seconds for outcome in own),
        }
        for quarter in range(QUARTERS):
            inside = [o.regret for o in own if o.fits and QUARTERS * o.budget // options.budgets == quarter]
            row[f"q{quarter + 1}"] = mean(inside) if inside else float("nan")
        if OURS in methods and method != OURS:
            gains = [other - ours for other, ours in zip(by_seed[method], by_seed[OURS], strict=True)]
            row["against"] = verdict(gains, "ours")
        rows.append(row)
    columns = (
        Column("method", "method", "see the script's notes; TPE only where optuna is installed"),
        Column("regret", "regret %", "accuracy of the best network within the budgets less the answer's, mean", ".3f"),
        Column("half", "±", f"half of its 95 % interval over {len(seeds)} seeds", ".3f"),
        *(
            Column(f"q{q + 1}", f"q{q + 1}", f"regret in quarter {q + 1} of the budgets, the tightest first", ".3f")
            for q in range(4)
        ),
        Column("seen", "seen %", "regret of the best network it looked up that fits, whatever it answered", ".3f"),
        Column("optimal", "best %", "share of runs that end at the best network within the budgets", ".0f"),
        Column("violations", "over %", "share of answers beyond a budget; these are left out of the regret", ".1f"),
        Column("seconds", "CPU s", "processor time of a run", ".2f"),
        Column("against", "against ours", "difference to ours, paired by seed, at 95 %"),
    )
    which, evaluations = "even" if options.tune else "odd", outcomes[0].evaluations
    title = f"NAS-Bench-Macro, {evaluations} networks looked up: {which} budgets of {', '.join(options.costs)}, {which} seeds"
    return Rows(title, columns, rows, remark=f"{len(options.shares)} budgets of each cost, {len(seeds)} seeds.")


def _plot(outcomes: Sequence[Outcome], methods: Sequence[str], options: Options, path: Path) -> None:
    """Left: the best network seen, over evaluations; right: the answers' regret, over budgets."""
    figure = new_figure(13, 5)
    left, right = figure.subplots(1, 2)
    longest, shares = max(options.evaluations), dict(options.shares)
    shortest = min(options.evaluations)
    for number, method in enumerate(methods):
        style = (
            {"color": "black", "linewidth": 2.8, "zorder": 5} if method == OURS else {"color": f"C{number % 10}", "linewidth": 1.2}
        )
        style |= {"linestyle": "-" if number < 7 else "--"}
        curves = [outcome.seen for outcome in outcomes if outcome.method == method and outcome.evaluations == longest]
        left.plot(np.arange(1, longest + 1), np.mean(curves, axis=0), label=method, **style)
        own = [outcome for outcome in outcomes if outcome.method == method and outcome.evaluations == shortest and outcome.fits]
        heights = [mean(o.regret for o in own if o.budget == b) if any(o.budget == b for o in own) else np.nan for b in shares]
        right.plot([100 * share for share in shares.values()], heights, marker="o", markersize=3, **style)
    for axes in (left, right):
        axes.set_yscale("symlog", linthresh=0.01, linscale=0.5)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    left.set(xscale="log", xlabel="networks looked up", ylabel="regret of the best seen that fits, % accuracy")
    right.set(xlabel="budget, % of the way from the cheapest network to the costliest", ylabel="regret of the answer, % accuracy")
    right.set_title(f"after {shortest} networks", fontsize=10)
    left.set_title("on the way", fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()

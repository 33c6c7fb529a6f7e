"""Table 1 of HardCoRe-NAS at your scale: networks found under several hard latency budgets, beside others under the same ones.

A latency table is measured on this machine, a super-network is trained, and each method searches under each budget. Every network
of ours has an estimated latency within its budget, by an exact projection with a certificate; what it takes on the device is
measured and printed beside it. Accuracies are compared over seeds with 95 % intervals (Student's t over seeds), and rows that
cannot be told apart say so.

Laptop scale: scikit-learn's digits drawn at 32x32 at random size, place and slant among clutter and noise, 640 of them for weights
and 160 for the search (see constrained_nas.data.images), in a space of 1.2e13 networks. The published rows are ImageNet on the
authors' devices and stand apart.

Reference: Nayman et al., HardCoRe-NAS, Table 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import Measurement, measure_networks
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import save_architecture
from graphs import Architecture, MBConvSpace
from papers_repro.experiment import make_fabric
from papers_repro.hardcore import (
    METHODS,
    OURS,
    BlockLatencies,
    ContestOptions,
    Outcome,
    SetupOptions,
    Tested,
    Tests,
    TrainedSupernet,
    draw_contest,
    load_data,
    make_space,
    measure_latencies,
    prepare,
    run_contest,
    setup_preset,
    table1_rows,
    training_options,
)
from papers_repro.harness import (
    Column,
    ProgressBars,
    Reports,
    Row,
    Rows,
    Scale,
    Script,
    ScriptOptions,
    available_cores,
    compared,
    half_width,
    mean,
    row_of,
    run_seeds,
    started,
    verdict,
)

SCRIPT = "hardcore_table1"
PAPER_BUDGETS_MS = {"cpu": (40.0, 45.0, 50.0, 55.0, 60.0), "cuda": (25.0, 30.0, 40.0)}  # Table 1, at batches of 1 and 64


@dataclass(frozen=True)
class Options(ScriptOptions):
    """Networks found under several hard latency budgets, estimated, measured and tested."""

    seeds: int = 3
    """How many seeds: each trains its own super-network."""
    shares: tuple[float, ...] = (0.15, 0.35, 0.55, 0.8)
    """Budgets, as shares of the way from the cheapest network's latency to the costliest's."""
    budgets_ms: tuple[float, ...] = ()
    """Budgets in ms instead."""
    processes: int = 0
    """Seeds at a time, a process each (CPU only); 0: one a core."""
    measuring_rounds: int = 40
    """Timed passes of every found network."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data, space, training and measuring."""
    contest: Annotated[ContestOptions, tyro.conf.arg(name="")] = field(default_factory=ContestOptions)
    """Searches and fine-tuning."""


def preset(scale: Scale) -> Options:
    setup = setup_preset(scale)
    if scale == "smoke":
        contest = ContestOptions(search_epochs=1, search_batch=16, fine_tune_epochs=1)
        return Options(scale, seeds=2, shares=(0.3, 0.7), measuring_rounds=5, setup=setup, contest=contest)
    if scale == "laptop":
        return Options(scale, setup=setup)
    contest = ContestOptions(search_epochs=2, search_batch=256, fine_tune_epochs=10, fine_tune_rate=0.05)  # Sec. 3.2; Appendix G
    return Options(scale, seeds=1, budgets_ms=PAPER_BUDGETS_MS["cpu"], setup=setup, contest=contest)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        with script.bars() as progress:
            tested, latencies, training = run(options, script.folder, progress)
        _say_fit(latencies, script)
        script.show(
            _latency_rows(options, tested, latencies.timer.clock),
            _accuracy_rows(options, tested, training),
            _difference_rows(options, tested),
            table1_rows(),
        )
        threads = "one thread" if latencies.timer.threads == 1 else f"{latencies.timer.threads} threads"
        conditions = f"batch {latencies.timer.batch}, {threads}, {latencies.timer.clock} clock"
        draw_contest(tested, script.picture, f"{options.setup.data}, {options.seeds} seeds", conditions)


def run(options: Options, folder: Path, progress: ProgressBars) -> tuple[list[Tested], BlockLatencies, list[float]]:
    """Measure the table, run every seed, then measure every distinct network on the device, interleaved."""
    data = load_data(options.setup, options.seed)
    space = make_space(options.setup, data.classes, data.image_channels)
    latencies = measure_latencies(space, options.setup, options.seed, progress, folder)
    seeds = range(options.seed, options.seed + options.seeds)
    processes = min(options.processes or available_cores(), options.seeds) if options.setup.device == "cpu" else 1
    answers = run_seeds(partial(_run_seed, options, folder, latencies), seeds, processes, progress)
    found = [entry for entries, _ in answers for entry in entries]
    measured = _measure([outcome.architecture for outcome, _, _ in found], space, latencies, options, progress)
    tested = [Tested(o, 100 * accuracy, seconds, m) for (o, accuracy, seconds), m in zip(found, measured, strict=True)]
    return tested, latencies, [seconds for _, seconds in answers]


def _run_seed(
    options: Options, folder: Path, latencies: BlockLatencies, seed: int, progress: Reports
) -> tuple[list[tuple[Outcome, float, float]], float]:
    """Train, search, fine-tune, test: outcomes with accuracy and seconds of fine-tuning, and the seconds of the super-network."""
    fabric, resume, checkpoints = make_fabric(options.setup), options.setup.resume, folder / "checkpoints"
    prepared = prepare(options.setup, seed, fabric, progress, folder, latencies)
    limits = list(options.budgets_ms) or latencies.budgets(options.shares)
    outcomes = run_contest(prepared, limits, options.contest, seed, fabric, progress, checkpoints, resume)
    epochs, rate = options.contest.fine_tune_epochs, options.contest.fine_tune_rate
    training = training_options(options.setup, epochs, rate, seed)
    tests = Tests(prepared, training, fabric, checkpoints / f"accuracies_seed{seed}.json", resume)
    found = []
    for done, outcome in enumerate(outcomes):
        progress.update(f"seed {seed}: fine-tuning and testing", done, len(outcomes))
        found.append((outcome, *tests.accuracy(outcome.architecture)))
        _save(outcome, prepared, folder)
    progress.update(f"seed {seed}: fine-tuning and testing", len(outcomes), len(outcomes))
    return found, prepared.training_seconds


def _measure(
    architectures: Sequence[Architecture], space: MBConvSpace, latencies: BlockLatencies, options: Options, progress: ProgressBars
) -> list[Measurement]:
    supernet = space.supernet()  # latencies do not depend on weights
    keys = [str(space.space.describe(architecture)) for architecture in architectures]
    distinct = dict(zip(keys, architectures, strict=True))
    networks = [supernet.extract(architecture) for architecture in distinct.values()]
    images, generator = latencies.timer.images(space), np.random.default_rng(options.seed)
    report = progress.callback("found networks")
    times = measure_networks(networks, images, latencies.timer, options.measuring_rounds, generator, report)
    by_key = dict(zip(distinct, times, strict=True))
    return [by_key[key] for key in keys]


def _save(outcome: Outcome, prepared: TrainedSupernet, folder: Path) -> None:
    problem = SearchProblem(prepared.space.space, (Budget(prepared.cost, outcome.limit_ms, "ms"),))
    point = prepared.space.space.point(outcome.architecture)
    costs = problem.costs(outcome.architecture)
    result = SearchResult(outcome.architecture, costs, outcome.fits, point, outcome.certificate)
    name = re.sub(r"[^a-z0-9-]+", "_", outcome.method.lower())
    save_architecture(
        problem, result, outcome.method, folder / "architectures" / f"{name}_budget{outcome.budget}_seed{outcome.seed}.json"
    )


def _latency_rows(options: Options, tested: Sequence[Tested], clock: str) -> Rows:
    columns = [
        Column("method", "method", "how the network was chosen, all on the same super-networks"),
        Column("budget", "T ms", "the latency budget"),
        Column("estimated", "est. ms", "latency by the table, mean over seeds", ".3f"),
        Column("worst", "est./T", "the greatest share of the budget that a seed's network takes; above 1 it is violated", ".4f"),
        Column("fits", "fits", "seeds whose network's estimated latency is within T"),
        Column("measured", "meas. ms", f"measured on this device ({clock} clock): median over rounds, mean over seeds", ".3f"),
        Column("spread", "spread", "interquartile range over the rounds, in ms, mean over seeds", ".3f"),
        Column("gap", "gap", "greatest optimality gap of the projection's certificate; - where nothing was projected", ".1e"),
    ]
    rows: list[Row] = []
    for method, group in _groups(tested):
        gaps = [t.outcome.gap for t in group if t.outcome.gap is not None]
        rows.append(
            {
                "method": method,
                "budget": f"{group[0].outcome.limit_ms:.3f}",
                "estimated": mean([t.outcome.estimated_ms for t in group]),
                "worst": max(t.outcome.estimated_ms / t.outcome.limit_ms for t in group),
                "fits": f"{sum(t.outcome.fits for t in group)}/{len(group)}",
                "measured": mean([t.measured.median for t in group]),
                "spread": mean([t.measured.spread for t in group]),
                "gap": max(gaps) if gaps else None,
            }
        )
    remark = f"Batch {options.setup.latency_batch}, {options.setup.latency_threads} thread(s), {options.setup.latency_device}."
    return Rows("Latency of the networks found under hard budgets", columns, rows, remark=remark)


def _accuracy_rows(options: Options, tested: Sequence[Tested], training: Sequence[float]) -> Rows:
    columns = [
        Column("method", "method", "as above"),
        Column("budget", "T ms", "the latency budget"),
        Column("accuracy", "acc. %", "test accuracy after fine-tuning, mean over seeds", ".2f"),
        Column("interval", "95 %", "half the 95 % interval of that mean over seeds", ".2f"),
        Column("versus", "ours minus it", "mean over seeds, half its 95 % interval, and whether it can be told from 0"),
        Column("search", "search s", "seconds of the search, mean over seeds", ".1f"),
        Column(
            "training", "train s", "seconds of training, means: super-network (shared by the rows of a seed) + fine-tuning", ".0f"
        ),
    ]
    rows: list[Row] = []
    for method, group in _groups(tested):
        ours = [t.accuracy for t in _of(tested, OURS, group[0].outcome.budget)]
        accuracies = [t.accuracy for t in group]
        rows.append(
            {
                "method": method,
                "budget": f"{group[0].outcome.limit_ms:.3f}",
                "accuracy": mean(accuracies),
                "interval": half_width(accuracies),
                "versus": None if method == OURS else compared(ours, accuracies, "ours"),
                "search": mean([t.outcome.search_seconds for t in group]),
                "training": float(np.mean(training) + np.mean([t.fine_tune_seconds for t in group])),
            }
        )
    remark = f"{options.setup.data}, {options.seeds} seed(s), scale {options.scale}."
    return Rows("Accuracy of the same networks", columns, rows, remark=remark)


def _difference_rows(options: Options, tested: Sequence[Tested]) -> Rows:
    """All budgets together: the mean difference of a seed over its budgets, then an interval over seeds."""
    columns = [
        Column("method", "method", "compared with ours"),
        Column(
            "difference", "ours minus it, %", "accuracy difference, averaged over the budgets of a seed, then over seeds", "+.2f"
        ),
        Column("interval", "95 %", "half the 95 % interval over seeds", ".2f"),
        Column("verdict", "verdict", "whether the interval leaves out 0"),
        Column("violations", "violations", "networks over their budget, of all budgets and seeds"),
    ]
    rows: list[Row] = []
    seeds = sorted({t.outcome.seed for t in tested})
    for method in METHODS[1:]:
        differences = []
        for seed in seeds:
            pairs = zip(_seed(tested, OURS, seed), _seed(tested, method, seed), strict=True)
            differences.append(mean([a.accuracy - b.accuracy for a, b in pairs]))
        all_of = [t for t in tested if t.outcome.method == method]
        found = mean(differences), half_width(differences), verdict(differences, "ours")
        rows.append(row_of(columns, method, *found, f"{sum(not t.outcome.fits for t in all_of)}/{len(all_of)}"))
    ours = [t for t in tested if t.outcome.method == OURS]
    remark = f"Ours: {sum(not t.outcome.fits for t in ours)}/{len(ours)} networks over their budget."
    return Rows("All budgets together", columns, rows, remark=remark)


def _groups(tested: Sequence[Tested]) -> list[tuple[str, list[Tested]]]:
    """The networks of every seed, by budget and method, in the order of the table."""
    budgets = sorted({t.outcome.budget for t in tested})
    return [(method, _of(tested, method, budget)) for budget in budgets for method in METHODS]


def _of(tested: Sequence[Tested], method: str, budget: int) -> list[Tested]:
    return [t for t in tested if t.outcome.method == method and t.outcome.budget == budget]


def _seed(tested: Sequence[Tested], method: str, seed: int) -> list[Tested]:
    return [t for t in tested if t.outcome.method == method and t.outcome.seed == seed]


def _say_fit(latencies: BlockLatencies, script: Script[Options]) -> None:
    if latencies.fit is not None:
        fit = latencies.fit
        script.say(
            f"latency table: measured = {fit.intercept:.3f} ms + {fit.slope:.3f} x estimated, R^2 {fit.r_squared:.3f}, worst error "
            f"{fit.worst:.1%} on networks that took no part in its calibration; networks range from {latencies.cheapest_ms:.2f} to "
            f"{latencies.slowest_ms:.2f} ms"
        )


if __name__ == "__main__":
    main()

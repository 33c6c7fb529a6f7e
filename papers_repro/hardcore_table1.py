"""Table 1 of HardCoRe-NAS at your scale: networks found under several hard latency budgets, beside others under the same ones.

A latency table is measured on this machine, a super-network is trained, and each method searches under each budget. Every network
of ours fits its budget as measured: the found networks are timed in rounds beside a reference network, and re-solved until an upper
confidence bound of the median is within the budget. Accuracies are compared over seeds with 95 % intervals (Student's t over
seeds), and rows that cannot be told apart say so.

Laptop scale: scikit-learn's digits drawn at 16x16 at random size, place and slant in noise (without the clutter that
constrained_nas.data.digits can add), in a space of 1.2e13 networks. Super-networks that small learn by one path a batch, the
heaviest in a quarter of them; with a path for every example, as in the paper, they hardly learn in as few steps. The published
rows (``--published``) are ImageNet on the authors' devices. ``--record FILE`` only draws the picture of a record.

Reference: Nayman et al., HardCoRe-NAS, Table 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from constrained_nas.records import save_architecture
from graphs import Architecture, MBConvSpace
from graphs.files import read_json, save_json
from papers_repro.experiment import make_fabric
from papers_repro.hardcore import (
    BlockLatencies,
    Contest,
    ContestOptions,
    Found,
    Outcome,
    Ranking,
    ReferenceRounds,
    SetupOptions,
    Tested,
    Tests,
    draw_contest,
    hold_all,
    learned_digits,
    load_data,
    make_space,
    measure_latencies,
    prepare,
    reference_rounds,
    run_contest,
    setup_preset,
    table1_rows,
    tested_rows,
    training_options,
)
from papers_repro.harness import ProgressBars, Reports, Scale, ScriptOptions, at_a_time, run_seeds, started

SCRIPT = "hardcore_table1"
PAPER_BUDGETS_MS = {"cpu": (40.0, 45.0, 50.0, 55.0, 60.0), "cuda": (25.0, 30.0, 40.0)}  # Table 1, at batches of 1 and 64
_SEARCHES = 5  # that take time, a budget
_TRAINED = -1  # in place of a budget
_RANKED_TOGETHER = 5


@dataclass(frozen=True)
class Options(ScriptOptions):
    """Networks found under several hard latency budgets, estimated, measured and tested."""

    seeds: int = 4
    """How many seeds: each trains its own super-network."""
    shares: tuple[float, ...] = (0.2, 0.4, 0.65)
    """Budgets, as shares of the way from the cheapest network's latency to the costliest's."""
    budgets_ms: tuple[float, ...] = ()
    """Budgets in ms instead."""
    processes: int = 0
    """Seeds at a time, a process each (CPU only); 0: one a core."""
    measuring_rounds: int = 25
    """Timed passes of every found network, each time it is measured."""
    attempts: int = 4
    """Networks that a method may have measured for one budget, each re-solved under a tighter or looser limit than the last."""
    confidence: float = 0.95
    """That a network's median latency is within the budget, each for itself."""
    use: float = 0.9
    """Share of the budget below which the limit is loosened."""
    ranked_networks: int = 30
    """Random networks on which the super-network's ranking is held against that after fine-tuning (first seed); 0: none."""
    published: bool = False
    """Print the published rows too."""
    record: Path | None = None
    """Only draw the picture of this record."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data, space, training and measuring."""
    contest: Annotated[ContestOptions, tyro.conf.arg(name="")] = field(default_factory=ContestOptions)
    """Searches and fine-tuning."""


def preset(scale: Scale) -> Options:
    setup = setup_preset(scale)
    if scale == "smoke":
        contest = ContestOptions(evaluations=12, evaluated_images=64, search_epochs=1, search_batch=16)
        return Options(
            scale, seeds=2, shares=(0.4, 0.7), measuring_rounds=7, attempts=3, ranked_networks=3, setup=setup, contest=contest
        )
    if scale == "laptop":
        quick = replace(learned_digits(), path_per="batch", rounds=25, calibration_networks=16, calibration_rounds=12)
        return Options(scale, seeds=3, shares=(0.25, 0.5), measuring_rounds=15, attempts=6, use=0.95, setup=quick)
    contest = ContestOptions(  # Sec. 3.2; Appendix G
        evaluations=500,
        evaluated_images=10_000,
        search_epochs=2,
        search_batch=256,
        fine_tune_epochs=10,
        fine_tune_rate=0.05,
    )
    return Options(scale, seeds=1, budgets_ms=PAPER_BUDGETS_MS["cpu"], ranked_networks=0, setup=setup, contest=contest)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        if options.record is not None:
            draw_contest(read_json(options.record, "record of a script"), script.picture)
            return
        with script.bars() as progress:
            tested, ranking, latencies = run(options, script.folder, progress)
        task = f"{options.setup.data} {options.setup.resolution}x{options.setup.resolution}, {options.seeds} seeds"
        threads = "one thread" if latencies.timer.threads == 1 else f"{latencies.timer.threads} threads"
        conditions = f"batch {latencies.timer.batch}, {threads}, {latencies.timer.clock} clock"
        main_rows, together, every = tested_rows(tested, f"{task}; {conditions}", options.confidence, options.use)
        script.show(main_rows, together)
        if options.published:
            script.show(table1_rows())
        script.tables.append(every)
        for line in (*ranking.lines(), *_fit(latencies)):
            script.say(line)
        draw_contest({"tables": [{"title": every.title, "ours": every.ours, "remark": every.remark}]}, script.picture)


def run(options: Options, folder: Path, progress: ProgressBars) -> tuple[list[Tested], Ranking, BlockLatencies]:
    """Measure the table, search with every seed, hold what was found to its budgets on the device, fine-tune and test it."""
    data = load_data(options.setup, options.seed)
    space = make_space(options.setup, data.classes, data.image_channels)
    seeds = range(options.seed, options.seed + options.seeds)
    processes = at_a_time(options.processes, options.seeds, options.setup.device)
    with progress.phase("1/4 latency table", 2, {}) as reports:
        latencies = measure_latencies(space, options.setup, options.seed, reports, folder)
        rounds = reference_rounds(space, latencies, options.measuring_rounds, np.random.default_rng(options.seed))
        rounds.level = _level(rounds, options, folder)
    limits = list(options.budgets_ms) or latencies.budgets(options.shares)
    epochs = options.setup.warm_up_epochs + options.setup.multi_path_epochs
    weights = {"heaviest network": 3.0 * options.setup.warm_up_epochs, "sampled paths": 3.0 * options.setup.multi_path_epochs}
    pieces = options.seeds * (3.0 * epochs + _SEARCHES * len(limits))
    with progress.phase("2/4 super-networks and searches", pieces, weights) as reports:
        trained = [(seed, _TRAINED) for seed in seeds]
        searches = [(seed, budget) for seed in seeds for budget in range(len(limits))]
        after = {each: (each[0], _TRAINED) for each in searches}
        search = partial(_search, options, folder, latencies, limits)
        searched = run_seeds(search, trained + searches, processes, reports, after)
    contest = Contest(space, latencies.cost, options.contest)
    with progress.phase("3/4 on the device", options.attempts, {}) as reports:
        found = hold_all(contest, [o for each in searched for o in each], rounds, options, reports)
    tests = [_Tested(seed, tuple(each.result.architecture for each in found if each.outcome.seed == seed)) for seed in seeds]
    tests += [_Tested(seed, (space.heaviest(),), "heaviest") for seed in seeds]
    tests += _ranked(options, space)
    networks = sum(len({str(space.space.describe(a)) for a in piece.architectures}) for piece in tests)
    with progress.phase("4/4 fine-tuning and tests", networks, {}) as reports:
        answers = run_seeds(partial(_test, options, folder, latencies), tests, processes, reports)
    for each in found:
        _save(contest, each, folder)
    of_seed, heaviest, ranked = answers[: len(seeds)], answers[len(seeds) : 2 * len(seeds)], answers[2 * len(seeds) :]
    accuracies = [100 * accuracy for answer in of_seed for accuracy, _ in answer]
    tested = [Tested.of(each, accuracy) for each, accuracy in zip(found, accuracies, strict=True)]
    pairs = [(inherited, accuracy) for answer in ranked for accuracy, inherited in answer]
    return tested, Ranking(tuple(100 * best for ((best, _),) in heaviest), pairs), latencies


@dataclass(frozen=True, slots=True, eq=False)
class _Tested:
    """Networks of a seed that are tested in a row; their accuracies are kept under that name."""

    seed: int
    architectures: tuple[Architecture, ...]
    name: str = "found"


def _ranked(options: Options, space: MBConvSpace) -> list[_Tested]:
    """The random networks that are ranked, of the first seed, in pieces that two processes can share."""
    generator, blocks = np.random.default_rng(options.seed), space.staged.blocks
    choices = [[int(c) for c in generator.integers(blocks.sizes)] for _ in range(options.ranked_networks)]
    drawn = [space.space.architecture(blocks.vertex(each)) for each in choices]
    cuts = range(0, len(drawn), _RANKED_TOGETHER)
    return [_Tested(options.seed, tuple(drawn[cut : cut + _RANKED_TOGETHER]), f"ranked{cut}") for cut in cuts]


def _level(rounds: ReferenceRounds, options: Options, folder: Path) -> float:
    """What the reference took beside the table, measured now unless this run goes on from an earlier one."""
    kept = folder / "reference_ms.json"
    if options.setup.resume and kept.exists():
        return float(read_json(kept, "latency of the reference")["ms"])
    level = rounds.measure_level(options.setup.rounds)
    save_json({"ms": level}, kept)
    return level


def _search(
    options: Options, folder: Path, latencies: BlockLatencies, limits: list[float], piece: tuple[int, int], progress: Reports
) -> list[Outcome]:
    """Train the super-network of (seed, ``_TRAINED``), or search with it under the budget of (seed, budget)."""
    (seed, budget), fabric = piece, make_fabric(options.setup)
    setup = options.setup if budget == _TRAINED else replace(options.setup, resume=True)
    prepared = prepare(setup, seed, fabric, progress, folder, latencies)
    if budget == _TRAINED:
        return []
    checkpoints, resume = folder / "checkpoints", options.setup.resume
    return run_contest(prepared, budget, limits[budget], options.contest, seed, fabric, progress, checkpoints, resume)


def _test(
    options: Options, folder: Path, latencies: BlockLatencies, piece: _Tested, progress: Reports
) -> list[tuple[float, float]]:
    """Accuracy on the test images, and on the search's images with the super-network's weights where that is ranked."""
    fabric = make_fabric(options.setup)
    prepared = prepare(replace(options.setup, resume=True), piece.seed, fabric, progress, folder, latencies)  # trained by now
    training = training_options(options.setup, options.contest.fine_tune_epochs, options.contest.fine_tune_rate, piece.seed)
    memory = folder / "checkpoints" / f"accuracies_seed{piece.seed}_{piece.name}.json"
    tests, found = Tests(prepared, training, fabric, memory, options.setup.resume), []
    for architecture in piece.architectures:
        accuracy = tests.accuracy(architecture)[0]
        progress.update(f"seed {piece.seed}, {piece.name}: {prepared.space.space.describe(architecture)}", 1, 1)
        found.append((accuracy, tests.inherited(architecture) if piece.name.startswith("ranked") else float("nan")))
    return found


def _save(contest: Contest, each: Found, folder: Path) -> None:
    name = re.sub(r"[^a-z0-9-]+", "_", each.outcome.method.lower())
    path = folder / "architectures" / f"{name}_budget{each.outcome.budget}_seed{each.outcome.seed}.json"
    timed = {contest.cost.name: (each.measured_ms, each.fits)}
    save_architecture(contest.problem(each.outcome.limit_ms), each.result, each.outcome.method, path, timed)


def _fit(latencies: BlockLatencies) -> Sequence[str]:
    fit = latencies.fit
    if fit is None:
        return ()
    return (
        f"latency table: measured = {fit.intercept:.3f} ms + {fit.slope:.3f} x estimated, R^2 {fit.r_squared:.3f}, worst error "
        f"{fit.worst:.1%} on networks that took no part in its calibration; networks range from {latencies.cheapest_ms:.2f} to "
        f"{latencies.slowest_ms:.2f} ms",
    )


if __name__ == "__main__":
    main()

"""What a path is drawn for while a super-network of ``search`` learns: an example, as in HardCoRe-NAS, or a batch.

A path for every example takes twice the time of a path a batch, so the latter learns for twice as many epochs; the processor's
seconds stand beside. Then the searches that ``search`` has are run on each super-network under the same budgets on multiply-adds,
what they find is fine-tuned as ``search`` does, and tested. A super-network is what is drawn: intervals are over seeds, in pairs.
``--space chain`` and ``bottlenecks`` are networks of one's own (papers_repro/experiment/own_networks.py).

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.3 (a path an example); Yu et al., BigNAS, Sec. 3 (the sandwich rule, of which one
network a step is drawn here).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

from constrained_nas.runs import (
    MethodName,
    PathPer,
    RunSettings,
    costs_of,
    make_problem,
    plan_of,
    search_problem,
    train_prepared,
    trained_network,
    untrained,
)
from constrained_nas.training import training_threads
from papers_repro.harness import (
    Column,
    Reports,
    Row,
    Rows,
    Scale,
    ScriptOptions,
    at_a_time,
    compared,
    mean,
    run_seeds,
    started,
)

SCRIPT = "hardcore_paths"
OWN = Path(__file__).parent / "experiment" / "own_networks.py"
SpaceName = Literal["hardcore-small", "chain", "bottlenecks"]
METHODS: dict[SpaceName, tuple[MethodName, ...]] = {
    "hardcore-small": ("surrogate", "hardcore", "random"),
    "chain": ("surrogate", "option-scores", "soft-penalty", "random"),
    "bottlenecks": ("surrogate", "option-scores", "soft-penalty", "random"),
}
OURS = "batch", "surrogate"  # what search does by itself


@dataclass(frozen=True)
class Options(ScriptOptions):
    """A path an example against a path a batch: accuracies of what is found on either, on digits as search has them.

    Writes hardcore_paths.json.
    """

    space: SpaceName = "hardcore-small"
    """What is searched; chain and bottlenecks are networks of one's own."""
    seeds: int = 4
    """Super-networks of each kind."""
    shares: tuple[float, ...] = (0.15, 0.35)
    """Budgets, as shares of the way from the multiply-adds of the cheapest network to those of the heaviest."""
    training_digits: int = 800
    resolution: int = 32
    evaluations: int = 120
    """Networks whose loss the surrogate is told."""
    warm_up: int = 4
    """Epochs of the heaviest network, before paths are drawn."""
    epochs: int = 20
    """Of paths, one a batch; half as many with a path an example."""
    draws: int = 1
    """Random networks a budget, of which the mean is told."""
    processes: int = 0
    """Seeds at a time, a process each; 0: one a core."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a method found on a super-network of a kind."""

    way: PathPer
    method: str
    budget: int
    accuracy: float
    use: float


@dataclass(frozen=True, slots=True)
class OfSeed:
    """Everything of one seed: what was found; by kind the seconds of training and the accuracy of the heaviest network."""

    found: list[Found]
    seconds: dict[str, float]
    heaviest: dict[str, float]


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(
            scale, seeds=2, shares=(0.3,), training_digits=40, resolution=16, evaluations=12, warm_up=1, epochs=2, processes=1
        )
    return Options(scale)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        seeds = range(options.seed, options.seed + options.seeds)
        with script.bars() as progress:
            found = run_seeds(partial(_of_seed, options), seeds, at_a_time(options.processes, options.seeds), progress)
        script.show(_table(found, options))


def _of_seed(options: Options, seed: int, progress: Reports) -> OfSeed:
    answers = OfSeed([], {}, {})
    for way in get_args(PathPer):
        settings = RunSettings(
            space=options.space if options.space == "hardcore-small" else f"{OWN}:{options.space}",
            seed=seed,
            threads=1,
            path_per=way,
            warm_up=options.warm_up,
            train_epochs=options.epochs if way == "batch" else options.epochs // 2,
            training_digits=options.training_digits,
            resolution=options.resolution,
            evaluations=options.evaluations,
        )
        with TemporaryDirectory() as folder, training_threads(1):
            _of_way(answers, settings, way, options, Path(folder), progress)
    return answers


def _of_way(answers: OfSeed, settings: RunSettings, way: PathPer, options: Options, folder: Path, progress: Reports) -> None:
    told, tested = progress.callback(f"seed {settings.seed}, a path per {way}"), dict[str, float]()
    prepared = untrained(plan_of(settings), folder)
    family = prepared.family
    costs = costs_of(family)
    began = time.process_time()
    train_prepared(prepared, told)
    answers.seconds[way] = time.process_time() - began
    macs = costs["macs"]
    heaviest = family.largest(macs)
    low, high = macs.cost(family.cheapest(macs)), macs.cost(heaviest)
    name = f"seed{settings.seed}_{way}"
    answers.heaviest[way] = trained_network(prepared, prepared.supernet, heaviest, f"{name}_heaviest", told)[1]
    for budget, share in enumerate(options.shares):
        limit = low + share * (high - low)
        problem = make_problem(family, {"macs": limit}, costs)
        for method in METHODS[options.space]:
            for draw in range(options.draws if method == "random" else 1):
                seeded = settings.model_copy(update={"seed": settings.seed + 1_000 * draw})
                asked = replace(prepared, plan=replace(prepared.plan, settings=seeded)) if draw else prepared
                saved = asked.saved(f"{name}_{method}_{budget}_{draw}", told)
                network = search_problem(asked, problem, costs, saved, method).result.architecture
                key = str(family.decisions.describe(network))
                if key not in tested:
                    tested[key] = trained_network(prepared, prepared.supernet, network, f"{name}_{len(tested)}", told)[1]
                answers.found.append(Found(way, method, budget, tested[key], macs.cost(network) / limit))


def _table(found: list[OfSeed], options: Options) -> Rows:
    def accuracy(answers: OfSeed, way: str, method: str) -> float:
        return mean(one.accuracy for one in answers.found if (one.way, one.method) == (way, method))

    ours, rows = [accuracy(answers, *OURS) for answers in found], list[Row]()
    for way in get_args(PathPer):
        for method in METHODS[options.space]:
            own = [one for answers in found for one in answers.found if (one.way, one.method) == (way, method)]
            row: Row = {"path": way, "method": method, "accuracy": mean(one.accuracy for one in own)}
            row |= {f"b{b}": mean(one.accuracy for one in own if one.budget == b) for b in range(len(options.shares))}
            row |= {"use": 100 * mean(one.use for one in own), "heaviest": mean(answers.heaviest[way] for answers in found)}
            row["seconds"] = mean(answers.seconds[way] for answers in found)
            if (way, method) != OURS:
                row["against"] = compared(ours, [accuracy(answers, way, method) for answers in found], "ours")
            rows.append(row)
    columns = (
        Column("path", "path per", "what a path was drawn for in training"),
        Column("method", "method", "of search; ours: a path a batch and the surrogate"),
        Column("accuracy", "accuracy, %", "on test digits after fine-tuning, mean over seeds and budgets", ".1f"),
        *(
            Column(f"b{b}", f"{s:.0%}", f"the same at {s:.0%} of the way to the heaviest", ".1f")
            for b, s in enumerate(options.shares)
        ),
        Column("use", "use, %", "of the budget", ".0f"),
        Column("heaviest", "heaviest, %", "accuracy of the heaviest network, fine-tuned alike", ".1f"),
        Column("seconds", "training, s", "of the processor, for the super-network", ".0f"),
        Column("against", "gain of ours", "accuracy of ours less this one's, paired by seed, with 95 %"),
    )
    remark = f"{options.seeds} seeds; {options.epochs} epochs of paths a batch, {options.epochs // 2} of paths an example."
    title = f"A path an example or a batch: {options.space} on digits {options.resolution}x{options.resolution}"
    return Rows(title, columns, rows, remark=remark)


if __name__ == "__main__":
    main()

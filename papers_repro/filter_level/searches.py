"""The searches of Figure 2: algorithms C.1 to C.5, each under its budget, with the expected and the hard answer kept side by side.

C.1 searches operations under the bit operations of two homogeneous networks, (3,3) and (2,4), with lambda = 1, as in Fig. B.3; C.2
to C.5 search a width a stage (or a layer) under the multiply-adds of the network of half the filters (C.5 has no target: the budget
is only for its hard answer). Appendix B changes operations, lambda, |S|, the law's rate and its start.

Reference: Zur et al., Appendix C, Fig. 2, B.3, B.4 and B.7 to B.10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from constrained_nas.methods.filter_level import (
    FilterLevel,
    FilterSearchOptions,
    FilterSearchRecord,
    c1,
    c2,
    c3,
    c4,
    c5,
    filter_search,
    save_filter_search,
    statistics_of,
)
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import save_architecture
from papers_repro.experiment import kept_under, make_fabric
from papers_repro.filter_level.setup import FilterSetup, Kind, cost_of, load_splits, network_builder, space_of
from papers_repro.filter_level.trainings import Counts
from papers_repro.harness import ProgressBars, Reports, Scale, run_seeds
from solvers.arrays import IntArray


@dataclass(frozen=True, slots=True)
class SearchChanges:
    """What of the searches can be changed: the subjects of the paper's appendix B."""

    algorithms: tuple[str, ...] = ("C.1", "C.2", "C.3", "C.4", "C.5")
    """Which to run."""
    targets: tuple[str, ...] = ("w3a3", "w2a4")
    """C.1's budgets: what these homogeneous networks cost (Fig. B.3, B.4)."""
    coefficient: float = 1.0
    """lambda of C.1 to C.4 (Fig. B.3: 1; Fig. B.9: 0.005 and 0.01)."""
    samples: int = 0
    """|S|, sampled configurations; 0: those of the scale (Fig. B.8: 6; B.9: 8 and 6)."""
    rate: float = 0.0
    """Of the law's SGD; 0: those of the scale (Fig. B.10: 5e-4 and 1e-4)."""
    start: float = 0.5
    """Pruning: the probability with which a filter is kept at first (Fig. B.10: 0.5 and 0.75)."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.algorithms) - {f"C.{n}" for n in range(1, 6)})
        if unknown or not self.algorithms:
            raise ValueError(f"--algorithms: expected some of C.1 to C.5, got {', '.join(unknown) or 'none'}")
        if self.coefficient < 0 or self.samples < 0 or self.samples == 1 or self.rate < 0:
            raise ValueError(f"searches: expected coefficient and rate of 0 or more, and two samples or more, got {self}")


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A search: the algorithm, on which space, under the cost of which homogeneous network, with which settings of the method."""

    name: str
    kind: Kind
    target: str
    options: FilterSearchOptions
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """A search's budget, its two answers and what it proposed after every iteration, as (decisions, operations) counts, and its
    record."""

    plan: SearchPlan
    limit: float
    expected: Counts
    hard: Counts
    proposals: tuple[Counts, ...]
    record: FilterSearchRecord


def plans(scale: Scale, setup: FilterSetup, seed: int, changes: SearchChanges | None = None) -> list[SearchPlan]:
    """The searches of a scale, changed as wanted; learning rates rise as steps get fewer (the paper: 1e-4 to 5e-4 over hundreds of
    iterations).

    At laptop scale C.5's E averages two trainings of each homogeneous configuration instead of five. The paper's gradient, Eq. 3,
    has no baseline; at the other scales, where samples are fewer still, it is the others' mean.
    """
    shared: dict[str, Any] = {"weights": setup.weights, "seed": seed}
    if scale == "smoke":
        quick = shared | {"samples": 2, "iterations": 2, "law_batches": 1}
        once = {"sample_epochs": 1}
        options = [
            c1(weight_epochs=1, **quick),
            c2(weight_epochs=1, **once, **quick),
            c3(weight_epochs=1, reset_period=1, **once, **quick),
            c4(**once, **quick),
            c5(reference_trainings=1, **once, **quick),
        ]
        rates = [0.05] * 5
    elif scale in ("laptop", "gpu"):
        few = shared | {"samples": 4}
        options = [
            c1(weight_epochs=4, samples=8, iterations=12, **shared),
            c2(weight_epochs=4, sample_epochs=4, iterations=3, law_batches=2, **few),
            c3(weight_epochs=4, sample_epochs=4, iterations=4, reset_period=3, **few),
            c4(sample_epochs=6, iterations=4, **few),
            c5(sample_epochs=6, iterations=4, reference_trainings=2, **few),
        ]
        rates = [0.1, 0.1, 0.02, 0.02, 0.02]
    elif scale == "cpu":  # an epoch has 351 batches; each search trains some 20 samples for an epoch
        few = shared | {"samples": 4, "law_batches": 100}
        options = [
            c1(weight_epochs=1, iterations=5, **few),
            c2(weight_epochs=1, sample_epochs=1, iterations=3, **(few | {"law_batches": 2})),
            c3(weight_epochs=1, sample_epochs=1, iterations=4, **few),
            c4(sample_epochs=1, iterations=5, **few),
            c5(sample_epochs=1, iterations=5, reference_trainings=2, **few),
        ]
        rates = [0.05] * 5
    else:
        paper = shared | {"samples": 6, "iterations": 100}
        options = [c1(**paper), c2(**paper), c3(**paper), c4(**paper), c5(**paper)]
        rates = [5e-4, 5e-4, 1e-4, 1e-4, 1e-4]
    asked = changes or SearchChanges()
    found = []
    for name, option, rate in zip(("C.1", "C.2", "C.3", "C.4", "C.5"), options, rates, strict=True):
        if name not in asked.algorithms:
            continue
        own = replace(option, samples=asked.samples or option.samples)
        settings: dict[str, Any] = {"learning_rate": asked.rate or rate, "coefficient": 0.0 if name == "C.5" else asked.coefficient}
        if scale == "paper":
            settings["estimator"] = "plain"
        if name == "C.1":
            found += [SearchPlan(f"C.1 to {target}", "quantization", target, own, settings) for target in asked.targets]
        else:
            found.append(SearchPlan(name, "pruning", "x0.5", own, settings | {"start": asked.start}))
    return found


def run_searches(
    wanted: Sequence[SearchPlan], limits: dict[str, float], setup: FilterSetup, seed: int, folder: Path, progress: ProgressBars
) -> list[Answers]:
    """Run the searches side by side; ``limits``: the cost of every target by name. Records go to ``searches``."""
    work = partial(_run, wanted, limits, setup, seed, folder)
    return run_seeds(work, range(len(wanted)), setup.side_by_side(len(wanted)), progress)


def _run(
    wanted: Sequence[SearchPlan],
    limits: dict[str, float],
    setup: FilterSetup,
    seed: int,
    folder: Path,
    which: int,
    progress: Reports,
) -> Answers:
    plan = wanted[which]
    space = space_of(setup, plan.kind)
    cost = cost_of(space)
    problem = SearchProblem(space.space, (Budget(cost, limits[plan.target], cost.unit),))
    method = FilterLevel(space, hard=True, **plan.settings)
    name = plan.name.lower().replace(" ", "_").replace(".", "")
    checkpoint = folder / "checkpoints" / f"search_{name}.safetensors"
    if not setup.resume:
        checkpoint.unlink(missing_ok=True)
    build = network_builder(setup, plan.kind, statistics_of(method, plan.options))
    data = load_splits(setup, seed)
    # The search asks a path only whether it exists, and hands it on to be written and read.
    kept = cast(Path, kept_under(checkpoint, data))
    report = progress.callback(plan.name)
    run = filter_search(problem, method, build, data.weights, plan.options, make_fabric(setup), kept, report)
    record = save_filter_search(problem, method, plan.options, run, plan.name, folder / "searches" / f"{name}.json")
    save_architecture(problem, run.result, plan.name, folder / "architectures" / f"{name}_hard.json")
    save_architecture(problem, run.expected, plan.name, folder / "architectures" / f"{name}_expected.json")
    expected, hard = (_counts(space.decision_counts(found.architecture)) for found in (run.expected, run.result))
    proposals = tuple(_counts(method.law.expected(np.array(entry["parameters"]))) for entry in run.history)
    return Answers(plan, limits[plan.target], expected, hard, proposals, record)


def _counts(rows: IntArray) -> Counts:
    return tuple(map(tuple, rows.tolist()))

"""Searches of the trained super-network under budgets of the benchmark's own multiply-adds, and the truth about what they found."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from torch.utils.data import Subset

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods import HardCoRe, PairwiseSurrogate, SoftPenalty, random_feasible, recommended, small_steps
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import JudgeOptions, NetworkLoss, SearchOptions, search, search_networks
from graphs import Architecture, MacroSpace
from graphs.costs import QuadraticCost, mac_cost
from papers_repro.harness import Column, Reports, mean
from papers_repro.macro.benchmark import MacroTable
from papers_repro.macro.training import Trained
from solvers.arrays import FloatArray

RANKED = "ours: pairwise surrogate, ranked networks"
JUDGED = "ours: pairwise surrogate, judged networks"
LINEAR = "HardCoRe-NAS, small steps"
LINEAR_TRAINED = "HardCoRe-NAS, small steps, statistics of training"
PRINTED = "HardCoRe-NAS as printed"
SOFT = "soft penalty + argmax"
SOFT_PROJECTED = "soft penalty + projection"
DEAREST = "most multiply-adds that fit"
RANDOM = "random that fits"
METHODS = (RANKED, JUDGED, LINEAR, LINEAR_TRAINED, PRINTED, SOFT_PROJECTED, SOFT, DEAREST, RANDOM)
_DRAWS = 200  # random networks, whose mean is the row
REGRET = Column("regret", "regret %", "true accuracy of the best network within the budget less the answer's, mean", ".2f")
USE = Column("use", "use %", "share of the budget that the answer uses", ".0f")


def budget_columns(shares: Sequence[float]) -> list[Column]:
    """A column of the regret under every budget, ``b0`` and on."""
    return [
        Column(f"b{number}", f"T {100 * share:.0f} %", f"regret at {100 * share:.0f} % of the range of multiply-adds", ".2f")
        for number, share in enumerate(shares)
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """What a method found under one budget.

    Attributes:
        regret: accuracy of the best network within the budget less the answer's, %; NaN where the answer does not fit.
        accuracy: true, %.
        use: of the budget, %.
        seconds: of the search, ranking apart.
    """

    method: str
    budget: int
    seed: int
    regret: float
    accuracy: float
    use: float
    fits: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchChoices:
    """How long the super-network is searched."""

    search_images: int = 2_560
    """Of the architecture split, in a search; 0 searches by nothing but the ranked networks."""
    search_epochs: int = 1
    """Passes over them."""
    search_batch: int = 128
    """Rows of a step."""
    judged: JudgeOptions = field(default_factory=JudgeOptions)
    """Of the search by whole networks."""
    methods: tuple[str, ...] = METHODS
    """Who searches."""


def searched(
    trained: Trained,
    table: MacroTable,
    shares: Sequence[float],
    ranked: Mapping[str, float],
    options: SearchChoices,
    seeds: Sequence[int],
    fabric: Fabric,
    progress: Reports,
) -> list[Found]:
    """Every method under every budget.

    Args:
        shares: budgets, as shares of the way from the cheapest network to the costliest.
        ranked: the loss that the super-network gave to networks, by code.
    """
    space, mixture = trained.space, trained.space.supernet()
    mixture.load_state_dict(trained.supernet.state_dict())
    split = trained.data.architecture
    images = Subset(split, range(min(options.search_images, len(split))))  # type: ignore[arg-type]
    found, told, steps = list[Found](), progress.callback("search"), len(seeds) * len(shares)

    loss = NetworkLoss(mixture.eval(), split, options.judged.images, fabric)

    def run(name: str, problem: SearchProblem, method: SearchMethod[Any], seed: int) -> tuple[SearchResult, Any]:
        if name == JUDGED:
            loss.known.clear()  # each search pays for its own
            judged = search_networks(problem, method, loss, mixture, replace(options.judged, seed=seed), fabric)
            return judged.result, judged.state
        settings = SearchOptions(options.search_epochs, options.search_batch, name != LINEAR_TRAINED, seed=seed)
        done = search(problem, method, mixture, images, settings, fabric)
        return done.result, done.state

    for number, (seed, (budget, share)) in enumerate((s, b) for s in seeds for b in enumerate(shares)):
        limits = table.limits("macs", share)
        problem = budget_problem(space, float(limits[0]))
        best = table.best("macs", limits)

        def note(method: str, answers: Sequence[Architecture], seconds: float) -> None:
            accuracies = [table.accuracy(space, answer) for answer in answers]  # used within the round
            used = mean(100 * problem.costs(answer)["macs"] / limits[0] for answer in answers)  # noqa: B023
            fits = used <= 100
            regret = best - mean(accuracies) if fits else np.nan  # noqa: B023
            found.append(Found(method, budget, seed, regret, mean(accuracies), used, fits, seconds))  # noqa: B023

        for name, method in _methods(space, options.judged.networks) if options.search_images else ():
            if name not in options.methods:
                continue
            began = time.perf_counter()
            result, state = run(name, problem, method, seed)
            note(name, [result.architecture], time.perf_counter() - began)
            if isinstance(method, SoftPenalty):
                projected = SoftPenalty(space.space, space.staged, projection="joint").finish(problem, state)
                note(SOFT_PROJECTED, [projected.architecture], time.perf_counter() - began)
        began = time.perf_counter()
        if RANKED in options.methods:
            note(RANKED, [from_ranked(space, problem, ranked, seed)], time.perf_counter() - began)
        began = time.perf_counter()
        fitting = [code for code, macs in zip(table.codes, table.macs, strict=True) if macs <= limits[0]]
        dearest = max(fitting, key=lambda code: table.macs[table.place[code]])
        if DEAREST in options.methods:
            note(DEAREST, [space.architecture(dearest)], time.perf_counter() - began)
        began, generator = time.perf_counter(), np.random.default_rng([seed, budget])
        drawn = [random_feasible(problem, space.staged, generator).result.architecture for _ in range(_DRAWS)]
        note(RANDOM, drawn, (time.perf_counter() - began) / _DRAWS)
        told(number + 1, steps, "budgets")
    return found


def budget_problem(space: MacroSpace, limit: float) -> SearchProblem:
    """A budget on the benchmark's own multiply-adds, for a space that may be narrower and see smaller images."""
    cost = QuadraticCost("macs", "MACs", space.space, mac_cost(MacroSpace()).quadratic)
    return SearchProblem(space.space, (Budget(cost, limit, "MACs"),))


def _methods(space: MacroSpace, networks: int) -> Iterator[tuple[str, SearchMethod[Any]]]:
    yield JUDGED, recommended(space.space, space.staged, networks)
    yield LINEAR, small_steps(space.space, space.staged)
    yield LINEAR_TRAINED, small_steps(space.space, space.staged)
    yield PRINTED, HardCoRe(space.space, space.staged)
    yield SOFT, SoftPenalty(space.space, space.staged)


def from_ranked(space: MacroSpace, problem: SearchProblem, ranked: Mapping[str, float], seed: int) -> Architecture:
    """The best of the pairwise model that is fitted to the ranked networks, whether they fit or not."""
    method, generator = PairwiseSurrogate(space.space, space.staged, noisy=True), np.random.default_rng(seed)
    points: FloatArray = np.stack([space.space.point(space.architecture(code)) for code in ranked])
    gates = {decision.name: points[:, space.space.slice(decision.name)] for decision in space.space.decisions}
    proposal = Proposal(gates, frozenset(), {"points": points, "share": np.arange(len(points), dtype=np.float64)})
    moment = Moment("architecture", 0, 1, 0, 1)
    state = method.tell(problem, method.init(problem, generator), proposal, Feedback(np.array([*ranked.values()]), {}), moment)
    return method.finish(problem, state).architecture

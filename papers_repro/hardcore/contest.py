"""Searches under the same budgets on the same super-network, and what each answers under another limit.

For one seed: our search (the pairwise surrogate, told the super-network's losses of whole networks on the same images);
HardCoRe-NAS with small steps, gradients averaged and the linearized loss projected; HardCoRe-NAS as printed (balanced start, steps
4 / (t + 4), credits projected, but jointly and exactly, as Eq. 13 may not fit); a soft penalty ended by argmax and by our
projection; the best of random networks at the edge of the budget, of equal evaluations; a random network that fits; the cheapest
network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from constrained_nas.ask_tell import SearchMethod, SearchResult
from constrained_nas.methods import JUDGED_ROWS, HardCoRe, PairwiseSurrogate, SoftPenalty, random_feasible, recommended, small_steps
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import JudgeOptions, NetworkLoss, SearchOptions, search, search_networks
from constrained_nas.training import Checkpoint
from graphs import MBConvSpace
from graphs.costs import QuadraticCost
from papers_repro.experiment import kept_under
from papers_repro.hardcore.setup import TrainedSupernet
from papers_repro.harness import Reports
from solvers import cheapest_start

OURS = "ours: pairwise surrogate"
SMALL_STEPS = "HardCoRe-NAS, small steps"
PRINTED = "HardCoRe-NAS as printed"
PENALTY = "soft penalty, argmax"
PENALTY_PROJECTED = "soft penalty, joint projection"
RANDOM_SEARCH = "best of random, equal evaluations"
RANDOM = "random that fits"
CHEAPEST = "cheapest network"
METHODS = (OURS, SMALL_STEPS, PRINTED, PENALTY, PENALTY_PROJECTED, RANDOM_SEARCH, RANDOM, CHEAPEST)
HELD = (OURS, SMALL_STEPS, PRINTED, PENALTY_PROJECTED, RANDOM_SEARCH, RANDOM)  # these can answer under any limit
_EVALUATED = {OURS: "ours", RANDOM_SEARCH: "random"}  # those that are told losses of whole networks
# Those that learn from batches, and the names of their checkpoints.
_SEARCHED = {SMALL_STEPS: "small", PRINTED: "printed", PENALTY: "soft"}


@dataclass(frozen=True, slots=True)
class ContestOptions:
    """The searches and the fine-tuning."""

    evaluations: int = 120
    """Networks whose loss by the super-network ours and the best of random are told."""
    evaluated_images: int = 250
    """Images of the architecture split on which they are, the same for all."""
    judged_by_batch: bool = True
    """They are normalized by the statistics of their images; otherwise by those of training."""
    search_epochs: int = 2
    """Passes of the other searches over the architecture split."""
    search_batch: int = 64
    """Rows of their steps, each with an architecture of its own."""
    penalty: float = 10.0
    """Coefficient of the soft penalty."""
    penalty_rate: float = 0.1
    """Learning rate of the soft penalty's Adam."""
    fine_tune_epochs: int = 1
    """Of every network that is tested."""
    fine_tune_rate: float = 0.05
    """Learning rate at the start of fine-tuning."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one method found under one budget with one seed; ``state`` is what its search came to, if it searched."""

    seed: int
    budget: int
    limit_ms: float
    method: str
    result: SearchResult
    state: Any
    search_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """The methods on a space under a latency model in ms."""

    space: MBConvSpace
    cost: QuadraticCost
    options: ContestOptions

    def problem(self, limit_ms: float) -> SearchProblem:
        """One budget."""
        return SearchProblem(self.space.space, (Budget(self.cost, limit_ms, "ms"),))

    def methods(self) -> Mapping[str, SearchMethod[Any]]:
        """Those that search, by name; the soft penalty by both of its ends."""
        space, staged, options = self.space.space, self.space.staged, self.options

        def penalty(end: Any) -> SoftPenalty:
            return SoftPenalty(space, staged, options.penalty, options.penalty_rate, end)

        return {
            OURS: recommended(space, staged, options.evaluations),
            SMALL_STEPS: small_steps(space, staged),
            PRINTED: HardCoRe(space, staged),  # the defaults are Algorithm 1's: balanced start, 4 / (t + 4), credits
            PENALTY: penalty("argmax"),
            PENALTY_PROJECTED: penalty("joint"),
            # It stays with its random start, and answers with the best one told.
            RANDOM_SEARCH: PairwiseSurrogate(space, staged, JUDGED_ROWS, start=_NEVER),
        }

    def answer(self, outcome: Outcome, limit_ms: float) -> SearchResult:
        """What the method answers under another limit, from the same search.

        Raises:
            InfeasibleError: nothing fits.
        """
        problem = self.problem(limit_ms)
        if outcome.method == RANDOM:
            return self.random(problem, outcome.seed, outcome.budget)
        if outcome.method == CHEAPEST:
            return self.cheapest(problem)
        return self.methods()[outcome.method].finish(problem, outcome.state)

    def random(self, problem: SearchProblem, seed: int, budget: int) -> SearchResult:
        """The first of a sequence of uniform draws that fits."""
        return random_feasible(problem, self.space.staged, np.random.default_rng([seed, budget])).result

    def cheapest(self, problem: SearchProblem) -> SearchResult:
        """The cheapest network by the table."""
        point = cheapest_start(self.space.staged, self.cost.quadratic, float("inf")).require_feasible().x
        architecture = self.space.space.architecture(point)  # type: ignore[arg-type] # a feasible result has a point
        return SearchResult.of(problem, architecture, self.space.space.point(architecture))


_NEVER = 2**31  # networks before the surrogate is used


def run_contest(
    prepared: TrainedSupernet,
    budget: int,
    limit_ms: float,
    options: ContestOptions,
    seed: int,
    fabric: Fabric,
    progress: Reports,
    checkpoints: Path,
    resume: bool,
) -> list[Outcome]:
    """Every method under the budget of that number and limit, with one seed.

    Raises:
        InfeasibleError: a budget below the cheapest network; names it.
    """
    contest, outcomes = Contest(prepared.space, prepared.cost, options), list[Outcome]()
    methods, net, problem = contest.methods(), prepared.supernet, contest.problem(limit_ms)
    split, draws = prepared.data.architecture, seed * 1000 + budget
    settings = SearchOptions(options.search_epochs, options.search_batch, seed=draws)
    losses = NetworkLoss(net, split, options.evaluated_images, fabric, batch_statistics=options.judged_by_batch, seed=seed)

    def checkpoint(name: str) -> Checkpoint:
        path = checkpoints / f"search_{name}_seed{seed}_budget{budget}.safetensors"
        if not resume:
            path.unlink(missing_ok=True)
        return kept_under(path, prepared.data)

    def add(method: str, result: SearchResult, state: Any, seconds: float) -> None:
        outcomes.append(Outcome(seed, budget, limit_ms, method, result, state, seconds))

    for method, name in _EVALUATED.items():
        began, report = time.perf_counter(), progress.callback(f"seed {seed}, budget {budget + 1}, {name}")
        judging = JudgeOptions(options.evaluations, options.evaluated_images, JUDGED_ROWS, seed=draws)
        found = search_networks(problem, methods[method], losses, net, judging, fabric, checkpoint(name), report)
        add(method, found.result, found.state, time.perf_counter() - began)
    for method, name in _SEARCHED.items():
        began, report = time.perf_counter(), progress.callback(f"seed {seed}, budget {budget + 1}, {name}")
        run = search(problem, methods[method], net, split, settings, fabric, checkpoint(name), report)
        add(method, run.result, run.state, time.perf_counter() - began)
        if method == PENALTY:
            projected = methods[PENALTY_PROJECTED].finish(problem, run.state)
            add(PENALTY_PROJECTED, projected, run.state, time.perf_counter() - began)
    add(RANDOM, contest.random(problem, seed, budget), None, 0.0)
    add(CHEAPEST, contest.cheapest(problem), None, 0.0)
    return outcomes

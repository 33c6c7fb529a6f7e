"""Relaxed points that searches on a trained super-network end at, and pass through on the way.

HardCoRe-NAS with the paper's steps 4 / (t + 4) and with its release's momentum; and the soft penalty, whose points nothing holds to
the budget.

Reference: Nayman et al., HardCoRe-NAS, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from lightning_fabric import Fabric

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods import HardCoRe, HardCoReState, SoftPenalty
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions, search
from papers_repro.hardcore.points import Instance
from papers_repro.hardcore.setup import TrainedSupernet
from papers_repro.harness import ProgressBars
from solvers import StagedCost
from solvers.arrays import FloatArray

LEARNED, STEPS, SOFT = "learned", "steps", "soft penalty"
_SKIPPED_STEPS = 4  # the first points of a search are its start, moved a little (or forgotten, where a step is 1)


@dataclass(frozen=True, slots=True)
class _Recorded(SearchMethod[HardCoReState]):
    """HardCoRe-NAS that keeps the point of every step, in order."""

    method: HardCoRe
    points: list[FloatArray] = field(default_factory=list)

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> HardCoReState:
        return self.method.init(problem, generator)

    def ask(
        self, problem: SearchProblem, state: HardCoReState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        return self.method.ask(problem, state, rows, moment, generator)

    def tell(
        self, problem: SearchProblem, state: HardCoReState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> HardCoReState:
        told = self.method.tell(problem, state, proposal, feedback, moment)
        self.points.append(told.point)
        return told

    def report(self, state: HardCoReState) -> dict[str, float]:
        return self.method.report(state)

    def finish(self, problem: SearchProblem, state: HardCoReState) -> SearchResult:
        return self.method.finish(problem, state)


def learned_points(
    prepared: TrainedSupernet,
    shares: Sequence[float],
    seeds: Sequence[int],
    options: SearchOptions,
    fabric: Fabric,
    progress: ProgressBars,
) -> Iterator[Instance]:
    """The last points of searches (families ``LEARNED`` and ``SOFT``), and those of HardCoRe-NAS's steps before (``STEPS``).

    Args:
        prepared: super-network, data, latencies.
        shares: one budget each, between the cheapest network (0) and the costliest (1).
        seeds: one search each per budget and method.
        options: of a search; its seed is replaced.
        fabric: the super-network's device.
        progress: shows bars.
    """
    space = prepared.space
    cost = StagedCost.read(space.staged, prepared.cost.quadratic)
    soft = SoftPenalty(space.space, space.staged)
    hard = (HardCoRe(space.space, space.staged), HardCoRe(space.space, space.staged, offset=8.0, momentum=0.9))
    data = prepared.data.architecture
    runs = [(share, seed, method) for share in shares for seed in seeds for method in (*hard, soft)]
    for share, seed, method in progress.track(runs, "searches"):
        (budget,) = prepared.latencies.budgets([share])
        problem = SearchProblem(space.space, (Budget(prepared.cost, budget, "ms"),))
        seeded = replace(options, seed=seed)
        if isinstance(method, SoftPenalty):
            point = search(problem, method, prepared.supernet, data, seeded, fabric).result.point
            yield Instance(SOFT, space.staged, cost, share, budget, point)
            continue
        recorded = _Recorded(method)
        point = search(problem, recorded, prepared.supernet, data, seeded, fabric).result.point
        yield Instance(LEARNED, space.staged, cost, share, budget, point)
        for step in recorded.points[_SKIPPED_STEPS:-1]:
            yield Instance(STEPS, space.staged, cost, share, budget, step)

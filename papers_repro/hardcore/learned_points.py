"""Relaxed points that searches on a trained super-network end at, and pass through on the way.

HardCoRe-NAS with the paper's steps 4 / (t + 4) and with its release's momentum; and the soft penalty, whose points nothing holds to
the budget.

Reference: Nayman et al., HardCoRe-NAS, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_fabric import Fabric

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod
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


@dataclass(frozen=True)
class _Recorded(HardCoRe):
    """HardCoRe-NAS that keeps the point of every step, in order."""

    points: list[FloatArray] = field(default_factory=list)

    def tell(
        self, problem: SearchProblem, state: HardCoReState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> HardCoReState:
        told = HardCoRe.tell(self, problem, state, proposal, feedback, moment)
        self.points.append(told.point)
        return told


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
        shares: one budget each, between the cheapest network (0) and the costliest (1).
        seeds: one search each per budget and method.
        options: of a search; its seed is replaced.
    """
    space, staged = prepared.space.space, prepared.space.staged
    cost = StagedCost.read(staged, prepared.cost.quadratic)
    data = prepared.data.architecture
    kinds = ((4.0, 0.0), (8.0, 0.9), None)  # offset and momentum: the paper's, the release's; or the soft penalty
    runs = [(share, seed, kind) for share in shares for seed in seeds for kind in kinds]
    for share, seed, kind in progress.track(runs, "searches"):
        (budget,) = prepared.latencies.budgets([share])
        problem = SearchProblem(space, (Budget(prepared.cost, budget, "ms"),))
        method: SearchMethod[Any] = SoftPenalty(space, staged)
        if kind is not None:
            method = _Recorded(space, staged, offset=kind[0], momentum=kind[1])
        point = search(problem, method, prepared.supernet, data, replace(options, seed=seed), fabric).result.point
        yield Instance(SOFT if kind is None else LEARNED, staged, cost, share, budget, point)
        for step in method.points[_SKIPPED_STEPS:-1] if isinstance(method, _Recorded) else ():
            yield Instance(STEPS, staged, cost, share, budget, step)

"""Gumbel with pruning: differentiable search that drops improbable options on the way, after PruNet's block pruning.

Logits follow Adam on the loss and the soft penalty's hinge, samples are Gumbel's; while the threshold rises with the progress of
the search, the least probable option of a decision falls once it is below. The end is the library's exact projection of what is
left, as ``search`` ends PruNet: an option that fell is worth less than any that did not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods import point_gradient, project_point, sample_rows, softmax
from constrained_nas.problem import SearchProblem
from solvers import StagedBlocks
from solvers.arrays import BoolArray, FloatArray

FALLEN = -30.0  # log probability of an option that fell


@dataclass(frozen=True, slots=True)
class Pruned:
    """Logits (n,), Adam's moments, steps, which options are alive (n,)."""

    logits: FloatArray
    first: FloatArray
    second: FloatArray
    step: int
    alive: BoolArray


def logit_gradient(
    problem: SearchProblem, point: FloatArray, slope: FloatArray, proposal: Proposal, feedback: Feedback
) -> FloatArray:
    """(n,): of the loss, and of a penalty with this ``slope`` (n,), by the logits whose softmax is ``point`` (n,)."""
    gradient = np.zeros_like(point)
    for name, gate_gradient in feedback.gate_gradients.items():
        where = problem.space.slice(name)
        estimate = point_gradient(point[where], proposal.noise[name], gate_gradient) + slope[where]
        gradient[where] = point[where] * (estimate - point[where] @ estimate)
    return gradient


@dataclass(frozen=True)
class GumbelPruning(SearchMethod[Pruned]):
    """The method; the threshold is ``first`` after ``warm_up`` of the search and ``last`` at its end."""

    staged: StagedBlocks
    coefficient: float = 1.0
    learning_rate: float = 0.1
    warm_up: float = 0.35
    first: float = 0.15
    last: float = 0.55

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Pruned:
        zeros = np.zeros(self.staged.blocks.dimension)
        return Pruned(zeros, zeros, zeros, 0, np.ones(len(zeros), dtype=np.bool_))

    def ask(self, problem: SearchProblem, state: Pruned, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        names = [decision.name for decision in problem.space.decisions if len(decision.options) > 1]
        return sample_rows(problem.space, self._point(state), rows, generator, names, {})

    def tell(self, problem: SearchProblem, state: Pruned, proposal: Proposal, feedback: Feedback, moment: Moment) -> Pruned:
        point, slope = self._point(state), np.zeros_like(state.logits)
        for quadratic, limit in zip(problem.quadratics("Gumbel with pruning"), problem.limits, strict=True):
            if quadratic.value(point) > limit:
                slope += self.coefficient / limit * quadratic.gradient(point)
        gradient = logit_gradient(problem, point, slope, proposal, feedback)
        first, second, step = 0.9 * state.first + 0.1 * gradient, 0.999 * state.second + 0.001 * gradient**2, state.step + 1
        moved = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        state = Pruned(state.logits - self.learning_rate * moved, first, second, step, state.alive)
        share = (moment.progress - self.warm_up) / (1 - self.warm_up)
        return state if share < 0 else self._pruned(state, self.first + share * (self.last - self.first))

    def report(self, state: Pruned) -> dict[str, float]:
        return {"options": float(state.alive.sum())}

    def finish(self, problem: SearchProblem, state: Pruned) -> SearchResult:
        point = self._point(state)
        scores = np.where(state.alive, np.log(np.maximum(point, 1e-12)), FALLEN)
        return project_point(problem, self.staged, point, scores)

    def _pruned(self, state: Pruned, threshold: float) -> Pruned:
        alive = state.alive.copy()
        for block, part in enumerate(self.staged.blocks.split(self._point(state))):
            kept = alive[self.staged.blocks.slice(block)]
            if kept.sum() > 1:
                weakest = np.where(kept, part, np.inf).argmin()
                kept[weakest] = part[weakest] >= threshold
        return replace(state, alive=alive)

    def _point(self, state: Pruned) -> FloatArray:
        logits = np.where(state.alive, state.logits, -np.inf)
        return np.concatenate([softmax(part) for part in self.staged.blocks.split(logits)])

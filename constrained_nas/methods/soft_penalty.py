"""The soft-penalty baseline: what most differentiable searches do with a budget.

Logits of every decision follow Adam on ``loss + coefficient * max(0, LAT / T - 1)``, the latency being that of the relaxed
architecture. Nothing holds the result to the budget: the usual end, the likeliest option of every decision (``argmax``), may
violate it. ``projection="joint"`` ends instead in this library's exact projection of the very same point, so that the two can be
compared.

Reference: Cai et al., ProxylessNAS and Wu et al., FBNet, for penalized latencies; the comparison in HardCoRe-NAS, Sec. 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods.distributions import mean_entropy, point_gradient, softmax
from constrained_nas.methods.staged import project_point, sample_rows
from constrained_nas.problem import SearchProblem
from constrained_nas.selections import project_linear
from graphs import SearchSpace
from solvers import StagedBlocks
from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class SoftPenaltyState:
    """Logits (n,) and Adam's moments (n,) and step count."""

    logits: FloatArray
    first: FloatArray
    second: FloatArray
    step: int


@dataclass(frozen=True, slots=True)
class SoftPenalty(SearchMethod[SoftPenaltyState]):
    """The method.

    Attributes:
        staged: the layout of blocks and depths; None where decisions do not depend on each other.
        coefficient: weight of the relative excess over each budget.
        projection: ``argmax`` (unsafe, the usual end) or ``joint`` (exact, always fits).
    """

    space: SearchSpace
    staged: StagedBlocks | None = None
    coefficient: float = 10.0
    learning_rate: float = 0.1
    projection: Literal["argmax", "joint"] = "argmax"

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> SoftPenaltyState:
        """Uniform distributions, whatever they cost."""
        problem.quadratics("the soft penalty")  # refuses costs without a relaxed form before any work is done
        zeros = np.zeros(self.space.blocks.dimension)
        return SoftPenaltyState(zeros, zeros, zeros, 0)

    def ask(
        self, problem: SearchProblem, state: SoftPenaltyState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        """Rows sampled from the softmax of the logits; every decision's gradient is wanted."""
        names = [decision.name for decision in self.space.decisions]
        return sample_rows(self.space, self.point(state), rows, generator, names, {})

    def tell(
        self, problem: SearchProblem, state: SoftPenaltyState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> SoftPenaltyState:
        """One Adam step on the penalized loss."""
        point = self.point(state)
        slope = np.zeros_like(point)
        for quadratic, limit in zip(problem.quadratics("the soft penalty"), problem.limits, strict=True):
            if quadratic.value(point) > limit:
                slope += self.coefficient / limit * quadratic.gradient(point)
        gradient = np.zeros_like(point)
        for block, decision in enumerate(self.space.decisions):
            where = self.space.blocks.slice(block)
            probabilities = point[where]
            estimate = (
                point_gradient(probabilities, proposal.noise[decision.name], feedback.gate_gradients[decision.name]) + slope[where]
            )
            gradient[where] = probabilities * (estimate - probabilities @ estimate)  # through the softmax
        first = 0.9 * state.first + 0.1 * gradient
        second = 0.999 * state.second + 0.001 * gradient**2
        step = state.step + 1
        moved = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return SoftPenaltyState(state.logits - self.learning_rate * moved, first, second, step)

    def report(self, state: SoftPenaltyState) -> dict[str, float]:
        """The mean entropy of the decisions, in nats."""
        return {"entropy": mean_entropy(self.space.blocks.split(self.point(state)))}

    def finish(self, problem: SearchProblem, state: SoftPenaltyState) -> SearchResult:
        """The likeliest options, fitting or not, or the exact projection."""
        point = self.point(state)
        if self.projection == "joint" and self.staged is not None:
            return project_point(problem, self.staged, point, point)
        if self.projection == "joint":
            decisions = self.space.decisions
            scores = {d.name: dict(zip(d.options, point[self.space.slice(d.name)].tolist(), strict=True)) for d in decisions}
            return replace(project_linear(problem, scores), point=point)
        choices = [int(part.argmax()) for part in self.space.blocks.split(point)]
        architecture = self.space.architecture(self.space.blocks.vertex(choices))
        return SearchResult.of(problem, architecture, point)

    def point(self, state: SoftPenaltyState) -> FloatArray:
        return np.concatenate([softmax(part) for part in self.space.blocks.split(state.logits)])

"""HardCoRe-NAS: block-coordinate stochastic Frank-Wolfe under hard budgets, ended by an exact joint projection.

Every step draws a part (configurations or depths) at random, samples an architecture for every example from the current point,
estimates the loss gradient of that part, and moves towards the vertex that the one-budget oracle returns: each point is feasible.
The end departs from the paper: Eq. 13 projects configurations and depths separately, and its two halves together may violate the
budget; here they are projected jointly and exactly, with a certificate.

Reference: Nayman et al., HardCoRe-NAS, Eq. 4-5, 10-11, 13, Algorithm 1; Appendix E for the starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods.distributions import mean_entropy, point_gradient
from constrained_nas.methods.staged import Start, project_point, sample_rows, start_point
from constrained_nas.problem import SearchProblem
from graphs import SearchSpace
from solvers import StagedBlocks, block_step
from solvers.arrays import FloatArray

Objective = Literal["credits", "linearize"]


@dataclass(frozen=True, slots=True)
class HardCoReState:
    """The point (n,), the running mean of gradients (n,) with the weight of what it has seen (n,), and the step count."""

    point: FloatArray
    gradient: FloatArray
    seen: FloatArray
    step: int


@dataclass(frozen=True, slots=True)
class HardCoRe(SearchMethod[HardCoReState]):
    """The method. Its defaults are Algorithm 1's; the decisions of ``space`` are configurations first, then one depth a stage.

    Attributes:
        start: ``balanced`` (Eq. 27), ``cheapest``, or ``entropy`` (the joint maximum-entropy point).
        numerator, offset: step size ``numerator / (t + offset)``. The paper's 4 / (t + 4) begins with a step of 1, which forgets
            the start of the first part drawn; 4 / (t + 8) does not.
        momentum: of the gradients, in [0, 1).
        objective: what the projection maximizes: the point's ``credits`` (paper), or ``linearize``: minus the running mean of the
            loss gradients.
    """

    space: SearchSpace
    staged: StagedBlocks
    start: Start = "balanced"
    numerator: float = 4.0
    offset: float = 4.0
    momentum: float = 0.0
    objective: Objective = "credits"

    def __post_init__(self) -> None:
        if not 0 < self.numerator <= self.offset:
            raise ValueError(
                f"HardCoRe: expected 0 < numerator <= offset, so that steps lie in (0, 1]; got {self.numerator}, {self.offset}"
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"HardCoRe: expected momentum in [0, 1), got {self.momentum}")

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> HardCoReState:
        """A feasible start.

        Raises:
            ValueError: a cost without a relaxed form.
            InfeasibleError: nothing fits; with the least cost there is.
        """
        point = start_point(problem, self.staged, self.start)
        return HardCoReState(point, np.zeros_like(point), np.zeros_like(point), 0)

    def ask(
        self, problem: SearchProblem, state: HardCoReState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        """Rows sampled from the point, and the part whose gradient the next step needs."""
        draw = float(generator.random())
        names = [decision.name for decision in self.space.decisions]
        split = len(names) - len(self.staged.stages)
        part = names[:split] if draw < 0.5 else names[split:]
        return sample_rows(self.space, state.point, rows, generator, part, {"part": np.array([draw])})

    def tell(
        self, problem: SearchProblem, state: HardCoReState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> HardCoReState:
        """One Frank-Wolfe step on the proposal's part."""
        part = self.staged.alpha if proposal.noise["part"][0] < 0.5 else self.staged.beta
        estimate = np.zeros_like(state.point)
        for decision, gate_gradient in feedback.gate_gradients.items():
            where = problem.space.slice(decision)
            estimate[where] = point_gradient(state.point[where], proposal.noise[decision], gate_gradient)
        gradient, seen = state.gradient.copy(), state.seen.copy()
        # The mean kept for `linearize` is long (0.9); without momentum a step uses its own estimate alone.
        decay = self.momentum or 0.9
        gradient[part] = decay * gradient[part] + (1 - decay) * estimate[part]
        seen[part] = decay * seen[part] + (1 - decay)
        direction = gradient if self.momentum else estimate
        step = block_step(
            state.point,
            direction,
            part,
            self.staged.blocks,
            problem.quadratics("HardCoRe-NAS"),
            problem.limits,
            self.numerator / (state.step + self.offset),
        )
        return HardCoReState(step.x, gradient, seen, state.step + 1)

    def point(self, state: HardCoReState) -> FloatArray:
        """The iterate, which meets the budgets."""
        return state.point

    def report(self, state: HardCoReState) -> dict[str, float]:
        """The mean entropy of the decisions, in nats."""
        return {"entropy": mean_entropy(self.staged.blocks.split(state.point))}

    def finish(self, problem: SearchProblem, state: HardCoReState) -> SearchResult:
        """The exact joint projection of the point (or of the linearized loss) onto the budgets."""
        scores = state.point
        if self.objective == "linearize":
            scores = -state.gradient / np.maximum(state.seen, 1e-12)  # the mean, freed of its zero start; unseen parts score 0
        return project_point(problem, self.staged, state.point, scores)


def small_steps(space: SearchSpace, staged: StagedBlocks) -> HardCoRe:
    """HardCoRe-NAS, small steps: the better search of a trained super-network by batches, ``search --method hardcore``.

    Small steps from the joint maximum-entropy point, gradients averaged, and the linearized loss projected. Steps of
    ``0.1 / (t + 40)`` keep every option sampled while gradients are averaged.
    """
    return HardCoRe(space, staged, "entropy", 0.1, 40.0, 0.97, "linearize")

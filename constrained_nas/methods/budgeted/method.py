"""Budgeted Super Networks: learn which modules of a super-network to keep, under any cost.

The weights and the probability of every module are learned on the same batches: sub-graphs are sampled, each is charged its loss
plus ``lambda x max(0, cost - limit)``, and the logits follow the score-function gradient with a baseline. The cost may be anything
that can be evaluated on a network, stochastic and measured costs included.

``hard=True`` goes beyond the paper: where all costs are sums over the connected modules, a sample that does not fit (or is
disconnected) is replaced by the sub-graph that is likest to it and fits, an exact program, so that every evaluated network fits. A
sample is the best sub-graph under its logits plus logistic noise; the replacement is the best one that fits under the same noise.

Reference: Véniat & Denoyer, Learning Time/Memory-Efficient Deep Architectures with Budgeted Super Networks, Eq. 2-4, 7, Sec. 3.2.
The paper's range of lambda has a sign wrong: it is 10^-(m+1) to 10^-(m-1) for a budget of magnitude 10^m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods.budgeted.program import ConnectedProgram
from constrained_nas.methods.budgeted.subgraphs import Baseline, SubgraphDraws, advantages, draw_subgraphs, score, sigmoid
from constrained_nas.methods.distributions import mean_entropy
from constrained_nas.problem import SearchProblem
from graphs import DagSpace
from graphs.costs import ConnectedCost, connected_architecture, switches_of
from solvers.arrays import FloatArray

_TINY = 2.0**-60  # keeps the logarithms of uniform draws finite


@dataclass(frozen=True, slots=True)
class BudgetedState:
    """Logits (decisions,) and their momentum (decisions,); the running baseline; how many steps the logits have taken."""

    logits: FloatArray
    velocity: FloatArray
    baseline: float
    steps: int


@dataclass(frozen=True, slots=True)
class Budgeted(SearchMethod[BudgetedState]):
    """The method. Its defaults are the paper's; the batch is split among ``samples`` sub-graphs.

    Attributes:
        samples: sub-graphs a batch (rows are shared evenly among them); 0 draws one for every example, as the paper does.
        coefficient: of the hinge, as a multiple of 10^-m for a limit of magnitude 10^m, one number for all budgets.
        ramp: share of the steps after the warm-up over which lambda rises linearly from 0; 0 for a constant lambda.
        warm_up: epochs of the whole super-network before sampling begins.
        learning_rate, momentum: of the logits' SGD (no weight decay).
        milestones, factor: shares of the search at which the rate is multiplied by ``factor``.
        start: the logits after the warm-up (3: a module is on with probability 0.953).
        baseline: ``batch_mean`` (Eq. 7), ``leave_one_out`` (unbiased), ``running`` (mean of the objectives before).
        hard: project samples, and the final network, onto the budgets.
    """

    space: DagSpace
    samples: int = 8
    coefficient: float = 1.0
    ramp: float = 0.0
    warm_up: int = 50
    learning_rate: float = 0.1
    momentum: float = 0.9
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    start: float = 3.0
    baseline: Baseline = "batch_mean"
    hard: bool = False
    _programs: dict[int, tuple[SearchProblem, ConnectedProgram]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.samples < 0 or self.warm_up < 0:
            raise ValueError(f"Budgeted: expected samples and warm_up of 0 or more, got {self.samples} and {self.warm_up}")
        if not (self.coefficient >= 0 and math.isfinite(self.coefficient) and 0 <= self.ramp <= 1):
            raise ValueError(f"Budgeted: expected coefficient >= 0 and ramp in [0, 1], got {self.coefficient} and {self.ramp}")
        if self.baseline not in ("batch_mean", "leave_one_out", "running"):
            raise ValueError(f"baseline: expected 'batch_mean', 'leave_one_out' or 'running', got {self.baseline!r}")

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> BudgetedState:
        """All logits at ``start``.

        Raises:
            ValueError: a problem of another space; ``hard`` with a cost that does not add up over the connected modules.
            InfeasibleError: a budget that no connected network meets; with the least cost there is.
        """
        if problem.space.decisions != self.space.space.decisions:
            raise ValueError(f"Budgeted searches {self.space.name!r}, the problem is of space {problem.space.name!r}")
        program = self._program(problem)
        if self.hard and (program.skipped or not problem.budgets):
            what = f"{', '.join(program.skipped)} does not" if program.skipped else "there is no budget to"
            raise ValueError(f"hard=True needs budgets that add up over the modules (graphs.costs.ConnectedCost): {what} add up")
        count = len(problem.space.decisions)
        program.check_budgets(problem)
        return BudgetedState(np.full(count, self.start), np.zeros(count), 0.0, 0)

    def ask(
        self, problem: SearchProblem, state: BudgetedState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        """The whole super-network while warming up; then ``samples`` sub-graphs, each for its share of the rows."""
        if moment.epoch < self.warm_up:
            return Proposal(self._gates(np.ones(len(state.logits), dtype=np.bool_)), frozenset(), {})
        samples = min(self.samples or rows, rows)
        probabilities = sigmoid(state.logits)
        uniforms = np.maximum(generator.random((samples, len(probabilities))), _TINY)
        draws = draw_subgraphs(self.space, probabilities, uniforms)
        on, replaced, charged = draws.on, np.zeros(samples, dtype=np.bool_), dict[str, FloatArray]()
        if self.hard:
            on, replaced, charged = self._project(problem, state.logits - np.log(uniforms) + np.log1p(-uniforms), draws)
        share = np.arange(rows) * samples // rows  # rows of a sample lie together
        connected = draws.connected | replaced
        noise = {"on": draws.on, "drawn": draws.drawn, "connected": connected, "replaced": replaced, "share": share, **charged}
        observed = np.stack([~on, on], axis=2).reshape(samples, -1)[connected].astype(np.float64)
        gates = self._gates(on[0] if samples == 1 else on[share])
        return Proposal(gates, frozenset(), {name: np.asarray(array, dtype=np.float64) for name, array in noise.items()}, observed)

    def tell(
        self, problem: SearchProblem, state: BudgetedState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> BudgetedState:
        """One step of the logits along Eq. 7; nothing while warming up."""
        if "on" not in proposal.noise:
            return state
        connected = proposal.noise["connected"] > 0
        draws = SubgraphDraws(proposal.noise["on"] > 0, proposal.noise["drawn"] > 0, connected)
        share = proposal.noise["share"].astype(np.int64)
        objectives = np.bincount(share, feedback.losses, len(connected)) / np.bincount(share, minlength=len(connected))
        # With ``hard`` the draws themselves are charged, not what they were replaced by: else nothing leads them to the budget.
        charged = {name: values[connected] for name, values in proposal.noise.items() if name in feedback.costs}
        penalty = self._penalty(problem, {**feedback.costs, **charged}, int(connected.sum()), moment)
        objectives[connected] += penalty
        if len(penalty):  # a disconnected sub-graph has no cost: it must not be a way out of paying
            objectives[~connected] += penalty.max()
        probabilities = sigmoid(state.logits)
        gained = advantages(objectives, self.baseline, state.baseline if state.steps else float(objectives.mean()))
        gradient = (gained[:, None] * score(probabilities, draws)).mean(0)
        passed = sum(moment.progress >= milestone for milestone in self.milestones)
        velocity = self.momentum * state.velocity + gradient
        logits = state.logits - self.learning_rate * self.factor**passed * velocity
        seen = float(objectives.mean())
        running = seen if state.steps == 0 else 0.9 * state.baseline + 0.1 * seen
        return BudgetedState(logits, velocity, running, state.steps + 1)

    def report(self, state: BudgetedState) -> dict[str, float]:
        """The mean entropy of the switches in nats (Fig. 4: it tends to 0), and the mean probability of being on."""
        on = sigmoid(state.logits)
        return {"entropy": mean_entropy(np.stack([on, 1 - on], axis=1)), "on": float(on.mean())}

    def finish(self, problem: SearchProblem, state: BudgetedState) -> SearchResult:
        """The deterministic network: every module likelier on than off, without those on no path.

        With ``hard`` it is the likeliest connected sub-graph that fits, with the certificate of that program (over log-odds);
        without, the likeliest connected sub-graph whatever it costs where the modes alone are disconnected.
        """
        parts, probabilities = self.space.connectivity, sigmoid(state.logits)
        modes = np.stack([1 - probabilities, probabilities], axis=1).reshape(1, -1) > 0.5
        running = parts.connected(parts.switched_on(modes))[0]
        certificate = None
        if self.hard or not running.any():
            program = self._program(problem) if self.hard else ConnectedProgram.of(self.space, SearchProblem(problem.space, ()))
            found = program.best(_within(state.logits, switches_of(self.space, running))).require_feasible()
            running, certificate = cast(FloatArray, found.x) > 0.5, found.certificate if self.hard else None
        architecture = connected_architecture(self.space, running)
        point = np.stack([1 - probabilities, probabilities], axis=1).reshape(-1)
        return SearchResult.of(problem, architecture, point, certificate)

    def _program(self, problem: SearchProblem) -> ConnectedProgram:
        """Built once a problem: its solver keeps a start from call to call."""
        if id(problem) not in self._programs:
            self._programs[id(problem)] = problem, ConnectedProgram.of(self.space, problem)
        return self._programs[id(problem)][1]

    def _gates(self, on: NDArray[np.bool_]) -> dict[str, FloatArray]:
        """Gates of switches (D,) for the whole batch, or (rows, D)."""
        states = np.stack([~on, on], axis=-1).astype(np.float64)  # (..., D, 2)
        return {decision.name: states[..., place, :] for place, decision in enumerate(self.space.space.decisions)}

    def _project(
        self, problem: SearchProblem, scores: FloatArray, draws: SubgraphDraws
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], dict[str, FloatArray]]:
        """The samples' switches (samples, D), those that do not fit replaced by the best under ``scores`` that do; which; costs."""
        parts, program = self.space.connectivity, self._program(problem)
        on = draws.on.copy()
        running = parts.connected(parts.switched_on(np.stack([~on, on], axis=2).reshape(len(on), -1)))
        fits, charged = draws.connected.copy(), dict[str, FloatArray]()
        for budget in problem.budgets:
            charged[budget.cost.name] = cast(ConnectedCost, budget.cost).cost_of_running(running)
            fits &= charged[budget.cost.name] <= budget.limit
        for sample in np.flatnonzero(~fits):
            found = program.best(_within(scores[sample], switches_of(self.space, running[sample]))).require_feasible()
            on[sample] = switches_of(self.space, cast(FloatArray, found.x) > 0.5)
        return on, ~fits, charged

    def _penalty(self, problem: SearchProblem, costs: Mapping[str, FloatArray], samples: int, moment: Moment) -> FloatArray:
        """``lambda x max(0, cost - limit)``, summed over the budgets: (samples,)."""
        begun = self.warm_up / moment.epochs
        rise = 1.0 if self.ramp == 0 else min(1.0, (moment.progress - begun) / (self.ramp * max(1 - begun, 1e-12)))
        total = np.zeros(samples)
        for budget in problem.budgets:
            magnitude = 10.0 ** math.floor(math.log10(budget.limit))
            total += self.coefficient * rise / magnitude * np.maximum(costs[budget.cost.name] - budget.limit, 0.0)
        return total


def _within(scores: FloatArray, on: NDArray[np.bool_]) -> FloatArray:
    """Scores (D,) for the projection of the sub-graph whose switches are ``on``: no module outside it earns anything.

    A switch is drawn only if its source is reached. Those beyond unlikely modules were never drawn and still have the logits they
    began with: were these to count, it would pay to switch an unlikely module on for the sake of all that lies behind it.
    """
    return np.where(on, scores, np.minimum(scores, 0.0))

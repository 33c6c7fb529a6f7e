"""Budgeted Super Networks: learn which modules of a super-network to keep, under any cost.

The weights and the probability of every module are learned on the same batches: sub-graphs are sampled, each is charged its loss
plus ``lambda x max(0, cost - limit)``, and the logits follow the score-function gradient with a baseline. The cost may be anything
that can be evaluated on a network, stochastic and measured costs included.

As printed the search overshoots: what is charged is the excess of each sample, so that the mean sample has to go well below the
budget before nothing is charged any more, and logits that have gone that far take no gradient back. Three settings hold it there:
``charge="expected"`` charges nothing once the *mean* sample fits, before that in proportion to the excess, and never a module that
costs nothing; ``anneal`` lets the limit fall from what the whole super-network costs; ``clamp`` keeps logits where they can turn.
With ``settle="project"`` the network at the end is the likeliest one that fits, where the modes may be dearer or far cheaper.

``hard=True`` goes further: where all costs are sums over the connected modules, a sample that does not fit (or is disconnected)
is replaced by a sub-graph that is like it and fits (the limit of the moment), and nothing has to be charged. A sample
is the best sub-graph under its logits plus logistic noise; the replacement is one of the best that fit under the same noise
(``solvers.SubgraphFilling``: any function of the noise will do, as long as the gradient takes the score of the noise).

A limit of the method: with logits that start at 3 the samples keep nearly every module that costs little, in a ResNet fabric all
projections across. Networks without these are never trained, and shared weights rank them, the plain ResNet among them, last.

Reference: Véniat & Denoyer, Learning Time/Memory-Efficient Deep Architectures with Budgeted Super Networks, Eq. 2-4, 7, Sec. 3.2.
The paper's range of lambda has a sign wrong: it is 10^-(m+1) to 10^-(m-1) for a budget of magnitude 10^m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods.budgeted.program import ConnectedProgram
from constrained_nas.methods.budgeted.settling import settle_within
from constrained_nas.methods.budgeted.subgraphs import (
    Baseline,
    SubgraphDraws,
    advantages,
    chances_of_being_drawn,
    draw_subgraphs,
    score,
    score_of_noise,
    sigmoid,
)
from constrained_nas.problem import SearchProblem
from graphs import DagSpace
from graphs.costs import ConnectedCost, CostModel, connected_architecture, switches_of
from solvers import Quadratic
from solvers.arrays import BoolArray, FloatArray

Charge = Literal["sampled", "expected"]
Settle = Literal["mode", "project"]

_TINY = 2.0**-60  # keeps the logarithms of uniform draws finite
_DEAREST = 1.0  # at most what a cost one standard deviation above the batch's mean is charged, in the loss's unit


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
        charge: ``sampled``: the hinge of each sample (Eq. 4). ``expected``: the hinge of the batch's mean cost, shared out among
            the samples by how much dearer than the mean they are, at most 1 for a standard deviation; modules that cost nothing
            are charged nothing.
        ramp: share of the steps after the warm-up over which lambda rises linearly from 0; 0 for a constant lambda.
        anneal: share of the steps after the warm-up over which the limit falls, by equal factors, from the whole's cost;
            0: at once.
        warm_up: epochs of the whole super-network before sampling begins.
        learning_rate, momentum: of the logits' SGD (no weight decay).
        milestones, factor: shares of the search at which the rate is multiplied by ``factor``.
        start: the logits after the warm-up (3: a module is on with probability 0.953).
        clamp: logits are kept in [-clamp, clamp]; infinite in the paper.
        baseline: ``batch_mean`` (Eq. 7), ``leave_one_out`` (unbiased), ``running`` (mean of the objectives before).
        hard: project samples, and the final network, onto the budgets; nothing is charged.
        settle: the final network: ``mode``, every module likelier on than off, or ``project``, the modules of greatest logits that
            the budgets hold (counted from ``-clamp``: with it a module has been given up).
    """

    space: DagSpace
    samples: int = 8
    coefficient: float = 1.0
    charge: Charge = "sampled"
    ramp: float = 0.0
    anneal: float = 0.0
    warm_up: int = 50
    learning_rate: float = 0.1
    momentum: float = 0.9
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    start: float = 3.0
    clamp: float = math.inf
    baseline: Baseline = "batch_mean"
    hard: bool = False
    settle: Settle = "mode"
    _programs: dict[int, tuple[SearchProblem, ConnectedProgram]] = field(default_factory=dict, repr=False, compare=False)
    _wholes: dict[int, tuple[SearchProblem, list[float]]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.samples < 0 or self.warm_up < 0:
            raise ValueError(f"Budgeted: expected samples and warm_up of 0 or more, got {self.samples} and {self.warm_up}")
        if not (self.coefficient >= 0 and math.isfinite(self.coefficient) and 0 <= self.ramp <= 1 and 0 <= self.anneal <= 1):
            raise ValueError(
                "Budgeted: expected coefficient >= 0, and ramp and anneal in [0, 1], "
                f"got {self.coefficient}, {self.ramp} and {self.anneal}"
            )
        if not self.clamp > 0 or (self.settle == "project" and not self.hard and math.isinf(self.clamp)):
            raise ValueError(f"Budgeted: expected a positive clamp, a finite one for settle='project', got {self.clamp}")
        if self.charge not in ("sampled", "expected") or self.settle not in ("mode", "project"):
            raise ValueError(
                f"charge, settle: expected 'sampled' or 'expected', 'mode' or 'project'; got {self.charge}, {self.settle}"
            )
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
        return BudgetedState(np.full(count, min(self.start, self.clamp)), np.zeros(count), 0.0, 0)

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
        on, replaced = draws.on, np.zeros(samples, dtype=np.bool_)
        if self.hard:
            on, replaced = self._project(problem, state.logits - np.log(uniforms) + np.log1p(-uniforms), draws, moment)
        share = np.arange(rows) * samples // rows  # rows of a sample lie together
        connected = draws.connected | replaced
        noise = {"on": draws.on, "drawn": draws.drawn, "connected": connected, "replaced": replaced, "share": share}
        observed = np.stack([~on, on], axis=2).reshape(samples, -1)[connected].astype(np.float64)
        gates = self._gates(on[0] if samples == 1 else on[share])
        arrays = {name: np.asarray(array, dtype=np.float64) for name, array in noise.items()}
        return Proposal(gates, frozenset(), {**arrays, "uniforms": uniforms}, observed)

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
        scores = score(sigmoid(state.logits), draws)
        pressed = np.zeros(len(state.logits))
        if self.hard:
            # What replaces a draw depends on the noise itself, not only on what it switched on.
            replaced = proposal.noise["replaced"] > 0
            scores[replaced] = score_of_noise(proposal.noise["uniforms"][replaced])
        elif self.charge == "sampled":
            charges = np.zeros(len(connected))
            charges[connected] = self._penalty(problem, feedback.costs, moment)
            charges[~connected] = charges.max(initial=0.0)  # it has no cost: it must not be a way out of paying
            objectives += charges
        else:
            pressed = self._pressure(problem, feedback.costs, connected, scores, moment)
        gained = advantages(objectives, self.baseline, state.baseline if state.steps else float(objectives.mean()))
        gradient = (gained[:, None] * scores).mean(0) + pressed
        passed = sum(moment.progress >= milestone for milestone in self.milestones)
        velocity = self.momentum * state.velocity + gradient
        logits = np.clip(state.logits - self.learning_rate * self.factor**passed * velocity, -self.clamp, self.clamp)
        seen = float(objectives.mean())
        running = seen if state.steps == 0 else 0.9 * state.baseline + 0.1 * seen
        return BudgetedState(logits, velocity, running, state.steps + 1)

    def point(self, state: BudgetedState) -> FloatArray:
        """The probability of every module being off, and on, given that what is before it runs."""
        on = sigmoid(state.logits)
        return np.stack([1 - on, on], axis=1).reshape(-1)

    def report(self, state: BudgetedState) -> dict[str, float]:
        """The mean entropy of the switches in nats (Fig. 4: it tends to 0), and the mean probability of being on.

        Switches count as probable as it is that they are drawn: what lies behind an unlikely module keeps the logits it began with.
        """
        on = sigmoid(state.logits)
        drawn = chances_of_being_drawn(self.space, on)
        both = np.stack([on, 1 - on])
        entropies = -(both * np.log(np.maximum(both, _TINY))).sum(0)
        return {"entropy": float(drawn @ entropies / drawn.sum()), "on": float(drawn @ on / drawn.sum())}

    def finish(self, problem: SearchProblem, state: BudgetedState) -> SearchResult:
        """The deterministic network, without modules on no path: every module likelier on than off, or what ``settle`` says.

        With ``hard`` it is the likeliest connected sub-graph that fits, with the certificate of that program (over log-odds);
        where the modes alone are disconnected it is the likeliest connected sub-graph whatever it costs.
        """
        parts, probabilities = self.space.connectivity, sigmoid(state.logits)
        modes = np.stack([1 - probabilities, probabilities], axis=1).reshape(1, -1) > 0.5
        running = parts.connected(parts.switched_on(modes))[0]
        certificate, worth = None, state.logits + self.clamp
        if self.hard:
            worth = _within(state.logits, switches_of(self.space, running))
            found = self._program(problem).best(worth).require_feasible()
            running, certificate = cast(FloatArray, found.x) > 0.5, found.certificate
        elif self.settle == "project" and problem.budgets:
            running, certificate = settle_within(problem, self._program(problem), worth)
        elif not running.any():
            program = ConnectedProgram.of(self.space, SearchProblem(problem.space, ()))
            found = program.best(_within(state.logits, switches_of(self.space, running))).require_feasible()
            running = cast(FloatArray, found.x) > 0.5
        architecture = connected_architecture(self.space, running)
        if certificate is None:  # where logits have no bounds, worth is infinite
            return SearchResult.of(problem, architecture, self.point(state))
        summed = Quadratic.of(0.0, np.stack([np.zeros_like(worth), worth], axis=1).reshape(-1))
        return SearchResult.of(problem, architecture, self.point(state), certificate, objective=summed)

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
        self, problem: SearchProblem, scores: FloatArray, draws: SubgraphDraws, moment: Moment
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The samples' switches (samples, D), those that do not fit replaced by ones of great ``scores`` that do; and which."""
        parts, program = self.space.connectivity, self._program(problem)
        on = draws.on.copy()
        running = parts.connected(parts.switched_on(np.stack([~on, on], axis=2).reshape(len(on), -1)))
        fits, limits = draws.connected.copy(), [self._limit(problem, place, moment) for place in range(len(problem.budgets))]
        for budget, limit in zip(problem.budgets, limits, strict=True):
            fits &= cast(ConnectedCost, budget.cost).cost_of_running(running) <= limit
        within = [_within(scores[row], switches_of(self.space, running[row])) for row in np.flatnonzero(~fits)]
        if within:
            on[~fits] = [switches_of(self.space, found) for found in program.good(np.array(within), limits)]
        return on, ~fits

    def _penalty(self, problem: SearchProblem, costs: Mapping[str, FloatArray], moment: Moment) -> FloatArray:
        """``lambda x max(0, cost - limit)``, summed over the budgets: (samples,)."""
        excesses = [
            self._rate(budget.limit, moment) * np.maximum(costs[budget.cost.name] - self._limit(problem, place, moment), 0.0)
            for place, budget in enumerate(problem.budgets)
        ]
        return np.sum(excesses, axis=0) if excesses else np.zeros(1)

    def _pressure(
        self, problem: SearchProblem, costs: Mapping[str, FloatArray], connected: BoolArray, scores: FloatArray, moment: Moment
    ) -> FloatArray:
        """The gradient (D,) of the hinge of the mean cost, for switches of modules that cost something."""
        total = np.zeros(scores.shape[1])
        if not connected.any():
            return total
        for place, budget in enumerate(problem.budgets):
            observed = costs[budget.cost.name]
            paid = np.full(len(connected), observed.max())  # what a disconnected sub-graph pays
            paid[connected] = observed
            excess = self._rate(budget.limit, moment) * max(0.0, float(paid.mean()) - self._limit(problem, place, moment))
            spread = float(paid.std())
            if spread > 0:
                dearer = (paid - paid.mean()) / spread * min(excess, _DEAREST)
                total += (dearer[:, None] * scores).mean(0) * self._costly(budget.cost)
        return total

    def _costly(self, cost: CostModel) -> BoolArray:
        """Switches (D,) of a module that costs something; all of them where that cannot be told."""
        if not isinstance(cost, ConnectedCost):
            return np.ones(len(self.space.space.decisions), dtype=np.bool_)
        columns = self.space.connectivity.columns
        costly = np.zeros(len(self.space.space.decisions), dtype=np.bool_)
        costly[columns[(columns >= 0) & (cost.per_edge > 0)] // 2] = True
        return costly

    def _rate(self, limit: float, moment: Moment) -> float:
        """Lambda of the moment."""
        rise = 1.0 if self.ramp == 0 else min(1.0, self._since(moment) / self.ramp)
        return self.coefficient * rise / 10.0 ** math.floor(math.log10(limit))

    def _limit(self, problem: SearchProblem, place: int, moment: Moment) -> float:
        """Of the budget number ``place``, at that moment."""
        budget = problem.budgets[place]
        left = 0.0 if self.anneal == 0 else max(0.0, 1.0 - self._since(moment) / self.anneal)
        if left == 0.0:
            return budget.limit
        if id(problem) not in self._wholes:
            self._wholes[id(problem)] = problem, [max(b.limit, b.cost.cost(self.space.whole)) for b in problem.budgets]
        return budget.limit * (self._wholes[id(problem)][1][place] / budget.limit) ** left

    def _since(self, moment: Moment) -> float:
        """Share of the steps after the warm-up that are done."""
        begun = self.warm_up / moment.epochs
        return (moment.progress - begun) / max(1 - begun, 1e-12)


def _within(scores: FloatArray, on: NDArray[np.bool_]) -> FloatArray:
    """Scores (D,) for the projection of the sub-graph whose switches are ``on``: no module outside it earns anything.

    A switch is drawn only if its source is reached. Those beyond unlikely modules were never drawn and still have the logits they
    began with: were these to count, it would pay to switch an unlikely module on for the sake of all that lies behind it.
    """
    return np.where(on, scores, np.minimum(scores, 0.0))

"""Filter-level compression: learn the law of how many filters of each layer get which operation, or how many there are.

Configurations are sampled from the law, each comes back with its loss, and the parameters step along the score-function gradient
``sum_i (loss_i - baseline_i) grad log P(a_i)``: the paper's (3), which has no baseline, or leave-one-out, which is unbiased too and
of far less variance. The cost enters as ``lambda (B / B_target)^2``. It is cheap to evaluate, so by default its gradient is
estimated by itself from many more samples than the networks that can be trained; ``complexity_samples=0`` charges the sampled
networks alone, as the paper does. Scores belong to the law at the time of sampling, which a proposal carries with it: it may be
told many batches (algorithms C.3 to C.5).

The answer is the expected configuration, rounded, as in the paper; with ``hard=True`` the most probable integer counts that meet
the budget (``hard_counts``), with the certificate of that program. ``filter_search`` has the loop, algorithms C.1 to C.5.

Reference: Zur et al., Towards Learning of Filter-Level Heterogeneous Compression of CNNs, Eq. 3-6; Kool et al. 2019 (RLOO).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods.filter_level.counts import leave_one_out_gradient, plain_gradient
from constrained_nas.methods.filter_level.hard_counts import CountCost, most_probable_within
from constrained_nas.methods.filter_level.law import FilterLaw
from constrained_nas.problem import Budget, SearchProblem
from graphs import FilterSpace
from solvers.arrays import FloatArray

Estimator = Literal["plain", "leave_one_out"]


@dataclass(frozen=True, slots=True)
class FilterLevelState:
    """The law's parameters, their momentum (both (size,)), and how many steps they have taken."""

    parameters: FloatArray
    velocity: FloatArray
    steps: int


@dataclass(frozen=True, slots=True)
class FilterLevel(SearchMethod[FilterLevelState]):
    """The method.

    Attributes:
        space: quantization or widths.
        estimator: ``plain`` is Eq. 3; ``leave_one_out`` needs two samples or more.
        coefficient: lambda; 0 leaves the cost out of the loss. The target is the (one) budget's limit.
        power: of ``B / B_target``; 2 in the authors' release.
        complexity_samples: samples, evaluated by their cost alone, for the gradient of its term; 0 charges the sampled networks.
        learning_rate, momentum: of the parameters' SGD.
        start: probability that a filter beyond the first is kept at first (widths; the paper has .5 and .75).
        hard: end with the most probable counts that meet the budget instead of the expected ones.

    Raises:
        ValueError: a number out of range, or a width space that offers only some widths.
    """

    space: FilterSpace
    estimator: Estimator = "leave_one_out"
    coefficient: float = 1.0
    power: float = 2.0
    complexity_samples: int = 256
    learning_rate: float = 5e-4
    momentum: float = 0.0
    start: float = 0.5
    hard: bool = False

    def __post_init__(self) -> None:
        if self.estimator not in get_args(Estimator):
            raise ValueError(f"estimator: expected one of {', '.join(get_args(Estimator))}, got {self.estimator!r}")
        if not (0 <= self.coefficient < math.inf and self.power > 0 and self.complexity_samples >= 0):
            raise ValueError(f"FilterLevel: coefficient, power or complexity_samples out of range: {self}")
        if self.complexity_samples == 1 or not (self.learning_rate > 0 and 0 <= self.momentum < 1):
            raise ValueError(f"FilterLevel: complexity_samples of 1, a learning rate or a momentum out of range: {self}")
        self.law.start(self.start)

    @property
    def law(self) -> FilterLaw:
        """The distribution over the space's counts."""
        return FilterLaw(self.space)

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> FilterLevelState:
        """Equally likely operations, or widths at ``start``.

        Raises:
            ValueError: a problem of another space; lambda or ``hard`` without exactly one budget, or on a cost of other things than
                counts of filters.
            InfeasibleError: ``hard`` and a budget that nothing meets; with the least cost there is.
        """
        if problem.space.decisions != self.space.space.decisions:
            raise ValueError(f"FilterLevel searches {self.space.space.name!r}, the problem is of space {problem.space.name!r}")
        parameters = self.law.start(self.start)
        if self.coefficient:
            self._budget(problem)
            if self.complexity_samples:
                self._counted(problem)
        if self.hard:
            most_probable_within(self.law.log_weights(parameters), self._counted(problem), self._budget(problem).limit, rounds=1)
        return FilterLevelState(parameters, np.zeros_like(parameters), 0)

    def ask(
        self, problem: SearchProblem, state: FilterLevelState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        """``rows`` configurations, one a row of the gates: counts, or one-hot widths.

        ``noise`` holds them as ``counts`` (rows, decisions, operations), the ``parameters`` they were drawn from, and
        ``priced``, the configurations that are evaluated by their cost alone.
        """
        counts = self.law.sample(state.parameters, rows, generator)
        noise = {"counts": counts.astype(np.float64), "parameters": state.parameters.copy()}
        if moment.purpose != "weights" and self.coefficient and self.complexity_samples:
            noise["priced"] = self.law.sample(state.parameters, self.complexity_samples, generator).astype(np.float64)
        points = np.stack([self.space.space.point(self.space.architecture(row)) for row in counts])
        gates = {decision.name: points[:, self.space.space.slice(decision.name)] for decision in self.space.space.decisions}
        return Proposal(gates, frozenset(), noise, points if problem.budgets else None)

    def tell(
        self, problem: SearchProblem, state: FilterLevelState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> FilterLevelState:
        """One step along the gradient; ``feedback.losses`` has one a configuration, and so have ``feedback.costs``.

        Raises:
            ValueError: leave-one-out with a single configuration.
        """
        sampled_from = proposal.noise["parameters"]
        losses = np.asarray(feedback.losses, dtype=np.float64)
        gradient = np.zeros_like(sampled_from)
        if self.coefficient:
            target = self._budget(problem).limit
            if self.complexity_samples:
                priced = proposal.noise["priced"]
                costs = self._counted(problem).totals(self.law.unit_counts(priced))
                terms = self.coefficient * (costs / target) ** self.power
                gradient += leave_one_out_gradient(self.law.scores(sampled_from, priced), terms)
            else:
                losses = losses + self.coefficient * (self._charged(problem, feedback.costs) / target) ** self.power
        estimate = plain_gradient if self.estimator == "plain" else leave_one_out_gradient
        gradient += estimate(self.law.scores(sampled_from, proposal.noise["counts"]), losses)
        velocity = self.momentum * state.velocity + gradient
        return FilterLevelState(state.parameters - self.learning_rate * velocity, velocity, state.steps + 1)

    def point(self, state: FilterLevelState) -> FloatArray:
        """The probability of every width, or the expected share of every operation among a layer's filters."""
        parts = self.space.space.blocks.split(self.law.point(state.parameters))
        return np.concatenate([part / part.sum() for part in parts])

    def report(self, state: FilterLevelState) -> dict[str, float]:
        """The mean entropy of the decisions in nats, and the probability of the likeliest option, on average."""
        likeliest = [np.exp(row).max() for row in self.law.log_weights(state.parameters)]
        return {"entropy": self.law.entropy(state.parameters), "likeliest": float(np.mean(likeliest))}

    def finish(self, problem: SearchProblem, state: FilterLevelState) -> SearchResult:
        """The expected configuration; with ``hard`` the most probable one that meets the budget, with its certificate.

        Raises:
            InfeasibleError: ``hard``, and nothing fits.
        """
        if not self.hard:
            return self.expected(problem, state)
        budget = self._budget(problem)
        found = most_probable_within(self.law.log_weights(state.parameters), self._counted(problem), budget.limit)
        architecture = self.space.architecture(self.law.from_unit_counts(found.counts))
        point, likelihood = self.law.point(state.parameters), self.law.likelihood(state.parameters)
        return SearchResult.of(problem, architecture, point, found.certificate, objective=likelihood)

    def expected(self, problem: SearchProblem, state: FilterLevelState) -> SearchResult:
        """The expected configuration in whole numbers, whatever it costs: the paper's answer."""
        architecture = self.space.architecture(self.law.expected(state.parameters))
        return SearchResult.of(problem, architecture, self.law.point(state.parameters))

    def _budget(self, problem: SearchProblem) -> Budget:
        if len(problem.budgets) != 1:
            raise ValueError(f"FilterLevel: lambda > 0 and hard=True need exactly one budget, got {len(problem.budgets)}")
        return problem.budgets[0]

    def _counted(self, problem: SearchProblem) -> CountCost:
        cost = self._budget(problem).cost
        if not isinstance(cost, CountCost):
            raise ValueError(
                f"cost {cost.name!r} is not one of counts of filters (BitOperations, MemoryTraffic, SlimmableMacs): set "
                "complexity_samples=0 and hard=False to charge sampled networks only"
            )
        return cost

    def _charged(self, problem: SearchProblem, costs: Mapping[str, FloatArray]) -> FloatArray:
        name = self._budget(problem).cost.name
        if name not in costs:
            raise ValueError(f"expected the observed costs of {name!r} with the losses, got {sorted(costs)}")
        return costs[name]

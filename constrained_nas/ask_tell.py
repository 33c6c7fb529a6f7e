"""What a search method and the search loop say to each other.

A method proposes architectures for the rows of a batch (``ask``), the loop runs the super-network under those gates and hands back
what came of it (``tell``). Methods are pure: their whole state is a dataclass of arrays and numbers, so the loop can checkpoint it
and a killed search resumes to the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np

from constrained_nas.problem import SearchProblem
from graphs import Architecture
from solvers import Certificate
from solvers.arrays import FloatArray

State = TypeVar("State")
Purpose = Literal["weights", "architecture", "both"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the search a step stands, and what the step is for: to train weights, the architecture's parameters, or both."""

    purpose: Purpose
    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def progress(self) -> float:
        """Share of all the steps that are done, in [0, 1)."""
        return (self.epoch + self.step / self.steps) / self.epochs


@dataclass(frozen=True, slots=True)
class Proposal:
    """An architecture for every row.

    Attributes:
        gates: {decision: (rows, options)} one a row, or {decision: (options,)} for the whole batch.
        differentiable: the decisions whose gate gradients the method wants.
        noise: every random draw behind the gates, by name.
        observed: (samples, dimension) architectures whose costs the method wants to be told; None for none.
    """

    gates: dict[str, FloatArray]
    differentiable: frozenset[str]
    noise: dict[str, FloatArray]
    observed: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What came of a proposal.

    Attributes:
        losses: (rows,).
        gate_gradients: of the mean loss, {decision: as its gate}.
        costs: by the cost's name, (samples,) of ``Proposal.observed``: each observed once, as costs may be stochastic.
    """

    losses: FloatArray
    gate_gradients: dict[str, FloatArray]
    costs: Mapping[str, FloatArray] = field(default_factory=dict)


class Objective(Protocol):
    """What a final projection maximizes or minimizes: a sum over options and pairs of them, or a probability of counts."""

    def value(self, x: FloatArray) -> float:
        """At the (dimension,) point of an architecture."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """An architecture, its costs under the budgets, and the relaxed point it came from, with the projection's certificate.

    ``remark`` says what a reader should know besides, e.g. that options the search had given up were needed after all.
    ``objective`` is what the certificate's value is of.
    """

    architecture: Architecture
    costs: dict[str, float]
    feasible: bool
    point: FloatArray
    certificate: Certificate | None = None
    remark: str = ""
    objective: Objective | None = None

    @classmethod
    def of(
        cls,
        problem: SearchProblem,
        architecture: Architecture,
        point: FloatArray,
        certificate: Certificate | None = None,
        remark: str = "",
        objective: Objective | None = None,
    ) -> SearchResult:
        """With what the architecture costs under the problem's budgets; every cost is evaluated once, as it may be measured."""
        costs = problem.costs(architecture)
        fits = all(costs[budget.cost.name] <= budget.limit for budget in problem.budgets)
        return cls(architecture, costs, fits, point, certificate, remark, objective)


class SearchMethod(Protocol[State]):
    """A search method: pure functions over an explicit state (a dataclass of arrays and numbers).

    A class that names it as its base need not define ``epoch_end``, ``alive`` and ``point``.
    """

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> State:
        """The first state; raises ValueError where the problem does not suit the method or nothing fits."""

    def ask(self, problem: SearchProblem, state: State, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        """Architectures for the next ``rows`` examples."""

    def tell(self, problem: SearchProblem, state: State, proposal: Proposal, feedback: Feedback, moment: Moment) -> State:
        """The state after seeing what the proposal came to; not called after steps for the weights alone."""

    def epoch_end(self, problem: SearchProblem, state: State, moment: Moment) -> State:
        """The state after an epoch, of which ``moment`` is the last step; nothing changes unless a method says so."""
        return state

    def alive(self, state: State) -> Mapping[str, Sequence[int]] | None:
        """The options that are left, by decision: the super-network drops the others. None: every option stays."""
        return None

    def point(self, state: State) -> FloatArray | None:
        """The relaxed architecture that the method is at, (dimension,): the probability of every option. None: it has no such
        point; the shares of the options among the networks that it asks for say as much."""
        return None

    def report(self, state: State) -> dict[str, float]:
        """Numbers worth a curve over the epochs, by name."""

    def finish(self, problem: SearchProblem, state: State) -> SearchResult:
        """The architecture that the state stands for."""

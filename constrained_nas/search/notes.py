"""What a search writes down along the way: losses, the probability of every option, and what its projection would cost by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from constrained_nas.ask_tell import Moment, Proposal, SearchMethod
from constrained_nas.problem import SearchProblem
from constrained_nas.search.checkpoints import Journal
from constrained_nas.training import Curve, rounded
from graphs.costs import RelaxedCost, SubgraphCost
from solvers import InfeasibleError
from solvers.arrays import FloatArray

State = TypeVar("State")

_LINES = 40  # of a whole search, or one an epoch
_LEAST = 0.0005  # less probable options are left out of a line


@dataclass(frozen=True, slots=True, eq=False)
class Notes(Generic[State]):
    """Of one search of so many epochs and steps an epoch, written to ``curve``.

    A line has ``loss`` (where weights learn) or ``architecture_loss`` (on images that they do not learn from), the ``rate`` of
    the weights, ``probabilities`` {decision: {option: probability}}, and the ``costs`` {budget: cost} of the network that the
    search would end in.
    """

    curve: Curve
    problem: SearchProblem
    method: SearchMethod[State]
    epochs: int
    steps: int

    def begin(self, journal: Journal[State]) -> None:
        """Take back what was written of steps that are to be done again."""
        within = journal.within
        done, kept = (0, None) if within is None else (within.steps, within.values.get("curve"))
        self.curve.begin(journal.epochs, done, self.steps, kept, max(1, _LINES // max(1, self.epochs)))

    def epoch(self, epochs: int, state: State, numbers: Mapping[str, Any], proposal: Proposal | None = None) -> None:
        """Write a line after an epoch of a search that notes nothing in between; ``numbers`` are those of its history.

        Args:
            proposal: of a method without a distribution, whose shares of the options stand in for it.
        """
        point = self.method.point(state) if proposal is None else self._point(state, proposal)
        named = {} if point is None else {"probabilities": self._named(rounded(point))}
        losses = {name: rounded([numbers[name]])[0] for name in ("loss", "architecture_loss", "objective") if name in numbers}
        self.curve.epoch(epochs, {**losses, **named, **self._projected(state)})

    def step(self, state: State, moment: Moment, proposal: Proposal, loss: float, optimizer: torch.optim.Optimizer | None) -> None:
        """Note a step, and write a line if it is due."""
        self.curve.add("architecture_loss" if moment.purpose == "architecture" else "loss", torch.tensor(loss))
        self.curve.add("point", torch.as_tensor(self._point(state, proposal)))
        if self.curve.due(moment.step + 1):
            means = self.curve.means()
            rate = {} if optimizer is None else {"rate": rounded([optimizer.param_groups[0]["lr"]])[0]}
            named = {"probabilities": self._named(means.pop("point"))}
            self.curve.write(moment.epoch + 1, moment.step + 1, {**means, **rate, **named, **self._projected(state)})

    def _point(self, state: State, proposal: Proposal) -> FloatArray:
        """The method's, or the proposal's share of every option."""
        point = self.method.point(state)
        if point is None:
            asked = [np.atleast_2d(proposal.gates[decision.name]) for decision in self.problem.space.decisions]
            point = np.concatenate([gates.mean(0) for gates in asked])
        return point

    def _named(self, point: list[float]) -> dict[str, dict[str, float]]:
        space, named = self.problem.space, dict[str, dict[str, float]]()
        for decision in space.decisions:
            chances = zip(decision.options, point[space.slice(decision.name)], strict=True)
            named[decision.name] = {option: round(chance, 4) for option, chance in chances if chance >= _LEAST}
        return named

    def _projected(self, state: State) -> dict[str, dict[str, float]]:
        budgets = self.problem.budgets
        if not budgets or not all(isinstance(budget.cost, RelaxedCost | SubgraphCost) for budget in budgets):
            return {}  # it may be measured, which takes long
        try:
            costs = self.method.finish(self.problem, state).costs
        except InfeasibleError:
            return {}
        return {"costs": dict(zip(costs, rounded([*costs.values()]), strict=True))}

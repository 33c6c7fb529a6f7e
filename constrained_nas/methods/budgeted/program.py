"""The exact program behind ``Budgeted``: the connected sub-graph of greatest score that meets every budget.

Only budgets that add up over the connected modules (``graphs.costs.ConnectedCost``) can be rows of the program, which
``solvers.SubgraphModel`` solves to optimality; others are left to sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from constrained_nas.problem import SearchProblem
from graphs import DagSpace
from graphs.costs import ConnectedCost, MakespanCost
from solvers import InfeasibleError, Result, SubgraphFilling, SubgraphModel, SubgraphProgram
from solvers.arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ConnectedProgram:
    """Build it with :meth:`of`.

    Attributes:
        model: its edges and the additive budgets, in the solver.
        filling: the same, for sub-graphs that need not be proven the best.
        skipped: names of the costs that do not add up, of which the program knows nothing.
    """

    space: DagSpace
    model: SubgraphModel
    filling: SubgraphFilling
    skipped: tuple[str, ...]

    @classmethod
    def of(cls, space: DagSpace, problem: SearchProblem) -> ConnectedProgram:
        """The program of a problem's additive budgets.

        Raises:
            ValueError: a switch of several modules, which the program cannot tell apart.
        """
        parts = space.connectivity
        switched = parts.columns[parts.columns >= 0]
        if len(set(switched.tolist())) < len(switched):
            raise ValueError(f"super-network {space.name!r}: a decision switches several modules; give each one of its own")
        additive = [(budget.cost, budget.limit) for budget in problem.budgets if isinstance(budget.cost, ConnectedCost)]
        costs = [cost for cost, _ in additive]
        program = SubgraphProgram(
            sources=parts.sources,
            targets=parts.targets,
            nodes=len(parts.nodes),
            costs=np.array([cost.per_edge for cost in costs]).reshape(len(costs), len(parts.edges)),
            additions=np.array([cost.per_addition for cost in costs]).reshape(len(costs), len(parts.nodes)),
            fixed=np.array([cost.fixed for cost in costs]),
            limits=np.array([limit for _, limit in additive]),
            required=parts.columns < 0,
        )
        skipped = tuple(budget.cost.name for budget in problem.budgets if not isinstance(budget.cost, ConnectedCost))
        return cls(space, SubgraphModel.of(program), SubgraphFilling.of(program), skipped)

    def best(self, scores: FloatArray) -> Result:
        """Maximize the sum of the scores (decisions,) of the modules that run; ``Result.x`` is (E,) over the modules."""
        return self.model.project(self._per_edge(scores))

    def good(self, scores: FloatArray, limits: Sequence[float] | None = None) -> BoolArray:
        """The modules (rows, E) of sub-graphs that fit and are the best under scores (rows, decisions), or nearly; quickly.

        ``limits`` are those of the additive budgets, where they are to be wider for now.
        """
        running, found = self.filling.fill(self._per_edge(scores), limits)
        for row in np.flatnonzero(~found):
            running[row] = np.asarray(self.best(scores[row]).require_feasible().x) > 0.5
        return running

    def _per_edge(self, scores: FloatArray) -> FloatArray:
        """Scores (..., decisions) as scores (..., E) of the modules; two options a decision."""
        columns = self.space.connectivity.columns
        return np.where(columns >= 0, scores[..., np.maximum(columns, 0) // 2], 0.0)

    def check_budgets(self, problem: SearchProblem) -> None:
        """Refuse budgets that no connected network meets, as far as that can be told: additive costs and steps on machines.

        Raises:
            InfeasibleError: with the least cost there is.
        """
        additive = [budget for budget in problem.budgets if isinstance(budget.cost, ConnectedCost)]
        for budget in problem.budgets:
            if isinstance(budget.cost, ConnectedCost):
                found = self.model.cheapest[additive.index(budget)].certificate
                least = None if found is None else found.primal
            else:
                least = budget.cost.least if isinstance(budget.cost, MakespanCost) else None
            if least is not None and least > budget.limit:
                raise InfeasibleError(
                    f"budget on {budget.cost.name}: {budget.limit:g} {budget.unit} is below the cheapest connected network "
                    f"({least:.10g} {budget.unit})"
                )
        if additive:
            self.best(np.zeros(len(self.space.space.decisions))).require_feasible()

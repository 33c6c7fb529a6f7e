"""What a search is asked: a space and the budgets that its answer must meet.

A budget states its unit and must agree with its cost's: a limit of 25 on a table in seconds is the commonest way to a network that
does not fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphs import Architecture, SearchSpace
from graphs.costs import CostModel, PeakCost, RelaxedCost, SubgraphCost
from solvers import Quadratic


@dataclass(frozen=True, slots=True)
class Budget:
    """``cost <= limit``, the limit in ``unit``.

    Raises:
        ValueError: the unit is not the cost's, or the limit is not a positive number.
    """

    cost: CostModel
    limit: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit != self.cost.unit:
            raise ValueError(f"budget on {self.cost.name}: the limit is in {self.unit!r} but the cost is in {self.cost.unit!r}")
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise ValueError(f"budget on {self.cost.name}: expected a positive limit in {self.unit}, got {self.limit}")

    @property
    def quadratic(self) -> Quadratic | None:
        """The cost as a function of a point of the space, as far as this limit is concerned; None where it has no such form."""
        if isinstance(self.cost, PeakCost):
            return self.cost.within(self.limit)
        return self.cost.quadratic if isinstance(self.cost, RelaxedCost) else None


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """A space and its budgets, all held at once.

    Raises:
        ValueError: two budgets on costs of the same name.
    """

    space: SearchSpace
    budgets: tuple[Budget, ...]

    def __post_init__(self) -> None:
        names = [budget.cost.name for budget in self.budgets]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"budgets must be on costs of different names, repeated: {repeated}; rename one of the costs")

    @property
    def limits(self) -> list[float]:
        """The limits, in order."""
        return [budget.limit for budget in self.budgets]

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """The cost of an architecture under every budget, by the cost's name."""
        return {budget.cost.name: budget.cost.cost(architecture) for budget in self.budgets}

    def observe(self, points: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The cost of each architecture in ``points`` (samples, dimension) under every budget, by the cost's name: (samples,).

        Raises:
            ValueError: a cost raises, or is not a number; names it.
        """
        observed: dict[str, NDArray[np.float64]] = {}
        running: dict[int, NDArray[np.bool_]] = {}  # by super-network, which several budgets may share
        for budget in self.budgets:
            name = budget.cost.name
            try:
                values = self._observed(budget.cost, points, running)
            except Exception as error:  # a user's own function may raise anything
                raise ValueError(f"cost {name!r} failed on a sampled architecture: {type(error).__name__}: {error}") from error
            if np.isnan(values).any():
                raise ValueError(f"cost {name!r} is NaN for sampled architecture {int(np.isnan(values).argmax())}")
            observed[name] = values
        return observed

    def _observed(self, cost: CostModel, points: NDArray[np.float64], running: dict[int, NDArray[np.bool_]]) -> NDArray[np.float64]:
        if not isinstance(cost, SubgraphCost) or cost.dag_space.space.decisions != self.space.decisions:
            return np.array([float(cost.cost(self.space.architecture(point))) for point in points])
        parts = cost.dag_space.connectivity
        found = running.setdefault(id(parts), parts.connected(parts.switched_on(points)))
        if not found.any(axis=1).all():
            raise ValueError("a disconnected network has no cost")
        return cost.cost_of_running(found)

    def fits(self, architecture: Architecture) -> bool:
        """Whether an architecture meets every budget."""
        return all(budget.cost.cost(architecture) <= budget.limit for budget in self.budgets)

    def quadratics(self, method: str) -> list[Quadratic]:
        """The relaxed costs, for methods that optimize over relaxed architectures.

        Raises:
            ValueError: no budgets, or a cost that has no relaxed form; names it and ``method``.
        """
        if not self.budgets:
            raise ValueError(f"{method}: expected at least one budget")
        quadratics = []
        for budget in self.budgets:
            relaxed = budget.quadratic
            if relaxed is None:
                name = budget.cost.name
                raise ValueError(f"{method} needs costs with a relaxed form; {name!r} has none: use a method that samples")
            quadratics.append(relaxed)
        return quadratics

"""The best architecture that fits, for spaces whose costs add up over independent decisions.

Scores of the options come from anywhere (a search's point, mean losses by option, an expert); the selection is the exact multiple-
choice knapsack of ``solvers.project_to_budget``, and its certificate comes along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from constrained_nas.ask_tell import SearchResult
from constrained_nas.problem import SearchProblem
from solvers import Quadratic, project_to_budget

_FIXED = ("what is fixed",)  # no string, so that it is no decision's name


def project_linear(problem: SearchProblem, scores: Mapping[str, Mapping[str, float]], *, minimize: bool = False) -> SearchResult:
    """The architecture of greatest summed score (least, with ``minimize``) within all budgets, exactly.

    Args:
        problem: its costs must be linear (``QuadraticCost`` without couplings, such as ``graphs.costs.choice_macs``).
        scores: ``{decision: {option: score}}``.

    Raises:
        InfeasibleError: nothing fits; with the least cost there is.
        ValueError: no budgets, a cost that is not linear, or scores of other decisions or options.
    """
    space = problem.space
    limits, tables = {}, {}
    for budget, quadratic in zip(problem.budgets, problem.quadratics("the linear projection"), strict=True):
        if quadratic.theta.any():
            raise ValueError(f"cost {budget.cost.name!r} couples decisions: project it with solvers.project_jointly")
        prices = {d.name: quadratic.linear[space.slice(d.name)] for d in space.decisions}
        # A negative price (a saving against the fixed part) is moved into the fixed part: the knapsack wants none.
        saved = {name: min(0.0, float(row.min())) for name, row in prices.items()}
        fixed = quadratic.offset + sum(saved.values())
        table: dict[Any, dict[str, float]] = {
            d.name: dict(zip(d.options, (prices[d.name] - saved[d.name]).tolist(), strict=True)) for d in space.decisions
        }
        # What is fixed is a group of one option, so that the budget stays one strict sum, the very one of ``cost``.
        tables[budget.cost.name] = table | {_FIXED: {"all": max(0.0, fixed)}}
        limits[budget.cost.name] = budget.limit - min(0.0, fixed)
    found = project_to_budget({**scores, _FIXED: {"all": 0.0}}, tables, limits, minimize=minimize)
    architecture = space.choose({group: option for group, option in found.by_group.items() if isinstance(group, str)})
    point = np.asarray(space.point(architecture), dtype=np.float64)
    summed = Quadratic.of(0.0, [scores[decision.name][option] for decision in space.decisions for option in decision.options])
    return SearchResult.of(problem, architecture, point, found.certificate, objective=summed)

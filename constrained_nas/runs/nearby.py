"""What other budgets would have brought: the same scores projected onto limits around those that were asked for.

Projections take milliseconds and no training, so every run ends with a few: what one budget buys, and which options change next.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from constrained_nas.ask_tell import SearchResult
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.runs.families import Found
from graphs.files import Record
from solvers import InfeasibleError

_SHARES = (0.7, 0.8, 0.9, 0.95, 1.02, 1.05, 1.1, 1.2, 1.4)  # of a limit, the other limits as they are


class NearbyRecord(Record):
    """What the search would have ended in with another limit on one budget.

    ``score`` is the projection's objective (None without a certificate), ``changes`` the options that differ from the found
    network's: {decision: option}.
    """

    cost: str
    limit: float
    costs: dict[str, float] = Field(max_length=100)
    score: float | None = None
    changes: dict[str, str | dict[str, int]] = Field(max_length=5000)


def nearby_networks(
    problem: SearchProblem, found: Found, result: SearchResult, limits: Mapping[str, float]
) -> tuple[NearbyRecord, ...]:
    """The networks of other limits, budget by budget; those that nothing meets are left out, and all where limits decide nothing.

    Args:
        result: the answer that changes are told from.
        limits: that it was projected onto, by cost; those of the problem where there are none.
    """
    if not found.tightens or result.certificate is None:
        return ()
    records, own = [], problem.space.describe(result.architecture)
    at = [Budget(budget.cost, limits.get(budget.cost.name, budget.limit), budget.unit) for budget in problem.budgets]
    for place, budget in enumerate(at):
        for share in _SHARES:
            limit = share * budget.limit
            other = SearchProblem(problem.space, (*at[:place], Budget(budget.cost, limit, budget.unit), *at[place + 1 :]))
            try:
                there = found.again(other)
            except InfeasibleError:
                continue
            told = problem.space.describe(there.architecture)
            changes = {name: option for name, option in told.items() if option != own[name]}
            score = None if there.certificate is None else there.certificate.primal
            records.append(NearbyRecord(cost=budget.cost.name, limit=limit, costs=there.costs, score=score, changes=changes))
    return tuple(records)

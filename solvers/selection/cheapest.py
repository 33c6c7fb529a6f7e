"""The dual question: the cheapest selection whose summed score is good enough.

``min sum_g costs[g, o_g]  s.t.  sum_g scores[g, o_g] >= at_least``: the same program with the two tables exchanged, as the score is
a budget with a bound from below. Scores may be negative, and those written in decimals are counted in whole units, like costs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from solvers.knapsack import decimal_places, exact_sum, whole_units
from solvers.selection.constraints import Rules
from solvers.selection.explanation import Context
from solvers.selection.project import Backend, solve_constrained
from solvers.selection.selection import Selection, selection_of
from solvers.selection.verification import SelectionCertificate, verify_table
from solvers.tables import ScoreTable, read_limit, read_table


@dataclass(frozen=True, slots=True, eq=False)
class CostCertificate(SelectionCertificate):
    """A certificate of :func:`minimize_cost`: ``primal`` and ``bound`` are costs, ``violation`` is what the score falls short."""

    losses: bool = False

    def verify(self, scores: Any, costs: Any, budget: Any) -> CostCertificate:
        """Recheck every claim against the data; ``budget`` is the score that was asked (``at_least`` or ``at_most``)."""
        verify_table(self, _exchanged(read_table(scores, costs, math.inf, minimize=self.losses), budget, self.losses))
        return self


def minimize_cost(
    scores: Any,
    costs: Any,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    links: Any = None,
    needs: Any = None,
    forbids: Any = None,
    time_limit_seconds: float | None = None,
    backend: Backend = "native",
) -> Selection:
    """The selection of least summed cost with a summed score of ``at_least``, or a summed loss of ``at_most``.

    Args:
        scores, costs: as of :func:`solvers.project_to_budget`, with one table of costs; scores may be negative.
        at_least: the least score that will do. Give it or ``at_most``.
        at_most: the scores are losses, and this is the greatest sum that will do; +inf forbids an option.
        links, needs, forbids, time_limit_seconds, backend: as of :func:`solvers.project_to_budget`.

    Returns:
        A selection whose ``value`` is its score and whose ``cost`` is what was minimized; the certificate is about the cost: its
        bound, and as the multiplier what one unit of score costs at the margin (0 or less: less score is cheaper).
        ``selection.verify(scores, costs, at_least)`` rechecks it.

    For a least cost under further budgets, give the score as one of them: ``project_to_budget(costs, {"score": scores, "MB":
    sizes}, {"score": (at_least, None), "MB": 8.0}, minimize=True)``.

    Raises:
        InfeasibleError: no selection is as good; it names the best score there is.
        ValueError: malformed input; it names the group.
        SolverError: a back end fails, or finds nothing within the time limit.

    Example:
        >>> scores, costs = {"a": {"s": 0.5, "l": 1.5}, "b": {"s": 0.25, "l": 1.0}}, {"a": {"s": 1, "l": 4}, "b": {"s": 1, "l": 2}}
        >>> best = minimize_cost(scores, costs, at_least=1.5)
        >>> best.by_group, best.cost, best.value
        ({'a': 's', 'b': 'l'}, 3.0, 1.5)
    """
    began = time.perf_counter()
    if (at_least is None) == (at_most is None):
        raise ValueError("at_least, at_most: expected one of the two, a least score or a greatest loss")
    losses = at_most is not None
    table = read_table(scores, costs, math.inf, minimize=losses)
    if table.budget_names is not None or len(table.costs) != 1:
        raise ValueError("costs: expected one table; give the score as a budget of project_to_budget where there are several")
    swapped = _exchanged(table, at_most if losses else at_least, losses)
    rules = Rules.read(swapped, links, needs, forbids)
    flat, answer = solve_constrained(swapped, rules, "exact", backend, True, time_limit_seconds)
    found = selection_of(swapped, flat, answer, "exact", True, began, rules)
    plain = found.certificate
    certificate = CostCertificate(
        plain.primal, plain.bound, plain.violation, plain.dual, plain.maximize, plain.choices, rules, (), plain.stopped, losses
    )
    score = swapped.cost(0, flat)
    context = Context(swapped, flat, rules, True, "cost")
    value = -score if losses else score
    return replace(found, value=value, cost=table.cost(0, flat), certificate=certificate, _context=context)


def _exchanged(table: ScoreTable, asked: Any, losses: bool) -> ScoreTable:
    """The table with costs for scores, to be minimized, and scores (negative losses) for the costs of a budget with a floor.

    Raises:
        ValueError: ``asked`` is no number.
    """
    label, sign = ("at_most", -1.0) if losses else ("at_least", 1.0)
    scores, floor = sign * table.scores, sign * read_limit(asked, label)
    if math.isinf(floor):
        raise ValueError(f"{label}: expected a finite number, got {asked!r}")
    sizes = np.where(np.isfinite(scores), np.abs(scores), np.inf)
    places = decimal_places(sizes, abs(floor), table.offsets)
    if places is not None:
        units = whole_units(np.where(np.isfinite(scores), scores, 0.0), places)
        spread = np.maximum.reduceat(units, table.offsets[:-1]) - np.minimum.reduceat(units, table.offsets[:-1])
        places = None if exact_sum(spread) > 2.0**53 else places
    return replace(
        table,
        scores=table.costs[0],
        costs=scores[None],
        budgets=np.array([np.inf]),
        floors=np.array([floor]),
        places=(places,),
        budget_names=("minus the loss" if losses else "score",),
    )

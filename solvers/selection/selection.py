"""What a user gets: a selection with names, sums, a certificate, and an account of itself in words."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.knapsack import exact_sum
from solvers.results import Status
from solvers.selection import explanation
from solvers.selection.constraints import Rules
from solvers.selection.explanation import Context
from solvers.selection.verification import SelectionCertificate
from solvers.tables import ScoreTable

Method = Literal["exact", "lp", "greedy", "argmax"]
_OUT_OF = ("time limit", "state limit")  # what a search runs out of, without being told to stop


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Selection:
    """One option a group.

    Attributes:
        choices: option index of each group, or option names where the input was named; in the order of the groups.
        value: summed score, as the caller stated scores.
        cost: summed cost; a mapping of budget names where budgets were named.
        status: OPTIMAL (method "exact": gap at most 1e-9 max(1, abs(value)); "lp" and "greedy": at most 1e-9 of the spread of the
            scores, whatever their scale or offset), FEASIBLE, TIME_LIMIT, or VIOLATED (method "argmax" only).
        certificate: bound, gap, violation and multipliers; ``verify(scores, costs, budget)`` rechecks them.
        seconds: what the call took.
        groups: the names of the groups, or their indices.
    """

    choices: tuple[Any, ...]
    value: float
    cost: float | Mapping[Hashable, float]
    status: Status
    certificate: SelectionCertificate
    seconds: float
    groups: tuple[Hashable, ...]
    _context: Context | None = None

    def __repr__(self) -> str:
        return explanation.text(self._head(), self.groups, self.choices)

    def _repr_html_(self) -> str:
        return explanation.markup(self._head(), self._columns())

    def explain(self) -> str:
        """In sentences: how good it is, what is spent, what binds and what one unit more buys, and which groups are near to change.

        Example:
            >>> from solvers import project_to_budget
            >>> print(project_to_budget([[0.0, 3.0], [0.0, 2.0]], [[1.0, 3.0], [1.0, 2.0]], 4.0).explain())
            The summed score is 3; it is proven that no selection that fits has a greater one.
            The budget: 4 of 4 used (100 %), 0 left; it binds: at the margin one unit more buys about 1.5 of score.
            Group 1 takes 0 to fill the budget; at these prices 1 is worth more.
            Group 0 is at the margin: at these prices 1 and 0 are worth the same.
        """
        if self._context is None:
            return f"{self._head()}."
        given = self.certificate
        return "\n".join(explanation.sentences(self._context, str(self.status), given.primal, given.gap, given.dual, given.stopped))

    def to_frame(self) -> Any:
        """A pandas data frame with a row a group: group, option, score and every cost.

        Raises:
            ImportError: pandas is not installed.
        """
        return explanation.frame(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        if self._context is None:
            return {"group": list(self.groups), "option": list(self.choices)}
        return explanation.columns(self._context, self.groups, self.choices)

    def _head(self) -> str:
        spent = self.cost if isinstance(self.cost, Mapping) else {"cost": self.cost}
        costs = ", ".join(f"{name} {total:.6g}" for name, total in spent.items())
        alone = self._context is not None and self.status is not Status.VIOLATED and self._context.only_one_fits()
        return f"Selection ({self.status}): value {self.value:.6g}, {costs}{', the only one that fits' if alone else ''}"

    @property
    def by_group(self) -> dict[Hashable, Any]:
        """``{group: option}`` with names where there are names."""
        return dict(zip(self.groups, self.choices, strict=True))

    @property
    def bounds(self) -> dict[Hashable, tuple[float, float]]:
        """``{budget: (lower, upper)}`` as numbers, infinite where there is none; a budget without a name is called "cost"."""
        table = None if self._context is None else self._context.table
        if table is None:
            return {}
        lower = [-math.inf] * len(table.budgets) if table.floors is None else table.floors.tolist()
        return dict(zip(table.budget_names or ("cost",), zip(lower, table.budgets.tolist(), strict=True), strict=True))

    def verify(self, scores: Any, costs: Any, budget: Any) -> Selection:
        """Recheck every claim of the certificate against the data that were given, and return self.

        Raises:
            CertificateError: a claim is wrong.
            ValueError: the data are malformed.
        """
        self.certificate.verify(scores, costs, budget)
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a method found: flat choices, a bound for maximization (None: unknown), multipliers, why it ended before a proof."""

    choices: IntArray
    bound: float | None
    duals: FloatArray | None
    stopped: str = ""


def selection_of(
    table: ScoreTable, flat: IntArray, answer: Answer, method: Method, minimize: bool, began: float, rules: Rules | None = None
) -> Selection:
    """Names, sums and the certificate of the options ``flat``, all from the table as it was given."""
    value = exact_sum(table.scores[flat])
    totals = [table.cost(row, flat) for row in range(len(table.costs))]
    violation = table.violation(totals)
    bound = None
    if answer.bound is not None:
        bound = float(-answer.bound if minimize else answer.bound)
        if violation == 0.0:  # rounding of the bound below what was found
            bound = min(bound, value) if minimize else max(bound, value)
            if method == "exact" and bound != value and table.nothing_between(value, bound):
                bound = value
    gap = math.inf if bound is None else abs(bound - value)
    if violation > 0.0 and method == "argmax":
        status = Status.VIOLATED
    elif gap <= 1e-9 * (max(1.0, abs(value)) if method == "exact" else _spread(table)):
        status = Status.OPTIMAL
    else:
        status = Status.TIME_LIMIT if answer.stopped in _OUT_OF else Status.FEASIBLE
    choices: tuple[Any, ...] = tuple((flat - table.offsets[:-1]).tolist())
    if table.options is not None:
        choices = tuple(table.options[position] for position in flat.tolist())
    cost: float | Mapping[Hashable, float] = totals[0]
    if table.budget_names is not None:
        cost = MappingProxyType(dict(zip(table.budget_names, totals, strict=True)))
    duals = None if answer.duals is None else answer.duals * table.units() if any(table.places) else answer.duals
    stopped = "" if status is Status.OPTIMAL else answer.stopped
    certificate = SelectionCertificate(
        value, bound, violation, duals, maximize=not minimize, choices=choices, rules=rules, stopped=stopped
    )
    groups = tuple(range(len(choices))) if table.groups is None else table.groups
    context = Context(table, flat, rules, minimize, "loss" if minimize else "score")
    return Selection(choices, value, cost, status, certificate, time.perf_counter() - began, groups, context)


def _spread(table: ScoreTable) -> float:
    """What separates the best selection from the worst, budgets aside: free of the scores' offset, in proportion to their scale."""
    allowed = np.isfinite(table.scores)
    highest = np.maximum.reduceat(np.where(allowed, table.scores, -np.inf), table.offsets[:-1])
    lowest = np.minimum.reduceat(np.where(allowed, table.scores, np.inf), table.offsets[:-1])
    return exact_sum(highest - lowest)

"""Reading what users hand to ``project_to_budget``: arrays, ragged lists, tensors and named tables, checked once and made flat.

Every error says which group (by its name where it has one) and option is wrong, what was expected and what came.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray, IntArray
from solvers.budgets import BudgetedKnapsack
from solvers.knapsack import decimal_places, exact_sum, from_units, whole_units
from solvers.results import InfeasibleError
from solvers.tables.frames import is_long, read_long
from solvers.tables.labels import Labels, order_by_labels, shown_labels
from solvers.tables.numbers import Bounds, bound_labels, is_exact, read_bounds, read_limit, read_number, read_rows, settle

# A budget that was itself a sum of the least costs in another order, or went through a table printed to 15 digits, misses them by
# some ulps: 1e-12 covers thousands of terms.
ROUND_OFF = 1e-12

# Sums of sums stay finite below this.
_LARGEST = 1e300


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Options as flat arrays. Group g holds ``offsets[g]:offsets[g + 1]``.

    Attributes:
        scores: (n,) as the caller stated them; infinite where the option is forbidden.
        costs: (m, n), one row a budget; infinite where forbidden.
        budgets: (m,).
        offsets: (groups + 1,).
        budget_names: None where the caller gave one number.
        groups, options: names, or None where the input was positional.
        finite: known that nothing is forbidden.
        places: of each budget, the places of its decimals (``solvers.knapsack.decimals``); None where it is held in floats.
        floors: (m,) bounds from below, -inf where there is none; None where no budget has one.
    """

    scores: FloatArray
    costs: FloatArray
    budgets: FloatArray
    offsets: IntArray
    budget_names: tuple[Hashable, ...] | None = None
    groups: tuple[Hashable, ...] | None = None
    options: tuple[Hashable, ...] | None = None
    finite: bool = False
    places: tuple[int | None, ...] = ()
    floors: FloatArray | None = None

    def group_label(self, group: int) -> str:
        """How messages call a group."""
        return f"group {group}" if self.groups is None else f"group {self.groups[group]!r}"

    def budget_label(self, row: int) -> str:
        """How messages call a budget."""
        return "the budget" if self.budget_names is None else f"budget {self.budget_names[row]!r}"

    def option_label(self, flat: int) -> str:
        """How messages call an option."""
        group = int(np.searchsorted(self.offsets, flat, side="right")) - 1
        option = flat - int(self.offsets[group]) if self.options is None else repr(self.options[flat])
        return f"option {option} of {self.group_label(group)}"

    def group_index(self, group: Any, label: str) -> int:
        """Which group a user means, by its name or, where groups have none, its index.

        Raises:
            ValueError: there is no such group; it starts with ``label``.
        """
        names: Sequence[Any] = range(len(self.offsets) - 1) if self.groups is None else self.groups
        if not isinstance(group, bool) and group in names:
            return names.index(group)
        shown = f"0 to {len(names) - 1}" if self.groups is None else ", ".join(map(repr, self.groups[:12]))
        shown += ", ..." * (self.groups is not None and len(names) > 12)
        raise ValueError(f"{label}: there is no group {group!r}; groups are {shown}")

    def position(self, group: Any, option: Any, label: str) -> int:
        """The flat position of an option that a user means, by name or index like its group.

        Raises:
            ValueError: there is no such group or option; it starts with ``label``.
        """
        index = self.group_index(group, label)
        first, last = int(self.offsets[index]), int(self.offsets[index + 1])
        names: Sequence[Any] = range(last - first) if self.options is None else self.options[first:last]
        if not isinstance(option, bool) and option in names:
            return first + names.index(option)
        raise ValueError(f"{label}: {self.group_label(index)} has no option {option!r}")

    def allowed(self) -> NDArray[np.bool_]:
        """(n,) bool: options that are not forbidden."""
        return np.isfinite(self.scores) & np.isfinite(self.costs).all(axis=0)

    def cost(self, row: int, flat: IntArray) -> float:
        """What the options ``flat`` cost in budget ``row``, the correctly rounded sum."""
        costs = self.costs[row][flat]
        return self.stated(row, exact_sum(whole_units(costs, self.places[row] or 0)))

    def stated(self, row: int, cost: float) -> float:
        """A cost of the program in the caller's unit."""
        return from_units(cost, self.places[row] or 0)

    def score_places(self) -> int | None:
        """The places of the scores' decimals; None where they are measured numbers."""
        return decimal_places(np.abs(self.scores), math.inf, self.offsets)

    def nothing_between(self, value: float, bound: float) -> bool:
        """Whether no sum of scores is better than ``value`` and within ``bound``: decimals differ by a unit of their last place."""
        places = self.score_places()
        if places is None:
            return False
        greatest = np.maximum.reduceat(np.where(np.isfinite(self.scores), np.abs(self.scores), 0.0), self.offsets[:-1])
        read = exact_sum(greatest) * 2.0**-52  # how far a sum of the floats is from that of the decimals
        return (abs(bound - value) + 2.0 * read) * 10.0**places < 1.0

    def units(self) -> FloatArray:
        """(m,) how many units of the program's costs are one of the caller's."""
        return np.array([10.0 ** (places or 0) for places in self.places])

    def violation(self, totals: Sequence[float]) -> float:
        """The greatest excess of summed costs over a budget, or shortfall below one; 0.0 where all hold."""
        excess = max(0.0, *map(operator.sub, totals, self.budgets.tolist()))
        if self.floors is None:
            return excess
        return max(excess, *(floor - total for total, floor in zip(totals, self.floors.tolist(), strict=True)))

    def excess(self, flat: IntArray) -> float:
        """:meth:`violation` of the options ``flat``, one a group."""
        return self.violation([self.cost(row, flat) for row in range(len(self.costs))])

    def spent(self, totals: Sequence[float]) -> list[str]:
        """Every budget in words, with what is spent of it."""
        floors = [-math.inf] * len(totals) if self.floors is None else self.floors.tolist()
        ends = enumerate(zip(totals, floors, self.budgets.tolist(), strict=True))
        return [
            f"{self.budget_label(row)} {f'{low!r} to ' * (low > -math.inf)}{high!r}: {total!r}" for row, (total, low, high) in ends
        ]

    def asked(self, least: Sequence[float]) -> list[str]:
        """Every budget in words, with the ``least`` that selections cost under each alone, in units of the program."""
        limits = enumerate(zip(self.budgets.tolist(), least, strict=True))
        return [f"{self.budget_label(row)} {limit} (least {self.stated(row, low)})" for row, (limit, low) in limits]

    def program(self, values: FloatArray, costs: FloatArray, offsets: IntArray) -> BudgetedKnapsack:
        """The program of these options, every budget that is written in decimals counted in whole units.

        A budget below its least cost by at most 1e-12 relative is raised to it.

        Raises:
            InfeasibleError: a budget is below the least cost by more; it names both.
        """
        rows, limits = costs, self.budgets
        if any(self.places):
            units = self.units()
            rows, limits = costs * units[:, None], limits * units
            for row, places in enumerate(self.places):
                if places:
                    rows[row], limits[row] = np.rint(rows[row]), np.rint(limits[row])
        program = BudgetedKnapsack(values, rows, limits, offsets)
        for row, least in enumerate(program.least_costs()):
            if least > limits[row]:
                cost, limit = self.stated(row, least), float(self.budgets[row])
                if cost > limit * (1.0 + ROUND_OFF):
                    raise InfeasibleError(
                        f"nothing fits: {self.budget_label(row)} is {limit!r}, the least possible cost is {cost!r}"
                    )
                limits = limits.copy()
                limits[row] = least
        return program if limits is program.budgets else replace(program, budgets=limits)


def read_table(scores: Any, costs: Any, budget: Any, *, minimize: bool = False) -> ScoreTable:
    """Read and check scores, costs and budget; see ``solvers.project_to_budget`` for what may be given.

    Raises:
        ValueError: with the group and option, when something is malformed.
    """
    if (
        type(scores) is np.ndarray
        and type(costs) is np.ndarray
        and scores.ndim == 2
        and scores.shape == costs.shape
        and scores.size
        and is_exact(scores)
        and is_exact(costs)
        and (type(budget) is float or not isinstance(budget, (Mapping, tuple, list, str)))
    ):
        groups, width = scores.shape
        flat = np.ascontiguousarray(scores, dtype=np.float64).ravel()
        row = np.ascontiguousarray(costs, dtype=np.float64).reshape(1, -1)
        # One pass each: a sum is finite only if every term is. Anything else takes the slow, explaining path.
        finite = math.isfinite(float(flat.sum())) and math.isfinite(float(row.sum())) and float(row.min()) >= 0.0
        cuts, limit = np.arange(0, groups * width + 1, width), np.array([read_limit(budget, "budget")])
        places = (decimal_places(row[0], float(limit[0]), cuts),)
        table = ScoreTable(flat, row, limit, cuts, finite=finite, places=places)
        if not finite:
            _check(table, minimize)
        return table
    if is_long(scores, costs):
        if isinstance(costs, (list, tuple)) and not isinstance(budget, Mapping):
            asked = ", ".join(f"{name!r}: ..." for name in costs)
            raise ValueError(f"budget: expected one for each column of costs, {{{asked}}}, got {budget!r}")
        scores, costs = read_long(scores, costs)
    names: tuple[Hashable, ...] | None = None
    cost_tables, limits = [costs], [budget]
    if isinstance(budget, Mapping):
        if not budget:
            raise ValueError("budget: expected at least one named budget, got an empty mapping")
        if not isinstance(costs, Mapping):
            raise ValueError(f"budget is a mapping of names, so costs must be one too; got {type(costs).__name__}")
        names = tuple(budget)
        _same_names("costs", costs, "budget", budget)
        cost_tables, limits = [costs[name] for name in names], [budget[name] for name in names]
    bounds = [read_bounds(value, label) for value, label in zip(limits, bound_labels(names), strict=True)]
    labels = ["costs" if names is None else f"costs[{name!r}]" for name in (names or (None,))]
    if isinstance(scores, Mapping):
        return _read_named(scores, cost_tables, labels, bounds, names, minimize)
    flat, offsets = read_rows(scores, "scores")
    found = [Labels.of(table) for table in (scores, *cost_tables)]
    orders = order_by_labels(found, ["scores", *labels])
    rows = []
    for cost_table, label, order in zip(cost_tables, labels, orders, strict=True):
        if isinstance(cost_table, Mapping):
            hint = "; costs by budget name need a budget with the same names" if names is None else ""
            raise ValueError(f"{label}: is a mapping while scores is not; name the groups in both or in neither{hint}")
        row, row_offsets = read_rows(cost_table, label)
        if len(row_offsets) != len(offsets):
            raise ValueError(f"{label}: holds {len(row_offsets) - 1} groups, scores holds {len(offsets) - 1}")
        different = np.flatnonzero(np.diff(row_offsets) != np.diff(offsets))
        if len(different):
            group = int(different[0])
            sizes = np.diff(row_offsets)[group], np.diff(offsets)[group]
            raise ValueError(f"{label}: group {group} has {sizes[0]} options, but {sizes[1]} in scores")
        rows.append(row if order is None else row[order])
    table = ScoreTable(flat, np.array(rows), np.full(len(rows), np.inf), offsets, names, *shown_labels(found, offsets))
    _check(table, minimize)
    return _bounded(table, bounds)


def _read_named(
    scores: Mapping[Any, Any],
    cost_tables: Sequence[Any],
    labels: Sequence[str],
    bounds: Sequence[Bounds],
    names: tuple[Hashable, ...] | None,
    minimize: bool,
) -> ScoreTable:
    """``{group: {option: number}}`` for the scores and for every budget; the order is that of the scores."""
    if not scores:
        raise ValueError("scores: expected at least one group, got an empty mapping")
    for group, row in scores.items():
        if not isinstance(row, Mapping):
            raise ValueError(f"scores: group {group!r} must be a mapping of option names to numbers, got {type(row).__name__}")
        if not row:
            raise ValueError(f"scores: group {group!r} is empty, expected at least one option")
    for table, label in zip(cost_tables, labels, strict=True):
        if not isinstance(table, Mapping):
            raise ValueError(f"{label}: scores names its groups, so {label} must too; got {type(table).__name__}")
        _same_names(label, table, "scores", scores)
        for group, row in scores.items():
            if not isinstance(table[group], Mapping):
                found = type(table[group]).__name__
                raise ValueError(f"{label}: group {group!r} must be a mapping of option names to numbers, got {found}")
            _same_names(f"{label}, group {group!r}", table[group], "scores", row)
    groups = tuple(scores)
    options = tuple(option for row in scores.values() for option in row)

    def flatten(table: Mapping[Any, Any], label: str) -> FloatArray:
        return np.array([read_number(table[g][o], f"{label}: group {g!r}, option {o!r}") for g in groups for o in scores[g]])

    offsets = np.concatenate([[0], np.cumsum([len(row) for row in scores.values()])])
    costs = np.array([flatten(table, label) for table, label in zip(cost_tables, labels, strict=True)])
    named = ScoreTable(flatten(scores, "scores"), costs, np.full(len(costs), np.inf), offsets, names, groups, options)
    _check(named, minimize)
    return _bounded(named, bounds)


def allowed_program(table: ScoreTable, minimize: bool) -> tuple[BudgetedKnapsack, IntArray]:
    """The options that are not forbidden, with scores to be maximized, and where they lie in the table; see ``ScoreTable.program``.

    Raises:
        InfeasibleError: every option of a group is forbidden, or a budget is below its least cost.
    """
    values, costs, offsets = -table.scores if minimize else table.scores, table.costs, table.offsets
    if table.finite or (allowed := table.allowed()).all():
        return table.program(values, costs, offsets), np.arange(len(values))
    kept = np.flatnonzero(allowed)
    offsets = np.searchsorted(kept, offsets)
    if not np.diff(offsets).all():
        group = int(np.flatnonzero(np.diff(offsets) == 0)[0])
        raise InfeasibleError(f"{table.group_label(group)}: every option is forbidden (an infinite cost or score)")
    return table.program(values[kept], costs[:, kept], offsets), kept


def _bounded(table: ScoreTable, bounds: Sequence[Bounds]) -> ScoreTable:
    """The table with its budgets, and the places of their decimals."""
    allowed = table.allowed()
    rows = zip(bounds, table.costs, bound_labels(table.budget_names), strict=True)
    settled = [settle(given, costs, allowed, table.offsets, label) for given, costs, label in rows]
    lower, upper, places = zip(*settled, strict=True)
    floors = np.array(lower) if max(lower) > -math.inf else None
    return replace(table, budgets=np.array(upper), floors=floors, places=places)


def _same_names(label: str, found: Mapping[Any, Any], other_label: str, other: Mapping[Any, Any]) -> None:
    missing = [name for name in other if name not in found]
    extra = [name for name in found if name not in other]
    if missing or extra:
        parts = [f"missing {missing!r}"] * bool(missing) + [f"not in {other_label} {extra!r}"] * bool(extra)
        raise ValueError(f"{label}: names differ from {other_label}: {', '.join(parts)}")


def _check(table: ScoreTable, minimize: bool) -> None:
    """NaN, negative costs, and infinities on the wrong side."""

    def refuse(bad: NDArray[np.bool_], what: str, values: FloatArray) -> None:
        if not bad.any():
            return
        position = int(np.flatnonzero(bad)[0])
        group = int(np.searchsorted(table.offsets, position, side="right")) - 1
        option = position - int(table.offsets[group]) if table.options is None else repr(table.options[position])
        raise ValueError(f"{table.group_label(group)}, option {option}: {what.replace('<value>', str(values[position]))}")

    scores = table.scores
    refuse(np.isnan(scores), "the score is NaN", scores)
    wrong, right = (-np.inf, "+inf") if minimize else (np.inf, "-inf")
    refuse(scores == wrong, f"the score is <value>; {right} is what forbids an option", scores)
    for row, costs in enumerate(table.costs):
        cost = "the cost" if table.budget_names is None else f"the cost for budget {table.budget_names[row]!r}"
        refuse(np.isnan(costs), f"{cost} is NaN", costs)
        shift = "add the same amount to every cost of the group and to the budget, which changes no selection"
        refuse(costs < 0, f"{cost} is negative (<value>); {shift}", costs)
    for values, what in ((scores, "scores"), *((row, "costs") for row in table.costs)):
        sizes = np.where(np.isfinite(values), np.abs(values), 0.0)
        largest = float(sizes.max())
        if largest * len(sizes) > _LARGEST:
            refuse(sizes == largest, f"<value> is so large that sums of the {what} overflow a float; scale the {what} down", values)

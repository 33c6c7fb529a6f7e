"""Options that no budget would ever choose: beaten by another option, or only by a mixture of others.

An option that another of its group matches in score at no more cost, in every budget, is in no selection that cannot do without it.
One that lies under the upper hull of its group, beaten by a mixture only, is never used by the relaxation at any budget; an exact
selection may still want it, to fill what the hull's options leave unused. What remains is used somewhere: with one budget every
other option is chosen at some point of the frontier (``solvers.selection.sensitivity``).

Reference: Sinha and Zoltners, The multiple-choice knapsack problem, 1979 (the two kinds of dominance).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import least_by_scipy
from solvers.knapsack import Knapsack, increments
from solvers.tables import ScoreTable, allowed_program, read_table


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Options that may be left out. Options are (group, option) pairs, by names where there are names.

    Attributes:
        dominated: ``{option: the option that beats it}``: as good or better and as cheap or cheaper in every budget. Whatever the
            budgets are, there is an optimal selection without any of these.
        mixed: beaten by a mixture of two or more options, not by one. The relaxation never needs them, whatever the budgets are;
            an exact selection may, to fill what the mixture would leave unused.
    """

    dominated: Mapping[tuple[Hashable, Hashable], tuple[Hashable, Hashable]]
    mixed: tuple[tuple[Hashable, Hashable], ...]


def unneeded_options(scores: Any, costs: Any, *, minimize: bool = False) -> Unneeded:
    """The options that no budget would ever choose, and whether one option or only a mixture beats them.

    Args:
        scores, minimize: as of :func:`solvers.project_to_budget`.
        costs: a table, or a mapping of budget names to tables; then an option must be beaten in all of them.

    Raises:
        ValueError: malformed input; it names the group.
        InfeasibleError: every option of a group is forbidden.

    Complexity: O(n log n) with one table of costs; with several O(k^2) for a group of k options and a small linear program for
    each option that no other dominates.

    Example:
        >>> found = unneeded_options([[0.0, 1.0, 1.0, 2.0]], [[1.0, 3.0, 2.5, 3.5]])
        >>> found.dominated, found.mixed
        ({(0, 1): (0, 2)}, ((0, 2),))
    """
    budget = dict.fromkeys(costs, math.inf) if _names_budgets(scores, costs) else math.inf
    table = read_table(scores, costs, budget, minimize=minimize)
    program, kept = allowed_program(table, minimize)
    dominated: dict[tuple[Hashable, Hashable], tuple[Hashable, Hashable]] = {}
    mixed: list[tuple[Hashable, Hashable]] = []
    single = len(program.costs) == 1
    if single:
        knapsack = Knapsack(program.values, program.costs[0], program.offsets)
        steps = increments(knapsack)
        needed = np.zeros(len(program.values), dtype=bool)
        needed[steps.base] = needed[steps.target] = True
    for group in range(len(program.sizes)):
        part = np.arange(program.offsets[group], program.offsets[group + 1])
        value, cost = program.values[part], program.costs[:, part]
        beaten_by = _dominators(value, cost)
        front = np.flatnonzero(beaten_by < 0)
        for option in range(len(part)):
            label = _label(table, group, int(kept[part[option]]))
            if beaten_by[option] >= 0:
                dominated[label] = _label(table, group, int(kept[part[beaten_by[option]]]))
            elif not (needed[part[option]] if single else _extreme(value, cost, front, option)):
                mixed.append(label)
    return Unneeded(dominated, tuple(mixed))


def _names_budgets(scores: Any, costs: Any) -> bool:
    """Whether ``costs`` maps budget names to tables, and not groups to options."""
    if not isinstance(costs, Mapping) or not isinstance(scores, Mapping):
        return isinstance(costs, Mapping)
    return any(isinstance(row, Mapping) for table in costs.values() if isinstance(table, Mapping) for row in table.values())


def _label(table: ScoreTable, group: int, flat: int) -> tuple[Hashable, Hashable]:
    if table.groups is not None and table.options is not None:
        return table.groups[group], table.options[flat]
    return group, flat - int(table.offsets[group])


def _dominators(value: FloatArray, cost: FloatArray) -> IntArray:
    """(options,) an undominated option that beats each, of equal ones the first; -1 where there is none."""
    covers = (value[:, None] >= value) & (cost[:, :, None] <= cost[:, None, :]).all(axis=0)  # [a, b]: a is no worse than b
    equal = covers & covers.T
    beats = covers & (~equal | (np.arange(len(value))[:, None] < np.arange(len(value))))
    front = ~np.any(beats, axis=0)
    beats &= front[:, None]  # by one that stays: of a chain of options the last
    return np.where(front, -1, beats.argmax(axis=0))


def _extreme(value: FloatArray, cost: FloatArray, front: IntArray, option: int) -> bool:
    """Whether no mixture of the other undominated options is as good and as cheap in every budget."""
    others = front[front != option]
    if not len(others):
        return True
    most = cost.max(axis=1)
    scale = np.where(most > 0.0, most, 1.0)
    unit = float(np.abs(value).max()) or 1.0
    whole = np.ones((1, len(others))), np.ones(1)
    best = least_by_scipy(-value[others] / unit, (cost[:, others] / scale[:, None], cost[:, option] / scale), whole)
    # 1e-9 of the greatest score: HiGHS is accurate to about 1e-10 on rows scaled to 1. Options that close are called needed.
    return best is None or -best < float(value[option]) / unit + 1e-9

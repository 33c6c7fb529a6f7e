"""Of all selections that are as good as the best, one that depends on the numbers alone: the canonical optimum.

It costs least, budget after budget, and of those it takes the lowest option indices, group after group. Each of these is a program
of its own: the least cost with the score held from below, then the lowest indices with the costs held from above, as many groups at
a time as whole numbers can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.knapsack import exact_sum, whole_units
from solvers.selection.constraints import Rules
from solvers.tables import ScoreTable

_WHOLE = 2.0**39  # whole values below this are told apart exactly by every method

Solve = Callable[[ScoreTable, Rules], IntArray]  # the options of least summed score under the table's bounds


def in_units(table: ScoreTable) -> ScoreTable:
    """The table with scores that are decimals counted in whole units, so that equal sums are equal; others are left as they are."""
    places = table.score_places()
    return table if not places else replace(table, scores=whole_units(table.scores, places))


def canonical(table: ScoreTable, rules: Rules, flat: IntArray, minimize: bool, solve: Solve) -> IntArray:
    """The canonical one of all selections that are as good as ``flat``, which is optimal.

    Args:
        solve: the options of least summed score of a table, one a group.
    """
    scores = (-table.scores if minimize else table.scores)[None]
    whole = table.score_places()
    floors = np.full(len(table.costs), -np.inf) if table.floors is None else table.floors
    held = replace(
        table,
        costs=np.concatenate([table.costs, scores]),
        budgets=np.append(table.budgets, np.inf),
        floors=np.append(floors, exact_sum(scores[0][flat])),
        places=(*table.places, whole),
        budget_names=(*range(len(table.costs)), "score"),
    )
    for row in range(len(table.costs)):
        flat = solve(replace(held, scores=held.costs[row]), rules)
        budgets = held.budgets.copy()
        budgets[row] = table.cost(row, flat)
        held = replace(held, budgets=budgets)
    index = np.arange(len(table.scores)) - np.repeat(table.offsets[:-1], np.diff(table.offsets))
    group = np.repeat(np.arange(len(table.offsets) - 1), np.diff(table.offsets))
    index[rules.leader != np.arange(len(index))] = 0  # linked groups follow the first of them
    allowed = table.allowed()
    first = 0
    while first < len(flat):
        weights, last = _weights(table, first)
        values = np.where(allowed, weights[group] * index, np.inf)
        values[(group < first) & (np.arange(len(values)) != flat[group])] = np.inf
        flat = solve(replace(held, scores=values), rules)
        first = last
    return flat


def _weights(table: ScoreTable, first: int) -> tuple[FloatArray, int]:
    """Weights of the groups from ``first`` up to an end, the others 0, under which an earlier group outweighs all later ones."""
    sizes = np.diff(table.offsets)
    last, size = first, 1.0
    while last < len(sizes) and (last == first or size * sizes[last] <= _WHOLE):
        size *= float(sizes[last])
        last += 1
    weights, unit = np.zeros(len(sizes)), 1.0
    for group in range(last - 1, first - 1, -1):
        weights[group] = unit
        unit *= float(sizes[group])
    return weights, last

"""States of the knapsack's dynamic program: partial selections, each a cost in two floats, a value, and where it came from.

The cost is kept by the error-free TwoSum, so its leading float is the correctly rounded sum of the costs, the one that budgets are
held to: dominance and feasibility are decided as ``math.fsum`` would decide them.

Reference: Knuth, TAOCP 2, Sec. 4.2.2 (TwoSum); Horowitz and Sahni 1974 (two lists, joined).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels.hulls import add


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Partial selections: cost in two floats, value, bound, the state each extends and the option it adds."""

    hi: FloatArray
    lo: FloatArray
    value: FloatArray
    bound: FloatArray
    parent: IntArray
    option: IntArray

    def take(self, rows: IntArray) -> States:
        return States(self.hi[rows], self.lo[rows], self.value[rows], self.bound[rows], self.parent[rows], self.option[rows])

    @staticmethod
    def join(parts: list[States]) -> States:
        if len(parts) == 1:
            return parts[0]
        columns = zip(*((p.hi, p.lo, p.value, p.bound, p.parent, p.option) for p in parts), strict=True)
        return States(*(np.concatenate(column) for column in columns))

    def pareto(self) -> IntArray:
        """Rows that no other beats in cost and value, by rising cost; of equal ones the first stays."""
        order = np.argsort(self.hi, kind="stable")
        hi = self.hi[order]
        if (hi[1:] == hi[:-1]).any():  # then the low parts decide, and the better value of two equal costs
            order = np.lexsort((-self.value, self.lo, self.hi))
        value = self.value[order]
        keep = np.ones(len(order), dtype=bool)
        keep[1:] = value[1:] > np.maximum.accumulate(value)[:-1]
        return order[keep]


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """Every undominated selection of the last few groups, by rising cost and value: what completes a state without a search."""

    states: States
    history: list[States]
    count: int

    @classmethod
    def of(cls, groups: Sequence[IntArray], costs: FloatArray, values: FloatArray, most: int) -> Tail:
        """From the last of ``groups`` (options of each, into costs and values) backwards, as many as ``most`` candidates allow."""
        zero, none = np.zeros(1), np.zeros(1, dtype=np.intp)
        states, history = States(zero, zero, zero, zero, none, none), []
        for options in reversed(groups):
            if len(states.hi) * len(options) > most:
                break
            states = expand(states, slice(None), costs[options], values[options], options)
            states = states.take(states.pareto())
            history.append(states)
        return cls(states, history, len(history))

    def within(self, room: FloatArray) -> IntArray:
        """For each room, the costliest (so best) selection that costs no more; -1 where none does."""
        return np.searchsorted(self.states.hi, room, side="right") - 1

    def options(self, row: int) -> IntArray:
        """The options of one selection."""
        return trace(self.history[:-1], int(self.states.option[row]), int(self.states.parent[row]))


def expand(states: States, window: slice, costs: FloatArray, values: FloatArray, options: IntArray) -> States:
    """Every state of the window with every option; the bounds are still the parents'."""
    rounded, rest = add(states.hi[window, None], states.lo[window, None], costs)
    rows = np.arange(len(states.hi))[window]
    return States(
        rounded.ravel(),
        rest.ravel(),
        (states.value[window, None] + values).ravel(),
        np.repeat(states.bound[window], len(options)),
        np.repeat(rows, len(options)),
        np.tile(options, len(rows)),
    )


def trace(history: list[States], option: int, parent: int) -> IntArray:
    """The options of a state's path, latest first."""
    path = [int(option)]
    row = int(parent)
    for states in reversed(history):
        path.append(int(states.option[row]))
        row = int(states.parent[row])
    return np.array(path, dtype=np.intp)

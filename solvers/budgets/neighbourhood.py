"""Better selections by solving neighbourhoods exactly: some groups are free, all others stay, and the branch and bound decides.

What an option loses is how far its value, priced at the relaxation's multipliers, is below its group's best. No selection that is
better than the one at hand loses more than its gap altogether, so most neighbourhoods leave only options that lose a small share of
the gap, of more groups than could be searched with all options. Groups that lose much by what they hold are drawn more often.
Neighbourhoods grow while they are solved easily, and shrink where they are not.

Reference: Shaw, Using constraint programming and local search methods to solve vehicle routing problems, CP 1998; Balas and Zemel,
An algorithm for large zero-one knapsack problems, 1980 (the core); Chen and Hao, A "reduce and solve" approach for the
multiple-choice multidimensional knapsack problem, EJOR 2014.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.scaled import ScaledProgram
from solvers.budgets.tree import BranchAndBound
from solvers.knapsack import exact_sum, fitting

_FREE = 16.0  # groups at first
_SHARES = (0.01, 0.03, 0.06, 0.3, math.inf)  # of the gap, drawn in turn: options that lose more are left out
_NODES = 500  # of one neighbourhood: some milliseconds
_SEED = 8


class Neighbourhoods:
    """Draws neighbourhoods of a selection and searches them; the draws are seeded."""

    def __init__(self, scaled: ScaledProgram, dual: FloatArray) -> None:
        self._scaled = scaled
        prices = scaled.values - scaled.rows @ dual
        top = np.maximum.reduceat(prices, scaled.offsets[:-1])
        self._loss = np.repeat(top, np.diff(scaled.offsets)) - prices
        self._upper = float(top.sum() + scaled.limits @ dual)
        self._draw = np.random.default_rng(_SEED)
        self._free = dict.fromkeys(_SHARES, _FREE)  # groups of the next neighbourhood, by share

    def improve(self, choices: IntArray, deadline: float) -> IntArray | None:
        """The best selection of one neighbourhood of ``choices`` (groups,) where it is better; None else."""
        scaled, share = self._scaled, _SHARES[int(self._draw.integers(len(_SHARES)))]
        near = np.ones(len(self._loss), dtype=np.bool_)
        if math.isfinite(share):
            near = self._loss <= share * max(self._upper - exact_sum(scaled.values[choices]), 0.0)
            near[choices] = True
        sizes = np.add.reduceat(near, scaled.offsets[:-1], dtype=np.intp)
        drawn = np.flatnonzero(sizes > 1)
        if not len(drawn):
            return None
        groups = self._groups(choices, drawn, min(round(self._free[share]), len(drawn)))
        options = np.concatenate([np.arange(scaled.offsets[g], scaled.offsets[g + 1]) for g in groups])
        options = options[near[options]]
        cuts = np.concatenate([[0], np.cumsum(sizes[groups])])
        fixed = np.delete(choices, groups)
        left = np.array(
            [math.fsum([limit, *(-row).tolist()]) for limit, row in zip(scaled.limits, scaled.rows[fixed].T, strict=True)]
        )
        rows = scaled.rows[options].T
        kept = fitting(rows, np.maximum(left, 0.0), cuts)
        if kept is None:
            return None
        part = ScaledProgram.of(scaled.values[options[kept]], rows[:, kept], np.maximum(left, 0.0), np.searchsorted(kept, cuts))
        search = BranchAndBound(part, exact_sum(scaled.values[choices[groups]]))
        search.advance(1, deadline)
        search.advance(_NODES, deadline)
        factor = 1.02 if search.done else 0.95
        self._free[share] = min(max(factor * self._free[share], 2.0), float(len(sizes)))
        if search.choices is None:
            return None
        better = choices.copy()
        better[groups] = options[kept[search.choices]]
        return better if scaled.fits(better) else None

    def _groups(self, choices: IntArray, drawn: IntArray, count: int) -> IntArray:
        """``count`` distinct groups of ``drawn``, ascending: those that lose much, at random, or beside one another."""
        kind = int(self._draw.integers(4))
        if kind == 0:
            picked = np.roll(drawn, -int(self._draw.integers(len(drawn))))[:count]
        elif kind == 1:
            picked = self._draw.choice(drawn, count, replace=False)
        else:
            # By an exponential race, which draws by weight without replacement.
            lost = np.maximum(self._loss[choices], 0.0)
            weights = lost[drawn] + 0.02 * float(lost.max()) + 1e-3 * float(lost.mean()) + 1e-300
            picked = drawn[np.argsort(self._draw.exponential(size=len(drawn)) / weights)[:count]]
        return np.sort(picked)

"""Better selections by solving neighbourhoods exactly: some groups are free, all others stay, and the branch and bound decides.

Groups whose second thoughts cost little at the relaxation's multipliers are drawn more often: it is there that optimal selections
differ from good ones. Neighbourhoods grow while they are solved easily, and shrink where they are not.

Reference: Shaw, Using constraint programming and local search methods to solve vehicle routing problems, CP 1998; Balas and Zemel,
An algorithm for large zero-one knapsack problems, 1980 (the core).
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.scaled import ScaledProgram
from solvers.budgets.tree import BranchAndBound
from solvers.knapsack import exact_sum, fitting

_FREE = 12  # groups at first
_NODES = 2000  # of one neighbourhood: some milliseconds
_SEED = 8


class Neighbourhoods:
    """Draws neighbourhoods of a selection and searches them; the draws are seeded."""

    def __init__(self, scaled: ScaledProgram, dual: FloatArray) -> None:
        self._scaled = scaled
        self._sizes = np.diff(scaled.offsets)
        self._open = np.flatnonzero(self._sizes > 1)
        self._prices = scaled.values - scaled.rows @ dual
        top = np.maximum.reduceat(self._prices, scaled.offsets[:-1])
        self._loss = np.repeat(top, self._sizes) - self._prices
        self._draw = np.random.default_rng(_SEED)
        self._free = float(min(_FREE, len(self._open)))

    def improve(self, choices: IntArray, deadline: float) -> IntArray | None:
        """The best selection of one neighbourhood of ``choices`` (groups,) where it is better; None else."""
        scaled = self._scaled
        count = max(2, min(round(self._free), len(self._open)))
        groups = self._groups(choices, count)
        options = np.concatenate([np.arange(scaled.offsets[g], scaled.offsets[g + 1]) for g in groups])
        cuts = np.concatenate([[0], np.cumsum(self._sizes[groups])])
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
        self._free = min(self._free * 1.02, float(len(self._open))) if search.done else max(self._free * 0.95, 2.0)
        if search.choices is None:
            return None
        better = choices.copy()
        better[groups] = options[kept[search.choices]]
        return better if scaled.fits(better) else None

    def _groups(self, choices: IntArray, count: int) -> IntArray:
        """Distinct groups, ascending: by turns those of little loss, at random, or beside one another."""
        kind = int(self._draw.integers(3))
        if kind == 0:
            first = int(self._draw.integers(len(self._open)))
            picked = np.roll(self._open, -first)[:count]
        elif kind == 1:
            picked = self._draw.choice(self._open, count, replace=False)
        else:
            # The least loss of an exchange; the draw is by an exponential race, which ranks by weight without replacement.
            extra = self._loss - np.repeat(self._loss[choices], self._sizes)
            extra[choices] = np.inf
            least = np.minimum.reduceat(np.abs(extra), self._scaled.offsets[:-1])[self._open]
            finite = least[np.isfinite(least)]
            scale = float(np.median(finite)) + 1e-300 if len(finite) else 1.0
            race = self._draw.exponential(size=len(self._open)) * (least / scale + 0.05)
            picked = self._open[np.argsort(race)[:count]]
        return np.sort(picked)

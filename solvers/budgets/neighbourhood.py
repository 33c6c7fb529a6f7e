"""Better selections by solving neighbourhoods exactly: some groups are free, all others stay, and the branch and bound decides.

What an option loses is how far its value, priced at the relaxation's multipliers, is below its group's best. No selection that is
better than the one at hand loses more than its gap altogether, so most neighbourhoods leave only options that lose a small share of
the gap, of more groups than could be searched with all options. Groups that lose much by what they hold are drawn more often.
Neighbourhoods grow while they are solved easily, and shrink where they are not. Where many in turn hold nothing better, the
selection is left: some groups are decided anew without half of their options, and it goes on from there.

Reference: Shaw, Using constraint programming and local search methods to solve vehicle routing problems, CP 1998; Balas and Zemel,
An algorithm for large zero-one knapsack problems, 1980 (the core); Chen and Hao, A "reduce and solve" approach for the
multiple-choice multidimensional knapsack problem, EJOR 2014; Lourenco, Martin and Stuetzle, Iterated local search, 2003.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.budgets.scaled import ScaledProgram
from solvers.budgets.tree import BranchAndBound
from solvers.knapsack import exact_sum, fitting

_FREE = 16.0  # groups at first
_SHARES = (0.01, 0.03, 0.06, 0.3, math.inf)  # of the gap, drawn in turn: options that lose more are left out
_NODES = 500  # of one neighbourhood: some milliseconds
_IDLE = 60  # neighbourhoods in turn that hold nothing better: then the selection is left
_KICK = 0.25  # of the groups lose their options, with even chances, when it is
_LEFT = 0.3  # of the gap: options that lose more do not take their place
_REMEMBERED = 6  # selections that were left: the next one begins at one of them
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
        self._at: IntArray = np.empty(0, dtype=np.intp)  # where it searches: the best selection, or one that was reached from it
        self._best = -math.inf
        self._idle = 0
        self._left: list[IntArray] = []

    def improve(self, choices: IntArray, deadline: float) -> IntArray | None:
        """Search one neighbourhood; a selection that is better than the best, ``choices`` (groups,), where it has one."""
        worth = exact_sum(self._scaled.values[choices])
        if worth > self._best:
            self._best, self._at, self._idle = worth, choices.copy(), 0
        elif self._idle >= _IDLE:
            self._leave(deadline)
        share = _SHARES[int(self._draw.integers(len(_SHARES)))]
        near = self._near(self._at, share)
        drawn = self._open(near)
        if not len(drawn):
            return None
        groups = self._groups(self._at, drawn, min(round(self._free[share]), len(drawn)))
        found, done = self._searched(groups, near, deadline)
        self._free[share] = min(max((1.02 if done else 0.95) * self._free[share], 2.0), float(len(self._at)))
        self._idle += 1
        if found is None:
            return None
        self._at, self._idle = found, 0
        return found if exact_sum(self._scaled.values[found]) > self._best else None

    def _leave(self, deadline: float) -> None:
        """Go on from a selection that was left before or is left now, without some of its options."""
        self._left = [self._at, *(kept for kept in self._left if (kept != self._at).any())]
        if len(self._left) > _REMEMBERED:
            worths = [exact_sum(self._scaled.values[kept]) for kept in self._left]
            del self._left[int(np.argmin(worths))]
        self._at, self._idle = self._left[int(self._draw.integers(len(self._left)))], 0
        near = self._near(self._at, _LEFT)
        drawn = self._open(near)
        if not len(drawn):
            return
        groups = np.sort(self._draw.choice(drawn, max(1, round(_KICK * len(drawn))), replace=False))
        near[self._at[groups[self._draw.random(len(groups)) < 0.5]]] = False
        found, _ = self._searched(groups, near, deadline, worse=True)
        if found is not None:
            self._at = found

    def _near(self, choices: IntArray, share: float) -> BoolArray:
        """(n,) whether options lose no more than this share of the gap; those of ``choices`` count."""
        near: BoolArray = self._loss <= (share * max(self._upper - self._best, 0.0) if math.isfinite(share) else math.inf)
        near[choices] = True
        return near

    def _open(self, near: BoolArray) -> IntArray:
        """Groups that have a choice."""
        return np.flatnonzero(np.add.reduceat(near, self._scaled.offsets[:-1], dtype=np.intp) > 1)

    def _searched(self, groups: IntArray, near: BoolArray, deadline: float, *, worse: bool = False) -> tuple[IntArray | None, bool]:
        """A better selection, or a ``worse`` one, with ``groups`` (ascending) decided anew; and whether the search ended."""
        scaled, choices = self._scaled, self._at
        options = np.concatenate([np.arange(scaled.offsets[g], scaled.offsets[g + 1]) for g in groups])
        options = options[near[options]]
        cuts = np.searchsorted(options, np.append(scaled.offsets[groups], scaled.offsets[groups[-1] + 1]))
        fixed = np.delete(choices, groups)
        left = np.array(
            [math.fsum([limit, *(-row).tolist()]) for limit, row in zip(scaled.limits, scaled.rows[fixed].T, strict=True)]
        )
        rows = scaled.rows[options].T
        kept = fitting(rows, np.maximum(left, 0.0), cuts)
        if kept is None:
            return None, True
        part = ScaledProgram.of(scaled.values[options[kept]], rows[:, kept], np.maximum(left, 0.0), np.searchsorted(kept, cuts))
        search = BranchAndBound(part, -math.inf if worse else exact_sum(scaled.values[choices[groups]]))
        search.advance(1, deadline)
        search.advance(_NODES, deadline)
        if search.choices is None:
            return None, search.done
        better = choices.copy()
        better[groups] = options[kept[search.choices]]
        return (better if scaled.fits(better) else None), search.done

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

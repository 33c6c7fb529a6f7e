"""Upper hulls of many small groups at once, in numpy: what depends on the costs alone is prepared.

With each group's options sorted by cost, an option is a vertex of the upper hull if and only if the least slope of the chords that
reach it from cheaper options is positive and exceeds the greatest slope of the chords from it to costlier ones. So a few operations
on the table of all pairs find every hull, where ``solvers.knapsack.hulls`` removes points layer by layer.

Reference: Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray, IntArray
from solvers.knapsack import Increments

_CELLS = 20_000  # pairs up to which all of them take less time than the layers do
_LEAST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True, eq=False)
class HullTable:
    """The costs of groups of options, prepared for hulls of ever new values. Build it with :meth:`of`.

    Tables are (widest, groups): options by rising cost, the first of equals first; short groups repeat their last option. Pairs
    are (widest, widest * groups): the row tells the option that a column's option is compared with.
    """

    costs: FloatArray  # (n,)
    options: IntArray  # a table of flat options
    runs: FloatArray  # pairs: the column's cost less the row's, with the sign of zeros, 1 where they are the same
    repeats: FloatArray | None  # pairs: the least float, with that sign, where costs are equal; None: nowhere
    reaching: FloatArray  # pairs: -inf for chords from earlier options, inf elsewhere
    leaving: FloatArray  # pairs: inf for chords to later options, -inf elsewhere
    listed: IntArray  # (groups * widest,) the table group by group
    group: IntArray  # of these
    lightest: NDArray[np.bool_]  # of these: whether an option costs no more than any of its group

    @classmethod
    def of(cls, costs: FloatArray, offsets: IntArray) -> HullTable | None:
        """Prepare groups ``offsets[g]:offsets[g + 1]`` of options with costs (n,); None where the pairs would be too many."""
        sizes = np.diff(offsets)
        groups, widest = len(sizes), int(sizes.max())
        if widest * widest * groups > _CELLS:
            return None
        order = np.lexsort((costs, np.repeat(np.arange(groups), sizes)))
        listed = order[offsets[:-1, None] + np.minimum(np.arange(widest), sizes[:, None] - 1)]
        table = np.ascontiguousarray(listed.T)
        row, column = np.arange(widest)[:, None, None], np.arange(widest)[None, :, None]
        gaps = np.abs(costs[table] - costs[table][:, None])
        sign = np.where(row < column, 1.0, -1.0)
        repeated = (gaps == 0.0) & (row != column)
        pairs = widest, widest * groups
        return cls(
            costs,
            table,
            np.where(row == column, 1.0, sign * gaps).reshape(pairs),
            (repeated * sign * _LEAST).reshape(pairs) if repeated.any() else None,
            np.broadcast_to(np.where(row < column, -np.inf, np.inf), gaps.shape).reshape(pairs),
            np.broadcast_to(np.where(row > column, np.inf, -np.inf), gaps.shape).reshape(pairs),
            listed.ravel(),
            np.repeat(np.arange(groups), widest),
            (costs[listed] == costs[listed[:, :1]]).ravel(),
        )

    def increments(self, values: FloatArray) -> Increments | None:
        """``solvers.knapsack.increments`` of these costs with ``values`` (n,); None where slopes exceed the range of floats."""
        widest, groups = self.options.shape
        table = values.take(self.options)
        with np.errstate(over="ignore", divide="ignore"):
            chords = table.ravel() - table.repeat(widest, axis=0).reshape(widest, -1)
            if self.repeats is not None:  # of equal costs the best, then the first wins: the slope is an infinity, never 0 / 0
                chords -= self.repeats
            chords /= self.runs
        reached = np.maximum(chords, self.reaching).min(axis=0)
        np.minimum(chords, self.leaving, out=chords)
        vertex = (reached > chords.max(axis=0)) & (reached > 0.0)
        at = vertex.reshape(widest, groups).T.ravel().nonzero()[0]
        points, first = self.listed[at], self.lightest[at]
        base = points[first]
        if len(base) != groups:
            return None
        step = (~first).nonzero()[0]
        source, target = points[step - 1], points[step]
        rise, run = values[target] - values[source], self.costs[target] - self.costs[source]
        with np.errstate(over="ignore"):
            slope = rise / run
        rank = (-slope).argsort(kind="stable")
        return Increments(base, self.group[at[step]][rank], source[rank], target[rank], run[rank], rise[rank], slope[rank])

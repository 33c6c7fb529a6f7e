"""The multiple-choice knapsack as flat arrays: one option a group, the greatest summed value within one budget.

``max sum_g v[g, o_g]  s.t.  sum_g c[g, o_g] <= budget`` is what every projection onto a budget comes down to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray

_UP = 1.5 * 2.0**-52  # of the size of its terms: more than a product and a difference can round away


@dataclass(frozen=True, slots=True, eq=False)
class Knapsack:
    """Options in flat arrays: group g holds options ``offsets[g]:offsets[g + 1]``.

    Values (n,) and costs (n,) are finite, costs are not negative. :meth:`of` checks that.
    """

    values: FloatArray
    costs: FloatArray
    offsets: IntArray

    @classmethod
    def of(cls, values: ArrayLike, costs: ArrayLike, offsets: ArrayLike) -> Knapsack:
        """Check the arrays; they are kept as they are (float64 arrays are not copied).

        Raises:
            ValueError: shapes that do not meet, an empty group, values that are not finite, costs that are negative or not finite.
        """
        v, c = np.asarray(values, dtype=np.float64), np.asarray(costs, dtype=np.float64)
        cuts = np.asarray(offsets, dtype=np.intp)
        if v.ndim != 1 or v.shape != c.shape:
            raise ValueError(f"Knapsack: expected values and costs of one shape (n,), got {v.shape} and {c.shape}")
        if len(cuts) < 2 or cuts[0] != 0 or cuts[-1] != len(v) or (np.diff(cuts) < 1).any():
            raise ValueError(
                f"Knapsack: offsets must rise from 0 to {len(v)} with at least one option a group, got {cuts.tolist()}"
            )
        if not np.isfinite(v).all():
            raise ValueError("Knapsack: values must be finite; leave out the option that is forbidden")
        if not (np.isfinite(c).all() and (c >= 0).all()):
            raise ValueError("Knapsack: costs must be finite and not negative")
        return cls(v, c, cuts)

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.offsets) - 1

    @property
    def group(self) -> IntArray:
        """The group of each option, shape (n,)."""
        return np.repeat(np.arange(self.count), np.diff(self.offsets))

    def restrict(self, kept: IntArray) -> Knapsack:
        """The knapsack of the options ``kept`` (flat, grouped, at least one a group), in that order."""
        sizes = np.bincount(self.group[kept], minlength=self.count)
        return Knapsack(self.values[kept], self.costs[kept], np.concatenate([[0], np.cumsum(sizes)]))


def exact_sum(values: FloatArray) -> float:
    """The correctly rounded sum (``math.fsum``): the one sum that budgets are held to."""
    return math.fsum(values.tolist())


def fitting(costs: FloatArray, budgets: FloatArray, offsets: IntArray) -> IntArray | None:
    """The options that fit every budget beside the cheapest of all other groups, ascending; None where a group has none.

    What is left out can be in no selection that fits: a proof, as the room is rounded up.

    Args:
        costs: (m, n). budgets: (m,). offsets: (groups + 1,).
    """
    kept = np.arange(costs.shape[1])
    cuts, rows = offsets, costs
    while True:
        least = np.minimum.reduceat(rows, cuts[:-1], axis=1)
        sums = np.array([exact_sum(row) for row in least])
        room = (budgets - sums) + 8 * 2.0**-52 * budgets
        fits = (rows - np.repeat(least, np.diff(cuts), axis=1) <= room[:, None]).all(axis=0)
        if fits.all():
            return kept
        kept, rows = kept[fits], rows[:, fits]
        cuts = np.searchsorted(kept, offsets)
        if not np.diff(cuts).all():
            return None


def first_best(values: FloatArray, offsets: IntArray) -> IntArray:
    """(groups,) flat position of each group's greatest value, the first of equals."""
    best = np.maximum.reduceat(values, offsets[:-1])
    hits = np.flatnonzero(values == np.repeat(best, np.diff(offsets)))
    return hits[np.searchsorted(hits, offsets[:-1])]


def lagrangian_bound(knapsack: Knapsack, budget: float, dual: float) -> float:
    """``dual * budget + sum_g max_o (v - dual * c)``, rounded up: a bound on every selection that fits, for any dual >= 0."""
    priced = dual * knapsack.costs
    reduced = knapsack.values - priced
    reduced += _UP * (np.abs(knapsack.values) + priced)
    best = np.maximum.reduceat(reduced, knapsack.offsets[:-1])
    return math.nextafter(math.fsum([*best.tolist(), *priced_budget(budget, dual)]), math.inf)


def priced_budget(budget: float, dual: float) -> tuple[float, float]:
    """Two terms that sum to what the budget is worth at ``dual``, at least; the second allows for rounding.

    A selection fits if its sum *rounds* to the budget or less, so its exact cost may be half an ulp more; the product rounds too.
    """
    return (dual * budget, dual * 1.5 * math.ulp(budget)) if dual else (0.0, 0.0)

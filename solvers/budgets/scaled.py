"""A program with several budgets as the kernels take it, and its linear relaxation by them.

Costs are scaled by powers of two, which changes no sum, so that budgets of any units weigh alike; values are taken below each
group's best, so that differences keep their digits. The kernels are imported when the first program is solved.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 and 11.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels import as_kernel_input, run_kernel
from solvers.knapsack import exact_sum

_EPSILON = 2.0**-52
_LOOKED_AT = 20_000  # options: looking for copies among more takes longer than a moment
_WHOLE = 2.0**40  # whole values of this size leave room for the rounding of bounds between two whole numbers


@dataclass(frozen=True, slots=True, eq=False)
class ScaledProgram:
    """A program as the kernels take it; all scaling is by powers of two, which is exact.

    Attributes:
        values: (n,) below each group's best, none positive, the least about -1 (unless they are whole numbers).
        rows: (n, m) costs under the finite budgets, which are about 1.
        limits: (m,) those budgets; ``room`` (m,) is more than any sum that rounds to them.
        finite, shift: which budgets they are, and the powers of two they were scaled by.
        lift: what the values are below: the sum of the groups' best.
        unit: the power of two that values were scaled by.
        whole: values are whole numbers, so that nothing lies between two of them.
    """

    values: FloatArray
    rows: FloatArray
    limits: FloatArray
    room: FloatArray
    offsets: IntArray
    finite: IntArray
    shift: IntArray
    lift: float
    unit: int
    whole: bool

    @classmethod
    def of(cls, values: FloatArray, costs: FloatArray, budgets: FloatArray, offsets: IntArray) -> ScaledProgram:
        finite = np.flatnonzero(np.isfinite(budgets))
        most = costs[finite].max(axis=1, initial=0.0)
        sizes = np.where(budgets[finite] > 0.0, np.maximum(budgets[finite], 2.0**-200 * most), most)  # nothing overflows
        shift = -np.frexp(sizes)[1].astype(np.intp)
        rows = np.ascontiguousarray(np.ldexp(costs[finite], shift[:, None]).T)
        limits = np.ldexp(budgets[finite], shift)
        # A sum fits if it rounds to the budget: half an ulp; the room left at a node is rounded some times more.
        room = limits + 0.5 * np.spacing(limits) + 8 * _EPSILON * limits
        best = np.maximum.reduceat(values, offsets[:-1])
        shifted = values - np.repeat(best, np.diff(offsets))
        lift, least = exact_sum(best), -float(shifted.min())
        spread = -exact_sum(np.minimum.reduceat(shifted, offsets[:-1]))
        whole = max(spread, abs(lift)) < _WHOLE and not (values % 1.0).any()
        unit = 0 if whole or least == 0.0 else -int(np.frexp(least)[1])
        return cls(np.ldexp(shifted, unit), rows, limits, room, as_kernel_input(offsets), finite, shift, lift, unit, whole)

    def repeats(self) -> bool:
        """Whether half of the groups or more are copies of others."""
        groups = len(self.offsets) - 1
        if len(self.values) > _LOOKED_AT:
            return False
        table, cuts = np.column_stack([self.values, self.rows]), self.offsets.tolist()
        return 2 * len({table[a:b].tobytes() for a, b in itertools.pairwise(cuts)}) <= groups

    def fits(self, choices: IntArray) -> bool:
        """Whether flat ``choices`` meet every budget by their correctly rounded sums."""
        sums = (exact_sum(row) for row in self.rows[choices].T)
        return all(total <= limit for total, limit in zip(sums, self.limits.tolist(), strict=True))

    def stated(self, bound: float) -> float:
        """A bound of scaled values in the caller's, rounded up."""
        return math.nextafter(self.lift + math.ldexp(bound, -self.unit), math.inf) if math.isfinite(bound) else bound

    def multipliers(self, dual: FloatArray, count: int) -> FloatArray:
        """The kernels' ``dual`` for all ``count`` budgets in the caller's units."""
        duals = np.zeros(count)
        with np.errstate(over="ignore"):
            duals[self.finite] = np.minimum(np.ldexp(dual, self.shift - self.unit), 1e300)  # any multiplier proves a bound
        return duals


def relax_budgets(
    values: FloatArray, costs: FloatArray, budgets: FloatArray, offsets: IntArray
) -> tuple[bool, FloatArray | None, FloatArray]:
    """Whether nothing fits for sure, a vertex (n,) of the relaxation, and multipliers (m,).

    The arguments are those of :func:`solvers.budgets.search.solve_budgets`.

    At most one group a budget is fractional. There is no vertex where the descent stalls among degenerate ties.
    """
    from solvers.kernels.budgets.dual import BOUNDED, INFEASIBLE, descend

    groups, n = len(offsets) - 1, len(values)
    scaled = ScaledProgram.of(values, costs, budgets, offsets)
    m = len(scaled.finite)
    dual, weight, kinks = np.zeros(m), np.zeros(m), np.zeros((m, 2), dtype=np.intp)
    key = np.zeros(groups, dtype=np.intp)
    arguments = scaled.values, scaled.rows, np.arange(n), scaled.offsets, groups, scaled.room, dual, -math.inf
    found = key, kinks, weight, np.empty(n), math.inf
    status, _, held = run_kernel(descend, scaled.rows.size, *arguments, *found)
    if status == INFEASIBLE:
        return True, None, np.zeros(len(budgets))
    duals = scaled.multipliers(dual, len(budgets))
    if status != BOUNDED:
        return False, None, duals
    x = np.zeros(n)
    x[key] = 1.0
    for (group, option), share in zip(kinks[:held].tolist(), weight[:held].tolist(), strict=True):
        if group >= 0:
            share = min(max(share, 0.0), float(x[key[group]]))
            x[option] += share
            x[key[group]] -= share
    return False, x, duals

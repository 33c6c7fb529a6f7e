"""Programs whose bound is met by so many selections that only their last digits tell them apart: all of them, by two halves.

Where scores follow one cost, the relaxation prices that budget alone, and the options that lose nothing at its price are many.
What a selection is below the bound is then what it leaves of the budget, and few options lose less than the best selection that
is known. The choices among these are listed for either half of the groups and sorted by what they cost; a better selection is a
pair that spends the budget up to the gap, so a search in one list for every entry of the other finds all there are. They are
looked through from the full budget downwards: the first that meets the other budgets is the best, and where none is left nothing
is better.

Reference: Horowitz and Sahni, Computing partitions with applications to the knapsack problem, JACM 1974.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.scaled import ScaledProgram
from solvers.knapsack import exact_sum

_LONGEST = 1 << 20  # choices of a half: some 50 MB
_PAIRS = 1 << 20  # looked through at once
_MOST = 4  # times as many, where so many cost the same
_WIDER = 8.0  # the next window, where one holds nothing
_ROUNDING = 2.0**-44  # of a budget: the sum of a hundred terms that are no greater


@dataclass(frozen=True, slots=True, eq=False)
class _Half:
    """Choices of some groups: what they cost under the budget that decides, rising, under the others, and which they are."""

    groups: IntArray
    paid: FloatArray
    rest: FloatArray
    code: IntArray


def by_halves(
    scaled: ScaledProgram, row: int, dual: FloatArray, known: IntArray | None, near: float, deadline: float
) -> tuple[IntArray | None, float]:
    """A selection (groups,) that is better than the ``known`` one if there is any, and a bound on all, in scaled values.

    Where the halves are too long nothing is found, and the bound is infinite.

    Args:
        scaled: the program.
        row: the budget that decides; ``dual`` (m,) the multipliers, of which only that one's counts.
        known: (groups,) a selection that fits.
        near: what is within so much of the bound ends the search.
        deadline: of ``time.perf_counter``.
    """
    price, limit = float(dual[row]), float(scaled.limits[row])
    if known is None or not price > 0.0:
        return None, math.inf
    offsets, worth = scaled.offsets, exact_sum(scaled.values[known])
    reduced = scaled.values - price * scaled.rows[:, row]
    top = np.maximum.reduceat(reduced, offsets[:-1])
    slack = 2.0**-48 * (price * limit - exact_sum(top))  # of all sums: no value is positive
    upper = exact_sum(top) + price * float(scaled.room[row]) + slack
    kept = np.flatnonzero(np.repeat(top, np.diff(offsets)) - reduced <= upper - worth)
    sides = _sides(np.diff(np.searchsorted(kept, offsets)))
    one = _listed(scaled, row, kept, sides[0])
    two = None if one is None else _listed(scaled, row, kept, sides[1])
    if one is None or two is None:
        return None, math.inf
    limits, best = np.delete(scaled.limits, row) * (1.0 + _ROUNDING), None
    least = _ROUNDING * limit
    full, width = limit + least, max(near / price, least)
    done, last = 0.0, np.searchsorted(two.paid, full - one.paid, side="right")  # pairs that cost more were looked at, or do not fit
    while (bound := upper - price * (done - least)) > worth + near and time.perf_counter() < deadline:
        while True:
            first = np.searchsorted(two.paid, full - done - width - one.paid, side="left")
            total = int((last - first).sum())
            if total <= _PAIRS or width <= least:
                break
            width = max(width * max(0.5 * _PAIRS / total, 1e-3), least)
        if total > _MOST * _PAIRS:
            break
        mine = np.repeat(np.arange(len(first)), last - first)
        other = np.arange(total) - np.repeat(np.cumsum(last - first) - last, last - first)
        fits = (one.rest[mine] + two.rest[other] <= limits).all(axis=1)
        mine, other = mine[fits], other[fits]
        for at in np.argsort(-(one.paid[mine] + two.paid[other])).tolist():
            if upper - price * (limit - least - one.paid[mine[at]] - two.paid[other[at]]) <= worth:
                break
            choices = _spelled(scaled, kept, (one, int(mine[at])), (two, int(other[at])))
            if scaled.fits(choices) and (value := exact_sum(scaled.values[choices])) > worth:
                best, worth = choices, value
        done, last = done + width, first
        width *= _WIDER
    return best, max(worth, bound)


def _sides(sizes: IntArray) -> tuple[IntArray, IntArray]:
    """The groups in two parts with about as many choices each."""
    parts: tuple[list[int], list[int]] = ([], [])
    counts = [1, 1]
    for group in np.argsort(-sizes).tolist():
        side = int(counts[1] < counts[0])
        parts[side].append(group)
        counts[side] *= int(sizes[group])
    return np.array(sorted(parts[0]), dtype=np.intp), np.array(sorted(parts[1]), dtype=np.intp)


def _listed(scaled: ScaledProgram, row: int, kept: IntArray, groups: IntArray) -> _Half | None:
    """All choices of ``groups`` that fit beside the cheapest options of all other groups; None where they are too many."""
    cuts = np.searchsorted(kept, scaled.offsets)
    rows = scaled.rows[kept]
    least = np.minimum.reduceat(rows, cuts[:-1])
    room = scaled.limits * (1.0 + _ROUNDING) - least.sum(axis=0) + least[groups].sum(axis=0)
    spent, code = np.zeros((1, rows.shape[1])), np.zeros(1, dtype=np.intp)
    for place, group in enumerate(groups.tolist()):
        more = rows[cuts[group] : cuts[group + 1]]
        if len(code) * len(more) > 4 * _LONGEST:
            return None
        spent = (spent[:, None, :] + more[None, :, :]).reshape(-1, rows.shape[1])
        code = (code[:, None] * len(more) + np.arange(len(more))).ravel()
        fits = (spent + least[groups[place + 1 :]].sum(axis=0) <= room).all(axis=1)
        spent, code = spent[fits], code[fits]
    if len(code) > _LONGEST:
        return None
    order = np.argsort(spent[:, row])
    spent = spent[order]
    return _Half(groups, np.ascontiguousarray(spent[:, row]), np.delete(spent, row, axis=1), code[order])


def _spelled(scaled: ScaledProgram, kept: IntArray, *halves: tuple[_Half, int]) -> IntArray:
    """The selection that an entry of either half is."""
    cuts = np.searchsorted(kept, scaled.offsets)
    choices = np.empty(len(cuts) - 1, dtype=np.intp)
    for half, entry in halves:
        code = int(half.code[entry])
        for group in half.groups[::-1].tolist():
            code, option = divmod(code, int(cuts[group + 1] - cuts[group]))
            choices[group] = kept[cuts[group] + option]
    return choices

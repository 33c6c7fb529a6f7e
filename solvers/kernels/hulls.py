"""Compiled upper hulls of a multiple-choice knapsack, and the selection of the step at which the budget ends.

Sums that a budget is held to are kept in two floats. The steps of all hulls are ordered by (falling slope, group, position); where
the budget ends in that order is found by partition, without a sort. The numpy path is ``solvers.knapsack.hulls`` and
``solvers.knapsack.relaxation.relax_along``.

Reference: Sinha and Zoltners 1979; Knuth, TAOCP 2, Sec. 4.2.2 (TwoSum); Ogita, Rump and Oishi, Accurate sum and dot product,
2005 (Sum2); Hoare 1961 (selection by partition).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from solvers.arrays import FloatArray
from solvers.kernels.compilation import compile_part

_RUN = 24  # items sorted by insertion before runs are merged

_Number = TypeVar("_Number", float, FloatArray)


def add(high: _Number, low: _Number, term: _Number) -> tuple[_Number, _Number]:
    """``high + low + term`` in two floats, or arrays of them, the leading one correctly rounded: adding loses nothing (TwoSum)."""
    total = high + term
    virtual = total - high
    rest = low + ((high - (total - virtual)) + (term - virtual))
    rounded = total + rest
    return rounded, rest - (rounded - total)


compile_part(add)


@compile_part
def collect(total, errors, term):  # type: ignore[no-untyped-def]
    """``total + term``, and its error on top of ``errors`` (TwoSum): each step waits for one addition, not for all of :func:`add`.

    What is added up is the rounded ``total + errors``.
    """
    high = total + term
    virtual = high - total
    return high, errors + ((total - (high - virtual)) + (term - virtual))


@compile_part
def total(numbers, chosen):  # type: ignore[no-untyped-def]
    """The sum of ``numbers[chosen]`` in two floats."""
    high, errors = 0.0, 0.0
    for option in chosen:
        high, errors = collect(high, errors, numbers[option])
    rounded = high + errors
    return rounded, errors - (rounded - high)


@compile_part
def arrange(items, primary, secondary):  # type: ignore[no-untyped-def]
    """Sort ``items`` in place by rising ``primary[item]``, then falling ``secondary[item]``; stable (insertion, then merging)."""
    size = len(items)
    for first in range(0, size, _RUN):
        for position in range(first + 1, min(first + _RUN, size)):
            item, at = items[position], position
            a, b = primary[item], secondary[item]
            while at > first and (primary[items[at - 1]] > a or (primary[items[at - 1]] == a and secondary[items[at - 1]] < b)):
                items[at] = items[at - 1]
                at -= 1
            items[at] = item
    run = _RUN
    if run >= size:
        return
    spare = np.empty(size, np.intp)
    while run < size:
        for first in range(0, size, 2 * run):
            left, middle, last = first, min(first + run, size), min(first + 2 * run, size)
            right = middle
            for at in range(first, last):
                take_left = right >= last
                if not take_left and left < middle:
                    a, b = items[left], items[right]
                    take_left = primary[a] < primary[b] or (primary[a] == primary[b] and secondary[a] >= secondary[b])
                if take_left:
                    spare[at] = items[left]
                    left += 1
                else:
                    spare[at] = items[right]
                    right += 1
        for at in range(size):
            items[at] = spare[at]
        run *= 2


@compile_part
def hull(options, costs, values, rise):  # type: ignore[no-untyped-def]
    """Keep the upper hull of sorted ``options``, whose first one stays; returns its length.

    ``options[k]`` for k >= 1 is then reached from the one before at the slope ``rise[k]``; slopes fall strictly.
    """
    top = 0
    for position in range(1, len(options)):
        option = options[position]
        if values[option] <= values[options[top]]:
            continue
        while True:
            steep = (values[option] - values[options[top]]) / (costs[option] - costs[options[top]])
            if top == 0 or rise[top] > steep:
                break
            top -= 1
        top += 1
        options[top], rise[top] = option, steep
    return top + 1


@compile_part
def steps_between(values, costs, offsets, active, light, heavy):  # type: ignore[no-untyped-def]
    """The hull steps of the active groups from ``light`` to ``heavy`` at most: (slope, cost, group, source, target) a step."""
    most = 1
    for g in active:
        most += offsets[g + 1] - offsets[g]
    count, numbers, indices = 0, np.empty((3, most)), np.empty((4, most), np.intp)
    slope, cost, rise = numbers[0], numbers[1], numbers[2]
    group, source, target, chain = indices[0], indices[1], indices[2], indices[3]
    for g in active:
        base, limit = light[g], costs[heavy[g]]
        size = 1
        chain[0] = base
        for option in range(offsets[g], offsets[g + 1]):
            c = costs[option]
            if c > costs[base] and c <= limit and values[option] > values[base]:
                chain[size] = option
                size += 1
        arrange(chain[:size], costs, values)
        for position in range(1, hull(chain[:size], costs, values, rise)):
            slope[count], group[count] = rise[position], g
            source[count], target[count] = chain[position - 1], chain[position]
            cost[count] = costs[chain[position]] - costs[chain[position - 1]]
            count += 1
    return slope[:count], cost[:count], group[:count], source[:count], target[:count]


@compile_part
def select(slope, cost, room):  # type: ignore[no-untyped-def]
    """Weighted selection: reorder the steps so that those before the returned position are taken, in (slope, index) order.

    The step at the position is the first that does not fit into ``room``, by plain sums; the caller corrects for their rounding.
    """
    order = np.arange(len(slope))
    first, last = 0, len(slope)
    while last - first > 1:
        # Median of three by (falling slope, index): every comparison below is strict, as indices differ.
        end = last - 1
        middle = (first + last) // 2
        a, b, c = order[first], order[middle], order[end]
        first_leads = slope[a] > slope[b] or (slope[a] == slope[b] and a < b)
        last_trails = slope[b] > slope[c] or (slope[b] == slope[c] and b < c)
        if first_leads != last_trails:
            ends_agree = slope[a] > slope[c] or (slope[a] == slope[c] and a < c)
            middle = first if ends_agree != first_leads else end
        pivot = order[middle]
        order[middle], order[end] = order[end], pivot
        low, weight, height = first, 0.0, slope[pivot]
        for position in range(first, end):  # swap always, as half of the branches would be mispredicted
            step = order[position]
            order[position], order[low] = order[low], step
            before = (slope[step] > height) | ((slope[step] == height) & (step < pivot))
            weight += cost[step] if before else 0.0
            low += 1 if before else 0
        # order[first:low] come before the pivot, the others after it.
        if weight > room:
            last = low
            continue
        order[end], order[low] = order[low], pivot
        room -= weight
        if cost[pivot] > room:
            return order, low
        room -= cost[pivot]
        first = low + 1
    if first < last and cost[order[first]] <= room:
        first += 1
    return order, first

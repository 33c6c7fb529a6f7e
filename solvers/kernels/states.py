"""Compiled states of the knapsack's dynamic program: growing them by an option, merging, and the list of the last groups.

States are sorted by cost, so adding one option to all of them keeps them sorted: the children of a group's options are merged,
dominated ones fall out on the way, and the relaxation that bounds them is walked once instead of searched. Costs are kept in two
floats as in ``solvers.knapsack.states``, which is the numpy path.

Reference: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 1995; Knuth, TAOCP 2, Sec. 4.2.2.
"""

from __future__ import annotations

import numpy as np

from solvers.kernels.compilation import compile_part
from solvers.kernels.hulls import add


@compile_part
def longer(numbers, size):  # type: ignore[no-untyped-def]
    """``numbers`` itself if it holds ``size`` entries, else a copy with room for twice as many."""
    if len(numbers) >= size:
        return numbers
    more = np.empty(2 * size, numbers.dtype)
    for at in range(len(numbers)):
        more[at] = numbers[at]
    return more


@compile_part
def last_within(sorted_costs, room):  # type: ignore[no-untyped-def]
    """Index of the costliest entry that costs no more than ``room``; -1 if none does."""
    first, last = 0, len(sorted_costs)
    while first < last:
        middle = (first + last) // 2
        if sorted_costs[middle] <= room:
            first = middle + 1
        else:
            last = middle
    return first - 1


@compile_part
def remainder(steps_slope, steps_cost, steps_value, steps_stage, stage, tail_stage):  # type: ignore[no-untyped-def]
    """The relaxation of the groups after ``stage`` as a function of the room beyond their cheapest options.

    Returns (5, breakpoints): cost and value reached, slope from there on, and the part of both in groups before ``tail_stage``.
    """
    curve = np.empty((5, len(steps_slope) + 1))
    count = 0
    for row in range(5):
        curve[row, 0] = 0.0
    for step in range(len(steps_slope)):
        if steps_stage[step] <= stage:
            continue
        curve[2, count] = steps_slope[step]
        head = 1.0 if steps_stage[step] < tail_stage else 0.0
        curve[0, count + 1] = curve[0, count] + steps_cost[step]
        curve[1, count + 1] = curve[1, count] + steps_value[step]
        curve[3, count + 1] = curve[3, count] + head * steps_cost[step]
        curve[4, count + 1] = curve[4, count] + head * steps_value[step]
        count += 1
    curve[2, count] = 0.0
    return curve[:, : count + 1]


@compile_part
def extend(states, count, option_cost, option_value, room, least, slack, floor, curve, head, tail, children, at):  # type: ignore[no-untyped-def]
    """Children of the first ``count`` states by one option, those whose bound is above ``floor``; sorted by cost as the states are.

    Args:
        states: (4, *): cost in two floats, value, bound.
        room: the budget less the cheapest options of the groups to come (``least`` of them: 0 means this is the last group).
        slack: room given on top when bounding.
        curve, head: the remainder, and (budget less the head's cheapest options, their value): groups between here and the tail.
        tail: (2, *): cost and value of the selections of the last groups; empty if they are not listed.
        children, at: (5, *) written from column ``at`` on: cost in two floats, value, bound, parent.

    Returns (end, greatest bound cut off, whole completion (value, parent, whole steps), tail completion (the same, tail entry)).
    """
    cut_off = -np.inf
    best, best_row, best_steps = -np.inf, -1, 0
    best_tail, tail_row, tail_steps, tail_entry = -np.inf, -1, 0, -1
    whole = curve.shape[1] - 1
    for row in range(count):
        high, low = add(states[0, row], states[1, row], option_cost)
        left = room[0] - high
        if left < -slack if least > 0 else high > room[0]:
            break  # the states get only costlier
        left = max(left, 0.0)
        while whole > 0 and curve[0, whole] > left:
            whole -= 1
        value = states[2, row] + option_value
        completed = value + room[1] + curve[1, whole]
        bound = completed + curve[2, whole] * (left + slack - curve[0, whole])
        if completed > best:
            best, best_row, best_steps = completed, row, whole
        if bound <= floor:
            cut_off = max(cut_off, bound)
            continue
        children[0, at], children[1, at], children[2, at] = high, low, value
        children[3, at], children[4, at] = bound, row
        at += 1
        if tail.shape[1] > 0:
            entry = last_within(tail[0], head[0] - high - curve[3, whole])
            if entry >= 0:
                joined = value + head[1] + curve[4, whole] + tail[1, entry]
                if joined > best_tail:
                    best_tail, tail_row, tail_steps, tail_entry = joined, row, whole, entry
    return at, cut_off, (best, best_row, best_steps), (best_tail, tail_row, tail_steps, tail_entry)


@compile_part
def _before(children, a, b):  # type: ignore[no-untyped-def]
    return children[0, a] < children[0, b] or (children[0, a] == children[0, b] and children[1, a] < children[1, b])


@compile_part
def _sift(children, heads, heap, size):  # type: ignore[no-untyped-def]
    """Let the root sink to its place."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            return
        if child + 1 < size and _before(children, heads[heap[child + 1]], heads[heap[child]]):
            child += 1
        if not _before(children, heads[heap[child]], heads[heap[parent]]):
            return
        heap[parent], heap[child] = heap[child], heap[parent]
        parent = child


@compile_part
def merge(children, ends, floor, states, parents, options):  # type: ignore[no-untyped-def]
    """Merge the sorted runs ``ends[k]:ends[k + 1]`` into ``states``, undominated and above ``floor`` only; returns how many.

    ``parents`` and ``options`` (the run) are written beside them.
    """
    runs = len(ends) - 1
    heads, heap = ends[:-1].copy(), np.empty(runs, np.intp)
    size = 0
    for run in range(runs):
        if ends[run] < ends[run + 1]:
            at = size
            size += 1
            while at > 0 and _before(children, heads[run], heads[heap[(at - 1) // 2]]):
                heap[at] = heap[(at - 1) // 2]
                at = (at - 1) // 2
            heap[at] = run
    count, most = 0, -np.inf
    while size > 0:
        run = heap[0]
        child = heads[run]
        if children[2, child] > most and children[3, child] > floor:
            most = children[2, child]
            if not (count > 0 and children[0, child] == states[0, count - 1] and children[1, child] == states[1, count - 1]):
                count += 1
            for row in range(4):
                states[row, count - 1] = children[row, child]
            parents[count - 1] = int(children[4, child])
            options[count - 1] = run
        heads[run] += 1
        if heads[run] == ends[run + 1]:
            size -= 1
            heap[0] = heap[size]
        _sift(children, heads, heap, size)
    return count


@compile_part
def list_tail(costs, values, cuts, first, most):  # type: ignore[no-untyped-def]
    """All undominated selections of the last groups, from stage ``first`` at most, as long as ``most`` candidates allow.

    Returns (tail (2, *), stages listed, parents and options of all levels, where each level starts).
    """
    states, count, levels = np.zeros((4, 1)), 1, 0
    states[3, 0] = np.inf
    parents, options = np.empty(0, np.int32), np.empty(0, np.int32)
    starts = np.zeros(len(cuts) + 1, np.intp)
    for stage in range(len(cuts) - 2, first - 1, -1):
        width = cuts[stage + 1] - cuts[stage]
        if count * width > most:
            break
        children, ends = np.empty((5, count * width)), np.zeros(width + 1, np.intp)
        for k in range(width):
            at = ends[k]
            for row in range(count):
                children[0, at], children[1, at] = add(states[0, row], states[1, row], costs[cuts[stage] + k])
                children[2, at] = states[2, row] + values[cuts[stage] + k]
                children[3, at], children[4, at] = np.inf, row
                at += 1
            ends[k + 1] = at
        states = np.empty((4, count * width))
        began = starts[levels]
        parents, options = longer(parents, began + count * width), longer(options, began + count * width)
        count = merge(children, ends, -np.inf, states, parents[began:], options[began:])
        levels += 1
        starts[levels] = began + count
    tail = np.empty((2, count if levels > 0 else 0))
    for row in range(tail.shape[1]):
        tail[0, row], tail[1, row] = states[0, row], states[2, row]
    return tail, levels, parents, options, starts

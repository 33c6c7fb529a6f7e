"""Compiled search of the core of a multiple-choice knapsack: group after group, undominated states with relaxation bounds.

The same search as ``solvers.knapsack.core``, which is the numpy path and explains it; here children are merged instead of sorted.

Reference: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 1995; Horowitz and Sahni, Computing
partitions with applications to the knapsack problem, JACM 1974 (the join).
"""

from __future__ import annotations

import numpy as np

from solvers.kernels.clock import now
from solvers.kernels.compilation import compile_part
from solvers.kernels.hulls import add
from solvers.kernels.states import extend, last_within, list_tail, longer, merge, remainder


@compile_part
def _walk(pick, stage, option, parent, parents, options, starts):  # type: ignore[no-untyped-def]
    """Put the path of a child of ``stage`` into ``pick``: its own option, then those of its ancestors."""
    pick[stage] = option
    for earlier in range(stage - 1, -1, -1):
        row = starts[earlier] + parent
        pick[earlier] = options[row]
        parent = parents[row]


@compile_part
def _finish(pick, stage, tail_stage, steps, steps_stage, steps_target):  # type: ignore[no-untyped-def]
    """Complete ``pick`` between ``stage`` and the tail: the cheapest option of each group, then the first ``steps`` hull steps."""
    for later in range(stage + 1, tail_stage):
        pick[later] = 0
    taken = 0
    for step in range(len(steps_stage)):
        if steps_stage[step] > stage:
            if taken == steps:
                break
            taken += 1
            if steps_stage[step] < tail_stage:
                pick[steps_stage[step]] = steps_target[step]


@compile_part
def _tail_path(pick, entry, levels, parents, options, starts):  # type: ignore[no-untyped-def]
    """Put one selection of the listed last groups into ``pick``."""
    stages = len(pick)
    for level in range(levels - 1, -1, -1):
        row = starts[level] + entry
        pick[stages - 1 - level] = options[row]
        entry = parents[row]


@compile_part
def _offer(pick, costs, values, cuts, budget, fixed, best, best_pick):  # type: ignore[no-untyped-def]
    """Take ``pick`` if it fits and is worth more than ``best``; returns the greater value."""
    high, low, value, rest = fixed[0], fixed[1], fixed[2], 0.0
    for stage in range(len(pick)):
        high, low = add(high, low, costs[cuts[stage] + pick[stage]])
        value, rest = add(value, rest, values[cuts[stage] + pick[stage]])
    if high <= budget and value > best:
        for stage in range(len(pick)):
            best_pick[stage] = pick[stage]
        return value
    return best


@compile_part
def _narrow(states, parents, options, count, limit):  # type: ignore[no-untyped-def]
    """Keep the ``limit`` states with the greatest bounds, in order; returns how many stay and the greatest bound dropped."""
    bounds = np.sort(states[3, :count])
    threshold = bounds[count - limit]
    equal = limit
    for row in range(count):
        equal -= states[3, row] > threshold
    kept, dropped = 0, -np.inf
    for row in range(count):
        if states[3, row] > threshold or (states[3, row] == threshold and equal > 0):
            equal -= states[3, row] == threshold
            for column in range(4):
                states[column, kept] = states[column, row]
            parents[kept], options[kept] = parents[row], options[row]
            kept += 1
        else:
            dropped = max(dropped, states[3, row])
    return kept, dropped


@compile_part
def search(costs, values, cuts, steps, steps_stage, steps_target, budget, fixed, goal, limits, deadline, best_pick):  # type: ignore[no-untyped-def]
    """Search the core; ``best_pick`` (stages,) receives the options of an improvement over ``best``.

    Args:
        costs, values, cuts: undominated options of stage s at ``cuts[s]:cuts[s + 1]``, by rising cost.
        steps, steps_stage, steps_target: (3, *) slope, cost, value of all hull steps by falling slope; stage and option of each.
        budget, fixed: the budget; cost (two floats) and value of the groups outside the core.
        goal: upper, best, cutoff, tolerance: what all selections are worth at most, the incumbent's value, and what is of no
            interest: selections worth no more than the greater of the last two plus the tolerance.
        limits: states kept at once, and after that was reached; states that make a list of the last groups pay, and its candidates.
        deadline: of :func:`solvers.kernels.clock.now`; the search ends there.

    Returns (best, greatest bound cut off, states kept in all, whether it was stopped).
    """
    upper, best, cutoff, tolerance = goal
    state_limit, beam, hard, listed = limits
    stages = len(cuts) - 1
    slack = (8 + stages + len(steps_stage)) * 2.0**-52 * budget  # a room is the rounded rest of so many costs
    base = np.zeros((2, stages + 1))  # cost and value of the cheapest options of the stages from here on
    low_cost = low_value = 0.0
    for stage in range(stages - 1, -1, -1):
        base[0, stage], low_cost = add(base[0, stage + 1], low_cost, costs[cuts[stage]])
        base[1, stage], low_value = add(base[1, stage + 1], low_value, values[cuts[stage]])
    states, count = np.empty((4, 1)), 1
    states[0, 0], states[1, 0], states[2, 0], states[3, 0] = fixed[0], fixed[1], fixed[2], upper
    parents, options = np.empty(64, np.int32), np.empty(64, np.int32)
    starts = np.zeros(stages + 1, np.intp)
    pick = np.empty(stages, np.intp)
    tail, levels = np.empty((2, 0)), 0
    tail_parents, tail_options, tail_starts = parents, options, starts
    cut_off, kept = -np.inf, 0
    children = np.empty((5, 64))
    for stage in range(stages):
        if levels > 0 and stage == stages - levels:
            break
        if levels == 0 and count > hard and stage + 1 < stages:
            tail, levels, tail_parents, tail_options, tail_starts = list_tail(costs, values, cuts, stage + 1, listed)
        tail_stage = stages - levels
        curve = remainder(steps[0], steps[1], steps[2], steps_stage, stage, tail_stage)
        room = (budget - base[0, stage + 1], base[1, stage + 1])
        head_cost = base[0, stage + 1] - base[0, tail_stage]
        head = (budget - head_cost, base[1, stage + 1] - base[1, tail_stage])
        width = cuts[stage + 1] - cuts[stage]
        ends = np.zeros(width + 1, np.intp)
        for k in range(width):
            if now() > deadline:
                for row in range(count):
                    cut_off = max(cut_off, states[3, row])
                return best, cut_off, kept, True
            at = ends[k]
            if children.shape[1] < at + count:
                more = np.empty((5, 2 * (at + count)))
                for child in range(at):
                    for row in range(5):
                        more[row, child] = children[row, child]
                children = more
            option = cuts[stage] + k
            floor = max(best, cutoff) + tolerance
            at, cut, whole, joined = extend(
                states,
                count,
                costs[option],
                values[option],
                room,
                stages - 1 - stage,
                slack,
                floor,
                curve,
                head,
                tail,
                children,
                at,
            )
            ends[k + 1] = at
            cut_off = max(cut_off, cut)
            if whole[0] > max(best, cutoff):
                _walk(pick, stage, k, whole[1], parents, options, starts)
                _finish(pick, stage, stages, whole[2], steps_stage, steps_target)
                best = _offer(pick, costs, values, cuts, budget, fixed, best, best_pick)
            for entry in range(joined[3], max(joined[3] - 2, -1), -1):  # the costliest can miss the budget by round-off only
                if joined[0] <= max(best, cutoff):
                    break
                _walk(pick, stage, k, joined[1], parents, options, starts)
                _finish(pick, stage, tail_stage, joined[2], steps_stage, steps_target)
                _tail_path(pick, entry, levels, tail_parents, tail_options, tail_starts)
                before, best = best, _offer(pick, costs, values, cuts, budget, fixed, best, best_pick)
                if best > before:
                    break
        floor = max(best, cutoff) + tolerance
        for k in range(width):  # cut off by what was found since
            for child in range(ends[k], ends[k + 1]):
                if children[3, child] <= floor:
                    cut_off = max(cut_off, children[3, child])
        began = starts[stage]
        parents, options = longer(parents, began + ends[width]), longer(options, began + ends[width])
        if states.shape[1] < ends[width]:
            states = np.empty((4, 2 * ends[width]))
        count = merge(children, ends, floor, states, parents[began:], options[began:])
        if count > state_limit:
            state_limit = min(state_limit, beam)  # there is no proof left to lose: go on narrowly, for a good selection
            count, cut = _narrow(states, parents[began:], options[began:], count, state_limit)
            cut_off = max(cut_off, cut)
        starts[stage + 1] = began + count
        kept += count
        if count == 0:
            return best, cut_off, kept, False
    if levels == 0:  # states that fit but were not taken: none, unless sums were rounded apart
        for row in range(count):
            if states[3, row] > max(best, cutoff) + tolerance:
                cut_off = max(cut_off, states[3, row])
        return best, cut_off, kept, False
    last = stages - levels - 1
    for row in range(count):
        entry = last_within(tail[0], budget - states[0, row] + slack)
        while entry >= 0:
            bound = states[2, row] + tail[1, entry]
            if bound <= max(best, cutoff) + tolerance:
                cut_off = max(cut_off, bound)
                break
            at = starts[last] + row
            _walk(pick, last, options[at], parents[at], parents, options, starts)
            _tail_path(pick, entry, levels, tail_parents, tail_options, tail_starts)
            best = _offer(pick, costs, values, cuts, budget, fixed, best, best_pick)
            entry -= 1  # taken, or an ulp too dear: the next one down is all that is left of this state
    return best, cut_off, kept, False

"""Compiled linear relaxation of the multiple-choice knapsack: the critical multiplier, and the vertex that belongs to it.

Two multipliers bracket the critical one; a group whose best options at both agree is settled, and the lines of the others
intersect at the next multiplier, so passes get shorter as they go. What is left is decided on the upper hulls of the unsettled
groups: the step at which the budget ends, in the order (falling slope, group, position), is selected by partition, without a sort.
That order, and hence the answer, does not depend on the multiplier the search starts from.

``solvers.knapsack.relaxation.relax`` states the program and is the numpy path.

Reference: Sinha and Zoltners 1979; Dyer, An O(n) algorithm for the multiple-choice knapsack linear program, 1984.
"""

from __future__ import annotations

import numpy as np

from solvers.kernels.compilation import compile_kernel, compile_part
from solvers.kernels.hulls import add, select, steps_between, total

FEASIBLE, INFEASIBLE = 0, 1

# Options within this many roundings of a group's best count as tied at a multiplier: the hull, not round-off, decides among them.
_TIE = 8 * 2.0**-52
_HULL_AT_ONCE = 6  # unsettled groups that are cheaper to put on their hulls than to pass over again
_PASSES = 60  # the lines meet long before, but for round-off; after so many the hulls decide whatever is left
_SAMPLE = 128  # groups, or a sixteenth of them: their multiplier is within a per cent or two, which saves passes over all groups
_WIDEN = 0.1  # first guess of how far the multiplier is from the one to start from, for samples and last calls; then eightfold


@compile_part
def _lightest(values, costs, offsets, active, light):  # type: ignore[no-untyped-def]
    """At an infinite multiplier: the cheapest option of each group, the best valued, then first of those."""
    for g in active:
        first, last = offsets[g], offsets[g + 1]
        least = costs[first]
        for option in range(first + 1, last):  # no branches to mispredict: this loop runs at memory speed
            least = costs[option] if costs[option] < least else least
        best = -1
        for option in range(first, last):
            if costs[option] == least and (best < 0 or values[option] > values[best]):
                best = option
        light[g] = best


@compile_part
def _heaviest(values, costs, offsets, active, heavy):  # type: ignore[no-untyped-def]
    """At the multiplier 0: the best valued option of each group, the cheapest, then first of those."""
    for g in active:
        first, last = offsets[g], offsets[g + 1]
        most = values[first]
        for option in range(first + 1, last):
            most = values[option] if values[option] > most else most
        best = -1
        for option in range(first, last):
            if values[option] == most and (best < 0 or costs[option] < costs[best]):
                best = option
        heavy[g] = best


@compile_part
def _extremes(values, costs, offsets, multiplier, active, light, heavy):  # type: ignore[no-untyped-def]
    """The cheapest and the costliest of the options tied for best at ``multiplier``, for the active groups."""
    for g in active:
        first, last = offsets[g], offsets[g + 1]
        # Plain selections, no branches to mispredict: ties are rare, and only they take the slow loop.
        best, second, size, at = -np.inf, -np.inf, 0.0, first
        for option in range(first, last):
            v, c = values[option], multiplier * costs[option]
            reduced = v - c
            at = option if reduced > best else at
            low = reduced if reduced < best else best
            second = low if low > second else second
            best = reduced if reduced > best else best
            v = abs(v) + abs(c)
            size = v if v > size else size
        threshold = best - _TIE * size
        cheap = dear = at
        if second >= threshold:
            cheap = dear = -1
            for option in range(first, last):
                if values[option] - multiplier * costs[option] >= threshold:
                    c, v = costs[option], values[option]
                    if cheap < 0 or c < costs[cheap] or (c == costs[cheap] and v > values[cheap]):
                        cheap = option
                    if dear < 0 or c > costs[dear] or (c == costs[dear] and v > values[dear]):
                        dear = option
        light[g], heavy[g] = cheap, dear


@compile_part
def _fits(costs, offsets, chosen, budget):  # type: ignore[no-untyped-def]
    """Whether ``chosen`` fits; summed carefully only where rounding could decide."""
    plain, size = 0.0, 0.0
    for option in chosen:
        plain += costs[option]
        size += abs(costs[option])
    margin = len(chosen) * 2.0**-52 * size
    if plain < budget - margin:
        return True
    if plain > budget + margin:
        return False
    return total(costs, chosen)[0] <= budget


@compile_part
def _unsettled(active, light, heavy):  # type: ignore[no-untyped-def]
    count = 0
    for g in active:
        if light[g] != heavy[g]:
            active[count] = g
            count += 1
    return active[:count]


@compile_part
def _bracket(values, costs, offsets, budget, start, light, heavy):  # type: ignore[no-untyped-def]
    """Close in on the critical multiplier from both sides.

    Returns (state, unsettled groups): state 1 if nothing fits (``light`` is the cheapest), 2 if the best of all fits (``heavy``),
    else 0: at the critical multiplier each group holds an option between ``light`` and ``heavy``.
    """
    groups = len(offsets) - 1
    work = np.empty((4, groups), np.intp)  # one allocation: small programs are called by the thousand
    every, cheap, dear, chosen = work[0], work[1], work[2], work[3]
    for g in range(groups):
        every[g] = g
    low_side, high_side = 0.0, np.inf  # multipliers known to be too small (or 0) and large enough
    known_heavy = known_light = False
    multiplier, widen = start, _WIDEN
    while start > 0.0 and not (known_light and known_heavy):
        _extremes(values, costs, offsets, multiplier, every, cheap, dear)
        if _fits(costs, offsets, dear, budget):
            for g in range(groups):
                light[g] = cheap[g]
            high_side, known_light = multiplier, True
            multiplier *= 1.0 - widen
        elif not _fits(costs, offsets, cheap, budget):
            for g in range(groups):
                heavy[g] = dear[g]
            low_side, known_heavy = multiplier, True
            multiplier *= 1.0 + widen
        else:
            for g in range(groups):
                light[g], heavy[g] = cheap[g], dear[g]
            return 0, _unsettled(every, light, heavy)
        widen *= 8.0
        if widen >= 1.0:
            break
    if not known_light:
        _lightest(values, costs, offsets, every, light)
        if not _fits(costs, offsets, light, budget):
            return 1, every[:0]
    if not known_heavy:
        _heaviest(values, costs, offsets, every, heavy)
        if _fits(costs, offsets, heavy, budget):
            return 2, every[:0]
    active = _unsettled(every, light, heavy)
    for g in range(groups):
        chosen[g] = light[g]  # of settled groups the choice, so that sums go over all groups
    for _ in range(_PASSES):
        if len(active) <= _HULL_AT_ONCE:
            break
        gain = extra = 0.0
        for g in active:
            gain += values[heavy[g]] - values[light[g]]
            extra += costs[heavy[g]] - costs[light[g]]
        multiplier = gain / extra if extra > 0.0 else 0.0
        if not low_side < multiplier < high_side:
            break
        _extremes(values, costs, offsets, multiplier, active, cheap, dear)
        for g in active:
            chosen[g] = dear[g]
        if _fits(costs, offsets, chosen, budget):
            for g in active:
                light[g] = cheap[g]
            high_side = multiplier
        else:
            for g in active:
                chosen[g] = cheap[g]
            fits = _fits(costs, offsets, chosen, budget)
            for g in active:
                heavy[g] = dear[g]
                if fits:
                    light[g] = cheap[g]
            low_side = multiplier
            if fits:
                active = _unsettled(active, light, heavy)
                break
        before = len(active)
        active = _unsettled(active, light, heavy)
        for g in active:
            chosen[g] = light[g]
        if before == len(active) and before * 4 < groups:
            break
    return 0, active


@compile_part
def walk(costs, budget, choices, slope, cost, group, source, target):  # type: ignore[no-untyped-def]
    """From ``choices``, take hull steps by falling slope, then index, while they fit.

    Returns (costlier, fraction, slope) of the first step that does not, costlier -1 where nothing of it fits; (-2, 0, 0) if all
    steps fit or ``choices`` do not.
    """
    high, low = total(costs, choices)
    if high > budget:
        return -2, 0.0, 0.0
    order, taken = select(slope, cost, (budget - high) - low)
    for position in range(taken):
        step = order[position]
        held, further = choices[group[step]], target[step]  # the partition leaves a group's steps in any order
        choices[group[step]] = further if costs[further] > costs[held] else held
    high, low = total(costs, choices)
    while high > budget:  # plain sums rounded an ulp too low: give back the last step
        last = 0
        for position in range(1, taken):
            a, b = order[position], order[last]
            if slope[a] < slope[b] or (slope[a] == slope[b] and a > b):
                last = position
        taken -= 1
        order[last], order[taken] = order[taken], order[last]
        step = order[taken]
        high, low = add(high, low, costs[source[step]])
        high, low = add(high, low, -costs[target[step]])
        choices[group[step]] = source[step]
    while taken < len(order):
        best = taken
        for position in range(taken + 1, len(order)):
            a, b = order[position], order[best]
            if slope[a] > slope[b] or (slope[a] == slope[b] and a < b):
                best = position
        step = order[best]
        more, rest = add(high, low, costs[target[step]])
        more, rest = add(more, rest, -costs[source[step]])
        if more > budget:
            fraction = min(max(((budget - high) - low) / cost[step], 0.0), 1.0 - 2.0**-53)
            return target[step] if fraction > 0.0 else -1, fraction, slope[step]
        high, low, choices[group[step]] = more, rest, target[step]
        order[best], order[taken] = order[taken], order[best]
        taken += 1
    return -2, 0.0, 0.0


@compile_part
def _take(values, costs, offsets, budget, active, choices, heavy):  # type: ignore[no-untyped-def]
    """:func:`walk` over the hulls of the active groups, what :func:`relax` returns; costlier is -2 if all steps fit."""
    steps = steps_between(values, costs, offsets, active, choices, heavy)
    costlier, fraction, dual = walk(costs, budget, choices, *steps)
    if dual > 0.0:
        # A cost of 1e-300 asks for an infinite multiplier; any multiplier proves a bound, so one whose products fit will do.
        largest = max(1.0, abs(budget))
        for option in range(len(costs)):
            largest = max(largest, abs(costs[option]))
        dual = min(dual, 1e300 / largest)
    return FEASIBLE, costlier, fraction, dual


@compile_part
def _guess(values, costs, offsets, budget):  # type: ignore[no-untyped-def]
    """The multiplier of a sample of the groups under their share of the budget; 0 where that says nothing."""
    groups = len(offsets) - 1
    stride = groups // max(_SAMPLE, groups // 16)
    size, options = 0, 0
    for g in range(0, groups, stride):
        size += 1
        options += offsets[g + 1] - offsets[g]
    cuts, v, c = np.zeros(size + 1, np.intp), np.empty(options), np.empty(options)
    for k in range(size):
        first, last = offsets[k * stride], offsets[k * stride + 1]
        cuts[k + 1] = cuts[k] + last - first
        for option in range(first, last):
            v[cuts[k] + option - first], c[cuts[k] + option - first] = values[option], costs[option]
    light, heavy = np.empty(size, np.intp), np.empty(size, np.intp)
    state, active = _bracket(v, c, cuts, budget * (size / groups), 0.0, light, heavy)
    if state != 0:
        return 0.0
    gain = extra = 0.0
    for g in active:
        gain += v[heavy[g]] - v[light[g]]
        extra += c[heavy[g]] - c[light[g]]
    return gain / extra if extra > 0.0 else 0.0


@compile_kernel
def relax(values, costs, offsets, budget, start, choices):  # type: ignore[no-untyped-def]
    """Solve the relaxation; ``choices`` (groups,) receives the integral part, in the fractional group the cheaper option.

    ``start`` > 0 is where the search for the multiplier starts. Returns (state, costlier, fraction, dual): costlier is -1 where no
    group is fractional; INFEASIBLE leaves the cheapest selection in ``choices``.
    """
    heavy = np.empty(len(offsets) - 1, np.intp)
    if start == 0.0 and len(choices) >= 4 * _SAMPLE:
        start = _guess(values, costs, offsets, budget)
    state, active = _bracket(values, costs, offsets, budget, start, choices, heavy)
    if state == 1:
        return INFEASIBLE, -1, 0.0, 0.0
    if state == 2:
        for g in range(len(choices)):
            choices[g] = heavy[g]
        return FEASIBLE, -1, 0.0, 0.0
    feasible, costlier, fraction, dual = _take(values, costs, offsets, budget, active, choices, heavy)
    if costlier == -2:  # the bracket's far side exceeded the budget by options that tie with hull points but are none
        every = np.arange(len(choices))
        _heaviest(values, costs, offsets, every, heavy)
        feasible, costlier, fraction, dual = _take(values, costs, offsets, budget, every, choices, heavy)
    return feasible, max(costlier, -1), fraction, dual

"""Compiled exact 0-1 multiple-choice knapsack: relaxation, swaps, reduced-cost fixing, and the search of the core that is left.

The same steps as ``solvers.knapsack.exact``, which is the numpy path and explains them.

Reference: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 1995.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.kernels.clock import now
from solvers.kernels.compilation import compile_kernel, compile_part
from solvers.kernels.hulls import add, arrange, hull, total
from solvers.kernels.relaxation import INFEASIBLE, relax
from solvers.kernels.search import search
from solvers.kernels.swaps import improve, improve_by_pairs, worth_pairing

_PAIRED = 1 << 13  # candidates that are sorted for it; where more are left, bounds separate nothing and sorting would not pay
_EPSILON = 2.0**-52


@compile_part
def _fitting(costs, offsets, budget):  # type: ignore[no-untyped-def]
    """The options that fit beside the cheapest of all other groups; no others can be chosen, whatever they are worth."""
    groups = len(offsets) - 1
    least, size, rest = np.empty(groups), 0.0, 0.0
    for g in range(groups):
        lowest = costs[offsets[g]]
        for option in range(offsets[g] + 1, offsets[g + 1]):
            lowest = costs[option] if costs[option] < lowest else lowest
        least[g] = lowest
        size, rest = add(size, rest, lowest)
    room = (budget - size) + 8 * _EPSILON * budget  # what rounds away, and more
    count = 0
    for g in range(groups):
        for option in range(offsets[g], offsets[g + 1]):
            count += costs[option] - least[g] <= room
    kept = np.empty(count, np.intp)
    at = 0
    for g in range(groups):
        for option in range(offsets[g], offsets[g + 1]):
            if at < count and costs[option] - least[g] <= room:
                kept[at] = option
                at += 1
    return kept


@compile_part
def _shift(values, costs, offsets, shifted):  # type: ignore[no-untyped-def]
    """Values below each group's best; returns the sum of the best, what all the budget in the world would add, if all are whole."""
    lift = rest = spread = 0.0
    whole = True
    for g in range(len(offsets) - 1):
        first, last = offsets[g], offsets[g + 1]
        best, least = values[first], costs[first]
        for option in range(first + 1, last):
            best = values[option] if values[option] > best else best
            least = costs[option] if costs[option] < least else least
        most = -np.inf
        for option in range(first, last):
            shifted[option] = values[option] - best
            if costs[option] == least and shifted[option] > most:
                most = shifted[option]
        if whole:
            for option in range(first, last):
                if values[option] != math.floor(values[option]):
                    whole = False
                    break
        spread -= most
        lift, rest = add(lift, rest, best)
    return lift, spread, whole


@compile_part
def _losses(shifted, costs, offsets, dual, budget, loss):  # type: ignore[no-untyped-def]
    """How far each option's reduced value is below its group's best; returns the Lagrangian bound. Both err on the safe side.

    Shifted values are not positive, so reduced ones are sums of equal signs and keep their relative precision.
    """
    high = low = size = 0.0
    for g in range(len(offsets) - 1):
        first, last = offsets[g], offsets[g + 1]
        top = -np.inf
        for option in range(first, last):
            reduced = shifted[option] - dual * costs[option]
            loss[option] = reduced
            top = reduced if reduced > top else top
        for option in range(first, last):
            loss[option] = (top - loss[option]) * (1.0 - 8 * _EPSILON)
        high, low = add(high, low, top)
        size -= top
    if dual > 0.0:  # a sum may exceed the budget by the half ulp that correct rounding gives away
        high, low = add(high, low, dual * budget)
        high, low = add(high, low, dual * 0.5 * (np.nextafter(budget, np.inf) - budget))
        size += dual * budget
    return high + 4 * _EPSILON * size


@compile_part
def _gather(loss, offsets, most):  # type: ignore[no-untyped-def]
    """Options that lose less than ``most``, their groups, and the least loss of the others."""
    count = 0
    for option in range(len(loss)):
        count += loss[option] < most
    options, group = np.empty(count, np.intp), np.empty(count, np.intp)
    at, least = 0, np.inf
    for g in range(len(offsets) - 1):
        for option in range(offsets[g], offsets[g + 1]):
            if loss[option] < most:
                options[at], group[at] = option, g
                at += 1
            elif loss[option] < least:
                least = loss[option]
    return options, group, least


@compile_part
def _core(shifted, costs, options, group, loss):  # type: ignore[no-untyped-def]
    """The open groups' undominated options by stage, and the options of the groups that are decided.

    Groups whose second thoughts cost most come first: they branch little, and the easy ones left over bound tightly.
    Returns (cuts, options by stage, decided options).
    """
    kept, starts = options.copy(), np.empty(len(options) + 1, np.intp)
    decided = np.empty(len(options), np.intp)
    second = np.empty(len(options))
    stages = settled = count = first = 0
    while first < len(options):
        last = first + 1
        while last < len(options) and group[last] == group[first]:
            last += 1
        if last == first + 1:
            decided[settled] = options[first]
            settled += 1
            first = last
            continue
        members = kept[count : count + last - first]  # written no further than what was read
        for k in range(last - first):
            members[k] = options[first + k]
        arrange(members, costs, shifted)
        size, runner_up = 0, np.inf
        for k in range(len(members)):
            option = members[k]
            if size == 0 or shifted[option] > shifted[members[size - 1]]:
                members[size] = option
                size += 1
                if loss[option] > 0.0:
                    runner_up = min(runner_up, loss[option])
        if size == 1:
            decided[settled] = members[0]
            settled += 1
        else:
            starts[stages], second[stages] = count, -runner_up
            count += size
            stages += 1
        first = last
    starts[stages] = count
    order = np.arange(stages)
    arrange(order, second, second)  # stable: equal keys
    cuts, ordered = np.zeros(stages + 1, np.intp), np.empty(count, np.intp)
    for stage in range(stages):
        first, last = starts[order[stage]], starts[order[stage] + 1]
        cuts[stage + 1] = cuts[stage] + last - first
        for option in range(first, last):
            ordered[cuts[stage] + option - first] = kept[option]
    return cuts, ordered, decided[:settled]


@compile_part
def _steps(costs, values, cuts):  # type: ignore[no-untyped-def]
    """Hull steps of all stages by falling slope: (3, steps) slope, cost and value, then the stage and the option of each."""
    steps = np.empty((3, len(costs)))
    stages, targets = np.empty(len(costs), np.intp), np.empty(len(costs), np.intp)
    rise, chain = np.empty(len(costs)), np.empty(len(costs), np.intp)
    count = 0
    for stage in range(len(cuts) - 1):
        first, last = cuts[stage], cuts[stage + 1]
        for option in range(first, last):
            chain[option - first] = option
        for k in range(1, hull(chain[: last - first], costs, values, rise)):
            steps[0, count] = -rise[k]
            steps[1, count] = costs[chain[k]] - costs[chain[k - 1]]
            steps[2, count] = values[chain[k]] - values[chain[k - 1]]
            stages[count], targets[count] = stage, chain[k] - first
            count += 1
    order = np.arange(count)
    arrange(order, steps[0], steps[0])  # stable: equal keys
    ordered, at_stage, to = np.empty((3, count)), np.empty(count, np.intp), np.empty(count, np.intp)
    for k in range(count):
        step = order[k]
        ordered[0, k], ordered[1, k], ordered[2, k] = -steps[0, step], steps[1, step], steps[2, step]
        at_stage[k], to[k] = stages[step], targets[step]
    return ordered, at_stage, to


@compile_kernel
def solve(values, costs, offsets, budget, start, cutoff, limits, seconds, choices):  # type: ignore[no-untyped-def]
    """The most valuable selection that fits, into ``choices`` (groups,); for ``limits`` and ``seconds`` see :func:`search`.

    Returns (state, lift, best, bound, dual, tolerance, whole, states, stopped): what was found and its bound are values below each
    group's best, which sum to ``lift``; the bound allows for rounding.
    """
    deadline = now() + seconds
    kept = _fitting(costs, offsets, budget)
    if len(kept) == len(costs):
        return _solve(values, costs, offsets, budget, start, cutoff, limits, deadline, choices)
    cuts = np.searchsorted(kept, offsets)
    for g in range(len(choices)):
        if cuts[g] == cuts[g + 1]:  # nothing fits: the relaxation of the whole says so, with the cheapest selection
            return _solve(values, costs, offsets, budget, start, cutoff, limits, deadline, choices)
    answer = _solve(values[kept], costs[kept], cuts, budget, start, cutoff, limits, deadline, choices)
    for g in range(len(choices)):
        choices[g] = kept[choices[g]]
    return answer


@compile_kernel
def solve_many(values, costs, offsets, budgets, limits, seconds, choices, found):  # type: ignore[no-untyped-def]
    """Solve every program; ``costs`` has a row a program, or one row for all.

    ``choices`` (programs, groups) receives options, ``found`` (programs, 7) the state (2 more where it was stopped), the summed
    value, what was found and its bound below each group's best, the sum of these, the dual, and whether values are whole. Programs
    start from the dual of the one before, which changes no answer.
    """
    start, shared = 0.0, len(costs) == 1
    for program in range(len(values)):
        cost = costs[0] if shared else costs[program]
        answer = solve(values[program], cost, offsets, budgets[program], start, -np.inf, limits, seconds, choices[program])
        state, lift, best, bound, dual, _, whole, _, stopped = answer
        found[program, 0] = state + (2 if stopped else 0)
        found[program, 1] = total(values[program], choices[program])[0]
        found[program, 2], found[program, 3], found[program, 4] = best, bound, lift
        found[program, 5], found[program, 6] = dual, whole
        start = dual


@compile_part
def _solve(values, costs, offsets, budget, start, cutoff, limits, deadline, choices):  # type: ignore[no-untyped-def]
    """The same for options that all fit beside the cheapest ones."""
    state, costlier, _, dual = relax(values, costs, offsets, budget, start, choices)
    if state == INFEASIBLE:
        return state, 0.0, 0.0, 0.0, 0.0, 0.0, False, 0, False
    shifted, loss = np.empty(len(values)), np.empty(len(values))
    lift, spread, whole = _shift(values, costs, offsets, shifted)
    upper = _losses(shifted, costs, offsets, dual, budget, loss)
    best = total(shifted, choices)[0]
    whole = whole and max(spread, abs(lift), dual * budget if dual > 0.0 else 0.0) < 2.0**40
    cutoff = (math.floor(cutoff) if whole and np.isfinite(cutoff) else cutoff) - lift
    tolerance = _tolerance(whole, lift, best)
    if upper <= max(best, cutoff) + tolerance:
        return state, lift, best, max(upper, best), dual, tolerance, whole, 0, False
    candidates, group, least = _gather(loss, offsets, upper - max(best, cutoff) - (tolerance if cutoff > best else 0.0))
    light, beyond = choices.copy(), choices.copy()
    if costlier >= 0:
        beyond[np.searchsorted(offsets, costlier, side="right") - 1] = costlier
    best = improve(shifted, costs, budget, upper, tolerance, candidates, group, light, best, choices)
    best = improve(shifted, costs, budget, upper, tolerance, candidates, group, beyond, best, choices)
    if upper > best + tolerance and cutoff <= best:
        several, groups_of = np.empty(len(candidates), np.intp), np.empty(len(candidates), np.intp)
        count = worth_pairing(candidates, group, loss, upper - best - tolerance, several, groups_of)
        if count <= _PAIRED:
            several, groups_of = several[:count], groups_of[:count]
            swapped = choices.copy()
            for start in (light, beyond, swapped):
                best = improve_by_pairs(shifted, costs, budget, upper, tolerance, several, groups_of, start, best, choices)
    states, stopped, ceiling = 0, False, upper
    while True:
        tolerance = _tolerance(whole, lift, best)
        if min(upper, ceiling) <= max(best, cutoff) + tolerance:
            return state, lift, best, max(min(upper, ceiling), best), dual, tolerance, whole, states, stopped
        most = upper - max(best, cutoff) - tolerance
        alive = 0
        for at in range(len(candidates)):
            if loss[candidates[at]] < most:
                candidates[alive], group[alive] = candidates[at], group[at]
                alive += 1
            elif loss[candidates[at]] < least:
                least = loss[candidates[at]]
        candidates, group = candidates[:alive], group[:alive]
        cuts, options, decided = _core(shifted, costs, candidates, group, loss)
        core_costs, core_values = costs[options], shifted[options]
        steps, stages, targets = _steps(core_costs, core_values, cuts)
        fixed = (*total(costs, decided), total(shifted, decided)[0])
        noise = _noise(core_values, cuts, len(stages), fixed[2])
        if not whole:
            tolerance = max(tolerance, noise)
        pick = np.full(len(cuts) - 1, -1)
        goal = (upper, best, cutoff, tolerance)
        found, cut_off, kept, stopped = search(
            core_costs, core_values, cuts, steps, stages, targets, budget, fixed, goal, limits, deadline, pick
        )
        states += kept
        bound = max(upper - least, max(cut_off, best))
        if not whole and bound > found - noise:
            bound += noise
        if found > best:
            g = 0
            for at in range(len(decided)):  # they are in the order of their groups
                while offsets[g + 1] <= decided[at]:
                    g += 1
                choices[g] = decided[at]
            for stage in range(len(pick)):
                option = options[cuts[stage] + pick[stage]]
                choices[np.searchsorted(offsets, option, side="right") - 1] = option
        # An option that loses a fortune blurs all bounds of its core. A better selection may exclude it: then once more.
        again = found > best and not stopped and tolerance == noise and noise > 2.0 * _tolerance(whole, lift, found)
        best = max(best, found)
        ceiling = min(ceiling, max(bound, best))
        if not again:
            return state, lift, best, ceiling, dual, tolerance, whole, states, stopped


@compile_part
def _tolerance(whole, lift, best):  # type: ignore[no-untyped-def]
    """What a selection must gain on ``best`` to be looked for: half the promised 1e-9 of the value, and no more of what is lost.

    So scores may be scaled and shifted at will. Whole values leave nothing strictly between two whole numbers; the guard keeps the
    rounding of bounds (2^-52 of their terms) below the 2^-10 set aside for it.
    """
    return 1.0 - 2.0**-10 if whole else 5e-10 * min(-best, abs(lift + best))


@compile_part
def _noise(values, cuts, steps, fixed):  # type: ignore[no-untyped-def]
    """The rounding of any sum of a core's values, or of its hull steps."""
    size = -fixed
    for stage in range(len(cuts) - 1):
        least = 0.0
        for option in range(cuts[stage], cuts[stage + 1]):
            least = min(least, values[option])
        size -= least
    return (len(cuts) + steps + 8) * _EPSILON * size

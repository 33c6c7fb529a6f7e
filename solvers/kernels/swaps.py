"""Compiled local search of the multiple-choice knapsack: one option exchanged at a time, or two at once.

The reduced costs of the relaxation say which options are worth an exchange. This module imports numba: import it inside functions
only.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 11.
"""

from __future__ import annotations

import numpy as np

from solvers.kernels.compilation import compile_part
from solvers.kernels.hulls import add, arrange, total
from solvers.kernels.states import last_within

_SWAPS = 50  # rounds of one-swap improvement; each strictly improves, and few are ever needed
_PAIRS = 12  # rounds of exchanging two options at once


@compile_part
def improve(shifted, costs, budget, upper, tolerance, candidates, group, start, best, choices):  # type: ignore[no-untyped-def]
    """Exchange one option after the other, the best gain that fits first; ``choices`` receives what beats ``best``."""
    chosen = start.copy()
    high, low = total(costs, chosen)
    worth, rest = total(shifted, chosen)
    for _ in range(_SWAPS):
        if upper - best <= tolerance:
            break
        room = (budget - high) - low
        gain, swap, where = -np.inf, -1, -1
        for at in range(len(candidates)):
            option = candidates[at]
            held = chosen[group[at]]
            more = shifted[option] - shifted[held]
            if more > gain and option != held and costs[option] - costs[held] <= room:
                gain, swap, where = more, option, group[at]
        if swap < 0 or (room >= 0.0 and gain <= 0.0):
            break
        held = chosen[where]
        high, low = add(high, low, costs[swap])
        high, low = add(high, low, -costs[held])
        worth, rest = add(worth, rest, shifted[swap])
        worth, rest = add(worth, rest, -shifted[held])
        chosen[where] = swap
        if high <= budget and worth > best and total(costs, chosen)[0] <= budget:
            best = worth
            for g in range(len(chosen)):
                choices[g] = chosen[g]
    return best


@compile_part
def worth_pairing(candidates, group, loss, most, kept, kept_group):  # type: ignore[no-untyped-def]
    """Write the candidates that lose less than ``most``, of groups with several such only; returns how many."""
    count = first = 0
    while first < len(candidates):
        last, began = first, count
        while last < len(candidates) and group[last] == group[first]:
            if loss[candidates[last]] < most:
                kept[count], kept_group[count] = candidates[last], group[last]
                count += 1
            last += 1
        if count == began + 1:
            count = began
        first = last
    return count


@compile_part
def improve_by_pairs(shifted, costs, budget, upper, tolerance, candidates, group, start, best, choices):  # type: ignore[no-untyped-def]
    """Exchange two options of ``start`` at once, the best pair that fits first; ``choices`` receives what beats ``best``.

    With the candidates sorted by what they cost more than the option held, the best partner within the room that an exchange
    leaves is a running maximum; the best of another group is kept beside it, as a group cannot be its own partner.
    """
    count = len(candidates)
    extra, gain = np.empty(count), np.empty(count)
    first, second, sorted_extra = np.empty(count, np.intp), np.empty(count, np.intp), np.empty(count)
    chosen = start.copy()
    for _ in range(_PAIRS):
        if upper - best <= tolerance:
            break
        high, low = total(costs, chosen)
        room = (budget - high) - low
        for at in range(count):
            held = chosen[group[at]]
            extra[at], gain[at] = costs[candidates[at]] - costs[held], shifted[candidates[at]] - shifted[held]
        order = np.arange(count)
        arrange(order, extra, gain)
        top = other = -1
        for k in range(count):
            at = order[k]
            sorted_extra[k] = extra[at]
            if top < 0 or gain[at] > gain[top]:
                if top >= 0 and group[top] != group[at]:
                    other = top
                top = at
            elif group[at] != group[top] and (other < 0 or gain[at] > gain[other]):
                other = at
            first[k], second[k] = top, other
        most, one, two = 0.0 if room >= 0.0 else -np.inf, -1, -1
        for at in range(count):
            k = last_within(sorted_extra, room - extra[at])
            if k < 0:
                continue
            partner = first[k] if group[first[k]] != group[at] else second[k]
            if partner >= 0 and gain[at] + gain[partner] > most:
                most, one, two = gain[at] + gain[partner], at, partner
        if one < 0:
            break
        chosen[group[one]], chosen[group[two]] = candidates[one], candidates[two]
        worth = total(shifted, chosen)[0]
        if worth > best and total(costs, chosen)[0] <= budget:
            best = worth
            for g in range(len(chosen)):
                choices[g] = chosen[g]
    return best

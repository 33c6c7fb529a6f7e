"""Along a ray of multipliers: where the Lagrangian dual of several budgets bends, in compiled code.

On the way from the multipliers at hand prices rise or fall, and where an option overtakes its group's key the slope of the bound
turns. These breakpoints are walked one after the other, or leapt over where there are many.

Reference: Fisher, The Lagrangian relaxation method, 1981.
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels.compilation import compile_part

_PASSES = 60  # of a leap: what is left after so many halvings is walked


@compile_part
def leap(
    costs: FloatArray,
    options: IntArray,
    cuts: IntArray,
    count: int,
    price: FloatArray,
    rest: FloatArray,
    key: IntArray,
    kinks: IntArray,
    held: int,
    slope: float,
    wall: float,
) -> tuple[float, float]:
    """How far along ``-rest`` the bound falls for sure, and its slope there; the keys are moved along.

    Found by bisection, a pass over all options each: with many groups far fewer than there are breakpoints on the way.
    """
    pull, start = np.empty(cuts[count]), np.empty(count)
    size = 0.0
    for g in range(count):
        for p in range(cuts[g], cuts[g + 1]):
            pull[p] = 0.0
            for i in range(len(rest)):
                pull[p] += costs[options[p], i] * rest[i]
            size = max(size, abs(pull[p]))
            if options[p] == key[g]:
                start[g] = pull[p]
    free = np.ones(count, dtype=np.bool_)
    for k in range(held):
        if kinks[k, 0] >= 0:
            free[kinks[k, 0]] = False
    low, low_slope = 0.0, slope
    high = min(wall, 1.0)
    rising = False
    for _ in range(_PASSES):
        middle = high if not rising else 0.5 * (low + high)
        total = slope
        for g in range(count):
            if free[g]:
                best, at = -np.inf, 0.0
                for p in range(cuts[g], cuts[g + 1]):
                    worth = price[p] + middle * pull[p]
                    if worth > best:
                        best, at = worth, pull[p]
                total += max(at, start[g]) - start[g]
        if total < 0.0:
            low, low_slope = middle, total
            if not rising:
                if high >= wall or high > 1e200:
                    break
                high = min(wall, 16.0 * high)
        else:
            high, rising = middle, True
        if rising and high - low <= 1e-13 * high:
            break
    if low == 0.0:
        return 0.0, slope
    for g in range(count):
        if free[g]:
            best, at = -np.inf, start[g]
            for p in range(cuts[g], cuts[g + 1]):
                worth = price[p] + low * pull[p]
                if worth > best and pull[p] >= start[g]:
                    best, at, key[g] = worth, pull[p], options[p]
    return low, low_slope


@compile_part
def forget(kinks: IntArray, held: int, group: int) -> int:
    """Drop the kinks of a group whose key changed."""
    kept = 0
    for k in range(held):
        if kinks[k, 0] != group:
            kinks[kept, 0], kinks[kept, 1] = kinks[k, 0], kinks[k, 1]
            kept += 1
    return kept


@compile_part
def overtake(
    group: int,
    now: float,
    costs: FloatArray,
    options: IntArray,
    cuts: IntArray,
    price: FloatArray,
    rest: FloatArray,
    key: IntArray,
    kinks: IntArray,
    held: int,
    reach: FloatArray,
    rival: IntArray,
) -> None:
    """Where along ``-rest`` another option first overtakes the group's key, not before ``now``."""
    m = len(rest)
    mine, own = 0.0, 0.0
    for p in range(cuts[group], cuts[group + 1]):
        if options[p] == key[group]:
            mine = price[p]
    for i in range(m):
        own += costs[key[group], i] * rest[i]
    reach[group], rival[group] = np.inf, -1
    for p in range(cuts[group], cuts[group + 1]):
        j = options[p]
        pull = 0.0  # summed like the key's own, so that a walk from key to key strictly rises in it and ends
        for i in range(m):
            pull += costs[j, i] * rest[i]
        if pull > own:  # its price rises against the key's
            at = max(now, (mine - price[p]) / (pull - own))
            if at < reach[group]:
                tied = False
                for k in range(held):
                    tied = tied or (kinks[k, 0] == group and kinks[k, 1] == j)
                if not tied:
                    reach[group], rival[group] = at, j

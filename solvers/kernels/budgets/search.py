"""Branch and bound for the multiple-choice knapsack with several budgets, in compiled code.

Depth first, a group a level. A node's bound is the Lagrangian dual over its open groups (``solvers.kernels.budgets.dual``), from
its parent's multipliers. Options whose reduced cost exceeds the gap to the best selection are out for the whole subtree; groups
left with one option are decided. The dual's vertex has at most one fractional group a budget: it is rounded every way there is
and improved by single exchanges, which raises the best selection, and the most fractional group is branched on, option by option
by rising reduced cost, so that the first child without promise ends the node.

Costs of partial selections are kept in two floats (TwoSum), so a selection is accepted if its correctly rounded sums fit.

Reference: Dyer, Kayal and Walker, A branch and bound algorithm for solving the MCKP, 1984; Knuth, TAOCP 2, Sec. 4.2.2 (TwoSum).
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels.budgets.dual import INFEASIBLE, PRUNED, descend
from solvers.kernels.clock import now
from solvers.kernels.compilation import compile_kernel, compile_part
from solvers.kernels.hulls import add

DONE, SLICE, FULL = 0, 1, 2  # tree exhausted; node limit of the call reached; no room for another level
_ROUNDING = 2.0**-52
_MOST_ROUNDED = 6  # fractional groups rounded every way, 2^6 selections; more budgets round the first six


@compile_part
def _offer(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    path: IntArray,
    groups: IntArray,
    key: IntArray,
    count: int,
    fixed: FloatArray,
    fixed_value: float,
    best: FloatArray,
    chosen: IntArray,
) -> bool:
    """Take the path completed by ``key`` if it is worth more and fits exactly."""
    value = fixed_value
    for g in range(count):
        value += values[key[g]]
    if value <= best[0]:
        return False
    for i in range(len(budgets)):
        high, low = fixed[i, 0], fixed[i, 1]
        for g in range(count):
            high, low = add(high, low, costs[key[g], i])
        if high > budgets[i]:
            return False
    best[0] = value
    chosen[:] = path
    for g in range(count):
        chosen[groups[g]] = key[g]
    return True


@compile_part
def _round(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    path: IntArray,
    groups: IntArray,
    options: IntArray,
    cuts: IntArray,
    count: int,
    key: IntArray,
    kinks: IntArray,
    held: int,
    fixed: FloatArray,
    fixed_value: float,
    best: FloatArray,
    chosen: IntArray,
) -> None:
    """Offer every rounding of the fractional groups, and of each the best single exchange that fits."""
    m = len(budgets)
    pairs = min(held, _MOST_ROUNDED)
    trial, spent = np.empty(count, dtype=np.intp), np.empty(m)
    for mask in range(1 << pairs):
        trial[:] = key[:count]
        valid = True
        for k in range(pairs):
            if mask >> k & 1:
                valid = valid and kinks[k, 0] >= 0
                if kinks[k, 0] >= 0:
                    trial[kinks[k, 0]] = kinks[k, 1]
        if not valid:
            continue
        value = fixed_value
        for i in range(m):
            spent[i] = fixed[i, 0]
        for g in range(count):
            value += values[trial[g]]
            for i in range(m):
                spent[i] += costs[trial[g], i]
        fits = True
        for i in range(m):
            fits = fits and spent[i] <= budgets[i]
        if fits:
            _offer(values, costs, budgets, path, groups, trial, count, fixed, fixed_value, best, chosen)
        gain, where, option = -np.inf, -1, -1
        for g in range(count):
            held_option = trial[g]
            for p in range(cuts[g], cuts[g + 1]):
                j = options[p]
                if values[j] - values[held_option] > gain and value + (values[j] - values[held_option]) > best[0]:
                    within = True
                    for i in range(m):
                        within = within and spent[i] + (costs[j, i] - costs[held_option, i]) <= budgets[i]
                    if within:
                        gain, where, option = values[j] - values[held_option], g, j
        if where >= 0:
            trial[where] = option
            _offer(values, costs, budgets, path, groups, trial, count, fixed, fixed_value, best, chosen)


@compile_part
def _filter(options: IntArray, loss: FloatArray, cuts: IntArray, count: int, least: float, top: float) -> float:
    """Keep options with ``top - loss > least``, in place; return the greatest bound of what went."""
    gone = -np.inf
    kept = 0
    start = cuts[0]
    for g in range(count):
        stop = cuts[g + 1]
        cuts[g] = kept
        for p in range(start, stop):
            if top - loss[p] > least:
                options[kept], loss[kept] = options[p], loss[p]
                kept += 1
            else:
                gone = max(gone, top - loss[p])
        start = stop
    cuts[count] = kept
    return gone


@compile_kernel
def search(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    slack: FloatArray,
    tolerance: float,
    nodes: int,
    place: IntArray,
    level_ints: IntArray,
    level_floats: FloatArray,
    level_fixed: FloatArray,
    level_dual: FloatArray,
    group_pool: IntArray,
    cut_pool: IntArray,
    option_pool: IntArray,
    loss_pool: FloatArray,
    path: IntArray,
    chosen: IntArray,
    best: FloatArray,
    deadline: float,
) -> int:
    """Go on with the search for at most ``nodes`` nodes. All state lies in the arguments, so that a call can follow a call.

    Args:
        values, costs, budgets, slack: (n,), (n, m), (m,), (m,); bounds allow each budget its slack more, for rounding.
        tolerance: subtrees that cannot beat the best selection by more are cut off.
        place: (2,) level that is open, -1 at the end; whether that level has still to be opened; changed.
        level_ints: (levels, 5) groups, start in the group pool, start in the option pool, branch group, next child.
        level_floats: (levels, 2) bound and value of what is decided.
        level_fixed: (levels, m, 2) cost of what is decided in two floats; level_dual: (levels, m).
        group_pool, cut_pool, option_pool, loss_pool: the levels' open groups and options; the cut pool has an entry a group and one
            a level more.
        path: (groups,) options decided on the way down. chosen: (groups,) the best selection.
        best: (3,) its value, the greatest bound of all that was cut off, nodes opened.
        deadline: of the kernels' clock; SLICE is the answer after it as well.
    """
    m = len(budgets)
    room, kinks, weight = np.empty(m), np.zeros((m, 2), dtype=np.intp), np.zeros(m)
    key, price = np.empty(len(path), dtype=np.intp), np.empty(len(values))
    limit = best[2] + nodes
    while place[0] >= 0:
        level = place[0]
        count, group_at, option_at = level_ints[level, 0], level_ints[level, 1], level_ints[level, 2]
        groups = group_pool[group_at:]
        cuts = cut_pool[group_at + level :]
        options, loss = option_pool[option_at:], loss_pool[option_at:]
        fixed = level_fixed[level]
        if place[1] == 1:
            if best[2] >= limit or now() > deadline:
                return SLICE
            best[2] += 1
            place[1] = 0
            level_ints[level, 3] = -1
            for i in range(m):
                room[i] = budgets[i] + slack[i] - fixed[i, 0]
            if count == 0:
                _offer(values, costs, budgets, path, groups, key, 0, fixed, level_floats[level, 1], best, chosen)
                continue
            fixed_value = level_floats[level, 1]
            least = best[0] + tolerance
            status, bound, held = descend(
                values,
                costs,
                options,
                cuts,
                count,
                room,
                level_dual[level],
                least - fixed_value,
                key,
                kinks,
                weight,
                price,
                deadline,
            )
            bound += (
                fixed_value - _ROUNDING * len(path) * fixed_value
            )  # what is decided is worth less than nothing, as all values are
            level_floats[level, 0] = min(bound, level_floats[level, 0])
            if status == INFEASIBLE:
                continue
            if status == PRUNED:
                best[1] = max(best[1], level_floats[level, 0])
                continue
            _round(
                values, costs, budgets, path, groups, options, cuts, count, key, kinks, held,
                fixed, fixed_value, best, chosen,
            )  # fmt: skip
            least = best[0] + tolerance
            if bound <= least:
                best[1] = max(best[1], bound)
                continue
            for g in range(count):
                top = -np.inf
                for p in range(cuts[g], cuts[g + 1]):
                    top = max(top, price[p])
                for p in range(cuts[g], cuts[g + 1]):
                    loss[p] = (top - price[p]) * (1.0 - _ROUNDING * 4 * (m + 1))
            # The most fractional group is branched on; where none is, the one whose second option costs least.
            branch, fraction = -1, 1e-6
            for k in range(held):
                g = kinks[k, 0]
                if g >= 0:
                    share = 0.0
                    for other in range(held):
                        if kinks[other, 0] == g:
                            share += weight[other]
                    if min(share, 1.0 - share) > fraction or (branch == g and weight[k] > 0):
                        branch, fraction = g, min(share, 1.0 - share)
            best[1] = max(best[1], _filter(options, loss, cuts, count, least, bound))
            if branch < 0:
                second = np.inf
                for g in range(count):
                    for p in range(cuts[g], cuts[g + 1]):
                        if cuts[g + 1] - cuts[g] > 1 and options[p] != key[g] and loss[p] < second:
                            branch, second = g, loss[p]
            if branch < 0:
                branch = 0
            level_ints[level, 3] = branch
            level_ints[level, 4] = 0
            for p in range(cuts[branch] + 1, cuts[branch + 1]):  # children by rising loss
                j, cost = options[p], loss[p]
                q = p
                while q > cuts[branch] and loss[q - 1] > cost:
                    options[q], loss[q] = options[q - 1], loss[q - 1]
                    q -= 1
                options[q], loss[q] = j, cost
            continue
        branch = level_ints[level, 3]
        least = best[0] + tolerance
        child = -1
        if branch >= 0:
            child = cuts[branch] + level_ints[level, 4]
            if child >= cuts[branch + 1]:
                child = -1
            elif level_floats[level, 0] - loss[child] <= least:
                best[1] = max(best[1], level_floats[level, 0] - loss[child])
                child = -1
        if child < 0:
            place[0] -= 1
            continue
        # The child: its group decided, the other groups' options that still promise something.
        after, after_option = group_at + count, option_at + cuts[count]
        below = level + 1
        if below >= len(level_ints) or after + count > len(group_pool) or after_option + cuts[count] > len(option_pool):
            return FULL
        level_ints[level, 4] += 1
        ceiling = level_floats[level, 0] - loss[child]
        for i in range(m):
            level_fixed[below, i, 0], level_fixed[below, i, 1] = add(fixed[i, 0], fixed[i, 1], costs[options[child], i])
            level_dual[below, i] = level_dual[level, i]
        value = level_floats[level, 1] + values[options[child]]
        path[groups[branch]] = options[child]
        opened, kept = 0, 0
        cut_pool[after + below] = 0
        for g in range(count):
            if g == branch:
                continue
            first = kept
            for p in range(cuts[g], cuts[g + 1]):
                if ceiling - loss[p] > least:
                    option_pool[after_option + kept] = options[p]
                    kept += 1
                else:
                    best[1] = max(best[1], ceiling - loss[p])
            if kept == first:
                opened = -1
                break
            if kept == first + 1:
                kept = first
                j = option_pool[after_option + kept]
                path[groups[g]] = j
                value += values[j]
                for i in range(m):
                    level_fixed[below, i, 0], level_fixed[below, i, 1] = add(
                        level_fixed[below, i, 0], level_fixed[below, i, 1], costs[j, i]
                    )
            else:
                group_pool[after + opened] = groups[g]
                opened += 1
                cut_pool[after + below + opened] = kept
        if opened < 0:
            continue
        level_ints[below, 0], level_ints[below, 1], level_ints[below, 2] = opened, after, after_option
        level_floats[below, 0], level_floats[below, 1] = ceiling, value
        place[0], place[1] = below, 1
    return DONE

"""The Lagrangian dual of a multiple-choice knapsack with several budgets, in compiled code.

``L(lam) = lam @ room + sum_g max_o (v - lam @ c)`` over ``lam >= 0`` is convex and piecewise linear in as many variables as there
are budgets. The descent keeps a working set of kinks it lies on (two options of a group that tie, or a multiplier at 0): it moves
along the part of the gradient that keeps them, through breakpoint after breakpoint until the slope turns, and adds the kink where
it stops; where no direction is left, the kinks' weights are either those of the linear relaxation's vertex (at most one fractional
group a budget) or show which kink to leave. That is the dual simplex method in the space of the multipliers; from a parent node's
multipliers it takes a handful of steps. Stopped anywhere it has a true bound.

Reference: Dantzig and Van Slyke, Generalized upper bounding techniques, 1967; Fisher, The Lagrangian relaxation method, 1981.
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels.budgets.ray import forget, leap, overtake
from solvers.kernels.clock import now
from solvers.kernels.compilation import compile_kernel, compile_part

BOUNDED, PRUNED, INFEASIBLE, STALLED = 0, 1, 2, 3  # STALLED: a true bound, but the weights are no vertex (degenerate ties)
_STEPS = 60  # per budget; a cold start takes some ten, a warm one two or three, degenerate ties end here with a true bound
_FLAT = 1e-11  # of the gradient against the sizes of its terms: 4 digits above their rounding
_ROUNDING = 2.0**-52  # a term; the sum of so many
_LARGEST = 1e250  # multiplier: any proves a bound, and products with costs of at most a few units must stay finite
_MANY = 64  # groups, from which on a leap pays
_WEIGHT = 1e-9  # a weight so far outside [0, 1] is outside


@compile_part
def _weights(columns: FloatArray, count: int, gradient: FloatArray, weight: FloatArray, rest: FloatArray) -> None:
    """Least squares: ``rest = gradient + columns @ weight`` of least length; columns (m, m), the first ``count`` independent."""
    m = len(gradient)
    square = np.empty((count, count + 1))
    for a in range(count):
        for b in range(count):
            total = 0.0
            for i in range(m):
                total += columns[i, a] * columns[i, b]
            square[a, b] = total
        total = 0.0
        for i in range(m):
            total -= columns[i, a] * gradient[i]
        square[a, count] = total
    for a in range(count):  # elimination with row pivots
        pivot = a
        for b in range(a + 1, count):
            if abs(square[b, a]) > abs(square[pivot, a]):
                pivot = b
        if square[pivot, a] == 0.0:
            continue
        for k in range(count + 1):
            square[a, k], square[pivot, k] = square[pivot, k], square[a, k]
        for b in range(a + 1, count):
            factor = square[b, a] / square[a, a]
            for k in range(a, count + 1):
                square[b, k] -= factor * square[a, k]
    for a in range(count - 1, -1, -1):
        total = square[a, count]
        for b in range(a + 1, count):
            total -= square[a, b] * weight[b]
        weight[a] = total / square[a, a] if square[a, a] != 0.0 else 0.0
    for i in range(m):
        rest[i] = gradient[i]
        for a in range(count):
            rest[i] += columns[i, a] * weight[a]


@compile_part
def excludes(costs: FloatArray, options: IntArray, cuts: IntArray, count: int, room: FloatArray, weight: FloatArray) -> bool:
    """Whether ``weight`` (m,) >= 0 proves that nothing fits: the cheapest selection by weighted costs costs more than the room.

    A Farkas combination, beyond the rounding of all its terms.
    """
    m = len(room)
    least, most = 0.0, 0.0
    size = 0.0
    for i in range(m):
        most += weight[i] * room[i]
        size += abs(weight[i] * room[i])
    for g in range(count):
        cheapest = np.inf
        for p in range(cuts[g], cuts[g + 1]):
            cost = 0.0
            for i in range(m):
                cost += weight[i] * costs[options[p], i]
            cheapest = min(cheapest, cost)
        least += cheapest
    return least - most > 2 * _ROUNDING * (count + m + 4) * (least + size)


@compile_kernel
def descend(
    values: FloatArray,
    costs: FloatArray,
    options: IntArray,
    cuts: IntArray,
    count: int,
    room: FloatArray,
    dual: FloatArray,
    target: float,
    key: IntArray,
    kinks: IntArray,
    weight: FloatArray,
    price: FloatArray,
    deadline: float,
) -> tuple[int, float, int]:
    """Minimize the dual over the groups ``options[cuts[g]:cuts[g + 1]]``, g < count, from ``dual`` (m,), which it changes.

    Args:
        values, costs: (n,) and (n, m) of all options; values are not positive, so that prices keep their relative precision.
        options, cuts, count: the open groups.
        room: (m,) what they may cost, finite.
        target: stop as soon as the bound is no more than this.
        key: (groups,) filled with an option of greatest price in each group.
        kinks: (m, 2) filled with (group, other option that ties), or (-1, budget) for a multiplier at 0.
        weight: (m,) filled with the share of a kink's option in the relaxation's vertex.
        price: (len(options),) filled with ``v - dual @ c``.
        deadline: of the kernels' clock; the descent ends there, with STALLED.

    Returns:
        Status, the bound at ``dual``, the number of kinks.
    """
    m = len(room)
    columns, gradient, rest = np.empty((m, m)), np.empty(m), np.empty(m)
    reach, rival = np.empty(count), np.empty(count, dtype=np.intp)
    held = 0
    bound = np.inf
    for g in range(count):
        key[g] = options[cuts[g]]
    for step in range(_STEPS * m + 1):
        # A fresh bound at the multipliers; keys change only where they are beaten by more than the rounding of a tie.
        bound = 0.0
        size, terms = 0.0, 0.0
        for i in range(m):
            bound += dual[i] * room[i]
            terms += abs(dual[i] * room[i])
            gradient[i] = room[i]
            size = max(size, abs(room[i]))
        for g in range(count):
            best, top = options[cuts[g]], -np.inf
            mine = -np.inf
            for p in range(cuts[g], cuts[g + 1]):
                j = options[p]
                r = values[j]
                for i in range(m):
                    r -= dual[i] * costs[j, i]
                price[p] = r
                if r > top:
                    best, top = j, r
                if step > 0 and j == key[g]:
                    mine = r
            bound += top
            terms += abs(top)
            if top > mine + 1e-13 * (abs(top) + abs(values[best])):
                tied = False
                for k in range(held):
                    tied = tied or (kinks[k, 0] == g and kinks[k, 1] == best)
                if not tied:
                    key[g] = best
                    held = forget(kinks, held, g)
            for i in range(m):
                gradient[i] -= costs[key[g], i]
                size = max(size, costs[key[g], i])
        bound += _ROUNDING * (count + m + 8) * terms
        if bound <= target:
            return PRUNED, bound, held
        if now() > deadline:
            return STALLED, bound, held
        while True:
            for k in range(held):
                g, j = kinks[k, 0], kinks[k, 1]
                for i in range(m):
                    columns[i, k] = (-1.0 if i == j else 0.0) if g < 0 else costs[key[g], i] - costs[j, i]
            _weights(columns, held, gradient, weight, rest)
            length = 0.0
            for i in range(m):
                length = max(length, abs(rest[i]))
            if held < m and length > _FLAT * size:
                break
            worst, leaving = _WEIGHT, -1
            flipped = False
            for k in range(held):
                if -weight[k] > worst:
                    worst, leaving, flipped = -weight[k], k, False
                g = kinks[k, 0]
                if g >= 0:
                    total = 0.0
                    for other in range(held):
                        if kinks[other, 0] == g:
                            total += weight[other]
                    if total - 1.0 > worst:
                        worst, leaving, flipped = total - 1.0, k, True
            if leaving < 0:
                return BOUNDED, bound, held
            if flipped:  # the group goes over to this option: its old key is what leaves
                g, j = kinks[leaving, 0], kinks[leaving, 1]
                for i in range(m):
                    gradient[i] += costs[key[g], i] - costs[j, i]
                key[g] = j
            for k in range(leaving, held - 1):
                kinks[k, 0], kinks[k, 1] = kinks[k + 1, 0], kinks[k + 1, 1]
            held -= 1
        # Along -rest: the kinks stay, the slope is -|rest|^2 and rises at every breakpoint.
        slope = 0.0
        for i in range(m):
            slope -= rest[i] * rest[i]
        wall, walled = np.inf, -1
        for i in range(m):
            on_wall = False
            for k in range(held):
                on_wall = on_wall or (kinks[k, 0] < 0 and kinks[k, 1] == i)
            if on_wall:
                rest[i] = 0.0
            elif rest[i] > 0.0 and dual[i] / rest[i] < wall:
                wall, walled = dual[i] / rest[i], i
        far = last = 0.0
        if count > _MANY:
            far, slope = leap(costs, options, cuts, count, price, rest, key, kinks, held, slope, wall)
            last = far
        for g in range(count):
            overtake(g, far, costs, options, cuts, price, rest, key, kinks, held, reach, rival)
        while True:
            first = -1
            for g in range(count):
                if reach[g] < np.inf and (first < 0 or reach[g] < reach[first]):
                    first = g
            if first < 0 or wall <= reach[first]:
                far = wall
                break
            far = last = reach[first]
            j = rival[first]
            turn = 0.0
            for i in range(m):
                turn += (costs[j, i] - costs[key[first], i]) * rest[i]
            if slope + turn >= 0.0:
                kinks[held, 0], kinks[held, 1] = first, j
                held += 1
                walled = -1
                break
            slope += turn
            key[first] = j
            held = forget(kinks, held, first)
            overtake(first, far, costs, options, cuts, price, rest, key, kinks, held, reach, rival)
        if far == np.inf:
            # The bound falls for ever along the direction, unless rounding says so: then no selection is within the room.
            for i in range(m):
                rest[i] = -min(rest[i], 0.0)
            if excludes(costs, options, cuts, count, room, rest):
                return INFEASIBLE, -np.inf, held
            for i in range(m):
                rest[i] = -rest[i]
            if last == 0.0:
                return STALLED, bound, held
            far, walled = last, -1  # flat from there on, but for rounding
        for i in range(m):
            moved = dual[i] - far * rest[i]
            dual[i] = min(moved, _LARGEST) if moved > 0.0 else 0.0
        if walled >= 0:
            dual[walled] = 0.0
            kinks[held, 0], kinks[held, 1] = -1, walled
            held += 1
    return STALLED, bound, held

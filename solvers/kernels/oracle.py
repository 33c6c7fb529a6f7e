"""Compiled linear minimization oracle of blocks with one budget.

The options of each block are sorted by weight once, so its upper hull is one scan. Small programs put every block on its hull. In
large ones most blocks are settled first, in one pass over the data: a block whose best option is the same, and alone, at two
multipliers is settled for every multiplier between them; the hulls of the others decide, and the multiplier they find proves the
guess right or wrong. The step at which the budget ends is selected by partition, in the order of ``solvers.kernels.relaxation``.

``solvers.descent.oracles`` states the program.

Reference: Sinha and Zoltners, The multiple-choice knapsack problem, 1979; Dyer, An O(n) algorithm for the multiple-choice knapsack
linear program, 1984 (settling groups by bracketing the multiplier).
"""

from __future__ import annotations

import numpy as np

from solvers.kernels.compilation import compile_kernel, compile_part
from solvers.kernels.hulls import collect, select
from solvers.kernels.relaxation import walk

_EXPONENT = 0x7FF0000000000000  # all of these bits are set in infinities and NaN only
_TIE = 8 * 2.0**-52  # an option within this many roundings of a block's best may tie with it
_SETTLE_FROM = 4000  # options: below, hulls of all blocks take less time than a guess and a pass
_SAMPLE = 256  # blocks, or a sixteenth of them: their multiplier is within a few per cent
_SPARE = 14.0  # times the weight that a guess is off: blocks of that much in all change their best, those of least slack
_LEAST = 4.0  # sampled blocks at least, for a guess that is right still has to find the one step at which the budget ends
_INSIDE = 0.999  # rounded slopes of settled blocks are not this near
_STRIDE = 8  # every eighth block's slack tells enough about all


@compile_part
def _readable(gradient):  # type: ignore[no-untyped-def]
    """Whether every entry is finite: by integers, which compilers reduce many at a time."""
    bits, most = gradient.view(np.int64), np.int64(0)
    for option in range(len(bits)):
        most = max(most, bits[option] & _EXPONENT)
    return most != _EXPONENT


@compile_part
def _hulls(gradient, weights, totals, offsets, order, chosen, choices):  # type: ignore[no-untyped-def]
    """The hull steps of the blocks ``chosen``, (slope, cost, group, source, target); the first hull options go to ``choices``."""
    most = 1
    for g in chosen:
        most += offsets[g + 1] - offsets[g]
    numbers, indices = np.empty((2, most)), np.empty((3, most), np.intp)
    slope, cost, group, source, target = numbers[0], numbers[1], indices[0], indices[1], indices[2]
    count = 0
    for g in chosen:
        first, total = count, -totals[g]
        base = top = order[offsets[g]]
        highest, costliest = gradient[top] * total, weights[top]
        for position in range(offsets[g] + 1, offsets[g + 1]):
            option = order[position]
            value, weight = gradient[option] * total, weights[option]
            if value <= highest:
                continue
            while True:
                if weight > costliest:
                    steep = (value - highest) / (weight - costliest)
                    if count == first or slope[count - 1] > steep:
                        slope[count], cost[count] = steep, weight - costliest
                        group[count], source[count], target[count] = g, top, option
                        count += 1
                        break
                elif count == first:  # as light as the first, and better
                    base = option
                    break
                count -= 1  # under the chord to the new option, or as heavy as it
                top = source[count]
                highest, costliest = gradient[top] * total, weights[top]
            top, highest, costliest = option, value, weight
        choices[g] = base
    return slope[:count], cost[:count], group[:count], source[:count], target[:count]


@compile_part
def _guess(gradient, weights, totals, offsets, order, budget):  # type: ignore[no-untyped-def]
    """The multiplier of a sample of the blocks under their share of the budget; 0 where that says nothing."""
    groups = len(totals)
    sample = np.arange(0, groups, groups // max(_SAMPLE, groups // 16)) if groups > _SAMPLE else np.arange(groups)
    choices = np.empty(groups, np.intp)
    slope, cost, _, _, _ = _hulls(gradient, weights, totals, offsets, order, sample, choices)
    room = budget * (len(sample) / groups)
    for g in sample:
        room -= weights[choices[g]]
    ranks, taken = select(slope, cost, room)
    if taken == len(ranks):
        return 0.0
    return slope[ranks[taken]]


@compile_part
def _price(gradient, weights, totals, offsets, order, multiplier, choices, slack):  # type: ignore[no-untyped-def]
    """Put each block's best option at ``multiplier`` into ``choices``; returns what they weigh.

    The option stays the only best one while the multiplier rises by ``slack[1, block]`` or less, or falls by ``slack[0, block]``;
    these are negative where it may tie.
    """
    spent = 0.0
    for g in range(len(totals)):
        first, last, total = offsets[g], offsets[g + 1], -totals[g]
        best, second, at = -np.inf, -np.inf, first
        for option in range(first, last):  # plain selections, no branches to mispredict
            reduced = gradient[option] * total - multiplier * weights[option]
            at = option if reduced > best else at
            lesser = reduced if reduced < best else best
            second = lesser if lesser > second else second
            best = reduced if reduced > best else best
        lightest, heaviest = weights[order[first]], weights[order[last - 1]]
        lead = best - second - _TIE * (abs(best) + 2.0 * multiplier * max(abs(lightest), abs(heaviest)))
        more, less = heaviest - weights[at], weights[at] - lightest  # only heavier options gain as the multiplier falls
        slack[0, g] = lead / more if more > 0.0 else np.inf if lead > 0.0 else -1.0
        slack[1, g] = lead / less if less > 0.0 else np.inf if lead > 0.0 else -1.0
        choices[g] = at
        spent += weights[at]
    return spent


@compile_part
def _reach(slack, weights, offsets, order, moved):  # type: ignore[no-untyped-def]
    """How far the multiplier may have to move for the blocks' weight to change by ``moved``, judged by a sample of the blocks."""
    sample = -slack[::_STRIDE]
    spans, every = np.empty(len(sample)), 0.0
    for k in range(len(sample)):
        g = _STRIDE * k
        spans[k] = weights[order[offsets[g + 1] - 1]] - weights[order[offsets[g]]]
        every += spans[k]
    ranks, position = select(sample, spans, max(moved / _STRIDE, every * _LEAST / len(sample)))
    return -sample[ranks[position]] if position < len(ranks) else np.inf


@compile_part
def _settle(gradient, weights, totals, offsets, order, budget, start, choices, unsettled):  # type: ignore[no-untyped-def]
    """Solve by the hulls of few blocks: (count of ``unsettled`` blocks, or -1 if that failed; costlier, fraction, multiplier)."""
    groups = len(totals)
    slacks, best = np.empty((2, groups)), np.empty(groups, np.intp)
    for attempt in range(2):
        guess = start if attempt == 0 else _guess(gradient, weights, totals, offsets, order, budget)
        if not 0.0 < guess < np.inf:
            continue
        excess = _price(gradient, weights, totals, offsets, order, guess, best, slacks) - budget
        slack = slacks[1 if excess > 0.0 else 0]
        for widening in range(3):
            reach = _reach(slack, weights, offsets, order, _SPARE * 4.0**widening * abs(excess))
            count = 0
            for g in range(groups):
                choices[g], unsettled[count] = best[g], g
                count += 0 if slack[g] > reach else 1
            if count * (4 if attempt == 0 else 2) > groups:
                break  # the guess is too far off, or many blocks tie
            steps = _hulls(gradient, weights, totals, offsets, order, unsettled[:count], choices)
            costlier, fraction, multiplier = walk(weights, budget, choices, *steps)
            rise = multiplier - guess if excess > 0.0 else guess - multiplier
            if costlier != -2 and 0.0 <= rise < _INSIDE * reach:
                return count, costlier, fraction, multiplier
    return -1, -2, 0.0, 0.0


@compile_kernel
def minimize(gradient, numbers, indices, start, x, dual):  # type: ignore[no-untyped-def]
    """``min gradient @ x`` into ``x`` (n,), the multiplier into ``dual`` (1,); returns (primal, bound, excess of the capacity).

    What does not depend on the gradient comes in two arrays, as each costs a call. ``numbers``: the budget, which the lightest
    point meets, the capacity it stands for, the greatest multiplier whose products fit a float, the totals (groups,) and the
    weights (n,) of whole totals. ``indices``: the offsets (groups + 1,), and (n,) the options of each block sorted by weight. A
    gradient that is not finite gives NaN.
    """
    options = len(gradient)
    groups, budget = len(indices) - options - 1, numbers[0]
    totals, weights = numbers[3 : 3 + groups], numbers[3 + groups :]
    offsets, order = indices[: groups + 1], indices[groups + 1 :]
    if not _readable(gradient):
        return np.nan, np.nan, np.nan
    blocks = np.empty((2, groups), np.intp)
    choices, unsettled = blocks[0], blocks[1]
    if options > _SETTLE_FROM:
        count, costlier, fraction, multiplier = _settle(
            gradient, weights, totals, offsets, order, budget, start, choices, unsettled
        )
    else:
        count, costlier, fraction, multiplier = -1, -2, 0.0, 0.0
    if count < 0:
        count = groups
        for g in range(groups):
            unsettled[g] = g
        steps = _hulls(gradient, weights, totals, offsets, order, unsettled, choices)
        costlier, fraction, multiplier = walk(weights, budget, choices, *steps)
    rest = unsettled[:count]
    dual[0] = multiplier = min(multiplier, numbers[2])
    x[:] = 0.0
    primal = cost = bound = primal_rest = cost_rest = bound_rest = 0.0
    next_rest = 0
    for g in range(groups):
        option, whole = choices[g], totals[g]
        x[option] = whole
        best = -gradient[option] * whole - multiplier * weights[option]
        if next_rest < len(rest) and rest[next_rest] == g:  # of settled blocks it is the best
            next_rest += 1
            for other in range(offsets[g], offsets[g + 1]):
                priced = -gradient[other] * whole - multiplier * weights[other]
                best = priced if priced > best else best
        bound, bound_rest = collect(bound, bound_rest, best)
        if offsets[g] <= costlier < offsets[g + 1]:
            x[costlier] = fraction * whole
            x[option] = whole - x[costlier]
            primal, primal_rest = collect(primal, primal_rest, gradient[costlier] * x[costlier])
            cost, cost_rest = collect(cost, cost_rest, weights[costlier] * fraction)
            cost, cost_rest = collect(cost, cost_rest, weights[option] * (1.0 - fraction))
        else:
            cost, cost_rest = collect(cost, cost_rest, weights[option])
        primal, primal_rest = collect(primal, primal_rest, gradient[option] * x[option])
    if multiplier > 0.0:
        bound, bound_rest = collect(bound, bound_rest, multiplier * budget)
    return primal + primal_rest, -(bound + bound_rest), (cost + cost_rest) - numbers[1]


@compile_kernel
def minimize_many(gradients, numbers, indices, start, points, duals, figures):  # type: ignore[no-untyped-def]
    """:func:`minimize` for each row of ``gradients`` (k, n), each from the multiplier of the one before.

    ``points`` (k, n), ``duals`` (k, 1) and ``figures`` (k, 3), what :func:`minimize` returns, are written.
    """
    for row in range(len(gradients)):
        figures[row, 0], figures[row, 1], figures[row, 2] = minimize(
            gradients[row], numbers, indices, start, points[row], duals[row]
        )
        start = duals[row, 0]

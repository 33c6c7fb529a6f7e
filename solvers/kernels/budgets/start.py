"""A selection that fits several budgets, by local search: with many budgets that alone is hard.

From any selection, the exchange that lowers the weighted excess over the budgets most is made; where none lowers it, budgets that
are exceeded get heavier until one does (breakout). Once everything fits, exchanges that are worth more and still fit are made, the
best first. Then some groups are drawn anew, and it starts again: what was found is kept.

Reference: Morris, The breakout method for escaping from local minima, AAAI 1993; Lourenco, Martin and Stuetzle, Iterated local
search, 2003.
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels.clock import now
from solvers.kernels.compilation import compile_kernel, compile_part
from solvers.kernels.hulls import add

_HEAVIER = 1.5
_LEAST_GAIN = 1e-12  # of the excess: less is rounding


@compile_part
def _spend(rows: FloatArray, choices: IntArray, spent: FloatArray) -> None:
    """The cost of a selection under every budget, correctly rounded."""
    for i in range(len(spent)):
        high, low = 0.0, 0.0
        for g in range(len(choices)):
            high, low = add(high, low, rows[choices[g], i])
        spent[i] = high


@compile_part
def _repair(
    values: FloatArray,
    rows: FloatArray,
    limits: FloatArray,
    offsets: IntArray,
    choices: IntArray,
    spent: FloatArray,
    weight: FloatArray,
    steps: int,
    deadline: float,
) -> bool:
    """Exchange options until the selection fits; whether it does."""
    m = len(limits)
    for _ in range(steps):
        excess = 0.0
        for i in range(m):
            excess += weight[i] * max(0.0, spent[i] - limits[i])
        if excess == 0.0:
            return True
        if now() > deadline:
            return False
        least, most, where, option = excess * (1.0 - _LEAST_GAIN), -np.inf, -1, -1
        for g in range(len(choices)):
            held = choices[g]
            for j in range(offsets[g], offsets[g + 1]):
                if j == held:
                    continue
                left = 0.0
                for i in range(m):
                    left += weight[i] * max(0.0, spent[i] + (rows[j, i] - rows[held, i]) - limits[i])
                    if left > least:
                        break
                if left < least or (left == least and where >= 0 and values[j] - values[held] > most):
                    least, most, where, option = left, values[j] - values[held], g, j
        if where >= 0:
            choices[where] = option
            _spend(rows, choices, spent)
        else:
            for i in range(m):
                if spent[i] > limits[i]:
                    weight[i] *= _HEAVIER
                if weight[i] > 1e100:
                    return False
    return False


@compile_part
def _climb(
    values: FloatArray,
    rows: FloatArray,
    limits: FloatArray,
    offsets: IntArray,
    choices: IntArray,
    spent: FloatArray,
    deadline: float,
) -> None:
    """Make the exchange that gains most and fits, until none gains."""
    m = len(limits)
    while now() <= deadline:
        most, where, option = 0.0, -1, -1
        for g in range(len(choices)):
            held = choices[g]
            for j in range(offsets[g], offsets[g + 1]):
                if values[j] - values[held] > most:
                    fits = True
                    for i in range(m):
                        fits = fits and spent[i] + (rows[j, i] - rows[held, i]) <= limits[i]
                    if fits:
                        most, where, option = values[j] - values[held], g, j
        if where < 0:
            return
        held = choices[where]
        choices[where] = option
        _spend(rows, choices, spent)
        for i in range(m):
            if spent[i] > limits[i]:  # the difference rounded down
                choices[where] = held
                _spend(rows, choices, spent)
                return


@compile_kernel
def find_start(
    values: FloatArray,
    rows: FloatArray,
    limits: FloatArray,
    offsets: IntArray,
    choices: IntArray,
    best_choices: IntArray,
    draws: FloatArray,
    deadline: float,
) -> float:
    """Repair, climb and draw anew; returns what ``best_choices`` (groups,) are worth, or -inf.

    Args:
        values, rows, limits, offsets: (n,), (n, m), (m,), (groups + 1,): limits of about 1.
        choices: (groups,) where to start; changed.
        draws: (rounds, numbers) random numbers in [0, 1), at least 2 (groups // 8 + 2) a round.
        deadline: of the kernels' clock.
    """
    groups, m = len(choices), len(limits)
    spent, weight = np.empty(m), np.ones(m)
    best = -np.inf
    for attempt in range(len(draws)):
        if now() > deadline:
            break
        if attempt > 0:
            if best > -np.inf:
                choices[:] = best_choices
            for k in range(1 + groups // 8 if attempt % 2 else 2):
                g = int(draws[attempt, 2 * k] * groups)
                choices[g] = offsets[g] + int(draws[attempt, 2 * k + 1] * (offsets[g + 1] - offsets[g]))
            weight[:] = 1.0
        _spend(rows, choices, spent)
        if not _repair(values, rows, limits, offsets, choices, spent, weight, 20 * groups + 200, deadline):
            continue
        _climb(values, rows, limits, offsets, choices, spent, deadline)
        worth = 0.0
        for g in range(groups):
            worth += values[choices[g]]
        if worth > best:
            best = worth
            best_choices[:] = choices
    return best

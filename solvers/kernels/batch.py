"""Compiled loop over many programs of one shape: the exact knapsack with one budget, once for each row of scores.

This module imports numba: import it inside functions only.
"""

from __future__ import annotations

import numpy as np

from solvers.kernels import compile_kernel
from solvers.kernels.exact import solve
from solvers.kernels.hulls import total


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

"""Compiled linear minimisation oracle of blocks with one budget: ``solvers.kernels_relaxation`` with the blocks' totals.

``solvers.oracles`` states the program. This module imports numba: import it inside functions only.
"""

from __future__ import annotations

import numpy as np

from solvers.kernels import compile_kernel
from solvers.kernels_hulls import add, total
from solvers.kernels_relaxation import FEASIBLE, INFEASIBLE, relax

__all__ = ["FEASIBLE", "INFEASIBLE", "UNREADABLE", "minimise", "minimise_many"]

UNREADABLE = 2


@compile_kernel
def minimise(gradient, weights, totals, offsets, capacity, slack, start, x):  # type: ignore[no-untyped-def]
    """The oracle of blocks with one budget: ``min gradient @ x``, into ``x`` (n,); ``weights`` (n,) are those of whole totals.

    Returns (state, primal, bound, dual, excess of the capacity); the state is UNREADABLE where the gradient is not finite.
    """
    values, choices = np.empty(len(gradient)), np.empty(len(totals), np.intp)
    for g in range(len(totals)):
        for option in range(offsets[g], offsets[g + 1]):
            if not np.isfinite(gradient[option]):
                return UNREADABLE, 0.0, 0.0, 0.0, 0.0
            values[option] = -gradient[option] * totals[g]
            x[option] = 0.0
    budget = capacity
    state, dearer, fraction, dual = relax(values, weights, offsets, budget, start, choices)
    if state == INFEASIBLE:
        budget = total(weights, choices)[0]
        if budget > capacity + slack:
            return INFEASIBLE, 0.0, 0.0, 0.0, 0.0
        state, dearer, fraction, dual = relax(values, weights, offsets, budget, 0.0, choices)
    primal = cost = primal_rest = cost_rest = 0.0
    for g in range(len(totals)):
        option = choices[g]
        x[option] = totals[g]
        if offsets[g] <= dearer < offsets[g + 1]:
            x[dearer] = fraction * totals[g]
            x[option] = totals[g] - x[dearer]
            primal, primal_rest = add(primal, primal_rest, gradient[dearer] * x[dearer])
            cost, cost_rest = add(cost, cost_rest, weights[dearer] * fraction)
            cost, cost_rest = add(cost, cost_rest, weights[option] * (1.0 - fraction))
        else:
            cost, cost_rest = add(cost, cost_rest, weights[option])
        primal, primal_rest = add(primal, primal_rest, gradient[option] * x[option])
    high, low = 0.0, 0.0
    for g in range(len(totals)):
        best = -np.inf
        for option in range(offsets[g], offsets[g + 1]):
            priced = values[option] - dual * weights[option]
            best = priced if priced > best else best
        high, low = add(high, low, best)
    if dual > 0.0:
        high, low = add(high, low, dual * budget)
    return FEASIBLE, primal, -high, dual, cost - capacity


@compile_kernel
def minimise_many(gradients, weights, totals, offsets, capacity, slack, start, points, figures):  # type: ignore[no-untyped-def]
    """:func:`minimise` for each row of ``gradients`` (k, n), each from the multiplier of the one before.

    ``points`` (k, n) and ``figures`` (k, 5), what :func:`minimise` returns, are written.
    """
    for row in range(len(gradients)):
        answer = minimise(gradients[row], weights, totals, offsets, capacity, slack, start, points[row])
        figures[row, 0], figures[row, 1], figures[row, 2] = answer[0], answer[1], answer[2]
        figures[row, 3], figures[row, 4] = answer[3], answer[4]
        if answer[0] == FEASIBLE:
            start = answer[3]

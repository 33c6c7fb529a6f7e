"""Feasible points to start a search from: the cheapest and the balanced (QP); ``solvers.staged.maximum_entropy`` has the third.

All live on :class:`StagedBlocks` under one bilinear budget. The cheapest architecture is a vertex: a search that starts there sees
one network. The balanced start spreads every block as evenly as the budget allows (HardCoRe-NAS, Eq. 27) by alternating two convex
quadratic programs.

Reference: Nayman et al., HardCoRe-NAS, App. E, Eq. 26-27.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np

from solvers.arrays import FloatArray
from solvers.descent import block_oracle
from solvers.quadratic import Quadratic
from solvers.results import Certificate, Result, Status
from solvers.staged.even_shares import QuadraticBackend, even_shares, unevenness
from solvers.staged.space import StagedBlocks, StagedCost

# Round-off of the least cost against a budget that equals it; relative to the budget, far above the few ulps of its sum.
_ROUND_OFF = 1e-12


def cheapest_start(space: StagedBlocks, cost: Quadratic | StagedCost, budget: float) -> Result:
    """The cheapest architecture there is; a vertex. Blocks that do not run take the option that is cheapest where they run.

    Args:
        space: the staged space.
        cost: built by :meth:`StagedBlocks.cost` or ``StagedCost.of``.
        budget: in the cost's unit.

    Returns:
        The point (n,); primal and bound of its certificate are the least cost. Status.INFEASIBLE names it.

    Raises:
        ValueError: another cost, or a budget that is NaN.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = space.cost(1.0, [1.0, 2.0, 1.0, 3.0])
        >>> cheapest_start(space, cost, 3.0).x.tolist()
        [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    """
    return _cheapest(space, cost, budget, times_of(space, cost, budget))


def balanced_start(
    space: StagedBlocks,
    cost: Quadratic,
    budget: float,
    *,
    backend: QuadraticBackend = "native",
    rounds: int = 10,
    tolerance: float = 1e-6,
) -> Result:
    """The balanced start: neighbouring options, sorted by cost, get shares as equal as the budget allows.

    Minimizes ``sum over blocks of sum_i (x_(i) - x_(i+1))^2`` with the options of each block in rising order of cost: over beta
    with alpha frozen, then over alpha with beta frozen, from the cheapest point, until a round changes no share by more than
    ``tolerance``. Each program is solved to optimality; the pair is a fixed point of the alternation, not proven the best pair. As
    beta goes first it may leave alpha little of a tight budget: see :func:`maximum_entropy_start`.

    Args:
        space: the staged space.
        cost: built by :meth:`StagedBlocks.cost`.
        budget: in the cost's unit.
        backend: of the quadratic programs, see :func:`solvers.staged.even_shares.even_shares`.
        rounds: at most so many (beta, alpha) pairs.
        tolerance: change of a share that counts as none. 1e-6 is far below any share that is ever drawn.

    Returns:
        The point (n,), within the budget; primal is the objective (the summed squares). Status.FEASIBLE, or INFEASIBLE with the
        least cost in the message.

    Raises:
        ValueError: another cost, a budget that is NaN, an unknown backend.
        SolverError: the back end fails.

    Reference: HardCoRe-NAS, Eq. 27. The paper does not say which part goes first; its release starts with beta.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = space.cost(1.0, [1.0, 2.0, 1.0, 3.0])
        >>> balanced_start(space, cost, 3.0).x.round(6).tolist()
        [0.75, 0.25, 0.75, 0.25, 0.5, 0.5]
    """
    began = time.perf_counter()
    times = times_of(space, cost, budget)
    cheapest = _cheapest(space, cost, budget, times)
    if cheapest.x is None:
        return cheapest
    alpha, beta = (space.blocks.part(part.start, part.stop) for part in (space.alpha, space.beta))
    # Depths cost the more the deeper they are, as they come; configurations are sorted, the first of equals first.
    by_cost = np.lexsort((times, np.repeat(np.arange(alpha.count), alpha.sizes)))
    programs = ((space.beta, np.arange(beta.dimension)), (space.alpha, by_cost))
    x = cheapest.x.copy()
    done = 0
    for _ in range(rounds):
        before = x.copy()
        for part, order in programs:
            answer = even_shares(block_oracle(x, part, space.blocks, cost, budget).feasible, order, backend=backend)
            if answer.x is None:  # the budget is the least cost there is, to round-off: this part stays
                continue
            moved = x.copy()
            moved[part] = answer.x
            x = _inside(x, moved, cheapest.x, part, cost, budget)
        done += 1
        if np.abs(x - before).max() <= tolerance:
            break
    objective = unevenness(alpha, by_cost, x[space.alpha]) + unevenness(beta, programs[0][1], x[space.beta])
    certificate = Certificate(objective, None, max(0.0, cost.value(x) - budget), None, maximize=False)
    return Result(x, Status.FEASIBLE, certificate, done, time.perf_counter() - began)


def times_of(space: StagedBlocks, cost: Quadratic | StagedCost, budget: float) -> FloatArray:
    """What each configuration costs where its block runs, (alpha dimension,); refuses another cost, and a budget that is NaN."""
    if math.isnan(budget):
        raise ValueError("budget: expected a number, got NaN")
    return StagedCost.read(space, cost).per_configuration if isinstance(cost, StagedCost) else space.per_configuration(cost)


def _cheapest(space: StagedBlocks, cost: Quadratic | StagedCost, budget: float, times: FloatArray) -> Result:
    began = time.perf_counter()
    layout = space.layout
    choices = [int(times[low:high].argmin()) for low, high in pairwise(layout.configurations.tolist())]
    depth_costs = layout.running_sums(np.minimum.reduceat(times, layout.configurations[:-1]))
    choices += [int(depth_costs[low:high].argmin()) for low, high in pairwise(layout.depths.tolist())]
    x = space.blocks.vertex(choices)
    if isinstance(cost, StagedCost):
        blocks = len(layout.configurations) - 1
        flat = layout.configurations[:-1] + np.array(choices[:blocks])
        least = cost.total(layout, flat, layout.depths[:-1] + np.array(choices[blocks:]))
    else:
        least = cost.value(x)
    if least > budget + _ROUND_OFF * abs(budget):
        message = f"the budget is {float(budget)!r}, the least possible cost is {least!r}"
        return Result(None, Status.INFEASIBLE, None, 0, time.perf_counter() - began, message)
    certificate = Certificate(least, least, max(0.0, least - budget), None, maximize=False)
    return Result(x, Status.OPTIMAL, certificate, 1, time.perf_counter() - began)


def _inside(x: FloatArray, moved: FloatArray, cheapest: FloatArray, part: slice, cost: Quadratic, budget: float) -> FloatArray:
    """``moved``, drawn back towards the cheapest of the part by as much as the solver's tolerance put it over the budget."""
    over = cost.value(moved) - budget
    if over <= 0.0:
        return moved
    safe = moved.copy()
    safe[part] = cheapest[part]
    room = cost.value(moved) - cost.value(safe)
    if room <= over:  # nothing costlier than the cheapest fits
        return safe if cost.value(safe) <= cost.value(x) else x
    # The cost is affine along the way back; a few ulps more than needed, for its rounding.
    share = min(1.0, over / room + 4 * np.finfo(np.float64).eps * abs(budget) / room)
    return moved + share * (safe - moved)

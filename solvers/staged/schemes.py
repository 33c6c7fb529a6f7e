"""Simpler projections of a staged point, beside the exact joint one: argmax, the paper's, and one half after the other.

HardCoRe-NAS's Eq. 13 projects alpha under the latency that beta* gives it, and beta under the latency that alpha* gives it. Each
half fits beside the other's relaxed point, but the two halves together need not satisfy ``alpha' Theta beta <= T``: what
``solvers.staged.projection`` repairs. Choosing beta given alpha*, then alpha given the chosen beta, always fits when (alpha*,
beta*) does, and is exact in each half though not jointly.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.4, Eq. 13 and Theorem 3.1.
"""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray
from solvers.knapsack import Knapsack, exact_sum, first_best, relax, solve_exact
from solvers.quadratic import Quadratic
from solvers.results import Certificate, Result, Status
from solvers.sets import read_only
from solvers.staged.space import StagedBlocks, StagedCost, StagedLayout

_ROUND_OFF = 1e-12  # relative: expected costs are dot products, rounded in another order than the budget was


def argmax_projection(staged: StagedBlocks, scores: ArrayLike, cost: Quadratic | StagedCost, budget: float) -> Result:
    """The best scored option of every block and stage, whatever it costs: the unsafe baseline.

    Args:
        staged: the space.
        scores: (dimension,) finite; the first of equals is taken.
        cost: built by ``staged.cost`` or ``StagedCost.of``.
        budget: in the unit of the cost.

    Returns:
        x one-hot; OPTIMAL if it happens to fit, else VIOLATED with the excess in ``certificate.violation``.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = StagedCost.of(space, 1.0, [1.0, 2.0, 1.0, 3.0])
        >>> result = argmax_projection(space, [0.0, 1.0, 0.0, 1.0, 0.0, 2.0], cost, 5.0)
        >>> print(result.status, result.certificate.violation)
        violated 1.0
    """
    began = time.perf_counter()
    credit, flat = _read(staged, scores, cost)
    layout = staged.layout
    alpha, beta = credit[staged.alpha], credit[staged.beta]
    configurations, options = first_best(alpha, layout.configurations), first_best(beta, layout.depths)
    bound = exact_sum(alpha[configurations]) + exact_sum(beta[options])
    return _result(staged, credit, flat, layout, configurations, options, budget, bound, began)


def project_separately(
    staged: StagedBlocks, scores: ArrayLike, cost: Quadratic | StagedCost, budget: float, point: ArrayLike
) -> Result:
    """Eq. 13 as printed: two linear programs, each half under the other's relaxed point.

    A fractional couple goes to its greater share.

    Args:
        staged, scores, cost, budget: as of :func:`argmax_projection`; the paper takes ``point`` itself for the scores.
        point: (dimension,) the relaxed (alpha*, beta*).

    Returns:
        x one-hot; VIOLATED where the halves together exceed the budget; INFEASIBLE if one of the programs has no point.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = StagedCost.of(space, 1.0, [1.0, 2.0, 1.0, 3.0])
        >>> result = project_separately(space, [0.0, 1.0, 0.0, 1.0, 0.0, 2.0], cost, 5.0, space.blocks.uniform())
        >>> print(result.status, result.certificate.violation)
        violated 1.0
    """
    began = time.perf_counter()
    credit, flat = _read(staged, scores, cost)
    layout, start = staged.layout, read_only(point, "point", (staged.blocks.dimension,))
    alpha, beta = credit[staged.alpha], credit[staged.beta]
    shares = _running_shares(start[staged.beta], layout)
    alpha_costs = flat.per_configuration * np.repeat(shares, np.diff(layout.configurations))
    configurations = _rounded_relaxation(alpha, alpha_costs, layout.configurations, flat.fixed, budget)
    options = _rounded_relaxation(beta, _depth_costs(start[staged.alpha], flat, layout), layout.depths, flat.fixed, budget)
    if configurations is None or options is None:
        half = "alpha" if configurations is None else "beta"
        message = f"no {half} fits beside the given point: budget {budget}, least cost of any architecture {flat.least(layout)}"
        return Result(None, Status.INFEASIBLE, None, 2, time.perf_counter() - began, message)
    return _result(staged, credit, flat, layout, configurations, options, budget, None, began)


def project_sequentially(
    staged: StagedBlocks, scores: ArrayLike, cost: Quadratic | StagedCost, budget: float, point: ArrayLike
) -> Result:
    """Exact depths given alpha*, then exact configurations given those depths: fits whenever ``point`` does.

    Two knapsacks, whatever the number of stages. Arguments and result as of :func:`project_separately`, but never VIOLATED: at most
    1e-12 relative beyond the budget, where ``point`` itself has no more room than that.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = StagedCost.of(space, 1.0, [1.0, 2.0, 1.0, 3.0])
        >>> result = project_sequentially(space, [0.0, 1.0, 0.0, 1.0, 0.0, 2.0], cost, 5.0, space.blocks.uniform())
        >>> print(result.status, result.certificate.violation)
        feasible 0.0
    """
    began = time.perf_counter()
    credit, flat = _read(staged, scores, cost)
    layout, start = staged.layout, read_only(point, "point", (staged.blocks.dimension,))
    alpha, beta = credit[staged.alpha], credit[staged.beta]
    options = _exact(beta, _depth_costs(start[staged.alpha], flat, layout), layout.depths, flat.fixed, budget)
    configurations = None
    if options is not None:
        running = np.zeros(len(layout.configurations) - 1)
        running[layout.runs(options)] = 1.0
        alpha_costs = flat.per_configuration * np.repeat(running, np.diff(layout.configurations))
        configurations = _exact(alpha, alpha_costs, layout.configurations, flat.fixed, budget)
    if configurations is None or options is None:
        message = f"nothing fits beside the given point: budget {budget}, least cost of any architecture {flat.least(layout)}"
        return Result(None, Status.INFEASIBLE, None, 2, time.perf_counter() - began, message)
    return _result(staged, credit, flat, layout, configurations, options, budget, None, began)


def _read(staged: StagedBlocks, scores: ArrayLike, cost: Quadratic | StagedCost) -> tuple[FloatArray, StagedCost]:
    credit = read_only(scores, "scores", (staged.blocks.dimension,))
    if not np.isfinite(credit).all():
        raise ValueError("scores: expected finite numbers; leave out the option that is forbidden")
    return credit, StagedCost.read(staged, cost)


def _running_shares(beta: FloatArray, layout: StagedLayout) -> FloatArray:
    """(blocks,) the probability that each block runs: ``w_b = sum of beta_d over the depths d that run b``."""
    edges = np.zeros(len(layout.configurations))
    np.add.at(edges, layout.first, beta)
    np.add.at(edges, layout.end, -beta)
    return np.clip(np.cumsum(edges)[:-1], 0.0, None)


def _depth_costs(alpha: FloatArray, cost: StagedCost, layout: StagedLayout) -> FloatArray:
    """(depth options,) the expected cost of each depth under the relaxed configurations.

    Summed per stage (not as a difference of running sums over all stages), so that rounding cannot make it negative.
    """
    per_block = np.add.reduceat(alpha * cost.per_configuration, layout.configurations[:-1])
    return np.array([math.fsum(per_block[a:b].tolist()) for a, b in zip(layout.first, layout.end, strict=True)])


def _with_fixed(values: FloatArray, costs: FloatArray, offsets: IntArray, fixed: float) -> Knapsack:
    """A knapsack whose first group is the fixed cost alone, so that the budget stays one strict sum."""
    return Knapsack(np.concatenate([[0.0], values]), np.concatenate([[fixed], costs]), np.concatenate([[0], offsets + 1]))


def _attainable(knapsack: Knapsack, budget: float) -> float:
    """The budget, or the least cost where that is beyond it by rounding only."""
    least = exact_sum(np.minimum.reduceat(knapsack.costs, knapsack.offsets[:-1]))
    return least if budget < least <= budget * (1.0 + _ROUND_OFF) else budget


def _rounded_relaxation(values: FloatArray, costs: FloatArray, offsets: IntArray, fixed: float, budget: float) -> IntArray | None:
    """A vertex of the linear program with its couple at the greater share; flat positions, or None if infeasible."""
    knapsack = _with_fixed(values, costs, offsets, fixed)
    relaxation = relax(knapsack, _attainable(knapsack, budget))
    if relaxation.status is Status.INFEASIBLE:
        return None
    choices = relaxation.choices.copy()
    if relaxation.fraction > 0.5:
        choices[np.searchsorted(knapsack.offsets, relaxation.costlier, side="right") - 1] = relaxation.costlier
    return choices[1:] - 1


def _exact(values: FloatArray, costs: FloatArray, offsets: IntArray, fixed: float, budget: float) -> IntArray | None:
    """The best selection; flat positions, or None if infeasible."""
    knapsack = _with_fixed(values, costs, offsets, fixed)
    found = solve_exact(knapsack, _attainable(knapsack, budget))
    return None if found.status is Status.INFEASIBLE else found.choices[1:] - 1


def _result(
    staged: StagedBlocks,
    scores: FloatArray,
    cost: StagedCost,
    layout: StagedLayout,
    configurations: IntArray,
    options: IntArray,
    budget: float,
    bound: float | None,
    began: float,
) -> Result:
    """The one-hot point; FEASIBLE (no bound), OPTIMAL (fits and meets ``bound``) or VIOLATED."""
    x = np.zeros(staged.blocks.dimension)
    x[configurations] = 1.0
    x[staged.beta.start + options] = 1.0
    total = cost.total(layout, configurations, options)
    violation = max(0.0, total - budget)
    certificate = Certificate(exact_sum(scores[x == 1.0]), bound, violation, None, maximize=True)
    if violation > _ROUND_OFF * abs(budget):
        message = f"costs {total}, {violation} beyond the budget {budget}"
        return Result(x, Status.VIOLATED, certificate, 0, time.perf_counter() - began, message)
    status = Status.FEASIBLE if bound is None else Status.OPTIMAL
    return Result(x, status, certificate, 0, time.perf_counter() - began)

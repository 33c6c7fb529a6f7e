"""The most even shares a budget allows: the quadratic program of the balanced start.

``min sum over blocks of sum_i (x_(i) - x_(i+1))^2`` over simplices and one budget, with each block's options in rising order of
cost. With a multiplier lam on the budget the blocks separate, and each is an obstacle problem on a path: its load ``lam * w_i +
mu`` rises along the path, so the shares that are zero are the costliest ones, and for a support of k options the solution is linear
in lam in closed form (two running sums). The mean cost is then continuous, piecewise linear and falling in lam: its root is
exact, and no QP solver is needed. HiGHS and Clarabel solve the same program as references.

Reference: Nayman et al., HardCoRe-NAS, App. E, Eq. 27.
"""

from __future__ import annotations

import time
from typing import Literal

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import Polyhedron, minimize_by_clarabel, minimize_quadratic
from solvers.results import Certificate, Result, SolverError, Status
from solvers.sets import Blocks, BudgetedBlocks

QuadraticBackend = Literal["native", "highs", "cvxpy"]

# Round-off of weights that were summed up elsewhere, relative to their sum: of the least cost against a budget that equals it, and
# of weights that should be equal. A few ulps are needed.
_ROUND_OFF = 1e-12


def unevenness(blocks: Blocks, order: IntArray, x: FloatArray) -> float:
    """The objective: the summed squares of the differences of neighbours in ``order`` (a permutation within each block).

    Example:
        >>> unevenness(Blocks.of([2, 2]), np.arange(4), np.array([1.0, 0.0, 0.5, 0.5]))
        1.0
    """
    steps = np.diff(x[order])
    inside = np.ones(len(steps), dtype=bool)
    inside[np.asarray(blocks.offsets[1:-1], dtype=np.intp) - 1] = False
    return float((steps[inside] ** 2).sum())


def even_shares(feasible: BudgetedBlocks, order: IntArray, *, backend: QuadraticBackend = "native") -> Result:
    """Minimize :func:`unevenness` over ``feasible`` (one budget); strictly convex on the blocks, so the point is unique.

    Args:
        feasible: blocks under one budget.
        order: (dimension,) indices of the options, block after block, by rising weight within each block.
        backend: "native" (the closed form), "highs" (its QP solver) or "cvxpy" (Clarabel).

    Returns:
        The point (dimension,): OPTIMAL with a certified gap natively, and from the others within their tolerance of the budget (the
        certificate has the violation). Status.INFEASIBLE names the least cost.

    Raises:
        ValueError: several budgets, an order that is not one, an unknown backend.
        SolverError: a back end fails.

    Example:
        >>> even_shares(BudgetedBlocks.of(Blocks.of([2]), [1.0, 3.0], 1.5), np.arange(2)).x.round(6).tolist()
        [0.75, 0.25]
    """
    began = time.perf_counter()
    blocks = feasible.blocks
    if len(feasible.capacities) != 1:
        raise ValueError(f"even_shares: expected one budget, got {len(feasible.capacities)}")
    if backend not in ("native", "highs", "cvxpy"):
        raise ValueError(f"backend: expected 'native', 'highs' or 'cvxpy', got {backend!r}")
    group = np.repeat(np.arange(blocks.count), blocks.sizes)
    if order.shape != (blocks.dimension,) or (np.sort(order) != np.arange(blocks.dimension)).any() or (group[order] != group).any():
        raise ValueError("order: expected a permutation of the options within each block, block after block")
    weights, capacity = feasible.weights[0][order], float(feasible.capacities[0])
    noise = _ROUND_OFF * float(np.abs(weights).sum())
    if (np.diff(weights)[np.diff(group) == 0] < -noise).any():
        raise ValueError("order: the weights must rise within each block")
    least = float(weights[np.asarray(blocks.offsets[:-1])] @ blocks.totals)
    if least > capacity + noise:
        message = f"the budget is {capacity!r}, the least possible cost is {least!r}"
        return Result(None, Status.INFEASIBLE, None, 0, time.perf_counter() - began, message)
    if backend == "native":
        shares, multiplier, iterations = _closed_form(blocks, weights, capacity)
        x = np.empty(blocks.dimension)
        x[order] = shares
        bound = _dual_value(blocks, order, feasible.weights[0], capacity, x, multiplier)
        dual: FloatArray | None = np.array([multiplier])
        status = Status.OPTIMAL
    else:
        x, iterations = _by_solver(feasible, order, backend)
        bound, dual, status = None, None, Status.FEASIBLE
    certificate = Certificate(unevenness(blocks, order, x), bound, feasible.violation(x), dual, maximize=False)
    return Result(x, status, certificate, iterations, time.perf_counter() - began)


def _closed_form(blocks: Blocks, weights: FloatArray, capacity: float) -> tuple[FloatArray, float, int]:
    """Shares in the order of ``weights`` (rising within each block), the budget's multiplier, and the evaluations of the root."""
    sizes = np.asarray(blocks.sizes)
    widest = int(sizes.max())
    past = np.arange(widest) >= sizes[:, None]
    column = np.where(past, 0, np.asarray(blocks.offsets[:-1])[:, None] + np.arange(widest))
    w = np.where(past, 0.0, weights[column])  # (count, widest)
    # What exceeds a block's cheapest option: the shares are the same, and near the least cost nothing cancels.
    capacity -= float(w[:, 0] @ blocks.totals)
    w = np.where(past, 0.0, w - w[:, :1])
    constant, linear, breaks = _paths(w, sizes, blocks.totals)
    # Cost of every (block, support) as constant + lam * linear: (count, widest)
    cost_constant = np.einsum("bki,bi->bk", constant, w)
    cost_linear = np.einsum("bki,bi->bk", linear, w)
    rows = np.arange(blocks.count)

    def support(lam: float) -> IntArray:
        return (lam < breaks).sum(axis=1)  # index of the support, 0 for one option

    def cost(lam: float) -> float:
        k = support(lam)
        return float(cost_constant[rows, k].sum() + lam * cost_linear[rows, k].sum())

    evaluations = 1
    if cost(0.0) <= capacity:
        lam = 0.0
    else:
        corners = np.unique(breaks[np.isfinite(breaks) & (breaks > 0.0)])
        low, high = 0, len(corners)  # the root lies before corners[low], if low < high; else beyond the last
        while low < high:
            middle = (low + high) // 2
            evaluations += 1
            low, high = (low, middle) if cost(float(corners[middle])) <= capacity else (middle + 1, high)
        left = float(corners[low - 1]) if low else 0.0
        right = float(corners[low]) if low < len(corners) else np.inf
        k = support(left)
        slope = float(cost_linear[rows, k].sum())
        level = float(cost_constant[rows, k].sum())
        # Past the last corner no share moves: only the cheapest options are left, and the budget is met but for round-off.
        lam = min(max((capacity - level) / slope, left), right) if slope < 0 else left
    k = support(lam)
    shares = np.maximum(constant[rows, k] + lam * linear[rows, k], 0.0)
    shares *= (blocks.totals / shares.sum(axis=1))[:, None]
    return shares[~past], lam, evaluations


def _paths(w: FloatArray, sizes: IntArray, totals: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For every block b and support of k + 1 options the shares ``constant[b, k] + lam * linear[b, k]``, and where they hold.

    With load ``lam * w_i + mu`` stationarity gives ``x_(i+1) - x_i = sum_(j<=i) (lam * w_j + mu) / 2``; summed again, ``x_(i+1) =
    a + lam * P_i + mu * Q_i`` with ``Q_i = i (i + 1) / 4``. The sum of the shares fixes a, and mu follows from ``x_(k+1) = 0``
    for a support of k < n options, from no flow out of the last one for k = n.

    Returns:
        constant, linear (count, widest, widest), and breaks (count, widest - 1): support k + 1 gives way to k + 2 options below
        ``breaks[b, k]``.
    """
    count, widest = w.shape
    index = np.arange(widest + 1)
    flow = np.cumsum(w, axis=1) / 2.0  # (count, widest)
    p = np.concatenate([np.zeros((count, 1)), np.cumsum(flow, axis=1)], axis=1)  # P_0..P_widest
    q = index * (index + 1) / 4.0
    sum_p, sum_q = np.cumsum(p, axis=1), np.cumsum(q)
    k = np.arange(1, widest + 1)  # size of the support
    full = k == sizes[:, None]  # (count, widest)
    s = totals[:, None]
    inner = sum_q[k - 1] - k * q[k]  # < 0
    mu_constant = np.where(full, 0.0, s / inner)
    mu_linear = np.where(full, -2.0 * flow[:, k - 1] / k, (k * p[:, k] - sum_p[:, k - 1]) / inner)
    a_constant = (s - mu_constant * sum_q[k - 1]) / k
    a_linear = -(sum_p[:, k - 1] + mu_linear * sum_q[k - 1]) / k
    inside = np.arange(widest) < k[:, None]  # (support, option)
    constant = np.where(inside, a_constant[:, :, None] + mu_constant[:, :, None] * q[:widest], 0.0)
    linear = np.where(inside, a_linear[:, :, None] + p[:, None, :widest] + mu_linear[:, :, None] * q[:widest], 0.0)
    last = np.arange(1, widest)
    level, fall = constant[:, last, last], -linear[:, last, last]  # the costliest share of supports 2..widest
    # A share that does not fall with lam (options of equal cost) never leaves; rounding of P is relative to the weights.
    falls = fall > _ROUND_OFF * np.abs(w).max(initial=0.0)
    breaks = np.where(falls, np.divide(level, fall, out=np.full_like(level, np.inf), where=falls), np.inf)
    return constant, linear, np.where(last < sizes[:, None], breaks, -np.inf)


def _dual_value(blocks: Blocks, order: IntArray, weights: FloatArray, capacity: float, x: FloatArray, lam: float) -> float:
    """A lower bound on the optimum: the linear model of the Lagrangian at ``x``, minimized over the blocks (it is convex)."""
    slope = _hessian(blocks, order) @ x + lam * weights
    lagrangian = unevenness(blocks, order, x) + lam * float(weights @ x - capacity)
    least = np.minimum.reduceat(slope, blocks.offsets[:-1]) @ blocks.totals
    return float(lagrangian - (slope @ x - least))


def _hessian(blocks: Blocks, order: IntArray) -> FloatArray:
    """The matrix H with ``x' H x / 2 = unevenness``: twice the Laplacian of the paths."""
    inside = np.ones(blocks.dimension - 1, dtype=bool)
    inside[np.asarray(blocks.offsets[1:-1], dtype=np.intp) - 1] = False
    left, right = order[:-1][inside], order[1:][inside]
    hessian = np.zeros((blocks.dimension, blocks.dimension))
    np.add.at(hessian, (left, left), 2.0)
    np.add.at(hessian, (right, right), 2.0)
    hessian[left, right] = hessian[right, left] = -2.0
    return hessian


def _by_solver(feasible: BudgetedBlocks, order: IntArray, backend: QuadraticBackend) -> tuple[FloatArray, int]:
    """Solve with a QP solver and take its round-off out of the blocks: no negative share, sums exact."""
    blocks, hessian = feasible.blocks, _hessian(feasible.blocks, order)
    if backend == "highs":
        result = minimize_quadratic(Polyhedron.of_budgeted_blocks(feasible), hessian, np.zeros(blocks.dimension))
        if result.x is None:
            raise SolverError(result.message)
        raw, iterations = result.x, result.iterations
    else:
        raw, iterations = minimize_by_clarabel(feasible, hessian)
    shares = np.maximum(raw, 0.0)
    return shares * np.repeat(blocks.totals / np.add.reduceat(shares, blocks.offsets[:-1]), blocks.sizes), iterations

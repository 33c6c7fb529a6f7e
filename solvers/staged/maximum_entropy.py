"""The start of maximum entropy: blocks and depths spread jointly, as evenly as one bilinear budget allows.

The program: over all joint distributions P of (a depth a stage, a configuration for every block, idle ones included), maximize the
entropy of P subject to ``E_P[cost] <= budget``. Its solution is ``P ~ exp(-lam * cost)``. With ``Z_b = sum_c exp(-lam t_bc)`` and
n_b options in block b,

- ``beta_d ~ prod_{b <= d} Z_b * prod_{b > d} n_b`` in each stage,
- ``alpha_b ~ exp(-lam t_b)``: the law of a block's configuration given that it runs. (Idle blocks are uniform under P, and cost
  nothing; the point holds one law a block, and the cost only sees it where the block runs.)

Hence ``LAT(alpha, beta) = E_P[cost]`` exactly, which falls in lam: one root, found by Newton's method on the convex dual within a
bracket. An evaluation is one pass over the configurations, in compiled code where numba is installed.

Reference: Jaynes, Information theory and statistical mechanics, 1957; HardCoRe-NAS, App. E, for the starts it stands beside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from solvers.arrays import FloatArray
from solvers.kernels import as_kernel_input, compiled, uses_kernels
from solvers.quadratic import Quadratic
from solvers.results import Certificate, Result, Status
from solvers.staged.space import StagedBlocks, StagedCost, StagedLayout
from solvers.staged.starts import cheapest_start, times_of

# Relative to the budget and the greatest time: round-off of the least cost against a budget that equals it, far above the few ulps
# of its sum; and what of the budget the point may leave unused.
_ROUND_OFF = 1e-12
_STEPS = 200  # bisection alone would end within these

# ``(lam, times, layout, point) -> mean cost, its variance, log of the partition function``; fills the point (alpha, beta).
_Evaluate = Callable[[float, FloatArray, StagedLayout, FloatArray], tuple[float, float, float]]


def maximum_entropy_start(space: StagedBlocks, cost: Quadratic | StagedCost, budget: float) -> Result:
    """The point of the maximum-entropy distribution over architectures whose mean cost is within the budget.

    The point is interior, and its cost is the budget or just below it: within 1e-12 relative. Where the budget leaves the uniform
    point room, lam is 0.

    Args:
        space: the staged space.
        cost: built by :meth:`StagedBlocks.cost` or ``StagedCost.of``; the latter spares reading a dense matrix.
        budget: in the cost's unit.

    Returns:
        The point (n,); primal and bound are the entropy of P in nats, dual is lam (nats per unit of the budget). Status.INFEASIBLE
        names the least cost. A budget that equals the least cost gives the cheapest point.

    Raises:
        ValueError: another cost, or a budget that is NaN.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = space.cost(1.0, [1.0, 2.0, 1.0, 3.0])
        >>> round(cost.value(maximum_entropy_start(space, cost, 3.0).x), 6)
        3.0
    """
    began = time.perf_counter()
    times = as_kernel_input(times_of(space, cost, budget))
    fixed = cost.fixed if isinstance(cost, StagedCost) else cost.offset
    evaluate = _compiled() if uses_kernels("native") else _evaluate
    room = budget - fixed
    scale = abs(budget) + max(float(times.max()), -float(times.min()))
    point, lam, iterations, (mean, log_count) = _root(evaluate, space, times, room, scale)
    if point is None:
        return _cheapest(space, cost, budget, iterations, began)
    # The entropy is the log of the partition function plus lam times the mean of what varies.
    entropy, bound = log_count + lam * mean, log_count + lam * (room if lam else mean)
    spent = cost.value(point) if isinstance(cost, Quadratic) else fixed + mean
    certificate = Certificate(entropy, bound, max(0.0, spent - budget), np.array([lam]), maximize=True)
    return Result(point, Status.OPTIMAL, certificate, iterations, time.perf_counter() - began)


def _root(
    evaluate: _Evaluate, space: StagedBlocks, times: FloatArray, room: float, scale: float
) -> tuple[FloatArray | None, float, int, tuple[float, float]]:
    """The point whose mean cost is ``room`` or a hair less, its multiplier, the evaluations, its mean and log partition function.

    No point: the least cost is above the room, or equals it to round-off.
    """
    layout, slack = space.layout, _ROUND_OFF * scale
    trial, point = np.empty(space.blocks.dimension), np.empty(space.blocks.dimension)
    low, high, lam = 0.0, math.inf, 0.0
    best, best_lam, best_log = -math.inf, -1.0, 0.0
    iterations = 0
    while True:
        mean, variance, log_count = evaluate(lam, times, layout, trial)
        if best < mean <= room:
            best, best_lam, best_log = mean, lam, log_count
            trial, point = point, trial
        if best_lam == 0.0 or room - best <= 0.5 * slack or iterations == _STEPS:
            break
        low, high = (lam, high) if mean > room else (low, lam)
        # Aim a hair inside the budget: the root itself is as often an ulp above it as below.
        newton = lam + (mean - room + 0.25 * slack) / variance if variance > 0.0 else math.inf
        widened = 2.0 * lam + 1.0 / scale if high == math.inf else 0.5 * (low + high)
        lam = newton if low < newton < high and newton < math.inf else widened
        if lam in (low, high) or lam == math.inf:  # two neighbouring floats, or no multiplier is enough
            break
        iterations += 1
    return (point if best_lam >= 0.0 else None), best_lam, iterations, (best, best_log)


def _evaluate(lam: float, times: FloatArray, layout: StagedLayout, point: FloatArray) -> tuple[float, float, float]:
    """The Gibbs distribution at multiplier ``lam``, in numpy; see :data:`_Evaluate`."""
    starts, sizes = layout.configurations[:-1], np.diff(layout.configurations)
    stage_starts, stage_sizes = layout.depths[:-1], np.diff(layout.depths)
    alpha, beta = point[: len(times)], point[len(times) :]
    least = np.minimum.reduceat(times, starts)  # exponents relative to the cheapest: no underflow of Z
    weight = np.exp(-lam * (times - np.repeat(least, sizes)))
    partition = np.add.reduceat(weight, starts)
    np.divide(weight, np.repeat(partition, sizes), out=alpha)
    mean_block = np.add.reduceat(alpha * times, starts)
    centred = times - np.repeat(mean_block, sizes)
    variance_block = np.add.reduceat(alpha * centred * centred, starts)
    # log of Z_b / n_b, the factor a block brings to every depth that runs it
    log_options = np.log(sizes)
    logits = layout.running_sums(np.log(partition) - lam * least - log_options)
    top = np.maximum.reduceat(logits, stage_starts)
    depth_weight = np.exp(logits - np.repeat(top, stage_sizes))
    depth_partition = np.add.reduceat(depth_weight, stage_starts)
    np.divide(depth_weight, np.repeat(depth_partition, stage_sizes), out=beta)
    mean_depth = layout.running_sums(mean_block)
    mean_stage = np.add.reduceat(beta * mean_depth, stage_starts)
    spread = mean_depth - np.repeat(mean_stage, stage_sizes)
    # Law of total variance: within a depth, and between depths.
    variance = float(beta @ (layout.running_sums(variance_block) + spread * spread))
    log_partition = float((top + np.log(depth_partition)).sum() + log_options.sum())
    return math.fsum(mean_stage.tolist()), variance, log_partition


def _compiled() -> _Evaluate:
    """The same in compiled code."""
    from solvers.kernels.gibbs import gibbs

    run = compiled(gibbs)

    def evaluate(lam: float, times: FloatArray, layout: StagedLayout, point: FloatArray) -> tuple[float, float, float]:
        return run(lam, times, layout.configurations, layout.depths, layout.first, layout.end, point)

    return evaluate


def _cheapest(space: StagedBlocks, cost: Quadratic | StagedCost, budget: float, iterations: int, began: float) -> Result:
    """No interior point fits: the cheapest one, or nothing."""
    cheapest = cheapest_start(space, cost, budget)
    if cheapest.certificate is None:
        return cheapest
    evidence = Certificate(0.0, None, cheapest.certificate.violation, None, maximize=True)
    return Result(cheapest.x, Status.FEASIBLE, evidence, iterations, time.perf_counter() - began, "only the cheapest fits")

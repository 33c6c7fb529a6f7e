"""Feasible points to start a search from: the cheapest, the balanced (QP), the one of maximum entropy.

All three live on :class:`StagedBlocks` under one bilinear budget. The cheapest architecture is a vertex: a search that starts there
sees one network. The balanced start spreads every block as evenly as the budget allows (HardCoRe-NAS, Eq. 27) by alternating two
convex quadratic programs. The maximum-entropy start spreads blocks and depths jointly, and is one root in one variable.

Reference: Nayman et al., HardCoRe-NAS, App. E, Eq. 26-27; Jaynes, Information theory and statistical mechanics, 1957.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np

from solvers.block_frank_wolfe import block_oracle
from solvers.even_shares import QuadraticBackend, even_shares, unevenness
from solvers.quadratic import Quadratic
from solvers.results import Certificate, Result, Status
from solvers.sets import FloatArray
from solvers.staged import StagedBlocks

__all__ = ["balanced_start", "cheapest_start", "maximum_entropy_start"]

# Round-off of the least cost against a budget that equals it; relative to the budget, far above the few ulps of its sum.
_ROUND_OFF = 1e-12


def cheapest_start(space: StagedBlocks, cost: Quadratic, budget: float) -> Result:
    """The cheapest architecture there is; a vertex. Blocks that do not run take the option that is cheapest where they run.

    Args:
        space: the staged space.
        cost: built by :meth:`StagedBlocks.cost`.
        budget: in the cost's unit.

    Returns:
        The point (n,); primal and bound of its certificate are the least cost. Status.INFEASIBLE names it.

    Raises:
        ValueError: another cost, or a budget that is NaN.
    """
    return _cheapest(space, cost, budget, _checked(space, cost, budget))


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

    Minimises ``sum over blocks of sum_i (x_(i) - x_(i+1))^2`` with the options of each block in rising order of cost: over beta
    with alpha frozen, then over alpha with beta frozen, from the cheapest point, until a round changes no share by more than
    ``tolerance``. Each program is solved to optimality; the pair is a fixed point of the alternation, not proven the best pair. As
    beta goes first it may leave alpha little of a tight budget: see :func:`maximum_entropy_start`.

    Args:
        space: the staged space.
        cost: built by :meth:`StagedBlocks.cost`.
        budget: in the cost's unit.
        backend: of the quadratic programs, see :func:`solvers.even_shares.even_shares`.
        rounds: at most so many (beta, alpha) pairs.
        tolerance: change of a share that counts as none. 1e-6 is far below any share that is ever drawn.

    Returns:
        The point (n,), within the budget; primal is the objective (the summed squares). Status.FEASIBLE, or INFEASIBLE with the
        least cost in the message.

    Raises:
        ValueError: another cost, a budget that is NaN, an unknown backend.
        SolverError: the back end fails.

    Reference: HardCoRe-NAS, Eq. 27. The paper does not say which part goes first; its release starts with beta.
    """
    began = time.perf_counter()
    times = _checked(space, cost, budget)
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
    certificate = Certificate(objective, None, max(0.0, cost.value(x) - budget), None, maximise=False)
    return Result(x, Status.FEASIBLE, certificate, done, time.perf_counter() - began)


def maximum_entropy_start(space: StagedBlocks, cost: Quadratic, budget: float) -> Result:
    """The point of the maximum-entropy distribution over architectures whose mean cost is within the budget.

    The program: over all joint distributions P of (a depth a stage, a configuration for every block, idle ones included), maximise
    the entropy of P subject to ``E_P[cost] <= budget``. Its solution is ``P ~ exp(-lam * cost)``. With ``Z_b = sum_c exp(-lam
    t_bc)`` and n_b options in block b,

    - ``beta_d ~ prod_{b <= d} Z_b * prod_{b > d} n_b`` in each stage,
    - ``alpha_b ~ exp(-lam t_b)``: the law of a block's configuration given that it runs. (Idle blocks are uniform under P, and cost
      nothing; the point holds one law a block, and the cost only sees it where the block runs.)

    Hence ``LAT(alpha, beta) = E_P[cost]`` exactly, which falls in lam: one root, found by Newton's method on the convex dual within
    a bracket. The point is interior, and its cost is the budget or just below it: within 1e-12 relative. Where the budget leaves
    the uniform point room, lam is 0.

    Args:
        space: the staged space.
        cost: built by :meth:`StagedBlocks.cost`.
        budget: in the cost's unit.

    Returns:
        The point (n,); primal and bound are the entropy of P in nats, dual is lam (nats per unit of the budget). Status.INFEASIBLE
        names the least cost. A budget that equals the least cost gives the cheapest point.

    Raises:
        ValueError: another cost, or a budget that is NaN.
    """
    began = time.perf_counter()
    times = _checked(space, cost, budget)
    cheapest = _cheapest(space, cost, budget, times)
    if cheapest.x is None:
        return cheapest
    program = _Entropy(space, cost.offset, times)
    low, high, lam, iterations = 0.0, math.inf, 0.0, 0
    alpha, beta, mean, variance, log_count = program.at(lam)
    scale = abs(budget) + float(np.abs(times).max(initial=0.0))
    best: tuple[FloatArray, FloatArray, float, float, float] | None = None
    if mean <= budget:
        best = (alpha, beta, mean, lam, log_count)
    while best is None or budget - best[2] > 0.5 * _ROUND_OFF * scale:
        if best is not None and best[3] == 0.0:
            break
        iterations += 1
        low, high = (lam, high) if mean > budget else (low, lam)
        newton = lam + (mean - budget) / variance if variance > 0 else math.inf
        # Aim a hair inside the budget: the root itself is as often an ulp above it as below.
        newton += 0.25 * _ROUND_OFF * scale / variance if variance > 0 else 0.0
        bracketed = low < newton < high and math.isfinite(newton)
        widened = 2.0 * lam + 1.0 / scale if high == math.inf else 0.5 * (low + high)
        lam = newton if bracketed else widened
        if iterations > 200 or lam in (low, high):  # bisection alone ends within 200; two neighbouring floats end it as well
            break
        alpha, beta, mean, variance, log_count = program.at(lam)
        if mean <= budget and (best is None or mean > best[2]):
            best = (alpha, beta, mean, lam, log_count)
    if best is None:  # the budget is the least cost, to round-off: no interior point fits
        evidence = Certificate(0.0, None, max(0.0, cost.value(cheapest.x) - budget), None, maximise=True)
        return Result(cheapest.x, Status.FEASIBLE, evidence, iterations, time.perf_counter() - began, "only the cheapest fits")
    alpha, beta, mean, lam, log_count = best
    x = np.concatenate([alpha, beta])
    entropy = log_count + lam * (mean - cost.offset)  # log of the partition function plus lam times the mean of what varies
    bound = log_count + lam * (budget - cost.offset)
    certificate = Certificate(entropy, bound, max(0.0, cost.value(x) - budget), np.array([lam]), maximise=True)
    return Result(x, Status.OPTIMAL, certificate, iterations, time.perf_counter() - began)


class _Entropy:
    """The Gibbs distribution of a staged cost as a function of its inverse temperature."""

    __slots__ = ("log_options", "offset", "option_starts", "runs", "sizes", "stage_sizes", "stage_starts", "times")

    def __init__(self, space: StagedBlocks, offset: float, times: FloatArray) -> None:
        blocks = space.blocks
        count = blocks.count - len(space.stages)
        self.sizes = np.asarray(blocks.sizes[:count])
        self.option_starts = np.asarray(blocks.offsets[:count])
        self.stage_sizes = np.asarray(blocks.sizes[count:])
        self.stage_starts = np.concatenate([[0], np.cumsum(self.stage_sizes)[:-1]])
        self.log_options = np.log(self.sizes)
        self.runs, self.times, self.offset = space.runs(), times, offset

    def at(self, lam: float) -> tuple[FloatArray, FloatArray, float, float, float]:
        """``alpha, beta, mean cost, variance of the cost, log of the partition function`` at multiplier ``lam``."""
        least = np.minimum.reduceat(self.times, self.option_starts)  # exponents relative to the cheapest: no underflow of Z
        weight = np.exp(-lam * (self.times - np.repeat(least, self.sizes)))
        partition = np.add.reduceat(weight, self.option_starts)
        alpha = weight / np.repeat(partition, self.sizes)
        mean_block = np.add.reduceat(alpha * self.times, self.option_starts)
        centred = self.times - np.repeat(mean_block, self.sizes)
        variance_block = np.add.reduceat(alpha * centred * centred, self.option_starts)
        # log of Z_b / n_b, the factor a block brings to every depth that runs it
        factor = np.log(partition) - lam * least - self.log_options
        logits = self.runs @ factor
        top = np.maximum.reduceat(logits, self.stage_starts)
        depth_weight = np.exp(logits - np.repeat(top, self.stage_sizes))
        depth_partition = np.add.reduceat(depth_weight, self.stage_starts)
        beta = depth_weight / np.repeat(depth_partition, self.stage_sizes)
        mean_depth = self.runs @ mean_block
        mean_stage = np.add.reduceat(beta * mean_depth, self.stage_starts)
        spread = mean_depth - np.repeat(mean_stage, self.stage_sizes)
        # Law of total variance: within a depth, and between depths.
        variance = float(beta @ (self.runs @ variance_block + spread * spread))
        log_partition = float((top + np.log(depth_partition)).sum() + self.log_options.sum())
        return alpha, beta, float(self.offset + mean_stage.sum()), variance, log_partition


def _checked(space: StagedBlocks, cost: Quadratic, budget: float) -> FloatArray:
    if math.isnan(budget):
        raise ValueError("budget: expected a number, got NaN")
    return space.per_configuration(cost)


def _cheapest(space: StagedBlocks, cost: Quadratic, budget: float, times: FloatArray) -> Result:
    began = time.perf_counter()
    count = space.blocks.count - len(space.stages)
    starts = space.blocks.offsets[: count + 1]
    choices = [int(times[low:high].argmin()) for low, high in pairwise(starts)]
    depth_costs = space.runs() @ np.minimum.reduceat(times, starts[:-1])  # (beta,)
    ends = np.cumsum([len(stage.depths) for stage in space.stages])[:-1]
    choices += [int(depths.argmin()) for depths in np.split(depth_costs, ends)]
    x = space.blocks.vertex(choices)
    least = cost.value(x)
    if least > budget + _ROUND_OFF * abs(budget):
        message = f"the budget is {budget!r}, the least cost there is is {least!r}"
        return Result(None, Status.INFEASIBLE, None, 0, time.perf_counter() - began, message)
    certificate = Certificate(least, least, max(0.0, least - budget), None, maximise=False)
    return Result(x, Status.OPTIMAL, certificate, 1, time.perf_counter() - began)


def _inside(x: FloatArray, moved: FloatArray, cheapest: FloatArray, part: slice, cost: Quadratic, budget: float) -> FloatArray:
    """``moved``, drawn back towards the cheapest of the part by as much as the solver's tolerance put it over the budget."""
    over = cost.value(moved) - budget
    if over <= 0.0:
        return moved
    safe = moved.copy()
    safe[part] = cheapest[part]
    room = cost.value(moved) - cost.value(safe)
    if room <= over:  # nothing dearer than the cheapest fits
        return safe if cost.value(safe) <= cost.value(x) else x
    # The cost is affine along the way back; a few ulps more than needed, for its rounding.
    share = min(1.0, over / room + 4 * np.finfo(np.float64).eps * abs(budget) / room)
    return moved + share * (safe - moved)

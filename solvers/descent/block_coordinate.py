"""Stochastic block-coordinate Frank-Wolfe under a bilinear budget.

HardCoRe-NAS searches over ``x = (alpha, beta)`` under ``LAT(alpha, beta) <= T``. The feasible set is not convex, but with one part
held it is a product of simplices with one linear budget. So each step draws a part, freezes the rest, asks the one-budget oracle
for a vertex of that part and moves towards it: the budget is affine along the step and met at both ends, hence every iterate is
feasible.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.4.1, Eq. 10-11 and Algorithm 1; Lacoste-Julien et al., Block-coordinate Frank-Wolfe
optimization for structural SVMs, 2013.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray
from solvers.descent.frank_wolfe import Iterate, Run
from solvers.descent.oracles import BudgetOracle, OracleBackend
from solvers.descent.step_rules import Step, StepRule, open_loop
from solvers.quadratic import Quadratic
from solvers.results import Certificate, Result, SolverError, Status
from solvers.sets import Blocks, BudgetedBlocks

# A start that meets its budget with equality may miss it by the round-off of the cost; the oracle may exceed the budget by as much,
# so that the point it holds stays feasible for it. Relative to the budget; a tenth of the 1e-9 that every iterate is held to.
_RELAXATION = 1e-10
# Sums of a start that came from a QP solver are a little off; steps towards vertices only shrink that error.
_ON_BLOCKS = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class BlockStep:
    """One step within ``part``.

    Attributes:
        x: (n,) the new point; the old one where the oracle's program is infeasible.
        part: where the step took place.
        vertex: (part size,) what the step went towards, None where infeasible.
        gap: ``gradient[part] @ (x[part] - vertex)`` at the old point, >= 0: stationarity of the part.
        size: the step size taken.
        oracle: the oracle's answer, with the budgets' multipliers.
    """

    x: FloatArray
    part: slice
    vertex: FloatArray | None
    gap: float
    size: float
    oracle: Result


def block_oracle(
    x: FloatArray,
    part: slice,
    blocks: Blocks,
    cost: Quadratic | Sequence[Quadratic],
    capacity: float | Sequence[float],
    *,
    backend: OracleBackend | None = None,
) -> BudgetOracle:
    """The oracle over ``x[part]`` with every other coordinate of ``x`` (n,) held: blocks cut by the frozen budgets.

    Raises:
        ValueError: a part that cuts a block, a cost that is not affine in the part, another number of capacities than costs.

    Example:
        >>> cost = Quadratic.of(1.0, np.zeros(4), np.block([[np.zeros((2, 2)), np.ones((2, 2))], [np.zeros((2, 4))]]))
        >>> block_oracle(np.full(4, 0.5), slice(0, 2), Blocks.of([2, 2]), cost, 3.0).feasible.weights.tolist()
        [[1.0, 1.0]]
    """
    costs, limits = _budgets(cost, capacity)
    frozen = [each.freeze(part, x) for each in costs]
    weights = np.array([row for _, row in frozen])
    room = limits - np.array([offset for offset, _ in frozen])
    feasible = BudgetedBlocks.of(blocks.part(part.start, part.stop), weights, room)
    return BudgetOracle.of(feasible, backend, relaxation=_RELAXATION * np.abs(limits))


def block_step(
    x: FloatArray,
    gradient: FloatArray,
    part: slice,
    blocks: Blocks,
    cost: Quadratic | Sequence[Quadratic],
    capacity: float | Sequence[float],
    size: float | Callable[[FloatArray, float], float],
    *,
    backend: OracleBackend | None = None,
) -> BlockStep:
    """One step of Algorithm 1: freeze all but ``part``, minimize the gradient there, move towards the vertex. Pure.

    Args:
        x: (n,) a feasible point of ``blocks`` under the budgets.
        gradient: (n,) of the loss at ``x``, stochastic or not; only ``gradient[part]`` is read.
        part: the coordinates to move, from one block's border to another's.
        blocks: the simplices of the whole point.
        cost: one cost or several.
        capacity: its budget, in the cost's unit; one a cost.
        size: in [0, 1], or a function of (direction (n,), gap) that returns it.
        backend: of the oracle, see :meth:`BudgetOracle.of`.

    Raises:
        ValueError: see :func:`block_oracle`; a step outside [0, 1]; a gradient of another shape or NaN.

    Example:
        >>> from solvers import Stage, StagedBlocks, cheapest_start
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])  # two blocks of two configurations, of which one or both run
        >>> cost = space.cost(1.0, [1.0, 2.0, 1.0, 3.0])
        >>> start, gradient = cheapest_start(space, cost, 5.0).x, np.array([0.0, -1.0, 0.0, -1.0, 0.0, 0.0])
        >>> block_step(start, gradient, space.alpha, space.blocks, cost, 5.0, 1.0).x.tolist()
        [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    """
    if gradient.shape != x.shape:
        raise ValueError(f"gradient: expected shape {x.shape} like the point, got {gradient.shape}")
    answer = block_oracle(x, part, blocks, cost, capacity, backend=backend).minimize(gradient[part])
    if answer.x is None:
        return BlockStep(x, part, None, 0.0, 0.0, answer)
    direction = np.zeros_like(x)
    direction[part] = answer.x - x[part]
    gap = max(0.0, -float(gradient[part] @ direction[part]))
    chosen = size(direction, gap) if callable(size) else float(size)
    if not 0.0 <= chosen <= 1.0:
        raise ValueError(f"step size: expected a number in [0, 1], got {chosen}")
    moved = x + chosen * direction
    if chosen == 1.0:
        moved[part] = answer.x  # without the rounding of x + (vertex - x): zeros stay zeros
    return BlockStep(moved, part, answer.x, gap, chosen, answer)


def block_frank_wolfe(
    gradient: Callable[[FloatArray], FloatArray],
    blocks: Blocks,
    parts: Sequence[slice],
    cost: Quadratic | Sequence[Quadratic],
    capacity: float | Sequence[float],
    start: FloatArray,
    *,
    iterations: int,
    generator: np.random.Generator,
    step_rule: StepRule | None = None,
    momentum: float = 0.0,
    probabilities: Sequence[float] | None = None,
    objective: Callable[[FloatArray], float] | None = None,
    callback: Callable[[Iterate], bool | None] | None = None,
    backend: OracleBackend | None = None,
) -> Run:
    """Algorithm 1: per step a part drawn from ``generator``, and :func:`block_step` on it.

    Args:
        gradient: (n,) -> (n,), of the loss; it may be a stochastic estimate.
        blocks: the simplices of the point.
        parts: slices of the point in each of which every cost is affine, such as (space.alpha, space.beta).
        cost: one cost or several, ``capacity`` its budget(s).
        capacity: in the cost's unit.
        start: (n,) a feasible point; see ``solvers.staged.starts``.
        iterations: number of steps.
        generator: draws the parts, and nothing else.
        step_rule: of the global step count, see ``solvers.descent.step_rules``; None means the paper's ``open_loop(4)``. Its first
            step, 1, forgets the start of the part it falls on; ``open_loop(4, 8)`` does not.
        momentum: share of the past in an exponential mean of the gradients, in [0, 1); the paper's Algorithm 1 has 0, its release
            .9.
        probabilities: of the parts; None draws them alike.
        objective: for histories and line searches only.
        callback: called after each step with the point before it; True stops.
        backend: of the oracle, see :meth:`BudgetOracle.of`.

    Returns:
        The run. ``gaps`` holds each step's gap on its own part under the gradient that was used, one entry a step. The certificate
        states the violation of the last point (greatest excess over a budget) and no bound: the problem is not convex. Its primal
        is NaN where no objective was given. A run that the oracle ends early (a start that fits only by round-off) says so in
        message.

    Raises:
        ValueError: a start that is outside the blocks or above a budget, momentum outside [0, 1), parts that are malformed.
        SolverError: the gradient is not finite.

    Example:
        >>> from solvers import Stage, StagedBlocks, cheapest_start
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost, generator = space.cost(1.0, [1.0, 2.0, 1.0, 3.0]), np.random.default_rng(0)
        >>> parts, start = (space.alpha, space.beta), cheapest_start(space, cost, 5.0).x
        >>> run = block_frank_wolfe(lambda x: -x, space.blocks, parts, cost, 5.0, start, iterations=20, generator=generator)
        >>> cost.value(run.result.x) <= 5.0 + 1e-9
        True
    """
    began = time.perf_counter()
    costs, limits = _budgets(cost, capacity)
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
    if not parts:
        raise ValueError("parts: expected at least one slice of the point")
    x = np.array(start, dtype=np.float64)
    _check_start(x, blocks, costs, limits)
    rule = open_loop(4) if step_rule is None else step_rule
    mean: FloatArray | None = None
    gaps: list[float] = []
    steps: list[float] = []
    objectives: list[float] = []
    message = ""
    for iteration in range(iterations):
        slope = np.asarray(gradient(x), dtype=np.float64)
        if not np.isfinite(slope).all():
            raise SolverError(f"the gradient is not finite at iteration {iteration}")
        mean = slope if mean is None else momentum * mean + (1.0 - momentum) * slope
        part = parts[int(generator.choice(len(parts), p=probabilities))]
        if objective is not None:
            objectives.append(float(objective(x)))
        sized = _sizer(rule, iteration, x, gradient, objective)
        step = block_step(x, mean, part, blocks, costs, limits.tolist(), sized, backend=backend)
        if step.vertex is None:
            message = f"iteration {iteration}: {step.oracle.message}"
            break
        gaps.append(step.gap)
        steps.append(step.size)
        seen = Iterate(iteration, x, step.gap, objectives[-1] if objective is not None else None)
        x = step.x
        if callback is not None and callback(seen) is True:
            break
    excess = max(each.value(x) - limit for each, limit in zip(costs, limits, strict=True))
    if objective is not None:
        objectives.append(float(objective(x)))
    certificate = Certificate(objectives[-1] if objectives else math.nan, None, max(0.0, excess), None, maximize=False)
    result = Result(x, Status.FEASIBLE, certificate, len(steps), time.perf_counter() - began, message)
    return Run(result, np.array(gaps), np.array(steps), np.array(objectives) if objective is not None else None)


def _sizer(
    rule: StepRule,
    iteration: int,
    x: FloatArray,
    gradient: Callable[[FloatArray], FloatArray],
    objective: Callable[[FloatArray], float] | None,
) -> Callable[[FloatArray, float], float]:
    return lambda direction, gap: rule(Step(iteration, x, direction, gap, 1.0, gradient, objective))


def _budgets(cost: Quadratic | Sequence[Quadratic], capacity: float | Sequence[float]) -> tuple[tuple[Quadratic, ...], FloatArray]:
    costs = (cost,) if isinstance(cost, Quadratic) else tuple(cost)
    limits = np.atleast_1d(np.asarray(capacity, dtype=np.float64))
    if not costs or limits.shape != (len(costs),):
        raise ValueError(f"budgets: expected one capacity a cost, got {len(costs)} costs and capacities of shape {limits.shape}")
    return costs, limits


def _check_start(x: FloatArray, blocks: Blocks, costs: tuple[Quadratic, ...], limits: FloatArray) -> None:
    residual = blocks.residual(x)
    if residual > _ON_BLOCKS:
        raise ValueError(f"start: not a point of the blocks, residual {residual:.3g}")
    for index, (each, limit) in enumerate(zip(costs, limits.tolist(), strict=True)):
        value = each.value(x)
        if value > limit + _RELAXATION * abs(limit):
            raise ValueError(f"start: costs {value!r} under budget {index} of {limit!r}; begin at a point of solvers.staged.starts")

"""Exact joint projection of a staged point onto bilinear budgets: configurations and depths together.

``max scores @ x  over one-hot x = (alpha, beta)  s.t.  alpha' Theta beta <= T``. HardCoRe-NAS's Eq. 13 fixes beta* while it
projects alpha and alpha* while it projects beta; the halves together need not fit (``solvers.staged.schemes`` has that scheme).
Given the depths, the program is a multiple-choice knapsack over the blocks that run; a block that does not run costs nothing and
keeps its best configuration. So depth vectors are taken by falling Lagrangian bound at the multiplier of the joint dual, lazily
(the k best of a sum), each a knapsack with the best selection so far as its cut-off, until no bound beats it: usually one knapsack.

As a mixed-integer program it is linear in ``y = alpha w``, ``w_b = sum of beta_d over the depths d that run b``, with groups
``sum_c y_bc = w_b``: the route for several budgets, and an independent check of the first.

Reference: Nayman et al., HardCoRe-NAS, Eq. 3, 9 and 13; Lawler 1972 (enumeration of the k best).
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray
from solvers.backends import BinaryProgram, maximize_binary
from solvers.knapsack import Knapsack, exact_sum, first_best, relax, solve_exact
from solvers.quadratic import Quadratic
from solvers.results import Certificate, Result, Status
from solvers.sets import read_only
from solvers.staged.space import StagedBlocks, StagedCost, StagedLayout

JointBackend = Literal["native", "highs", "scipy"]

_ROUND_OFF = 1e-12  # of project_to_budget: the cheapest is accepted this far (relative) beyond a budget, if nothing fits
_DUAL_STEPS = 100  # chords of a convex piecewise linear function: a dozen in practice; any multiplier >= 0 gives a true bound


def project_jointly(
    staged: StagedBlocks,
    scores: ArrayLike,
    cost: Quadratic | StagedCost | Sequence[Quadratic | StagedCost],
    budget: float | Sequence[float],
    *,
    backend: JointBackend = "native",
    time_limit_seconds: float | None = None,
) -> Result:
    """The one-hot (alpha, beta) of greatest score that fits.

    Args:
        staged: the space.
        scores: (dimension,) of ``staged.blocks``, finite; larger is better.
        cost: built by ``staged.cost`` or ``StagedCost.of``; several of them with as many budgets.
        budget: in the unit of the cost. Held strictly, by the correctly rounded sum; only if nothing fits is the cheapest accepted
            within 1e-12 relative.
        backend: "native" (one budget; several go to "highs"), or the mixed-integer program by "highs" or "scipy".
        time_limit_seconds: stop then with the best so far and its true gap.

    Returns:
        x one-hot with status OPTIMAL (gap at most 1e-9 max(1, abs(score))), FEASIBLE or TIME_LIMIT; INFEASIBLE with the least cost
        in the message and no point. ``iterations`` counts knapsacks, or cuts of the mixed-integer route.

    Raises:
        ValueError: malformed scores, costs or budgets.
        SolverError: the mixed-integer solver fails.

    Reference: HardCoRe-NAS Eq. 13, jointly and exactly.

    Example:
        >>> from solvers import Stage
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])
        >>> cost = StagedCost.of(space, 1.0, [1.0, 2.0, 1.0, 3.0])
        >>> result = project_jointly(space, [0.0, 1.0, 0.0, 1.0, 0.0, 2.0], cost, 5.0)
        >>> result.x.tolist(), result.certificate.primal
        ([0.0, 1.0, 1.0, 0.0, 0.0, 1.0], 3.0)
    """
    began = time.perf_counter()
    if backend not in get_args(JointBackend):
        raise ValueError(f"backend: expected one of {', '.join(get_args(JointBackend))}, got {backend!r}")
    credit = read_only(scores, "scores", (staged.blocks.dimension,))
    if not np.isfinite(credit).all():
        raise ValueError("scores: expected finite numbers; leave out the option that is forbidden")
    parts = [cost] if isinstance(cost, (Quadratic, StagedCost)) else list(cost)
    costs = [StagedCost.read(staged, part) for part in parts]
    limits = np.atleast_1d(np.asarray(budget, dtype=np.float64)).copy()
    if limits.shape != (len(costs),) or np.isnan(limits).any():
        raise ValueError(f"budget: expected {len(costs)} number(s), one a cost, got {budget!r}")
    layout = staged.layout
    given = limits.copy()
    for row, part in enumerate(costs):
        least = part.least(layout)
        if least > limits[row]:
            if least > limits[row] * (1.0 + _ROUND_OFF):
                message = f"nothing fits: budget {row} is {limits[row]}, the least possible cost is {least}"
                return Result(None, Status.INFEASIBLE, None, 0, time.perf_counter() - began, message)
            limits[row] = least
    if backend == "native" and len(costs) == 1:
        found = _best_first(layout, credit, costs[0], float(limits[0]), time_limit_seconds)
    else:
        solver: Literal["highs", "scipy"] = "scipy" if backend == "scipy" else "highs"
        found = _mixed_integer(layout, credit, costs, limits, solver, time_limit_seconds)
    seconds = time.perf_counter() - began
    if found.configurations is None or found.options is None:
        message = f"nothing fits all of the budgets {limits.tolist()} together; alone each can be met"
        if found.status is not Status.INFEASIBLE:
            message = "no point found within the time limit"
        return Result(None, found.status, None, found.solves, seconds, message)
    x = np.zeros(staged.blocks.dimension)
    x[found.configurations] = 1.0
    x[staged.beta.start + found.options] = 1.0
    value = exact_sum(credit[x == 1.0])
    excess = [part.total(layout, found.configurations, found.options) - limit for part, limit in zip(costs, given, strict=True)]
    certificate = Certificate(value, max(found.bound, value), float(max(0.0, *excess)), found.dual, maximize=True)
    status = found.status
    if status is not Status.TIME_LIMIT or certificate.bound == value:
        gap = certificate.gap or 0.0
        status = Status.OPTIMAL if gap <= 1e-9 * max(1.0, abs(value)) else Status.FEASIBLE
    return Result(x, status, certificate, found.solves, seconds)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """One flat configuration a block and one depth option a stage, a bound, multipliers, and how many programs it took."""

    status: Status
    configurations: IntArray | None
    options: IntArray | None
    bound: float
    dual: FloatArray | None
    solves: int


def _best_first(
    layout: StagedLayout, scores: FloatArray, cost: StagedCost, budget: float, time_limit_seconds: float | None
) -> _Found:
    """Depth vectors by falling Lagrangian bound, a knapsack each."""
    deadline = math.inf if time_limit_seconds is None else time.perf_counter() + time_limit_seconds
    alpha, times = scores[: layout.configurations[-1]], cost.per_configuration
    favourite = first_best(alpha, layout.configurations)
    idle = alpha[favourite]
    dual, bound, worth = _joint_dual(layout, scores, cost, budget, idle)
    losses = [best.max() - best for best in np.split(worth, layout.depths[1:-1])]
    best_value, best_configurations, best_options = -math.inf, None, None
    proven, solves, status = -math.inf, 0, Status.OPTIMAL
    for loss, picks in _by_rising_loss(losses):
        tolerance = 5e-10 * abs(best_value) if solves and math.isfinite(best_value) else 0.0  # half of what OPTIMAL promises
        if bound - loss <= best_value + tolerance:
            proven = max(proven, min(bound - loss, bound))
            break
        if time.perf_counter() > deadline and best_configurations is not None:
            proven, status = max(proven, bound - loss), Status.TIME_LIMIT
            break
        options = layout.depths[:-1] + picks
        blocks = layout.runs(options)
        running = np.zeros(len(idle), dtype=bool)
        running[blocks] = True
        # The fixed cost is a group of one option, so that the budget stays one strict sum; it carries what the depths are worth.
        start, stop = layout.configurations[blocks], layout.configurations[blocks + 1]
        sizes = stop - start
        offsets = np.concatenate([[0, 1], 1 + np.cumsum(sizes)])
        flat = np.arange(int(sizes.sum())) + np.repeat(start - (offsets[1:-1] - 1), sizes)
        base = math.fsum([*scores[len(alpha) + options].tolist(), *idle[~running].tolist()])
        knapsack = Knapsack(np.concatenate([[base], alpha[flat]]), np.concatenate([[cost.fixed], times[flat]]), offsets)
        relaxation = relax(knapsack, budget)
        if relaxation.status is Status.INFEASIBLE:
            continue
        if relaxation.bound <= best_value:
            proven = max(proven, relaxation.bound)
            continue
        left = None if math.isinf(deadline) else max(1e-3, deadline - time.perf_counter())
        found = solve_exact(knapsack, budget, cutoff=best_value, time_limit_seconds=left, relaxation=relaxation)
        solves += 1
        proven = max(proven, found.bound)
        if found.value > best_value:
            best_value, best_options = found.value, options
            best_configurations = favourite.copy()
            best_configurations[blocks] = flat[found.choices[1:] - 1]
        if found.status is Status.TIME_LIMIT:
            status = Status.TIME_LIMIT
    return _Found(status, best_configurations, best_options, min(bound, proven), np.array([dual]), solves)


def _joint_dual(
    layout: StagedLayout, scores: FloatArray, cost: StagedCost, budget: float, idle: FloatArray
) -> tuple[float, float, FloatArray]:
    """The multiplier of the joint relaxation, its bound, and what each depth option is worth at it (depth options,).

    ``L(m) = m (T - fixed) + sum_s max_d h_sd(m)`` is convex and piecewise linear; chords between a selection that fits and one
    that does not meet at the next multiplier until nothing lies above them.
    """
    alpha, beta = scores[: layout.configurations[-1]], scores[layout.configurations[-1] :]
    times, room = cost.per_configuration, budget - cost.fixed
    constant = beta + layout.idle_sums(idle)

    def evaluate(multiplier: float) -> tuple[FloatArray, float, float, float]:
        """Worth of the depth options, and of the best selection: priced worth, plain worth, cost."""
        reduced = alpha - multiplier * times
        chosen = first_best(reduced, layout.configurations)
        worth = constant + layout.running_sums(reduced[chosen])
        picked = first_best(worth, layout.depths)
        spent = math.fsum(times[chosen[layout.runs(picked)]].tolist())
        priced = math.fsum(worth[picked].tolist())
        return worth, priced, priced + multiplier * spent, spent

    worth, priced, high_value, high_cost = evaluate(0.0)
    if high_cost <= room or not math.isfinite(room):
        return 0.0, priced, worth
    shallow = layout.runs(layout.depths[:-1])
    cheapest = np.minimum.reduceat(times, layout.configurations[:-1])
    cheap = np.where(times == np.repeat(cheapest, np.diff(layout.configurations)), alpha, -np.inf)
    low_value = math.fsum(
        [*constant[layout.depths[:-1]].tolist(), *np.maximum.reduceat(cheap, layout.configurations[:-1])[shallow].tolist()]
    )
    low_cost = math.fsum(cheapest[shallow].tolist())
    best = (0.0, priced, worth)
    for _ in range(_DUAL_STEPS):
        if not (high_cost > low_cost and high_value > low_value):
            break
        multiplier = (high_value - low_value) / (high_cost - low_cost)
        worth, priced, value, spent = evaluate(multiplier)
        bound = priced + multiplier * (room + 0.5 * math.ulp(budget))  # a sum fits if it rounds to the budget
        if bound < best[1]:
            best = (multiplier, bound, worth)
        above = priced - (low_value - multiplier * low_cost)
        if above <= 1e-14 * (abs(priced) + abs(low_value)):  # nothing lies above the chord but rounding
            break
        if spent > room:
            high_value, high_cost = value, spent
        else:
            low_value, low_cost = value, spent
    return best


def _by_rising_loss(losses: list[FloatArray]) -> Iterator[tuple[float, IntArray]]:
    """All vectors of one pick a stage by rising summed loss, lazily: each is generated once, from the one before it in its line.

    With stages by rising second-least loss, a vector's successors are: the next pick of its last changed stage; the second pick of
    the stage after that; and, if the last changed stage is at its second pick, that change moved one stage on.
    """
    orders = [np.argsort(loss, kind="stable") for loss in losses]
    ranked = [loss[order] for loss, order in zip(losses, orders, strict=True)]
    open_stages = sorted((s for s in range(len(losses)) if len(ranked[s]) > 1), key=lambda s: float(ranked[s][1]))
    first = np.array([int(order[0]) for order in orders])
    yield 0.0, first
    if not open_stages:
        return
    # Heap entries: loss, ranks of the stages changed so far as (position in open_stages, rank) pairs, the last one being current.
    heap: list[tuple[float, tuple[tuple[int, int], ...]]] = [(float(ranked[open_stages[0]][1]), ((0, 1),))]
    while heap:
        loss, changed = heapq.heappop(heap)
        picks = first.copy()
        for position, rank in changed:
            stage = open_stages[position]
            picks[stage] = orders[stage][rank]
        yield loss, picks
        position, rank = changed[-1]
        row = ranked[open_stages[position]]
        if rank + 1 < len(row):
            heapq.heappush(heap, (loss - float(row[rank]) + float(row[rank + 1]), (*changed[:-1], (position, rank + 1))))
        if position + 1 < len(open_stages):
            step = float(ranked[open_stages[position + 1]][1])
            heapq.heappush(heap, (loss + step, (*changed, (position + 1, 1))))
            if rank == 1:
                heapq.heappush(heap, (loss - float(row[1]) + step, (*changed[:-1], (position + 1, 1))))


def _mixed_integer(
    layout: StagedLayout,
    scores: FloatArray,
    costs: list[StagedCost],
    budgets: FloatArray,
    backend: Literal["highs", "scipy"],
    time_limit_seconds: float | None,
) -> _Found:
    """The program in (y, beta); a running configuration is worth its score below its block's best, an idle block its best."""
    width, depth_options = int(layout.configurations[-1]), int(layout.depths[-1])
    alpha, beta = scores[:width], scores[width:]
    favourite = first_best(alpha, layout.configurations)
    idle = alpha[favourite]
    objective = np.concatenate([alpha - np.repeat(idle, np.diff(layout.configurations)), beta])
    starts, indices, values, right = [0], [], [], []
    for block, (first, last) in enumerate(zip(layout.configurations[:-1], layout.configurations[1:], strict=True)):
        running = np.flatnonzero((layout.first <= block) & (block < layout.end))
        indices += [np.arange(first, last), width + running]
        values += [np.ones(last - first), -np.ones(len(running))]
        starts.append(starts[-1] + int(last - first) + len(running))
        right.append(0.0)
    for first, last in zip(layout.depths[:-1], layout.depths[1:], strict=True):
        indices.append(np.arange(width + first, width + last))
        values.append(np.ones(last - first))
        starts.append(starts[-1] + int(last - first))
        right.append(1.0)
    rows = np.array([np.concatenate([part.per_configuration, np.zeros(depth_options)]) for part in costs])
    fixed = np.array([part.fixed for part in costs])
    program = BinaryProgram(
        objective, np.array(starts), np.concatenate(indices), np.concatenate(values), np.array(right), rows, fixed, budgets
    )
    answer = maximize_binary(program, backend=backend, time_limit_seconds=time_limit_seconds)
    if answer.support is None:
        return _Found(answer.status, None, None, answer.bound, None, answer.cuts)
    configurations = favourite.copy()
    running = answer.support[answer.support < width]
    configurations[np.searchsorted(layout.configurations, running, side="right") - 1] = running
    options = answer.support[answer.support >= width] - width
    bound = answer.bound + exact_sum(idle)
    return _Found(answer.status, configurations, options, bound, None, answer.cuts)

"""The exact multiple-choice knapsack with several budgets: preparation of the compiled branch and bound, and its answer.

Costs are scaled by powers of two, which changes no sum, so that budgets of any units weigh alike; values are taken below each
group's best, so that differences keep their digits. The search itself is ``solvers.kernels.budgets_search``; it runs in slices,
between which the time is looked at. numba is imported here, when the first program is solved.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 and 11.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels import as_kernel_input
from solvers.knapsack.program import exact_sum
from solvers.results import Status

_NODES = 20_000_000  # about a minute; families that need more (real-valued subset sums) would not end in a day either
_SLICE = 4096  # nodes between two looks at the clock: some ten milliseconds
_EPSILON = 2.0**-52


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedSelection:
    """What :func:`solve_budgets` found.

    Attributes:
        status: OPTIMAL (gap <= 1e-9 max(1, |value|), or nothing beats the cutoff), INFEASIBLE, or TIME_LIMIT when the time or the
            number of nodes ran out.
        choices: (groups,) flat options that fit; None where none is known.
        value, bound: of ``choices`` (-inf where there are none), and an upper bound on every selection that fits.
        duals: (m,) the multipliers of the linear relaxation.
        nodes: of the search.
    """

    status: Status
    choices: IntArray | None
    value: float
    bound: float
    duals: FloatArray
    nodes: int


def relax_budgets(
    values: FloatArray, costs: FloatArray, budgets: FloatArray, offsets: IntArray
) -> tuple[bool, FloatArray | None, FloatArray]:
    """Whether the linear relaxation is feasible, a vertex (n,) of it, and multipliers (m,); arguments: :func:`solve_budgets`.

    At most one group a budget is fractional. There is no vertex where the descent stalls among degenerate ties.
    """
    from solvers.kernels.budgets_dual import BOUNDED, INFEASIBLE, descend

    groups, n = len(offsets) - 1, len(values)
    finite, shift, rows, limits = _scaled(costs, budgets)
    m = len(finite)
    dual, weight, kinks = np.zeros(m), np.zeros(m), np.zeros((m, 2), dtype=np.intp)
    key = np.zeros(groups, dtype=np.intp)
    room = limits + 0.5 * np.spacing(limits)
    arguments = as_kernel_input(values), rows, np.arange(n), as_kernel_input(offsets), groups, room, dual, -math.inf
    status, _, held = descend(*arguments, key, kinks, weight, np.empty(n))
    duals = np.zeros(len(budgets))
    if status == INFEASIBLE:
        return False, None, duals
    duals[finite] = np.ldexp(dual, shift)
    if status != BOUNDED:
        return True, None, duals
    x = np.zeros(n)
    x[key] = 1.0
    for (group, option), share in zip(kinks[:held].tolist(), weight[:held].tolist(), strict=True):
        if group >= 0:
            share = min(max(share, 0.0), float(x[key[group]]))
            x[option] += share
            x[key[group]] -= share
    return True, x, duals


def _scaled(costs: FloatArray, budgets: FloatArray) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """The finite budgets, the powers of two that make their rows comparable, and scaled costs (n, m) and limits.

    Scaling by a power of two is exact.
    """
    finite = np.flatnonzero(np.isfinite(budgets))
    most = costs[finite].max(axis=1, initial=0.0)
    sizes = np.where(budgets[finite] > 0.0, np.maximum(budgets[finite], 2.0**-200 * most), most)  # nothing overflows
    shift = -np.frexp(sizes)[1].astype(np.intp)
    rows = np.ascontiguousarray(np.ldexp(costs[finite], shift[:, None]).T)
    return finite, shift, rows, np.ldexp(budgets[finite], shift)


def solve_budgets(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    *,
    cutoff: float = -math.inf,
    time_limit_seconds: float | None = None,
    node_limit: int = _NODES,
) -> BudgetedSelection:
    """The most valuable selection of one option a group that meets every budget by its correctly rounded sums.

    Args:
        values: (n,), finite.
        costs: (m, n), finite, not negative.
        budgets: (m,), infinite means none.
        offsets: (groups + 1,) where each group starts.
        cutoff: selections of this value or less are of no interest; with OPTIMAL and no choices nothing beats it.
        time_limit_seconds, node_limit: stop then with the best selection so far and its true gap.
    """
    from solvers.kernels.budgets_search import DONE, FULL, search

    deadline = math.inf if time_limit_seconds is None else time.perf_counter() + time_limit_seconds
    finite, shift, rows, limits = _scaled(costs, budgets)
    lift = np.maximum.reduceat(values, offsets[:-1])
    shifted = values - np.repeat(lift, np.diff(offsets))
    base = exact_sum(lift)
    spread = -exact_sum(np.minimum.reduceat(shifted, offsets[:-1]))
    noise = 4 * _EPSILON * spread
    whole = max(spread, abs(base)) < 2.0**40 and not (values % 1.0).any()
    start = math.floor(cutoff) - base if whole and math.isfinite(cutoff) else cutoff - base
    # A sum fits if it rounds to the budget: half an ulp; the room left at a node is rounded some times more.
    slack = 0.5 * np.spacing(limits) + 8 * _EPSILON * limits
    duals = np.zeros(len(budgets))
    tree = _Tree.of(rows, limits + slack, offsets)
    if tree is None:
        return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, duals, 0)
    path, chosen = tree.path, np.full(len(offsets) - 1, -1, dtype=np.intp)
    best = np.array([start, -math.inf, 0.0])
    root = math.inf
    stopped = False
    while True:
        # Half the promised 1e-9 of the value, and no more of the spread, so that scores may be scaled and shifted at will.
        known = abs(base + best[0]) if math.isfinite(best[0]) else 0.0
        tolerance = 1.0 - 2.0**-10 if whole else max(noise, 5e-10 * min(spread, known))
        code = search(
            shifted, rows, limits, slack, tolerance, _SLICE if best[2] else 1, tree.place, tree.ints, tree.floats, tree.fixed,
            tree.dual, tree.groups, tree.cuts, tree.options, tree.loss, path, chosen, best,
        )  # fmt: skip
        if math.isinf(root):
            root = float(tree.floats[0, 0])
            duals[finite] = np.ldexp(tree.dual[0], shift)
        if code == DONE:
            break
        if code == FULL:
            tree.grow()
        elif time.perf_counter() > deadline or best[2] >= node_limit:
            stopped = True
            break
    upper = max(float(best[0]), float(best[1]), tree.open_bound() if stopped else -math.inf)
    bound = base + min(upper, root)
    if whole and math.isfinite(bound):
        bound = math.floor(bound + 2.0**-10)
    nodes = int(best[2])
    if chosen[0] < 0:
        if not stopped and math.isinf(cutoff):
            return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, duals, nodes)
        return BudgetedSelection(Status.TIME_LIMIT if stopped else Status.OPTIMAL, None, -math.inf, bound, duals, nodes)
    value = exact_sum(values[chosen])
    bound = max(bound, value)
    certified = not stopped or bound - value <= 1e-9 * max(1.0, abs(value))
    return BudgetedSelection(Status.OPTIMAL if certified else Status.TIME_LIMIT, chosen, value, bound, duals, nodes)


@dataclass(slots=True)
class _Tree:
    """The open path of the search in flat arrays; see :func:`solvers.kernels.budgets_search.search` for what they hold."""

    place: IntArray
    ints: IntArray
    floats: FloatArray
    fixed: FloatArray
    dual: FloatArray
    groups: IntArray
    cuts: IntArray
    options: IntArray
    loss: FloatArray
    path: IntArray

    @classmethod
    def of(cls, rows: FloatArray, limits: FloatArray, offsets: IntArray) -> _Tree | None:
        """The root with the options that fit beside the cheapest of all other groups; None where a group has none."""
        groups, (n, m) = len(offsets) - 1, rows.shape
        least = np.minimum.reduceat(rows, offsets[:-1], axis=0)
        # The sum of the least is rounded some times more than the slack in the limits allows for.
        room = limits * (1.0 + groups * _EPSILON) - least.sum(axis=0)
        alive = np.flatnonzero((rows - np.repeat(least, np.diff(offsets), axis=0) <= room).all(axis=1))
        cuts = np.searchsorted(alive, offsets)
        if not np.diff(cuts).all():
            return None
        levels, pool = 16, 4 * n + 64
        tree = cls(
            np.array([0, 1], dtype=np.intp), np.zeros((levels, 5), dtype=np.intp), np.zeros((levels, 2)),
            np.zeros((levels, m, 2)), np.zeros((levels, m)), np.zeros(pool, dtype=np.intp),
            np.zeros(pool + levels, dtype=np.intp), np.zeros(pool, dtype=np.intp), np.zeros(pool),
            np.zeros(groups, dtype=np.intp),
        )  # fmt: skip
        tree.ints[0, 0], tree.floats[0, 0] = groups, math.inf
        tree.groups[:groups], tree.cuts[: groups + 1], tree.options[: len(alive)] = np.arange(groups), cuts, alive
        return tree

    def grow(self) -> None:
        """Room for twice the levels, groups and options."""
        more = np.zeros(len(self.ints), dtype=np.intp)  # the cut pool has one entry a level more
        self.cuts = np.concatenate([self.cuts, self.cuts, more])
        for name in ("ints", "floats", "fixed", "dual", "groups", "options", "loss"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, array]))

    def open_bound(self) -> float:
        """The greatest bound of what the search has not looked at."""
        bound = -math.inf
        for level in range(int(self.place[0]) + 1):
            _, group_at, option_at, branch, child = self.ints[level].tolist()
            if level == self.place[0] and self.place[1] == 1:
                bound = max(bound, float(self.floats[level, 0]))
            elif branch >= 0:
                first, last = self.cuts[group_at + level + branch], self.cuts[group_at + level + branch + 1]
                if first + child < last:
                    bound = max(bound, float(self.floats[level, 0] - self.loss[option_at + first + child]))
        return bound

"""The exact multiple-choice knapsack with several budgets: preparation of the compiled branch and bound, and its answer.

Costs are scaled by powers of two, which changes no sum, so that budgets of any units weigh alike; values are taken below each
group's best, so that differences keep their digits. The search itself is ``solvers.kernels.budgets_search``; it runs in slices.
The kernels are imported here, when the first program is solved.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 and 11.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels import as_kernel_input
from solvers.knapsack.program import exact_sum, first_best, fitting
from solvers.results import Status

_NODES = 20_000_000  # about a minute; families that need more (real-valued subset sums) would not end in a day either
_SLICE = 4096  # nodes between two looks at what to do next
_ROUNDS = 4  # of the local search for a selection that fits
_TRIES = 200  # such searches, one after every slice that found nothing either
_EPSILON = 2.0**-52
_FINER = 2.0**-300  # of the scale: beyond it differences are lost in scaling
_WHOLE = 2.0**40  # whole values of this size leave room for the rounding of bounds between two whole numbers


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedSelection:
    """What :func:`solve_budgets` found.

    Attributes:
        status: OPTIMAL (gap <= 1e-9 max(1, |value|), or nothing beats the cutoff), INFEASIBLE, TIME_LIMIT when the time ran out,
            FEASIBLE when the number of nodes did.
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


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """A program as the kernels take it; all scaling is by powers of two, which is exact.

    Attributes:
        values: (n,) below each group's best, none positive, the least about -1 (unless they are whole numbers).
        rows: (n, m) costs under the finite budgets, which are about 1.
        limits: (m,) those budgets; ``room`` (m,) is more than any sum that rounds to them.
        finite, shift: which budgets they are, and the powers of two they were scaled by.
        lift: what the values are below: the sum of the groups' best.
        unit: the power of two that values were scaled by.
        whole: values are whole numbers, so that nothing lies between two of them.
    """

    values: FloatArray
    rows: FloatArray
    limits: FloatArray
    room: FloatArray
    offsets: IntArray
    finite: IntArray
    shift: IntArray
    lift: float
    unit: int
    whole: bool

    @classmethod
    def of(cls, values: FloatArray, costs: FloatArray, budgets: FloatArray, offsets: IntArray) -> _Scaled:
        finite = np.flatnonzero(np.isfinite(budgets))
        most = costs[finite].max(axis=1, initial=0.0)
        sizes = np.where(budgets[finite] > 0.0, np.maximum(budgets[finite], 2.0**-200 * most), most)  # nothing overflows
        shift = -np.frexp(sizes)[1].astype(np.intp)
        rows = np.ascontiguousarray(np.ldexp(costs[finite], shift[:, None]).T)
        limits = np.ldexp(budgets[finite], shift)
        # A sum fits if it rounds to the budget: half an ulp; the room left at a node is rounded some times more.
        room = limits + 0.5 * np.spacing(limits) + 8 * _EPSILON * limits
        best = np.maximum.reduceat(values, offsets[:-1])
        shifted = values - np.repeat(best, np.diff(offsets))
        lift, least = exact_sum(best), -float(shifted.min())
        spread = -exact_sum(np.minimum.reduceat(shifted, offsets[:-1]))
        whole = max(spread, abs(lift)) < _WHOLE and not (values % 1.0).any()
        unit = 0 if whole or least == 0.0 else -int(np.frexp(least)[1])
        return cls(np.ldexp(shifted, unit), rows, limits, room, as_kernel_input(offsets), finite, shift, lift, unit, whole)

    def multipliers(self, dual: FloatArray, count: int) -> FloatArray:
        """The kernels' ``dual`` for all ``count`` budgets in the caller's units."""
        duals = np.zeros(count)
        with np.errstate(over="ignore"):
            duals[self.finite] = np.minimum(np.ldexp(dual, self.shift - self.unit), 1e300)  # any multiplier proves a bound
        return duals


def relax_budgets(
    values: FloatArray, costs: FloatArray, budgets: FloatArray, offsets: IntArray
) -> tuple[bool, FloatArray | None, FloatArray]:
    """Whether nothing fits for sure, a vertex (n,) of the relaxation, and multipliers (m,); arguments: :func:`solve_budgets`.

    At most one group a budget is fractional. There is no vertex where the descent stalls among degenerate ties.
    """
    from solvers.kernels.budgets_dual import BOUNDED, INFEASIBLE, descend

    groups, n = len(offsets) - 1, len(values)
    scaled = _Scaled.of(values, costs, budgets, offsets)
    m = len(scaled.finite)
    dual, weight, kinks = np.zeros(m), np.zeros(m), np.zeros((m, 2), dtype=np.intp)
    key = np.zeros(groups, dtype=np.intp)
    arguments = scaled.values, scaled.rows, np.arange(n), scaled.offsets, groups, scaled.room, dual, -math.inf
    status, _, held = descend(*arguments, key, kinks, weight, np.empty(n), math.inf)
    if status == INFEASIBLE:
        return True, None, np.zeros(len(budgets))
    duals = scaled.multipliers(dual, len(budgets))
    if status != BOUNDED:
        return False, None, duals
    x = np.zeros(n)
    x[key] = 1.0
    for (group, option), share in zip(kinks[:held].tolist(), weight[:held].tolist(), strict=True):
        if group >= 0:
            share = min(max(share, 0.0), float(x[key[group]]))
            x[option] += share
            x[key[group]] -= share
    return False, x, duals


def solve_budgets(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    *,
    cutoff: float = -math.inf,
    start: IntArray | None = None,
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
        start: (groups,) flat options of a selection that fits, where one is known.
        time_limit_seconds, node_limit: stop then with the best selection so far and its true gap.
    """
    seconds = math.inf if time_limit_seconds is None else time_limit_seconds
    kept = fitting(costs, budgets, offsets)
    if kept is None:
        return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, np.zeros(len(budgets)), 0)
    best = np.maximum.reduceat(values[kept], np.searchsorted(kept, offsets)[:-1])
    shifted = values - np.repeat(best, np.diff(offsets))
    while True:
        cuts = np.searchsorted(kept, offsets)
        known = None if start is None else np.searchsorted(kept, start)
        found = _search(values[kept], costs[:, kept], budgets, cuts, cutoff, known, seconds, node_limit)
        if found.choices is None:
            return found
        start = kept[found.choices]
        # Of a selection nothing is worth less than all of it. Where that leaves a scale on which more can be told apart: once more.
        finer = kept[shifted[kept] >= exact_sum(shifted[start])]
        if not -float(shifted[finer].min()) < _FINER * -float(shifted[kept].min()):
            return replace(found, choices=start)
        kept = finer


def _search(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    cutoff: float,
    known: IntArray | None,
    seconds: float,
    node_limit: int,
) -> BudgetedSelection:
    """The same for options that all fit beside the cheapest ones."""
    from solvers.kernels.budgets_search import DONE, FULL, search
    from solvers.kernels.clock import read_clock

    deadline = read_clock() + seconds
    scaled = _Scaled.of(values, costs, budgets, offsets)
    whole, unit = scaled.whole, scaled.unit
    floor = math.floor(cutoff) if whole and math.isfinite(cutoff) else cutoff
    tree = _Tree.of(scaled.rows, scaled.offsets)
    path, chosen = tree.path, np.full(len(offsets) - 1, -1, dtype=np.intp)
    best = np.array([_times_power(floor - scaled.lift, unit), -math.inf, 0.0])
    if known is not None and (worth := exact_sum(scaled.values[known])) > best[0]:
        best[0], chosen = worth, known.copy()
    root, duals, base = math.inf, np.zeros(len(budgets)), _times_power(scaled.lift, unit)
    slack = scaled.room - scaled.limits
    stopped, tries = False, 0
    while True:
        # Half the promised 1e-9 of the value, and no more of what is lost, so that scores may be scaled and shifted at will. Whole
        # values leave nothing strictly between two whole numbers.
        lost = float(best[0]) if math.isfinite(best[0]) else 0.0
        tolerance = 1.0 - 2.0**-10 if whole else 5e-10 * min(max(-lost, 0.0), abs(base + lost))
        code = search(
            scaled.values, scaled.rows, scaled.limits, slack, tolerance, _SLICE if best[2] else 1, tree.place, tree.ints,
            tree.floats, tree.fixed, tree.dual, tree.groups, tree.cuts, tree.options, tree.loss, path, chosen, best, deadline,
        )  # fmt: skip
        if math.isinf(root):
            root = float(tree.floats[0, 0])
            duals = scaled.multipliers(tree.dual[0], len(budgets))
        if code == DONE:
            break
        if chosen[0] < 0 and math.isinf(best[0]) and tries < _TRIES:
            tries += 1
            fallback = _start(scaled, tree.dual[0], tries, deadline)
            if fallback is not None:
                best[0], chosen = exact_sum(scaled.values[fallback]), fallback
        if code == FULL:
            tree.grow()
        elif best[2] >= node_limit or read_clock() > deadline:
            stopped = True
            break
    upper = min(root, max(float(best[0]), float(best[1]), tree.open_bound() if stopped else -math.inf))
    nodes = int(best[2])
    late = Status.TIME_LIMIT if best[2] < node_limit else Status.FEASIBLE
    if chosen[0] < 0:
        if not stopped and math.isinf(cutoff):
            return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, duals, nodes)
        bound = math.nextafter(scaled.lift + math.ldexp(upper, -unit), math.inf) if math.isfinite(upper) else math.inf
        return BudgetedSelection(late if stopped else Status.OPTIMAL, None, -math.inf, bound, duals, nodes)
    value = exact_sum(values[chosen])
    if whole:
        bound = max(float(math.floor(scaled.lift + upper + 2.0**-10)), value)
    else:
        bound = value + math.ldexp(upper - float(best[0]), -unit)
        bound = math.nextafter(bound, math.inf) if upper > best[0] else value
    certified = not stopped or bound - value <= 1e-9 * max(1.0, abs(value))
    return BudgetedSelection(Status.OPTIMAL if certified else late, chosen, value, bound, duals, nodes)


def _start(scaled: _Scaled, dual: FloatArray, seed: int, deadline: float) -> IntArray | None:
    """A selection that fits, by local search from the options of greatest price; None where none was found."""
    from solvers.kernels.budgets_start import find_start

    choices = first_best(scaled.values - scaled.rows @ dual, scaled.offsets)
    found = np.empty_like(choices)
    arguments = scaled.values, scaled.rows, scaled.limits, scaled.offsets, choices, found
    return found if math.isfinite(find_start(*arguments, _ROUNDS, seed, deadline)) else None


def _times_power(number: float, exponent: int) -> float:
    """``number * 2**exponent``, infinite where that is beyond a float."""
    with np.errstate(over="ignore"):
        return float(np.ldexp(number, exponent))


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
    def of(cls, rows: FloatArray, offsets: IntArray) -> _Tree:
        """The root, all options open."""
        groups, (n, m) = len(offsets) - 1, rows.shape
        levels, pool = 16, 4 * n + 64
        tree = cls(
            np.array([0, 1], dtype=np.intp), np.zeros((levels, 5), dtype=np.intp), np.zeros((levels, 2)),
            np.zeros((levels, m, 2)), np.zeros((levels, m)), np.zeros(pool, dtype=np.intp),
            np.zeros(pool + levels, dtype=np.intp), np.zeros(pool, dtype=np.intp), np.zeros(pool),
            np.zeros(groups, dtype=np.intp),
        )  # fmt: skip
        tree.ints[0, 0], tree.floats[0, 0] = groups, math.inf
        tree.groups[:groups], tree.cuts[: groups + 1], tree.options[:n] = np.arange(groups), offsets, np.arange(n)
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

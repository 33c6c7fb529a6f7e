"""The exact multiple-choice knapsack with several budgets: a race of methods, and an answer that says what is proven.

The branch and bound (``solvers.budgets.tree``) ends most programs in milliseconds. What it does not is then searched by
three at once: the tree goes on; neighbourhoods of the best selection are solved exactly, which finds better ones
(``solvers.budgets.neighbourhood``); and HiGHS works on the program, identical groups merged into counts, in a thread
(``solvers.budgets.rival``). The best selection of all and the least bound are the answer.

Reference: Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, Ch. 9 and 11.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.neighbourhood import Neighbourhoods
from solvers.budgets.rival import Rival
from solvers.budgets.scaled import ScaledProgram
from solvers.budgets.tree import BranchAndBound
from solvers.knapsack import exact_sum, fitting
from solvers.results import Status

_ALONE = 0.01  # seconds before others join: what ends in so little time needs nobody
_TURN = 0.1  # of the time passed goes to the tree, then as much to neighbourhoods (a third, where they found nothing the last time)
_SHORTEST, _LONGEST = 0.002, 0.2  # seconds of such a turn
_GRACE = 0.03  # seconds beyond the limit for a first selection
_MOST_NEIGHBOURS = 200_000  # options: with more, drawing a neighbourhood costs more than it finds
_SLICE = 1 << 8  # nodes between two looks at the clock
_FINER = 2.0**-300  # of the scale: beyond it differences are lost in scaling


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedSelection:
    """What :func:`solve_budgets` found.

    Attributes:
        status: OPTIMAL (gap <= 1e-9 max(1, |value|), or nothing beats the cutoff), INFEASIBLE, TIME_LIMIT when the time ran out,
            FEASIBLE when a limit of nodes or the asked gap was reached.
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


def solve_budgets(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    *,
    cutoff: float = -math.inf,
    start: IntArray | None = None,
    time_limit_seconds: float | None = None,
    node_limit: int | None = None,
    gap: float = 0.0,
    race: bool = True,
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
        gap: stop as soon as the gap is no more than this.
        race: others may join the tree.
    """
    from solvers.kernels.clock import read_clock

    deadline = read_clock() + (math.inf if time_limit_seconds is None else time_limit_seconds)
    kept = fitting(costs, budgets, offsets)
    if kept is None:
        return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, np.zeros(len(budgets)), 0)
    best = np.maximum.reduceat(values[kept], np.searchsorted(kept, offsets)[:-1])
    shifted = values - np.repeat(best, np.diff(offsets))
    limits = (math.inf if node_limit is None else node_limit), gap, deadline
    while True:
        cuts = np.searchsorted(kept, offsets)
        known = None if start is None else np.searchsorted(kept, start)
        found = _search(values[kept], costs[:, kept], budgets, cuts, cutoff, known, limits, race)
        if found.choices is None:
            return found
        start = kept[found.choices]
        # Of a selection nothing is worth less than all of it. Where that leaves a scale on which more can be told apart: once more.
        finer = kept[shifted[kept] >= exact_sum(shifted[start])]
        if not -float(shifted[finer].min()) < _FINER * -float(shifted[kept].min()):
            finer = _without_blur(values, costs, budgets, offsets, kept, replace(found, choices=start), limits)
            if finer is None:
                return replace(found, choices=start)
        kept = finer


def _without_blur(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    kept: IntArray,
    found: BudgetedSelection,
    limits: tuple[float, float, float],
) -> IntArray | None:
    """The options without the one that is too good to be true; None where no proof is blurred, or better selections take it.

    An option worth 1e9 times the rest that no selection can afford leaves a bound that is 1e9 roundings away.
    """
    blurred = found.status is Status.OPTIMAL and found.bound - found.value > 1e-9 * max(1.0, abs(found.value))
    if not blurred or found.choices is None:
        return None
    group = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[kept]
    better = values[kept] - values[found.choices][group]
    worst = int(np.argmax(better))
    if better[worst] <= 0.0:
        return None
    alone = kept[(group != group[worst]) | (kept == kept[worst])]
    part = alone if fitting(costs[:, alone], budgets, np.searchsorted(alone, offsets)) is not None else None
    if part is not None:
        cuts = np.searchsorted(part, offsets)
        proof = _search(values[part], costs[:, part], budgets, cuts, found.value, None, limits, race=False)
        if proof.status is not Status.OPTIMAL or proof.choices is not None:
            return None
    return kept[kept != kept[worst]]


def _search(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    cutoff: float,
    known: IntArray | None,
    limits: tuple[float, float, float],
    race: bool,
) -> BudgetedSelection:
    """The same for options that all fit beside the cheapest ones; ``limits`` are of nodes, gap and time."""
    from solvers.kernels.clock import read_clock

    most_nodes, gap, deadline = limits
    scaled = ScaledProgram.of(values, costs, budgets, offsets)
    tree = BranchAndBound(scaled, cutoff)
    if known is not None:
        tree.offer(known)
    began = read_clock()
    alone = began + _ALONE
    race = race and math.isinf(cutoff)
    rival: Rival | None = None
    others: Neighbourhoods | None = None
    ceiling, fruitful = math.inf, True  # by the rival's own account; whether neighbourhoods found something
    tree.advance(1, deadline)
    duals = scaled.multipliers(tree.dual, len(budgets))

    def ended() -> bool:
        if tree.done or tree.nodes >= most_nodes or read_clock() > deadline:
            return True
        enough = max(tree.tolerance, math.ldexp(gap, scaled.unit)) if tree.choices is not None else -math.inf
        return min(ceiling, tree.bound if gap else math.inf) <= tree.best + enough

    try:
        while not ended():
            now = read_clock()
            share = min(max(_SHORTEST, _TURN * (now - began)), _LONGEST)
            turn = min(deadline, alone if now < alone else now + share)
            while not tree.done and tree.nodes < most_nodes:
                tree.advance(int(min(_SLICE, most_nodes - tree.nodes)), turn)
                if read_clock() >= turn:
                    break
            if not race or ended() or read_clock() < alone:
                continue
            if rival is None or others is None:
                others, fruitful = Neighbourhoods(scaled, tree.dual), True
                rival = Rival(scaled, tree.choices, deadline - read_clock())
            elif not rival.running:
                ceiling = min(ceiling, rival.bound)
            if rival.choices is not None:
                tree.offer(rival.choices)
            if not ended() and tree.choices is not None and len(values) <= _MOST_NEIGHBOURS:
                until = min(deadline, read_clock() + (share if fruitful else share / 3))
                fruitful = False
                while read_clock() < until and not rival.fresh:
                    better = others.improve(tree.choices, until)
                    fruitful = (better is not None and tree.offer(better)) or fruitful
    finally:
        if rival is not None:
            rival.stop()
    if tree.choices is None and not tree.done and math.isinf(cutoff):
        tree.start(read_clock() + _GRACE)  # a limit of a millisecond is no reason to come back with nothing
    if rival is not None and not rival.running:
        ceiling = min(ceiling, rival.bound)
        if rival.choices is not None:
            tree.offer(rival.choices)
    return _answer(tree, values, duals, min(tree.bound, ceiling), cutoff, read_clock() > deadline)


def _answer(
    tree: BranchAndBound, values: FloatArray, duals: FloatArray, upper: float, cutoff: float, late: bool
) -> BudgetedSelection:
    """State what was found in the caller's values."""
    scaled, nodes = tree.scaled, tree.nodes
    unfinished = Status.TIME_LIMIT if late else Status.FEASIBLE
    if tree.choices is None:
        if tree.done and math.isinf(cutoff):
            return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, duals, nodes)
        bound = math.nextafter(scaled.lift + math.ldexp(upper, -scaled.unit), math.inf) if math.isfinite(upper) else math.inf
        return BudgetedSelection(Status.OPTIMAL if tree.done else unfinished, None, -math.inf, bound, duals, nodes)
    upper = max(upper, tree.best)
    value = exact_sum(values[tree.choices])
    if scaled.whole:
        bound = max(float(math.floor(scaled.lift + upper + 2.0**-10)), value)
    elif upper > tree.best:
        bound = math.nextafter(value + math.ldexp(upper - tree.best, -scaled.unit), math.inf)
    else:
        bound = value
    certified = tree.done or bound - value <= 1e-9 * max(1.0, abs(value))
    return BudgetedSelection(Status.OPTIMAL if certified else unfinished, tree.choices, value, bound, duals, nodes)

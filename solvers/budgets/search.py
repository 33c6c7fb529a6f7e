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
from solvers.budgets.single import by_one_budget
from solvers.budgets.steering import CALLBACK, GAP, NODE_LIMIT, TIME_LIMIT, UNSTEERED, Steering
from solvers.budgets.tree import BranchAndBound
from solvers.kernels import is_made
from solvers.knapsack import exact_sum, fitting
from solvers.results import Status

_PROMISED = 1e-9  # gap of an answer that is called proven, relative to max(1, abs(value))
_ALONE = 0.01  # seconds before others join: what ends in so little time needs nobody
_EARLY = 0.002  # where groups repeat: merged into counts they are a small program, which HiGHS has alone for so long:
_FLOOR = 0.25
_PYTHON = 0.25  # where Python runs the tree, as machine code is not made yet: others join later, and HiGHS has it alone for as long
_LATE = 0.3  # seconds without a proof, after which it is seen whether one budget decides
_TURN = 0.1  # of the time passed goes to the tree, then as much to neighbourhoods (a third, where they found nothing the last time)
_HOPELESS = 1e-12  # of the tree: where no more is done it will not end, and has a little of its turn, neighbourhoods all of theirs
_LITTLE = 0.25
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
        stopped: why it ended before a proof, one of the words of ``solvers.budgets.steering``; empty where it did not.
    """

    status: Status
    choices: IntArray | None
    value: float
    bound: float
    duals: FloatArray
    nodes: int
    stopped: str = ""


def solve_budgets(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    *,
    cutoff: float = -math.inf,
    steering: Steering = UNSTEERED,
    time_limit_seconds: float | None = None,
    race: bool = True,
) -> BudgetedSelection:
    """The most valuable selection of one option a group that meets every budget by its correctly rounded sums.

    Args:
        values: (n,), finite.
        costs: (m, n), finite, not negative.
        budgets: (m,), infinite means none.
        offsets: (groups + 1,) where each group starts.
        cutoff: selections of this value or less are of no interest; with OPTIMAL and no choices nothing beats it.
        steering: a known selection, limits of nodes and gap, and who is told of better selections.
        time_limit_seconds: stop then with the best selection so far and its true gap.
        race: others may join the tree.
    """
    from solvers.kernels.clock import read_clock

    deadline = read_clock() + (math.inf if time_limit_seconds is None else time_limit_seconds)
    kept = fitting(costs, budgets, offsets)
    if kept is None:
        return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, np.zeros(len(budgets)), 0)
    best = np.maximum.reduceat(values[kept], np.searchsorted(kept, offsets)[:-1])
    shifted = values - np.repeat(best, np.diff(offsets))
    nodes = 0
    while True:
        cuts = np.searchsorted(kept, offsets)
        part = _within(steering, kept, nodes)
        found = _search(values[kept], costs[:, kept], budgets, cuts, cutoff, part, deadline, race)
        nodes += found.nodes
        found = replace(found, nodes=nodes)
        if found.choices is None:
            return found
        start = kept[found.choices]
        if found.stopped and (found.stopped != NODE_LIMIT or nodes >= steering.node_limit):
            return replace(found, choices=start)
        steering = replace(steering, start=start)
        # Of a selection nothing is worth less than all of it. Where that leaves a scale on which more can be told apart: once more.
        finer = kept[shifted[kept] >= exact_sum(shifted[start])]
        if not -float(shifted[finer].min()) < _FINER * -float(shifted[kept].min()):
            finer = _without_blur(values, costs, budgets, offsets, kept, replace(found, choices=start), deadline)
            if finer is None:
                return replace(found, choices=start)
        kept = finer


def _within(steering: Steering, kept: IntArray, nodes: int) -> Steering:
    """The same for the options ``kept`` alone, after so many nodes."""
    start = None if steering.start is None else np.searchsorted(kept, steering.start)
    watch = steering.watch
    told = None if watch is None else lambda choices, bound: watch(kept[choices], bound)
    return replace(steering, start=start, watch=told, node_limit=max(1.0, steering.node_limit - nodes))


def _without_blur(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    kept: IntArray,
    found: BudgetedSelection,
    deadline: float,
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
        proof = _search(values[part], costs[:, part], budgets, cuts, found.value, UNSTEERED, deadline, race=False)
        if proof.status is not Status.OPTIMAL or proof.choices is not None:
            return None
    return kept[kept != kept[worst]]


def _search(
    values: FloatArray,
    costs: FloatArray,
    budgets: FloatArray,
    offsets: IntArray,
    cutoff: float,
    steering: Steering,
    deadline: float,
    race: bool,
) -> BudgetedSelection:
    """The same for options that all fit beside the cheapest ones."""
    from solvers.kernels.budgets.search import search
    from solvers.kernels.clock import read_clock

    scaled = ScaledProgram.of(values, costs, budgets, offsets)
    tree = BranchAndBound(scaled, cutoff)
    if steering.start is not None:
        tree.offer(steering.start)
    began, cold = read_clock(), not is_made(search)
    alone, leads = began + (_PYTHON if cold else _EARLY), cold  # whether HiGHS has it alone for a while
    race = race and math.isinf(cutoff)
    rival: Rival | None = None
    others: Neighbourhoods | None = None
    ceiling, fruitful = math.inf, True  # by the rival's own account; whether neighbourhoods found something
    single = race  # whether one budget may decide, which was not looked at yet
    told, ordered = tree.best, False  # the worth that was told last; whether the one who is told has ended it
    tree.advance(1, min(deadline, alone) if cold else deadline)

    def ended() -> bool:
        """Whether there is a reason to stop; also tells of what was found."""
        nonlocal told, ordered
        if steering.watch is not None and tree.choices is not None and tree.best > told:
            told = tree.best
            ordered = bool(steering.watch(tree.choices.copy(), scaled.stated(min(tree.bound, ceiling)))) or ordered
        if tree.done or ordered or tree.nodes >= steering.node_limit or read_clock() > deadline:
            return True
        if tree.choices is None:
            return False
        value, above = scaled.stated(tree.best), scaled.stated(ceiling)
        if ceiling <= tree.best + tree.tolerance or above - value <= _PROMISED * max(1.0, abs(value)):
            return True
        return steering.enough(value, min(above, scaled.stated(tree.bound)))

    try:
        while not ended():
            if cold and is_made(search):
                cold = False
                if not tree.nodes:
                    tree.advance(1, deadline)
            now = read_clock()
            share = min(max(_SHORTEST, _TURN * (now - began)), _LONGEST)
            hopeless = others is not None and not tree.done and tree.explored < _HOPELESS
            turn = min(deadline, alone if now < alone else now + (_LITTLE * share if hopeless else share))
            while not tree.done and tree.nodes < steering.node_limit:
                tree.advance(int(min(_SLICE, steering.node_limit - tree.nodes)), turn)
                if read_clock() >= turn:
                    break
            if not race or ended() or (now := read_clock()) < alone:
                continue
            if rival is None and now < began + _ALONE:
                alone = began + _ALONE
                if not (leads := scaled.repeats()):
                    continue
            if rival is None:
                rival = Rival(scaled, tree.choices, deadline - read_clock())
                if leads:
                    rival.wait(min(_FLOOR, deadline - read_clock()))
            if not rival.running:
                ceiling = min(ceiling, rival.bound)
            if rival.choices is not None:
                tree.offer(rival.choices)
            if not tree.nodes:  # no multipliers yet
                continue
            if others is None:
                others, fruitful = Neighbourhoods(scaled, tree.dual), True
            if single and (now := read_clock()) >= began + _LATE:
                single = False
                promised = _PROMISED * max(1.0, abs(scaled.stated(tree.best))) if tree.choices is not None else 0.0
                near = math.ldexp(0.5 * promised, scaled.unit)
                better, above = by_one_budget(scaled, tree.dual, tree.choices, near, deadline - now)
                ceiling = min(ceiling, above)
                if better is not None:
                    tree.offer(better)
            if not ended() and tree.choices is not None and len(values) <= _MOST_NEIGHBOURS:
                until = min(deadline, read_clock() + (share if fruitful or hopeless else share / 3))
                fruitful = False
                while read_clock() < until and not rival.fresh:
                    better = others.improve(tree.choices, until)
                    fruitful = (better is not None and tree.offer(better)) or fruitful
    finally:
        if rival is not None:
            rival.stop()
    late = read_clock() > deadline
    if tree.choices is None and not tree.done and math.isinf(cutoff):
        tree.start(read_clock() + _GRACE)  # a limit of a millisecond is no reason to come back with nothing
    if rival is not None and not rival.running:
        ceiling = min(ceiling, rival.bound)
        if rival.choices is not None:
            tree.offer(rival.choices)
    duals = scaled.multipliers(tree.dual, len(budgets))
    reason = CALLBACK if ordered else NODE_LIMIT if tree.nodes >= steering.node_limit else TIME_LIMIT if late else GAP
    return _answer(tree, values, duals, min(tree.bound, ceiling), cutoff, reason)


def _answer(
    tree: BranchAndBound, values: FloatArray, duals: FloatArray, upper: float, cutoff: float, reason: str
) -> BudgetedSelection:
    """State what was found in the caller's values; ``reason`` is why the search stopped, if that was before its proof."""
    scaled, nodes = tree.scaled, tree.nodes
    unfinished = Status.TIME_LIMIT if reason == TIME_LIMIT else Status.FEASIBLE
    if tree.choices is None:
        if tree.done and math.isinf(cutoff):
            return BudgetedSelection(Status.INFEASIBLE, None, -math.inf, -math.inf, duals, nodes)
        found = BudgetedSelection(Status.OPTIMAL, None, -math.inf, scaled.stated(upper), duals, nodes)
        return found if tree.done else replace(found, status=unfinished, stopped=reason)
    upper = max(upper, tree.best)
    value = exact_sum(values[tree.choices])
    if scaled.whole:
        bound = max(float(math.floor(scaled.lift + upper + 2.0**-10)), value)
    elif upper > tree.best:
        bound = math.nextafter(value + math.ldexp(upper - tree.best, -scaled.unit), math.inf)
    else:
        bound = value
    if tree.done or bound - value <= _PROMISED * max(1.0, abs(value)):
        return BudgetedSelection(Status.OPTIMAL, tree.choices, value, bound, duals, nodes)
    return BudgetedSelection(unfinished, tree.choices, value, bound, duals, nodes, reason)

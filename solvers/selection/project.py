"""The front door: the best selection of one option a group that fits the budgets, with a certificate.

``max sum_g scores[g, o_g]  s.t.  sum_g costs[g, o_g] <= budget``: the last step of every search, and a solver of its own for anyone
with options, scores and measured costs. HardCoRe-NAS's Eq. 13 solves its relaxation and rounds; the default here is exact.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.4, Eq. 13; ``solvers.knapsack.relaxation`` for the algorithms.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from solvers.arrays import IntArray
from solvers.budgets import UNSTEERED, BudgetBackend, BudgetedKnapsack, Steering, ranked
from solvers.kernels import NativeBackend
from solvers.knapsack import Knapsack, exact_sum, first_best, greedy, relax, solve_exact
from solvers.results import InfeasibleError, SolverError, Status
from solvers.selection import ties
from solvers.selection.constraints import ConstrainedProgram, Rules, constrained_program
from solvers.selection.selection import Answer, Method, Selection, selection_of
from solvers.selection.steering import read_steering
from solvers.tables import ScoreTable, allowed_program, read_table

Backend = Literal["native", "numpy", "highs", "scipy"]
_MISSES = 1000  # selections in turn that miss a bound by rounding: a hopeless scale
_METHODS, _BACKENDS = get_args(Method), get_args(Backend)


def project_to_budget(
    scores: Any,
    costs: Any,
    budget: Any,
    *,
    method: Method = "exact",
    minimize: bool = False,
    time_limit_seconds: float | None = None,
    backend: Backend = "native",
    links: Any = None,
    needs: Any = None,
    forbids: Any = None,
    canonical: bool = False,
    gap: float | str = 0.0,
    start: Any = None,
    node_limit: int | None = None,
    callback: Callable[[Selection], object] | None = None,
) -> Selection:
    """Choose one option a group so that the summed score is greatest and the summed cost is within the budget.

    Args:
        scores: (groups, options) array, a list of 1-D arrays of any lengths, torch tensors (also with gradients, on a GPU, in
            bfloat16), pandas or polars frames, or ``{group: {option: score}}``. Labels of frames put costs in the order of the
            scores and name the answer; beside an array they go by position. A score of -inf forbids its option (+inf with
            ``minimize``).
        costs: like ``scores``, not negative; with several budgets a mapping of budget names to such tables. Infinite forbids.
            Where ``scores`` is a frame with a row an option and columns ``group``, ``option`` and ``score``, the name of its column
            of costs; with several budgets a list of such names, or ``{budget: column}``.
        budget: a number in the unit of the costs, ``(lower, upper)`` for bounds from both sides (None: none), or ``"60%"``, that
            share of the sum of each group's costliest allowed option; or a mapping of the same names to such. Infinite is none.
        method: "exact"; "lp", the relaxation with its fractional group at the cheaper option; "greedy", from the cheapest by value
            per cost; both always fit. "argmax" ignores the budget, the unsafe baseline, and reports its violation.
        minimize: the scores are losses.
        time_limit_seconds: for "exact": stop after this time with the best selection so far and its true gap.
        backend: "native": compiled kernels where numba is installed, else "numpy", which keeps the same promises; with several
            budgets both are one search, which starts from HiGHS's answer where numba is not installed. Or a mixed-integer program
            by "highs" or "scipy", exact to their tolerances.
        links: tuples of groups that take the same option, ``[("up", "gate"), ...]``: the same name, or the same index where
            options have no names. They are merged, which only makes the program smaller.
        needs, forbids: pairs of options, ``[(("up", "2 bit"), ("down", "8 bit")), ...]``: whoever takes the first must take the
            second, or must not: every pair is a budget of its own in the program, so a few of them.
        canonical: of several best selections, the one that costs least (budget after budget) and then takes the lowest option
            indices (group after group), whatever path found it: for "exact". It takes some more programs. Without it, equal
            selections may come out differently by back end, version and order of the groups. Scores that are decimals of at most
            15 digits are compared exactly, others as their correctly rounded sums.
        gap: for "exact": stop as soon as no selection can be better by more: a number in the unit of the scores, or ``"0.1%"`` of
            what was found. ``certificate.stopped`` says why a search ended before its proof, if it did.
        start: for "exact": a selection that fits, to begin with: a ``Selection``, an option a group, or ``{group: option}``.
        node_limit: for "exact" under several budgets: stop after so many nodes of the branch and bound. There is none by default.
        callback: for "exact": called with each better selection as it is found, and the bound so far in its certificate; if it
            returns True the search stops. One budget has no search worth watching: it is called once, with the answer.

    Costs and budgets of at most 15 digits are the decimals they are written as, and summed exactly: three options of cost 0.1 fit a
    budget of 0.3. Where a budget or one of its costs has more digits, as measured numbers do, sums are correctly rounded
    (``math.fsum``) and do not exceed the budget, not by an ulp. Only if nothing fits is the cheapest selection accepted when it
    exceeds the budget by at most 1e-12 relative (a budget that was itself a sum in another order); the
    certificate then states the violation. "lp" and "greedy" with several budgets fall back on the exact program where their own
    selection does not fit.

    Raises:
        InfeasibleError: nothing fits; it names the budget and the least cost there is.
        ValueError: malformed input, a whole number that float64 cannot hold, labels that differ; it names the group.
        SolverError: a back end fails, or finds nothing within the time limit.

    Reference: HardCoRe-NAS Eq. 13 (its projection of alpha, exactly).

    Example:
        >>> scores = {"stem": {"k3": 0.0, "k5": 3.0}, "head": {"slim": 0.0, "wide": 2.0}}
        >>> times = {"stem": {"k3": 1.0, "k5": 4.0}, "head": {"slim": 1.0, "wide": 2.0}}
        >>> best = project_to_budget(scores, times, 5.0)
        >>> best.by_group, best.value, best.cost
        ({'stem': 'k5', 'head': 'slim'}, 3.0, 5.0)
        >>> layers = {"up": {"4 bit": 0, "8 bit": 3}, "gate": {"4 bit": 0, "8 bit": 1}, "down": {"4 bit": 0, "8 bit": 2.5}}
        >>> sizes = {layer: {"4 bit": 1.0, "8 bit": 2.0} for layer in layers}
        >>> project_to_budget(layers, sizes, 5.0, links=[("up", "gate")]).by_group
        {'up': '8 bit', 'gate': '8 bit', 'down': '4 bit'}
        >>> project_to_budget(layers, sizes, (None, "75%"), forbids=[(("up", "8 bit"), ("down", "8 bit"))]).by_group
        {'up': '8 bit', 'gate': '4 bit', 'down': '4 bit'}
    """
    began = time.perf_counter()
    if method not in _METHODS:
        raise ValueError(f"method: expected one of {', '.join(_METHODS)}, got {method!r}")
    if backend not in _BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(_BACKENDS)}, got {backend!r}")
    if time_limit_seconds is not None and not time_limit_seconds > 0:
        raise ValueError(f"time_limit_seconds: expected a positive number or None, got {time_limit_seconds}")
    steered = gap != 0.0 or start is not None or node_limit is not None or callback is not None
    if steered and (method != "exact" or canonical or backend in ("highs", "scipy")):
        raise ValueError("gap, start, node_limit, callback: are for the method 'exact' by 'native' or 'numpy', without canonical")
    table = read_table(scores, costs, budget, minimize=minimize)
    if canonical:
        if method != "exact":
            raise ValueError(f"canonical: is for the method 'exact', got {method!r}")
        return _canonical(table, Rules.read(table, links, needs, forbids), backend, minimize, time_limit_seconds, began)
    if links is None and needs is None and forbids is None and table.floors is None and not steered:
        program, kept = allowed_program(table, minimize)
        answer = _solve(program, table, method, backend, time_limit_seconds, UNSTEERED)
        return selection_of(table, kept[answer.choices], answer, method, minimize, began)
    rules = Rules.read(table, links, needs, forbids)
    if method == "argmax" and rules.clashes:
        raise ValueError("method: 'argmax' cannot tell what options need or forbid; use 'exact', 'lp' or 'greedy'")
    if not steered:
        flat, answer = solve_constrained(table, rules, method, backend, minimize, time_limit_seconds)
        return selection_of(table, flat, answer, method, minimize, began, rules)
    told: list[float] = []

    def watch(choices: IntArray, bound: float) -> bool:
        seen = selection_of(table, choices, Answer(choices, bound, None, "callback"), method, minimize, began, rules)
        told.append(seen.value)
        return callback is not None and callback(seen) is True

    steering = read_steering(table, rules, gap, start, node_limit, None if callback is None else watch)
    flat, answer = solve_constrained(table, rules, method, backend, minimize, time_limit_seconds, steering)
    found = selection_of(table, flat, answer, method, minimize, began, rules)
    if callback is not None and (not told or told[-1] != found.value):
        callback(found)
    return found


def _canonical(
    table: ScoreTable, rules: Rules, backend: Backend, minimize: bool, time_limit_seconds: float | None, began: float
) -> Selection:
    """The canonical optimum; where time runs out before it is found, the selection that is known."""

    def solve(other: ScoreTable, rules: Rules) -> IntArray:
        left = None if time_limit_seconds is None else max(1e-3, time_limit_seconds - (time.perf_counter() - began))
        found, answer = solve_constrained(other, rules, "exact", backend, True, left)
        if answer.stopped:
            raise TimeoutError
        return found

    flat, answer = solve_constrained(ties.in_units(table), rules, "exact", backend, minimize, time_limit_seconds)
    if not answer.stopped:
        with contextlib.suppress(TimeoutError, SolverError):
            flat = ties.canonical(table, rules, flat, minimize, solve)
    unit = 10.0 ** (table.score_places() or 0)
    bound = None if answer.bound is None else answer.bound / unit
    duals = None if answer.duals is None else answer.duals / unit
    return selection_of(table, flat, replace(answer, bound=bound, duals=duals), "exact", minimize, began, rules)


def solve_constrained(
    table: ScoreTable,
    rules: Rules,
    method: Method,
    backend: Backend,
    minimize: bool,
    time_limit_seconds: float | None,
    steering: Steering = UNSTEERED,
) -> tuple[IntArray, Answer]:
    """The options of the table that a method chooses under floors and rules, and its answer with one multiplier a budget.

    ``steering`` is in positions of the table.

    Raises:
        InfeasibleError, SolverError: see :func:`project_to_budget`.
    """
    began = time.perf_counter()
    wide = constrained_program(table, rules, minimize=minimize)
    watch = steering.watch

    def expanded(choices: IntArray, bound: float) -> bool:
        whole = wide.expand(choices)
        return watch is not None and (wide.exact or table.excess(whole) == 0.0) and watch(whole, bound)

    start = None if steering.start is None else np.unique(wide.owner[steering.start])
    inner = replace(steering, start=start, watch=None if watch is None else expanded)
    answer = _solve(wide.program, wide, method, backend, time_limit_seconds, inner)
    flat = wide.expand(answer.choices)
    if not wide.exact and method != "argmax" and table.excess(flat) > 0.0:  # by rounding: the best of those that do not
        left = None if time_limit_seconds is None else max(1e-3, time_limit_seconds - (time.perf_counter() - began))
        with contextlib.suppress(TimeoutError):
            for count, (bound, choices) in enumerate(ranked(wide.program, backend=backend, time_limit_seconds=left)):
                if table.excess(wide.expand(choices)) == 0.0:
                    flat, answer = wide.expand(choices), replace(answer, bound=bound if method == "exact" else answer.bound)
                    break
                if count == _MISSES:
                    raise SolverError(
                        f"{_MISSES} selections in turn miss a bound by rounding; round the costs to 15 digits or fewer"
                    )
    duals = None if answer.duals is None else wide.net_duals(answer.duals, len(table.budgets))
    return flat, replace(answer, duals=duals)


def _solve(
    program: BudgetedKnapsack,
    stated: ScoreTable | ConstrainedProgram,
    method: Method,
    backend: Backend,
    time_limit_seconds: float | None,
    steering: Steering,
) -> Answer:
    """Any method and back end; ``stated`` says what a program that has no solution asks."""
    if len(program.budgets) == 1 and (backend == "native" or backend == "numpy"):
        return _one_budget(program, method, backend, time_limit_seconds, steering)
    general: BudgetBackend = "native" if backend == "numpy" else backend
    return _any_budgets(program, stated, method, general, time_limit_seconds, steering)


def _one_budget(
    program: BudgetedKnapsack, method: Method, backend: NativeBackend, time_limit_seconds: float | None, steering: Steering
) -> Answer:
    """The native methods."""
    began = time.perf_counter()
    knapsack, budget = Knapsack(program.values, program.costs[0], program.offsets), float(program.budgets[0])
    if method == "exact":
        if steering is not UNSTEERED and (near := _near_enough(knapsack, budget, backend, steering)) is not None:
            return near
        known = steering.start
        cutoff = -math.inf if known is None else exact_sum(knapsack.values[known])
        found = solve_exact(knapsack, budget, cutoff=cutoff, time_limit_seconds=time_limit_seconds, backend=backend)
        choices = found.choices if known is None or found.value > cutoff else known
        bound = max(found.bound, cutoff)
        stopped = ""
        if found.status is Status.TIME_LIMIT:
            out = time_limit_seconds is not None and time.perf_counter() - began >= time_limit_seconds
            stopped = "time limit" if out else "state limit"
        return Answer(choices, bound, np.array([found.dual]), stopped)
    relaxation = relax(knapsack, budget, backend=backend)
    duals = np.array([relaxation.dual])
    if method == "lp":
        return Answer(relaxation.choices, relaxation.bound, duals)
    if method == "greedy":
        return Answer(greedy(knapsack, budget, relaxation), relaxation.bound, duals)
    return Answer(first_best(program.values, program.offsets), relaxation.bound, duals)


def _near_enough(knapsack: Knapsack, budget: float, backend: NativeBackend, steering: Steering) -> Answer | None:
    """The start or the greedy selection where the relaxation shows that it is within the asked gap; None where it does not."""
    if not (steering.gap or steering.share):
        return None
    relaxation = relax(knapsack, budget, backend=backend)
    known = [greedy(knapsack, budget, relaxation), *([] if steering.start is None else [steering.start])]
    value, choices = max(((exact_sum(knapsack.values[choices]), choices) for choices in known), key=lambda pair: pair[0])
    if not steering.enough(value, relaxation.bound):
        return None
    return Answer(choices, relaxation.bound, np.array([relaxation.dual]), "gap")


def _any_budgets(
    program: BudgetedKnapsack,
    stated: ScoreTable | ConstrainedProgram,
    method: Method,
    backend: BudgetBackend,
    time_limit_seconds: float | None,
    steering: Steering,
) -> Answer:
    """The same methods for any number of budgets."""
    if method == "exact":
        answer = _search(program, backend, time_limit_seconds, steering)
        if answer is not None:
            return answer
    else:
        relaxation = program.relax(backend=backend, vertex=method == "lp")
        if method == "argmax":
            proven = None if relaxation.impossible else relaxation.bound
            return Answer(first_best(program.values, program.offsets), proven, None if proven is None else relaxation.duals)
        if not relaxation.impossible:
            lp = method == "lp"
            choices = program.round_relaxation(relaxation, backend=backend) if lp else program.greedy(backend=backend)
            if choices is not None:
                return Answer(choices, relaxation.bound, relaxation.duals)
    asked = ", ".join(stated.asked(program.least_costs()))
    raise InfeasibleError(f"nothing fits: each budget can be met alone but not all together: {asked}")


def _search(
    program: BudgetedKnapsack, backend: BudgetBackend, time_limit_seconds: float | None, steering: Steering
) -> Answer | None:
    """The exact program; None where nothing fits."""
    began = time.perf_counter()
    duals, bound = None, math.inf
    if backend != "native":  # the native search has multipliers of its own
        relaxation = program.relax(backend=backend)
        if relaxation.impossible:
            return None
        duals, bound = relaxation.duals, relaxation.bound
    left = None if time_limit_seconds is None else max(1e-3, time_limit_seconds - (time.perf_counter() - began))
    found = program.solve(backend=backend, time_limit_seconds=left, steering=steering)
    if found.support is None:
        if found.status is Status.INFEASIBLE:
            return None
        limit = (
            f"{time_limit_seconds} s; allow more time" if found.status is Status.TIME_LIMIT else f"the {found.stopped}; allow more"
        )
        raise SolverError(f"{backend}: no selection found within {limit}")
    return Answer(found.support, min(found.bound, bound), found.duals if duals is None else duals, found.stopped)

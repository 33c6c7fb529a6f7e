"""The front door: the best selection of one option a group that fits the budgets, with a certificate.

``max sum_g scores[g, o_g]  s.t.  sum_g costs[g, o_g] <= budget``: the last step of every search, and a solver of its own for anyone
with options, scores and measured costs. HardCoRe-NAS's Eq. 13 solves its relaxation and rounds; the default here is exact.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.4, Eq. 13; ``solvers.knapsack.relaxation`` for the algorithms.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets import BudgetBackend, BudgetedKnapsack, ranked
from solvers.kernels import NativeBackend
from solvers.knapsack import Knapsack, exact_sum, first_best, greedy, relax, solve_exact
from solvers.results import InfeasibleError, SolverError, Status
from solvers.selection import explanation, ties
from solvers.selection.constraints import ConstrainedProgram, Rules, constrained_program
from solvers.selection.explanation import Context
from solvers.selection.tables import ScoreTable, allowed_program, read_table
from solvers.selection.verification import SelectionCertificate

Method = Literal["exact", "lp", "greedy", "argmax"]
Backend = Literal["native", "numpy", "highs", "scipy"]
_MISSES = 1000  # selections in turn that miss a bound by rounding: a hopeless scale
_METHODS, _BACKENDS = get_args(Method), get_args(Backend)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Selection:
    """One option a group.

    Attributes:
        choices: option index of each group, or option names where the input was named; in the order of the groups.
        value: summed score, as the caller stated scores.
        cost: summed cost; a mapping of budget names where budgets were named.
        status: OPTIMAL (method "exact": gap at most 1e-9 max(1, abs(value)); "lp" and "greedy": at most 1e-9 of the spread of the
            scores, whatever their scale or offset), FEASIBLE, TIME_LIMIT, or VIOLATED (method "argmax" only).
        certificate: bound, gap, violation and multipliers; ``verify(scores, costs, budget)`` rechecks them.
        seconds: what the call took.
        groups: the names of the groups, or their indices.
    """

    choices: tuple[Any, ...]
    value: float
    cost: float | Mapping[Hashable, float]
    status: Status
    certificate: SelectionCertificate
    seconds: float
    groups: tuple[Hashable, ...]
    _context: Context | None = None

    def __repr__(self) -> str:
        return explanation.text(self._head(), self.groups, self.choices)

    def _repr_html_(self) -> str:
        return explanation.markup(self._head(), self._columns())

    def explain(self) -> str:
        """In sentences: how good it is, what is spent, what binds and what one unit more buys, and which groups are near to change.

        Example:
            >>> print(project_to_budget([[0.0, 3.0], [0.0, 2.0]], [[1.0, 3.0], [1.0, 2.0]], 4.0).explain())
            The summed score is 3; it is proven that no selection that fits has a greater one.
            The budget: 4 of 4 used (100 %), 0 left; it binds: at the margin one unit more buys about 1.5 of score.
            Group 1 takes 0 to fill the budget; at these prices 1 is worth more.
            Group 0 is at the margin: at these prices 1 and 0 are worth the same.
        """
        if self._context is None:
            return f"{self._head()}."
        given = self.certificate
        return "\n".join(explanation.sentences(self._context, str(self.status), given.primal, given.gap, given.dual))

    def to_frame(self) -> Any:
        """A pandas data frame with a row a group: group, option, score and every cost.

        Raises:
            ImportError: pandas is not installed.
        """
        return explanation.frame(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        if self._context is None:
            return {"group": list(self.groups), "option": list(self.choices)}
        return explanation.columns(self._context, self.groups, self.choices)

    def _head(self) -> str:
        spent = self.cost if isinstance(self.cost, Mapping) else {"cost": self.cost}
        costs = ", ".join(f"{name} {total:.6g}" for name, total in spent.items())
        alone = self._context is not None and self.status is not Status.VIOLATED and self._context.only_one_fits()
        return f"Selection ({self.status}): value {self.value:.6g}, {costs}{', the only one that fits' if alone else ''}"

    @property
    def by_group(self) -> dict[Hashable, Any]:
        """``{group: option}`` with names where there are names."""
        return dict(zip(self.groups, self.choices, strict=True))

    @property
    def bounds(self) -> dict[Hashable, tuple[float, float]]:
        """``{budget: (lower, upper)}`` as numbers, infinite where there is none; a budget without a name is called "cost"."""
        table = None if self._context is None else self._context.table
        if table is None:
            return {}
        lower = [-math.inf] * len(table.budgets) if table.floors is None else table.floors.tolist()
        return dict(zip(table.budget_names or ("cost",), zip(lower, table.budgets.tolist(), strict=True), strict=True))

    def verify(self, scores: Any, costs: Any, budget: Any) -> Selection:
        """Recheck every claim of the certificate against the data that were given, and return self.

        Raises:
            CertificateError: a claim is wrong.
            ValueError: the data are malformed.
        """
        self.certificate.verify(scores, costs, budget)
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a method found: flat choices, a bound for maximization (None: unknown), multipliers, whether it is proven or ran out."""

    choices: IntArray
    bound: float | None
    duals: FloatArray | None
    stopped: bool = False


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
) -> Selection:
    """Choose one option a group so that the summed score is greatest and the summed cost is within the budget.

    Args:
        scores: (groups, options) array, a list of 1-D arrays of any lengths, torch tensors (also with gradients, on a GPU, in
            bfloat16), pandas or polars frames, or ``{group: {option: score}}``. Labels of frames put costs in the order of the
            scores and name the answer; beside an array they go by position. A score of -inf forbids its option (+inf with
            ``minimize``).
        costs: like ``scores``, not negative; with several budgets a mapping of budget names to such tables. Infinite forbids.
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
    table = read_table(scores, costs, budget, minimize=minimize)
    if canonical:
        if method != "exact":
            raise ValueError(f"canonical: is for the method 'exact', got {method!r}")
        return _canonical(table, Rules.read(table, links, needs, forbids), backend, minimize, time_limit_seconds, began)
    if links is None and needs is None and forbids is None and table.floors is None:
        program, kept = allowed_program(table, minimize)
        answer = _solve(program, table, method, backend, time_limit_seconds)
        return selection_of(table, kept[answer.choices], answer, method, minimize, began)
    rules = Rules.read(table, links, needs, forbids)
    if method == "argmax" and rules.clashes:
        raise ValueError("method: 'argmax' cannot tell what options need or forbid; use 'exact', 'lp' or 'greedy'")
    flat, answer = solve_constrained(table, rules, method, backend, minimize, time_limit_seconds)
    return selection_of(table, flat, answer, method, minimize, began, rules)


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
    table: ScoreTable, rules: Rules, method: Method, backend: Backend, minimize: bool, time_limit_seconds: float | None
) -> tuple[IntArray, Answer]:
    """The options of the table that a method chooses under floors and rules, and its answer with one multiplier a budget.

    Raises:
        InfeasibleError, SolverError: see :func:`project_to_budget`.
    """
    began = time.perf_counter()
    wide = constrained_program(table, rules, minimize=minimize)
    answer = _solve(wide.program, wide, method, backend, time_limit_seconds)
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
) -> Answer:
    """Any method and back end; ``stated`` says what a program that has no solution asks."""
    if len(program.budgets) == 1 and (backend == "native" or backend == "numpy"):
        return _one_budget(program, method, backend, time_limit_seconds)
    general: BudgetBackend = "native" if backend == "numpy" else backend
    return _any_budgets(program, stated, method, general, time_limit_seconds)


def _one_budget(program: BudgetedKnapsack, method: Method, backend: NativeBackend, time_limit_seconds: float | None) -> Answer:
    """The native methods."""
    knapsack, budget = Knapsack(program.values, program.costs[0], program.offsets), float(program.budgets[0])
    if method == "exact":
        found = solve_exact(knapsack, budget, time_limit_seconds=time_limit_seconds, backend=backend)
        return Answer(found.choices, found.bound, np.array([found.dual]), found.status is Status.TIME_LIMIT)
    relaxation = relax(knapsack, budget, backend=backend)
    duals = np.array([relaxation.dual])
    if method == "lp":
        return Answer(relaxation.choices, relaxation.bound, duals)
    if method == "greedy":
        return Answer(greedy(knapsack, budget, relaxation), relaxation.bound, duals)
    return Answer(first_best(program.values, program.offsets), relaxation.bound, duals)


def _any_budgets(
    program: BudgetedKnapsack,
    stated: ScoreTable | ConstrainedProgram,
    method: Method,
    backend: BudgetBackend,
    time_limit_seconds: float | None,
) -> Answer:
    """The same methods for any number of budgets."""
    if method == "exact":
        answer = _search(program, backend, time_limit_seconds)
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


def _search(program: BudgetedKnapsack, backend: BudgetBackend, time_limit_seconds: float | None) -> Answer | None:
    """The exact program; None where nothing fits."""
    began = time.perf_counter()
    duals, bound = None, math.inf
    if backend != "native":  # the native search has multipliers of its own
        relaxation = program.relax(backend=backend)
        if relaxation.impossible:
            return None
        duals, bound = relaxation.duals, relaxation.bound
    left = None if time_limit_seconds is None else max(1e-3, time_limit_seconds - (time.perf_counter() - began))
    found = program.solve(backend=backend, time_limit_seconds=left)
    stopped = found.status is Status.TIME_LIMIT
    if found.support is None:
        if not stopped:
            return None
        raise SolverError(f"{backend}: no selection found within {time_limit_seconds} s; allow more time")
    return Answer(found.support, min(found.bound, bound), found.duals if duals is None else duals, stopped)


def selection_of(
    table: ScoreTable, flat: IntArray, answer: Answer, method: Method, minimize: bool, began: float, rules: Rules | None = None
) -> Selection:
    """Names, sums and the certificate of the options ``flat``, all from the table as it was given."""
    value = exact_sum(table.scores[flat])
    totals = [table.cost(row, flat) for row in range(len(table.costs))]
    violation = table.violation(totals)
    bound = None
    if answer.bound is not None:
        bound = float(-answer.bound if minimize else answer.bound)
        if violation == 0.0:  # rounding of the bound below what was found
            bound = min(bound, value) if minimize else max(bound, value)
            if method == "exact" and bound != value and table.nothing_between(value, bound):
                bound = value
    gap = math.inf if bound is None else abs(bound - value)
    if violation > 0.0 and method == "argmax":
        status = Status.VIOLATED
    elif gap <= 1e-9 * (max(1.0, abs(value)) if method == "exact" else _spread(table)):
        status = Status.OPTIMAL
    else:
        status = Status.TIME_LIMIT if answer.stopped else Status.FEASIBLE
    choices: tuple[Any, ...] = tuple((flat - table.offsets[:-1]).tolist())
    if table.options is not None:
        choices = tuple(table.options[position] for position in flat.tolist())
    cost: float | Mapping[Hashable, float] = totals[0]
    if table.budget_names is not None:
        cost = MappingProxyType(dict(zip(table.budget_names, totals, strict=True)))
    duals = None if answer.duals is None else answer.duals * table.units()
    certificate = SelectionCertificate(value, bound, violation, duals, maximize=not minimize, choices=choices, rules=rules)
    groups = tuple(range(len(choices))) if table.groups is None else table.groups
    context = Context(table, flat, rules, minimize, "loss" if minimize else "score")
    return Selection(choices, value, cost, status, certificate, time.perf_counter() - began, groups, context)


def _spread(table: ScoreTable) -> float:
    """What separates the best selection from the worst, budgets aside: free of the scores' offset, in proportion to their scale."""
    allowed = np.isfinite(table.scores)
    highest = np.maximum.reduceat(np.where(allowed, table.scores, -np.inf), table.offsets[:-1])
    lowest = np.minimum.reduceat(np.where(allowed, table.scores, np.inf), table.offsets[:-1])
    return exact_sum(highest - lowest)

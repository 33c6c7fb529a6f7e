"""The front door: the best selection of one option a group that fits the budgets, with a certificate.

``max sum_g scores[g, o_g]  s.t.  sum_g costs[g, o_g] <= budget``: the last step of every search, and a solver of its own for anyone
with options, scores and measured costs. HardCoRe-NAS's Eq. 13 solves its relaxation and rounds; the default here is exact.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.4, Eq. 13; ``solvers.knapsack.relaxation`` for the algorithms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels import NativeBackend
from solvers.knapsack import BudgetBackend, BudgetedKnapsack, Knapsack, exact_sum, first_best, greedy, relax, solve_exact
from solvers.results import InfeasibleError, SolverError, Status
from solvers.selection.tables import ScoreTable, allowed_program, read_table
from solvers.selection.verification import SelectionCertificate, verify_selection

Method = Literal["exact", "lp", "greedy", "argmax"]
Backend = Literal["native", "numpy", "highs", "scipy"]
_METHODS, _BACKENDS = get_args(Method), get_args(Backend)


@dataclass(frozen=True, slots=True, eq=False)
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

    @property
    def by_group(self) -> dict[Hashable, Any]:
        """``{group: option}`` with names where there are names."""
        return dict(zip(self.groups, self.choices, strict=True))

    def verify(self, scores: Any, costs: Any, budget: Any) -> Selection:
        """Recheck every claim of the certificate against the data that were given, and return self.

        Raises:
            CertificateError: a claim is wrong.
            ValueError: the data are malformed.
        """
        verify_selection(self.certificate, scores, costs, budget)
        return self


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
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
) -> Selection:
    """Choose one option a group so that the summed score is greatest and the summed cost is within the budget.

    Args:
        scores: (groups, options) array, a list of 1-D arrays of any lengths, torch tensors (also with gradients, on a GPU, in
            bfloat16), pandas or polars frames, or ``{group: {option: score}}``. Labels of frames put costs in the order of the
            scores and name the answer; beside an array they go by position. A score of -inf forbids its option (+inf with
            ``minimize``).
        costs: like ``scores``, not negative; with several budgets a mapping of budget names to such tables. Infinite forbids.
        budget: a number in the unit of the costs, or a mapping of the same names to numbers; infinite is none.
        method: "exact"; "lp", the relaxation with its fractional group at the cheaper option; "greedy", from the cheapest by value
            per cost; both always fit. "argmax" ignores the budget, the unsafe baseline, and reports its violation.
        minimize: the scores are losses.
        time_limit_seconds: for "exact": stop after this time with the best selection so far and its true gap.
        backend: "native": compiled kernels where numba is installed, else "numpy", which keeps the same promises; with several
            budgets both are one search, which starts from HiGHS's answer where numba is not installed. Or a mixed-integer program
            by "highs" or "scipy", exact to their tolerances.

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
    """
    began = time.perf_counter()
    if method not in _METHODS:
        raise ValueError(f"method: expected one of {', '.join(_METHODS)}, got {method!r}")
    if backend not in _BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(_BACKENDS)}, got {backend!r}")
    if time_limit_seconds is not None and not time_limit_seconds > 0:
        raise ValueError(f"time_limit_seconds: expected a positive number or None, got {time_limit_seconds}")
    table = read_table(scores, costs, budget, minimize=minimize)
    program, kept = allowed_program(table, minimize)
    if len(table.budgets) == 1 and (backend == "native" or backend == "numpy"):
        answer = _one_budget(program, method, backend, time_limit_seconds)
    else:
        general: BudgetBackend = "native" if backend == "numpy" else backend
        answer = _any_budgets(program, table, method, general, time_limit_seconds)
    return _selection(table, kept[answer.choices], answer, method, minimize, began)


def _one_budget(program: BudgetedKnapsack, method: Method, backend: NativeBackend, time_limit_seconds: float | None) -> _Answer:
    """The native methods."""
    knapsack, budget = Knapsack(program.values, program.costs[0], program.offsets), float(program.budgets[0])
    if method == "exact":
        found = solve_exact(knapsack, budget, time_limit_seconds=time_limit_seconds, backend=backend)
        return _Answer(found.choices, found.bound, np.array([found.dual]), found.status is Status.TIME_LIMIT)
    relaxation = relax(knapsack, budget, backend=backend)
    duals = np.array([relaxation.dual])
    if method == "lp":
        return _Answer(relaxation.choices, relaxation.bound, duals)
    if method == "greedy":
        return _Answer(greedy(knapsack, budget, relaxation), relaxation.bound, duals)
    return _Answer(first_best(program.values, program.offsets), relaxation.bound, duals)


def _any_budgets(
    program: BudgetedKnapsack, table: ScoreTable, method: Method, backend: BudgetBackend, time_limit_seconds: float | None
) -> _Answer:
    """The same methods for any number of budgets."""
    if method == "exact":
        answer = _search(program, backend, time_limit_seconds)
        if answer is not None:
            return answer
    else:
        relaxation = program.relax(backend=backend, vertex=method == "lp")
        if method == "argmax":
            proven = None if relaxation.impossible else relaxation.bound
            return _Answer(first_best(program.values, program.offsets), proven, None if proven is None else relaxation.duals)
        if not relaxation.impossible:
            lp = method == "lp"
            choices = program.round_relaxation(relaxation, backend=backend) if lp else program.greedy(backend=backend)
            if choices is not None:
                return _Answer(choices, relaxation.bound, relaxation.duals)
    alone = ", ".join(
        f"{table.budget_label(row)} {limit} (least {table.stated(row, low)})"
        for row, (limit, low) in enumerate(zip(table.budgets.tolist(), program.least_costs(), strict=True))
    )
    raise InfeasibleError(f"nothing fits: each budget can be met alone but not all together: {alone}")


def _search(program: BudgetedKnapsack, backend: BudgetBackend, time_limit_seconds: float | None) -> _Answer | None:
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
    return _Answer(found.support, min(found.bound, bound), found.duals if duals is None else duals, stopped)


def _selection(table: ScoreTable, flat: IntArray, answer: _Answer, method: Method, minimize: bool, began: float) -> Selection:
    """Names, sums and the certificate, all from the table as it was given."""
    value = exact_sum(table.scores[flat])
    totals = [table.cost(row, flat) for row in range(len(table.costs))]
    violation = max(0.0, *(total - limit for total, limit in zip(totals, table.budgets.tolist(), strict=True)))
    bound = None
    if answer.bound is not None:
        bound = float(-answer.bound if minimize else answer.bound)
        if violation == 0.0:  # rounding of the bound below what was found
            bound = min(bound, value) if minimize else max(bound, value)
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
    certificate = SelectionCertificate(value, bound, violation, duals, maximize=not minimize, choices=choices)
    groups = tuple(range(len(choices))) if table.groups is None else table.groups
    return Selection(choices, value, cost, status, certificate, time.perf_counter() - began, groups)


def _spread(table: ScoreTable) -> float:
    """What separates the best selection from the worst, budgets aside: free of the scores' offset, in proportion to their scale."""
    allowed = np.isfinite(table.scores)
    highest = np.maximum.reduceat(np.where(allowed, table.scores, -np.inf), table.offsets[:-1])
    lowest = np.minimum.reduceat(np.where(allowed, table.scores, np.inf), table.offsets[:-1])
    return exact_sum(highest - lowest)

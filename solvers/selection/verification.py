"""Rechecking a selection's certificate from the raw data, sharing no algorithm with what produced it.

Sums are recomputed exactly. A bound is proven by weak duality: for any multipliers >= 0, ``duals @ budgets + sum_g max_o (v - duals
@ c)`` bounds every selection that fits. Where the claimed bound is tighter than that, only a search can prove it: of the options
that lose less than the multipliers leave, all selections are looked at, or, where these are too many, the program is solved again
by HiGHS.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import BinaryProgram, maximize_binary
from solvers.budgets import BudgetedKnapsack
from solvers.knapsack import exact_sum
from solvers.results import Certificate, CertificateError, SolverError, Status
from solvers.selection.constraints import Rules
from solvers.tables import ScoreTable, allowed_program, read_table

# Relative to the summed greatest scores: the accuracy an exact answer promises.
_TOLERANCE = 1e-9
_FEW = 1 << 12  # selections that are looked at one by one
# Of sums that were made by fsum and are made again by fsum: only the caller's copies of the data can differ, by a rounding each.
_SUM_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class SelectionCertificate(Certificate):
    """A certificate that knows its selection.

    Attributes:
        choices: an option of each group, as an index or a name.
        rules: the links, needs and forbids that the selection keeps, and that the bound is for; None without any.
        excluded: selections that the bound is not for, as those before the k-th best; the selection is none of them.
        stopped: why the search ended before a proof: "time limit", "node limit", "state limit", "gap" (near enough, as asked) or
            "callback" (told to); empty where the answer is proven, or the method does not search.
    """

    choices: tuple[Any, ...]
    rules: Rules | None = None
    excluded: tuple[tuple[Any, ...], ...] = ()
    stopped: str = ""

    def verify(self, scores: Any, costs: Any, budget: Any) -> SelectionCertificate:
        """Recheck every claim against the data, and return self; see :func:`verify_selection`."""
        verify_selection(self, scores, costs, budget)
        return self


def verify_selection(certificate: SelectionCertificate, scores: Any, costs: Any, budget: Any) -> None:
    """Recheck every claim of ``certificate`` against the data given to ``solvers.project_to_budget``.

    The choices must be valid and allowed, value and cost their correctly rounded sums, the budget met unless a violation is
    declared, the certificate's rules kept, and the bound proven: by weak duality with the stored multipliers where they reach it,
    else by enumeration, or by an independent back end, in which every floor and rule is a row of its own.

    Raises:
        CertificateError: a claim is wrong, or its bound could not be confirmed.
        ValueError: the data are malformed.

    Example:
        >>> from solvers import project_to_budget
        >>> scores, costs = [[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]]
        >>> verify_selection(project_to_budget(scores, costs, 5.0).certificate, scores, costs, 5.0)
    """
    verify_table(certificate, read_table(scores, costs, budget, minimize=not certificate.maximize))


def verify_table(certificate: SelectionCertificate, table: ScoreTable) -> None:
    """The same of data that are read already.

    Raises:
        CertificateError: a claim is wrong, or its bound could not be confirmed.
    """
    flat = flat_choices(certificate.choices, table)
    forbidden = np.flatnonzero(~table.allowed()[flat])
    if len(forbidden):
        group = int(forbidden[0])
        raise CertificateError(f"{table.group_label(group)}: the chosen option {certificate.choices[group]!r} is forbidden")
    value = exact_sum(table.scores[flat])
    size = exact_sum(np.abs(table.scores[flat]))
    if not abs(value - certificate.primal) <= _SUM_TOLERANCE * size:
        raise CertificateError(f"the choices are worth {value!r}, the certificate says {certificate.primal!r}")
    totals = [table.cost(row, flat) for row in range(len(table.budgets))]
    violation = table.violation(totals)
    if (violation > 0.0) != (certificate.violation > 0.0) or not math.isclose(violation, certificate.violation, rel_tol=1e-6):
        spent = ", ".join(table.spent(totals))
        raise CertificateError(f"{spent}: is exceeded by {violation!r}, the certificate says {certificate.violation!r}")
    rules = certificate.rules if certificate.rules is None else Rules.read(table, *certificate.rules.given)
    if rules is not None and (broken := rules.broken(flat, table)) is not None:
        raise CertificateError(broken)
    excluded = [flat_choices(choices, table) for choices in certificate.excluded]
    if any((flat == other).all() for other in excluded):
        raise CertificateError("the selection is one of those that its bound leaves out")
    if certificate.bound is not None:
        _verify_bound(certificate, table, value, violation, rules, excluded)


def _verify_bound(
    certificate: SelectionCertificate,
    table: ScoreTable,
    value: float,
    violation: float,
    rules: Rules | None,
    excluded: list[IntArray],
) -> None:
    """The bound is one: by the multipliers, or by solving again."""
    sign = 1.0 if certificate.maximize else -1.0
    bound = sign * float(certificate.bound if certificate.bound is not None else math.nan)
    sizes = np.where(table.allowed(), np.abs(table.scores), 0.0)
    tolerance = _TOLERANCE * exact_sum(np.maximum.reduceat(sizes, table.offsets[:-1]))
    if math.isnan(bound) or (violation == 0.0 and sign * value > bound + tolerance):
        raise CertificateError(f"the selection is worth {value!r}, better than the bound {certificate.bound!r}")
    loose = bound + tolerance
    duals = np.zeros(len(table.budgets))
    if certificate.dual is not None:
        duals = np.asarray(certificate.dual, dtype=np.float64)
        floors = np.full(len(table.budgets), -np.inf) if table.floors is None else table.floors
        if duals.shape != floors.shape or not (np.isfinite(duals) & ((duals >= 0.0) | (floors > -np.inf))).all():
            raise CertificateError(f"multipliers must be one finite number a budget, >= 0 without a floor, got {duals.tolist()}")
        if not np.isfinite(table.budgets[duals > 0.0]).all():
            raise CertificateError(f"an infinite budget has the multiplier 0, got {duals.tolist()}")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows proves nothing
            if _dual_bound(table, duals, sign, rules) <= loose:
                return
    if rules is None and not excluded and table.floors is None:
        program, kept = allowed_program(table, minimize=not certificate.maximize)
        better = _better(program, program.usable(np.maximum(duals / table.units(), 0.0)), loose, certificate)
        found, best = exact_sum(program.values[better]), kept[better] if len(better) else None
        status, proven = Status.OPTIMAL, found
    elif (few := _better_of_few(table, sign, rules, excluded, loose)) is not None:
        best, status = few if len(few) else None, Status.OPTIMAL
        found = proven = -math.inf if best is None else sign * exact_sum(table.scores[best])
    else:
        status, best, above = _solve_again(table, sign, rules, excluded)
        found = -math.inf if best is None else sign * exact_sum(table.scores[best])
        proven = found + above
    if best is not None and found > bound + tolerance:
        better = (best - table.offsets[:-1]).tolist()
        raise CertificateError(
            f"the bound {certificate.bound!r} is none: the option indices {better} fit and are worth {sign * found!r}"
        )
    if status is not Status.OPTIMAL and not (status is Status.FEASIBLE and proven <= bound + 2.0 * tolerance):
        raise CertificateError(f"the bound {certificate.bound!r} could not be confirmed: solving again ended '{status}'")


def _better(program: BudgetedKnapsack, duals: FloatArray, loose: float, certificate: SelectionCertificate) -> IntArray:
    """A selection that fits and is worth more than ``loose``; empty where there is none."""
    upper = program.lagrangian_bound(duals)
    if upper <= loose:
        return np.empty(0, dtype=np.intp)
    # What beats the bound uses only options that lose less than the multipliers leave.
    reduced = program.values - duals @ program.costs
    loss = np.repeat(np.maximum.reduceat(reduced, program.offsets[:-1]), program.sizes) - reduced
    left = np.flatnonzero(~(loss * (1.0 - 1e-12) >= (upper - loose) * (1.0 + 1e-9)))
    better = program.restrict(left).better_by_enumeration(loose)
    if better is not None:
        return left[better]
    try:
        answer = program.solve(backend="highs")  # scipy's now and then prints
        if answer.status is not Status.OPTIMAL:
            answer = program.solve()  # its tolerances cannot tell costs apart
    except SolverError:
        answer = program.solve()
    if answer.status is not Status.OPTIMAL:
        raise CertificateError(f"the bound {certificate.bound!r} could not be confirmed: solving again ended '{answer.status}'")
    return np.empty(0, dtype=np.intp) if answer.support is None else answer.support


def _better_of_few(table: ScoreTable, sign: float, rules: Rules | None, excluded: list[IntArray], loose: float) -> IntArray | None:
    """A selection that keeps everything and is worth more than ``loose``, empty where none is; None where there are many to see."""
    options = [np.arange(a, b)[table.allowed()[a:b]] for a, b in itertools.pairwise(table.offsets.tolist())]
    sizes = [len(part) for part in options]
    if math.prod(sizes) > _FEW:
        return None
    scores = sign * table.scores
    worth, size = np.zeros(1), 0.0
    for part in options:
        worth, size = (worth[:, None] + scores[part]).ravel(), size + float(np.abs(scores[part]).max())
    for hit in np.flatnonzero(worth > loose - 2.0**-50 * len(sizes) * size).tolist():
        picks = np.unravel_index(hit, sizes)
        flat = np.array([part[int(pick)] for part, pick in zip(options, picks, strict=True)])
        seen = any((flat == other).all() for other in excluded) or (rules is not None and rules.broken(flat, table) is not None)
        if not seen and exact_sum(scores[flat]) > loose and table.excess(flat) == 0.0:
            return flat
    return np.empty(0, dtype=np.intp)


def _dual_bound(table: ScoreTable, duals: FloatArray, sign: float, rules: Rules | None) -> float:
    """Weak duality: a budget priced at its limit, or at its floor where the multiplier is negative, and every group at its best.

    Linked groups are priced together; what options need or forbid is left out, which only raises the bound.
    """
    ends = [(duals > 0.0, table.budgets), (duals < 0.0, table.budgets if table.floors is None else table.floors)]
    terms = [float(price) for mask, limits in ends for price in duals[mask] * limits[mask]]
    priced = np.flatnonzero(duals)
    allowed = table.allowed()
    costs = np.where(allowed, table.costs, 0.0)
    sizes = np.where(allowed, np.abs(table.scores), 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # a bound that is no number proves nothing
        reduced = np.where(allowed, sign * table.scores, 0.0) - duals[priced] @ costs[priced]
        reduced += (len(priced) + 2) * 2.0**-52 * (sizes + np.abs(duals[priced]) @ costs[priced])
    reduced[~allowed] = -np.inf
    groups = np.arange(len(table.offsets) - 1)
    if rules is not None:
        together = np.zeros(len(reduced))
        np.add.at(together, rules.leader, reduced)
        groups = np.unique(np.searchsorted(table.offsets, rules.leader[table.offsets[:-1]], side="right") - 1)
        reduced = together
    best = np.maximum.reduceat(reduced, table.offsets[:-1])[groups]
    return math.fsum([*best.tolist(), *terms])


def _solve_again(
    table: ScoreTable, sign: float, rules: Rules | None, excluded: list[IntArray]
) -> tuple[Status, IntArray | None, float]:
    """The best selection, as positions of the table, by scipy's solver on a program with a row for everything.

    Also how much better others may be, by the solver's account.
    """
    allowed, groups = table.allowed(), len(table.offsets) - 1
    kept = np.flatnonzero(allowed)
    column = np.cumsum(allowed) - 1
    cuts = np.searchsorted(kept, table.offsets)
    entries = [(np.arange(cuts[g], cuts[g + 1]), np.ones(cuts[g + 1] - cuts[g]), 1.0) for g in range(groups)]
    for option, first in enumerate([] if rules is None else rules.leader.tolist()):
        pair = [(position, weight) for position, weight in ((option, 1.0), (first, -1.0)) if allowed[position]]
        if option != first and pair:
            entries.append((column[[position for position, _ in pair]], np.array([weight for _, weight in pair]), 0.0))
    rows, limits = [], []
    for row, (units, upper) in enumerate(
        zip(table.costs[:, kept] * table.units()[:, None], table.budgets * table.units(), strict=True)
    ):
        whole = table.places[row] is not None
        units, upper = (np.rint(units), float(np.rint(upper))) if whole else (units, float(upper))
        rows.append(units)
        limits.append(upper)
        if table.floors is not None and table.floors[row] > -np.inf:
            greatest = np.maximum.reduceat(units, cuts[:-1])
            floor = float(table.floors[row] * table.units()[row])
            rows.append(np.repeat(greatest, np.diff(cuts)) - units)
            most = exact_sum(greatest)
            limits.append(most - (float(np.rint(floor)) if whole else floor - 4.0 * groups * 2.0**-52 * most))
    for one, others in () if rules is None else rules.clashes:
        clash = np.isin(kept, others).astype(np.float64)
        rows.append(clash + (kept == one))
        limits.append(1.0)
    starts = np.concatenate([[0], np.cumsum([len(where) for where, _, _ in entries])])
    where, weights = (np.concatenate(parts) for parts in ([e[0] for e in entries], [e[1] for e in entries]))
    right = np.array([e[2] for e in entries])
    values = sign * table.scores[kept]
    values = values - np.repeat(np.maximum.reduceat(values, cuts[:-1]), np.diff(cuts))
    unit = -float(values.min()) or 1.0
    out = list(excluded)
    while True:
        left_out = [np.isin(kept, flat).astype(np.float64) for flat in out]
        costs, budgets = np.array([*rows, *left_out]), np.array([*limits, *(groups - 1.0 for _ in out)])
        program = BinaryProgram(values / unit, starts, where, weights, right, costs, np.zeros(len(budgets)), budgets)
        answer = maximize_binary(program, backend="scipy")
        if answer.support is None or table.excess(kept[answer.support]) == 0.0:
            best = None if answer.support is None else kept[answer.support]
            return answer.status, best, unit * (answer.bound - answer.value) if best is not None else 0.0
        out.append(kept[answer.support])  # beyond a floor by rounding


def flat_choices(choices: tuple[Any, ...], table: ScoreTable) -> IntArray:
    """Positions of the choices in the flat table."""
    groups = len(table.offsets) - 1
    if len(choices) != groups:
        raise CertificateError(f"the certificate holds {len(choices)} choices, the data {groups} groups")
    flat = np.empty(groups, dtype=np.intp)
    for group, choice in enumerate(choices):
        first, last = int(table.offsets[group]), int(table.offsets[group + 1])
        options = list(range(last - first)) if table.options is None else list(table.options[first:last])
        if choice not in options:
            raise CertificateError(f"{table.group_label(group)}: there is no option {choice!r}")
        flat[group] = first + options.index(choice)
    return flat

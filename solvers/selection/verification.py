"""Rechecking a selection's certificate from the raw data, sharing no algorithm with what produced it.

Sums are recomputed exactly. A bound is proven by weak duality: for any multipliers >= 0, ``duals @ budgets + sum_g max_o (v - duals
@ c)`` bounds every selection that fits. Where the claimed bound is tighter than that, only a search can prove it: of the options
that lose less than the multipliers leave, all selections are looked at, or, where these are too many, the program is solved again
by scipy's mixed-integer solver.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import IntArray
from solvers.knapsack import BudgetedKnapsack, exact_sum
from solvers.results import Certificate, CertificateError, SolverError, Status
from solvers.selection.tables import ScoreTable, allowed_program, read_table

# Relative to the summed greatest scores: the accuracy an exact answer promises.
_TOLERANCE = 1e-9
# Of sums that were made by fsum and are made again by fsum: only the caller's copies of the data can differ, by a rounding each.
_SUM_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class SelectionCertificate(Certificate):
    """A certificate that knows its selection: ``choices`` holds an option of each group, as an index or a name."""

    choices: tuple[Any, ...]

    def verify(self, scores: Any, costs: Any, budget: Any) -> SelectionCertificate:
        """Recheck every claim against the data, and return self; see :func:`verify_selection`."""
        verify_selection(self, scores, costs, budget)
        return self


def verify_selection(certificate: SelectionCertificate, scores: Any, costs: Any, budget: Any) -> None:
    """Recheck every claim of ``certificate`` against the data given to ``solvers.project_to_budget``.

    The choices must be valid and allowed, value and cost their correctly rounded sums, the budget met unless a violation is
    declared, and the bound proven: by weak duality with the stored multipliers where they reach it, else by enumeration or by an
    independent back end (scipy).

    Raises:
        CertificateError: a claim is wrong, or its bound could not be confirmed.
        ValueError: the data are malformed.

    Example:
        >>> from solvers import project_to_budget
        >>> scores, costs = [[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]]
        >>> verify_selection(project_to_budget(scores, costs, 5.0).certificate, scores, costs, 5.0)
    """
    table = read_table(scores, costs, budget, minimize=not certificate.maximize)
    flat = _flat_choices(certificate.choices, table)
    forbidden = np.flatnonzero(~table.allowed()[flat])
    if len(forbidden):
        group = int(forbidden[0])
        raise CertificateError(f"{table.group_label(group)}: the chosen option {certificate.choices[group]!r} is forbidden")
    value = exact_sum(table.scores[flat])
    size = exact_sum(np.abs(table.scores[flat]))
    if not abs(value - certificate.primal) <= _SUM_TOLERANCE * size:
        raise CertificateError(f"the choices are worth {value!r}, the certificate says {certificate.primal!r}")
    excesses = [table.cost(row, flat) - limit for row, limit in enumerate(table.budgets.tolist())]
    row = int(np.argmax(excesses))
    violation = max(0.0, excesses[row])
    if (violation > 0.0) != (certificate.violation > 0.0) or not math.isclose(violation, certificate.violation, rel_tol=1e-6):
        label, limit = table.budget_label(row), float(table.budgets[row])
        raise CertificateError(f"{label} {limit!r} is exceeded by {violation!r}, the certificate says {certificate.violation!r}")
    if certificate.bound is not None:
        _verify_bound(certificate, table, value, violation)


def _verify_bound(certificate: SelectionCertificate, table: ScoreTable, value: float, violation: float) -> None:
    """The bound is one: by the multipliers, or by solving again."""
    sign = 1.0 if certificate.maximize else -1.0
    bound = sign * float(certificate.bound if certificate.bound is not None else math.nan)
    program, kept = allowed_program(table, minimize=not certificate.maximize)
    tolerance = _TOLERANCE * exact_sum(np.maximum.reduceat(np.abs(program.values), program.offsets[:-1]))
    if math.isnan(bound) or (violation == 0.0 and sign * value > bound + tolerance):
        raise CertificateError(f"the selection is worth {value!r}, better than the bound {certificate.bound!r}")
    loose = bound + tolerance
    duals = np.zeros(len(program.budgets))
    if certificate.dual is not None:
        duals = np.asarray(certificate.dual, dtype=np.float64)
        if duals.shape != program.budgets.shape or not (np.isfinite(duals) & (duals >= 0.0)).all():
            raise CertificateError(f"multipliers must be one finite number >= 0 a budget, got {duals.tolist()}")
        if not np.isfinite(program.budgets[duals > 0.0]).all():
            raise CertificateError(f"an infinite budget has the multiplier 0, got {duals.tolist()}")
        duals = program.usable(duals / table.units())
    upper = program.lagrangian_bound(duals)
    if upper <= loose:
        return
    # What beats the bound uses only options that lose less than the multipliers leave.
    reduced = program.values - duals @ program.costs
    loss = np.repeat(np.maximum.reduceat(reduced, program.offsets[:-1]), program.sizes) - reduced
    left = np.flatnonzero(~(loss * (1.0 - 1e-12) >= (upper - loose) * (1.0 + 1e-9)))
    better = program.restrict(left).better_by_enumeration(loose)
    better = _solve_again(program, certificate) if better is None else left[better]
    if len(better) and (worth := exact_sum(program.values[better])) > loose:
        options = (kept[better] - table.offsets[:-1]).tolist()
        raise CertificateError(
            f"the bound {certificate.bound!r} is none: the option indices {options} fit and are worth {sign * worth!r}"
        )


def _solve_again(program: BudgetedKnapsack, certificate: SelectionCertificate) -> IntArray:
    """The best selection by scipy's solver; by the library's own where scipy's tolerances cannot tell costs apart."""
    try:
        answer = program.solve(backend="scipy")
        if answer.status is not Status.OPTIMAL:
            answer = program.solve()
    except SolverError:
        answer = program.solve()
    if answer.status is not Status.OPTIMAL:
        raise CertificateError(f"the bound {certificate.bound!r} could not be confirmed: solving again ended '{answer.status}'")
    return np.empty(0, dtype=np.intp) if answer.support is None else answer.support


def _flat_choices(choices: tuple[Any, ...], table: ScoreTable) -> IntArray:
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

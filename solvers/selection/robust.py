"""Costs with a spread: selections that fit even if a given number of groups cost as much as they can.

Option o of group g costs ``costs[g, o]`` and up to ``spread[g, o]`` more; of all groups at most ``gamma`` are at their upper end at
once. With a price t on each of these, ``gamma t + sum_g max(0, spread - t)`` is the most they add, at the least over t, which is
attained at a spread or at 0. So the best selection is the best over the programs with the costs ``costs + max(0, spread - t)`` and
the budget ``budget - gamma t``, one for each value t of a spread; bounds leave few of them.

Reference: Bertsimas and Sim, Robust discrete optimization and network flows, Mathematical Programming 2003, Theorem 3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets import BudgetedKnapsack, ranked
from solvers.knapsack import Knapsack, decimal_places, exact_sum, from_units, relax, solve_exact, whole_units
from solvers.results import CertificateError, InfeasibleError, Status
from solvers.selection.selection import Selection
from solvers.selection.verification import SelectionCertificate, flat_choices
from solvers.tables import ScoreTable, read_table

_TOLERANCE = 1e-9  # relative to the summed greatest scores: the accuracy an exact answer promises


@dataclass(frozen=True, slots=True, eq=False)
class RobustCertificate(SelectionCertificate):
    """A certificate of :func:`project_robustly`: the budget is held with ``gamma`` groups at their upper end."""

    gamma: int = 0

    def verify(self, scores: Any, costs: Any, budget: Any) -> RobustCertificate:
        """Recheck every claim against the data and return self; ``costs`` is the pair of tables (costs, spread).

        Every program whose Lagrangian bound exceeds the certificate's is solved again by scipy's mixed-integer solver.

        Raises:
            CertificateError: a claim is wrong, or its bound could not be confirmed.
            ValueError: the data are malformed.
        """
        nominal, spread = costs
        program = _Robust.read(scores, nominal, spread, budget, self.gamma, not self.maximize)
        flat = flat_choices(self.choices, program.table)
        if not program.table.allowed()[flat].all():
            raise CertificateError("a chosen option is forbidden")
        value = exact_sum(program.table.scores[flat])
        if not math.isclose(value, self.primal, rel_tol=1e-12, abs_tol=1e-12 * exact_sum(np.abs(program.table.scores[flat]))):
            raise CertificateError(f"the choices are worth {value!r}, the certificate says {self.primal!r}")
        if (worst := program.worst(flat)) > program.limit or self.violation != 0.0:
            raise CertificateError(
                f"at the worst they cost {program.stated(worst)!r}, the budget is {program.stated(program.limit)!r}"
            )
        sign = 1.0 if self.maximize else -1.0
        bound = sign * (math.nan if self.bound is None else self.bound)
        tolerance = _TOLERANCE * exact_sum(np.maximum.reduceat(np.abs(program.values), program.offsets[:-1]))
        if not sign * value <= bound + tolerance:
            raise CertificateError(f"the selection is worth {value!r}, better than the bound {self.bound!r}")
        for part in program.parts():
            if part.relaxed <= bound + tolerance:
                continue
            for above, choices in ranked(part.several(), backend="scipy"):
                if above <= bound + 2.0 * tolerance:
                    break
                if program.worst(program.kept[choices]) <= program.limit:
                    better = (program.kept[choices] - program.table.offsets[:-1]).tolist()
                    raise CertificateError(
                        f"the bound {self.bound!r} is none: the option indices {better} fit, at {sign * above!r}"
                    )
        return self


def project_robustly(
    scores: Any,
    costs: Any,
    spread: Any,
    budget: float,
    *,
    gamma: int,
    minimize: bool = False,
    time_limit_seconds: float | None = None,
) -> Selection:
    """The best selection that fits whichever ``gamma`` groups cost as much as they can.

    Args:
        scores, costs, budget, minimize: as of :func:`solvers.project_to_budget`, with one table of costs and one number.
        spread: like ``costs``: by how much each may be more, as the 95th percentile of a latency less its median; not negative.
        gamma: how many groups are at their upper end at once, from 0 (none: the plain program) to all.
        time_limit_seconds: stop then with the best selection so far and its true gap.

    Returns:
        A selection whose ``cost`` is that at the worst, which is what the budget holds. ``selection.verify(scores, (costs, spread),
        budget)`` rechecks it.

    Raises:
        InfeasibleError: nothing fits.
        ValueError: malformed input; it names the group.

    Complexity: at most one program for each value of a spread, each relaxed, and few of them solved.

    Example:
        >>> scores, costs, spread = [[0.0, 3.0], [0.0, 2.0]], [[1.0, 3.0], [1.0, 2.0]], [[0.0, 2.0], [0.0, 0.5]]
        >>> [project_robustly(scores, costs, spread, 5.0, gamma=gamma).choices for gamma in (0, 1)]
        [(1, 1), (0, 1)]
    """
    began = time.perf_counter()
    program = _Robust.read(scores, costs, spread, budget, gamma, minimize)
    deadline = math.inf if time_limit_seconds is None else began + time_limit_seconds
    best: IntArray | None = None
    value = bound = -math.inf
    for part in sorted(program.parts(), key=lambda part: -part.relaxed):
        if part.relaxed <= value:
            bound = max(bound, part.relaxed)
            break
        if time.perf_counter() > deadline:
            bound = max(bound, part.relaxed)
            break
        found, above = part.solve(program, value, deadline)
        bound = max(bound, above)
        if found is not None and exact_sum(program.values[found]) > value:
            best, value = found, exact_sum(program.values[found])
    if best is None:
        if time.perf_counter() > deadline:
            raise InfeasibleError(f"nothing that fits was found within {time_limit_seconds} s; allow more time")
        least = program.stated(program.least())
        raise InfeasibleError(f"nothing fits: the budget is {budget!r}, the least possible cost at the worst is {least!r}")
    flat = program.kept[best]
    bound, sign = max(bound, value), -1.0 if minimize else 1.0
    exact = exact_sum(program.table.scores[flat])
    choices: tuple[Any, ...] = tuple((flat - program.table.offsets[:-1]).tolist())
    if program.table.options is not None:
        choices = tuple(program.table.options[position] for position in flat.tolist())
    groups = tuple(range(len(choices))) if program.table.groups is None else program.table.groups
    certificate = RobustCertificate(exact, sign * bound, 0.0, None, not minimize, choices, gamma=gamma)
    close = bound - value <= 1e-9 * max(1.0, abs(value))
    status = Status.OPTIMAL if close else Status.TIME_LIMIT if time.perf_counter() > deadline else Status.FEASIBLE
    cost = program.stated(program.worst(flat))
    return Selection(choices, exact, cost, status, certificate, time.perf_counter() - began, groups)


@dataclass(frozen=True, slots=True, eq=False)
class _Robust:
    """The program in flat arrays of the options that are not forbidden, ``kept`` of the table; costs in units of ``places``."""

    table: ScoreTable
    kept: IntArray
    values: FloatArray
    costs: FloatArray
    spread: FloatArray
    offsets: IntArray
    limit: float
    gamma: int
    places: int | None

    @classmethod
    def read(cls, scores: Any, costs: Any, spread: Any, budget: Any, gamma: Any, minimize: bool) -> _Robust:
        limits = {"costs": math.inf, "spread": math.inf}
        table = read_table(scores, {"costs": costs, "spread": spread}, limits, minimize=minimize)
        single = read_table(scores, costs, budget, minimize=minimize)
        groups = len(table.offsets) - 1
        if single.floors is not None or not math.isfinite(limit := float(single.budgets[0])):
            raise ValueError(f"budget: expected one finite limit from above, got {budget!r}")
        if isinstance(gamma, bool) or not isinstance(gamma, (int, np.integer)) or not 0 <= gamma <= groups:
            raise ValueError(f"gamma: expected a whole number of groups from 0 to {groups}, got {gamma!r}")
        kept = np.flatnonzero(table.allowed())
        offsets = np.searchsorted(kept, table.offsets)
        if not np.diff(offsets).all():
            group = int(np.flatnonzero(np.diff(offsets) == 0)[0])
            raise InfeasibleError(f"{table.group_label(group)}: every option is forbidden (an infinite cost or score)")
        rows = table.costs[:, kept]
        # Both tables as one with twice the groups: where all are decimals, with sums that floats hold, they are whole numbers.
        places = decimal_places(rows.ravel(), limit, np.concatenate([offsets, offsets[1:] + offsets[-1]]))
        units, own = whole_units(rows, places or 0), float(whole_units(np.asarray(limit), places or 0))
        values = (-table.scores if minimize else table.scores)[kept]
        return cls(table, kept, values, units[0], units[1], offsets, own, int(gamma), places)

    def stated(self, cost: float) -> float:
        """A cost in the caller's unit."""
        return from_units(cost, self.places or 0)

    def worst(self, flat: IntArray) -> float:
        """What options of the table cost with the ``gamma`` greatest spreads: the correctly rounded sum."""
        at = np.searchsorted(self.kept, flat)
        extra = np.sort(self.spread[at])[len(at) - self.gamma :]
        return math.fsum([*self.costs[at].tolist(), *extra.tolist()])

    def least(self) -> float:
        """The least cost at the worst there is."""
        ends = [0.0, *np.unique(self.spread).tolist()]
        sums = (np.minimum.reduceat(self.costs + np.maximum(self.spread - t, 0.0), self.offsets[:-1]) for t in ends)
        return min(exact_sum(least) + self.gamma * t for least, t in zip(sums, ends, strict=True))

    def parts(self) -> Iterator[_Part]:
        """The programs in which something fits, one for each price that a selection may have."""
        whole = self.places is not None
        for t in np.unique(np.append(self.spread, 0.0)).tolist() if self.gamma else [float(self.spread.max())]:
            costs, budget = self.costs + np.maximum(self.spread - t, 0.0), self.limit - self.gamma * t
            if not self.gamma:
                costs, budget = self.costs, self.limit
            elif not whole:  # wide enough for whatever fits; what misses by rounding is left out
                costs, budget = costs * (1.0 - 2.0**-50), budget + 2.0**-50 * (self.limit + self.gamma * t)
            if exact_sum(np.minimum.reduceat(costs, self.offsets[:-1])) <= budget:
                knapsack = Knapsack(self.values, costs, self.offsets)
                yield _Part(knapsack, budget, relax(knapsack, budget).bound)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The program of one price, with the bound of its relaxation."""

    knapsack: Knapsack
    budget: float
    relaxed: float

    def several(self) -> BudgetedKnapsack:
        """The same program as one with several budgets."""
        return BudgetedKnapsack(self.knapsack.values, self.knapsack.costs[None], np.array([self.budget]), self.knapsack.offsets)

    def solve(self, program: _Robust, cutoff: float, deadline: float) -> tuple[IntArray | None, float]:
        """Its best selection that fits, None where nothing beats the cutoff, and a bound on all of it."""
        left = None if deadline == math.inf else max(1e-3, deadline - time.perf_counter())
        found = solve_exact(self.knapsack, self.budget, cutoff=cutoff, time_limit_seconds=left)
        if program.worst(program.kept[found.choices]) <= program.limit:
            return found.choices, found.bound
        try:
            for bound, choices in ranked(self.several(), time_limit_seconds=left):
                if bound <= cutoff:
                    return None, bound
                if program.worst(program.kept[choices]) <= program.limit:
                    return choices, bound
        except TimeoutError:
            return None, found.bound
        return None, -math.inf

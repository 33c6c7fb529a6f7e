"""The k best selections that fit: those to measure again on the device, where the best by the table need not be the best.

The best selection splits all others into parts: those that share its options up to a group and differ there. The best of each part
is a program of the same kind with fewer options; the best of these bests is the second best selection, its part is split the same
way, and so on. A part is solved only once its Lagrangian bound says that it may hold the next.

Reference: Lawler, A procedure for computing the k best solutions to discrete optimization problems, Management Science 1972.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.kernels import NativeBackend
from solvers.knapsack import BudgetBackend, BudgetedKnapsack, Knapsack, relax, solve_exact
from solvers.results import SolverError, Status
from solvers.selection.constraints import Rules, constrained_program
from solvers.selection.project import Answer, Backend, Selection, selection_of, solve_constrained
from solvers.selection.tables import read_table

_ROUNDING = 2.0**-50  # of the size of a bound's terms: more than its sums round away


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Selections with the options ``held`` in the first groups, and none of ``barred`` in the next; ``choices`` is their best.

    ``choices`` is None as long as only the bound is known.
    """

    held: IntArray
    barred: tuple[int, ...]
    choices: IntArray | None = None


def best_selections(
    scores: Any,
    costs: Any,
    budget: Any,
    k: int,
    *,
    minimize: bool = False,
    links: Any = None,
    needs: Any = None,
    forbids: Any = None,
    time_limit_seconds: float | None = None,
    backend: Backend = "native",
) -> tuple[Selection, ...]:
    """The ``k`` best selections that fit, best first; all of them where fewer fit.

    Args:
        scores, costs, budget, minimize, links, needs, forbids, backend: as of :func:`solvers.project_to_budget`.
        k: at least 1.
        time_limit_seconds: stop then, with those that are proven.

    Each selection's certificate says that nothing that fits is better, those before it left out. Scores that differ by less than
    1e-9 of them may come in either order.

    Raises:
        InfeasibleError: nothing fits; it names the budget and the least cost there is.
        ValueError: malformed input; it names the group.
        SolverError: a back end fails, or finds nothing within the time limit.

    Complexity: at most k programs a group, of which bounds leave a few for each selection.

    Example:
        >>> first, second, third = best_selections([[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]], 5.0, 3)
        >>> first.choices, second.choices, third.choices, third.value
        ((1, 0), (0, 1), (0, 0), 0.0)
    """
    began = time.perf_counter()
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k: expected a whole number of at least 1, got {k!r}")
    deadline = math.inf if time_limit_seconds is None else began + time_limit_seconds
    table = read_table(scores, costs, budget, minimize=minimize)
    rules = Rules.read(table, links, needs, forbids)
    wide = constrained_program(table, rules, minimize=minimize)
    bounds, search = _Bounds.of(wide.program), _Solver(wide.program, backend, deadline)
    order = itertools.count()
    found: list[Selection] = []
    waiting: list[tuple[float, int, _Part]] = [(-math.inf, next(order), _Part(np.empty(0, dtype=np.intp), ()))]
    while waiting and len(found) < k:
        key, _, part = heapq.heappop(waiting)
        if part.choices is None:
            best = search.best(part)
            if search.stopped:
                break
            if best is not None:
                value, choices = best
                heapq.heappush(waiting, (max(key, -value), next(order), replace(part, choices=choices)))
            continue
        for bound, child in bounds.split(part):
            heapq.heappush(waiting, (max(key, -bound), next(order), child))
        flat = wide.expand(part.choices)
        if wide.exact or table.excess(flat) == 0.0:  # else it misses by rounding
            answer = Answer(part.choices, -key, None)
            selection = selection_of(table, flat, answer, "exact", minimize, began, rules)
            before = tuple(other.choices for other in found)
            found.append(replace(selection, certificate=replace(selection.certificate, excluded=before)))
    if not found:
        if search.stopped:
            raise SolverError(f"{backend}: no selection was proven best within {time_limit_seconds} s; allow more time")
        flat, answer = solve_constrained(table, rules, "exact", backend, minimize, time_limit_seconds)  # it says why nothing fits,
        return (selection_of(table, flat, answer, "exact", minimize, began, rules),)  # or accepts what misses by rounding
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Bounds:
    """Lagrangian bounds of parts, from the multipliers of the whole program.

    Attributes:
        reduced: (n,) ``v - duals @ c``, rounded up. top: (groups,) the greatest of each group; ``rest`` (groups + 1,) sums of it
            from a group to the end. priced: what the budgets are worth. offsets: (groups + 1,).
    """

    reduced: FloatArray
    rest: FloatArray
    priced: float
    offsets: IntArray

    @classmethod
    def of(cls, program: BudgetedKnapsack) -> _Bounds:
        if len(program.budgets) == 1:
            duals = np.array([relax(Knapsack(program.values, program.costs[0], program.offsets), float(program.budgets[0])).dual])
        else:
            duals = program.relax(vertex=False).duals
        priced = np.flatnonzero(duals)
        weights = duals[priced]
        paid = weights @ program.costs[priced]
        reduced = program.values - paid + _ROUNDING * (np.abs(program.values) + paid)
        top = np.maximum.reduceat(reduced, program.offsets[:-1])
        rest = np.concatenate([np.cumsum(top[::-1])[::-1], [0.0]])
        worth = float(weights @ program.budgets[priced])
        slack = _ROUNDING * len(top) * (worth + float(np.abs(top).sum()))
        return cls(reduced, rest, worth + slack, program.offsets)

    def split(self, part: _Part) -> list[tuple[float, _Part]]:
        """The parts of all selections of ``part`` but its best, each with its bound."""
        best = part.choices
        assert best is not None
        children, sum_held = [], float(self.reduced[part.held].sum())
        for group in range(len(part.held), len(best)):
            barred = (*part.barred, int(best[group])) if group == len(part.held) else (int(best[group]),)
            first, last = int(self.offsets[group]), int(self.offsets[group + 1])
            if len(barred) < last - first:
                own = self.reduced[first:last].copy()
                own[np.array(barred) - first] = -math.inf
                bound = self.priced + sum_held + float(own.max()) + float(self.rest[group + 1])
                children.append((bound, _Part(best[:group], barred)))
            sum_held += float(self.reduced[best[group]])
        return children


class _Solver:
    """The best selection of a part."""

    def __init__(self, program: BudgetedKnapsack, backend: Backend, deadline: float) -> None:
        self.program, self.backend, self.deadline, self.stopped = program, backend, deadline, False

    def best(self, part: _Part) -> tuple[float, IntArray] | None:
        """A bound on the part's values, attained but for the tolerance, and the options; None where nothing of it fits."""
        program = self.program
        free = int(program.offsets[len(part.held)])
        rest = np.arange(free, len(program.values))
        kept = np.concatenate([part.held, rest[~np.isin(rest, part.barred)] if part.barred else rest])
        of_part = replace(
            program, values=program.values[kept], costs=program.costs[:, kept], offsets=np.searchsorted(kept, program.offsets)
        )
        left = None if self.deadline == math.inf else max(1e-3, self.deadline - time.perf_counter())
        if len(program.budgets) == 1 and self.backend in ("native", "numpy"):
            path: NativeBackend = "numpy" if self.backend == "numpy" else "native"
            knapsack = Knapsack(of_part.values, of_part.costs[0], of_part.offsets)
            found = solve_exact(knapsack, float(program.budgets[0]), time_limit_seconds=left, backend=path)
            self.stopped = found.status is Status.TIME_LIMIT
            return None if found.status is Status.INFEASIBLE else (found.bound, kept[found.choices])
        general: BudgetBackend = "highs" if self.backend == "numpy" else self.backend
        answer = of_part.solve(backend=general, time_limit_seconds=left)
        self.stopped = answer.status is Status.TIME_LIMIT
        return None if answer.support is None else (answer.bound, kept[answer.support])

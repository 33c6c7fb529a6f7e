"""The selections that fit in the order of their values, best first.

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
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.budgets.program import BudgetBackend, BudgetedKnapsack
from solvers.kernels import NativeBackend
from solvers.knapsack import Knapsack, relax, solve_exact
from solvers.results import Status

_ROUNDING = 2.0**-50  # of the size of a bound's terms: more than its sums round away


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Selections with the options ``held`` in the first groups, and none of ``barred`` in the next; ``choices`` is their best.

    ``choices`` is None as long as only the bound is known.
    """

    held: IntArray
    barred: tuple[int, ...]
    choices: IntArray | None = None


def ranked(
    program: BudgetedKnapsack, *, backend: BudgetBackend | NativeBackend = "native", time_limit_seconds: float | None = None
) -> Iterator[tuple[float, IntArray]]:
    """Selections that fit, best first, each with a bound on itself and on all that follow; it ends after the last, or in time.

    Args:
        program: any number of budgets.
        backend: as of ``solvers.project_to_budget``.
        time_limit_seconds: a part that takes longer ends the order, which then says nothing about what would follow.

    Values that differ by less than the tolerance of the exact methods (1e-9) may come in either order.

    Raises:
        TimeoutError: the time is over; what came before holds.

    Example:
        >>> values, costs = np.array([0.0, 3.0, 0.0, 2.0]), np.array([[1.0, 4.0, 1.0, 2.0]])
        >>> program = BudgetedKnapsack(values, costs, np.array([5.0]), np.array([0, 2, 4]))
        >>> [(bound, choices.tolist()) for bound, choices in ranked(program)]
        [(3.0, [1, 2]), (2.0, [0, 3]), (0.0, [0, 2])]
    """
    deadline = math.inf if time_limit_seconds is None else time.perf_counter() + time_limit_seconds
    bounds = _Bounds.of(program)
    order = itertools.count()
    waiting: list[tuple[float, int, _Part]] = [(-math.inf, next(order), _Part(np.empty(0, dtype=np.intp), ()))]
    while waiting:
        key, _, part = heapq.heappop(waiting)
        if part.choices is None:
            best = _best(program, part, backend, deadline)
            if best is not None:
                value, choices = best
                heapq.heappush(waiting, (max(key, -value), next(order), replace(part, choices=choices)))
            continue
        yield -key, part.choices
        for bound, child in bounds.split(part):
            heapq.heappush(waiting, (max(key, -bound), next(order), child))


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


def _best(
    program: BudgetedKnapsack, part: _Part, backend: BudgetBackend | NativeBackend, deadline: float
) -> tuple[float, IntArray] | None:
    """A bound on the part's values, attained but for the tolerance, and the options; None where nothing of it fits."""
    rest = np.arange(int(program.offsets[len(part.held)]), len(program.values))
    kept = np.concatenate([part.held, rest[~np.isin(rest, part.barred)] if part.barred else rest])
    values, costs, offsets = program.values[kept], program.costs[:, kept], np.searchsorted(kept, program.offsets)
    left = None if deadline == math.inf else max(1e-3, deadline - time.perf_counter())
    if len(program.budgets) == 1 and (backend == "native" or backend == "numpy"):
        knapsack, budget = Knapsack(values, costs[0], offsets), float(program.budgets[0])
        found = solve_exact(knapsack, budget, time_limit_seconds=left, backend=backend)
        status, bound, support = found.status, found.bound, None if found.status is Status.INFEASIBLE else found.choices
    else:
        several = BudgetedKnapsack(values, costs, program.budgets, offsets)
        answer = several.solve(backend="native" if backend == "numpy" else backend, time_limit_seconds=left)
        status, bound, support = answer.status, answer.bound, answer.support
    if time.perf_counter() > deadline or (status is Status.TIME_LIMIT and support is None):
        raise TimeoutError
    return None if support is None else (bound, kept[support])

"""Many small programs of one shape at once: scores that differ, costs shared or not, one budget each.

The programs are the same as those of :func:`solvers.project_to_budget`, and so are the answers; they are solved in one compiled
loop, on several threads if wanted, without the reading, naming and certifying of single calls. Any of them becomes a full selection
on demand.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from solvers.arrays import BoolArray, FloatArray, IntArray
from solvers.kernels import compiled, uses_kernels
from solvers.knapsack import decimal_places, exact_sum, whole_units
from solvers.results import InfeasibleError
from solvers.selection.project import project_to_budget
from solvers.selection.selection import Selection
from solvers.tables import is_exact, read_rows

_STATES = 1 << 19, 1 << 15, 1024, 1 << 16  # as solve_exact has them
_CLOSE = 1e-12  # relative to a budget: where plain sums may err about it, fsum decides


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Selections:
    """The answers of :func:`project_many`; ``len`` and iteration go by program, and ``batch[i]`` is a :class:`Selection`.

    Attributes:
        choices: (B, G) option indices; -1 where nothing fits.
        values: (B,) summed scores; NaN where nothing fits.
        costs: (B,) summed costs; NaN where nothing fits.
        bounds: (B,) nothing that fits is better.
        prices: (B,) multipliers of the budgets: what one unit more is worth at the margin.
        feasible: (B,) whether anything fits.
        seconds: what the call took.
    """

    choices: IntArray
    values: FloatArray
    costs: FloatArray
    bounds: FloatArray
    prices: FloatArray
    feasible: BoolArray
    seconds: float
    _data: tuple[FloatArray, FloatArray, FloatArray, bool]

    def __repr__(self) -> str:
        fitting = int(self.feasible.sum())
        if not fitting:
            return f"Selections: {len(self)} programs, in none of which anything fits"
        values = self.values[self.feasible]
        missing = f", in {len(self) - fitting} of which nothing fits" * (fitting < len(self))
        return f"Selections: {len(self)} programs{missing}; values {values.min():.6g} to {values.max():.6g}"

    def __len__(self) -> int:
        return len(self.choices)

    def __getitem__(self, program: int) -> Selection:
        """The selection of one program with its certificate, solved again by itself.

        Raises:
            InfeasibleError: nothing fits; it names the least cost there is.
            IndexError: there is no such program.
        """
        scores, costs, budgets, minimize = self._data
        index = range(len(self))[program]
        return project_to_budget(scores[index], costs[index if len(costs) > 1 else 0], float(budgets[index]), minimize=minimize)

    def __iter__(self) -> Iterator[Selection]:
        return (self[program] for program in range(len(self)))


def project_many(scores: Any, costs: Any, budgets: Any, *, minimize: bool = False, jobs: int = 1) -> Selections:
    """The best selection that fits of each of many programs of one shape.

    Args:
        scores: (B, G, K) an array or tensor; a score of -inf forbids its option (+inf with ``minimize``).
        costs: (G, K), shared by all, or (B, G, K); not negative, infinite forbids.
        budgets: (B,), or one number for all.
        minimize: the scores are losses.
        jobs: threads; the loop does not hold Python's lock.

    Programs in which nothing fits do not raise, they are marked. Programs with forbidden options, and all programs where numba is
    not installed, are solved one after another by :func:`solvers.project_to_budget`.

    Raises:
        ValueError: shapes that do not meet, NaN, negative costs, a score that is infinite on the wrong side.

    Example:
        >>> batch = project_many([[[0.0, 3.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 2.0]]], [[1.0, 4.0], [1.0, 2.0]], 5.0)
        >>> batch.choices.tolist(), batch.values.tolist(), batch[0].cost
        ([[1, 0], [0, 1]], [3.0, 2.0], 5.0)
    """
    began = time.perf_counter()
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs: expected a number of threads of at least 1, got {jobs!r}")
    values, prices, limits = _read(scores, costs, budgets)
    count, groups, options = values.shape
    data = values, prices, limits, minimize
    found = Selections(
        choices=np.full((count, groups), -1, dtype=np.intp),
        values=np.full(count, np.nan),
        costs=np.full(count, np.nan),
        bounds=np.full(count, np.nan),
        prices=np.full(count, np.nan),
        feasible=np.zeros(count, dtype=np.bool_),
        seconds=0.0,
        _data=data,
    )
    flat_values = (-values if minimize else values).reshape(count, -1)
    flat_costs = prices.reshape(len(prices), -1)
    finite = np.isfinite(flat_values).all(axis=1) & np.isfinite(flat_costs).all(axis=1)
    plain: BoolArray = np.logical_and(finite, uses_kernels("native"))
    offsets = np.arange(0, groups * options + 1, options)
    places = _places(flat_costs, limits, offsets)
    left: BoolArray = np.logical_not(plain)
    for digits in sorted({place for place, one in zip(places, plain.tolist(), strict=True) if one}, key=lambda p: (p is None, p)):
        members = np.flatnonzero(plain & np.array([place == digits for place in places]))
        left[_solve(found, members, flat_values, flat_costs, limits, digits, offsets, jobs)] = True
    for program in np.flatnonzero(left).tolist():
        try:
            one = found[program]
        except InfeasibleError:
            continue
        found.choices[program], found.feasible[program] = one.choices, True
        found.values[program], found.costs[program] = one.value, cast(float, one.cost)
        dual = one.certificate.dual
        found.bounds[program] = one.certificate.bound
        found.prices[program] = math.nan if dual is None else dual[0]
    for array in (found.choices, found.values, found.costs, found.bounds, found.prices, found.feasible):
        array.setflags(write=False)
    object.__setattr__(found, "seconds", time.perf_counter() - began)
    return found


def _solve(
    found: Selections,
    members: IntArray,
    values: FloatArray,
    costs: FloatArray,
    limits: FloatArray,
    places: int | None,
    offsets: IntArray,
    jobs: int,
) -> IntArray:
    """Solve the programs ``members`` and write their answers; returns those that single calls have to decide."""
    from solvers.kernels.exact import solve_many

    unit = 10.0 ** (places or 0)
    whole_costs = whole_units(costs if len(costs) == 1 else costs[members], places or 0)
    budgets = whole_units(limits[members], places or 0)
    choices, facts = np.empty((len(members), found.choices.shape[1]), dtype=np.intp), np.empty((len(members), 7))
    sign, kernel = -1.0 if found._data[3] else 1.0, compiled(solve_many)

    def run(part: slice) -> None:
        rows = whole_costs if len(whole_costs) == 1 else whole_costs[part]
        chosen = np.ascontiguousarray(values[members[part]])
        kernel(chosen, np.ascontiguousarray(rows), offsets, budgets[part], _STATES, math.inf, choices[part], facts[part])

    cuts = np.linspace(0, len(members), jobs + 1).astype(int).tolist()
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts) if b > a]
    if len(parts) == 1:
        run(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(run, parts))
    state, value, best, bound, lift, dual, whole = facts.T
    picked = np.take_along_axis(np.broadcast_to(whole_costs, (len(members), whole_costs.shape[1])), choices, axis=1)
    totals = picked.sum(axis=1)
    fits = totals <= budgets
    if places is None:
        near = np.flatnonzero(np.abs(totals - budgets) <= _CLOSE * np.maximum(budgets, totals))
        fits[near] = [exact_sum(row) <= limit for row, limit in zip(picked[near], budgets[near].tolist(), strict=True)]
        totals = np.array([exact_sum(row) for row in picked])
    up = np.where(bound > best, np.nextafter(value + (bound - best), np.inf), value)
    bounds = np.where(whole > 0.0, np.maximum(np.floor(lift + bound + 2.0**-10), value), up)
    good = (state == 0) & fits
    done = members[good]
    found.choices[done] = choices[good] - offsets[:-1]
    found.values[done], found.bounds[done] = sign * value[good], sign * bounds[good]
    found.costs[done] = totals[good] / unit
    found.prices[done] = dual[good] * unit
    found.feasible[done] = True
    return members[~good]


def _read(scores: Any, costs: Any, budgets: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Scores (B, G, K), costs (1 or B, G, K) and budgets (B,), checked but for what single calls refuse."""
    values, prices = _array(scores, "scores"), _array(costs, "costs")
    if values.ndim != 3 or not values.size:
        raise ValueError(f"scores: expected a (programs, groups, options) array, got shape {values.shape}")
    if prices.shape not in (values.shape, values.shape[1:]):
        raise ValueError(f"costs: expected the shape {values.shape[1:]} or {values.shape}, got {prices.shape}")
    limits = _array(budgets, "budgets")
    if limits.shape not in ((), (len(values),)):
        raise ValueError(f"budgets: expected one number or {len(values)} of them, got shape {limits.shape}")
    for label, array in (("scores", values), ("costs", prices), ("budgets", limits)):
        if np.isnan(array).any():
            where = np.argwhere(np.isnan(array))[0].tolist()
            raise ValueError(f"{label}: NaN at {where}" if where else f"{label}: expected a number, got NaN")
    if (prices < 0.0).any():
        where = np.argwhere(prices < 0.0)[0].tolist()
        raise ValueError(f"costs: negative at {where} ({prices[tuple(where)]})")
    return values, prices.reshape(-1, *values.shape[1:]), np.broadcast_to(limits, len(values)).astype(np.float64)


def _array(data: Any, label: str) -> FloatArray:
    """Any array or nested list as float64; see ``solvers.selection.numbers``."""
    shape = np.shape(data) if not hasattr(data, "detach") else tuple(data.shape)
    if type(data) is np.ndarray and data.size and is_exact(data):
        return np.ascontiguousarray(data, dtype=np.float64)
    if math.prod(shape) == 0:
        return np.empty(shape)
    rows = data.reshape(1, -1) if hasattr(data, "reshape") else np.asarray(data).reshape(1, -1)
    return read_rows(rows, label)[0].reshape(shape)


def _places(costs: FloatArray, limits: FloatArray, offsets: IntArray) -> list[int | None]:
    """The places of each program's decimals."""
    if len(costs) > 1:
        return [decimal_places(row, limit, offsets) for row, limit in zip(costs, limits.tolist(), strict=True)]
    known: dict[float, int | None] = {}
    measured = decimal_places(costs[0], math.inf, offsets) is None
    for limit in set(limits.tolist()):
        known[limit] = None if measured else decimal_places(costs[0], limit, offsets)
    return [known[limit] for limit in limits.tolist()]

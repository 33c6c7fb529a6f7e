"""What a budget is worth: shadow prices, and the whole value-versus-budget frontier.

The value of the relaxation is concave in the budgets. Its one-sided slopes are the least and the greatest multiplier of the
relaxation's optimal duals ("one more millisecond buys this much score"). With one budget its graph is known whole after one pass:
the steps of all groups' upper hulls by falling slope, and every prefix of them is a selection that is optimal for the budget it
spends, among all selections, not only in the relaxation. Between those points the exact optimum lies on or under the graph;
:meth:`Frontier.exact` gives it on demand.

Reference: Sinha and Zoltners, The multiple-choice knapsack problem, 1979; Kellerer, Pferschy and Pisinger 2004, Sec. 11.2.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import FloatArray, IntArray
from solvers.backends import least_by_scipy
from solvers.budgets import BudgetedKnapsack
from solvers.kernels.hulls import add
from solvers.knapsack import Knapsack, exact_sum, increments
from solvers.results import InfeasibleError, SolverError
from solvers.selection.project import project_to_budget
from solvers.selection.selection import Selection
from solvers.tables import ScoreTable, allowed_program, read_number, read_table


@dataclass(frozen=True, slots=True)
class ShadowPrice:
    """What a unit of one budget is worth, at the margin, with the other budgets held; in score per unit of the budget.

    Attributes:
        more: what one unit more buys: the slope of the relaxation's value to the right.
        less: what one unit less costs: the slope to the left, never smaller; infinite where the budget is the least it can be.
        used: what the relaxation's answer spends; where that is less than the budget, ``more`` and ``less`` are 0.
    """

    more: float
    less: float
    used: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frontier:
    """The greatest value as a function of one budget. Build it with :func:`frontier`.

    Point k is a selection that costs ``budgets[k]`` and is worth ``values[k]``, which nothing that costs as little beats. The
    relaxation's value is the line through the points.

    Attributes:
        budgets: (points,) rising costs of the points, correctly rounded sums; the first is the least cost there is.
        values: (points,) summed scores, as the caller stated scores.
        prices: (points,) score per unit of budget from each point to the next; falling, 0.0 after the last.
    """

    budgets: FloatArray
    values: FloatArray
    prices: FloatArray
    _table: ScoreTable
    _minimize: bool
    _base: IntArray  # flat options of the first point
    _steps: IntArray  # (points - 1, 2) group and flat option of each step

    def __repr__(self) -> str:
        budgets, values = self.budgets, self.values
        ends = f"budgets {budgets[0]:.6g} to {budgets[-1]:.6g}, values {values[0]:.6g} to {values[-1]:.6g}"
        return f"Frontier: {len(budgets)} point{'s' * (len(budgets) > 1)}, {ends}"

    def value(self, budget: float) -> float:
        """The relaxation's value at ``budget``: no selection within it is better, and at the points one is as good.

        Raises:
            InfeasibleError: the budget is below the least cost.
        """
        point = self._last_point(budget)
        if point == len(self.budgets) - 1:
            return float(self.values[-1])
        sign = -1.0 if self._minimize else 1.0
        return float(self.values[point] + sign * self.prices[point] * (budget - self.budgets[point]))

    def price(self, budget: float) -> ShadowPrice:
        """What one unit more buys, and what one less costs, at ``budget``.

        Raises:
            InfeasibleError: the budget is below the least cost.
        """
        point = self._last_point(budget)
        more = float(self.prices[point])
        less = more
        if budget == self.budgets[point]:
            less = float(self.prices[point - 1]) if point else math.inf
        return ShadowPrice(more, less, min(budget, float(self.budgets[-1])))

    def choices(self, point: int) -> tuple[Any, ...]:
        """The selection of a point: option indices, or names where options were named, in the order of the groups.

        Raises:
            IndexError: there is no such point.
        """
        last = range(len(self.budgets))[point]
        flat = self._base.copy()
        for group, option in self._steps[:last].tolist():
            flat[group] = option
        if self._table.options is not None:
            return tuple(self._table.options[option] for option in flat.tolist())
        return tuple((flat - self._table.offsets[:-1]).tolist())

    def exact(self, budget: float, *, time_limit_seconds: float | None = None) -> Selection:
        """The exact optimum at ``budget``, see :func:`solvers.project_to_budget`, which also says what it raises.

        Options are named where the tables named them.
        """
        table = self._table
        if table.groups is not None and table.options is not None:
            names: list[Any] = list(table.options)
            cuts = table.offsets.tolist()
            parts = [(group, slice(a, b)) for group, a, b in zip(table.groups, cuts, cuts[1:], strict=False)]
            scores: Any = {g: dict(zip(names[part], table.scores[part].tolist(), strict=True)) for g, part in parts}
            costs: Any = {g: dict(zip(names[part], table.costs[0][part].tolist(), strict=True)) for g, part in parts}
        else:
            scores, costs = np.split(table.scores, table.offsets[1:-1]), np.split(table.costs[0], table.offsets[1:-1])
        return project_to_budget(scores, costs, budget, minimize=self._minimize, time_limit_seconds=time_limit_seconds)

    def _last_point(self, budget: float) -> int:
        budget = read_number(budget, "budget")
        if math.isnan(budget):
            raise ValueError("budget: expected a number, got NaN")
        point = bisect.bisect_right(self.budgets, budget) - 1
        if point < 0:
            asked, least = float(budget), float(self.budgets[0])
            raise InfeasibleError(f"nothing fits: the budget is {asked!r}, the least possible cost is {least!r}")
        return point


def frontier(scores: Any, costs: Any, *, minimize: bool = False) -> Frontier:
    """The whole value-versus-budget frontier of one budget, in one pass over the sorted hull steps.

    Args:
        scores, costs, minimize: as of :func:`solvers.project_to_budget`, with one table of costs.

    Raises:
        ValueError: malformed input; it names the group.
        InfeasibleError: every option of a group is forbidden.

    Complexity: O(n log n) for n options, then O(1) a point.

    Example:
        >>> curve = frontier([[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]])
        >>> curve.budgets.tolist(), curve.values.tolist(), curve.choices(1)
        ([2.0, 3.0, 6.0], [0.0, 2.0, 5.0], (0, 1))
    """
    table = read_table(scores, costs, math.inf, minimize=minimize)
    program, kept = allowed_program(table, minimize)
    knapsack = Knapsack(program.values, program.costs[0], program.offsets)
    steps = increments(knapsack)
    base = kept[steps.base]
    sources, targets = kept[steps.source], kept[steps.target]
    values = _running_sums(table.scores, base, sources, targets)
    budgets = _running_sums(program.costs[0], steps.base, steps.source, steps.target)
    budgets = np.array([table.stated(0, total) for total in budgets.tolist()])
    prices = np.append(steps.slope * table.units()[0], 0.0)
    moves = np.stack([steps.group, targets], axis=1) if len(targets) else np.zeros((0, 2), dtype=np.intp)
    return Frontier(budgets, values, prices, table, minimize, base, moves)


def shadow_prices(scores: Any, costs: Any, budget: Any, *, minimize: bool = False) -> ShadowPrice | dict[Hashable, ShadowPrice]:
    """What one unit more or less of each budget is worth at the margin.

    Args:
        scores, costs, budget, minimize: as of :func:`solvers.project_to_budget`.

    Returns:
        A :class:`ShadowPrice`, or one a budget by its name where budgets are named. They are slopes of the relaxation: exact
        selections move in jumps around it.

    Raises:
        ValueError: malformed input; it names the group.
        InfeasibleError: not even the relaxation fits.
        SolverError: a linear program fails.

    Example:
        >>> shadow_prices([[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]], 3.0)
        ShadowPrice(more=1.0, less=2.0, used=3.0)
    """
    table = read_table(scores, costs, budget, minimize=minimize)
    if table.floors is not None:
        raise ValueError("budget: bounds from below have no shadow price here; project_to_budget(...).certificate.dual prices them")
    program, _ = allowed_program(table, minimize)
    if table.budget_names is None:
        least = table.stated(0, program.least_costs()[0])
        return frontier(scores, costs, minimize=minimize).price(max(float(table.budgets[0]), least))
    relaxation = program.relax()
    x = relaxation.x
    if x is None and not relaxation.impossible:
        x = program.relax_exactly()
    if x is None:
        raise InfeasibleError("nothing fits: each budget can be met alone but not all together")
    spent = np.minimum(program.costs @ x, program.budgets)  # beyond it by rounding only
    bounds = _optimal_duals(program, x, spent)
    columns = zip(table.budget_names, bounds, spent.tolist(), table.units().tolist(), strict=True)
    return {name: ShadowPrice(more * unit, less * unit, used / unit) for name, (more, less), used, unit in columns}


def _running_sums(values: FloatArray, base: IntArray, sources: IntArray, targets: IntArray) -> FloatArray:
    """(steps + 1,) the sum of ``values[base]``, and after each exchange of a source for its target: correctly rounded each."""
    high = exact_sum(values[base])
    low = math.fsum([*values[base].tolist(), -high])
    sums = [high]
    for old, new in zip(values[sources].tolist(), values[targets].tolist(), strict=True):
        high, low = add(*add(high, low, -old), new)
        sums.append(high)
    return np.array(sums)


def _optimal_duals(program: BudgetedKnapsack, x: FloatArray, spent: FloatArray) -> list[tuple[float, float]]:
    """The least and greatest value of each multiplier over all optimal duals.

    Given one optimal primal point, the optimal duals are those that are complementary to it: 0 where a budget is not spent, and
    prices ``v - lam @ c`` that are greatest, in each group, at the options the point uses. So the objective needs no tolerance.
    """
    m = len(program.budgets)
    # A budget is spent where what is left is rounding: 1e-9 of it, as the vertex is accurate to about 1e-12.
    exhausted = [
        math.isfinite(limit) and limit - used <= 1e-9 * max(limit, used)
        for limit, used in zip(program.budgets.tolist(), spent.tolist(), strict=True)
    ]
    scale = np.where(program.costs.max(axis=1) > 0.0, program.costs.max(axis=1), 1.0)
    unit = float(np.ptp(program.values)) or 1.0
    used = np.flatnonzero(x > 1e-9)
    group = np.repeat(np.arange(len(program.sizes)), program.sizes)
    key = used[np.searchsorted(group[used], np.arange(len(program.sizes)))][group]  # an option the point uses, for every option
    rows = ((program.costs[:, key] - program.costs) / scale[:, None]).T
    right = (program.values[key] - program.values) / unit
    ties = np.zeros(len(x), dtype=bool)
    ties[used] = key[used] != used
    bounds = [(0.0, None if one else 0.0) for one in exhausted]
    ranges: list[tuple[float, float]] = []
    for row in range(m):
        if not exhausted[row]:
            ranges.append((0.0, 0.0))
            continue
        ends = []
        for direction in (1.0, -1.0):
            objective = np.zeros(m)
            objective[row] = direction
            end = least_by_scipy(objective, (rows[~ties], right[~ties]), (rows[ties], right[ties]), bounds)
            if end is None:
                raise SolverError("the range of a multiplier: no optimal dual was found")
            ends.append(abs(end) * unit / float(scale[row]))  # infinite: not a bit less would fit
        ranges.append((ends[0], ends[1]))
    return ranges

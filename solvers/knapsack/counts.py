"""The most probable integer counts within a linear budget: so many filters of each layer for each operation.

``max sum_l log(units_l! / prod_k a_lk! prod_k p_lk^a_lk)  s.t.  sum_k a_lk = units_l,  sum c_lk a_lk <= budget``. A layer's
compositions are many (47905 of 64 filters among 4 operations), but the objective is separable and concave in the counts, so:

1. Given the price of the budget, a layer's best composition takes its units one by one, each where it adds most. That evaluates
   the Lagrangian dual; its minimum is the bound of the multiple-choice knapsack over *all* compositions.
2. A composition whose loss at that price exceeds the gap between bound and incumbent is in no better selection. The others, few,
   are enumerated by a recursion that cuts branches whose loss is too great or that cheaper ones dominate, for a growing loss until
   the exact knapsack over them closes the gap: its answer is optimal over all compositions.

Reference: Zur et al. (the distribution); Fox, Discrete optimization via marginal analysis, 1966; Pisinger 1995 (core).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.arrays import FloatArray
from solvers.kernels.hulls import add
from solvers.knapsack.decimals import decimal_places, from_units, whole_units
from solvers.knapsack.exact import solve_exact
from solvers.knapsack.program import Knapsack, exact_sum
from solvers.results import Certificate, Result, Status

_FIRST_LOSS = 0.5  # nats; some ten compositions of 64 filters among four operations lie within it
_GROWTH = 2.0
_AT_ONCE = 4_000_000  # partial compositions of one layer, some 200 MB
_FEW = 500
_ROUND_OFF = 1e-12  # relative; a layer's cost is a sum of a few rounded products
_PRICES = 200  # evaluations of the dual; chords take a dozen, bisection after that halves the interval
_TOLERANCE = 1e-9  # what OPTIMAL promises, of max(1, |value|)
_WHOLE = 2.0**53  # sums of whole numbers are exact up to here
_LARGEST = 1e300  # sums stay finite below


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One layer: which operations are allowed; their log weights and costs (k,); units; ``log j!`` for j up to units.

    ``halves`` (2, k) are the leading and the other bits of the costs: a count times either is exact.
    """

    kept: NDArray[np.bool_]
    weights: FloatArray
    costs: FloatArray
    halves: FloatArray
    units: int
    factorials: FloatArray

    def best(self, price: float) -> FloatArray:
        """Counts (k,) of the greatest ``log probability - price * cost``; of equal ones those of the cheaper operations."""
        gains = (self.weights - price * self.costs)[:, None] - np.log(np.arange(1, self.units + 1))
        order = np.lexsort((np.repeat(self.costs, self.units), -gains.ravel()))[: self.units]
        return np.bincount(order // max(1, self.units), minlength=len(self.weights)).astype(np.float64)

    def value(self, counts: FloatArray) -> FloatArray:
        """Log probabilities of (..., k) counts."""
        ways = self.factorials[self.units] - self.factorials[counts.astype(np.intp)].sum(-1)
        result: FloatArray = ways + counts @ self.weights
        return result

    @property
    def cheapest(self) -> FloatArray:
        """The counts (k,) of least cost: all units to the first of the cheapest operations."""
        counts = np.zeros(len(self.costs))
        counts[int(self.costs.argmin())] = self.units
        return counts

    def exact_terms(self, counts: FloatArray) -> list[float]:
        """Floats whose unrounded sum is what counts (k,) cost."""
        terms: list[float] = (self.halves * counts).ravel().tolist()
        return terms

    def cost(self, counts: FloatArray) -> FloatArray:
        """What counts (n, k) cost, rounded once: those of equal cost cost the same, whichever operations they name."""
        high = low = np.zeros(len(counts))
        for half in self.halves:
            for term in (counts * half).T:
                high, low = add(high, low, term)
        return high

    def near(self, price: float, loss: float, limit: int) -> FloatArray | None:
        """The counts (n, k) within ``loss`` of the best at this price that no cheaper ones match; None if more than ``limit``."""
        steps = np.arange(self.units + 1)
        terms = np.outer(self.weights - price * self.costs, steps) - self.factorials  # (k, units + 1)
        rest = [np.where(steps == 0, 0.0, -np.inf)]  # the best of the operations still to come, for each number of units left
        for row in terms[::-1]:
            table = np.where(steps[:, None] >= steps, row + rest[0][np.maximum(steps[:, None] - steps, 0)], -np.inf)
            rest.insert(0, table.max(1))
        floor = rest[0][self.units] - loss
        counts, left, value = np.zeros((1, 0)), np.array([self.units]), np.zeros(1)
        for position, (row, after) in enumerate(zip(terms, rest[1:], strict=True), 1):
            bound = value[:, None] + row + np.where(steps <= left[:, None], after[np.maximum(left[:, None] - steps, 0)], -np.inf)
            parent, count = np.nonzero(bound >= floor)
            if len(parent) > _AT_ONCE:
                return None
            counts = np.concatenate([counts[parent], count[:, None]], 1)
            value, left = value[parent] + row[count], left[parent] - count
            if len(counts) > _FEW:  # fewer are not worth the sorting
                cost = counts @ self.costs[:position]
                kept = _undominated(cost, value + price * cost, left)
                counts, value, left = counts[kept], value[kept], left[kept]
        return counts if len(counts) <= limit else None


def _undominated(cost: FloatArray, value: FloatArray, left: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows that no row with as many units left equals or betters in value at a lower cost.

    The cost must be lower by more than rounding: budgets are held to the last bit.
    """
    kept = []
    for units in np.unique(left):
        rows = np.flatnonzero(left == units)
        rows = rows[np.argsort(cost[rows], kind="stable")]
        cheaper = np.searchsorted(cost[rows], cost[rows] * (1.0 - _ROUND_OFF), side="left")
        best = np.concatenate([[-np.inf], np.maximum.accumulate(value[rows])])[cheaper]
        kept.append(rows[value[rows] > best])
    return np.concatenate(kept)


def most_probable_counts(
    log_weights: Sequence[ArrayLike],
    units: Sequence[int],
    costs: Sequence[ArrayLike],
    budget: float,
    *,
    option_limit: int = 300_000,
    time_limit_seconds: float | None = None,
) -> Result:
    """The counts of greatest multinomial probability that fit.

    Args:
        log_weights: for each layer (operations,), log probabilities up to a constant a layer, which is taken off; -inf forbids.
        units: what each layer's counts sum to, at least 1.
        costs: for each layer (operations,), the cost of one unit, not negative. An offset belongs to the budget's side.
        budget: for the layers' costs together. Costs and budget that are decimals of up to 15 digits are added as these decimals
            (``solvers.knapsack.decimals``); else a layer's cost is ``counts @ costs`` rounded once, and ``math.fsum`` adds these.
            Where no such sum fits but the least cost, rounded only once, does, sums of an ulp more do too: see the violation.
        option_limit: compositions enumerated in all; beyond it the answer is the best of those, with the dual's bound.
        time_limit_seconds: of the exact search.

    Returns:
        ``x`` all counts, layer after layer; ``primal`` their log probability, ``bound`` true of the linear program in integers,
        ``dual`` the budget's price. OPTIMAL to 1e-9 max(1, abs(log probability)); FEASIBLE or TIME_LIMIT with the gap stated;
        INFEASIBLE without a point, the least cost in the message. ``iterations`` counts the compositions of the last knapsack.

    Raises:
        ValueError: malformed weights, units, costs or budget.

    Example:
        >>> most_probable_counts([np.log([0.25, 0.75])], [4], [[1.0, 5.0]], 12.0).x.tolist()  # the mode, (1, 3), costs 16
        [2.0, 2.0]
    """
    began = time.perf_counter()
    layers = _read(log_weights, units, costs, budget)
    places, layers, stated = _in_units(layers, float(budget))
    cheapest = [layer.cheapest for layer in layers]
    # Of the layers' unrounded costs: that the sum of rounded ones is an ulp more proves nothing.
    least = _unrounded_cost(layers, cheapest)
    if least > stated:
        message = f"nothing fits: the budget is {budget}, the least possible cost is {from_units(least, places)}"
        return Result(None, Status.INFEASIBLE, None, 0, time.perf_counter() - began, message)
    limit = max(stated, _total_cost(layers, cheapest))
    dual, upper, inside = _price(layers, limit)
    bound, value = upper, _total_value(layers, inside)
    status, iterations, loss = Status.FEASIBLE, 0, _FIRST_LOSS
    while bound - value > _slack(value):
        # Beyond bound - value nothing can better the incumbent; the little more is against the rounding of that difference.
        loss = min(loss, upper - value + _slack(value))
        near = _enumerate(layers, dual, loss, option_limit)
        if near is None:
            break
        knapsack = _knapsack(layers, near)
        iterations = len(knapsack.values)
        left = None if time_limit_seconds is None else max(1e-3, time_limit_seconds - (time.perf_counter() - began))
        found = solve_exact(knapsack, limit, time_limit_seconds=left)
        if found.status is not Status.INFEASIBLE:
            local = found.choices - knapsack.offsets[:-1]
            picks = [rows[choice] for rows, choice in zip(near, local.tolist(), strict=True)]
            if _total_value(layers, picks) > value:
                inside, value = picks, _total_value(layers, picks)
        # A selection with a composition that was left out loses more than `loss`.
        bound = min(bound, max(found.bound, upper - loss))
        if found.status is Status.TIME_LIMIT:
            status = Status.TIME_LIMIT
            break
        loss *= _GROWTH
    if bound - value <= _slack(value):
        status = Status.OPTIMAL
    violation = max(0.0, _unrounded_cost(layers, inside) - stated) if limit > stated else 0.0
    certificate = Certificate(value, max(bound, value), violation, np.array([dual * 10.0**places]), maximize=True)
    return Result(_flat(layers, inside), status, certificate, iterations, time.perf_counter() - began)


def _price(layers: list[_Layer], budget: float) -> tuple[float, float, list[FloatArray]]:
    """The minimum of the Lagrangian dual: the price, its bound, and the best counts that some price picked and that fit."""

    def evaluate(price: float) -> tuple[float, float, float, list[FloatArray]]:
        """Bound, value, cost and counts at a price."""
        counts = [layer.best(price) for layer in layers]
        value, cost = _total_value(layers, counts), _total_cost(layers, counts)
        # A selection fits if its cost rounds to the budget, so its exact cost may be half an ulp more.
        terms = [value, -price * cost, price * budget, price * 0.5 * math.ulp(budget)] if price else [value]
        return math.fsum(terms), value, cost, counts

    upper, high_value, high_cost, counts = evaluate(0.0)
    if high_cost <= budget:
        return 0.0, upper, counts
    ceiling = max(_ceiling(layer) for layer in layers)
    bound, low_value, low_cost, inside = evaluate(ceiling)
    if low_cost > budget:  # rounding of products; the cheapest operations alone fit, as was checked
        inside = [layer.cheapest for layer in layers]
        low_value, low_cost = _total_value(layers, inside), _total_cost(layers, inside)
    best = (0.0, upper) if upper <= bound else (ceiling, bound)
    low_price, high_price = 0.0, ceiling  # the minimum lies between
    for step in range(_PRICES):
        price = (high_value - low_value) / (high_cost - low_cost) if step < _PRICES // 2 else 0.5 * (low_price + high_price)
        if not low_price < price < high_price:
            break
        bound, value, cost, counts = evaluate(price)
        if bound < best[1]:
            best = (price, bound)
        above = math.fsum([value, -price * cost, -low_value, price * low_cost])  # of the chord; 0: this is the minimum
        if cost <= budget:
            if value > _total_value(layers, inside) or _total_cost(layers, inside) > budget:
                inside = counts
            low_value, low_cost, high_price = value, cost, price
        else:
            high_value, high_cost, low_price = value, cost, price
        if above <= 1e-13 * max(1.0, abs(value)) or high_cost <= low_cost:
            break
    return *best, inside


def _ceiling(layer: _Layer) -> float:
    """A price at which all units go to the cheapest operation."""
    cheap = float(layer.costs.min())
    costlier = layer.costs > cheap
    if not costlier.any():
        return 0.0
    worst = float(layer.weights[~costlier].max()) - math.log(layer.units)
    return 2.0 * max(0.0, float(((layer.weights[costlier] - worst) / (layer.costs[costlier] - cheap)).max())) + 1e-300


def _enumerate(layers: list[_Layer], price: float, loss: float, limit: int) -> list[FloatArray] | None:
    near, total = [], 0
    for layer in layers:
        rows = layer.near(price, loss, limit - total)
        if rows is None:
            return None
        near.append(rows)
        total += len(rows)
    return near if total <= limit else None


def _knapsack(layers: list[_Layer], near: list[FloatArray]) -> Knapsack:
    values = np.concatenate([layer.value(rows) for layer, rows in zip(layers, near, strict=True)])
    costs = np.concatenate([layer.cost(rows) for layer, rows in zip(layers, near, strict=True)])
    return Knapsack.of(values, costs, np.concatenate([[0], np.cumsum([len(rows) for rows in near])]))


def _total_value(layers: list[_Layer], counts: list[FloatArray]) -> float:
    return exact_sum(np.array([float(layer.value(row)) for layer, row in zip(layers, counts, strict=True)]))


def _total_cost(layers: list[_Layer], counts: list[FloatArray]) -> float:
    return exact_sum(np.array([math.fsum(layer.exact_terms(row)) for layer, row in zip(layers, counts, strict=True)]))


def _unrounded_cost(layers: list[_Layer], counts: list[FloatArray]) -> float:
    """The cost of all layers together, rounded once."""
    return math.fsum(term for layer, row in zip(layers, counts, strict=True) for term in layer.exact_terms(row))


def _slack(value: float) -> float:
    return _TOLERANCE * max(1.0, abs(value))


def _flat(layers: list[_Layer], counts: list[FloatArray]) -> FloatArray:
    parts = []
    for layer, row in zip(layers, counts, strict=True):
        part = np.zeros(len(layer.kept))
        part[layer.kept] = row
        parts.append(part)
    return np.concatenate(parts)


def _halves(costs: FloatArray) -> FloatArray:
    """(2, k) the leading 27 bits of each cost, and the rest."""
    mantissa, exponent = np.frexp(costs)
    leading = np.ldexp(np.rint(np.ldexp(mantissa, 26)), exponent - 26)
    return np.stack([leading, costs - leading])


def _in_units(layers: list[_Layer], budget: float) -> tuple[int, list[_Layer], float]:
    """Layers and budget in whole units of their decimals' last place, and how many places; as they are where these do not hold."""
    costs = np.concatenate([layer.costs for layer in layers])
    offsets = np.concatenate([[0], np.cumsum([len(layer.costs) for layer in layers])])
    places = decimal_places(costs, budget, offsets)
    if places:
        rows = [whole_units(layer.costs, places) for layer in layers]
        counted = [replace(layer, costs=row, halves=_halves(row)) for layer, row in zip(layers, rows, strict=True)]
        if sum(float(layer.units * layer.costs.max()) for layer in counted) <= _WHOLE:
            return places, counted, float(whole_units(np.array(budget), places))
    return 0, layers, budget


def _read(log_weights: Sequence[ArrayLike], units: Sequence[int], costs: Sequence[ArrayLike], budget: float) -> list[_Layer]:
    if not len(log_weights) == len(units) == len(costs) or not len(units):
        raise ValueError(f"expected as many weights, units and costs, got {len(log_weights)}, {len(units)} and {len(costs)}")
    if not hasattr(budget, "__float__"):  # text has none
        raise ValueError(f"budget: expected a number, got {type(budget).__name__}")
    if math.isnan(budget):
        raise ValueError("budget: expected a number, got NaN")
    layers = []
    for index, (row, total, prices) in enumerate(zip(log_weights, units, costs, strict=True)):
        weights, cost = np.asarray(row, dtype=np.float64), np.asarray(prices, dtype=np.float64)
        if weights.ndim != 1 or weights.shape != cost.shape:
            raise ValueError(f"layer {index}: expected log weights and costs of one shape, got {weights.shape} and {cost.shape}")
        kept = weights > -np.inf
        if not kept.any() or not (weights < np.inf).all():
            raise ValueError(f"layer {index}: log weights must be numbers or -inf, at least one above it, got {weights.tolist()}")
        if total != int(total) or total < 1:
            raise ValueError(f"layer {index}: expected a whole number of units, at least 1, got {total}")
        if not (np.isfinite(cost[kept]).all() and (cost[kept] >= 0).all()):
            raise ValueError(f"layer {index}: costs must be finite and not negative, got {cost.tolist()}")
        if float(cost[kept].max()) * int(total) * len(units) > _LARGEST:
            raise ValueError(f"layer {index}: sums of costs overflow a float, scale them down; got {cost.tolist()}")
        largest = weights[kept].max()
        normalized = weights[kept] - (largest + math.log(math.fsum(np.exp(weights[kept] - largest).tolist())))
        factorials = np.array([math.lgamma(count + 1.0) for count in range(int(total) + 1)])
        layers.append(_Layer(kept, normalized, cost[kept], _halves(cost[kept]), int(total), factorials))
    return layers

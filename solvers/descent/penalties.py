"""Soft constraints: what searches do without a hard budget. The baselines.

A penalty trades the loss against the excess over a budget; its coefficient decides where the search ends, and no finite one makes
the budget hold. :func:`gradient_descent` minimizes ``f(x) + coefficient * penalty(residual(x))``, :func:`augmented_lagrangian`
corrects it with a multiplier. :func:`log_power` and :func:`target_ratio` are the penalties of published searches, as values with
derivatives.

Reference: Nayman et al., HardCoRe-NAS, Eq. 15-17 and Fig. 5; PruNet (log power of the latency, after FBNet: Wu et al., 2019); Tan
et al., MnasNet, 2019, Eq. 2; Hestenes, Multiplier and gradient methods, 1969; Nocedal and Wright, Numerical Optimization, Alg.
17.4.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray
from solvers.results import Certificate, Result, Status

Penalty = Callable[[float], tuple[float, float]]

# Above this an iterate is called diverged: squares of it still fit a double, so the last point can be reported.
_DIVERGED = 1e100


@dataclass(frozen=True, slots=True)
class Residual:
    """A constraint as a function: ``value(x) = 0`` if ``equality``, else ``value(x) <= 0``; ``gradient`` is (n,) -> (n,)."""

    value: Callable[[FloatArray], float]
    gradient: Callable[[FloatArray], FloatArray]
    equality: bool = False

    def violation(self, x: FloatArray) -> float:
        """How far ``x`` is from meeting it, in the residual's unit."""
        value = self.value(x)
        return abs(value) if self.equality else max(0.0, value)


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """A result and its history, one entry a point, the start first: objective without penalty, and violation."""

    result: Result
    objectives: FloatArray
    violations: FloatArray


def squared(residual: float) -> tuple[float, float]:
    """``r^2`` and its derivative: the penalty of an equality (HardCoRe-NAS, Eq. 16)."""
    return residual * residual, 2.0 * residual


def hinge(excess: float) -> tuple[float, float]:
    """``max(0, r)`` and a derivative (0 at the kink): BSN's penalty of a budget."""
    return (excess, 1.0) if excess > 0.0 else (0.0, 0.0)


def log_power(cost: float, coefficient: float, exponent: float = 0.6) -> tuple[float, float]:
    """``coefficient * ln(cost)^exponent``, added to the loss, and its derivative by the cost (PruNet; exponent 0.6).

    Raises:
        ValueError: a cost <= 1: its logarithm is not positive. State the cost in a smaller unit (microseconds).

    Example:
        >>> log_power(math.e, 0.5)[0]
        0.5
    """
    if not cost > 1.0:
        raise ValueError(f"log_power: expected a cost above 1, got {cost}: state it in a smaller unit (microseconds)")
    logarithm = math.log(cost)
    return coefficient * logarithm**exponent, coefficient * exponent * logarithm ** (exponent - 1.0) / cost


def target_ratio(cost: float, target: float, below: float = -0.07, above: float = -0.07) -> tuple[float, float]:
    """``(cost / target)^w``, which multiplies a reward, and its derivative by the cost (MnasNet).

    w is ``below`` up to the target and ``above`` beyond it: (-.07, -.07) is the paper's soft version, (0, -1) its hard one.

    Raises:
        ValueError: a cost or a target that is not positive.

    Example:
        >>> target_ratio(160.0, 80.0, below=0.0, above=-1.0)
        (0.5, -0.003125)
    """
    if not (cost > 0.0 and target > 0.0):
        raise ValueError(f"target_ratio: expected a positive cost and target, got {cost} and {target}")
    power = below if cost <= target else above
    factor = (cost / target) ** power
    return factor, power * factor / cost


def gradient_descent(
    objective: Callable[[FloatArray], float],
    gradient: Callable[[FloatArray], FloatArray],
    residual: Residual,
    start: FloatArray,
    *,
    coefficient: float,
    learning_rate: float,
    iterations: int,
    penalty: Penalty | None = None,
    callback: Callable[[int, FloatArray], bool | None] | None = None,
) -> Descent:
    """Gradient descent on ``objective + coefficient * penalty(residual)``.

    Args:
        objective, gradient: (n,) -> number, and (n,) -> (n,).
        residual: the constraint that is made soft.
        start: (n,).
        coefficient: of the penalty, >= 0.
        learning_rate: of the descent, > 0.
        iterations: number of steps.
        penalty: residual -> (value, derivative); None means :func:`squared` for an equality and :func:`hinge` for a budget.
        callback: called with (iteration, point) before each step; True stops.

    Returns:
        The descent. Status is FEASIBLE where the last point meets the constraint exactly, else VIOLATED; a descent that diverges
        ends there with the last point and says so in the message. No bound.

    Raises:
        ValueError: a coefficient, a learning rate or a number of steps out of range.

    Example:
        >>> budget = Residual(lambda x: float(x.sum()) - 1.0, lambda x: np.ones_like(x))
        >>> settings = {"coefficient": 0.5, "learning_rate": 0.1, "iterations": 200}
        >>> soft = gradient_descent(lambda x: float((x - 1) @ (x - 1)), lambda x: 2 * (x - 1), budget, np.zeros(2), **settings)
        >>> round(float(soft.result.x.sum()), 6), soft.result.status  # the budget is 1
        (1.5, <Status.VIOLATED: 'violated'>)
    """
    if not (coefficient >= 0.0 and learning_rate > 0.0 and iterations >= 0):
        raise ValueError(
            "gradient_descent: expected coefficient >= 0, learning_rate > 0 and iterations >= 0, "
            f"got {coefficient}, {learning_rate} and {iterations}"
        )
    began = time.perf_counter()
    chosen = penalty or (squared if residual.equality else hinge)

    def slope(x: FloatArray) -> FloatArray:
        return gradient(x) + coefficient * chosen(residual.value(x))[1] * residual.gradient(x)

    history = _History(objective, residual)
    x, steps, message = _descend(slope, np.array(start, dtype=np.float64), learning_rate, iterations, history, callback)
    return history.descent(x, steps, message, None, began)


def augmented_lagrangian(
    objective: Callable[[FloatArray], float],
    gradient: Callable[[FloatArray], FloatArray],
    residual: Residual,
    start: FloatArray,
    *,
    coefficient: float,
    learning_rate: float,
    rounds: int,
    iterations: int,
    growth: float = 1.0,
) -> Descent:
    """Gradient descent on ``objective + multiplier * r + coefficient / 2 * r^2``, the multiplier moved after every round.

    After each round ``multiplier += coefficient * r`` (for a budget kept at 0 or more, and r replaced by ``max(r, -multiplier /
    coefficient)``). Unlike a fixed penalty it tends to the constrained optimum at a finite coefficient.

    Args:
        objective, gradient, residual, start, learning_rate: as of :func:`gradient_descent`.
        coefficient: of the quadratic term, > 0.
        rounds: number of multipliers tried.
        iterations: descent steps a round.
        growth: factor on the coefficient after every round, >= 1; keep ``learning_rate`` small enough for the last.

    Returns:
        As :func:`gradient_descent`, its dual the last multiplier.

    Raises:
        ValueError: a parameter out of range.

    Example:
        >>> budget = Residual(lambda x: float(x.sum()) - 1.0, lambda x: np.ones_like(x))
        >>> settings = {"coefficient": 2.0, "learning_rate": 0.1, "rounds": 30, "iterations": 100}
        >>> near = augmented_lagrangian(lambda x: float((x - 1) @ (x - 1)), lambda x: 2 * (x - 1), budget, np.zeros(2), **settings)
        >>> round(float(near.result.x.sum()), 6)
        1.0
    """
    if not (coefficient > 0.0 and learning_rate > 0.0 and growth >= 1.0 and rounds >= 1 and iterations >= 1):
        raise ValueError(
            "augmented_lagrangian: expected coefficient > 0, learning_rate > 0, growth >= 1, rounds >= 1 and iterations >= 1, "
            f"got {coefficient}, {learning_rate}, {growth}, {rounds} and {iterations}"
        )
    began = time.perf_counter()
    x, multiplier, weight, steps, message = np.array(start, dtype=np.float64), 0.0, coefficient, 0, ""
    history = _History(objective, residual)
    for _ in range(rounds):
        x, done, message = _descend(_augmented(gradient, residual, multiplier, weight), x, learning_rate, iterations, history, None)
        steps += done
        if message:
            break
        multiplier = _pressed(residual, x, multiplier, weight)
        weight *= growth
    return history.descent(x, steps, message, np.array([multiplier]), began)


def _augmented(
    gradient: Callable[[FloatArray], FloatArray], residual: Residual, multiplier: float, weight: float
) -> Callable[[FloatArray], FloatArray]:
    return lambda x: gradient(x) + _pressed(residual, x, multiplier, weight) * residual.gradient(x)


def _pressed(residual: Residual, x: FloatArray, multiplier: float, weight: float) -> float:
    """The multiplier that the augmented Lagrangian applies at ``x``."""
    moved = multiplier + weight * residual.value(x)
    return moved if residual.equality else max(0.0, moved)


class _History:
    """Objective and violation of every point seen."""

    __slots__ = ("objective", "objectives", "residual", "violations")

    def __init__(self, objective: Callable[[FloatArray], float], residual: Residual) -> None:
        self.objective, self.residual = objective, residual
        self.objectives: list[float] = []
        self.violations: list[float] = []

    def add(self, x: FloatArray) -> None:
        self.objectives.append(float(self.objective(x)))
        self.violations.append(float(self.residual.violation(x)))

    def descent(self, x: FloatArray, steps: int, message: str, dual: FloatArray | None, began: float) -> Descent:
        primal, violation = float(self.objective(x)), float(self.residual.violation(x))
        status = Status.FEASIBLE if violation == 0.0 and not message else Status.VIOLATED
        certificate = Certificate(primal, None, violation, dual, maximize=False)
        result = Result(x, status, certificate, steps, time.perf_counter() - began, message)
        return Descent(result, np.array(self.objectives), np.array(self.violations))


def _descend(
    slope: Callable[[FloatArray], FloatArray],
    x: FloatArray,
    learning_rate: float,
    iterations: int,
    history: _History,
    callback: Callable[[int, FloatArray], bool | None] | None,
) -> tuple[FloatArray, int, str]:
    """The last point, the steps taken, and a message if it diverged."""
    history.add(x)
    for iteration in range(iterations):
        if callback is not None and callback(iteration, x) is True:
            return x, iteration, ""
        moved = x - learning_rate * slope(x)
        if not np.abs(moved).max() < _DIVERGED:  # NaN counts as well
            return x, iteration, f"diverged at iteration {iteration}: a smaller learning rate or coefficient is needed"
        x = moved
        history.add(x)
    return x, iterations, ""

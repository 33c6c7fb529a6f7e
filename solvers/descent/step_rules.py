"""Step sizes for Frank-Wolfe methods: open loop, constant, short step, line searches.

A rule is a function of a :class:`Step`: what is known before the step is taken. All rules answer within ``[0, step.largest]``.

Reference: Jaggi, Revisiting Frank-Wolfe, 2013 (2 / (t + 2)); Nayman et al., HardCoRe-NAS, Algorithm 1 (4 / (t + 4)); Pedregosa et
al., Linearly convergent Frank-Wolfe with backtracking line-search, 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Before step ``iteration`` (from 0): go from ``x`` (n,) along ``direction`` (n,) by at most ``largest``.

    ``slope`` is the fall of the linear model along the whole direction, ``-gradient @ direction`` >= 0. ``gradient`` and
    ``objective`` are the caller's functions; objective is None where none was given.

    Example:
        >>> step = Step(4, np.array([1.0, 0.0]), np.array([-1.0, 1.0]), 2.0, 1.0, lambda x: 2 * x, lambda x: float(x @ x))
        >>> [rule(step) for rule in (open_loop(4), short_step(2.0), exact_line_search(), backtracking())]
        [0.5, 0.5, 0.5, 0.5]
    """

    iteration: int
    x: FloatArray
    direction: FloatArray
    slope: float
    largest: float
    gradient: Callable[[FloatArray], FloatArray]
    objective: Callable[[FloatArray], float] | None


StepRule = Callable[[Step], float]


def open_loop(numerator: float, shift: float | None = None) -> StepRule:
    """``numerator / (t + shift)``; shift None means the numerator, so that the first step is 1 and forgets the start.

    ``open_loop(2)`` is Jaggi's rule, ``open_loop(4)`` HardCoRe-NAS's, ``open_loop(4, 8)`` keeps half of the start.

    Raises:
        ValueError: a numerator that is not positive, or one above the shift.
    """
    offset = numerator if shift is None else shift
    if not 0 < numerator <= offset:
        raise ValueError(f"open_loop: expected 0 < numerator <= shift, got {numerator} and {offset}")
    return lambda step: min(step.largest, numerator / (step.iteration + offset))


def constant(size: float) -> StepRule:
    """The same step each time (HardCoRe-NAS's release: .002).

    Raises:
        ValueError: a size outside (0, 1].
    """
    if not 0 < size <= 1:
        raise ValueError(f"constant: expected a step in (0, 1], got {size}")
    return lambda step: min(step.largest, size)


def short_step(lipschitz: float) -> StepRule:
    """The minimizer of the quadratic upper bound ``-size * slope + size^2 * lipschitz * |direction|^2 / 2``.

    Raises:
        ValueError: a Lipschitz constant of the gradient that is not positive.
    """
    if not lipschitz > 0:
        raise ValueError(f"short_step: expected a positive Lipschitz constant of the gradient, got {lipschitz}")

    def rule(step: Step) -> float:
        length = float(step.direction @ step.direction)
        return min(step.largest, step.slope / (lipschitz * length)) if length > 0 else 0.0

    return rule


def exact_line_search(accuracy: float = 1e-12) -> StepRule:
    """The least value along the segment of a convex objective, by the root of its slope.

    A quadratic objective needs one evaluation of the gradient beyond the end point's. ``accuracy`` is relative to the largest step;
    1e-12 leaves a slope of rounding size.
    """

    def rule(step: Step) -> float:
        def slope_at(size: float) -> float:
            return float(step.gradient(step.x + size * step.direction) @ step.direction)

        low, high = 0.0, step.largest
        at_low, at_high = -step.slope, slope_at(high)
        if at_high <= 0.0 or at_low >= 0.0:
            return high if at_high <= 0.0 else 0.0
        middle = high
        for _ in range(100):  # Illinois's rule at least halves the bracket every other step: 100 suffice for doubles
            middle = low - at_low * (high - low) / (at_high - at_low)
            here = slope_at(middle)
            if abs(here) <= accuracy * step.slope or high - low <= accuracy * step.largest:
                break
            if here < 0.0:
                low, at_low, at_high = middle, here, at_high / 2
            else:
                high, at_high, at_low = middle, here, at_low / 2
        return min(max(middle, 0.0), step.largest)

    return rule


def backtracking(shrink: float = 0.5) -> StepRule:
    """From the largest step down by ``shrink`` until the objective falls by half of what the linear model promises.

    That test is the quadratic upper bound of Pedregosa et al. at the minimizer of its own model. Needs ``objective``.

    Raises:
        ValueError: ``shrink`` outside (0, 1); when used without an objective.
    """
    if not 0 < shrink < 1:
        raise ValueError(f"backtracking: expected a factor in (0, 1), got {shrink}")

    def rule(step: Step) -> float:
        if step.objective is None:
            raise ValueError("backtracking needs the objective: pass objective= beside the gradient")
        here, size = step.objective(step.x), step.largest
        # Below the resolution of the objective a fall cannot be seen: accept, the step is then a rounding error.
        while step.objective(step.x + size * step.direction) > here - 0.5 * size * step.slope:
            size *= shrink
            if size * step.slope <= np.finfo(np.float64).eps * abs(here):
                break
        return size

    return rule

"""What the library asks of a cost.

Any cost prices an architecture; a *relaxed* cost is also a ``solvers.Quadratic`` on the points of the space, so that budgets on it
can be optimized over, projected onto and certified. Methods that only sample accept any cost; the others say so when they start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from graphs.space import Architecture, SearchSpace
from solvers import Quadratic
from solvers.arrays import FloatArray

_FORBIDDEN = 64.0  # limits that a forbidden option counts as: relaxed points take at most a 64th of one


@runtime_checkable
class CostModel(Protocol):
    """A named cost with a unit."""

    @property
    def name(self) -> str:
        """What is counted, e.g. ``latency``."""

    @property
    def unit(self) -> str:
        """In what, e.g. ``ms``."""

    def cost(self, architecture: Architecture) -> float:
        """The cost of an architecture, in ``unit``."""


@runtime_checkable
class RelaxedCost(CostModel, Protocol):
    """A cost that extends to relaxed architectures."""

    @property
    def quadratic(self) -> Quadratic:
        """The cost as a function of a point of the space."""


@dataclass(frozen=True, slots=True)
class QuadraticCost:
    """A relaxed cost given by its quadratic form, such as one that adds up over the blocks that run (HardCoRe-NAS, Eq. 3).

    Example:
        >>> from graphs import Decision
        >>> space = SearchSpace("toy", (Decision("kernel", ("3", "5")),))
        >>> QuadraticCost("latency", "ms", space, Quadratic.of(1.5, np.array([1.0, 2.0]))).cost(space.choose({"kernel": "5"}))
        3.5
    """

    name: str
    unit: str
    space: SearchSpace
    quadratic: Quadratic

    def cost(self, architecture: Architecture) -> float:
        """The cost of an architecture of one-unit decisions, in ``unit``: the correctly rounded sum, as budgets are checked."""
        chosen = np.flatnonzero(self.space.point(architecture) == 1)
        couplings = self.quadratic.theta[np.ix_(chosen, chosen)]
        return math.fsum([self.quadratic.offset, *self.quadratic.linear[chosen].tolist(), *couplings.ravel().tolist()])


@dataclass(frozen=True, slots=True, eq=False)
class PeakCost:
    """A cost that is the greatest of what is ``fixed`` and a number for every option that runs, such as peak memory.

    It has no relaxed form by itself. Under a limit it has: a sum in which the options above the limit count as more than it, so
    that exactly the networks without them fit (:meth:`within`).

    Attributes:
        peaks: (dimension,) of every option of one-unit decisions; 0 for those that run nothing.
        summed: the sum of such numbers over what runs.

    Example:
        >>> from graphs import Decision
        >>> space = SearchSpace("toy", (Decision("kernel", ("3", "5")), Decision("width", ("8", "16"))))
        >>> peaks = np.array([20.0, 30.0, 10.0, 40.0])
        >>> memory = PeakCost("memory", "bytes", space, 15.0, peaks, lambda values: Quadratic.of(0.0, values))
        >>> memory.cost(space.choose({"kernel": "5", "width": "8"})), memory.within(30.0).linear.tolist()
        (30.0, [0.0, 0.0, 0.0, 1920.0])
    """

    name: str
    unit: str
    space: SearchSpace
    fixed: float
    peaks: FloatArray
    summed: Callable[[FloatArray], Quadratic]

    def cost(self, architecture: Architecture) -> float:
        """The greatest number of what runs."""
        point = np.asarray(self.space.point(architecture), dtype=np.float64)
        steps = np.unique(np.append(self.peaks, self.fixed))
        low, high = 0, len(steps) - 1
        while low < high:  # the least step that nothing running exceeds
            middle = (low + high) // 2
            above = self.summed((self.peaks > steps[middle]).astype(np.float64)).value(point) > 0.5
            low, high = (middle + 1, high) if above else (low, middle)
        return float(max(self.fixed, steps[low]))

    def within(self, limit: float) -> Quadratic:
        """A cost that is at most ``limit`` for the networks that keep it, and for no others."""
        row = self.summed(np.where(self.peaks > limit, _FORBIDDEN * limit, 0.0))
        return Quadratic.of(row.offset + (2.0 * limit if self.fixed > limit else 0.0), row.linear, row.theta)

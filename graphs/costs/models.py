"""What the library asks of a cost.

Any cost prices an architecture; a *relaxed* cost is also a ``solvers.Quadratic`` on the points of the space, so that budgets on it
can be optimized over, projected onto and certified. Methods that only sample accept any cost; the others say so when they start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from graphs.space import Architecture, SearchSpace
from solvers import Quadratic


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

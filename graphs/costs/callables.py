"""A cost that is any Python function of an architecture, a random one included.

Methods that sample ask for nothing else than a number for every sub-graph they try. So a measurement, a simulator or another
library's estimate is a cost as it stands; what it returns is checked, because one NaN would silently end a search.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 (the estimator needs observed costs only).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphs.costs.connected import running_modules
from graphs.space import Architecture
from graphs.spaces import DagSpace
from solvers.arrays import BoolArray


@dataclass(frozen=True, slots=True)
class CallableCost:
    """``function(architecture)``, in ``unit``.

    The function gets architectures in which only modules that run are on (:func:`connected_architecture`). It may be random, with a
    generator of its own; then every call is another observation.

    Example:
        >>> from graphs import resnet
        >>> space = resnet(1)
        >>> modules = CallableCost("modules", "modules", space, lambda network: sum(on for _, on in network.counts.values()))
        >>> modules.cost(space.whole)
        6.0
    """

    name: str
    unit: str
    dag_space: DagSpace
    function: Callable[[Architecture], float]

    def cost(self, architecture: Architecture) -> float:
        """What the function says of the connected part of an architecture.

        Raises:
            ValueError: the architecture is of another space or joins nothing to the output, or the function raises or does not
                return a finite number; names the cost and how many modules run.
        """
        return self._observe(running_modules(self.dag_space, architecture, self.name))

    def cost_of_running(self, running: BoolArray) -> NDArray[np.float64]:
        """What the function says (rows,) of sub-graphs whose modules (rows, E) run; 0 where none does.

        Raises:
            ValueError: as :meth:`cost`.
        """
        return np.array([self._observe(row) if row.any() else 0.0 for row in np.asarray(running)], dtype=np.float64)

    def _observe(self, running: BoolArray) -> float:
        size = f"an architecture of {np.count_nonzero(running)} running modules (of {len(running)})"
        try:
            observed = float(self.function(connected_architecture(self.dag_space, running)))
        except Exception as error:  # any function may be given: whatever it raises, say of which cost and network
            raise ValueError(f"cost {self.name!r} failed on {size}: {type(error).__name__}: {error}") from error
        if not math.isfinite(observed):
            raise ValueError(f"cost {self.name!r} returned {observed} for {size}; expected a finite number of {self.unit}")
        return observed


def connected_architecture(space: DagSpace, running: BoolArray) -> Architecture:
    """The architecture that switches on just the modules (E,) that run: dead ones are off."""
    return space.switched(switches_of(space, running))


def switches_of(space: DagSpace, running: BoolArray) -> BoolArray:
    """The decisions (D,) of the modules (E,) that run."""
    columns = space.connectivity.columns[np.asarray(running)]
    on = np.zeros(len(space.space.decisions), dtype=np.bool_)
    on[columns[columns >= 0] // 2] = True  # two options a decision: off and on
    return on

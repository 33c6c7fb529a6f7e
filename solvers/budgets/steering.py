"""How a search may be steered from outside: what it starts from, when it ends early, who is told of better selections."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from solvers.arrays import IntArray

TIME_LIMIT, NODE_LIMIT, GAP, CALLBACK = "time limit", "node limit", "gap", "callback"  # why a search stopped before its proof

Watch = Callable[[IntArray, float], bool]  # the options of a better selection, and an upper bound: True ends the search


@dataclass(frozen=True, slots=True, eq=False)
class Steering:
    """All of it is optional.

    Attributes:
        start: (groups,) flat options of a selection that fits.
        gap, share: stop as soon as the bound is within ``gap``, or within this share of abs(value), of what was found.
        node_limit: of the branch and bound.
        watch: told of every better selection.
    """

    start: IntArray | None = None
    gap: float = 0.0
    share: float = 0.0
    node_limit: float = math.inf
    watch: Watch | None = None

    def enough(self, value: float, bound: float) -> bool:
        """Whether the gap is no more than was asked."""
        asked = max(self.gap, self.share * abs(value))
        return asked > 0.0 and bound - value <= asked


UNSTEERED = Steering()

"""Costs of staged spaces in flat arrays: a fixed part and what each configuration costs where its block runs.

This is the content of ``StagedBlocks.cost`` (HardCoRe-NAS Eq. 3) without its dense matrix, and read back from it: what exact
projection needs, and all there is room for when a space has thousands of blocks. The sums over the first blocks of each stage that
every depth option asks for are taken here, once.

Reference: Nayman et al., HardCoRe-NAS, Eq. 3 and 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.mckp import IntArray
from solvers.quadratic import Quadratic
from solvers.sets import FloatArray, read_only
from solvers.staged import StagedBlocks, StagedLayout

__all__ = ["StagedCost"]


@dataclass(frozen=True, slots=True, eq=False)
class StagedCost:
    """``fixed`` plus ``per_configuration`` (alpha dimension,) of the blocks that run. Build it with :meth:`of` or :meth:`read`."""

    fixed: float
    per_configuration: FloatArray

    @classmethod
    def of(cls, staged: StagedBlocks, fixed: float, per_configuration: ArrayLike) -> StagedCost:
        """Check and freeze.

        Raises:
            ValueError: a wrong shape, NaN, infinite or negative costs.
        """
        times = read_only(per_configuration, "cost per configuration", (staged.alpha.stop,))
        if not (math.isfinite(fixed) and fixed >= 0):
            raise ValueError(f"StagedCost: the fixed cost must be finite and not negative, got {fixed}")
        bad = np.flatnonzero(~(np.isfinite(times) & (times >= 0)))
        if len(bad):
            raise ValueError(f"StagedCost: configuration {bad[0]} costs {times[bad[0]]}, expected finite and not negative")
        return cls(float(fixed), times)

    @classmethod
    def read(cls, staged: StagedBlocks, cost: Quadratic | StagedCost) -> StagedCost:
        """The flat form of a cost built by ``staged.cost``.

        Raises:
            ValueError: the cost has another shape or structure: it is then not a sum over blocks that run.
        """
        if isinstance(cost, StagedCost):
            if cost.per_configuration.shape == (staged.alpha.stop,):
                return cost  # frozen and checked when it was made
            return cls.of(staged, cost.fixed, cost.per_configuration)
        return cls.of(staged, cost.offset, staged.per_configuration(cost))

    def total(self, layout: StagedLayout, configurations: IntArray, options: IntArray) -> float:
        """Correctly rounded cost of one configuration a block and one depth option a stage (all flat)."""
        running = configurations[layout.runs(options)]
        return math.fsum([self.fixed, *self.per_configuration[running].tolist()])

    def least(self, layout: StagedLayout) -> float:
        """The least total there is: the shallowest depths, as costs are not negative, and the cheapest configurations."""
        cheapest = np.minimum.reduceat(self.per_configuration, layout.configurations[:-1])
        return math.fsum([self.fixed, *cheapest[layout.runs(layout.depths[:-1])].tolist()])

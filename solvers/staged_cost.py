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
from solvers.staged import StagedBlocks

__all__ = ["StagedCost", "StagedLayout"]


@dataclass(frozen=True, slots=True, eq=False)
class StagedLayout:
    """Where things lie in a staged point, as flat arrays over configurations, blocks, depth options and stages.

    Attributes:
        configurations: (blocks + 1,) block b holds alpha entries ``configurations[b]:configurations[b + 1]``.
        depths: (stages + 1,) stage s holds depth options ``depths[s]:depths[s + 1]``.
        first, end: (depth options,) the option runs blocks ``first:end``.
        last: (depth options,) end of the blocks of the option's stage.
    """

    configurations: IntArray
    depths: IntArray
    first: IntArray
    end: IntArray
    last: IntArray

    @classmethod
    def of(cls, staged: StagedBlocks) -> StagedLayout:
        """Read the layout of ``staged``."""
        block_counts = np.array([len(stage.configurations) for stage in staged.stages])
        option_counts = np.array([len(stage.depths) for stage in staged.stages])
        sizes = [size for stage in staged.stages for size in stage.configurations]
        starts = np.concatenate([[0], np.cumsum(block_counts)])
        first = np.repeat(starts[:-1], option_counts)
        end = first + np.array([depth for stage in staged.stages for depth in stage.depths])
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate([[0], np.cumsum(option_counts)]),
            first,
            end,
            np.repeat(starts[1:], option_counts),
        )

    def running_sums(self, per_block: FloatArray) -> FloatArray:
        """(depth options,) the sum of ``per_block`` (blocks,) over the blocks each option runs."""
        total = np.concatenate([[0.0], np.cumsum(per_block)])
        return total[self.end] - total[self.first]

    def idle_sums(self, per_block: FloatArray) -> FloatArray:
        """(depth options,) the sum over the blocks of its stage that an option leaves out."""
        total = np.concatenate([[0.0], np.cumsum(per_block)])
        return total[self.last] - total[self.end]

    def runs(self, options: IntArray) -> IntArray:
        """The blocks that run under one depth option a stage (``options`` index all depth options), in order."""
        lengths = self.end[options] - self.first[options]
        skipped = np.concatenate([[0], np.cumsum(lengths)])
        return np.arange(skipped[-1]) + np.repeat(self.first[options] - skipped[:-1], lengths)


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
            return cls.of(staged, cost.fixed, cost.per_configuration)
        if cost.dimension != staged.blocks.dimension:
            raise ValueError(f"cost: expected dimension {staged.blocks.dimension} of the staged space, got {cost.dimension}")
        layout = StagedLayout.of(staged)
        coupling = cost.theta[staged.alpha, staged.beta]
        # A stage's last option is its deepest: it runs every block that any option runs.
        deepest = layout.depths[1:] - 1
        block_stage = np.repeat(np.arange(len(deepest)), [len(stage.configurations) for stage in staged.stages])
        rows = np.arange(staged.alpha.stop)
        column = np.repeat(deepest[block_stage], np.diff(layout.configurations))
        flat = cls.of(staged, cost.offset, coupling[rows, column])
        if cost.linear.any() or not np.array_equal(staged.cost(flat.fixed, flat.per_configuration).theta, cost.theta):
            raise ValueError("cost: expected one built by StagedBlocks.cost (fixed part and costs of the blocks that run)")
        return flat

    def total(self, layout: StagedLayout, configurations: IntArray, options: IntArray) -> float:
        """Correctly rounded cost of one configuration a block and one depth option a stage (all flat)."""
        running = configurations[layout.runs(options)]
        return math.fsum([self.fixed, *self.per_configuration[running].tolist()])

    def least(self, layout: StagedLayout) -> float:
        """The least total there is: the shallowest depths, as costs are not negative, and the cheapest configurations."""
        cheapest = np.minimum.reduceat(self.per_configuration, layout.configurations[:-1])
        return math.fsum([self.fixed, *cheapest[layout.runs(layout.depths[:-1])].tolist()])

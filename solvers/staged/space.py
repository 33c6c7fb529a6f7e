"""Stages of blocks with a choice of depth: the layout of HardCoRe-NAS's bilinear program, and its costs.

A stage holds blocks in a chain; each block picks a configuration (alpha) and the stage picks how many of its blocks run (beta). A
point is ``x = (alpha, beta)``: first every block's simplex, stage after stage, then one simplex of depths a stage. A cost that a
block incurs only when it runs is bilinear in (alpha, beta); :meth:`StagedBlocks.cost` builds it. :class:`StagedCost` holds the same
without the dense matrix, and reads it back: what exact projection needs, and all there is room for where a space has thousands of
blocks. The sums over the first blocks of each stage that every depth option asks for are taken once.

Reference: Nayman et al., HardCoRe-NAS, Eq. 3 (latency) and Eq. 9 (its matrix Theta).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray
from solvers.quadratic import Quadratic
from solvers.sets import Blocks, read_only


@dataclass(frozen=True, slots=True)
class Stage:
    """``configurations[b]`` options for block b of the chain; option i of the depth runs the first ``depths[i]`` blocks.

    Raises:
        ValueError: a number that is not whole, be it 2.0.
    """

    configurations: tuple[int, ...]
    depths: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, numbers in (("configurations", self.configurations), ("depths", self.depths)):
            if not all(isinstance(number, Integral) for number in numbers):
                raise ValueError(f"Stage: expected {name} as whole numbers, got {numbers}")


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
    def of(cls, stages: Sequence[Stage]) -> StagedLayout:
        """Lay out checked ``stages``."""
        block_counts = np.array([len(stage.configurations) for stage in stages])
        option_counts = np.array([len(stage.depths) for stage in stages])
        sizes = [size for stage in stages for size in stage.configurations]
        starts = np.concatenate([[0], np.cumsum(block_counts)])
        first = np.repeat(starts[:-1], option_counts)
        end = first + np.array([depth for stage in stages for depth in stage.depths])
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate([[0], np.cumsum(option_counts)]),
            first,
            end,
            np.repeat(starts[1:], option_counts),
        )

    def running_sums(self, per_block: FloatArray) -> FloatArray:
        """(depth options,) the sum of ``per_block`` (blocks,) over the blocks each option runs."""
        total = np.zeros(len(per_block) + 1)
        np.cumsum(per_block, out=total[1:])
        return total[self.end] - total[self.first]

    def idle_sums(self, per_block: FloatArray) -> FloatArray:
        """(depth options,) the sum over the blocks of its stage that an option leaves out."""
        total = np.zeros(len(per_block) + 1)
        np.cumsum(per_block, out=total[1:])
        return total[self.last] - total[self.end]

    def runs(self, options: IntArray) -> IntArray:
        """The blocks that run under one depth option a stage (``options`` index all depth options), in order."""
        lengths = self.end[options] - self.first[options]
        skipped = np.concatenate([[0], np.cumsum(lengths)])
        return np.arange(skipped[-1]) + np.repeat(self.first[options] - skipped[:-1], lengths)


@dataclass(frozen=True, slots=True, eq=False)
class StagedBlocks:
    """The product of simplices of a staged space, and where its parts lie. Build it with :meth:`of`.

    Example:
        >>> space = StagedBlocks.of([Stage((2, 2), (1, 2))])  # two blocks of two configurations, of which one or both run
        >>> space.cost(1.0, [1.0, 2.0, 1.0, 3.0]).value(space.blocks.vertex([1, 1, 1]))
        6.0
    """

    stages: tuple[Stage, ...]
    blocks: Blocks
    alpha: slice
    beta: slice
    layout: StagedLayout

    @classmethod
    def of(cls, stages: Sequence[Stage]) -> StagedBlocks:
        """Lay out the stages.

        Raises:
            ValueError: no stages, a stage without blocks or depths, or depths that are not increasing within 0..number of blocks.
        """
        for index, stage in enumerate(stages):
            if not stage.configurations or not stage.depths:
                raise ValueError(f"stage {index}: expected at least one block and one depth, got {stage}")
            rising = all(low < high for low, high in zip(stage.depths, stage.depths[1:], strict=False))
            if not rising or stage.depths[0] < 0 or stage.depths[-1] > len(stage.configurations):
                raise ValueError(f"stage {index}: depths {stage.depths} must increase within 0..{len(stage.configurations)}")
        alpha_sizes = [size for stage in stages for size in stage.configurations]
        blocks = Blocks.of([*alpha_sizes, *(len(stage.depths) for stage in stages)])
        split = sum(alpha_sizes)
        return cls(tuple(stages), blocks, slice(0, split), slice(split, blocks.dimension), StagedLayout.of(stages))

    def alpha_blocks(self, stage: int) -> range:
        """Indices (into ``blocks``) of the stage's configuration blocks."""
        first = sum(len(other.configurations) for other in self.stages[:stage])
        return range(first, first + len(self.stages[stage].configurations))

    def beta_block(self, stage: int) -> int:
        """Index (into ``blocks``) of the stage's depth block."""
        return sum(len(other.configurations) for other in self.stages) + stage

    def cost(self, fixed: float, per_configuration: ArrayLike) -> Quadratic:
        """The expected cost ``fixed + sum over blocks of P(block runs) * sum_c alpha_c t_c`` (Eq. 3).

        Args:
            fixed: cost of what always runs, in the unit of the budget.
            per_configuration: shape (alpha dimension,), the cost t of each configuration where its block runs.
        """
        times = read_only(per_configuration, "cost per configuration", (self.alpha.stop,))
        theta = np.zeros((self.blocks.dimension, self.blocks.dimension))
        theta[self.alpha, self.beta] = times[:, None] * np.repeat(self.runs().T, np.diff(self.layout.configurations), axis=0)
        return Quadratic.of(fixed, np.zeros(self.blocks.dimension), theta)

    def runs(self) -> FloatArray:
        """Which depths run which blocks: shape (beta dimension, number of configuration blocks), entries 0 or 1."""
        blocks = np.arange(self.blocks.count - len(self.stages))
        return ((self.layout.first[:, None] <= blocks) & (blocks < self.layout.end[:, None])).astype(np.float64)

    def per_configuration(self, cost: Quadratic) -> FloatArray:
        """The inverse of :meth:`cost`: what each configuration costs where its block runs, shape (alpha dimension,).

        A block that no depth runs comes back as zeros.

        Raises:
            ValueError: ``cost`` was not built by :meth:`cost` on this space.
        """
        layout = self.layout
        if cost.dimension != self.blocks.dimension:
            raise ValueError(
                f"cost: expected dimension {self.blocks.dimension}, as built by StagedBlocks.cost, got {cost.dimension}"
            )
        if not cost.linear.any():
            coupling = cost.theta[self.alpha, self.beta]
            # A stage's last option is its deepest: it runs every block that any option runs, so it shows every cost.
            starts = layout.first[layout.depths[:-1]]
            stage = np.searchsorted(starts, np.arange(len(layout.configurations) - 1), side="right") - 1
            deepest = np.repeat(layout.depths[1:][stage] - 1, np.diff(layout.configurations))
            times = coupling[np.arange(len(deepest)), deepest]
            runs = np.repeat(self.runs().T, np.diff(layout.configurations), axis=0)  # (alpha, beta)
            only_here = np.count_nonzero(cost.theta) == np.count_nonzero(coupling)
            if only_here and np.array_equal(coupling, times[:, None] * runs):
                return times
        raise ValueError("expected a cost built by StagedBlocks.cost on the same space (fixed part plus what running blocks cost)")


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

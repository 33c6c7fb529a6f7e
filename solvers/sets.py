"""Feasible sets: products of scaled simplices, alone or cut by linear budgets.

A relaxed architecture is a point of ``Blocks``: one simplex a decision, one coordinate an option. ``BudgetedBlocks`` adds the
rows ``weights @ x <= capacities``. Both only describe and measure; optimizing over them is the work of ``solvers.descent.oracles``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray


def read_only(values: ArrayLike, name: str, shape: tuple[int, ...]) -> FloatArray:
    """Return a read-only float64 copy of ``values``, which must have ``shape`` and hold no NaN.

    Raises:
        ValueError: another shape, or a NaN; the message names the array.
    """
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: holds NaN at index {tuple(np.argwhere(np.isnan(array))[0].tolist())}")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The product of scaled simplices ``{x >= 0 : sum of block i = totals[i]}``.

    Build it with :meth:`of`. ``sizes`` holds the number of options a block, ``totals`` (one a block, read-only) what each sums to.

    Example:
        >>> Blocks.of([2, 3]).vertex([1, 0]).tolist()
        [0.0, 1.0, 1.0, 0.0, 0.0]
    """

    sizes: tuple[int, ...]
    totals: FloatArray
    offsets: tuple[int, ...]  # len(sizes) + 1: block i is x[offsets[i]:offsets[i + 1]]

    @classmethod
    def of(cls, sizes: Sequence[int], totals: ArrayLike | None = None) -> Blocks:
        """Blocks with the given sizes; each sums to 1 unless ``totals`` says otherwise.

        Raises:
            ValueError: no blocks, an empty block, a size that is not whole, or a total that is not positive and finite.
        """
        given = tuple(sizes)
        lengths = tuple(int(size) for size in given)
        if lengths != given:
            raise ValueError(f"Blocks: expected whole sizes, got {list(given)}")
        if not lengths:
            raise ValueError("Blocks: expected at least one block, got none")
        for block, size in enumerate(lengths):
            if size < 1:
                raise ValueError(f"Blocks: block {block} has {size} options, expected at least one")
        sums = read_only(np.ones(len(lengths)) if totals is None else totals, "Blocks totals", (len(lengths),))
        if not (np.isfinite(sums).all() and (sums > 0).all()):
            raise ValueError(f"Blocks: totals must be positive and finite, got {sums.tolist()}")
        return cls(lengths, sums, tuple(np.concatenate([[0], np.cumsum(lengths)]).tolist()))

    @property
    def dimension(self) -> int:
        """Length of a point: the sum of the sizes."""
        return self.offsets[-1]

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.sizes)

    def slice(self, block: int) -> slice:
        """Where block ``block`` lies in a point."""
        return slice(self.offsets[block], self.offsets[block + 1])

    def part(self, start: int, stop: int) -> Blocks:
        """The blocks that fill ``x[start:stop]`` (from one block's border to another's), as a set of their own.

        Raises:
            ValueError: the part is empty or cuts a block.
        """
        if start not in self.offsets or stop not in self.offsets or start >= stop:
            raise ValueError(f"a part must run from one block's border to a later one, got x[{start}:{stop}]")
        first, last = self.offsets.index(start), self.offsets.index(stop)
        return Blocks.of(self.sizes[first:last], self.totals[first:last])

    def split(self, x: FloatArray) -> list[FloatArray]:
        """Views of the blocks of ``x`` (shape (dimension,)), in order."""
        return [x[self.slice(block)] for block in range(self.count)]

    def uniform(self) -> FloatArray:
        """The centre: every option of a block gets the same share."""
        return np.repeat(self.totals / np.asarray(self.sizes), self.sizes)

    def vertex(self, choices: Sequence[int]) -> FloatArray:
        """The point that gives each block's whole total to the option ``choices[block]``."""
        if len(choices) != self.count:
            raise ValueError(f"expected {self.count} choices, one a block, got {len(choices)}")
        x = np.zeros(self.dimension)
        for block, choice in enumerate(choices):
            if not 0 <= choice < self.sizes[block]:
                raise ValueError(f"block {block}: choice {choice} is not in 0..{self.sizes[block] - 1}")
            x[self.offsets[block] + choice] = self.totals[block]
        return x

    def residual(self, x: ArrayLike) -> float:
        """How far ``x`` (shape (dimension,)) is from the set: the greatest error of a sum or negative part; 0 inside."""
        point = read_only(x, "point", (self.dimension,))
        sums = np.add.reduceat(point, self.offsets[:-1])
        return float(max(np.abs(sums - self.totals).max(), -min(point.min(), 0.0)))


@dataclass(frozen=True, slots=True, eq=False)
class BudgetedBlocks:
    """``Blocks`` cut by budgets: ``weights @ x <= capacities`` with weights (m, dimension) and capacities (m,).

    Example:
        >>> BudgetedBlocks.of(Blocks.of([2, 2]), [1.0, 4.0, 1.0, 2.0], 5.0).violation([0.0, 1.0, 0.0, 1.0])
        1.0
    """

    blocks: Blocks
    weights: FloatArray
    capacities: FloatArray

    @classmethod
    def of(cls, blocks: Blocks, weights: ArrayLike, capacities: ArrayLike) -> BudgetedBlocks:
        """Cut ``blocks`` by one budget (weights (dimension,), a number) or by m of them.

        Raises:
            ValueError: shapes that do not meet, NaN, or an infinite weight (forbid an option by removing it).
        """
        rows = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        limits = np.atleast_1d(np.asarray(capacities, dtype=np.float64))
        rows = read_only(rows, "BudgetedBlocks weights", (len(limits), blocks.dimension))
        if not np.isfinite(rows).all():
            raise ValueError("BudgetedBlocks: weights must be finite; leave out the option that is forbidden")
        return cls(blocks, rows, read_only(limits, "BudgetedBlocks capacities", limits.shape))

    def violation(self, x: ArrayLike) -> float:
        """Greatest amount by which ``x`` exceeds a capacity, in the budget's own unit; 0 where all are met."""
        point = read_only(x, "point", (self.blocks.dimension,))
        return float(max(0.0, (self.weights @ point - self.capacities).max(initial=0.0)))

    def residual(self, x: ArrayLike) -> float:
        """The greater of the blocks' residual and the budgets' violation."""
        return max(self.blocks.residual(x), self.violation(x))

"""How the parameters of a PruNet search lie in flat arrays, so that its state is arrays and numbers.

Every layer has a slot for each of its candidates and one more, the last, for its absence. A candidate is a block whose width is a
Prunode's (numbered over the whole network), or a block at one width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphs import GPUNetSpace
from graphs.blocks import LayerShape
from solvers.arrays import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class LayerSlots:
    """One layer with N candidates.

    Attributes:
        slots: where its N + 1 logits lie.
        blocks: the block of every candidate, (N,).
        widths: the width of every candidate, (N,); 0 for Prunodes and convolutions.
        prunodes: the number of every candidate's Prunode, (N + 1,), -1 for none.
        point: where its options lie in a point of the space.
    """

    name: str
    shape: LayerShape
    slots: slice
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    prunodes: IntArray
    point: slice

    @property
    def two(self) -> NDArray[np.bool_]:
        """Which slots have two candidate widths, (N + 1,)."""
        return self.prunodes >= 0

    def options(self, small: IntArray, large: IntArray) -> IntArray:
        """The options (N + 1, 2) of the layer that its slots stand for, at the small and at the large width.

        Args:
            small, large: the widths of all Prunodes of the network, (P,).
        """
        options = np.zeros((len(self.blocks) + 1, 2), dtype=np.int64)  # no option belongs to the absence of a layer that must be
        for slot, (block, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            prunode = int(self.prunodes[slot])
            pair = (width, width) if prunode < 0 else (int(small[prunode]), int(large[prunode]))
            options[slot] = [self.shape.index(block, one) for one in pair]
        if self.shape.skippable:
            options[-1] = self.shape.index(None)
        return options

    def members(self, slot: int) -> list[int]:
        """All options of the layer that a slot may end as."""
        if slot == len(self.blocks):
            return [self.shape.index(None)] if self.shape.skippable else []
        if self.prunodes[slot] < 0:
            return [self.shape.index(self.blocks[slot], self.widths[slot])]
        return [self.shape.index(self.blocks[slot], width) for width in self.shape.widths]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """All layers; ``maximum`` and ``granularity`` (P,) are those of the Prunodes, in channels. Build it with :meth:`of`."""

    layers: tuple[LayerSlots, ...]
    maximum: IntArray
    granularity: IntArray

    @property
    def slots(self) -> int:
        """K, the slots of all layers."""
        return self.layers[-1].slots.stop

    @classmethod
    def of(cls, space: GPUNetSpace, prunode: bool) -> Layout:
        """Number slots and Prunodes.

        Args:
            prunode: whether widths are found by Prunodes, where there is more than one; without, every width of a block is a
                candidate of its own.

        Raises:
            ValueError: Prunodes in a space whose widths have weights of their own, or are not the multiples of its granularity.
        """
        chosen = any(len(shape.widths) > 1 for shape in space.layers.values())
        if prunode and chosen and (space.settings.separate or space.settings.shares):
            raise ValueError(f"space {space.space.name!r} has candidates of their own for widths: search it with prunode=False")
        layers, maximum, start = list[LayerSlots](), list[int](), 0
        for name, shape in space.layers.items():
            searched = prunode and len(shape.widths) > 1
            fixed = (0,) if searched or not shape.widths else shape.widths
            blocks = tuple(block for block in range(len(shape.blocks)) for _ in fixed)
            numbers = np.full(len(blocks) + 1, -1, dtype=np.int64)
            if searched:
                numbers[:-1] = len(maximum) + np.arange(len(blocks))
                maximum += [shape.widths[-1]] * len(blocks)
            stop = start + len(blocks) + 1
            widths = fixed * len(shape.blocks)
            layers.append(LayerSlots(name, shape, slice(start, stop), blocks, widths, numbers, space.space.slice(name)))
            start = stop
        most = np.array(maximum, dtype=np.int64)
        return cls(tuple(layers), most, np.full(len(most), space.settings.granularity, dtype=np.int64))

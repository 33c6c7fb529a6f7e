"""Which blocks of a layer PruNet keeps: a rising threshold on probabilities, and layers that compete with their own absence.

After the warm-up the threshold rises linearly, and at every epoch's end the least probable option falls while it is under it. A
layer's last block never falls, but where the layer keeps the shape the last block first has to beat the skip: both then begin with
equal logits, the skip's output is scaled by phi and the block's by lambda, and once one of the two has gone nothing is scaled.

Reference: PruNet, Sec. 3 (block pruning, layer skipping).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from constrained_nas.methods.distributions import softmax
from solvers.arrays import FloatArray

# "impossible": the layer changes the shape or its block has won; "later": it competes with the last block; "competes"; "chosen"
Skip = Literal["impossible", "later", "competes", "chosen"]


@dataclass(frozen=True, slots=True)
class PruningSchedule:
    """The threshold's rise. Epochs count from 1; the logits are frozen up to and including epoch ``warmup``.

    Raises:
        ValueError: a warm-up that leaves no epochs, or thresholds outside [0, 1) or falling.
    """

    epochs: int = 200
    warmup: int = 70
    first: float = 0.15
    last: float = 0.55

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.epochs or not 0 <= self.first <= self.last < 1:
            raise ValueError(f"pruning schedule: expected 0 <= warmup < epochs and 0 <= first <= last < 1, got {self}")

    def threshold(self, epoch: int) -> float | None:
        """t(e) after epoch ``epoch``, ``first + (last - first)(e - warmup) / (epochs - warmup)``; None while warming up.

        Raises:
            ValueError: an epoch before 1 or after the last.
        """
        if not 1 <= epoch <= self.epochs:
            raise ValueError(f"epoch: expected 1 to {self.epochs}, got {epoch}")
        if epoch <= self.warmup:
            return None
        return self.first + (self.last - self.first) * (epoch - self.warmup) / (self.epochs - self.warmup)

    def progress(self, epoch: float) -> float:
        """Share of the search after the warm-up that is over once ``epoch`` epochs (possibly a fraction) are done, in [0, 1]."""
        return min(1.0, max(0.0, (epoch - self.warmup) / (self.epochs - self.warmup)))


@dataclass(frozen=True, slots=True)
class SkipScales:
    """phi and lambda: what outputs of the skip and of the block are multiplied by while the two compete. Latencies never are.

    Raises:
        ValueError: a scale that is not positive and finite.
    """

    skip: float = 1.1
    block: float = 0.55

    def __post_init__(self) -> None:
        if not (0 < self.skip < math.inf and 0 < self.block < math.inf):
            raise ValueError(
                f"scales of a skip and its block (phi, lambda): expected positive numbers, got {self.skip}, {self.block}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class LayerState:
    """What is left of a layer.

    Attributes:
        blocks: which of its N blocks are alive, (N,).
        skip: whether the layer's absence is out of the question, still to come, an option, or what is left.
        logits: (N + 1,), blocks first, then the skip; what is not an option has no meaning.
    """

    blocks: NDArray[np.bool_]
    skip: Skip
    logits: FloatArray

    @property
    def alive(self) -> NDArray[np.bool_]:
        """The options that exist now, (N + 1,)."""
        return np.append(self.blocks, self.skip in ("competes", "chosen"))

    @property
    def probabilities(self) -> FloatArray:
        """Softmax over the options that exist, (N + 1,), 0 for the others."""
        probabilities = np.zeros(len(self.logits))
        probabilities[self.alive] = softmax(self.logits[self.alive])
        return probabilities

    @property
    def settled(self) -> bool:
        """Whether one option is left and none will join it."""
        return int(self.alive.sum()) == 1 and self.skip != "later"


def init_layer(blocks: int, skippable: bool, always: bool = False) -> LayerState:
    """Equal logits over ``blocks`` blocks.

    Args:
        blocks: N, at least one. A single block of a skippable layer competes with the skip at once.
        skippable: whether the layer keeps the shape.
        always: the skip competes from the start with all blocks, as in the paper's "layer skipping alone".

    Raises:
        ValueError: no block.
    """
    if blocks < 1:
        raise ValueError(f"a layer needs at least one block, got {blocks}")
    skip: Skip = "impossible" if not skippable else "competes" if always or blocks == 1 else "later"
    return LayerState(np.ones(blocks, dtype=np.bool_), skip, np.zeros(blocks + 1))


def prune_layer(state: LayerState, logits: ArrayLike, threshold: float, protected: int | None = None) -> LayerState:
    """The layer after an epoch.

    The least probable option falls if it is under the threshold, the others' probabilities are renormalized, and so on: one by
    one, because equal blocks would otherwise all fall at once. Of equals the later one falls, so a skip before a block. A skip that
    joins now, with equal logits, is first judged after the next epoch.

    Args:
        logits: (N + 1,), after the epoch's training.
        threshold: t(e); probabilities equal to it stay.
        protected: an option that does not fall, whatever its probability.

    Raises:
        ValueError: logits of another shape or, for options that exist, not finite.
    """
    values = np.array(logits, dtype=np.float64)
    if values.shape != state.logits.shape or not np.isfinite(values[state.alive]).all():
        raise ValueError(f"logits: expected {len(state.logits)} numbers, finite for what is alive, got {values}")
    now = replace(state, logits=values)
    while now.alive.sum() > 1:
        probabilities = np.where(now.alive, now.probabilities, np.inf)
        if protected is not None:
            probabilities[protected] = np.inf
        least = len(probabilities) - 1 - int(probabilities[::-1].argmin())
        if not probabilities[least] < threshold:
            return now
        if least == len(now.blocks):
            now = replace(now, skip="impossible")
            continue
        blocks = now.blocks.copy()
        blocks[least] = False
        if not blocks.any():
            return replace(now, blocks=blocks, skip="chosen")
        now = replace(now, blocks=blocks)
        if now.skip == "later" and blocks.sum() == 1:
            return replace(now, skip="competes", logits=np.zeros_like(values))
    return now


def output_scales(state: LayerState, scales: SkipScales) -> FloatArray:
    """What the outputs of the options are multiplied by, (N + 1,): lambda and phi while a skip competes, else 1."""
    result = np.ones(len(state.logits))
    if state.skip == "competes":
        result[:-1], result[-1] = scales.block, scales.skip
    return result

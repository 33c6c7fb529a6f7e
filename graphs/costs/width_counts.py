"""Multiply-adds and parameters of spaces with inner widths, exact for every network.

Both are affine in a block's hidden width, so two widths counted give all of them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from graphs.blocks import LayerShape, plain_block
from graphs.costs.counts import count
from graphs.costs.models import QuadraticCost
from graphs.spaces import GPUNetSpace
from solvers import Quadratic


def width_count_cost(space: GPUNetSpace, what: Literal["macs", "parameters"]) -> QuadraticCost:
    """The cost ``macs`` (in MACs) or ``parameters`` of whole networks, stem and head included.

    Raises:
        ValueError: another ``what``.

    Example:
        >>> from graphs import gpunet_small
        >>> space = gpunet_small()
        >>> first = {decision.name: decision.options[0] for decision in space.space.decisions}
        >>> width_count_cost(space, "parameters").cost(space.space.choose(first))
        12242.0
    """
    if what not in ("macs", "parameters"):
        raise ValueError(f"expected 'macs' or 'parameters', got {what!r}")
    with torch.device("meta"):
        per_shape = {shape: _option_counts(shape, what) for shape in set(space.layers.values())}
        fixed = sum(getattr(count(module, shape), what) for module, shape in space.fixed_modules())
    linear = np.concatenate([per_shape[shape] for shape in space.layers.values()])
    return QuadraticCost(what, "MACs" if what == "macs" else "parameters", space.space, Quadratic.of(float(fixed), linear))


def _option_counts(shape: LayerShape, what: str) -> list[float]:
    size = (shape.inputs, shape.side, shape.side)

    def counted(option: int) -> int:
        return int(getattr(count(plain_block(shape, option), size), what))

    counts: list[float] = []
    for block in range(len(shape.blocks)):
        if len(shape.widths) < 2:
            counts += [counted(shape.index(block, width)) for width in shape.widths or (0,)]
            continue
        first, second = (counted(shape.index(block, width)) for width in shape.widths[:2])
        slope, gap = second - first, shape.widths[1] - shape.widths[0]
        counts += [first + slope * (width - shape.widths[0]) / gap for width in shape.widths]
    return [*counts, 0.0] if shape.skippable else counts

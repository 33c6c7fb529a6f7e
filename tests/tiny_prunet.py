"""A PruNet space of five layers, a method on it, and states in the middle of a search."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from constrained_nas.methods import PruNet
from constrained_nas.methods.prunet_state import PruNetState, layer_of, with_layers
from constrained_nas.problem import Budget, SearchProblem
from graphs import GPUNetSettings, GPUNetSpace, GPUNetStage, Supernet
from graphs.costs import QuadraticCost
from graphs.costs.width_counts import width_count_cost
from graphs.widths import BlockChoice
from solvers import Quadratic


@cache
def tiny() -> GPUNetSpace:
    """Five layers of two blocks, four of them Prunodes and three skippable; 16x16 grey images of three classes."""
    blocks = (BlockChoice(3, False, "relu"), BlockChoice(5, True, "relu"))
    convolutions = (BlockChoice(3, False, "relu"), BlockChoice(5, False, "relu"))
    stages = (
        GPUNetStage("convolution", 1, 1, 8, convolutions),
        GPUNetStage("fused", 2, 2, 8, blocks),
        GPUNetStage("inverted", 2, 1, 16, blocks),
    )
    settings = GPUNetSettings(
        "tiny prunet", 16, 3, stages, image_channels=1, stem_channels=8, expansion=4, granularity=8, head_channels=16
    )
    return GPUNetSpace(settings)


def latency_of(space: GPUNetSpace) -> QuadraticCost:
    """Milliseconds that rise with the multiply-adds of a block, and a part that every block has."""
    macs = width_count_cost(space, "macs").quadratic
    return QuadraticCost("latency", "ms", space.space, Quadratic.of(0.1, 2e-6 * macs.linear + 0.05 * (macs.linear > 0)))


def method(space: GPUNetSpace | None = None, **settings: Any) -> PruNet:
    where = space or tiny()
    return PruNet(where, latency_of(where), **({"warm_up": 1} | settings))


def free(space: GPUNetSpace | None = None) -> SearchProblem:
    return SearchProblem((space or tiny()).space, ())


def limited(limit: float) -> SearchProblem:
    return SearchProblem(tiny().space, (Budget(latency_of(tiny()), limit, "ms"),))


def fresh(space: GPUNetSpace | None = None) -> Supernet:
    torch.manual_seed(0)
    return (space or tiny()).supernet()


def extremes(space: GPUNetSpace) -> tuple[float, float]:
    """The latencies of the fastest and of the slowest network."""
    q = latency_of(space).quadratic
    parts = [q.linear[space.space.slice(name)] for name in space.layers]
    return q.offset + sum(part.min() for part in parts), q.offset + sum(part.max() for part in parts)


def stirred(how: PruNet, seed: int) -> PruNetState:
    """A state in the middle of a search: one layer has lost a block, in another the skip competes, Prunodes have moved."""
    generator = np.random.default_rng(seed)
    state = replace(how, hard=False).init(free(how.space), generator)
    layers = [layer_of(state, how.layout, number) for number in range(len(how.layout.layers))]
    layers[1] = replace(layers[1], blocks=np.array([False, True]))
    layers[4] = replace(layers[4], blocks=np.array([True, False]), skip="competes")
    state = with_layers(state, how.layout, layers)
    count = len(state.small)
    small = how.layout.granularity * generator.integers(1, 3, count)
    return replace(
        state,
        logits=generator.normal(size=len(state.logits)),
        width_logits=generator.normal(size=count),
        small=small,
        large=small + how.layout.granularity * generator.integers(1, 3, count),
    )

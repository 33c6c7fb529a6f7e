"""A search on a tiny space with random times: its setting, its problem under a budget, and its data."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from lightning_fabric import Fabric
from support.tiny import stir, striped_data, tiny_space
from torch.utils.data import TensorDataset

from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions
from graphs import MBConvSpace, Supernet
from graphs.costs import QuadraticCost

FABRIC = Fabric(accelerator="cpu", devices=1)

OPTIONS = SearchOptions(epochs=2, batch_size=8, seed=1)


@cache
def setting() -> tuple[MBConvSpace, Supernet, QuadraticCost, float, float]:
    """Space, super-network, random times, and the least and the greatest cost of a network."""
    space = tiny_space()
    torch.manual_seed(0)
    net = space.supernet()
    stir(net, 1)
    times = np.random.default_rng(0).uniform(0.2, 2.0, size=space.staged.alpha.stop)
    cost = QuadraticCost("latency", "ms", space.space, space.staged.cost(0.5, times))
    cheapest = costliest = 0.5
    for stage in range(2):  # a stage of one block, or of two; blocks after the depth cost nothing
        blocks = [times[8 * block : 8 * block + 8] for block in space.staged.alpha_blocks(stage)]
        cheapest += blocks[0].min()
        costliest += blocks[0].max() + blocks[1].max()
    return space, net.eval(), cost, cheapest, costliest


def problem(share: float) -> SearchProblem:
    """A budget at ``share`` of the way from the cheapest network to the costliest."""
    space, _, cost, low, high = setting()
    return SearchProblem(space.space, (Budget(cost, low + share * (high - low), "ms"),))


def data() -> TensorDataset:
    return striped_data(64, 2)

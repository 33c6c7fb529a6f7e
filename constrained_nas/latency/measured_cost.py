"""Milliseconds of a whole network on this machine as a cost: every network is extracted and timed when it is asked for.

Nothing is estimated, so the cost sees what no table does (kernels that run side by side, memory traffic of additions), at the price
of a random error and of a fraction of a second a network. Methods that sample take it as it is.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 (any cost that can be observed).
"""

from __future__ import annotations

import numpy as np
import torch

from constrained_nas.latency.rounds import measure_networks
from constrained_nas.latency.timer import Timer
from graphs import Architecture, DagSpace, compile_supernet
from graphs.costs import CallableCost
from graphs.supernet import layer_of


def measured_latency(space: DagSpace, timer: Timer | None = None, rounds: int = 5, name: str = "latency") -> CallableCost:
    """The median latency in ms of the extracted network, over ``rounds`` runs; another measurement every time.

    Weights do not matter to the time, so the networks have fresh ones (torch's random state is left alone).

    Raises:
        ValueError: no round.
    """
    if rounds < 1:
        raise ValueError(f"cost {name!r}: expected one round or more, got {rounds}")
    with torch.random.fork_rng(devices=[]):
        supernet = compile_supernet(space.dag, space.space)
    how = timer or Timer()
    images = how.noise(layer_of(space.dag, space.connectivity.nodes[0]).shape)

    def measure(architecture: Architecture) -> float:
        generator = np.random.default_rng(0)  # orders the networks of a round; there is one
        return measure_networks([supernet.extract(architecture)], images, how, rounds, generator)[0].median

    return CallableCost(name, "ms", space, measure)

"""Milliseconds of a whole network on this machine as a cost: every network is extracted and timed when it is asked for.

Nothing is estimated, so the cost sees what no table does (kernels that run side by side, memory traffic of additions), at the price
of a random error and of a fraction of a second a network. Methods that sample take it as it is.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 (any cost that can be observed).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constrained_nas.latency.rounds import measure_networks
from constrained_nas.latency.timer import Timer
from graphs import Architecture, DagSpace, Supernet, compile_supernet
from graphs.costs import CallableCost
from graphs.supernet import layer_of
from solvers.arrays import BoolArray


@dataclass(frozen=True)
class MeasuredLatency:
    """Median latency in ms of the extracted network, over ``rounds`` runs under ``timer``.

    Weights do not matter to the time, so the networks have fresh ones (torch's random state is left alone).
    """

    dag_space: DagSpace
    timer: Timer = field(default_factory=Timer)
    rounds: int = 5
    name: str = "latency"
    unit: str = "ms"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"cost {self.name!r}: expected one round or more, got {self.rounds}")

    def cost(self, architecture: Architecture) -> float:
        """The latency of the connected part of an architecture; another measurement every time.

        Raises:
            ValueError: the architecture is of another space, or joins nothing to the output.
        """
        return self._checked.cost(architecture)

    def cost_of_running(self, running: BoolArray) -> NDArray[np.float64]:
        """The latencies (rows,) of sub-graphs whose modules (rows, E) run; 0 where none does."""
        return self._checked.cost_of_running(running)

    @cached_property
    def _checked(self) -> CallableCost:
        return CallableCost(self.name, self.unit, self.dag_space, self._measure)

    @cached_property
    def _supernet(self) -> Supernet:
        with torch.random.fork_rng(devices=[]):
            return compile_supernet(self.dag_space.dag, self.dag_space.space)

    @cached_property
    def _images(self) -> Tensor:
        return self.timer.noise(layer_of(self.dag_space.dag, self.dag_space.connectivity.nodes[0]).shape)

    def _measure(self, architecture: Architecture) -> float:
        network = self._supernet.extract(architecture)
        generator = np.random.default_rng(0)  # orders the networks of a round; there is one
        return measure_networks([network], self._images, self.timer, self.rounds, generator)[0].median

"""Milliseconds on this machine as the cost of a super-network's sub-graphs: of whole networks, or summed over their modules.

:func:`measured_latency` extracts and times every network when it is asked for. Nothing is estimated, so the cost sees what no table
does (kernels that run side by side, memory traffic of additions), at the price of a random error and of a fraction of a second a
network. Methods that sample take it as it is. :func:`summed_latency` times every kind of module and addition once and adds them up:
a cost that projections can hold exactly, as exact as one network after the other runs its modules.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 (any cost that can be observed).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from constrained_nas.latency.names import Progress
from constrained_nas.latency.rounds import measure_networks, measure_runs
from constrained_nas.latency.runtimes import runtime_title
from constrained_nas.latency.timer import Measurement, Timer
from graphs import Architecture, DagSpace, compile_supernet
from graphs.costs import CallableCost, ConnectedCost, LatencyEntry, LatencyTable, connected_latency, module_entries
from graphs.supernet import edge_of, layer_of


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


def summed_latency(space: DagSpace, timer: Timer | None = None, rounds: int = 20, name: str = "latency") -> ConnectedCost:
    """The latency in ms of a sub-graph's modules and additions, one after the other: medians over ``rounds`` interleaved rounds.

    Modules that are made alike and see the same shape are timed once; the identity takes no time.

    Raises:
        ValueError: no round.

    Example:
        >>> from graphs import resnet
        >>> cost = summed_latency(resnet(1, side=8, widths=(4, 8)), rounds=2)
        >>> cost.unit, cost.cost(resnet(1, side=8, widths=(4, 8)).whole) > 0
        ('ms', True)
    """
    return replace(connected_latency(measure_module_table(space, timer, rounds), space), name=name)


def measure_module_table(
    space: DagSpace, timer: Timer | None = None, rounds: int = 20, seed: int = 0, progress: Progress | None = None
) -> LatencyTable:
    """A table of every module and addition of a super-network, as :func:`summed_latency` sums them: what each takes alone.

    Args:
        seed: of the order of the rounds.

    Raises:
        ValueError: no round.
    """
    if rounds < 1:
        raise ValueError(f"latency table: expected one round or more, got {rounds}")
    how, parts = timer or Timer(), space.connectivity
    runs, timed = {}, list[str]()
    with torch.random.fork_rng(devices=[]):
        for key in parts.edges:
            factory, shape = edge_of(space.dag, key).factory, layer_of(space.dag, key[0]).shape
            module = factory()
            timed.append("" if isinstance(module, nn.Identity) else f"{module} of {shape}")
            if timed[-1] and timed[-1] not in runs:
                runs[timed[-1]] = partial(how.place(module), how.noise(shape))
        for node in parts.nodes:
            shape = layer_of(space.dag, node).shape
            timed.append(f"addition of {shape}")
            runs.setdefault(timed[-1], partial(torch.add, how.noise(shape), how.noise(shape)))
    found = measure_runs(runs, how, rounds, np.random.default_rng(seed), progress, "timing modules")
    nothing = Measurement(0.0, 0.0, rounds)
    modules, additions = module_entries(space)
    entries = [
        LatencyEntry(block=block, configuration=kind, **asdict(found.get(what, nothing)))
        for (block, kind), what in zip([*modules, *additions], timed, strict=True)
    ]
    return LatencyTable(
        unit="ms",
        space=space.space.name,
        **how.conditions(runtime_title("torch", how)),
        resolution=layer_of(space.dag, parts.nodes[0]).shape[-1],
        fixed=0.0,
        context="isolated",
        clock=how.clock,
        entries=tuple(entries),
    )

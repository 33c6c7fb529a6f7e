"""Measure the blocks of a space with inner widths on this machine.

As in ``constrained_nas.timing`` blocks are timed where they run, by hooks inside networks: each network takes another of the wanted
options in every layer until all have been in one, and layers of the same shape share the work. Rounds visit the networks in random
order. Hooks and neighbours leave a small bias, which ``constrained_nas.width_calibration`` takes out.

Reference: PruNet, Sec. 3 (latency table).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from constrained_nas.timing import Measurement, Progress, Timer, device_name, timed_pass
from graphs import Architecture
from graphs.costs.width_latency import (
    BlockKey,
    Device,
    Measured,
    WidthLatencyTable,
    tabulate_widths,
)
from graphs.fabrics.gpunet import GPUNetSpace

__all__ = ["covering_architectures", "measure_blocks", "measure_width_table"]

RESIDENT_NETWORKS = 24  # that are timed against each other; a paper-sized one takes some 100 MB


def measure_width_table(
    space: GPUNetSpace,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    widths_per_block: int | None = 5,
    progress: Progress | None = None,
) -> WidthLatencyTable:
    """Time ``widths_per_block`` widths of every different block in context (None: all of them) and interpolate the others.

    Raises:
        ValueError: fewer than three rounds, or fewer than two widths.
    """
    if rounds < 3:
        raise ValueError(f"rounds: expected at least 3 for a median, got {rounds}")
    device = Device(
        device=device_name(timer.device),
        runtime="torch eager" + (", channels last" if timer.channels_last else ""),
        threads=timer.threads,
        dtype="float32",
        batch=timer.batch,
        torch_version=str(torch.__version__),
    )
    return tabulate_widths(
        space, lambda wanted: measure_blocks(space, wanted, timer, rounds, generator, progress), widths_per_block, device
    )


def measure_blocks(
    space: GPUNetSpace,
    wanted: Collection[BlockKey],
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> Measured:
    """Time the ``wanted`` blocks inside networks of the space; the samples of all layers that ran a block are pooled."""
    architectures = covering_architectures(space, wanted, generator)
    samples: dict[BlockKey, list[float]] = {key: [] for key in wanted}
    rest: list[float] = []
    images = timer.images(space)
    names = list(space.layers)
    done = 0
    for first in range(0, len(architectures), RESIDENT_NETWORKS):
        group = architectures[first : first + RESIDENT_NETWORKS]
        keys = [_block_keys(space, architecture) for architecture in group]
        networks = [timer.place(_fresh(space, architecture)) for architecture in group]
        with timer.threads_set(), torch.inference_mode():
            for network in networks:
                for _ in range(2):  # warm-up: allocations and kernel choice
                    network(images)
            for _ in range(rounds):
                for index in generator.permutation(len(group)).tolist():
                    times, other = timed_pass(networks[index], names, images, timer)
                    rest.append(other)
                    for key, milliseconds in zip(keys[index], times.tolist(), strict=True):
                        if key in samples:
                            samples[key].append(milliseconds)
                done += len(group)
                if progress:
                    progress(done, len(architectures) * rounds, "timing blocks")
    return Measured({key: Measurement.of(times) for key, times in samples.items()}, float(np.median(rest)))


def covering_architectures(space: GPUNetSpace, wanted: Collection[BlockKey], generator: np.random.Generator) -> list[Architecture]:
    """Networks, as few as can be, that together contain every wanted block; layers take theirs in random order."""
    keys = set(wanted)
    places: dict[str, tuple[int, int]] = {}  # of a layer among those of its shape, and how many these are
    shapes = list(space.layers.values())
    for name, shape in space.layers.items():
        same = [other for other, candidate in space.layers.items() if candidate == shape]
        places[name] = (same.index(name), len(same))
    lists = {}
    for shape in dict.fromkeys(shapes):
        options = [index for index, option in enumerate(shape.options) if (shape.name, option.name) in keys]
        blocks = [index for index, option in enumerate(shape.options) if option.block is not None]
        lists[shape] = generator.permutation(options or blocks[:1]).tolist()
    count = max(-(-len(lists[shape]) // places[name][1]) for name, shape in space.layers.items())
    architectures = []
    for number in range(count):
        choices = {}
        for name, shape in space.layers.items():
            place, together = places[name]
            choices[name] = shape.options[lists[shape][(number * together + place) % len(lists[shape])]].name
        architectures.append(space.space.choose(choices))
    return architectures


def _block_keys(space: GPUNetSpace, architecture: Architecture) -> list[BlockKey]:
    return [(shape.name, shape.options[architecture.choice(name)].name) for name, shape in space.layers.items()]


def _fresh(space: GPUNetSpace, architecture: Architecture) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # weights do not matter here, and the caller's draws stay as they were
        return space.network(architecture)

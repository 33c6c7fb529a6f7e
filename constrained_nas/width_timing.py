"""Measure the blocks of a space with inner widths on this machine, and calibrate the table on whole networks.

As in ``constrained_nas.timing`` blocks are timed where they run, by hooks inside networks: each network takes another of the wanted
options in every layer until all have been in one, and layers of the same shape share the work. Rounds visit the networks in random
order. Hooks and neighbours leave a small bias that an affine calibration on random networks, measured whole, takes out.

Reference: PruNet, Sec. 3 (latency table).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from constrained_nas.timing import Measurement, Progress, TableFit, Timer, device_name, measure_networks, timed_pass
from graphs import Architecture
from graphs.costs.width_latency import (
    BlockKey,
    Device,
    Measured,
    WidthLatencyTable,
    layer_latencies,
    tabulate_widths,
    width_latency_cost,
)
from graphs.fabrics.gpunet import GPUNetSpace

__all__ = ["calibrate_width_table", "covering_architectures", "measure_blocks", "measure_width_table", "spread_architectures"]

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


def calibrate_width_table(
    table: WidthLatencyTable,
    space: GPUNetSpace,
    timer: Timer,
    networks: int,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[WidthLatencyTable, TableFit, TableFit]:
    """Measure random networks whole, fit ``measured = intercept + slope * estimated`` on half of them and scale the table by it.

    A table that was calibrated before states both calibrations as one.

    Returns:
        the calibrated table, the fit of the raw table on the first half, and that of the calibrated table on the other half, which
        took no part in the calibration.

    Raises:
        ValueError: fewer than six networks.
    """
    if networks < 6:
        raise ValueError(f"networks: expected at least 6, half to calibrate and half to check, got {networks}")
    raw = width_latency_cost(table, space)
    drawn = spread_architectures(space, table, networks, generator)
    measured = measure_networks([_fresh(space, a) for a in drawn], timer.images(space), timer, rounds, generator, progress)
    times = [measurement.median for measurement in measured]
    before = TableFit.of([raw.cost(a) for a in drawn[::2]], times[::2])
    slope = max(before.slope, 1e-6)  # a table of pure noise could fit any slope; a latency never falls as blocks are added
    entries = tuple(e.model_copy(update={"median": e.median * slope, "spread": e.spread * slope}) for e in table.entries)
    fixed = max(0.0, table.fixed * slope + before.intercept)
    both = {"slope": table.slope * slope, "intercept": table.intercept * slope + before.intercept}
    scaled = table.model_copy(update={"entries": entries, "fixed": fixed, **both})
    cost = width_latency_cost(scaled, space)
    return scaled, before, TableFit.of([cost.cost(a) for a in drawn[1::2]], times[1::2])


def spread_architectures(
    space: GPUNetSpace, table: WidthLatencyTable, count: int, generator: np.random.Generator
) -> list[Architecture]:
    """Random networks, evenly spaced in rank of estimated latency among many draws that lean to slow or to fast options."""
    ranks = {name: times.argsort().argsort() for name, times in layer_latencies(table, space).items()}
    cost = width_latency_cost(table, space)
    drawn = []
    for _ in range(20 * count):
        share = generator.random()  # how heavy this one tends to be
        picks = {}
        for name, shape in space.layers.items():
            weights = np.linspace(1 - share, share, len(shape.options))[ranks[name]] + 0.05
            picks[name] = shape.options[int(generator.choice(len(weights), p=weights / weights.sum()))].name
        drawn.append(space.space.choose(picks))
    drawn.sort(key=cost.cost)
    return [drawn[index] for index in np.linspace(0, len(drawn) - 1, count).round().astype(int)]


def _block_keys(space: GPUNetSpace, architecture: Architecture) -> list[BlockKey]:
    return [(shape.name, shape.options[architecture.choice(name)].name) for name, shape in space.layers.items()]


def _fresh(space: GPUNetSpace, architecture: Architecture) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # weights do not matter here, and the caller's draws stay as they were
        return space.network(architecture)

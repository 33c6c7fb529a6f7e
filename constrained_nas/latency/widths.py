"""Measure the latency table of a space with inner widths on this machine, and calibrate it on networks of every depth.

As in ``constrained_nas.latency.block_table`` blocks are timed where they run, by hooks inside networks: each network takes another
of the wanted options in every layer until all have been in one, and layers of the same shape share the work. Rounds visit the
networks in random order. Hooks and neighbours leave a small bias, which the calibration takes out. Random networks rarely skip many
layers, found ones do: a table calibrated on the former alone overrates the latter, as hooks and neighbours cost something that a
short network does not pay. So networks skip as they are drawn to, from none to almost all, and the affine fit weighs relative
errors, so that short networks count as much as long ones. Every network is timed in every round, and slow spells of the machine are
taken out round by round.

Reference: PruNet, Sec. 3 (latency table).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from constrained_nas.latency.block_table import TableFit, timed_pass
from constrained_nas.latency.rounds import corrected_times, timed_run
from constrained_nas.latency.timer import Measurement, Progress, Timer, device_name
from graphs import Architecture
from graphs.costs import BlockKey, Device, Measured, WidthLatencyTable, layer_latencies, tabulate_widths, width_latency_cost
from graphs.spaces import GPUNetSpace

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


def spread_architectures(
    space: GPUNetSpace, table: WidthLatencyTable, count: int, generator: np.random.Generator
) -> list[Architecture]:
    """Random networks, some deep and some shallow, some of slow and some of fast options, evenly spaced in rank of latency."""
    times, cost = layer_latencies(table, space), width_latency_cost(table, space)
    drawn = []
    for _ in range(10 * count):
        tilt, skips, picks = generator.random(), 0.95 * generator.random(), {}
        for name, shape in space.layers.items():
            options = len(shape.options) - shape.skippable
            weights = np.linspace(1 - tilt, tilt, options)[times[name][:options].argsort().argsort()] + 0.05
            chosen = int(generator.choice(options, p=weights / weights.sum()))
            skipped = shape.skippable and generator.random() < skips
            picks[name] = "skip" if skipped else shape.options[chosen].name
        drawn.append(space.space.choose(picks))
    drawn.sort(key=cost.cost)
    return [drawn[index] for index in np.linspace(0, len(drawn) - 1, count).round().astype(int)]


def calibrate_width_table(
    table: WidthLatencyTable,
    space: GPUNetSpace,
    timer: Timer,
    networks: int,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[WidthLatencyTable, TableFit, TableFit]:
    """Fit ``measured = intercept + slope * estimated`` on every other network and scale the table by it.

    Returns:
        the calibrated table, the least-squares fit of the raw table on the first half, and that of the calibrated one on the other
        half, which took no part in the calibration.

    Raises:
        ValueError: fewer than six networks, or measured latencies that do not rise with the table's.
    """
    if networks < 6:
        raise ValueError(f"networks: expected at least 6, half to calibrate and half to check, got {networks}")
    drawn = {
        str(number): architecture for number, architecture in enumerate(spread_architectures(space, table, networks, generator))
    }
    measured = [m.median for m in time_networks(drawn, space, timer, rounds, generator, progress, "calibration").values()]
    raw = width_latency_cost(table, space)
    estimated = [raw.cost(architecture) for architecture in drawn.values()]
    x, y = np.array(estimated[::2]), np.array(measured[::2])
    slope, intercept = np.polyfit(x, y, 1, w=1 / y).tolist()  # the weights multiply residuals: relative errors
    if not slope > 0:
        raise ValueError(
            f"measured latencies do not rise with the table's (slope {slope:.3g}, {len(x)} networks): the machine is too noisy; "
            "measure with more rounds, or when it is idle"
        )
    entries = tuple(e.model_copy(update={"median": e.median * slope, "spread": e.spread * slope}) for e in table.entries)
    fixed = max(0.0, table.fixed * slope + intercept)
    both = {"slope": table.slope * slope, "intercept": table.intercept * slope + intercept}
    scaled = table.model_copy(update={"entries": entries, "fixed": fixed, **both})
    cost = width_latency_cost(scaled, space)
    others = [cost.cost(architecture) for architecture in list(drawn.values())[1::2]]
    return scaled, TableFit.of(estimated[::2], measured[::2]), TableFit.of(others, measured[1::2])


def time_networks(
    architectures: Mapping[str, Architecture],
    space: GPUNetSpace,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
    what: str = "timing networks",
) -> dict[str, Measurement]:
    """Latencies by name; every round times every network once, in random order.

    Args:
        architectures: at least two.
        space: of them; weights do not matter.
        timer: how.
        rounds: at least one.
        generator: of the orders.
        progress: told (rounds done, rounds in all, what) after every round.
        what: of that.
    """
    images = timer.images(space)
    with torch.random.fork_rng(devices=[]):
        networks = {name: timer.place(space.network(architecture)) for name, architecture in architectures.items()}
    subjects = {name: timed_run(partial(network, images), timer) for name, network in networks.items()}
    kept, names = [], list(subjects)
    with timer.threads_set(), torch.inference_mode():
        for name in (*names, *names):  # warm-up: allocations and kernel choice
            subjects[name]()
        for number in range(rounds):
            kept.append({names[index]: subjects[names[index]]() for index in generator.permutation(len(names)).tolist()})
            if progress:
                progress(number + 1, rounds, what)
    corrected, _ = corrected_times(kept)
    return {name: Measurement.of(corrected[name][:, 0].tolist()) for name in names}  # rounds come in a shuffled order

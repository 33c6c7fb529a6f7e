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

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from constrained_nas.latency.block_table import TableFit, calibrate_on
from constrained_nas.latency.names import Progress
from constrained_nas.latency.rounds import measure_runs, timed_rounds
from constrained_nas.latency.runtimes import RuntimeName, prepare_run, require_runtime, runtime_called, runtime_title
from constrained_nas.latency.subjects import hooked
from constrained_nas.latency.timer import Measurement, Timer
from graphs import Architecture
from graphs.costs import BlockKey, Device, Measured, WidthLatencyTable, tabulate_widths, width_latency_cost
from graphs.spaces import GPUNetSpace

RESIDENT_NETWORKS = 24  # that are timed against each other; a paper-sized one takes some 100 MB


def measure_width_table(
    space: GPUNetSpace,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    widths_per_block: int | None = 5,
    progress: Progress | None = None,
    runtime: RuntimeName = "torch",
) -> WidthLatencyTable:
    """Time ``widths_per_block`` widths of every different block in context (None: all of them) and interpolate the others.

    Blocks are timed by hooks, which only torch as it is calls: in another ``runtime`` these times say how blocks compare, and the
    calibration (:func:`calibrate_width_table`), on whole networks in that runtime, what they take.

    Raises:
        ValueError: fewer than three rounds, or fewer than two widths.
    """
    if rounds < 3:
        raise ValueError(f"rounds: expected at least 3 for a median, got {rounds}")
    require_runtime(runtime, timer.device)
    device = Device(**timer.conditions(runtime_title(runtime, timer)))
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
    for first in range(0, len(architectures), RESIDENT_NETWORKS):
        group = architectures[first : first + RESIDENT_NETWORKS]
        subjects = {
            str(place): hooked(timer.place(_fresh(space, architecture)), list(space.layers), images, timer)
            for place, architecture in enumerate(group)
        }
        keys = {str(place): _block_keys(space, architecture) for place, architecture in enumerate(group)}

        def told(done: int, _: int, what: str, before: int = first * rounds, together: int = len(group)) -> None:
            if progress:
                progress(before + done * together, len(architectures) * rounds, what)

        for times in timed_rounds(subjects, timer, rounds, generator, told, "timing blocks"):
            for name, (*blocks, other) in times.items():
                rest.append(other)
                for key, milliseconds in zip(keys[name], blocks, strict=True):
                    if key in samples:
                        samples[key].append(milliseconds)
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


def calibrate_width_table(
    table: WidthLatencyTable,
    space: GPUNetSpace,
    timer: Timer,
    networks: int,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[WidthLatencyTable, TableFit, TableFit]:
    """Calibrate the table on random networks of every depth, in its runtime; returns and raises as ``block_table.calibrate_on``."""
    runtime = runtime_called(table.runtime)

    def measure(drawn: Sequence[Architecture]) -> list[float]:
        named = {str(number): architecture for number, architecture in enumerate(drawn)}
        times = time_networks(named, space, timer, rounds, generator, progress, "calibration", runtime)
        return [one.median for one in times.values()]

    return calibrate_on(space, table, lambda made: width_latency_cost(made, space), networks, generator, measure, relative=True)


def time_networks(
    architectures: Mapping[str, Architecture],
    space: GPUNetSpace,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
    what: str = "timing networks",
    runtime: RuntimeName = "torch",
) -> dict[str, Measurement]:
    """Latencies of two or more networks by name; every round times each once, in random order. Weights do not matter."""
    images = timer.images(space)
    runs = {name: prepare_run(_fresh(space, one), images, runtime, timer) for name, one in architectures.items()}
    return measure_runs(runs, timer, rounds, generator, progress, what)

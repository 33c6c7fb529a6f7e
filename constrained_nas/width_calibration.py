"""The calibration of a latency table of widths on networks of every depth.

Random networks rarely skip many layers, found ones do. A table calibrated on the former alone overrates the latter, as hooks and
neighbours cost something that a short network does not pay. Here networks skip as they are drawn to, from none to almost all, and
the affine fit weighs relative errors, so that short networks count as much as long ones. Every network is timed in every round, and
slow spells of the machine are taken out round by round.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from constrained_nas.interleaved import corrected_times, timed_run
from constrained_nas.timing import Measurement, Progress, TableFit, Timer
from graphs import Architecture
from graphs.costs.width_latency import WidthLatencyTable, layer_latencies, width_latency_cost
from graphs.fabrics.gpunet import GPUNetSpace

__all__ = ["calibrate_width_table", "spread_architectures", "time_networks"]


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

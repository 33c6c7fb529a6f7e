"""Measure the latency table of every block of a space, and calibrate it on whole networks.

Blocks are timed where they run: hooks inside uniform networks (every block in the same configuration), because blocks timed alone
under-estimate whole networks by a tenth. Rounds visit the networks in random order, so that a slow spell of the machine falls on
all of them alike; an entry is the median over rounds and its spread the interquartile range. Hooks and their neighbours still leave
a small bias, which an affine calibration on a few random networks, measured whole, takes out.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.1 and Fig. 3 (table against measured networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from constrained_nas.latency.timer import Measurement, Progress, Timer, device_name, measure_networks
from graphs import Architecture, MBConvSpace, Supernet
from graphs.costs import LatencyEntry, LatencyTable, QuadraticCost, latency_cost


@dataclass(frozen=True, slots=True)
class TableFit:
    """How well a table predicts whole networks: least squares ``measured = intercept + slope * estimated``, and R^2 of that line.

    ``worst`` is the greatest relative error of the estimates themselves.
    """

    slope: float
    intercept: float
    r_squared: float
    worst: float

    @classmethod
    def of(cls, estimated: Sequence[float], measured: Sequence[float]) -> TableFit:
        """Fit at least three networks.

        Raises:
            ValueError: fewer than three pairs, estimates or measurements that are all the same, or latencies that are not positive.
        """
        x, y = np.asarray(estimated, dtype=np.float64), np.asarray(measured, dtype=np.float64)
        if x.shape != y.shape or len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0 or not (y > 0).all():
            raise ValueError(
                "expected estimates and positive measurements of at least three different networks, got "
                f"{len(x)} estimates in {np.unique(x).size} values and {len(y)} measurements in {np.unique(y).size} values"
            )
        slope, intercept = np.polyfit(x, y, 1).tolist()
        residual = y - (intercept + slope * x)
        r_squared = 1.0 - float(residual @ residual) / float(((y - y.mean()) ** 2).sum())
        return cls(slope, intercept, r_squared, float(np.abs(x / y - 1).max()))


def uniform_architecture(space: MBConvSpace, configuration: int) -> Architecture:
    """Every block in the same configuration, every stage at full depth."""
    choices = dict.fromkeys(space.block_names, space.configurations[configuration].name)
    deepest = str(space.settings.depths[-1])
    choices |= {f"stage{stage + 1}.depth": deepest for stage in range(len(space.settings.stages))}
    return space.space.choose(choices)


def measure_table(
    space: MBConvSpace,
    supernet: Supernet,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> LatencyTable:
    """Time every configuration of every block in context, and what remains of the networks as ``fixed``.

    Args:
        space: its networks at full depth must fit the device.
        supernet: of the space; its weights do not matter.
        timer: batch, threads and device.
        rounds: passes over the uniform networks, at least 3.
        generator: decides the order of each round.

    Raises:
        ValueError: fewer than three rounds.
    """
    if rounds < 3:
        raise ValueError(f"rounds: expected at least 3 for a median, got {rounds}")
    options, blocks = len(space.configurations), len(space.block_names)
    networks = [timer.place(supernet.extract(uniform_architecture(space, option))) for option in range(options)]
    samples = np.empty((options, blocks, rounds))
    rest = np.empty((options, rounds))
    images = timer.images(space)
    with timer.threads_set(), torch.inference_mode():
        for network in networks:
            network(images)
            network(images)
        for round_number in range(rounds):
            for option in generator.permutation(options).tolist():
                times, rest[option, round_number] = timed_pass(networks[option], space.block_names, images, timer)
                samples[option, :, round_number] = times
            if progress:
                progress(round_number + 1, rounds, "timing blocks")
    entries = _entries(space, samples)
    return LatencyTable(
        unit="ms",
        space=space.space.name,
        device=device_name(timer.device),
        runtime="torch eager" + (", channels last" if timer.channels_last else ""),
        threads=timer.threads,
        dtype="float32",
        batch=timer.batch,
        resolution=space.settings.resolution,
        torch_version=str(torch.__version__),
        fixed=float(np.median(rest)),
        clock=timer.clock,
        entries=entries,
    )


def timed_pass(network: nn.Module, names: Sequence[str], images: Tensor, timer: Timer) -> tuple[np.ndarray, float]:
    """One pass of a network: ms of each of its modules called ``names`` (dots as underscores), in order, and of everything else."""
    stamps: dict[str, list[float]] = {name: [] for name in names}
    hooks = []
    for name in names:
        module = network.get_submodule(name.replace(".", "_"))
        hooks.append(module.register_forward_pre_hook(lambda *_, at=stamps[name]: at.append(timer.now())))
        hooks.append(module.register_forward_hook(lambda *_, at=stamps[name]: at.append(timer.now())))
    began = timer.now()
    network(images)
    total = timer.now() - began
    for hook in hooks:
        hook.remove()
    times = np.array([stamps[name][1] - stamps[name][0] for name in names])
    return times, total - float(times.sum())


def _entries(space: MBConvSpace, samples: np.ndarray) -> tuple[LatencyEntry, ...]:
    """Blocks of the same shape are one block: their samples are pooled."""
    groups: dict[object, list[int]] = {}
    for block, shape in enumerate(space.block_shapes):
        groups.setdefault(shape, []).append(block)
    entries = []
    for name, shape in zip(space.block_names, space.block_shapes, strict=True):
        for option, configuration in enumerate(space.configurations):
            found = Measurement.of(samples[option, groups[shape]].ravel().tolist())
            entries.append(
                LatencyEntry(
                    block=name, configuration=configuration.name, median=found.median, spread=found.spread, samples=found.samples
                )
            )
    return tuple(entries)


def calibrate(
    table: LatencyTable,
    space: MBConvSpace,
    supernet: Supernet,
    timer: Timer,
    networks: int,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[LatencyTable, TableFit, TableFit]:
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
    raw = latency_cost(table, space)
    drawn = _spread_architectures(space, raw, networks, generator)
    measured = measure_networks([supernet.extract(a) for a in drawn], timer.images(space), timer, rounds, generator, progress)
    times = [measurement.median for measurement in measured]
    before = TableFit.of([raw.cost(a) for a in drawn[::2]], times[::2])
    scaled = scale_table(table, before.slope, before.intercept)
    cost = latency_cost(scaled, space)
    after = TableFit.of([cost.cost(a) for a in drawn[1::2]], times[1::2])
    return scaled, before, after


def scale_table(table: LatencyTable, slope: float, intercept: float) -> LatencyTable:
    """The table after the affine calibration ``intercept + slope * estimated``; it states earlier calibrations and this as one."""
    slope = max(slope, 1e-6)  # a table of pure noise could fit any slope; a latency never falls as blocks are added
    entries = tuple(e.model_copy(update={"median": e.median * slope, "spread": e.spread * slope}) for e in table.entries)
    fixed = max(0.0, table.fixed * slope + intercept)
    both = {"slope": table.slope * slope, "intercept": table.intercept * slope + intercept}
    return table.model_copy(update={"entries": entries, "fixed": fixed, **both})


def _spread_architectures(
    space: MBConvSpace, cost: QuadraticCost, count: int, generator: np.random.Generator
) -> list[Architecture]:
    """Random architectures, evenly spaced in estimated latency among many draws (uniform draws alone crowd the middle)."""
    drawn = []
    for _ in range(40 * count):
        share = generator.random()  # how heavy this one tends to be
        picks = {}
        for decision in space.space.decisions:
            weights = np.linspace(1 - share, share, len(decision.options)) + 0.05
            picks[decision.name] = str(generator.choice(decision.options, p=weights / weights.sum()))
        drawn.append(space.space.choose(picks))
    drawn.sort(key=cost.cost)
    return [drawn[index] for index in np.linspace(0, len(drawn) - 1, count).round().astype(int)]

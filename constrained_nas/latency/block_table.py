"""Latency tables of every block of a space: from times measured in rounds, and calibrated on whole networks.

Blocks are timed where they run: hooks inside uniform networks (every block in the same configuration), because blocks timed alone
under-estimate whole networks by a tenth. Slow spells of the machine are taken out round by round; an entry is the median over
rounds and its spread the interquartile range. Hooks and their neighbours still leave a small bias, which an affine calibration on a
few random networks, measured whole, takes out.

``constrained_nas.latency.profiling`` measures blocks and networks in the same rounds and drops outliers; here they are measured one
after the other and nothing is dropped.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.1 and Fig. 3 (table against measured networks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from constrained_nas.latency.names import Progress
from constrained_nas.latency.robust_times import inliers, median_interval
from constrained_nas.latency.rounds import corrected_times, measure_networks, timed_rounds
from constrained_nas.latency.runtimes import runtime_title
from constrained_nas.latency.spread import Spread, spread_networks
from constrained_nas.latency.subjects import Context, first_of_shape, hooked, uniform_architecture
from constrained_nas.latency.timer import Measurement, Timer
from graphs import Architecture, MBConvSpace, Supernet
from graphs.costs import CostModel, LatencyEntry, LatencyTable, WidthLatencyTable, latency_cost
from solvers.arrays import FloatArray

Table = TypeVar("Table", LatencyTable, WidthLatencyTable)
NOISY = 0.05
CONFIDENCE = 0.95


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


def table_of_times(
    space: MBConvSpace, timer: Timer, runtime: str, context: Context, times: Mapping[str, FloatArray], drop: bool, **stated: Any
) -> LatencyTable:
    """The table of a space from the times (rounds, parts) of subjects, named as in ``constrained_nas.latency.subjects``.

    Args:
        timer, runtime: how they were timed.
        context: which of the subjects the entries come from.
        drop: leave outliers out, and flag entries whose median is not well known.
    """
    first = {shape: name for name, shape in first_of_shape(space).items()}
    entries = tuple(
        _entry(name, configuration.name, _block_samples(space, context, times, first[shape], configuration.name), drop)
        for name, shape in zip(space.block_names, space.block_shapes, strict=True)
        for configuration in space.configurations
    )
    kept = inliers if drop else np.asarray
    if context == "network":
        rests = [times[f"uniform {configuration.name}"][:, -1] for configuration in space.configurations]
        fixed = float(np.median(kept(np.concatenate(rests))))
    else:
        fixed = sum(float(np.median(kept(samples[:, 0]))) for name, samples in times.items() if name.startswith("fixed "))
    return LatencyTable(
        unit="ms",
        space=space.space.name,
        **timer.conditions(runtime),
        resolution=space.settings.resolution,
        fixed=fixed,
        context=context,
        clock=timer.clock,
        entries=entries,
        **stated,
    )


def _block_samples(
    space: MBConvSpace, context: Context, times: Mapping[str, FloatArray], name: str, configuration: str
) -> FloatArray:
    """All samples of a configuration of the blocks that have the shape of block ``name``."""
    if context == "isolated":
        return times[f"alone {name} {configuration}"][:, 0]
    if context == "chain":
        return times[f"chain {name} {configuration}"][:, 0] - times[f"before {name}"][:, 0]
    shape = space.block_shapes[space.block_names.index(name)]
    same = [place for place, other in enumerate(space.block_shapes) if other == shape]
    return times[f"uniform {configuration}"][:, same].ravel()


def _entry(block: str, configuration: str, samples: FloatArray, drop: bool) -> LatencyEntry:
    kept = inliers(samples) if drop else samples
    found = Measurement.of(kept.tolist())
    low, high = median_interval(kept.tolist(), CONFIDENCE)
    return LatencyEntry(
        block=block,
        configuration=configuration,
        median=max(0.0, found.median),  # a difference of chains may be less than its noise
        spread=found.spread,
        samples=found.samples,
        dropped=len(samples) - len(kept),
        noisy=drop and (high - low) / 2 > NOISY * found.median,
    )


def measure_table(
    space: MBConvSpace,
    supernet: Supernet,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> LatencyTable:
    """Time every configuration of every block in context, and what remains of the networks as ``fixed``.

    Networks at full depth must fit the device; the weights of ``supernet`` do not matter.

    Raises:
        ValueError: fewer than three rounds.
    """
    if rounds < 3:
        raise ValueError(f"rounds: expected at least 3 for a median, got {rounds}")
    images, subjects = timer.images(space), {}
    for option, configuration in enumerate(space.configurations):
        network = timer.place(supernet.extract(uniform_architecture(space, option)))
        subjects[f"uniform {configuration.name}"] = hooked(network, space.block_names, images, timer)
    times, _ = corrected_times(timed_rounds(subjects, timer, rounds, generator, progress, "timing blocks"))
    return table_of_times(space, timer, runtime_title("torch", timer), "network", times, drop=False)


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
    """Calibrate the table on random networks, measured whole; returns and raises as :func:`calibrate_on`."""

    def measure(drawn: Sequence[Architecture]) -> list[float]:
        extracted = [supernet.extract(architecture) for architecture in drawn]
        found = measure_networks(extracted, timer.images(space), timer, rounds, generator, progress)
        return [one.median for one in found]

    return calibrate_on(space, table, lambda made: latency_cost(made, space), networks, generator, measure)


def calibrate_on(
    space: Spread,
    table: Table,
    cost_of: Callable[[Table], CostModel],
    networks: int,
    generator: np.random.Generator,
    measure: Callable[[Sequence[Architecture]], Sequence[float]],
    relative: bool = False,
) -> tuple[Table, TableFit, TableFit]:
    """Measure random networks, fit ``measured = intercept + slope * estimated`` on every other one and scale the table by it.

    A table that was calibrated before states both calibrations as one.

    Args:
        cost_of: the cost that a table makes.
        measure: their latencies in ms.
        relative: fit relative errors, so that short networks count as much as long ones.

    Returns:
        the calibrated table, the least-squares fit of the raw table on the first half, and that of the calibrated table on the
        other half, which took no part in the calibration.

    Raises:
        ValueError: fewer than six networks; ``relative``, and measured latencies that do not rise with the table's.
    """
    if networks < 6:
        raise ValueError(f"networks: expected at least 6, half to calibrate and half to check, got {networks}")
    raw = cost_of(table)
    drawn = spread_networks(space, raw, networks, generator)
    estimated, measured = [raw.cost(architecture) for architecture in drawn], measure(drawn)
    before = TableFit.of(estimated[::2], measured[::2])
    slope, intercept = before.slope, before.intercept
    if relative:
        y = np.array(measured[::2])
        slope, intercept = np.polyfit(estimated[::2], y, 1, w=1 / y).tolist()  # the weights multiply residuals
        if not slope > 0:
            raise ValueError(
                f"measured latencies do not rise with the table's (slope {slope:.3g}, {len(y)} networks): the machine is too "
                "noisy; measure with more rounds, or when it is idle"
            )
    scaled = scale_table(table, slope, intercept)
    cost = cost_of(scaled)
    return scaled, before, TableFit.of([cost.cost(architecture) for architecture in drawn[1::2]], measured[1::2])


def scale_table(table: Table, slope: float, intercept: float) -> Table:
    """The table after the affine calibration ``intercept + slope * estimated``; it states earlier calibrations and this as one."""
    slope = max(slope, 1e-6)  # a table of pure noise could fit any slope; a latency never falls as blocks are added
    entries = tuple(e.model_copy(update={"median": e.median * slope, "spread": e.spread * slope}) for e in table.entries)
    fixed = max(0.0, table.fixed * slope + intercept)
    both = {"slope": table.slope * slope, "intercept": table.intercept * slope + intercept}
    return table.model_copy(update={"entries": entries, "fixed": fixed, **both})

"""Does a latency table predict whole networks? Random networks, evenly spaced in estimated latency, are measured and compared.

Networks run in rounds, every network once a round, in random order, with the reference network among them that was measured with
the table. Two things are not the table's fault and are taken out, so that a busy or throttled machine can be used: slow spells
(each round is divided by its drift factor, see ``constrained_nas.latency.robust_times``) and the machine's speed, now against
then: times are divided by (reference now / reference in the table). What was measured without that division is kept beside it.

Reference: Nayman et al., HardCoRe-NAS, Fig. 3 (slope 1.003, R^2 0.99).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import numpy as np
from pydantic import Field

from constrained_nas.latency.block_table import TableFit
from constrained_nas.latency.names import Progress
from constrained_nas.latency.robust_times import inliers, median_interval
from constrained_nas.latency.rounds import MeasurementLog, corrected_times, measure_rounds
from constrained_nas.latency.runtimes import require_runtime, runtime_called, runtime_title
from constrained_nas.latency.spread import spread_networks
from constrained_nas.latency.subjects import prepared_subjects, reference_architecture, seeded_supernet
from constrained_nas.latency.timer import Timer, device_name
from graphs import MBConvSpace
from graphs.costs import LatencyTable, TableConditions, latency_cost, require_conditions
from graphs.files import Record


class ValidatedNetwork(Record):
    """A network in ms: estimated; measured, with the 95 % interval of its median; and as measured before dividing by the speed."""

    choices: dict[str, str]
    estimated: float
    measured: float
    low: float
    high: float
    uncorrected: float


class Validation(Record):
    """Estimated against measured: least squares ``measured = intercept + slope * estimated``, its R^2, the worst relative error.

    ``ratio`` is the slope of the line through the origin. ``speed`` is the reference network's time now over that in the table; 1
    where the table has none. ``graphs.files.save_json`` writes it.
    """

    kind: Literal["table validation"] = "table validation"
    schema_version: Literal[1] = 1
    unit: Literal["ms"] = "ms"
    space: str
    device: str
    runtime: str
    threads: int
    batch: int
    resolution: int
    clock: str
    rounds: int
    seed: int
    speed: float = Field(gt=0)
    slope: float
    intercept: float
    ratio: float
    r_squared: float
    worst: float
    networks: tuple[ValidatedNetwork, ...]


def timer_of(table: LatencyTable, device: str = "cpu") -> Timer:
    """A timer that measures on ``device`` as the table was measured.

    Raises:
        ValueError: the table is of another device, or of a clock that does not suit; names both. Or the device is not there.
    """
    require_runtime("torch", device)  # before the device is asked for its name
    asked = TableConditions(device=device_name(device))
    require_conditions(table, asked)
    return Timer(table.batch, table.threads, device, "channels last" in table.runtime, table.clock)


def validate_table(
    table: LatencyTable,
    space: MBConvSpace,
    timer: Timer,
    networks: int = 20,
    rounds: int = 30,
    seed: int = 0,
    progress: Progress | None = None,
) -> Validation:
    """Measure random networks and compare them with what the table says; ``timer`` must agree with it, see :func:`timer_of`.

    Args:
        networks: how many, at least 3.
        rounds: how often each is measured, at least 6.
        seed: of networks, weights and orders.

    Raises:
        ValueError: a table of another space, device, batch, threads or clock; a runtime that is not there; too few networks or
            rounds.
    """
    if networks < 3 or rounds < 6:
        raise ValueError(f"expected at least 3 networks and 6 rounds, got {networks} and {rounds}")
    runtime = runtime_called(table.runtime)
    require_runtime(runtime, timer.device)
    asked = TableConditions(device=device_name(timer.device), batch=timer.batch, threads=timer.threads, clock=timer.clock)
    require_conditions(table, asked)
    cost = latency_cost(table, space)
    drawn = spread_networks(space, cost, networks, np.random.default_rng([seed, 2]))
    supernet, images = seeded_supernet(space, seed), timer.images(space)
    architectures = enumerate([*drawn, reference_architecture(space)])
    wanted = [(f"network {place}", supernet.extract(architecture), images) for place, architecture in architectures]
    subjects = prepared_subjects(wanted, runtime, timer, progress)
    log = MeasurementLog.opened(None, {})
    measure_rounds(subjects, timer, rounds, seed, log, progress)
    times, _ = corrected_times(log.rounds)
    kept = [inliers(times[name][:, 0]).tolist() for name in subjects]
    medians = [float(np.median(samples)) for samples in kept]
    speed = medians[-1] / table.reference.median if table.reference is not None else 1.0
    found = []
    for architecture, samples, median in zip(drawn, kept, medians, strict=False):  # the last is the reference
        low, high = median_interval(samples)
        found.append(
            ValidatedNetwork(
                choices=space.space.describe(architecture),
                estimated=cost.cost(architecture),
                measured=median / speed,
                low=low / speed,
                high=high / speed,
                uncorrected=median,
            )
        )
    estimated, measured = np.array([one.estimated for one in found]), np.array([one.measured for one in found])
    fit = TableFit.of(estimated.tolist(), measured.tolist())
    return Validation(
        space=space.space.name,
        device=table.device,
        runtime=runtime_title(runtime, timer),
        threads=timer.threads,
        batch=timer.batch,
        resolution=space.settings.resolution,
        clock=timer.clock,
        rounds=rounds,
        seed=seed,
        speed=speed,
        **asdict(fit),
        ratio=float(estimated @ measured / (estimated @ estimated)),
        networks=tuple(found),
    )

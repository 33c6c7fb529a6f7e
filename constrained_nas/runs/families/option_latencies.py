"""Measure the latency table of a space part by part on this machine, and calibrate it on whole networks.

Parts are timed as :mod:`constrained_nas.runs.families.timed_parts` says, and whole networks in rounds of their own. The sum of the
parts is not the whole: caches are warm for a part alone, and the rest of the network is known only as a difference. So networks
spread over the range of sums calibrate the table (an affine fit of relative errors) on every other one; the others check it.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from constrained_nas.latency import (
    Measurement,
    Progress,
    TableFit,
    Timer,
    ValidatedNetwork,
    Validation,
    calibrate_on,
    measure_runs,
    runtime_title,
    spread_networks,
)
from constrained_nas.runs.families.timed_parts import TimedParts
from graphs import Architecture
from graphs.costs import LatencyTable

_FEWEST = 6  # networks: half to calibrate, half to check


def measure_option_table(
    parts: TimedParts, timer: Timer, networks: int = 12, rounds: int = 30, seed: int = 0, progress: Progress | None = None
) -> tuple[LatencyTable, TableFit | None, TableFit | None]:
    """The calibrated table, the fit of the sums as they are, and that of the calibrated table on networks that took no part.

    A space of fewer than six networks is too small to calibrate: its table is of the sums as they are, and there are no fits.

    Args:
        parts: of a space whose only input is a batch of square images.
        timer: batch, threads, device and clock.
        networks: measured whole, at least 6 (all, where the space has fewer than that many).
        rounds: how often everything is timed, at least 6.
        seed: of the networks and the orders.

    Raises:
        ValueError: too few rounds or networks, or latencies that do not rise with the table's.
    """
    if rounds < 6:
        raise ValueError(f"rounds: expected at least 6, got {rounds}")
    generator = np.random.default_rng(seed)
    entries, fixed = parts.entries(timer, rounds, generator, progress)
    table = LatencyTable(
        unit="ms",
        space=parts.space.space.name,
        **timer.conditions(runtime_title("torch", timer)),
        resolution=parts.image[-1],
        fixed=fixed,
        context=parts.context,
        clock=timer.clock,
        entries=tuple(entries),
    )
    if parts.networks < _FEWEST:
        return table, None, None

    def measure(drawn: Any) -> list[float]:
        return [one.median for one in measure_whole(parts, drawn, timer, rounds, generator, progress)]

    return calibrate_on(parts.space, table, parts.cost_of, min(networks, parts.networks), generator, measure, relative=True)


def validate_option_table(
    table: LatencyTable, parts: TimedParts, timer: Timer, networks: int, rounds: int, seed: int, progress: Progress | None = None
) -> Validation:
    """Measure networks spread over the range of the table and compare; as :func:`constrained_nas.latency.validate_table`.

    Of a space that has fewer networks than are asked for, all are measured.

    Raises:
        ValueError: a table of another space, or too few networks or rounds.
    """
    if networks < 3 or rounds < 6:
        raise ValueError(f"expected at least 3 networks and 6 rounds, got {networks} and {rounds}")
    cost, generator = parts.cost_of(table), np.random.default_rng([seed, 2])
    drawn = spread_networks(parts.space, cost, min(networks, parts.networks), generator)
    measured = [one.median for one in measure_whole(parts, drawn, timer, rounds, generator, progress)]
    estimated = [cost.cost(architecture) for architecture in drawn]
    fit = TableFit.of(estimated, measured)
    found = [
        ValidatedNetwork(choices=parts.space.space.describe(one), estimated=e, measured=m, low=m, high=m, uncorrected=m)
        for one, e, m in zip(drawn, estimated, measured, strict=True)
    ]
    return Validation(
        space=parts.space.space.name,
        device=table.device,
        runtime=table.runtime,
        threads=table.threads,
        batch=table.batch,
        resolution=table.resolution,
        clock=timer.clock,
        rounds=rounds,
        seed=seed,
        speed=1.0,
        **asdict(fit),
        ratio=float(np.dot(estimated, measured) / np.dot(estimated, estimated)),
        networks=tuple(found),
    )


def measure_whole(
    parts: TimedParts,
    drawn: list[Architecture],
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Latencies of two or more networks, slow spells of the machine taken out."""
    images = timer.images(parts.image)
    runs = {str(number): partial(timer.place(parts.network(one)), images) for number, one in enumerate(drawn)}
    return list(measure_runs(runs, timer, rounds, generator, progress, "timing networks").values())

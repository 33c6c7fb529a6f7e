"""Measure the latency table of a network with choices on this machine, and calibrate it on whole networks.

Every option is timed alone, on what its choice was given, and whole networks in rounds of their own. The sum of the parts is not
the whole: caches are warm for a block alone, and the rest of the network is known only as a difference. So networks spread over the
range of sums calibrate the table (an affine fit of relative errors) on every other one; the others check it.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

from constrained_nas.latency import (
    Measurement,
    Progress,
    Subject,
    TableFit,
    Timer,
    ValidatedNetwork,
    Validation,
    calibrate_on,
    corrected_times,
    inliers,
    measure_runs,
    runtime_title,
    spread_networks,
    timed_rounds,
    timed_run,
)
from graphs import Architecture, ChoiceSpace
from graphs.costs import LatencyEntry, LatencyTable, choice_latency

_FEWEST = 6  # networks: half to calibrate, half to check


def measure_choice_table(
    space: ChoiceSpace, timer: Timer, networks: int = 12, rounds: int = 30, seed: int = 0, progress: Progress | None = None
) -> tuple[LatencyTable, TableFit | None, TableFit | None]:
    """The calibrated table, the fit of the sums as they are, and that of the calibrated table on networks that took no part.

    A space of fewer than six networks is too small to calibrate: its table is of the sums as they are, and there are no fits.

    Args:
        space: of a network whose only input is a batch of square images.
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
    first = space.space.architecture(space.space.blocks.vertex([0] * len(space.space.decisions)))
    images = _rows(space.example[0], len(space.example[0]), timer)
    subjects: dict[str, Subject] = {"whole": timed_run(partial(timer.place(space.extract(first)), images), timer)}
    for decision in space.space.decisions:
        for place, option in enumerate(decision.options):
            module = timer.place(space.option(decision.name, place))
            for call, inputs in enumerate(space.inputs[decision.name]):
                given = [_rows(value, len(space.example[0]), timer) for value in inputs]
                subjects[f"{decision.name}\n{option}\n{call}"] = timed_run(partial(module, *given), timer)
    kept = timed_rounds(subjects, timer, rounds, generator, progress, "timing options")
    times = {name: column[:, 0] for name, column in corrected_times(kept)[0].items()}
    entries = []
    for decision in space.space.decisions:
        for option in decision.options:
            calls = range(len(space.inputs[decision.name]))
            together = inliers(np.sum([times[f"{decision.name}\n{option}\n{call}"] for call in calls], axis=0))
            found = Measurement.of(together.tolist())
            entries.append(
                LatencyEntry(
                    block=decision.name,
                    configuration=option,
                    median=found.median,
                    spread=found.spread,
                    samples=found.samples,
                    dropped=rounds - found.samples,
                )
            )
    parts = [next(entry.median for entry in entries if entry.block == decision.name) for decision in space.space.decisions]
    table = LatencyTable(
        unit="ms",
        space=space.space.name,
        **timer.conditions(runtime_title("torch", timer)),
        resolution=images.shape[-1],
        fixed=max(0.0, float(np.median(times["whole"])) - sum(parts)),
        context="isolated",
        clock=timer.clock,
        entries=tuple(entries),
    )

    different = prod(len(decision.options) for decision in space.space.decisions)
    if different < _FEWEST:
        return table, None, None

    def measure(drawn: Any) -> list[float]:
        return [one.median for one in measure_whole(space, drawn, timer, rounds, generator, progress)]

    return calibrate_on(
        space, table, lambda made: choice_latency(made, space), min(networks, different), generator, measure, relative=True
    )


def validate_choice_table(
    table: LatencyTable, space: ChoiceSpace, timer: Timer, networks: int, rounds: int, seed: int, progress: Progress | None = None
) -> Validation:
    """Measure networks spread over the range of the table and compare; as :func:`constrained_nas.latency.validate_table`.

    Raises:
        ValueError: a table of another space, or too few networks or rounds.
    """
    if networks < 3 or rounds < 6:
        raise ValueError(f"expected at least 3 networks and 6 rounds, got {networks} and {rounds}")
    cost, generator = choice_latency(table, space), np.random.default_rng([seed, 2])
    drawn = spread_networks(space, cost, networks, generator)
    measured = [one.median for one in measure_whole(space, drawn, timer, rounds, generator, progress)]
    estimated = [cost.cost(architecture) for architecture in drawn]
    fit = TableFit.of(estimated, measured)
    found = [
        ValidatedNetwork(choices=space.space.describe(one), estimated=e, measured=m, low=m, high=m, uncorrected=m)
        for one, e, m in zip(drawn, estimated, measured, strict=True)
    ]
    return Validation(
        space=space.space.name,
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
    space: ChoiceSpace,
    drawn: list[Architecture],
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Latencies of two or more networks, slow spells of the machine taken out."""
    images = _rows(space.example[0], len(space.example[0]), timer)
    runs = {str(number): partial(timer.place(space.extract(one)), images) for number, one in enumerate(drawn)}
    return list(measure_runs(runs, timer, rounds, generator, progress, "timing networks").values())


def _rows(value: Any, traced: int, timer: Timer) -> Any:
    """As many rows as the timer has images, of an input that was traced with ``traced``."""
    if not isinstance(value, Tensor) or not value.ndim or len(value) != traced:
        return value
    return timer.placed(value[:1].repeat(timer.batch, *([1] * (value.ndim - 1))))

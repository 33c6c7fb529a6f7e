"""Rounds of interleaved timings: each runs every subject once, in random order, and slow spells are taken out afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from constrained_nas.measurement_log import MeasurementLog, RoundTimes
from constrained_nas.robust_times import drift_factors
from constrained_nas.runtimes import Run
from constrained_nas.timing import Progress, Timer

__all__ = ["Subject", "corrected_times", "measure_rounds", "timed_run"]

Subject = Callable[[], list[float]]  # runs something once: the ms of its parts


def timed_run(run: Run, timer: Timer) -> Subject:
    """The time of one run."""

    def once() -> list[float]:
        began = timer.now()
        run()
        return [timer.now() - began]

    return once


def measure_rounds(
    subjects: Mapping[str, Subject],
    timer: Timer,
    rounds: int,
    seed: int,
    log: MeasurementLog,
    progress: Progress | None = None,
) -> None:
    """Add rounds to the log until it has as many as wanted; each runs every subject once, in an order drawn from seed and round.

    Args:
        subjects: by name; warmed up by two runs that are not kept.
        timer: its threads are set, and restored.
        rounds: in all, those of the log included.
        seed: of the orders.
        log: where rounds go, and may have come from.
        progress: told (rounds done, rounds, "timing").
    """
    names = list(subjects)
    collecting = gc.isenabled()
    with timer.threads_set(), torch.inference_mode():
        for _ in range(2):
            for name in names:
                subjects[name]()
        try:
            gc.collect()
            gc.disable()  # a collection would fall on whichever subject runs
            for number in range(len(log.rounds), rounds):
                if progress:
                    progress(number, rounds, "timing")
                order = np.random.default_rng([seed, 1, number]).permutation(len(names))
                times: RoundTimes = {names[index]: subjects[names[index]]() for index in order}
                log.add(times)
        finally:
            if collecting:
                gc.enable()
    if progress:
        progress(rounds, rounds, "timing")


def corrected_times(rounds: Sequence[RoundTimes]) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Times (rounds, parts) by subject, each round divided by its drift factor, and these factors (rounds,)."""
    raw = {name: np.array([times[name] for times in rounds]) for name in rounds[0]}
    factors = drift_factors(np.stack([times.sum(axis=1) for times in raw.values()], axis=1))
    return {name: times / factors[:, None] for name, times in raw.items()}, factors

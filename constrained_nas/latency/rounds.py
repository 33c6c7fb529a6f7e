"""Rounds of interleaved timings, and the file of one line a round that a killed measurement leaves behind.

Each round runs every subject once, in random order, and slow spells are taken out afterwards. The first line of the file says what
is measured and how; it must be the same when the run continues. A last line that was cut off is dropped, and with it that round.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from constrained_nas.latency.names import Progress
from constrained_nas.latency.robust_times import drift_factors
from constrained_nas.latency.runtimes import Run
from constrained_nas.latency.timer import Measurement, Timer
from graphs.files import append_text, read_text, save_text

Subject = Callable[[], list[float]]  # runs something once: the ms of its parts
RoundTimes = dict[str, list[float]]  # ms by the name of what ran


def timed_run(run: Run, timer: Timer) -> Subject:
    """The time of one run."""

    def once() -> list[float]:
        began = timer.now()
        run()
        return [timer.now() - began]

    return once


def run_rounds(
    subjects: Mapping[str, Subject], timer: Timer, orders: Iterable[Sequence[int]], keep: Callable[[RoundTimes], None]
) -> None:
    """Run every subject once a round, in the round's order, after two runs that are not kept; ``keep`` is given every round."""
    names, collecting = list(subjects), gc.isenabled()
    with timer.threads_set(), torch.inference_mode():
        for name in names:
            for _ in range(2):  # warm-up: allocations and kernel choice
                subjects[name]()
        try:
            gc.collect()
            gc.disable()  # a collection would fall on whichever subject runs
            for order in orders:
                keep({names[index]: subjects[names[index]]() for index in order})
        finally:
            if collecting:
                gc.enable()


def timed_rounds(
    subjects: Mapping[str, Subject],
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
    what: str = "timing networks",
) -> list[RoundTimes]:
    """The times of every round; ``generator`` draws the orders, ``progress`` is told (rounds done, rounds, what)."""
    kept: list[RoundTimes] = []

    def keep(times: RoundTimes) -> None:
        kept.append(times)
        if progress:
            progress(len(kept), rounds, what)

    run_rounds(subjects, timer, (generator.permutation(len(subjects)).tolist() for _ in range(rounds)), keep)
    return kept


def measure_networks(
    networks: Sequence[nn.Module],
    images: Tensor,
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Latency of whole networks, which are put in evaluation mode on the timer's device: each runs once a round, in random order.

    Raises:
        ValueError: no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least one, got {rounds}")
    subjects = {str(place): timed_run(partial(timer.place(network), images), timer) for place, network in enumerate(networks)}
    kept = timed_rounds(subjects, timer, rounds, generator, progress)
    return [Measurement.of([times[name][0] for times in kept]) for name in subjects]


def measure_runs(
    runs: Mapping[str, Run],
    timer: Timer,
    rounds: int,
    generator: np.random.Generator,
    progress: Progress | None = None,
    what: str = "timing networks",
) -> dict[str, Measurement]:
    """Latencies of two or more runs by name, slow spells taken out; every round runs each once, in random order."""
    subjects = {name: timed_run(run, timer) for name, run in runs.items()}
    times, _ = corrected_times(timed_rounds(subjects, timer, rounds, generator, progress, what))
    return {name: Measurement.of(times[name][:, 0].tolist()) for name in runs}  # rounds come in a shuffled order


def measure_rounds(
    subjects: Mapping[str, Subject], timer: Timer, rounds: int, seed: int, log: MeasurementLog, progress: Progress | None = None
) -> None:
    """Add rounds to the log until it has ``rounds``; every order is drawn from the seed and the round's number."""

    def told() -> None:
        if progress:
            progress(len(log.rounds), rounds, "timing")

    def keep(times: RoundTimes) -> None:
        log.add(times)
        told()

    told()
    numbers = range(len(log.rounds), rounds)
    orders = (np.random.default_rng([seed, 1, number]).permutation(len(subjects)).tolist() for number in numbers)
    run_rounds(subjects, timer, orders, keep)


def corrected_times(rounds: Sequence[RoundTimes]) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Times (rounds, parts) by subject, each round divided by its drift factor, and these factors (rounds,)."""
    raw = {name: np.array([times[name] for times in rounds]) for name in rounds[0]}
    factors = drift_factors(np.stack([times.sum(axis=1) for times in raw.values()], axis=1))
    return {name: times / factors[:, None] for name, times in raw.items()}, factors


def log_beside(path: Path | str) -> Path:
    """Where the partial measurements of a file are kept."""
    target = Path(path)
    return target.with_name(target.name + ".partial.jsonl")


@dataclass(frozen=True, slots=True)
class MeasurementLog:
    """Rounds measured so far under ``header``. Make it with :meth:`opened`."""

    path: Path | None
    header: Mapping[str, Any]
    rounds: list[RoundTimes]

    @classmethod
    def opened(cls, path: Path | None, header: Mapping[str, Any]) -> MeasurementLog:
        """Begin a log, or read the one that is there; without a path it stays in memory.

        Raises:
            ValueError: the file is of other settings (names the first that differs), or is no log.
        """
        if path is None:
            return cls(None, header, [])
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            append_text(json.dumps(header) + "\n", path, durable=True)
            return cls(path, header, [])
        lines = read_text(path, "list of measurements").splitlines(keepends=True)
        complete = [line for line in lines if line.endswith("\n")]
        try:
            found, *rounds = [json.loads(line) for line in complete] or [None]
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: no measurements ({error.msg}); delete the file to start over") from error
        if found is None:  # killed while the first line was written
            path.unlink()
            return cls.opened(path, header)
        for name in {**header, **found}:
            if found.get(name) != header.get(name):
                raise ValueError(
                    f"{path}: holds measurements with {name} {found.get(name)!r}, not {header.get(name)!r}: finish them with the "
                    "settings they were begun with, or delete the file to start over"
                )
        if len(complete) < len(lines):  # what follows must not be appended to half a line
            save_text("".join(complete), path)
        return cls(path, header, rounds)

    def add(self, times: RoundTimes) -> None:
        """Keep one more round, in memory and in the file."""
        self.rounds.append(times)
        if self.path is not None:
            append_text(json.dumps(times) + "\n", self.path, durable=True)

    def close(self) -> None:
        """Remove the file: what it was kept for is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

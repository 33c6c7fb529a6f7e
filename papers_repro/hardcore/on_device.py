"""Hard as measured: found networks are timed in rounds beside a reference network, and re-solved until they fit on the device.

A machine that is slower than when its latency table was made slows every network alike, so times are told relative to a reference
that runs again after every few of them: ``ms = level x time / (mean of the reference before and after)``, where ``level`` is what
the reference took beside the table. Drift between the table and the measurement, and during it, cancels.

Networks whose methods can answer under another limit are tightened, or loosened where they leave much of the budget, by the rule of
``constrained_nas.latency.device_budget``; the confidence is that rule's, a network at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import (
    DeviceSearch,
    Progress,
    Subject,
    Timer,
    measured_together,
    reference_architecture,
    run_rounds,
    tightened,
    timed_run,
)
from graphs import Architecture, MBConvSpace
from papers_repro.hardcore.contest import HELD, RANDOM, Contest, Outcome
from papers_repro.hardcore.latencies import BlockLatencies
from papers_repro.harness import Reports
from solvers import InfeasibleError

_BETWEEN = 3  # networks from one run of the reference to the next


@dataclass(slots=True, eq=False)
class ReferenceRounds:
    """Times networks in interleaved rounds beside a reference network; all samples stay in ``kept``, by ``key``.

    Attributes:
        subject: what runs an architecture once and tells the ms.
        key: of an architecture; those of equal keys are measured once.
        reference: runs the reference once.
        level: ms of the reference when the machine is as it was beside the table; NaN until it is told or measured.
        rounds: samples a call takes of each network.
    """

    subject: Callable[[Architecture], Subject]
    key: Callable[[Architecture], Hashable]
    reference: Subject
    timer: Timer
    rounds: int
    generator: np.random.Generator
    level: float = float("nan")
    progress: Progress | None = None
    kept: dict[Hashable, list[float]] = field(default_factory=dict)

    def measure_level(self, passes: int) -> float:
        """Measure what the reference takes now, in ms: its median over so many passes."""
        times: list[float] = []
        run_rounds({"": self.reference}, self.timer, [[0]] * passes, lambda made: times.append(made[""][0]))
        self.level = float(np.median(times))
        return self.level

    def __call__(self, architectures: Sequence[Architecture]) -> list[list[float]]:
        """Samples (rounds,) of each, in ms at the reference's level."""
        distinct = {self.key(architecture): architecture for architecture in architectures}
        found: dict[Hashable, list[float]] = {key: [] for key in distinct}
        names = {str(place): key for place, key in enumerate(distinct)}
        subjects = {name: self.subject(distinct[key]) for name, key in names.items()}
        pauses = -(-len(names) // _BETWEEN) + 1
        subjects |= {f"reference {number}": self.reference for number in range(pauses)}
        done = 0

        def keep(times: dict[str, list[float]]) -> None:
            nonlocal done
            for name, sample in _relative(times, names):
                found[names[name]].append(self.level * sample)
            done += 1
            if self.progress is not None:
                self.progress(done, self.rounds, "rounds")

        run_rounds(subjects, self.timer, (self._order(len(names), pauses) for _ in range(self.rounds)), keep)
        for key, samples in found.items():
            self.kept.setdefault(key, []).extend(samples)
        return [found[self.key(architecture)] for architecture in architectures]

    def _order(self, networks: int, pauses: int) -> list[int]:
        """A random order of the networks, a run of the reference before, between and after them."""
        shuffled = self.generator.permutation(networks).tolist()
        order = []
        for number in range(pauses):
            order += [networks + number, *shuffled[number * _BETWEEN : (number + 1) * _BETWEEN]]
        return order


def _relative(times: dict[str, list[float]], names: dict[str, Hashable]) -> Iterator[tuple[str, float]]:
    """Every network's time over the mean of the reference's before and after it; ``times`` come as they were taken."""
    before, waiting = float("nan"), list[tuple[str, float]]()
    for name, (time,) in times.items():
        if name in names:
            waiting.append((name, time))
            continue
        yield from ((each, spent / (0.5 * (before + time))) for each, spent in waiting)
        before, waiting = time, []


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A network in the end: the answer that fitted on the device where the method could be held to it.

    Attributes:
        measured_ms: median of all its samples; ``bound_ms``: the upper bound at which it was taken to fit, None for other methods.
        attempts: networks measured until then.
    """

    outcome: Outcome
    result: SearchResult
    measured_ms: float
    bound_ms: float | None
    attempts: int

    @property
    def fits(self) -> bool:
        """Within the budget, as measured."""
        return self.measured_ms <= self.outcome.limit_ms


class Holding(Protocol):
    """How networks are held to their budgets."""

    @property
    def attempts(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def use(self) -> float: ...


def reference_rounds(space: MBConvSpace, latencies: BlockLatencies, rounds: int, generator: np.random.Generator) -> ReferenceRounds:
    """Rounds of bare networks of fresh weights, which do not matter to the time; the reference is the uniform one in the middle."""
    supernet, timer = space.supernet(), latencies.timer
    images = timer.images(space)

    def subject(architecture: Architecture) -> Subject:
        return timed_run(partial(timer.place(supernet.extract(architecture)), images), timer)

    def key(architecture: Architecture) -> str:
        return str(space.space.describe(architecture))

    return ReferenceRounds(subject, key, subject(reference_architecture(space)), timer, rounds, generator)


def hold_all(
    contest: Contest, outcomes: Sequence[Outcome], rounds: ReferenceRounds, holding: Holding, progress: Reports
) -> list[Found]:
    """Hold all that can be held to its budget as measured, then measure every network once more in the same rounds."""
    calls = 0

    def measure(architectures: Sequence[Architecture]) -> list[list[float]]:
        nonlocal calls
        calls += 1
        rounds.progress = progress.callback(f"measurement {calls}")
        return rounds(architectures)

    held = [outcome for outcome in outcomes if outcome.method in HELD]
    searches = measured_together([_held(contest, outcome, holding) for outcome in held], measure)
    by_outcome = {id(outcome): search for outcome, search in zip(held, searches, strict=True)}
    results = []
    for outcome in outcomes:
        search = by_outcome.get(id(outcome))
        results.append((outcome, outcome.result if search is None else search.result, search))
    measure([result.architecture for _, result, _ in results])
    found = []
    for outcome, result, search in results:
        measured = float(np.median(rounds.kept[rounds.key(result.architecture)]))
        bound = None if search is None else next(a.bound for a in reversed(search.attempts) if a.fits)
        found.append(Found(outcome, result, measured, bound, 0 if search is None else len(search.attempts)))
    return found


def _held(contest: Contest, outcome: Outcome, holding: Holding) -> Generator[Architecture, Sequence[float], DeviceSearch | None]:
    """None where nothing fits on the device; the network then stays as it was found."""
    limit = outcome.limit_ms
    try:
        return (
            yield from tightened(
                partial(contest.answer, outcome),
                limit,
                cost=contest.cost.name,
                cheapest=lambda: contest.cheapest(contest.problem(limit)),
                confidence=holding.confidence,
                attempts=holding.attempts,
                use=0.0 if outcome.method == RANDOM else holding.use,
            )
        )
    except InfeasibleError:
        return None

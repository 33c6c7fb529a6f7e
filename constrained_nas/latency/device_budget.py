"""Hard on the device, not only in the table: measure the found network, and tighten the solver's budget until it fits.

A table predicts within some percent, so a network that fits in the table may not on the device. Here the solver's limit L starts
at the budget T. The network it finds, of estimated latency e <= L, is measured; if an upper confidence bound m of its median
exceeds T, the next limit is e T / m: the observed ratio, applied to what was estimated. As that is less than e, no network comes
twice and estimates fall at least as fast as the ratios; a projection costs milliseconds, so some more of them are nothing beside a
search.

A network may also leave much of the budget unused, where the table is too high for it. With ``use`` the limit is then loosened by
the same rule, and once a network did not fit by halves of what lies between; the last one that fitted is handed back.

The bound is an order statistic (see ``constrained_nas.latency.robust_times``): no distribution of the times is assumed, only that
samples are independent. Each of at most K attempts is judged at confidence 1 - (1 - c) / K, so that "the median of the network
handed back is at most T" holds with confidence c however many were tried (union bound).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency.names import RuntimeName
from constrained_nas.latency.robust_times import least_samples, upper_median_bound
from constrained_nas.latency.rounds import timed_run
from constrained_nas.latency.runtimes import prepare_run, require_runtime
from constrained_nas.latency.timer import TimedSpace, Timer
from constrained_nas.problem import SearchProblem
from graphs import Architecture
from graphs.files import Record
from solvers import InfeasibleError


@dataclass(frozen=True, slots=True)
class DeviceAttempt:
    """One network: the limit it was projected onto, its estimate, its measured median, that median's upper bound, its samples."""

    limit: float
    estimated: float
    median: float
    bound: float
    samples: int
    fits: bool


@dataclass(frozen=True, slots=True)
class DeviceSearch:
    """A network that fits on the device, and every attempt in order; it is that of the last one that fitted."""

    result: SearchResult
    attempts: tuple[DeviceAttempt, ...]
    budget: float
    confidence: float


class DeviceRecord(Record):
    """A search on the device as a file (``graphs.files.save_json``): what it found and all attempts, in ``unit``."""

    kind: Literal["device search"] = "device search"
    schema_version: Literal[1] = 1
    space: str
    cost: str
    unit: str
    budget: float
    confidence: float
    choices: dict[str, str]
    attempts: tuple[DeviceAttempt, ...]


def fit_on_device(
    project: Callable[[float], SearchResult],
    measure: Callable[[Architecture], Sequence[float]],
    budget: float,
    *,
    cost: str = "latency",
    cheapest: Callable[[], SearchResult] | None = None,
    confidence: float = 0.95,
    attempts: int = 8,
    use: float = 0.0,
) -> DeviceSearch:
    """Project, measure and tighten until the measured median is at most the budget, with confidence.

    Args:
        project: the best architecture whose estimated cost is at most a limit; raises InfeasibleError where there is none.
        measure: samples of an architecture's cost on the device, in the budget's unit, all positive.
        cost: the name of the tightened cost in ``SearchResult.costs``.
        cheapest: the cheapest architecture by the table, tried before giving up where the tightened limit lies below it.
        confidence: that the median of the network handed back is at most the budget.
        attempts: at most so many networks are measured.
        use: while a network's bound is below this share of the budget, the limit is loosened and the next network tried, until
            nothing changes or the attempts are used up; 0 is content with the first that fits.

    Raises:
        InfeasibleError: no network fits: even the cheapest is too slow, or the attempts are used up; with all that were measured.
        ValueError: a budget that is not positive, no attempts, a share outside [0, 1], a confidence outside [1/2, 1), or too few
            samples for it.
    """
    tightening = tightened(project, budget, cost=cost, cheapest=cheapest, confidence=confidence, attempts=attempts, use=use)
    return measured_together([tightening], lambda architectures: [measure(each) for each in architectures])[0]


Answer = TypeVar("Answer")
Tightening = Generator[Architecture, Sequence[float], DeviceSearch]


def tightened(
    project: Callable[[float], SearchResult],
    budget: float,
    *,
    cost: str = "latency",
    cheapest: Callable[[], SearchResult] | None = None,
    confidence: float = 0.95,
    attempts: int = 8,
    use: float = 0.0,
) -> Tightening:
    """:func:`fit_on_device` as a generator: it yields the architecture to measure, is sent its samples, and returns what it found.

    So several of them are measured in the same rounds (:func:`measured_together`). Arguments and errors are those of the function;
    the errors come with the first ``next``.
    """
    if not budget > 0 or attempts < 1 or not 0 <= use <= 1:
        raise ValueError(f"expected a positive budget, at least one attempt and a share, got {budget}, {attempts} and {use}")
    least_samples(confidence)  # refuses a confidence out of range
    level = 1 - (1 - confidence) / attempts
    made: list[DeviceAttempt] = []
    found: SearchResult | None = None  # of the last attempt that fitted: from then on limits are loosened
    limit, least, too_slow, nothing_below = budget, 0.0, float("inf"), False  # looser limits lie between the two in the middle
    for _ in range(attempts):
        try:
            result = project(limit)
        except InfeasibleError as error:
            if found is not None:  # a looser limit on one cost cannot be infeasible, but the method may say so of its own
                break
            if cheapest is None:
                raise InfeasibleError(f"no network fits on the device: {error}{_told(made, budget)}") from error
            result, nothing_below = cheapest(), True
            if made and result.costs[cost] >= made[-1].estimated:  # it was the one measured last
                raise InfeasibleError(f"even the cheapest network is too slow{_told(made, budget)}") from error
        estimated = result.costs[cost]
        if found is not None and result.architecture == found.architecture:
            if too_slow == float("inf"):
                break
            least = limit  # what lies above may still hold another network
            limit = 0.5 * (least + too_slow)
            continue
        attempt = _attempt(limit, estimated, (yield result.architecture), budget, level)
        made.append(attempt)
        if attempt.fits:
            found = result
            least = estimated
            if nothing_below or attempt.bound >= use * budget:
                break
        elif nothing_below:
            raise InfeasibleError(f"even the cheapest network is too slow{_told(made, budget)}")
        else:
            too_slow = min(too_slow, estimated)
        limit = estimated * budget / attempt.bound
        if found is not None and (not attempt.fits or limit >= too_slow):
            limit = 0.5 * (least + too_slow)
    if found is None:
        raise InfeasibleError(f"no network fitted in {attempts} attempts{_told(made, budget)}")
    return DeviceSearch(found, tuple(made), budget, confidence)


def measured_together(
    tightenings: Sequence[Generator[Architecture, Sequence[float], Answer]],
    measure: Callable[[Sequence[Architecture]], Sequence[Sequence[float]]],
) -> list[Answer]:
    """What all of them find (:func:`tightened`); ``measure`` is given the networks that wait for samples, until none does."""
    found: dict[int, Answer] = {}
    waiting: dict[int, Architecture] = {}

    def advance(number: int, samples: Sequence[float] | None) -> None:
        try:
            waiting[number] = next(tightenings[number]) if samples is None else tightenings[number].send(samples)
        except StopIteration as ended:
            found[number] = ended.value

    for number in range(len(tightenings)):
        advance(number, None)
    while waiting:
        numbers, architectures = zip(*waiting.items(), strict=True)
        waiting.clear()
        for number, samples in zip(numbers, measure(architectures), strict=True):
            advance(number, samples)
    return [found[number] for number in range(len(tightenings))]


def with_limit(problem: SearchProblem, cost: str, limit: float) -> SearchProblem:
    """The problem with another limit on one of its costs.

    ``project`` is often ``lambda limit: method.finish(with_limit(problem, "latency", limit), state)``.

    Raises:
        ValueError: the problem has no budget on that cost.
    """
    if cost not in {budget.cost.name for budget in problem.budgets}:
        raise ValueError(f"no budget on {cost!r}; there are {', '.join(budget.cost.name for budget in problem.budgets)}")
    budgets = tuple(replace(budget, limit=limit) if budget.cost.name == cost else budget for budget in problem.budgets)
    return replace(problem, budgets=budgets)


def measure_alone(
    space: TimedSpace,
    build: Callable[[Architecture], nn.Module],
    timer: Timer,
    rounds: int = 40,
    runtime: RuntimeName = "torch",
) -> Callable[[Architecture], list[float]]:
    """A ``measure`` for :func:`fit_on_device`: ms of ``rounds`` passes of a bare network, after five that are not kept.

    ``build`` makes it: ``supernet.extract``, or ``space.network`` of fresh weights, which do not matter to the time. Nothing is
    corrected or dropped: what is claimed is the median of what is measured.

    Raises:
        ValueError: no round, or a runtime or device that is not there.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least one, got {rounds}")
    require_runtime(runtime, timer.device)
    images = timer.images(space)

    def measure(architecture: Architecture) -> list[float]:
        run = timed_run(prepare_run(build(architecture), images, runtime, timer), timer)
        with timer.threads_set(), torch.inference_mode():
            return [run()[0] for _ in range(rounds + 5)][5:]

    return measure


def device_record(found: DeviceSearch, problem: SearchProblem, cost: str = "latency") -> DeviceRecord:
    """What was found and everything that was tried."""
    unit = next(budget.unit for budget in problem.budgets if budget.cost.name == cost)
    return DeviceRecord(
        space=problem.space.name,
        cost=cost,
        unit=unit,
        budget=found.budget,
        confidence=found.confidence,
        choices=problem.space.describe(found.result.architecture),
        attempts=found.attempts,
    )


def _attempt(limit: float, estimated: float, samples: Sequence[float], budget: float, level: float) -> DeviceAttempt:
    if not samples or not min(samples) > 0:
        raise ValueError(f"measure: expected positive samples, got {list(samples)[:3]}")
    bound = upper_median_bound(samples, level)
    return DeviceAttempt(limit, estimated, float(np.median(samples)), bound, len(samples), bound <= budget)


def _told(made: Sequence[DeviceAttempt], budget: float) -> str:
    if not made:
        return ""
    fastest = min(made, key=lambda attempt: attempt.bound)
    return (
        f"; of {len(made)} measured the fastest took {fastest.median:.4g} (upper bound {fastest.bound:.4g}) where the budget is "
        f"{budget:.4g}"
    )

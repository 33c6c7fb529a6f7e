"""The latency of a run: its table, given or measured, and the found network held to the budget on the device itself.

What was measured lies in ``device.json``: a run that is killed afterwards goes on with the same network, since a state projected
onto the same limit is the same network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import (
    Clock,
    DeviceRecord,
    DeviceSearch,
    ProfileSettings,
    Progress,
    Timer,
    calibrate_width_table,
    device_record,
    fit_on_device,
    least_samples,
    log_beside,
    measure_alone,
    measure_width_table,
    profile_space,
    require_runtime,
    runtime_called,
    with_limit,
)
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.costs import Table, cheapest_network
from constrained_nas.runs.methods import Found
from constrained_nas.runs.record import MeasuredBudget
from constrained_nas.runs.settings import RunSettings
from constrained_nas.runs.setup import Prepared
from constrained_nas.runs.spaces import RunSpace
from graphs import Architecture, GPUNetSpace, MBConvSpace
from graphs.costs import LatencyTable
from graphs.files import load_json, save_json
from solvers import InfeasibleError

DEVICE_FILE = "device.json"
LATENCY = "latency"  # the name of the cost that tables make


def measure_run_table(space: RunSpace, settings: RunSettings, path: Path, progress: Progress | None = None) -> None:
    """Measure the latency table of a space on this machine and write it; in HardCoRe's spaces a killed measurement goes on.

    Raises:
        ValueError: a space without tables, or a device that is not there.
    """
    automatic: Clock = "processor" if settings.latency_device == "cpu" and settings.latency_threads == 1 else "wall"
    timer = Timer(settings.latency_batch, settings.latency_threads, settings.latency_device, clock=automatic)
    if isinstance(space, MBConvSpace):
        log = log_beside(path)
        found = profile_space(space, ProfileSettings("torch", timer, evidence=False, seed=settings.seed), log, progress)
        save_json(found.table, path)
        log.unlink(missing_ok=True)
    elif isinstance(space, GPUNetSpace):
        require_runtime("torch", timer.device)
        generator = np.random.default_rng(settings.seed)
        table = measure_width_table(space, timer, 20, generator, 4, progress)
        table, _, _ = calibrate_width_table(table, space, timer, 20, 20, generator, progress)
        save_json(table.model_copy(update={"runtime": f"{table.runtime}, {timer.clock} clock"}), path)
    else:
        raise ValueError(f"--measure-table: {settings.space} has no latency tables; use budgets that are counted")


def require_measurable(settings: RunSettings, table: Table) -> Timer:
    """The timer that measures networks as the table's entries were.

    Raises:
        ValueError: this machine lacks the device or the runtime, or too few rounds for the confidence.
    """
    if settings.latency_device != "cpu" and not settings.latency_device.startswith("cuda"):
        raise ValueError(
            f"--latency-device {settings.latency_device}: only cpu and cuda can be measured; --no-measure trusts the table"
        )
    try:
        require_runtime(runtime_called(table.runtime), settings.latency_device)
    except ValueError as error:
        raise ValueError(f"{error}; --no-measure trusts the table") from error
    needed = least_samples(_level(settings))
    if settings.rounds < needed:
        raise ValueError(
            f"--rounds {settings.rounds}: a confidence of {settings.confidence:g} over {settings.attempts} attempts needs {needed}"
        )
    return Timer(settings.latency_batch, settings.latency_threads, settings.latency_device, clock=_clock(table))


def fit_found(
    prepared: Prepared, problem: SearchProblem, found: Found, table: Table, progress: Progress | None = None
) -> tuple[SearchResult, MeasuredBudget, float]:
    """The found network, or the next that fits: measured, with confidence within the latency budget; and the seconds it took.

    Args:
        prepared: its folder keeps what was measured; what is there is not measured again.
        problem: one of its budgets is on the latency.
        found: by a search that can be projected again.
        table: whose conditions are those of the measurement.
        progress: told after each network.

    Raises:
        InfeasibleError: no network fits on the device; with all that were measured.
    """
    began, settings, space = time.perf_counter(), prepared.settings, prepared.space
    if not isinstance(space, MBConvSpace | GPUNetSpace):
        raise ValueError(f"{settings.space} has no latency to measure")
    budget = next(budget for budget in problem.budgets if budget.cost.name == LATENCY)
    path = prepared.folder / DEVICE_FILE

    def project(limit: float) -> SearchResult:
        return found.again(with_limit(problem, LATENCY, limit))

    def cheapest() -> SearchResult:
        architecture = cheapest_network(space, budget.cost)
        if not problem.fits(architecture):
            raise InfeasibleError("the network of least latency breaks another budget")
        return SearchResult(architecture, problem.costs(architecture), True, problem.space.point(architecture), None)

    if path.exists():
        record = load_json(path, DeviceRecord, "device search")
        result = _found_before(record, problem, project, cheapest)
    else:
        timer = require_measurable(settings, table)
        alone = measure_alone(space, _builder(prepared, space), timer, settings.rounds, runtime_called(table.runtime))
        measured = 0

        def measure(architecture: Architecture) -> Sequence[float]:
            nonlocal measured
            samples = alone(architecture)
            measured += 1
            if progress:
                progress(measured, settings.attempts, "measuring networks")
            return samples

        fitted: DeviceSearch = fit_on_device(
            project,
            measure,
            budget.limit,
            cost=LATENCY,
            cheapest=cheapest,
            confidence=settings.confidence,
            attempts=settings.attempts,
            use=settings.use,
        )
        result, record = fitted.result, device_record(fitted, problem, LATENCY)
        save_json(record, path)
    last = next(attempt for attempt in reversed(record.attempts) if attempt.fits)
    stated = MeasuredBudget(
        cost=LATENCY,
        unit=budget.unit,
        limit=budget.limit,
        median=last.median,
        bound=last.bound,
        samples=last.samples,
        fits=last.fits,
        confidence=record.confidence,
        attempts=record.attempts,
    )
    return result, stated, time.perf_counter() - began


def _found_before(
    record: DeviceRecord, problem: SearchProblem, project: Callable[[float], SearchResult], cheapest: Callable[[], SearchResult]
) -> SearchResult:
    """The network of the last attempt that fitted: a projection onto its limit or, where nothing did, the cheapest."""
    try:
        result = project(next(attempt.limit for attempt in reversed(record.attempts) if attempt.fits))
    except InfeasibleError:
        result = cheapest()
    if problem.space.describe(result.architecture) != record.choices:
        raise ValueError(f"{DEVICE_FILE} holds another network than this search leads to: delete it to measure again")
    return result


def _builder(prepared: Prepared, space: MBConvSpace | GPUNetSpace) -> Callable[[Architecture], nn.Module]:
    """Bare networks of any weights. PruNet's super-network has lost options that a projection may want back."""
    if isinstance(space, MBConvSpace) and prepared.supernet is not None:
        return prepared.supernet.extract
    if isinstance(space, GPUNetSpace):
        return space.network
    raise ValueError(f"{prepared.settings.space} has no super-network yet")


def _level(settings: RunSettings) -> float:
    return 1 - (1 - settings.confidence) / settings.attempts


def _clock(table: Table) -> Clock:
    if isinstance(table, LatencyTable):
        return table.clock
    return "processor" if table.runtime.endswith("processor clock") else "wall"

"""The latency of a run: its table, given or measured, and the found network held to the budget on the device itself.

What was measured lies in ``device.json``: a run that is killed afterwards continues with the same network, since a state projected
onto the same limit is the same network.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import (
    DeviceRecord,
    DeviceSearch,
    Progress,
    Timer,
    automatic_clock,
    device_name,
    device_record,
    fit_on_device,
    least_samples,
    measure_alone,
    require_runtime,
    runtime_called,
    with_limit,
)
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families import Family, Found, Prepared, RunTable
from constrained_nas.runs.record import MeasuredBudget
from constrained_nas.runs.settings import RunSettings
from graphs import Architecture
from graphs.costs import TableConditions, require_conditions
from graphs.files import load_json, save_json
from solvers import InfeasibleError

DEVICE_FILE = "device.json"
LATENCY = "latency"  # the name of the cost that tables make


def read_run_table(family: Family, path: Path, settings: RunSettings) -> RunTable:
    """Read a table that was measured as the settings ask for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another space, device, batch, number of threads, unit, resolution, type of
            numbers or runtime; names both.
    """
    name = settings.latency_device
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--latency-device {name}: torch sees no GPU here; say cpu, or the device's own name with --no-measure")
    device = device_name(name) if name == "cpu" or name.startswith("cuda") else name
    table = family.read_table(path)
    asked = TableConditions(device, settings.latency_batch, "ms", settings.latency_threads, resolution=settings.resolution)
    try:
        require_conditions(table, asked, str(path))
    except ValueError as error:
        flags = _flags_for(table, asked, settings.measure)
        raise ValueError(f"{error}; the flags for this one: {flags}" if flags else str(error)) from error
    if table.dtype != "float32":
        raise ValueError(f"{path}: measured with numbers of type {table.dtype!r}; networks are searched and measured in float32")
    if re.search("cuda|tensorrt|gpu", table.runtime, re.IGNORECASE):
        if table.device == device_name("cpu"):  # by whatever name it is asked for
            raise ValueError(f"{path}: measured in {table.runtime!r}, which runs on a GPU, for --latency-device {name}")
        if family.clock(table) == "processor":
            raise ValueError(f"{path}: measured in {table.runtime!r} by the processor's clock, which sees nothing of a GPU's work")
    return table


def _flags_for(table: RunTable, asked: TableConditions, measure: bool) -> str:
    """What to say so that a search takes a table as it is; nothing where no flag helps."""
    flags = []
    if table.device != asked.device:
        flags.append(f"--latency-device {shlex.quote(table.device)}")
        flags += ["--no-measure"] if measure else []
    flags += [f"--latency-batch {table.batch}"] if table.batch != asked.batch else []
    flags += [f"--latency-threads {table.threads}"] if table.threads != asked.threads else []
    flags += [f"--resolution {table.resolution}"] if table.resolution != asked.resolution else []
    return " ".join(flags)


def measure_run_table(prepared: Prepared, path: Path, progress: Progress | None = None) -> None:
    """Measure the latency table of a space on this machine and write it; in HardCoRe's spaces a killed measurement is resumed.

    Raises:
        ValueError: a space without tables, or a device that is not there.
    """
    settings = prepared.settings
    device, threads = settings.latency_device, settings.latency_threads
    timer = Timer(settings.latency_batch, threads, device, clock=automatic_clock(device, threads))
    prepared.family.measure_table(timer, settings.seed, path, progress)


def check_measurable(prepared: Prepared, table: RunTable) -> Timer:
    """The timer that measures networks as the table's entries were.

    Raises:
        ValueError: this machine lacks the device or the runtime, or too few rounds for the confidence.
    """
    settings = prepared.settings
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
    return Timer(settings.latency_batch, settings.latency_threads, settings.latency_device, clock=prepared.family.clock(table))


def fit_found(
    prepared: Prepared, problem: SearchProblem, found: Found, table: RunTable, progress: Progress | None = None
) -> tuple[SearchResult, MeasuredBudget, float]:
    """The found network, or the next that fits: measured, with confidence within the latency budget; and the seconds it took.

    Args:
        prepared: its folder keeps what was measured; what is there is not measured again.
        problem: one of its budgets is on the latency.
        found: by a search that can be projected again.
        table: whose conditions are those of the measurement.

    Raises:
        InfeasibleError: no network fits on the device; with all that were measured.
    """
    began, settings = time.perf_counter(), prepared.settings
    budget = next(budget for budget in problem.budgets if budget.cost.name == LATENCY)
    path = prepared.folder / DEVICE_FILE

    def project(limit: float) -> SearchResult:
        return found.again(with_limit(problem, LATENCY, limit))

    def cheapest() -> SearchResult:
        architecture = prepared.family.cheapest(budget.cost)
        if not problem.fits(architecture):
            raise InfeasibleError("the network of least latency breaks another budget")
        return SearchResult.of(problem, architecture, problem.space.point(architecture))

    if path.exists():
        record = load_json(path, DeviceRecord, "device search")
        result = _found_before(record, problem, project, cheapest)
    else:
        timer = check_measurable(prepared, table)
        alone = measure_alone(*prepared.family.timed(prepared), timer, settings.rounds, runtime_called(table.runtime))
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


def _level(settings: RunSettings) -> float:
    return 1 - (1 - settings.confidence) / settings.attempts

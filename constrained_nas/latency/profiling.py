"""Measure a latency table that can be trusted: blocks timed in two ways, and whole networks to judge them by, in the same rounds.

A round runs every subject once, in random order: uniform networks with hooks around their blocks (in context), or, in runtimes
without hooks, a chain of two blocks whose difference to its first block alone is the second; every different block alone; random
networks whole; and a reference network. Blocks of the same shape are one block. Slow spells of the machine are taken out round by
round, outliers are dropped, and a median that is not well known is flagged (see ``constrained_nas.latency.robust_times``). The
whole networks tell which way of timing blocks predicts them better and calibrate the table; for the check each half of them is
predicted by the calibration on the other.

Rounds are kept in a file as they are measured: a run that was killed continues from there.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.1 and Fig. 3 (table against measured networks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from constrained_nas.latency.block_table import CONFIDENCE, NOISY, TableFit, scale_table, table_of_times
from constrained_nas.latency.names import BlockTiming, Progress, RuntimeName
from constrained_nas.latency.robust_times import OUTLIER_DEVIATIONS, inliers
from constrained_nas.latency.rounds import MeasurementLog, corrected_times, measure_rounds
from constrained_nas.latency.runtimes import require_runtime, runtime_title
from constrained_nas.latency.spread import spread_networks
from constrained_nas.latency.subjects import Context, profile_subjects, reference_architecture
from constrained_nas.latency.timer import Measurement, Timer
from graphs import Architecture, MBConvSpace
from graphs.costs import LatencyTable, PredictionEvidence, ReferenceLatency, latency_cost, mac_cost

RULES = (
    f"rounds in random order, each divided by its drift factor; outliers: more than {OUTLIER_DEVIATIONS} robust standard "
    f"deviations from the median; noisy: {CONFIDENCE:.0%} interval of the median wider than +-{NOISY:.0%} of it"
)


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How a table is measured.

    Attributes:
        rounds: how often everything is timed, at least 6: the 95 % interval of a median needs as many.
        networks: random networks measured whole, at least 6, that calibrate the table.
        timing: of blocks, for the table.
        evidence: time blocks in the other way as well, and say which predicts networks better.
        seed: of the order of the rounds, the networks and their weights.
    """

    runtime: RuntimeName = "torch"
    timer: Timer = field(default_factory=Timer)
    rounds: int = 50
    networks: int = 20
    timing: BlockTiming = "in-context"
    evidence: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.networks < 6 or self.rounds < 6:
            raise ValueError(f"expected at least 6 networks and 6 rounds, got {self.networks} and {self.rounds}")

    @property
    def contexts(self) -> tuple[Context, ...]:
        """The ways of timing blocks, the table's first."""
        inside: Context = "network" if self.runtime == "torch" else "chain"
        ways: tuple[Context, ...] = (inside, "isolated") if self.timing == "in-context" else ("isolated", inside)
        return ways if self.evidence else ways[:1]


@dataclass(frozen=True, slots=True)
class Profiled:
    """A calibrated table and how it came about.

    Attributes:
        table: calibrated on the networks.
        before: fit of the sums of blocks as they were; its line is the calibration.
        check: fit of what the calibration on each half of the networks says of the other half.
        drift: of every round; 1 is ordinary.
        busy: how many times as long the reference takes by the wall clock; 1 where that is the clock.
    """

    table: LatencyTable
    before: TableFit
    check: TableFit
    drift: tuple[float, ...]
    busy: float


def profile_space(
    space: MBConvSpace, settings: ProfileSettings, log: Path | None = None, progress: Progress | None = None
) -> Profiled:
    """Measure and calibrate the latency table of a space, whose networks at full depth must fit the device.

    Args:
        log: keeps the rounds measured so far; what is in it is used, and the caller removes it once the table is written.
        progress: told (steps done, steps in all, what).

    Raises:
        ValueError: a runtime or device that is not there, or a log of other settings.
    """
    require_runtime(settings.runtime, settings.timer.device)
    header = _header(space, settings)
    kept = MeasurementLog.opened(log, header)
    drawn = spread_networks(space, mac_cost(space), settings.networks, np.random.default_rng([settings.seed, 0]))
    if len(kept.rounds) < settings.rounds:
        subjects = profile_subjects(space, settings.contexts, drawn, settings.runtime, settings.timer, settings.seed, progress)
        measure_rounds(subjects, settings.timer, settings.rounds, settings.seed, kept, progress)
    times, drift = corrected_times(kept.rounds)
    reference = ReferenceLatency(
        choices=space.space.describe(reference_architecture(space)), median=float(np.median(inliers(times["reference"][:, 0])))
    )
    title = runtime_title(settings.runtime, settings.timer)
    raws = [
        table_of_times(space, settings.timer, title, context, times, drop=True, rules=RULES, reference=reference)
        for context in settings.contexts
    ]
    measured = [Measurement.of(inliers(times[f"network {index}"][:, 0]).tolist()).median for index in range(len(drawn))]
    evidence = tuple(_evidence(raw, space, drawn, measured) for raw in raws)
    estimates = [latency_cost(raws[0], space).cost(architecture) for architecture in drawn]
    before = TableFit.of(estimates, measured)
    table = scale_table(raws[0], before.slope, before.intercept).model_copy(update={"evidence": evidence})
    check = TableFit.of(_cross_calibrated(estimates, measured), measured)
    busy = float(np.median(times["wall clock"])) / np.median(times["reference"]) if "wall clock" in times else 1.0
    return Profiled(table, before, check, tuple(drift.tolist()), float(busy))


def _header(space: MBConvSpace, settings: ProfileSettings) -> dict[str, Any]:
    timer = settings.timer
    conditions = timer.conditions(runtime_title(settings.runtime, timer))
    del conditions["dtype"]  # logs do not state it
    return {
        "kind": "profile measurements",
        "schema_version": 1,
        "space": space.space.name,
        **conditions,
        "clock": timer.clock,
        "contexts": sorted(settings.contexts),
        "networks": settings.networks,
        "seed": settings.seed,
    }


def _evidence(
    table: LatencyTable, space: MBConvSpace, drawn: Sequence[Architecture], measured: Sequence[float]
) -> PredictionEvidence:
    cost = latency_cost(table, space)
    estimates = [cost.cost(architecture) for architecture in drawn]
    fit = TableFit.of(estimates, measured)
    return PredictionEvidence(
        context=table.context,
        networks=len(drawn),
        **asdict(fit),
        worst_calibrated=TableFit.of(_cross_calibrated(estimates, measured), measured).worst,
    )


def _cross_calibrated(estimates: Sequence[float], measured: Sequence[float]) -> list[float]:
    """Every other network's estimate by the affine calibration on the rest, and the other way round: none is judged by itself."""
    calibrated = np.empty(len(estimates))
    for mine in (0, 1):
        other = TableFit.of(estimates[1 - mine :: 2], measured[1 - mine :: 2])
        calibrated[mine::2] = other.intercept + other.slope * np.asarray(estimates[mine::2])
    found: list[float] = calibrated.tolist()
    return found

"""Latency tables: what each block costs on a device, as a versioned JSON file, and the cost model they make.

A table states its unit, device, runtime, threads, dtype, batch and resolution; a table in another unit is an error, not a
conversion, because budgets in the wrong unit are the commonest failure of all. Measuring is ``constrained_nas.latency.timer``'s
work.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.1 (latency table), Eq. 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from graphs.costs.conditions import ENERGY_TABLE, MeasuredTable, measured_name, medians_by_key
from graphs.costs.models import QuadraticCost
from graphs.files import Record, load_json
from graphs.spaces import MBConvSpace


class LatencyEntry(Record):
    """One configuration of one block: median and interquartile range over ``samples`` measurements, in ms.

    ``dropped`` outliers are not among the samples; ``noisy`` says that the median is not well known (the table's ``rules`` say how
    both are decided).
    """

    block: str
    configuration: str
    median: float = Field(ge=0, allow_inf_nan=False)
    spread: float = Field(ge=0, allow_inf_nan=False)
    samples: int = Field(ge=1)
    dropped: int = Field(default=0, ge=0)
    noisy: bool = False


class ReferenceLatency(Record):
    """A network measured whole among the blocks, in ms: measured again later, it says how fast the device is by then."""

    choices: dict[str, str]
    median: float = Field(gt=0, allow_inf_nan=False)


class PredictionEvidence(Record):
    """How blocks timed in one way predict networks measured whole in the same rounds.

    ``measured = intercept + slope * estimated`` and ``worst`` relative error are of the sums as they are; ``worst_calibrated`` is
    what is left on each half of the networks when an affine calibration on the other half is applied.
    """

    context: str
    networks: int = Field(ge=3)
    slope: float
    intercept: float
    r_squared: float
    worst: float
    worst_calibrated: float


class LatencyTable(MeasuredTable):
    """Latencies of every configuration of every block of a space, in ms; or energies (kind ``energy table``), in mJ.

    ``context`` says how blocks were timed: inside whole networks, as differences of chains, alone, or elsewhere (``source`` says
    where); the processor clock counts only the time that the thread ran. Version 2 added these and what follows the entries;
    version 1 is read.
    """

    kind: Literal["latency table", "energy table"] = "latency table"
    schema_version: Literal[1, 2] = 2
    context: Literal["network", "chain", "isolated", "imported"] = "network"
    clock: Literal["wall", "processor"] = "wall"
    entries: tuple[LatencyEntry, ...]
    rules: str = ""
    reference: ReferenceLatency | None = None
    evidence: tuple[PredictionEvidence, ...] = ()
    source: str = ""


def load_latency_table(path: Path | str) -> LatencyTable:
    """Read a table of latencies; raises as ``graphs.files.load_json`` does, also for a table in another unit."""
    table = load_json(path, LatencyTable, "latency table")
    if table.kind == ENERGY_TABLE:
        raise ValueError(f"{path}: a table of energies, not of latencies: give it by --energy-table")
    return table


def load_energy_table(path: Path | str) -> LatencyTable:
    """Read a table of energies; raises as ``graphs.files.load_json`` does, also for one of latencies."""
    table = load_json(path, LatencyTable, "energy table")
    if table.kind != ENERGY_TABLE:
        raise ValueError(f"{path}: a table of latencies, not of energies: give it by --table")
    return table


def latency_cost(table: LatencyTable, space: MBConvSpace) -> QuadraticCost:
    """The expected latency (or energy) of the space's networks by the table: bilinear in configurations and depths.

    Raises:
        ValueError: the table is of another space, or has none or two entries for a block's configuration; names the first.
    """
    wanted = [(block, configuration.name) for block in space.block_names for configuration in space.configurations]
    entries = (((entry.block, entry.configuration), entry.median) for entry in table.entries)
    medians = medians_by_key(table, space.space.name, entries, wanted, "block {!r}, configuration {!r}".format)
    times = np.array([medians[key] for key in wanted])
    return QuadraticCost(measured_name(table), table.unit, space.space, space.staged.cost(table.fixed, times))

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
from pydantic import BaseModel, ConfigDict, Field, field_validator

from graphs.costs.models import QuadraticCost
from graphs.files import load_table, save_table
from graphs.spaces import MBConvSpace


class LatencyEntry(BaseModel):
    """One configuration of one block: median and interquartile range over ``samples`` measurements, in ms.

    ``dropped`` outliers are not among the samples; ``noisy`` says that the median is not well known (the table's ``rules`` say how
    both are decided).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    block: str
    configuration: str
    median: float = Field(ge=0, allow_inf_nan=False)
    spread: float = Field(ge=0, allow_inf_nan=False)
    samples: int = Field(ge=1)
    dropped: int = Field(default=0, ge=0)
    noisy: bool = False


class ReferenceLatency(BaseModel):
    """A network measured whole among the blocks, in ms: measured again later, it says how fast the device is by then."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    choices: dict[str, str]
    median: float = Field(gt=0, allow_inf_nan=False)


class PredictionEvidence(BaseModel):
    """How blocks timed in one way predict networks measured whole in the same rounds.

    ``measured = intercept + slope * estimated`` and ``worst`` relative error are of the sums as they are; ``worst_calibrated`` is
    what is left on each half of the networks when an affine calibration on the other half is applied.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    context: str
    networks: int = Field(ge=3)
    slope: float
    intercept: float
    r_squared: float
    worst: float
    worst_calibrated: float


class LatencyTable(BaseModel):
    """Latencies of every configuration of every block of a space and of the rest of the network (``fixed``), in ms.

    ``slope`` and ``intercept`` are those of the affine calibration already applied to the entries (1 and 0: none). ``context`` says
    how blocks were timed: inside whole networks, as differences of chains, alone, or elsewhere (``source`` says where); the
    processor clock counts only the time that the thread ran. Version 2 added these and what follows the entries; version 1 is read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["latency table"] = "latency table"
    schema_version: Literal[1, 2] = 2
    unit: str
    space: str
    device: str
    runtime: str
    threads: int = Field(ge=1)
    dtype: str
    batch: int = Field(ge=1)
    resolution: int = Field(ge=1)
    torch_version: str
    fixed: float = Field(ge=0, allow_inf_nan=False)
    slope: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    intercept: float = Field(default=0.0, allow_inf_nan=False)
    context: Literal["network", "chain", "isolated", "imported"] = "network"
    clock: Literal["wall", "processor"] = "wall"
    entries: tuple[LatencyEntry, ...]
    rules: str = ""
    reference: ReferenceLatency | None = None
    evidence: tuple[PredictionEvidence, ...] = ()
    source: str = ""

    @field_validator("unit")
    @classmethod
    def _milliseconds(cls, unit: str) -> str:
        if unit != "ms":
            raise ValueError(f"the table is in {unit!r}, expected 'ms': convert every number to milliseconds, then say unit 'ms'")
        return unit


def load_latency_table(path: Path | str) -> LatencyTable:
    """Read and validate a table.

    Raises:
        ValueError: the file is not complete JSON, is no latency table of this version, or is in another unit; says which and where.
        FileNotFoundError: there is no such file.
    """
    return load_table(path, LatencyTable, "latency table")


def save_latency_table(table: LatencyTable, path: Path | str) -> None:
    """Write a table whole or not at all."""
    save_table(table, path)


def latency_cost(table: LatencyTable, space: MBConvSpace) -> QuadraticCost:
    """The expected latency of the space's networks by the table, in ms: bilinear in configurations and depths.

    Raises:
        ValueError: the table is of another space, or has none or two entries for a block's configuration; names the first.
    """
    if table.space != space.space.name:
        raise ValueError(
            f"the latency table is of space {table.space!r}, the search is in {space.space.name!r}: measure this space"
        )
    medians: dict[tuple[str, str], float] = {}
    for entry in table.entries:
        if (entry.block, entry.configuration) in medians:
            where = f"block {entry.block!r}, configuration {entry.configuration!r}"
            raise ValueError(f"the latency table has two entries for {where}")
        medians[entry.block, entry.configuration] = entry.median
    times = []
    for block in space.block_names:
        for configuration in space.configurations:
            if (block, configuration.name) not in medians:
                raise ValueError(f"the latency table has no entry for block {block!r}, configuration {configuration.name!r}")
            times.append(medians[block, configuration.name])
    return QuadraticCost("latency", table.unit, space.space, space.staged.cost(table.fixed, np.asarray(times)))

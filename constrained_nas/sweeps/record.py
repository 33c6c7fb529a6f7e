"""The files of a sweep: a small one a cell, and ``sweep.json`` with all of them and the Pareto fronts.

``sweep.json`` holds results only, no times: a sweep that was killed and gone on with ends in the same file. What everything took
lies beside it, in the cells' files and in ``times.json``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constrained_nas.records import BudgetRecord
from constrained_nas.runs import CertificateRecord, NetworkRecord
from solvers import hypervolume, non_dominated

Record = TypeVar("Record", bound=BaseModel)


class CellRecord(BaseModel):
    """One cell. ``how``: it searched, an earlier search was projected onto its budgets, a network was drawn, or nothing fits.

    ``limits`` and ``searched`` (the budgets of the search behind it) are by the names of the command line; ``budgets`` and
    ``costs`` by the costs' own. ``network`` has the test accuracy in %, None where it was not tested.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["sweep cell"] = "sweep cell"
    schema_version: Literal[1] = 1
    key: str
    method: str
    table: str
    limits: dict[str, float]
    how: Literal["searched", "projected", "drawn", "impossible"]
    searched: dict[str, float] = Field(default_factory=dict)
    budgets: tuple[BudgetRecord, ...] = ()
    network: NetworkRecord | None = None
    certificate: CertificateRecord | None = None
    remark: str = ""
    seconds: float | None = None

    @property
    def fits(self) -> bool:
        """Whether there is a network that meets every budget."""
        return self.network is not None and all(budget.fits for budget in self.budgets)


class SweepTable(BaseModel):
    """A latency table of the sweep: its content's hash, the file it came from, and what it was measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hash: str
    name: str
    device: str
    batch: int
    threads: int


class SweepFront(BaseModel):
    """The Pareto front of test accuracy over one cost, among the cells that fit.

    ``hypervolume`` is the share of the rectangle from nothing to ``reference`` (cost of the largest network; accuracy from 0 to
    100 %) that is dominated; ``by_method`` the same of each method alone. ``keys`` are the cells on the front, by rising cost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    cost: str
    unit: str
    table: str
    reference: float
    hypervolume: float
    by_method: dict[str, float]
    keys: tuple[str, ...]


class SweepRecord(BaseModel):
    """A whole sweep; ``settings`` are what decides its searches and tests, ``weights`` the super-network's hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["sweep"] = "sweep"
    schema_version: Literal[1] = 1
    space: str
    data: str
    weights: str
    search: Literal["once", "every"]
    tested: str
    settings: dict[str, Any]
    units: dict[str, str]
    tables: tuple[SweepTable, ...]
    methods: tuple[str, ...]
    cells: tuple[CellRecord, ...]
    references: tuple[NetworkRecord, ...]
    fronts: tuple[SweepFront, ...]
    remarks: tuple[str, ...] = ()


def fronts_of(cells: Sequence[CellRecord], largest: dict[str, dict[str, float]], units: dict[str, str]) -> tuple[SweepFront, ...]:
    """A front for every cost that a budget limits; latencies of different tables have fronts of their own.

    Args:
        cells: of the sweep; those without a tested network that fits take no part.
        largest: by table, the costs of the largest network.
        units: of the costs.
    """
    able = [cell for cell in cells if cell.fits and cell.network is not None and cell.network.accuracy is not None]
    fronts = []
    groups = dict.fromkeys((b.cost, cell.table if b.unit == "ms" else "") for cell in able for b in cell.budgets)
    for cost, table in groups:
        group = [cell for cell in able if not table or cell.table == table]
        reference = next(sizes[cost] for name, sizes in largest.items() if not table or name == table)
        points = [_point(cell, cost, reference) for cell in group]
        kept = non_dominated(points, [False, True], keep_duplicates=False)
        on_front = sorted((point[0], cell.key) for cell, point, keep in zip(group, points, kept.tolist(), strict=True) if keep)
        by_method = {
            method: _volume([point for cell, point in zip(group, points, strict=True) if cell.method == method])
            for method in dict.fromkeys(cell.method for cell in group)
        }
        fronts.append(
            SweepFront(
                cost=cost,
                unit=units[cost],
                table=table,
                reference=reference,
                hypervolume=_volume(points),
                by_method=by_method,
                keys=tuple(key for _, key in on_front),
            )
        )
    return tuple(fronts)


def _point(cell: CellRecord, cost: str, reference: float) -> tuple[float, float]:
    """Cost as a share of the largest network's, accuracy as a share of 100 %."""
    network = cell.network
    if network is None or network.accuracy is None:
        raise ValueError(f"cell {cell.key} has no tested network")
    return network.costs[cost] / reference, network.accuracy / 100


def _volume(points: Sequence[tuple[float, float]]) -> float:
    return hypervolume(points, (1.0, 0.0), [False, True])


def save_record(record: BaseModel, path: Path) -> None:
    """Write a record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may compute the same network's test: each writes a file of its own, and the last rename wins.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    os.replace(partial, path)


def load_record(kind: type[Record], path: Path) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off or of another kind; says what to do.
    """
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not complete JSON (line {error.lineno}); delete it, and it is computed again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ValueError(f"{path}: {where}: {first['msg']}; delete it, and it is computed again") from error

"""The files of a sweep: a small one a cell, and ``sweep.json`` with all of them and the Pareto fronts.

``sweep.json`` holds results only, no times: a sweep that was killed and resumed ends in the same file. What everything took
lies beside it, in the cells' files and in ``times.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from constrained_nas.records import BudgetRecord
from constrained_nas.runs import CertificateRecord, NetworkRecord
from graphs.files import Record
from solvers import hypervolume, non_dominated


class CellRecord(Record):
    """One cell. ``how``: it searched, an earlier search was projected onto its budgets, a network was drawn, nothing fits, or it
    failed, as ``remark`` says.

    ``limits`` and ``searched`` (the budgets of the search behind it) are by the names of the command line; ``budgets`` and
    ``costs`` by the costs' own. ``network`` has the test accuracy in %, None where it was not tested.
    """

    kind: Literal["sweep cell"] = "sweep cell"
    schema_version: Literal[1] = 1
    key: str
    method: str
    table: str
    limits: dict[str, float]
    how: Literal["searched", "projected", "drawn", "impossible", "failed"]
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


class SweepTable(Record):
    """A latency table of the sweep: its content's hash, the file it came from, and what it was measured on."""

    hash: str
    name: str
    device: str
    batch: int
    threads: int


class SweepThreads(Record):
    """Threads of torch in the training of the super-network, and in every search and test: their last bits depend on it, so that a
    sweep keeps both however many workers it has later."""

    training: int = Field(ge=1, le=4096)
    cells: int = Field(ge=1, le=4096)


class SweepFront(Record):
    """The Pareto front of test accuracy over one cost, among the cells that fit.

    ``hypervolume`` is the share of the rectangle from nothing to ``reference`` (cost of the largest network; accuracy from 0 to
    100 %) that is dominated; ``by_method`` the same of each method alone. ``keys`` are the cells on the front, by rising cost.
    """

    cost: str
    unit: str
    table: str
    reference: float
    hypervolume: float
    by_method: dict[str, float]
    keys: tuple[str, ...]


class SweepRecord(Record):
    """A whole sweep; ``settings`` are what decides its searches and tests, ``weights`` the super-network's hash."""

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

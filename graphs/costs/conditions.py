"""Under what conditions a latency table was measured, against what a search asks for: a mismatch is an error that names both.

A budget of 25 that is met on another device, with another batch or in another unit is not met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from pydantic import Field, ValidationInfo, field_validator

from graphs.files import Record

ENERGY_TABLE = "energy table"
BlockKey = tuple[str, str]  # a block (or the shape of its layer) and its option, by name


class MeasuredTable(Record):
    """What every table states: of which space it is, how it was measured, and the rest of the network (``fixed``).

    Latencies are in ms, energies in mJ. ``slope`` and ``intercept`` are those of the affine calibration already applied to the
    entries (1 and 0: none).
    """

    kind: str
    schema_version: int
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

    @field_validator("unit")
    @classmethod
    def _of_its_kind(cls, unit: str, info: ValidationInfo) -> str:
        wanted, numbers = ("mJ", "millijoules") if info.data.get("kind") == ENERGY_TABLE else ("ms", "milliseconds")
        if unit != wanted:
            raise ValueError(
                f"the table is in {unit!r}, expected {wanted!r}: convert every number to {numbers}, then say unit {wanted!r}"
            )
        return unit


@dataclass(frozen=True, slots=True)
class TableConditions:
    """What a search asks of its table; None: anything will do.

    Example:
        >>> TableConditions(device="cpu", batch=1).unit
        'ms'
    """

    device: str | None = None
    batch: int | None = None
    unit: str | None = "ms"
    threads: int | None = None
    runtime: str | None = None
    resolution: int | None = None
    clock: str | None = None


def require_conditions(table: MeasuredTable, asked: TableConditions, where: str = "the latency table") -> None:
    """Check that a table was measured as asked.

    Args:
        where: names the table in the message, e.g. its path.

    Raises:
        ValueError: something differs; names everything that does, as it is and as it was asked for.
    """
    wanted = {field.name: getattr(asked, field.name) for field in fields(asked)}
    different = [
        f"{name} {getattr(table, name)!r} where {value!r} is asked for"
        for name, value in wanted.items()
        if value is not None and name in type(table).model_fields and getattr(table, name) != value
    ]
    if different:
        raise ValueError(f"{where}: measured with {', '.join(different)}: measure or import a table for these conditions")


def medians_by_key(
    table: MeasuredTable,
    space: str,
    entries: Iterable[tuple[BlockKey, float]],
    wanted: Iterable[BlockKey],
    called: Callable[..., str],
) -> dict[BlockKey, float]:
    """The medians of a table's ``entries``, of which there must be one for every key that is ``wanted``.

    Raises:
        ValueError: the table is of another space, has none or two entries for a block or one for a block that the space has not
            (names the first, as ``called(*key)``), or nothing but zeros.
    """
    told = f"the {ENERGY_TABLE if table.kind == ENERGY_TABLE else 'latency table'}"
    if table.space != space:
        measure = "import one of this space" if table.kind == ENERGY_TABLE else "measure this space (search --measure-table)"
        raise ValueError(f"{told} is of space {table.space!r}, the search is in {space!r}: {measure}")
    medians: dict[BlockKey, float] = {}
    known = set(wanted := list(wanted))
    for key, median in entries:
        if key not in known:
            raise ValueError(f"{told} has an entry for {called(*key)}, which {space!r} has not: was it measured for another?")
        if key in medians:
            raise ValueError(f"{told} has two entries for {called(*key)}")
        medians[key] = median
    for key in wanted:
        if key not in medians:
            raise ValueError(f"{told} has no entry for {called(*key)}")
    if medians and not any(medians.values()):
        raise ValueError(
            f"{told} says that no block takes any {'energy' if table.kind == ENERGY_TABLE else 'time'}: it was not measured"
        )
    return medians


def measured_name(table: MeasuredTable) -> str:
    """What a table says of its blocks, as a cost is called: ``latency`` or ``energy``."""
    return "energy" if table.kind == ENERGY_TABLE else "latency"

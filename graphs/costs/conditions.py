"""Under what conditions a latency table was measured, against what a search asks for: a mismatch is an error that names both.

A budget of 25 that is met on another device, with another batch or in another unit is not met.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from graphs.costs.latency import LatencyTable
from graphs.costs.width_latency import WidthLatencyTable


@dataclass(frozen=True, slots=True)
class TableConditions:
    """What a search asks of its table; None: anything will do."""

    device: str | None = None
    batch: int | None = None
    unit: str | None = "ms"
    threads: int | None = None
    runtime: str | None = None
    resolution: int | None = None
    clock: str | None = None


def require_conditions(table: LatencyTable | WidthLatencyTable, asked: TableConditions, where: str = "the latency table") -> None:
    """Nothing, if the table was measured as asked.

    Args:
        table: a latency table, of configurations or of widths (those are always in ms, and state no clock and no resolution).
        asked: what must agree.
        where: names the table in the message, e.g. its path.

    Raises:
        ValueError: something differs; names everything that does, as it is and as it was asked for.
    """
    states = type(table).model_fields
    different = [
        f"{field.name} {getattr(table, field.name)!r} where {getattr(asked, field.name)!r} is asked for"
        for field in fields(asked)
        if field.name in states
        and getattr(asked, field.name) is not None
        and getattr(asked, field.name) != getattr(table, field.name)
    ]
    if different:
        raise ValueError(f"{where}: measured with {', '.join(different)}: measure or import a table for these conditions")

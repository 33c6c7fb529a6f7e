"""The lines of the solvers' benchmark: how calls are timed, how answers are compared, how the table is printed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.general_solvers import LIMIT_SECONDS, Answer
from benchmarks.instances import Instance

_OURS_SECONDS = 0.2  # of repeated calls an instance, of which the median counts
_EXACT = 1e-9  # relative to max(1, |value|): what "exact" promises


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; times are medians over the instances, in seconds."""

    program: str
    family: str
    ours: str
    against: str
    target: float | None
    ours_seconds: float | None  # None: no instance is feasible
    against_seconds: float | None
    ratio: float | None
    instances: int
    agreement: float | None  # greatest relative difference in our disfavour, of values; None: nothing to compare
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.target is None:
            return ""
        if self.ratio < self.target and self.against_seconds is not None and self.against_seconds >= LIMIT_SECONDS:
            return "open"  # the reference was stopped: the ratio is at least this
        return "met" if self.ratio >= self.target else "MISSED"


def timed(call: Callable[[], object]) -> float:
    """Median seconds of repeated calls; the first is not counted."""
    call()
    seconds: list[float] = []
    total = 0.0
    while total < _OURS_SECONDS or len(seconds) < 3:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        total += seconds[-1]
    return float(np.median(seconds))


def row_of(
    program: str,
    family: str,
    ours: str,
    against: str,
    target: float | None,
    ours_seconds: list[float],
    against_seconds: list[float],
    worst: float | None,
    note: str = "",
) -> Row:
    mine = float(np.median(ours_seconds))
    theirs = float(np.median(against_seconds)) if against_seconds else None
    ratio = None if theirs is None else theirs / mine
    if stopped := sum(seconds >= LIMIT_SECONDS for seconds in against_seconds):
        note = "; ".join(filter(None, [note, f"{stopped} references stopped at {LIMIT_SECONDS:g} s"]))
    return Row(program, family, ours, against, target, mine, theirs, ratio, len(ours_seconds), worst, note)


def excess(found: Sequence[float], references: Sequence[Answer]) -> float | None:
    """How much better than ours a reference's minimum is, relative; ours are feasible, so this is what we would have missed."""
    known = [(ours, answer.objective) for ours, answer in zip(found, references, strict=True) if answer.objective is not None]
    return max(((ours - theirs) / max(1.0, abs(theirs)) for ours, theirs in known), default=None)


def behind(value: float, answer: Answer, instance: Instance, costs: Sequence[np.ndarray], budgets: Sequence[float]) -> float | None:
    """How far ``value`` is behind a reference's re-costed choices, relative to max(1, |value|); None if those do not fit."""
    if answer.choices is None:
        return None
    picked = list(answer.choices)
    if any(math.fsum(row[picked].tolist()) > budget for row, budget in zip(costs, budgets, strict=True)):
        return None
    return (math.fsum(instance.scores[picked].tolist()) - value) / max(1.0, abs(value))


def print_rows(rows: Sequence[Row], console: Console) -> None:
    table = Table(title="Times are medians; behind: how much better the reference's re-costed answer is, relative")
    for name in ("program", "family", "ours", "against", "ours ms", "theirs ms", "ratio", "target", "", "behind", "n", "note"):
        table.add_column(name, justify="right" if name in ("ours ms", "theirs ms", "ratio", "target", "behind", "n") else "left")
    for row in rows:
        behind = (
            ""
            if row.agreement is None
            else f"{row.agreement:.0e}" + (" (!)" if row.agreement > _EXACT and "LP" not in row.program else "")
        )
        table.add_row(
            row.program,
            row.family,
            row.ours,
            row.against,
            "" if row.ours_seconds is None else f"{1000 * row.ours_seconds:.4g}",
            "" if row.against_seconds is None else f"{1000 * row.against_seconds:.4g}",
            "" if row.ratio is None else f"{row.ratio:.3g}",
            "" if row.target is None else f"{row.target:g}",
            f"[red]{row.verdict}[/red]" if row.verdict == "MISSED" else row.verdict,
            behind,
            str(row.instances),
            row.note,
        )
    console.print(table)

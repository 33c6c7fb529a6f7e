"""Rows of a paper's table or figure: printed with what each column means, and saved with what they were computed on.

Published rows are labelled as such and stand in a section of their own: nothing is ours that was not computed in the run. A record
(JSON) holds scale, seed, options, versions and a description of the machine (processor and cores; no names or paths).
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from constrained_nas.latency import device_name
from graphs.files import save_text, visible

Scale = Literal["smoke", "laptop", "cpu", "gpu", "paper"]
Cell = str | int | float | bool | None
Row = dict[str, Cell]  # by the columns' keys

_SCHEMA_VERSION = 1
_PACKAGES = ("constrained-nas", "numpy", "numba", "scipy", "highspy", "cvxpy", "torch", "torchvision", "matplotlib", "optuna")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in the rows, its heading (with unit), what it means, and how floats are written."""

    key: str
    heading: str
    meaning: str
    style: str = ".3g"


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: our rows were computed in this run; published ones are quoted, and ``source`` says from where."""

    title: str
    columns: Sequence[Column]
    ours: Sequence[Mapping[str, Cell]]
    published: Sequence[Mapping[str, Cell]] = ()
    source: str = ""
    remark: str = ""


def row_of(columns: Sequence[Column], *cells: Cell) -> Row:
    """A row by its cells in the order of the columns; columns beyond the cells are left empty."""
    return {column.key: cell for column, cell in zip(columns, cells, strict=False)}


def print_rows(rows: Rows, console: Console) -> None:
    """Print the table, its published rows in a section of their own, and beneath it what each column means.

    Raises:
        ValueError: a row with a key that no column has, or published rows without a source.
    """
    known = {column.key for column in rows.columns}
    for row in (*rows.ours, *rows.published):
        if not row.keys() <= known:
            raise ValueError(f"{rows.title}: no column for {sorted(row.keys() - known)}")
    if rows.published and not rows.source:
        raise ValueError(f"{rows.title}: published rows need a source")
    table = Table(title=rows.title, title_justify="left", header_style="bold")
    for index, column in enumerate(rows.columns):
        cells = [_written(row.get(column.key), column.style) for row in (*rows.ours, *rows.published)]
        # Numbers and words of headings are never cut on a narrow terminal; the first column folds.
        widest = max(len(word) for word in (*cells, *column.heading.split()))
        table.add_column(
            column.heading, justify="left" if index == 0 else "right", overflow="fold", min_width=widest if index else None
        )
    for row in rows.ours:
        table.add_row(*(Text(_written(row.get(column.key), column.style)) for column in rows.columns))
    if rows.published:
        table.add_section()
        blank = [""] * (len(rows.columns) - 1)
        table.add_row(f"published ({rows.source})", *blank, style="italic")
        for row in rows.published:
            table.add_row(*(Text(_written(row.get(column.key), column.style)) for column in rows.columns), style="dim")
    console.print(table)
    for column in rows.columns:
        console.print(f"  [bold]{escape(column.heading)}[/bold]: {escape(column.meaning)}", highlight=False)
    if rows.remark:
        console.print(rows.remark, highlight=False, markup=False)


def save_record(folder: Path, script: str, scale: Scale, seed: int, options: object, tables: Sequence[Rows], began: float) -> Path:
    """Write ``folder/script.json``: the tables and what they were computed on and with.

    Args:
        folder: made if missing.
        options: a dataclass of every option; paths are left out, and of a folder of data that is named by a text all but its name.
        began: ``time.perf_counter()`` at the start.
    """
    record = {
        "schema_version": _SCHEMA_VERSION,
        "script": script,
        "scale": scale,
        "seed": seed,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 3),
        "options": _without_folders(plain(_fields(options))),
        "versions": versions(),
        "machine": machine(),
        "tables": [
            {
                "title": rows.title,
                "columns": [{"key": column.key, "heading": column.heading, "meaning": column.meaning} for column in rows.columns],
                "ours": plain(rows.ours),
                "published": plain(rows.published),
                "source": rows.source,
                "remark": rows.remark,
            }
            for rows in tables
        ],
    }
    path = folder / f"{script}.json"
    save_text(json.dumps(record, indent=1, allow_nan=False) + "\n", path)
    return path


def machine() -> dict[str, Cell]:
    """Processor, cores that may be used, threads that torch takes (they decide the last bits), system. No names and no paths."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")  # a script that does not import it computes nothing with it
    threads = None if torch is None else torch.get_num_threads()
    system = {"system": platform.system(), "architecture": platform.machine()}
    return {"processor": device_name("cpu"), "cores": cores, "threads": threads, **system}


def versions() -> dict[str, str]:
    """Python and the packages that results may depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _fields(options: object) -> dict[str, Any]:
    if is_dataclass(options) and not isinstance(options, type):
        return asdict(options)
    raise ValueError(f"options: expected a dataclass instance, got {type(options).__name__}")


def _without_folders(options: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` may be the path of a folder: only its last part is anybody's business."""
    return {
        name: _without_folders(value)
        if isinstance(value, Mapping)
        else Path(value).name
        if name in ("data", "retrain_data") and isinstance(value, str)
        else value
        for name, value in options.items()
    }


def _written(value: Cell, style: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, str)):
        return visible(str(value))
    return "-" if math.isnan(value) else format(value, style)


def plain(value: Any) -> Any:
    """JSON's types: numpy scalars and arrays as numbers and lists, NaN and infinities as null; paths are left out."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items() if not isinstance(entry, Path)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value if not isinstance(entry, Path)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

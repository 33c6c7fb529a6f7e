"""The command ``import-table``: a latency table measured elsewhere, as a table of this library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from constrained_nas.commands.console import PlainConsole
from constrained_nas.commands.describe import MBConvName, mbconv_space
from graphs.files import save_json


@dataclass(frozen=True)
class ImportTable:
    """Turn a latency table measured elsewhere into one of this library, so that searches can keep budgets on that device.

    For example: import-table phone.yaml ofa-mbv3 --unit ms --device 'Pixel 6' --batch 1 --out phone.json

    No such table says what it was measured on, so --unit, --device and --batch must be given; numbers are converted to
    milliseconds. What is in the file decides how it is read, not its name: keys of once-for-all and ProxylessNAS in YAML, JSON or
    lines (expanded_conv-input:56x56x24-output:28x28x40-expand:4-kernel:5-stride:2-idskip:0-se:1-hs:1: {mean: 0.31}, or KEY: 0.31),
    keys of this library (stage1.block2 e3_k5_se: 0.31), HardCoRe-NAS's pickled lut.pkl (numbers and texts alone, nothing in it is
    run), or CSV.

    CSV: columns option (e3_k5_se), latency, and block (stage1.block2) or shape (24x56x56-40x28x28: channels x height x width in and
    out); spread and samples may be there. The row of block fixed without an option is the rest of the network.
    """

    file: Annotated[Path, tyro.conf.Positional]
    space: Annotated[MBConvName, tyro.conf.Positional]
    unit: Literal["s", "ms", "us", "ns"]
    """Of the file's numbers."""
    device: str
    """What it was measured on, as searches will ask for it."""
    batch: int
    """Images at a time."""
    out: Path = Path("latency_table.json")
    """Where to write the table (JSON)."""
    threads: int = 1
    """Threads of the runtime."""
    runtime: str = "not stated"
    """What ran the blocks, e.g. 'TFLite 2.15'."""
    resolution: int | None = None
    """Side of the images in pixels; the space's own by default."""
    fixed: float | None = None
    """Not for CSV: the rest of the network (stem, head), in --unit, where the file does not list it."""


def import_table(command: ImportTable) -> None:
    """Read, convert and write.

    Raises:
        ValueError: a kind of file that cannot be read, or what the file lacks.
        OSError: a file cannot be read or written.
    """
    from constrained_nas.latency import ImportConditions
    from constrained_nas.latency import import_table as table_of_file

    space = mbconv_space(command.space, command.resolution)
    conditions = ImportConditions(command.unit, command.device, command.batch, command.runtime, command.threads)
    table = table_of_file(command.file, space, conditions, command.fixed)
    save_json(table, command.out)
    PlainConsole().print(
        f"{command.out}: {len(table.entries)} entries in ms from {table.source}; {table.device}, batch {table.batch}, "
        f"{table.resolution} pixels.",
    )

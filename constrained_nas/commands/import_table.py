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
    """Turn a latency table measured elsewhere into one of this library: once-for-all YAML (.yaml, .yml) or CSV (.csv).

    Neither kind says what it was measured on, so --unit, --device and --batch must be given; numbers are converted to milliseconds.

    YAML: entries as once-for-all and ProxylessNAS have them, e.g.
    expanded_conv-input:56x56x24-output:28x28x40-expand:4-kernel:5-stride:2-idskip:0-se:1-hs:1: {mean: 0.31}.

    CSV: columns option (e3_k5_se), latency, and block (stage1.block2) or shape (24x56x56-40x28x28: channels x height x width in and
    out); spread and samples may be there. The row of block fixed without an option is the rest of the network.

    Example: constrained-nas import-table phone.csv hardcore-imagenet --unit us --device 'Pixel 6' --batch 1 --out phone.json
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
    """YAML only: the rest of the network (stem, head), in --unit, where the file does not list it."""


def import_table(command: ImportTable) -> None:
    """Read, convert and write.

    Raises:
        ValueError: a kind of file that cannot be read, or what the file lacks.
        OSError: a file cannot be read or written.
    """
    from constrained_nas.latency import ImportConditions, import_csv_table, import_ofa_table

    space = mbconv_space(command.space, command.resolution)
    conditions = ImportConditions(command.unit, command.device, command.batch, command.runtime, command.threads)
    kind = command.file.suffix.lower()
    if kind in (".yaml", ".yml"):
        table = import_ofa_table(command.file, space, conditions, command.fixed)
    elif kind == ".csv" and command.fixed is None:
        table = import_csv_table(command.file, space, conditions)
    elif kind == ".csv":
        raise ValueError("--fixed is for YAML; in CSV give a row of the block fixed without an option")
    else:
        raise ValueError(f"{command.file}: expected .yaml, .yml or .csv")
    save_json(table, command.out)
    PlainConsole().print(
        f"{command.out}: {len(table.entries)} entries in ms from {table.source}; {table.device}, batch {table.batch}, "
        f"{table.resolution} pixels.",
    )

"""The command ``validate``: does a latency table still predict networks measured whole on this machine?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import tyro

from constrained_nas.commands.console import PlainConsole
from constrained_nas.commands.describe import MBConvName, mbconv_space
from constrained_nas.commands.profile import family_of
from constrained_nas.commands.progress import progress_shown
from constrained_nas.data import data_shape
from graphs.files import save_json
from graphs.own_code import is_own


@dataclass(frozen=True)
class Validate:
    """Measure random networks, evenly spaced in estimated latency, and compare them with what a table says.

    For example: validate table.json hardcore-imagenet --networks 20

    Prints the slope and R^2 of measured over estimated and the worst error, draws the networks, and writes what was measured. They
    are measured as the table was (batch, threads, runtime, resolution, clock); a table of another device is an error. The machine's
    speed now, against when the table was measured, is told by a reference network and divided out.
    """

    table: Annotated[Path, tyro.conf.Positional]
    space: Annotated[str, tyro.conf.Positional]
    """The table's: any but gpunet's and *-bits, or FILE.py:CALLABLE, a network of your own: the file is run."""
    networks: int = 20
    """How many, at least 3; all, where the space has fewer."""
    rounds: int = 40
    """How often each is measured, in random order, at least 6."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ...: must be the table's."""
    picture: Path | None = None
    """Scatter picture (.png, .pdf, .svg); TABLE.validation.png beside the table by default."""
    record: Path | None = None
    """What was measured (JSON); TABLE.validation.json by default."""
    data: str | None = None
    """As profile was given it."""
    classes: int | None = None
    """Of the data, instead of --data."""
    channels: int | None = None
    """Of the images, instead of --data."""
    seed: int = 1
    """Of networks and orders. Not the one of profile, whose networks calibrated the table."""
    json: bool = False
    """Print what was measured as JSON."""


def validate(command: Validate) -> None:
    """Measure, print, draw and write.

    Raises:
        ValueError: a table that is damaged or of another space or device, or a kind of picture that cannot be written.
        OSError: a file cannot be read or written.
    """
    from constrained_nas.latency import timer_of, validate_table
    from constrained_nas.runs.families import validate_option_table
    from graphs.costs import load_latency_table

    if not command.table.exists() and Path(command.space).is_file() and not is_own(command.space):
        raise ValueError(f"{command.space} is a file and {command.table} is not: expected constrained-nas validate TABLE SPACE")
    table = load_latency_table(command.table)
    classes, channels = data_shape(command.data, command.classes, command.channels)
    timer = timer_of(table, command.device)
    console = PlainConsole()
    with progress_shown(console) as progress:
        if command.space in get_args(MBConvName):
            space = mbconv_space(command.space, table.resolution, classes, channels)  # type: ignore[arg-type] # one of the names
            found = validate_table(table, space, timer, command.networks, command.rounds, command.seed, progress)
        else:
            parts = family_of(command.space, classes, channels, table.resolution).parts()
            if parts is None:
                raise ValueError(f"{command.space}: tables of spaces with widths are checked when they are measured (profile)")
            found = validate_option_table(table, parts, timer, command.networks, command.rounds, command.seed, progress)
    picture = command.picture or command.table.with_name(command.table.stem + ".validation.png")
    record = command.record or command.table.with_name(command.table.stem + ".validation.json")
    save_json(found, record)
    from constrained_nas.reports import draw_validation  # matplotlib takes a second to load: only who draws waits for it

    draw_validation(found, picture)
    if command.json:
        console.print_json(found.model_dump_json())
        return
    console.print(
        f"{len(found.networks)} networks of {found.space}: measured = {found.slope:.3f} x estimated {found.intercept:+.3g} ms, "
        f"R^2 {found.r_squared:.4f}, worst error {found.worst:.1%}; line through the origin {found.ratio:.3f}.\n"
        f"The machine takes {found.speed:.3f} x as long as when the table was measured; measured times are divided by that.\n"
        f"wrote {picture} and {record}",
    )

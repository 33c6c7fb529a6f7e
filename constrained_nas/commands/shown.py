"""What several commands say alike: a space by its name, a timer by its options, and progress as bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from constrained_nas.commands.describe import MBConvName, mbconv_space
from constrained_nas.latency import Progress, Timer, automatic_clock
from graphs import MBConvSpace

ProfileClock = Literal["auto", "wall", "processor"]


def space_at(name: MBConvName, resolution: int | None = None) -> MBConvSpace:
    """The HardCoRe-NAS space of that name, for images of that side (its own if None)."""
    if resolution is None:
        return mbconv_space(name)
    if resolution < 1:
        raise ValueError(f"resolution: expected at least one pixel, got {resolution}")
    return mbconv_space(name, resolution=resolution)


def make_timer(batch: int, threads: int, device: str, clock: ProfileClock) -> Timer:
    """The timer of these options; ``auto`` takes the processor clock where there is one.

    Raises:
        ValueError: fewer than one image or thread, or a clock that does not suit the device and threads.
    """
    if batch < 1 or threads < 1:
        raise ValueError(f"expected at least one image and one thread, got batch {batch} and {threads} threads")
    return Timer(batch, threads, device, clock=automatic_clock(device, threads) if clock == "auto" else clock)


@contextmanager
def progress_shown(console: Console) -> Iterator[Progress]:
    """A callback that shows bars with the remaining time inside the block."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done)
            bars.update(tasks[what], completed=done, total=total)

        yield show

"""The command ``profile``: measure the latency table of a space on this machine, so that it can be trusted and resumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.commands.console import PlainConsole, progress_shown
from constrained_nas.commands.describe import MBConvName, mbconv_space
from constrained_nas.latency import BlockTiming, RuntimeName
from graphs.files import save_json

if TYPE_CHECKING:
    from constrained_nas.latency import Profiled, Timer

ProfileClock = Literal["auto", "wall", "processor"]


@dataclass(frozen=True)
class Profile:
    """Measure the latency of every block of a space on this machine, calibrate it on whole networks, and write a table.

    Every round runs everything once, in random order: blocks inside networks, blocks alone, random networks whole, a reference
    network. Entries are medians over the rounds with their spread; slow spells of the machine are taken out, outliers dropped, and
    entries that are not well known flagged. The networks calibrate the table; to check it, each half of them is predicted by the
    calibration on the other.

    A run that was killed goes on where it was: repeat the same command. Partial measurements lie beside the table until it is
    written (OUT.partial.jsonl); more --rounds than before add to them.

    Example: constrained-nas profile hardcore-imagenet --threads 1 --batch 1 --out table.json
    """

    space: Annotated[MBConvName, tyro.conf.Positional]
    out: Path = Path("latency_table.json")
    """Where to write the table (JSON)."""
    runtime: RuntimeName = "torch"
    """torch: as it is. torch-compile: needs a C++ compiler on a CPU, and compiles for some 10 minutes. onnxruntime: needs onnx,
    onnxruntime and onnxscript, and exports for some minutes."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ..."""
    threads: int = 1
    """Threads of the runtime."""
    batch: int = 1
    """Images at a time."""
    resolution: int | None = None
    """Side of the images in pixels; the space's own by default."""
    timing: BlockTiming = "in-context"
    """Of blocks. in-context: inside networks by hooks; in runtimes without hooks, as the difference a block makes to a chain.
    isolated: every block alone."""
    evidence: bool = True
    """Time blocks in the other way as well, and say which predicts whole networks better."""
    clock: ProfileClock = "auto"
    """wall: what passes. processor: only what the thread ran (CPU, one thread): the latency on an idle machine, even if this one is
    busy. auto: processor where it can be."""
    rounds: int = 50
    """How often everything is timed, at least 6; more make steadier medians."""
    networks: int = 20
    """Random networks measured whole, at least 6: they calibrate the table and check it."""
    seed: int = 0
    """Decides the order of measurements and the random networks."""


def profile(command: Profile) -> None:
    """Measure, print what the table is worth, and write it.

    Raises:
        ValueError: what cannot be measured, said before anything is; or partial measurements of other settings.
        OSError: the table cannot be written.
    """
    from constrained_nas.latency import ProfileSettings, log_beside, profile_space

    space = mbconv_space(command.space, command.resolution)
    timer = make_timer(command.batch, command.threads, command.device, command.clock)
    settings = ProfileSettings(
        command.runtime, timer, command.rounds, command.networks, command.timing, command.evidence, command.seed
    )
    log = log_beside(command.out)
    console = PlainConsole()
    if log.exists():
        console.print(f"resuming from the rounds in {log}")
    with progress_shown(console) as progress:
        found = profile_space(space, settings, log, progress)
    save_json(found.table, command.out)
    log.unlink(missing_ok=True)
    _report(console, command, found)


def make_timer(batch: int, threads: int, device: str, clock: ProfileClock) -> Timer:
    """The timer of these options; ``auto`` takes the processor clock where there is one.

    Raises:
        ValueError: fewer than one image or thread, or a clock that does not suit the device and threads.
    """
    from constrained_nas.latency import Timer, automatic_clock

    if batch < 1 or threads < 1:
        raise ValueError(f"expected at least one image and one thread, got batch {batch} and {threads} threads")
    return Timer(batch, threads, device, clock=automatic_clock(device, threads) if clock == "auto" else clock)


def _report(console: Console, command: Profile, found: Profiled) -> None:
    table = found.table
    noisy = [entry for entry in table.entries if entry.noisy]
    dropped, samples = (sum(getattr(entry, what) for entry in table.entries) for what in ("dropped", "samples"))
    console.print(
        f"{command.out}: {len(table.entries)} entries in ms ({table.device}, {table.runtime}, {table.threads} thread(s), batch "
        f"{table.batch}, {table.resolution} pixels, {table.clock} clock).\n"
        f"{dropped / (dropped + samples):.1%} of the samples dropped as outliers; {len(noisy)} entries noisy"
        + (f", e.g. {noisy[0].block} {noisy[0].configuration}: more --rounds make them steadier." if noisy else "."),
    )
    if found.busy > 1.05:
        console.print(f"The machine is busy: by the wall clock the reference network takes {found.busy:.2f} x as long.")
    evidence = Table(title="Blocks summed against networks measured whole, before calibration", title_justify="left")
    for heading in ("blocks timed", "measured =", "R^2", "worst error", "worst, calibrated"):
        evidence.add_column(heading, justify="left" if heading.startswith("blocks") else "right")
    for one in table.evidence:
        line = f"{one.slope:.3f} x {one.intercept:+.3g} ms"
        evidence.add_row(one.context, line, f"{one.r_squared:.4f}", f"{one.worst:.1%}", f"{one.worst_calibrated:.1%}")
    console.print(evidence)
    if len(table.evidence) > 1:
        better = max(table.evidence, key=lambda one: one.r_squared)
        console.print(f"Blocks timed {better.context!r} predict whole networks better here (R^2).")
    check = found.check
    console.print(
        f"Checked on {command.networks} networks, each half by the calibration on the other: measured = {check.slope:.3f} x "
        f"estimated {check.intercept:+.3g} ms, R^2 {check.r_squared:.4f}, worst error {check.worst:.1%}.",
    )

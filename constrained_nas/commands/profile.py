"""The commands ``profile`` and ``import-table``: the latency table of a space, measured here, or elsewhere (energies too)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro
from rich.console import Console
from rich.table import Table

from constrained_nas.commands.console import PlainConsole
from constrained_nas.commands.describe import MBConvName, mbconv_space, side_of
from constrained_nas.commands.progress import progress_shown
from constrained_nas.data import data_shape
from constrained_nas.latency import BlockTiming, RuntimeName
from graphs.files import save_json

if TYPE_CHECKING:
    from constrained_nas.latency import Profiled, Timer
    from constrained_nas.runs.families import Family
    from graphs import ChoiceSpace

ProfileClock = Literal["auto", "wall", "processor"]


@dataclass(frozen=True)
class Profile:
    """Measure the latency of every block of a space on this machine, calibrate it on whole networks, and write a table.

    For example: profile hardcore-imagenet --threads 1 --batch 1 --out table.json

    Every round runs everything once, in random order: blocks inside networks, blocks alone, random networks whole, a reference
    network. Entries are medians over the rounds with their spread; slow spells of the machine are taken out, outliers dropped, and
    entries that are not well known flagged. The networks calibrate the table; to check it, each half of them is predicted by the
    calibration on the other.

    A run that was killed goes on where it was: repeat the same command. Partial measurements lie beside the table until it is
    written (OUT.partial.jsonl); more --rounds than before add to them.
    """

    space: Annotated[str, tyro.conf.Positional]
    """A space of search (all but *-bits), or FILE.py:CALLABLE, a network of your own with graphs.Choice in it or a graph with
    decisions: the file is run."""
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
    """Side of the images in pixels; by default that of --data, or the space's own."""
    data: str | None = None
    """What a search will be given as --data: classes and channels of the network follow from it."""
    classes: int | None = None
    """Of the data, instead of --data."""
    channels: int | None = None
    """Of the images, instead of --data."""
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

    classes, channels = data_shape(command.data, command.classes, command.channels)
    if command.space not in get_args(MBConvName):
        _profile_other(command, classes, channels)
        return
    space = mbconv_space(command.space, side_of(command.space, command.data, command.resolution), classes, channels)  # type: ignore[arg-type] # one of the names
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


def family_of(space: str, classes: int | None, channels: int | None, resolution: int | None) -> Family:
    """A space as searches have it, in the resolution of a search if none is given; a file of one's own is run.

    Raises:
        ValueError: an unknown name.
    """
    from constrained_nas.runs import RunSettings, make_space, plan_of

    plan = plan_of(RunSettings(space=space, resolution=resolution))
    return make_space(plan.settings.space, classes or 10, channels or 1, plan.resolution)


def choices_of(space: str, classes: int | None, channels: int | None, resolution: int | None) -> ChoiceSpace:
    """A network of one's own with choices; see :func:`family_of`.

    Raises:
        ValueError: an unknown name, or what has no choices.
    """
    from constrained_nas.runs.families import ChoiceFamily

    family = family_of(space, classes, channels, resolution)
    if not isinstance(family, ChoiceFamily):
        raise ValueError(f"{space}: expected a hardcore or ofa space, or a network of your own with choices")
    return family.space


def _profile_other(command: Profile, classes: int | None, channels: int | None) -> None:
    """A table of any space but hardcore's, or of a network of one's own; in torch as it is."""
    from constrained_nas.runs.families import measure_option_table

    if command.runtime != "torch":
        raise ValueError(f"--runtime {command.runtime}: {command.space} is measured in torch as it is")
    family = family_of(command.space, classes, channels, side_of(command.space, command.data, command.resolution))
    timer = make_timer(command.batch, command.threads, command.device, command.clock)
    console = PlainConsole()
    with progress_shown(console) as progress:
        parts = family.parts()
        if parts is None:
            family.measure_table(timer, command.seed, command.out, progress)
            console.print(f"written to {command.out}: {family.decisions.name}, calibrated on whole networks")
            return
        table, before, check = measure_option_table(parts, timer, command.networks, command.rounds, command.seed, progress)
    save_json(table, command.out)
    under = f"{table.device}, {table.runtime}, {table.threads} thread(s), batch {table.batch}, {table.resolution} pixels"
    entries = f"{len(table.entries)} parts of {table.space}, {table.fixed:.3g} ms fixed"
    console.print(f"{command.out}: {entries} ({under}, {table.clock} clock)")
    if before is None or check is None:
        console.print("There are too few networks to calibrate: the latency of a network is the sum of its parts' as it is.")
        return
    console.print(
        f"Parts summed: measured = {before.slope:.3f} x estimated {before.intercept:+.3g} ms, R^2 {before.r_squared:.4f}, worst "
        f"error {before.worst:.1%}.\nCalibrated, on networks that took no part: R^2 {check.r_squared:.4f}, worst error "
        f"{check.worst:.1%}."
    )


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


@dataclass(frozen=True)
class ImportTable:
    """Turn a table of latencies or energies measured elsewhere into one of this library, for searches under budgets on that device.

    For example: import-table phone.yaml ofa-mbv3 --unit ms --device 'Pixel 6' --batch 1 --out phone.json

    No such table says what it was measured on, so --unit, --device and --batch must be given; numbers are converted to
    milliseconds, or to millijoules for search --energy-table. What is in the file decides how it is read, not its name: keys of
    once-for-all and ProxylessNAS in YAML, JSON or lines
    (expanded_conv-input:56x56x24-output:28x28x40-expand:4-kernel:5-stride:2-idskip:0-se:1-hs:1: {mean: 0.31}, or KEY: 0.31),
    keys of this library (stage1.block2 e3_k5_se: 0.31; CHOICE OPTION: 0.31 for your own), FBNet's rows (a first line of operators
    ir_k3_e6 ..., then one line of numbers a block; for your own, its options and a line a choice) and NNI's records (op_name,
    op_data_shape, op_latency), HardCoRe-NAS's pickled lut.pkl (numbers and texts alone, nothing in it is run), or CSV.

    CSV: columns option (e3_k5_se), latency, and block (stage1.block2) or shape (24x56x56-40x28x28: channels x height x width in and
    out); spread and samples may be there. The row of block fixed without an option is the rest of the network.
    """

    file: Annotated[Path, tyro.conf.Positional]
    space: Annotated[str, tyro.conf.Positional]
    """A hardcore or ofa space, or FILE.py:CALLABLE, a network of your own with graphs.Choice in it: the file is run."""
    unit: Literal["s", "ms", "us", "ns", "J", "mJ", "uJ"]
    """Of the file's numbers; joules make a table of energies."""
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
    data: str | None = None
    """What a search will be given as --data: classes and channels of the network follow from it."""
    classes: int | None = None
    """Of the data, instead of --data."""
    channels: int | None = None
    """Of the images, instead of --data."""
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

    classes, channels = data_shape(command.data, command.classes, command.channels)
    if command.space in get_args(MBConvName):
        space: Any = mbconv_space(command.space, command.resolution, classes, channels)  # type: ignore[arg-type] # one of the names
    else:
        space = choices_of(command.space, classes, channels, command.resolution)
    conditions = ImportConditions(command.unit, command.device, command.batch, command.runtime, command.threads)
    table = table_of_file(command.file, space, conditions, command.fixed)
    save_json(table, command.out)
    PlainConsole().print(
        f"{command.out}: {len(table.entries)} entries in {table.unit} from {table.source}; {table.device}, batch {table.batch}, "
        f"{table.resolution} pixels.",
    )

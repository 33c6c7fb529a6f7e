"""Figure 3 of HardCoRe-NAS: latencies that the table estimates against those of whole networks, measured on this machine.

A table is measured (or given), random networks evenly spaced in estimated latency are measured whole, and measured latency is
fitted as a line over estimated latency. Blocks are timed in two ways, inside networks and alone, and the script says which predicts
whole networks better. The networks of the figure took no part in the calibration of the table.

The machine may be busy. With one thread on a CPU the processor's own clock counts only what the thread ran; rounds are interleaved
and each is divided by its drift factor; a reference network links the table's time to the figure's (see
``constrained_nas.latency.validation``). The published figures are from the authors' devices and stand apart.

Reference: Nayman et al., HardCoRe-NAS, Fig. 3 and Sec. 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from constrained_nas.commands import ProfileClock, make_timer
from constrained_nas.latency import (
    BlockTiming,
    ProfileSettings,
    RuntimeName,
    Validation,
    log_beside,
    profile_space,
    timer_of,
    validate_table,
)
from constrained_nas.reports import draw_validation
from graphs import MBConvSpace, hardcore_imagenet, hardcore_small
from graphs.costs import LatencyTable, load_latency_table
from graphs.files import save_json
from papers_repro.harness import Column, ProgressBars, Row, Rows, Scale, ScriptOptions, row_of, started

SCRIPT = "hardcore_figure3"
PUBLISHED: Row = {"what": "HardCoRe-NAS", "slope": 1.003, "r_squared": 0.99}


@dataclass(frozen=True, slots=True)
class Options(ScriptOptions):
    """Estimated against measured latency of random networks, and which way of timing blocks predicts them better.

    Prints slope, R^2 and worst errors; writes latency_table.json, hardcore_figure3.json and hardcore_figure3.png.
    """

    seed: int = 0
    """Of networks, weights and orders."""
    resume: bool = True
    """Go on from the table in the output folder, or the partial measurements of one; --no-resume starts over. Where options differ
    from before, --resume itself has to be given."""
    table: Path | None = None
    """A table measured before (JSON), instead of measuring."""
    space: Literal["small", "imagenet"] = "imagenet"
    """imagenet: the paper's space. small: three stages for CPUs."""
    variant: Literal["paper", "release"] = "release"
    """Of the imagenet space."""
    resolution: int = 224
    """Side of the images in pixels."""
    networks: int = 20
    """Random networks in the figure."""
    calibration_networks: int = 20
    """Others, measured with the table: they calibrate it."""
    rounds: int = 50
    """How often everything is timed."""
    timing: BlockTiming = "in-context"
    """Of the blocks in the table."""
    runtime: RuntimeName = "torch"
    """torch, torch-compile (needs a C++ compiler on a CPU) or onnxruntime (needs onnx, onnxruntime, onnxscript)."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 ..."""
    threads: int = 1
    """Of the runtime."""
    batch: int = 1
    """Images at a time."""
    clock: ProfileClock = "auto"
    """wall, processor (one thread on a CPU: other work does not count), or auto: processor where it can be."""


def preset(scale: Scale) -> Options:
    if scale == "smoke":
        return Options(scale, space="small", resolution=32, networks=6, calibration_networks=6, rounds=6)
    if scale == "paper":
        return Options(scale, networks=40, calibration_networks=40, rounds=100)
    return Options(scale)


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        space = _space(options)
        with script.bars() as bars:
            table = _latency_table(options, space, script.folder, bars)
            timer = timer_of(table, options.device)
            # Another seed than the table's, whose networks calibrated it.
            seed, report = options.seed + 1, bars.callback("networks")
            found = validate_table(table, space, timer, options.networks, options.rounds, seed, report)
        evidence = [_evidence_rows(table)] if table.evidence else []
        script.show(_fit_rows(found, table), *evidence, _network_rows(found))
        draw_validation(found, script.picture, f"Networks of {space.space.name}, evenly spaced in estimated latency")


def _space(options: Options) -> MBConvSpace:
    if options.space == "small":
        return hardcore_small(resolution=options.resolution)
    return hardcore_imagenet(options.variant, resolution=options.resolution)


def _latency_table(options: Options, space: MBConvSpace, folder: Path, bars: ProgressBars) -> LatencyTable:
    path = folder / "latency_table.json"
    log = log_beside(path)
    if options.table is not None:
        return load_latency_table(options.table)
    if options.resume and path.exists():
        return load_latency_table(path)
    if not options.resume:
        log.unlink(missing_ok=True)
    timer = make_timer(options.batch, options.threads, options.device, options.clock)
    settings = ProfileSettings(
        options.runtime, timer, options.rounds, options.calibration_networks, options.timing, True, options.seed
    )
    table = profile_space(space, settings, log, bars.callback("latency table")).table
    save_json(table, path)
    log.unlink(missing_ok=True)
    return table


def _fit_rows(found: Validation, table: LatencyTable) -> Rows:
    threads = "one thread" if found.threads == 1 else f"{found.threads} threads"
    columns = [
        Column("what", "table", "whose estimates; HardCoRe-NAS is what the paper prints"),
        Column("slope", "slope", "of measured over estimated latency, least squares; 1 is right", ".3f"),
        Column("intercept", "intercept ms", "of that line; 0 is right", ".2g"),
        Column("ratio", "ratio", "slope of the line through the origin", ".3f"),
        Column("r_squared", "R^2", "of the line with intercept", ".4f"),
        Column("worst", "worst %", "greatest error of an estimate, of the measured latency", ".1f"),
        Column("speed", "speed", "the reference network's time now over its time in the table; divided out", ".3f"),
    ]
    what, worst = f"this machine ({threads}, batch {found.batch})", 100 * found.worst
    ours = row_of(columns, what, found.slope, found.intercept, found.ratio, found.r_squared, worst, found.speed)
    title = f"{len(found.networks)} networks of {found.space} ({found.device}, {found.runtime}, {found.clock} clock)"
    noisy = sum(entry.noisy for entry in table.entries)
    remark = f"{noisy} of {len(table.entries)} entries of the table are noisy ({table.rules})." if table.rules else ""
    return Rows(title, columns, [ours], [PUBLISHED], "Nayman et al., Fig. 3, on the authors' devices", remark)


def _evidence_rows(table: LatencyTable) -> Rows:
    columns = [
        Column("what", "blocks timed", "network: inside networks; chain: as a difference; isolated: alone"),
        Column("slope", "slope", "of measured over the sum of blocks as timed, before calibration", ".3f"),
        Column("intercept", "intercept ms", "of that line", ".2g"),
        Column("r_squared", "R^2", "of that line", ".4f"),
        Column("worst", "worst %", "greatest error of a sum", ".1f"),
        Column(
            "calibrated",
            "calibrated %",
            "the same for each half of the networks after an affine calibration on the other half",
            ".1f",
        ),
    ]
    ours = [
        row_of(columns, one.context, one.slope, one.intercept, one.r_squared, 100 * one.worst, 100 * one.worst_calibrated)
        for one in table.evidence
    ]
    better = max(table.evidence, key=lambda one: one.r_squared).context
    count = table.evidence[0].networks
    title = f"Blocks summed against {count} other networks, measured in the same rounds"
    return Rows(title, columns, ours, remark=f"Blocks timed {better!r} predict whole networks better here (R^2).")


def _network_rows(found: Validation) -> Rows:
    columns = [
        Column("network", "network", "in order of estimated latency"),
        Column("estimated", "estimated ms", "by the table", ".2f"),
        Column("measured", "measured ms", "median over the rounds, divided by the speed", ".2f"),
        Column("low", "from", "95 % interval of that median", ".2f"),
        Column("high", "to", "", ".2f"),
        Column("error", "error %", "estimated over measured, less 1", ".1f"),
    ]
    ours = [
        row_of(columns, place, one.estimated, one.measured, one.low, one.high, 100 * (one.estimated / one.measured - 1))
        for place, one in enumerate(found.networks, start=1)
    ]
    return Rows("The networks", columns, ours)


if __name__ == "__main__":
    main()

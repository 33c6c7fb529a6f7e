"""Table 3 of PruNet at your scale: memory, size of the search space and time, with each optimization alone and with all together.

Five searches, the same in everything else: FBNet (blocks of two widths, each with weights of its own), Prunodes alone, block
pruning alone, layer skipping alone, all. Memory is what the first step saves for its backward pass, counted by hooks; time is that
of the phase after the warm-up, which pruning shortens, by the processor's clock (on a CPU), one search after the other.

A second table has the memory of that step over the number of widths: with Prunodes it stays that of two candidates a block, with a
candidate for every width it grows.

Reference: PruNet, Table 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from constrained_nas.methods.prunet import PruNet
from graphs.costs import QuadraticCost
from graphs.spaces import GPUNetSpace, gpunet_small
from papers_repro.experiment import fresh_supernet
from papers_repro.harness import Column, Row, Rows, Scale, half_width, mean, row_of, started
from papers_repro.prunet import (
    TABLE3,
    Pruned,
    PruNetOptions,
    SearchSpec,
    measured_space,
    run_searches,
    saved_bytes,
    separate_candidates,
    setup_preset,
    start_over,
)
from solvers import Quadratic

SCRIPT = "prunet_table3"

_VARIANTS: tuple[tuple[str, bool, bool, bool], ...] = (  # name, prunode, pruning, skipping
    ("FBNet", False, False, False),
    ("Prunode alone", True, False, False),
    ("block pruning alone", False, True, False),
    ("layer skipping alone", False, False, True),
    ("all", True, True, True),
)


@dataclass(frozen=True)
class Options(PruNetOptions):
    """Memory, search space and time of every optimization."""

    seeds: int = 2
    """How many seeds."""
    alpha: float = 0.6
    """Coefficient of the latency."""
    granularities: tuple[int, ...] = (16, 8, 4, 2)
    """Of the small space, for the memory over the number of widths."""


def preset(scale: Scale) -> Options:
    setup = setup_preset(scale)
    if scale == "smoke":
        return Options(scale, seeds=1, granularities=(16, 8), setup=replace(setup, share_warm_up=False))
    return Options(scale, seeds=2 if scale == "laptop" else 1, setup=replace(setup, processes=1, share_warm_up=False))


def main() -> None:
    with started(SCRIPT, preset) as script:
        options = script.options
        start_over(script.folder, options.setup)
        with script.bars() as progress:
            space, latencies = measured_space(options.setup, options.seed, script.folder, progress)
            specs = [
                SearchSpec(f"{name.replace(' ', '_').lower()}_seed{seed}", seed, options.alpha, None, prunode, pruning, skipping)
                for seed in range(options.seed, options.seed + options.seeds)  # variants of a seed next to each other in time
                for name, prunode, pruning, skipping in _VARIANTS
            ]
            found = run_searches(specs, options.setup, latencies, script.folder, progress, retrain=False, processes=1)
        script.show(size_rows(options, space, found), time_rows(options, found), memory_rows(options), published_rows())


def size_rows(options: Options, space: GPUNetSpace, found: Sequence[Pruned]) -> Rows:
    """Search space and memory, a row an optimization."""
    columns = [
        Column("optimization", "optimization", "FBNet: two widths a block, each a candidate of its own; others change one thing"),
        Column("networks", "networks", "size of the search space, an exact integer; skips are where the shape is kept"),
        Column("memory", "MB", "saved for backward by the first step, in 10^6 bytes, counted by hooks", ".2f"),
        Column("ratio", "of FBNet", "the same as a share of FBNet's", ".3f"),
    ]
    groups = _by_variant(found)
    base = _memory(options, space, groups[0][0])
    ours: list[Row] = []
    for (name, *_), group in zip(_VARIANTS, groups, strict=True):
        memory = _memory(options, space, group[0])
        size = str(_size(group[0], space))
        ours.append({"optimization": name, "networks": size, "memory": memory / 1e6, "ratio": memory / base})
    return Rows("Search space and memory", columns, ours, remark=f"Batch {options.setup.batch_size}; exact, no timing.")


def time_rows(options: Options, found: Sequence[Pruned]) -> Rows:
    """Time, a row an optimization."""
    wall = any(not entry.record.processor_seconds for entry in found)
    clock = "wall" if wall else "processor"
    columns = [
        Column("optimization", "optimization", "as above"),
        Column("before", "ms/step before", f"{clock} time of a step while all blocks are alive (the warm-up)", ".1f"),
        Column("last", "ms/step last", "of the last epoch", ".1f"),
        Column("after", "s after", f"{clock} time of the phase after the warm-up, mean over seeds", ".2f"),
        Column("gain", "gain", "FBNet's time for that phase over this one, mean over seeds", ".2f"),
        Column("interval", "95 %", "half the 95 % interval of that ratio over seeds", ".2f"),
        Column("total", "s in all", "warm-up included, mean over seeds", ".2f"),
        Column("undecided", "open", "layers with more than one option left at the end, mean over seeds", ".1f"),
    ]
    groups = _by_variant(found)
    warm_up = options.setup.warm_up
    phases = [[sum(_epochs(entry, wall)[warm_up:]) for entry in group] for group in groups]
    steps = found[0].record.steps
    ours: list[Row] = []
    for (name, *_), group, times in zip(_VARIANTS, groups, phases, strict=True):
        gains = [first / own for first, own in zip(phases[0], times, strict=True)]
        epochs = [_epochs(entry, wall) for entry in group]
        ours.append(
            {
                "optimization": name,
                "before": 1e3 * mean([mean(seconds[:warm_up]) for seconds in epochs]) / steps,
                "last": 1e3 * mean([seconds[-1] for seconds in epochs]) / steps,
                "after": mean(times),
                "gain": mean(gains),
                "interval": half_width(gains),
                "total": mean([sum(seconds) for seconds in epochs]),
                "undecided": mean([entry.record.undecided for entry in group]),
            }
        )
    remark = (
        f"{options.setup.epochs} epochs of {steps} steps, {warm_up} of them warm-up; batch {options.setup.batch_size}; alpha "
        f"{options.alpha:g}; {options.seeds} seed(s), one search at a time. Skips compete from the start where nothing is pruned."
    )
    return Rows("Time, measured side by side", columns, ours, remark=remark)


def memory_rows(options: Options) -> Rows:
    """Bytes of a step over the number of widths."""
    columns = [
        Column("granularity", "granularity", "step between permissible widths of the small space, in channels"),
        Column("widths", "widths", "permissible widths of a layer, least and greatest"),
        Column("prunode", "Prunode MB", "saved for backward by the first step, in 10^6 bytes: two candidates a block", ".2f"),
        Column("two", "two MB", "by two candidates a block with weights of their own, at half and full width", ".2f"),
        Column("ratio", "ratio", "Prunode / two", ".3f"),
        Column("every", "every MB", "by a candidate for every width", ".2f"),
    ]
    ours: list[Row] = []
    rows = options.setup.batch_size
    for granularity in options.granularities:
        space = gpunet_small(resolution=options.setup.resolution, granularity=granularity)
        counts = [len(shape.widths) for shape in space.layers.values() if shape.widths]
        most = max(counts)
        shares = tuple((place + 1) / most for place in range(most))
        prunode = saved_bytes(_bare(space, True), fresh_supernet(space, 0), rows)
        two, every = (
            saved_bytes(_bare(one, False), fresh_supernet(one, 0), rows)
            for one in (separate_candidates(space), separate_candidates(space, shares))
        )
        bytes_kept = prunode / 1e6, two / 1e6, prunode / two, every / 1e6
        ours.append(row_of(columns, str(granularity), f"{min(counts)}-{most}", *bytes_kept))
    return Rows("Memory over the number of widths", columns, ours, remark=f"The small space, batch {rows}; exact, no timing.")


def published_rows() -> Rows:
    """Table 3 as published, a table of its own."""
    columns = [
        Column("optimization", "optimization", "as published"),
        Column("hours", "h", "of the search on the authors' machine"),
        Column("networks", "networks", "size of the search space by the paper's formula"),
    ]
    published: list[Row] = [{"optimization": n, "hours": hours, "networks": f"{size:.4g}"} for n, hours, size in TABLE3]
    return Rows("Published, for orientation: ImageNet, other devices", columns, [], published, "PruNet, Table 3")


def _bare(space: GPUNetSpace, prunode: bool) -> PruNet:
    """A method for its gates alone: no latency is charged."""
    ones = Quadratic.of(1.0, np.ones(space.space.blocks.dimension))
    return PruNet(space, QuadraticCost("latency", "ms", space.space, ones), prunode=prunode, pruning=prunode, skipping=prunode)


def _memory(options: Options, space: GPUNetSpace, entry: Pruned) -> int:
    spec = entry.spec
    searched = space if spec.prunode else separate_candidates(space)
    method = replace(_bare(searched, spec.prunode), pruning=spec.pruning, skipping=spec.skipping)
    return saved_bytes(method, fresh_supernet(searched, 0), options.setup.batch_size)


def _size(entry: Pruned, space: GPUNetSpace) -> int:
    """Of the space as searched: skips are there where the shape is kept."""
    sizes, separate = space.sizes, separate_candidates(space)
    spec = entry.spec
    if spec.prunode:
        return sizes.all if spec.skipping else sizes.prunode
    return separate.sizes.all if spec.skipping else separate.sizes.prunode


def _by_variant(found: Sequence[Pruned]) -> list[list[Pruned]]:
    """The searches of every variant, in the order of the table."""
    switches = [(entry.spec.prunode, entry.spec.pruning, entry.spec.skipping) for entry in found]
    return [[entry for entry, own in zip(found, switches, strict=True) if own == variant[1:]] for variant in _VARIANTS]


def _epochs(entry: Pruned, wall: bool) -> list[float]:
    """Seconds of every epoch."""
    record = entry.record
    return [seconds * record.steps for seconds in record.step_seconds] if wall else list(record.processor_seconds)


if __name__ == "__main__":
    main()

"""Latency tables of spaces with inner widths: every permissible width of every different block, most of them interpolated.

A paper-sized space has 1690 different blocks. Each (layer, block) is measured at a few widths, its narrowest and widest among them;
through them runs a monotone curve: isotonic regression takes out noise that would let a wider block seem faster, a piecewise cubic
that keeps monotonicity (PCHIP) joins what is left. Leaving out one measured width at a time says how far off the curve is. Asked to
measure in full, the table holds what was measured and no curve: devices do have widths that run faster than narrower ones.

The skip takes no time. Measuring is not done here: a callable is passed in (``constrained_nas.latency.widths`` has one).

Reference: PruNet, Sec. 3 (latency table of the Prunodes), Eq. 5; Fritsch & Carlson 1980 (monotone cubics).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from graphs.costs.conditions import BlockKey, MeasuredTable, medians_by_key
from graphs.costs.models import QuadraticCost
from graphs.files import Record, load_json
from graphs.spaces import GPUNetSpace
from solvers import Quadratic
from solvers.arrays import FloatArray


class Sample(Protocol):
    """Latency in ms: median, interquartile range, and number of samples."""

    @property
    def median(self) -> float: ...
    @property
    def spread(self) -> float: ...
    @property
    def samples(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement found: every block it was asked for, and what the rest of a network takes (``fixed``, ms)."""

    blocks: Mapping[BlockKey, Sample]
    fixed: float


@dataclass(frozen=True, slots=True)
class Device:
    """On what a table was measured."""

    device: str
    runtime: str
    threads: int
    dtype: str
    batch: int
    torch_version: str


class InterpolationError(Record):
    """Relative errors of the curve at measured widths that it was not shown: median and greatest over ``checked`` of them."""

    median: float = Field(ge=0, allow_inf_nan=False)
    worst: float = Field(ge=0, allow_inf_nan=False)
    checked: int = Field(ge=1)


class WidthLatencyEntry(Record):
    """One block at one width, in ms: the table's value, and the spread over ``samples`` measurements, 0 where none was made."""

    layer: str
    option: str
    median: float = Field(ge=0, allow_inf_nan=False)
    spread: float = Field(ge=0, allow_inf_nan=False)
    samples: int = Field(ge=0)


class WidthLatencyTable(MeasuredTable):
    """Latencies of every different block of a space at every width, in ms.

    ``interpolation`` is None where nothing was interpolated or no width was left to check with.
    """

    kind: Literal["width latency table"] = "width latency table"
    schema_version: Literal[1] = 1
    interpolation: InterpolationError | None = None
    entries: tuple[WidthLatencyEntry, ...]


def load_width_latency_table(path: Path | str) -> WidthLatencyTable:
    """Read a table; raises as ``graphs.files.load_json`` does, also for a table in another unit."""
    return load_json(path, WidthLatencyTable, "width latency table")


def blocks_to_measure(space: GPUNetSpace, widths_per_block: int | None) -> tuple[BlockKey, ...]:
    """Every convolution, and every other block at ``widths_per_block`` widths spread evenly from end to end; None for all widths.

    Raises:
        ValueError: fewer than two widths.
    """
    if widths_per_block is not None and widths_per_block < 2:
        raise ValueError(
            f"widths_per_block: expected 2 or more, so that both ends are measured, or None for all; got {widths_per_block}"
        )
    if widths_per_block is None:
        return tuple(space.unique_blocks)
    keys: list[BlockKey] = []
    for curve in _curves(space).values():
        picked = np.linspace(0, len(curve) - 1, min(widths_per_block, len(curve))).round().astype(int)
        keys += [curve[index][1] for index in picked]
    return tuple(keys)


def tabulate_widths(
    space: GPUNetSpace, measure: Callable[[Collection[BlockKey]], Measured], widths_per_block: int | None, device: Device
) -> WidthLatencyTable:
    """Measure some widths of every block, or all, and fill in the others.

    Args:
        measure: called once with the blocks to measure.
        widths_per_block: how many of a block's widths to measure; None measures all and interpolates nothing.
        device: on what ``measure`` runs.

    Raises:
        ValueError: fewer than two widths a block, or a block that was not measured; names the first.
    """
    wanted = blocks_to_measure(space, widths_per_block)
    measured = measure(wanted)
    missing = [key for key in wanted if key not in measured.blocks]
    if missing:
        raise ValueError(f"{len(missing)} of {len(wanted)} blocks were not measured, the first is {' '.join(missing[0])!r}")
    entries, errors = list[WidthLatencyEntry](), list[float]()
    for curve in _curves(space).values():
        known = [(width, measured.blocks[key]) for width, key in curve if key in measured.blocks]
        widths, medians = [width for width, _ in known], [sample.median for _, sample in known]
        every = [width for width, _ in curve]
        raw = widths_per_block is None or len(curve) == 1  # convolutions have no widths
        values = medians if raw else monotone_latencies(widths, medians, every).tolist()
        spreads = np.interp(every, widths, [sample.spread for _, sample in known]).tolist()
        counts = {width: sample.samples for width, sample in known}
        entries += [
            WidthLatencyEntry(layer=key[0], option=key[1], median=value, spread=spread, samples=counts.get(width, 0))
            for (width, key), value, spread in zip(curve, values, spreads, strict=True)
        ]
        errors += _left_out_errors(widths, medians) if len(known) < len(curve) else []
    interpolation = None
    if errors:
        interpolation = InterpolationError(median=float(np.median(errors)), worst=max(errors), checked=len(errors))
    return WidthLatencyTable(
        unit="ms",
        space=space.space.name,
        **asdict(device),
        resolution=space.settings.resolution,
        fixed=measured.fixed,
        interpolation=interpolation,
        entries=tuple(entries),
    )


def monotone_latencies(widths: ArrayLike, latencies_ms: ArrayLike, wanted: ArrayLike) -> FloatArray:
    """A monotone curve through measured latencies, at the ``wanted`` widths between the first and the last measured.

    Raises:
        ValueError: fewer than two widths, widths that do not rise, or wanted widths outside them.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import isotonic_regression

    x, y, at = (np.asarray(values, dtype=np.float64) for values in (widths, latencies_ms, wanted))
    if len(x) < 2 or x.shape != y.shape or (np.diff(x) <= 0).any():
        raise ValueError(f"expected a latency at each of two or more rising widths, got {y.tolist()} at {x.tolist()}")
    if at.min() < x[0] or at.max() > x[-1]:
        raise ValueError(f"wanted widths must lie between {x[0]:g} and {x[-1]:g}: a curve says nothing beyond what was measured")
    curve: FloatArray = np.asarray(PchipInterpolator(x, isotonic_regression(y).x)(at), dtype=np.float64)
    return curve


def layer_latencies(table: WidthLatencyTable, space: GPUNetSpace) -> dict[str, FloatArray]:
    """Milliseconds of every layer's options, each (options,), the skip's being 0.

    A table may know more widths of a layer than the space offers.

    Raises:
        ValueError: the table is of another space, or has none or two entries for a block; names the first.
    """
    offered = set(space.unique_blocks)
    layers = {layer for layer, _ in offered}
    keyed = (((entry.layer, entry.option), entry.median) for entry in table.entries)
    entries = ((key, median) for key, median in keyed if key in offered or key[0] not in layers)
    medians = medians_by_key(table, space.space.name, entries, space.unique_blocks, "{} {}".format)
    return {
        name: np.array([0.0 if option.block is None else medians[shape.name, option.name] for option in shape.options])
        for name, shape in space.layers.items()
    }


def width_latency_cost(table: WidthLatencyTable, space: GPUNetSpace) -> QuadraticCost:
    """The latency of the space's networks by the table, in ms: ``fixed`` plus a linear function of the options.

    Raises:
        ValueError: as :func:`layer_latencies`.
    """
    times = layer_latencies(table, space)
    linear = np.concatenate([times[decision.name] for decision in space.space.decisions])
    return QuadraticCost("latency", table.unit, space.space, Quadratic.of(table.fixed, linear))


def _curves(space: GPUNetSpace) -> dict[tuple[str, str], list[tuple[int, BlockKey]]]:
    """The unique blocks by layer shape and block, each at its widths, narrow to wide."""
    curves: dict[tuple[str, str], list[tuple[int, BlockKey]]] = {}
    for key, (shape, index) in space.unique_blocks.items():
        option = shape.options[index]
        block = shape.blocks[option.block or 0].name
        curves.setdefault((shape.name, block), []).append((option.width, key))
    return curves


def _left_out_errors(widths: Sequence[int], medians: Sequence[float]) -> list[float]:
    """Relative errors at the measured widths between the ends, each predicted from the others."""
    errors = []
    for index in range(1, len(widths) - 1):
        others = [place for place in range(len(widths)) if place != index]
        curve = monotone_latencies([widths[o] for o in others], [medians[o] for o in others], [widths[index]])
        if medians[index] > 0:
            errors.append(abs(float(curve[0]) / medians[index] - 1.0))
    return errors

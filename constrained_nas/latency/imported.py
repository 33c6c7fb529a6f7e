"""Tables measured elsewhere: lookup tables by key, and CSV. What is in a file decides, not its name.

None of them says what it was measured on: the caller names unit, device, batch and the rest, numbers are converted to milliseconds
(energies to millijoules, which make an energy table), and the table states it all.

**Keys of once-for-all and ProxylessNAS**, in YAML, JSON or lines (see ``constrained_nas.tables``): one entry a layer,
``KEY: {mean: 0.31}`` or ``KEY: 0.31``, shapes height x width x channels::

    Conv-input:224x224x3-output:112x112x32
    expanded_conv-input:56x56x24-output:28x28x40-expand:4-kernel:5-stride:2-idskip:0-se:1-hs:1
    Conv_1-input:7x7x192-output:7x7x960
    AvgPool2D-input:7x7x960-output:1x1x960
    Conv_2-input:1x1x960-output:1x1x1280
    Logits-input:1x1x1280-output:1000

``expand`` is the expansion ratio (ProxylessNAS) or the number of expanded channels (once-for-all); both are understood. ``se`` and
``hs`` (hard-swish) may be missing, as in ProxylessNAS: such a layer has no squeeze-and-excitation, whatever its activation. The
depthwise-separable block after the stem is the ``expanded_conv`` of ratio 1. ``Conv_2`` may be missing where ``Logits`` takes the
head's channels.

**Keys of HardCoRe-NAS** (its ``lut.pkl``, read without unpickling): ``general`` for the rest of the network, and
``in_channels_24_out_channels_40_stride_2_resolution_56_er_3_k_5_se_0.25_act_1``, where ``act`` says ReLU.

**Operators of FBNet and NNI**: rows by layer, or records by shape (see :mod:`constrained_nas.tables.operator_lists`), of operators
``ir_k3_e6`` or ``mb_k3_e6_se``, the first row the first block. In a network of one's own the rows are its choices in their order,
the names their options. Such lists have no rest of the network: it must be given.

**Keys of this library**: ``stage1.block2 e3_k5_se`` (or with a dot in between), and ``fixed``; those of a network of one's own are
its choices and their options, ``early 3x3``.

**CSV** with a header and the columns ``option`` (``e3_k5_se``), ``latency``, and ``block`` (``stage1.block2``) or ``shape`` (input
and output as channels x height x width, ``24x56x56-40x28x28``: of all blocks that see it). ``spread`` and ``samples`` may be there;
semicolons or tabs may stand for commas, and commas for points. A row with the block ``fixed`` and no option is the rest of the
network; several are added.

Reference: Cai et al., Once for all, and ProxylessNAS: the published latency lookup tables; Nayman et al., HardCoRe-NAS: the
release.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from constrained_nas.selections import separator_of, with_point
from constrained_nas.tables import Lookup, is_pickle, number_of, operator_names, read_lookup, record_keys
from graphs import ChoiceSpace, MBConvSpace
from graphs.blocks import Configuration
from graphs.costs import LatencyEntry, LatencyTable
from graphs.files import read_text, shortened
from graphs.spaces import BlockShape

Tabulated = MBConvSpace | ChoiceSpace
_MOST_BYTES = 16 * 2**20  # the published tables have less than one MiB
MILLISECONDS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
MILLIJOULES = {"J": 1e3, "mJ": 1.0, "uJ": 1e-3}
_COLUMNS = ("option", "latency", "block", "shape")
_SCALES = MILLISECONDS | MILLIJOULES


@dataclass(frozen=True, slots=True)
class ImportConditions:
    """What the file does not say: the unit of its numbers (s, ms, us, ns; J, mJ, uJ), and what they were measured on."""

    unit: str
    device: str
    batch: int
    runtime: str = "not stated"
    threads: int = 1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.unit not in _SCALES:
            raise ValueError(f"unit: expected one of {', '.join(_SCALES)}, got {self.unit!r}")
        if not self.device.strip():
            raise ValueError("device: name what the table was measured on")
        if self.batch < 1 or self.threads < 1:
            raise ValueError(f"expected at least one image and one thread, got batch {self.batch} and {self.threads} threads")


def import_table(path: Path | str, space: Tabulated, conditions: ImportConditions, fixed: float | None = None) -> LatencyTable:
    """A space's table from a file of any of the kinds that the module says; of energies where their unit is one.

    Args:
        fixed: of the rest of the network, in the file's unit, where the file does not have it; None looks it up.

    Raises:
        ValueError: no such table, an entry that is no latency, or layers of the space that the file does not have: names them.
        ImportError: PyYAML is missing, and the file is YAML.
        FileNotFoundError: there is no such file.
    """
    if not is_pickle(path):
        head = _table_lines(read_text(path, "latency table", _MOST_BYTES))[1].partition("\n")[0]
        columns = {column.strip().strip('"') for column in head.split(separator_of(head, _COLUMNS))}
        if {"option", "latency"} & columns and len(columns) > 2:
            if fixed is not None:
                raise ValueError("--fixed is for tables by key; in CSV give a row of the block fixed without an option")
            return import_csv_table(path, space, conditions)
    return import_ofa_table(path, space, conditions, fixed)


def import_ofa_table(path: Path | str, space: Tabulated, conditions: ImportConditions, fixed: float | None = None) -> LatencyTable:
    """A space's latency table from a lookup table by keys of once-for-all, of HardCoRe-NAS or of this library.

    Raises:
        as of :func:`import_table`.
    """
    read = read_lookup(path)
    latencies = read.latencies
    missing: list[str] = []

    def look_up(keys: list[str]) -> float:
        found = next((key for key in keys if key in latencies), None)
        if found is None:
            missing.append(keys[0])
            return 0.0
        return latencies[found]

    kind, keys, fixed_keys = _keys(space, read, path)
    values = {place: (look_up(names), 0.0, 1) for place, names in keys.items()}
    of_blocks = len(missing)
    rest = math.fsum(look_up(keys) for keys in fixed_keys) if fixed is None else fixed
    if missing:
        different = list(dict.fromkeys(missing))
        first = ", ".join(shortened(key, 30) for key in list(latencies)[:2])
        hint = "" if of_blocks else "; --fixed NUMBER says what the rest of the network takes"
        raise ValueError(
            f"{path}: has no entry for {len(different)} layers of {space.space.name}, the first of them "
            f"{', '.join(different[:3])}; its {len(latencies)} entries begin with {first}{hint}"
        )
    return _table(space, conditions, f"{Path(path).name}, {kind} {read.written} in {conditions.unit}", values, rest)


def _keys(space: Tabulated, read: Lookup, path: Path | str) -> tuple[str, dict[tuple[str, str], list[str]], list[list[str]]]:
    """What the keys are called after, those an option of a block may have, and those of the layers besides the blocks."""
    blocks = _options(space)
    if read.written == "rows":
        layers = len({key.partition(" ")[0] for key in read.latencies})
        if layers != len(blocks):
            raise ValueError(
                f"{path}: {layers} rows under a line of operators; {space.space.name} has {len(blocks)} places; expected as many, "
                "or CSV with columns block, option, latency"
            )
    own = isinstance(space, ChoiceSpace) and read.written != "rows"
    if own and read.written == "records":
        raise ValueError(f"{path}: records by shape; a network of your own takes lines CHOICE OPTION: NUMBER, or rows by choice")
    if isinstance(space, ChoiceSpace):
        listed = {
            (block, option): _own_keys(block, option) if own else [f"{number} {option}"]
            for number, (block, options) in enumerate(blocks.items(), start=1)
            for option in options
        }
        return ("this library's" if own else "FBNet's"), listed, [["fixed"]]
    kind, keys_of, fixed_keys = _named_keys(space, read)
    named = {
        (block, option.name): keys_of(number, block, option, shape)
        for number, (block, shape) in enumerate(zip(space.block_names, space.block_shapes, strict=True), start=1)
        for option in space.configurations
    }
    return kind, named, fixed_keys


_KeysOf = Callable[[int, str, Configuration, BlockShape], list[str]]


def _named_keys(space: MBConvSpace, read: Lookup) -> tuple[str, _KeysOf, list[list[str]]]:
    """What the keys are called after, how a block's options are called, and the layers besides the blocks."""

    def actual(option: Configuration, shape: BlockShape) -> Configuration:
        return space.configurations_of(shape)[space.configurations.index(option)]

    def by_place(number: int, block: str, option: Configuration, shape: BlockShape) -> list[str]:
        return [f"{number} {name}" for each in (option, actual(option, shape)) for name in operator_names(each)]

    def by_shape(number: int, block: str, option: Configuration, shape: BlockShape) -> list[str]:
        return [*record_keys(shape, option), *record_keys(shape, actual(option, shape))]

    def of_layers(number: int, block: str, option: Configuration, shape: BlockShape) -> list[str]:
        block_option = actual(option, shape)
        return _block_keys(shape, block_option.expansion, block_option.kernel, block_option.squeeze_excite)

    if read.written == "rows":
        return "FBNet's", by_place, [["fixed"]]
    if read.written == "records":
        return "NNI's", by_shape, [["fixed"]]
    if any(key.startswith("in_channels_") for key in read.latencies):
        return "HardCoRe-NAS", lambda n, b, option, shape: _hardcore_keys(shape, actual(option, shape)), [["general"]]
    if any(key.startswith("stage1.block1") for key in read.latencies):
        return "this library's", lambda n, block, option, s: _own_keys(block, option.name), [["fixed"]]
    return "once-for-all", of_layers, _fixed_keys(space, read.latencies)


def _own_keys(block: str, option: str) -> list[str]:
    return [f"{block} {option}", f"{block}.{option}"]


def _options(space: Tabulated) -> dict[str, tuple[str, ...]]:
    """The options of every block of the space."""
    if isinstance(space, ChoiceSpace):
        return {decision.name: decision.options for decision in space.space.decisions}
    return dict.fromkeys(space.block_names, tuple(configuration.name for configuration in space.configurations))


def _hardcore_keys(shape: BlockShape, option: Configuration) -> list[str]:
    """Their resolution is that of the block's input; the share of squeeze-and-excitation is written in several ways."""
    start = f"in_channels_{shape.inputs}_out_channels_{shape.outputs}_stride_{shape.stride}_resolution_{shape.side}"
    act = f"_act_{int(shape.activation == 'relu')}"
    shares = ("0.25", "1", "True") if option.squeeze_excite else ("0", "0.0", "False", "None")
    ratios = (f"{option.expansion}", f"{option.expansion}.0")
    return [f"{start}_er_{ratio}_k_{option.kernel}_se_{share}{act}" for ratio in ratios for share in shares]


def import_csv_table(path: Path | str, space: Tabulated, conditions: ImportConditions) -> LatencyTable:
    """A space's latency table from CSV; the module says which columns.

    Raises:
        ValueError: a missing column, a row that is no latency or of no block or option of the space (with its line), two rows for
            the same, or blocks without a row.
        FileNotFoundError: there is no such file.
    """
    options, shapes = _options(space), dict[str, list[str]]()
    for name, shape in [] if isinstance(space, ChoiceSpace) else zip(space.block_names, space.block_shapes, strict=True):
        shapes.setdefault(_shape_name(shape), []).append(name)
    values: dict[tuple[str, str], tuple[float, float, int]] = {}
    rests: list[float] = []
    above, text = _table_lines(read_text(path, "CSV table", _MOST_BYTES))
    separator = separator_of(text.partition("\n")[0], _COLUMNS)
    with _csv_errors(Path(path)), StringIO(text, newline="") as file:
        rows = csv.DictReader(file, strict=True, delimiter=separator)
        columns = set(rows.fieldnames or ())
        if not {"option", "latency"} <= columns or not columns & {"block", "shape"}:
            raise ValueError(f"{path}: expected columns option, latency, and block or shape; got {', '.join(sorted(columns))}")
        for row in rows:
            where = f"{path}, line {above + rows.line_num}"
            row = {column: with_point(cell, separator) if isinstance(cell, str) else cell for column, cell in row.items()}
            latency = number_of(row["latency"], f"{where}: latency")
            block, option = (row.get("block") or "").strip(), (row["option"] or "").strip()
            if block == "fixed" and not option:
                rests.append(latency)
                continue
            blocks = [block] if block else shapes.get((row.get("shape") or "").strip(), [])
            if not blocks or any(option not in options.get(name, ()) for name in blocks):
                what = f"block {block!r}" if block else f"shape {row.get('shape')!r}"
                raise ValueError(f"{where}: {what} with option {option!r} is not in {space.space.name}")
            spread = number_of(row.get("spread") or "0", f"{where}: spread")
            samples = int(number_of(row.get("samples") or "1", f"{where}: samples"))
            for name in blocks:
                if (name, option) in values:
                    raise ValueError(f"{where}: a second row for block {name!r} with option {option!r}")
                values[name, option] = latency, spread, samples
    missing = [(block, option) for block in options for option in options[block] if (block, option) not in values]
    if missing:
        raise ValueError(f"{path}: no row for {len(missing)} blocks with option, the first of them {' '.join(missing[0])}")
    if not rests:
        raise ValueError(f"{path}: no row of the block 'fixed' for the rest of the network (stem, head); it may be 0")
    source = f"{Path(path).name}, CSV in {conditions.unit}"
    return _table(space, conditions, source, values, math.fsum(rests))


def _table_lines(text: str) -> tuple[int, str]:
    """How many lines stand above the table, empty ones and remarks behind #, and what follows them."""
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    above = next((place for place, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return above, "".join(lines[above:])


@contextmanager
def _csv_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise ValueError(f"{path}: not CSV that can be read: {error}") from error


def _table(
    space: Tabulated,
    conditions: ImportConditions,
    source: str,
    values: Mapping[tuple[str, str], tuple[float, float, int]],
    fixed: float,
) -> LatencyTable:
    """The table of latencies, spreads and numbers of samples by block and option."""
    scale, energies = _SCALES[conditions.unit], conditions.unit in MILLIJOULES
    entries = [
        LatencyEntry(block=block, configuration=option, median=value * scale, spread=spread * scale, samples=max(1, samples))
        for (block, option), (value, spread, samples) in values.items()
    ]
    return LatencyTable(
        kind="energy table" if energies else "latency table",
        unit="mJ" if energies else "ms",
        space=space.space.name,
        device=conditions.device,
        runtime=conditions.runtime,
        threads=conditions.threads,
        dtype=conditions.dtype,
        batch=conditions.batch,
        resolution=int(space.example[0].shape[-1]) if isinstance(space, ChoiceSpace) else space.settings.resolution,
        torch_version="",
        fixed=number_of(fixed, "fixed") * scale,
        context="imported",
        entries=tuple(entries),
        rules="medians, spreads and samples as the file has them; a mean where it has means",
        source=source,
    )


def _block_keys(shape: BlockShape, expansion: int, kernel: int, squeeze_excite: bool) -> list[str]:
    """The names under which once-for-all (expanded channels) and ProxylessNAS (ratio) may list a block."""
    side = -(-shape.side // shape.stride)
    start = f"expanded_conv-input:{shape.side}x{shape.side}x{shape.inputs}-output:{side}x{side}x{shape.outputs}"
    skip = int(shape.stride == 1 and shape.inputs == shape.outputs)
    end = f"-kernel:{kernel}-stride:{shape.stride}-idskip:{skip}"
    flags = f"-se:{int(squeeze_excite)}-hs:{int(shape.activation == 'hard_swish')}"
    expands = [f"-expand:{shape.inputs * expansion}", f"-expand:{expansion}"]
    return [start + expand + end + flags for expand in expands] + (
        [] if squeeze_excite else [start + expand + end for expand in expands]
    )


def _fixed_keys(space: MBConvSpace, latencies: Mapping[str, float]) -> list[list[str]]:
    """For each layer besides the blocks its possible names."""
    s = space.settings
    side, last = -(-s.resolution // 2), space.block_shapes[-1]
    end = -(-last.side // last.stride)
    shape = f"{end}x{end}x"
    keys = [[f"Conv-input:{s.resolution}x{s.resolution}x{s.image_channels}-output:{side}x{side}x{s.stem_channels}"]]
    if s.separable_channels:
        separable = BlockShape(s.stem_channels, s.separable_channels, 1, side, s.separable_activation)
        keys.append(_block_keys(separable, 1, 3, False))
    keys.append([f"Conv_1-input:{shape}{last.outputs}-output:{shape}{s.head_channels}"])
    direct = f"Logits-input:{shape}{s.head_channels}-output:{s.classes}"  # ProxylessNAS: all that follows is in it
    if direct in latencies:
        return [*keys, [direct]]
    keys.append([f"AvgPool2D-input:{shape}{s.head_channels}-output:1x1x{s.head_channels}"])
    keys.append([f"Conv_2-input:1x1x{s.head_channels}-output:1x1x{s.features}"])
    keys.append([f"Logits-input:1x1x{s.features}-output:{s.classes}"])
    return keys


def _shape_name(shape: BlockShape) -> str:
    side = -(-shape.side // shape.stride)
    return f"{shape.inputs}x{shape.side}x{shape.side}-{shape.outputs}x{side}x{side}"

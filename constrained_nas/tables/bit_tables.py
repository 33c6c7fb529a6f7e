"""Tables of language models: what each tensor loses under each type, and what it then takes. Read without torch.

Three kinds of files are told apart by what is in them, not by their names:

- **CSV** with a line a tensor and type: columns for the tensor (``tensor``, ``name``, ``layer``), the type (``type``, ``bits``,
  ``quant``), the loss (``loss``, ``error``, ``kld``, ``mse``), and the number of its weights (``weights``, ``n_elements``,
  ``numel``), its bytes (``bytes``, ``size``), or both; semicolons or tabs may stand for commas, and commas for points;
- **JSON**, a list of such lines, one such object a line, or ``{tensor: {"weights": n, "types": {type: loss}}}``;
- exllamav2's ``measurement.json``: ``{"measurement": {module: [{"accuracy": a, "total_bits": n, ...}]}}``; the loss is 1 -
  accuracy.

A table of importances (``importance``, ``imatrix``: mean squared inputs of a tensor, as llama.cpp's imatrix has them) has no types:
give them; a tensor's loss is then ``importance * weights * 4^-bits``, the error that a uniform rounding of that many bits leaves.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from constrained_nas.selections import SelectionTable, separator_of, with_point
from graphs.files import read_text, require_printable, shortened, unambiguous

BITS = "bits"  # the cost: bits of all weights
_MOST = 1e18  # weights or bytes of a tensor, far beyond what there is: their sums must not overflow

# Bits a weight of llama.cpp's types, blocks and scales included (ggml's block layouts).
TYPE_BITS = {
    "iq1_s": 1.5625,
    "iq1_m": 1.75,
    "iq2_xxs": 2.0625,
    "iq2_xs": 2.3125,
    "iq2_s": 2.5625,
    "q2_k": 2.625,
    "iq3_xxs": 3.0625,
    "iq3_s": 3.4375,
    "q3_k": 3.4375,
    "iq4_xs": 4.25,
    "iq4_nl": 4.5,
    "q4_0": 4.5,
    "q4_k": 4.5,
    "q4_1": 5.0,
    "q5_0": 5.5,
    "q5_k": 5.5,
    "q5_1": 6.0,
    "q6_k": 6.5625,
    "q8_0": 8.5,
    "bf16": 16.0,
    "f16": 16.0,
    "f32": 32.0,
}
_COLUMNS = {
    "tensor": ("tensor", "name", "layer", "group", "module"),
    "type": ("type", "bits", "quant", "option", "qtype"),
    "loss": ("loss", "error", "kld", "mse", "score", "added"),
    "weights": ("weights", "n_elements", "numel", "elements", "params"),
    "bytes": ("bytes", "size"),
    "importance": ("importance", "imatrix", "sum2"),
}


@dataclass(frozen=True, slots=True)
class BitTable:
    """``table.scores[tensor][type]`` are losses, ``table.costs["bits"]`` bits; ``weights[tensor]`` how many it has."""

    table: SelectionTable
    weights: Mapping[str, float]

    @property
    def total_weights(self) -> float:
        """Of all tensors together."""
        return math.fsum(self.weights.values())


def bits_of(kind: str) -> float:
    """Bits a weight of a type: ``q4_k``, ``Q4_K``, ``4``, ``4bit``, ``int4``, ``w4``.

    Raises:
        ValueError: no type that is known, nor a number of bits.

    Example:
        >>> bits_of("Q6_K"), bits_of("4"), bits_of("int8")
        (6.5625, 4.0, 8.0)
    """
    known = TYPE_BITS.get(kind.strip().lower())
    found = re.fullmatch(r"(?:int|w)?\s*(\d+(?:\.\d+)?)\s*(?:-?bits?)?", kind.strip().lower())
    if known is None and (found is None or not 0 < float(found[1]) <= 32):
        raise ValueError(f"type {kind!r}: expected a number of bits or one of {', '.join(TYPE_BITS)}")
    return known if known is not None else float(found[1])  # type: ignore[index] # one of the two was found


def read_bit_table(path: Path | str, types: Sequence[str] = ()) -> BitTable:
    """Read a table of one of the kinds that the module says.

    Args:
        types: to choose from, for tables of importances; others state their own, of which these are kept.

    Raises:
        ValueError: none of these kinds, a line that lacks something, a number that is none; says where.
        FileNotFoundError: there is no such file.
    """
    text = read_text(path, "table of losses")
    is_json = text.lstrip()[:1] in ("{", "[")
    lines = _of_json(_loaded(text, path), str(path)) if is_json else _of_csv(text, str(path))
    return _table(lines, types, str(path))


def _loaded(text: str, path: Path | str) -> Any:
    import json

    try:
        return json.loads(text, object_pairs_hook=unambiguous)
    except (ValueError, RecursionError) as error:
        with suppress(ValueError, RecursionError):
            return [json.loads(line, object_pairs_hook=unambiguous) for line in text.splitlines() if line.strip()]
        raise ValueError(f"{path}: not complete JSON: {shortened(str(error), 100)}") from error


def _of_csv(text: str, path: str) -> list[tuple[str, dict[str, Any]]]:
    text = text.lstrip("\ufeff")
    separator = separator_of(text.partition("\n")[0], [name for names in _COLUMNS.values() for name in names])
    try:
        reader = csv.DictReader(StringIO(text, newline=""), strict=True, delimiter=separator)
        found = [str(name).strip().lower() for name in reader.fieldnames or ()]
        if found and not set(_COLUMNS["tensor"]) & set(found):
            named = " or ".join(_COLUMNS["tensor"])
            raise ValueError(
                f"{path}: expected JSON, or CSV with a column {named}; its first line has {shortened(', '.join(found), 100)}"
            )
        lines = []
        for row in reader:
            cells = {str(k).strip(): with_point(v, separator) if isinstance(v, str) else v for k, v in row.items()}
            lines.append((f"{path}, line {reader.line_num}", cells))
        return lines
    except csv.Error as error:
        raise ValueError(f"{path}: neither JSON nor CSV: {error}") from error


def _of_json(content: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(content, list):
        return [(f"{path}, entry {number}", _mapping(entry, path)) for number, entry in enumerate(content, start=1)]
    if isinstance(content.get("measurement"), dict):
        return _of_measurements(content["measurement"], path)
    lines: list[tuple[str, dict[str, Any]]] = []
    for name, entry in _mapping(content.get("tensors", content), path).items():
        each = _mapping(entry, f"{path}: {name}")
        rest = {key: value for key, value in each.items() if key != "types"} | {"tensor": name}
        if "types" not in each:
            lines.append((f"{path}: {name}", rest))
            continue
        for kind, said in _mapping(each["types"], f"{path}: {name}: types").items():
            more = said if isinstance(said, dict) else {"loss": said}
            lines.append((f"{path}: {name}: {kind}", rest | {"type": kind} | more))
    return lines


def _of_measurements(modules: Mapping[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    """exllamav2: an option is a list of settings a projection; it is named by its place and its bits."""
    lines = []
    for name, options in modules.items():
        if not isinstance(options, list) or not options:
            raise ValueError(f"{path}: {name}: expected a list of measured options")
        weights = options[0].get("numel") if isinstance(options[0], dict) else None
        for number, option in enumerate(options):
            where = f"{path}: {name}: option {number}"
            each = _mapping(option, where)
            if "accuracy" not in each or "total_bits" not in each:
                raise ValueError(f"{where}: expected accuracy and total_bits")
            loss = max(0.0, 1.0 - _number(each["accuracy"], f"{where}: accuracy"))
            line = {"tensor": name, "type": str(number), "loss": loss, "total_bits": each["total_bits"], "weights": weights}
            lines.append((where, line))
    return lines


def _table(lines: Sequence[tuple[str, Mapping[str, Any]]], types: Sequence[str], path: str) -> BitTable:
    scores: dict[str, dict[str, float]] = {}
    bits: dict[str, dict[str, float]] = {}
    weights: dict[str, float] = {}
    for where, told in lines:
        line = {str(key).strip().lower(): value for key, value in told.items()}
        name = str(_cell(line, "tensor") or "").strip()
        if not name:
            raise ValueError(f"{where}: no tensor; expected a column {' or '.join(_COLUMNS['tensor'])}")
        require_printable(name, f"{where}: tensor")
        given = _cell(line, "weights")
        count = None if given is None else _number(given, f"{where}: weights")
        importance, kind = _cell(line, "importance"), _cell(line, "type")
        if kind is None and importance is not None and count:
            if not types:
                raise ValueError(f"{path}: has importances and no types: say which to choose from, such as q3_K,q4_K,q6_K")
            mean = _number(importance, f"{where}: importance")
            options = {each: (mean * count * 4.0 ** -bits_of(each), bits_of(each) * count) for each in types}
        else:
            if kind is None or _cell(line, "loss") is None:
                raise ValueError(f"{where}: expected a type and a loss (or an importance and a number of weights)")
            loss = _number(_cell(line, "loss"), f"{where}: loss", signed=True)
            options = {str(kind).strip(): (loss, _bits(line, str(kind), count, where))}
        weights.setdefault(name, count if count is not None else math.nan)
        for option, (loss, taken) in options.items():
            require_printable(option, f"{where}: type")
            if option in scores.setdefault(name, {}):
                raise ValueError(f"{where}: tensor {name!r} already has type {option!r}")
            scores[name][option] = loss
            bits.setdefault(name, {})[option] = taken
    if not scores:
        raise ValueError(f"{path}: an empty table")
    kept = {each.strip().lower() for each in types}
    if kept:
        scores = {name: {o: v for o, v in each.items() if o.lower() in kept} for name, each in scores.items()}
        lacking = next((name for name, each in scores.items() if not each), None)
        if lacking:
            raise ValueError(
                f"{path}: tensor {lacking!r} has none of the types {', '.join(types)}; it has {', '.join(bits[lacking])}"
            )
        bits = {name: {option: bits[name][option] for option in each} for name, each in scores.items()}
    return BitTable(SelectionTable(path, scores, {BITS: bits}), weights)


def _bits(line: Mapping[str, Any], kind: str, count: float | None, where: str) -> float:
    if line.get("total_bits") is not None:
        return _number(line["total_bits"], f"{where}: total_bits")
    size = _cell(line, "bytes")
    if size is not None:
        return 8 * _number(size, f"{where}: bytes")
    if count is None:
        raise ValueError(f"{where}: expected the number of weights or the bytes")
    try:
        return bits_of(kind) * count
    except ValueError as error:
        raise ValueError(f"{where}: {error}; or give its bytes") from error


def _cell(line: Mapping[str, Any], what: str) -> Any:
    return next((line[name] for name in _COLUMNS[what] if line.get(name) not in (None, "")), None)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, got {shortened(repr(value), 60)}")
    return value


def _number(text: Any, where: str, signed: bool = False) -> float:
    try:
        value = math.nan if isinstance(text, bool) else float(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: expected a number, got {shortened(repr(text), 60)}") from error
    if not math.isfinite(value) or (not signed and not 0 <= value <= _MOST):
        raise ValueError(f"{where}: expected a number{'' if signed else f' from 0 to {_MOST:g}'}, got {shortened(repr(text), 60)}")
    return value

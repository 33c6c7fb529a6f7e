"""Tables of latencies by key, whatever they are written in: what a file holds decides, not its name.

YAML and JSON (``KEY: {mean: 0.31}`` or ``KEY: 0.31``), lines ``KEY: 0.31``, ``KEY,0.31`` or ``KEY 0.31`` without a header
(ProxylessNAS as CSV; more numbers behind the first are left), rows and records of operators (FBNet's and NNI's, see
:mod:`constrained_nas.tables.operator_lists`), and pickled dictionaries of plain numbers (HardCoRe-NAS's ``lut.pkl``), which are
read without unpickling.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from constrained_nas.tables.operator_lists import read_records, read_rows, refuse_nested
from constrained_nas.tables.plain_pickle import read_plain_pickle
from graphs.files import read_text, require_file, shortened, unambiguous

_MOST_BYTES = 16 * 2**20  # the published tables have less than one MiB
_MOST_YAML = 2 * 2**20  # which takes its time to read
_MOST_LINE = 1000  # characters: what a longer one could be is tried in too many ways
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_REST = rf"(?P<number>{_NUMBER})(?:\s*(?:ms|us|ns|s))?(?:[\s,;]+{_NUMBER})*[\s,;]*"
# Keys may hold colons, commas never: what separates most surely is tried first.
_LINES = [
    re.compile(rf"(?P<key>[^,;\t]*[^,;\s])\s*[,;\t]\s*{_REST}"),
    *(re.compile(rf"(?P<key>.*?\S){s}{_REST}") for s in (r":\s+", r"\s+", ":")),
]


@dataclass(frozen=True, slots=True)
class Lookup:
    """``latencies[key]`` in the file's unit; what they were ``written`` in: YAML, JSON, lines, rows, records or a pickle."""

    latencies: dict[str, float]
    written: str


def is_pickle(path: Path | str) -> bool:
    """Whether a file begins as a pickle does: with its protocol, or as the oldest with a dictionary or a list.

    Raises:
        ValueError: it is no file.
        FileNotFoundError: there is none.
    """
    require_file(path)
    with Path(path).open("rb") as file:
        start = file.read(2)
    return start[:1] == b"\x80" or start in (b"(d", b"(l", b"}q", b"]q")


def read_lookup(path: Path | str) -> Lookup:
    """Latencies by key.

    Raises:
        ValueError: none of these kinds, or an entry that is no latency; says which.
        ImportError: a YAML file, and PyYAML is missing.
        FileNotFoundError: there is no such file.
    """
    if is_pickle(path):
        return Lookup(_of_mapping(read_plain_pickle(path), path), "pickle")
    text = read_text(path, "latency table", _MOST_BYTES).lstrip("\ufeff")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError(f"{path}: an empty table")
    refuse_nested(text, path)
    listed = ("records", read_records(lines, path)), ("rows", read_rows(lines))
    for written, found in listed:
        if found is not None:
            return Lookup(_of_mapping(found, path), written)
    if text.lstrip()[:1] in ("{", "["):
        try:
            content = json.loads(text, object_pairs_hook=unambiguous)
        except json.JSONDecodeError:
            pass  # YAML in braces
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except RecursionError as error:
            raise ValueError(f"{path}: nested too deeply for a table") from error
        else:
            return Lookup(_of_mapping(content, path), "JSON")
    pairs = _pairs_of(lines)
    if pairs:
        return Lookup(_of_mapping(_different(pairs, path), path), "lines")
    if len(text) > _MOST_YAML:
        raise ValueError(f"{path}: more than {_MOST_YAML / 2**20:g} MiB that are neither JSON nor lines of a key and a number")
    return Lookup(_of_mapping(_yaml(text, path), path), "YAML")


def number_of(text: Any, where: str) -> float:
    """A latency.

    Raises:
        ValueError: no number of at least 0.
    """
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: expected a number, got {shortened(repr(text), 60)}") from error
    if not math.isfinite(value) or value < 0 or isinstance(text, bool):
        raise ValueError(f"{where}: expected a number of at least 0, got {shortened(repr(text), 60)}")
    return value


def _pairs_of(lines: list[str]) -> list[tuple[str, str]]:
    """Keys and numbers, if every line has them."""
    pairs = []
    for line in lines:
        found = None if len(line) > _MOST_LINE else next((match for form in _LINES if (match := form.fullmatch(line))), None)
        if found is None:
            return []
        pairs.append((found["key"].strip("\"' "), found["number"]))
    return pairs


def _different(pairs: list[tuple[str, Any]], path: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, number in pairs:
        if key in found:
            raise ValueError(f"{path}: {shortened(key, 100)} is there twice")
        found[key] = number
    return found


def _of_mapping(content: Any, path: Path | str) -> dict[str, float]:
    if isinstance(content, list) and all(isinstance(each, dict) for each in content):
        content = _different([pair for each in content for pair in each.items()], path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected a mapping of layers to latencies, or CSV with columns block, option, latency")
    latencies = {}
    for key, value in content.items():
        mean = value.get("mean", value.get("value")) if isinstance(value, dict) else value
        mean = mean[0] if isinstance(mean, list | tuple) and len(mean) in (1, 2) else mean  # a mean and a deviation
        if mean is None:
            raise ValueError(f"{path}: {key}: expected a number or 'mean: number', got {shortened(repr(value), 60)}")
        latencies[str(key)] = number_of(mean, f"{path}: {key}")
    return latencies


def _yaml(text: str, path: Path | str) -> Any:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError as error:
        raise ImportError("reading a YAML table needs PyYAML: pip install 'constrained-nas[yaml]'") from error
    try:
        return yaml.load(text, Loader=_without_aliases(yaml))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not YAML that can be read: {shortened(' '.join(str(error).split()))}") from error


def _without_aliases(yaml: Any) -> Any:
    """PyYAML's safe loader without aliases, a few hundred bytes of which can stand for more than fits into memory.

    Numbers stay texts: as keys they can be chosen so that all share a hash.
    """

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError(f"aliases are not read (*{self.peek_event().anchor})")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            unambiguous([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
            return super().construct_mapping(node, deep)

    Loader.add_constructor("tag:yaml.org,2002:int", yaml.SafeLoader.construct_yaml_str)
    return Loader

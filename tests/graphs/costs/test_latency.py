"""Latency files: what is written is read back, and every way a file can be wrong has a message of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny import table_of, tiny_space

from graphs.costs import latency_cost, load_latency_table
from graphs.files import save_json


@pytest.fixture
def content() -> dict[str, Any]:
    return dict(json.loads(table_of(tiny_space(), np.random.default_rng(0)).model_dump_json()))


def test_round_trip(tmp_path: Path) -> None:
    space = tiny_space()
    table = table_of(space, np.random.default_rng(0), slope=1.07, intercept=-0.2)
    path = tmp_path / "deep" / "table.json"
    save_json(table, path)
    read = load_latency_table(path)
    assert read == table
    assert np.array_equal(latency_cost(read, space).quadratic.theta, latency_cost(table, space).quadratic.theta)
    assert [entry.name for entry in path.parent.iterdir()] == ["table.json"], "no partial file may stay behind"


def test_a_table_replaces_the_old_one_whole(tmp_path: Path) -> None:
    first, second = (table_of(tiny_space(), np.random.default_rng(seed)) for seed in (0, 1))
    path = tmp_path / "table.json"
    save_json(first, path)
    save_json(second, str(path))
    assert load_latency_table(str(path)) == second


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / "table.json"
    save_json(table_of(tiny_space(), np.random.default_rng(0)), path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: int(len(text) * share)], encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.json: not complete JSON \(line \d+.*was the file cut off"):
        load_latency_table(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        load_latency_table(tmp_path / "none.json")


def _set(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.__setitem__(name, value)


def _set_entry(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["entries"][3].__setitem__(name, value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_set("unit", "s"), "unit: .*the table is in 's', expected 'ms': convert every number"),
        (_set("schema_version", 3), "schema_version: .*should be 1 or 2"),
        (_set_entry("median", -0.1), r"entries\.3\.median: .*greater than or equal to 0"),
        (_set_entry("median", float("nan")), r"entries\.3\.median: "),
        (_set_entry("median", float("inf")), r"entries\.3\.median: .*finite"),
        (_set_entry("spread", -1.0), r"entries\.3\.spread: "),
        (_set_entry("samples", 0), r"entries\.3\.samples: "),
        (_set_entry("unit", "s"), r"entries\.3\.unit: .*not permitted"),
        (_set("fixed", float("nan")), "fixed: "),
        (_set("threads", 0), "threads: "),
        (_set("slope", 0.0), "slope: "),
        (lambda content: content.pop("device"), "device: .*required"),
        (lambda content: [entry.pop("median") for entry in content["entries"]], r"entries\.0\.median: .*required \(and 31 more\)"),
    ],
)
def test_wrong_content(tmp_path: Path, content: dict[str, Any], spoil: Callable[[dict[str, Any]], object], message: str) -> None:
    spoil(content)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.json: no valid latency table: " + message):
        load_latency_table(path)


def test_another_kind_of_record(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**content, "kind": "search record"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.json: .*kind 'search record', expected 'latency table'"):
        load_latency_table(path)


def test_json_that_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(ValueError, match="no valid latency table: file: "):
        load_latency_table(path)
    path.write_bytes(b"\x80\x81\x82")
    with pytest.raises(ValueError, match=r"table\.json: not a text file"):
        load_latency_table(path)

"""Tables by key in what people write them in, and pickles of plain values: nothing else in a pickle is read, let alone run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import pickletools
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from constrained_nas.tables import is_pickle, read_lookup
from constrained_nas.tables.lookups import _yaml
from constrained_nas.tables.plain_pickle import plain_value

TABLE = {"expanded_conv-input:8x8x4-output:8x8x4-expand:4": 0.25, "Logits-input:1x1x16-output:3": 3.0, "conv 3x3": 1e-3}
KEYS = list(TABLE)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TABLE),
        json.dumps({key: {"mean": value, "std": 0.1} for key, value in TABLE.items()}),
        json.dumps([{key: [value, 0.1]} for key, value in TABLE.items()]),
        "".join(f"{key}: {value}\n" for key, value in TABLE.items()),
        "# op: latency\n\n" + "".join(f"{key},{value}\n" for key, value in TABLE.items()),
        "".join(f"{key},{value},0.01,100\n" for key, value in TABLE.items()),
        "".join(f"{key}\t{value} ms\n" for key, value in TABLE.items()),
        "\ufeff" + "".join(f"{key} {value}\r\n" for key, value in TABLE.items()),
    ],
)
@pytest.mark.parametrize("name", ["table.txt", "table.yaml"])
def test_content_decides(text: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_lookup(path).latencies == TABLE


@pytest.mark.parametrize(
    "text", ['{"a": 1, "b": 2, "a": 3}', '[{"a": 1}, {"a": 3}]', "a: {mean: 1}\nb: {mean: 2}\na: {mean: 3}\n", "a 1\nb 2\na 3\n"]
)
def test_of_two_latencies_none_is_chosen(text: str, tmp_path: Path) -> None:
    (tmp_path / "table").write_text(text)
    with pytest.raises(ValueError, match=r"a'? is there twice"):
        read_lookup(tmp_path / "table")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_plain_values(protocol: int, tmp_path: Path) -> None:
    values: list[Any] = [
        TABLE,
        [1, -2, 3**50, 2.5],
        (),
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        {"a": {"b": [None, True, False]}},
        "ä",
        [],
    ]
    values += [[TABLE, TABLE], {number: str(number) for number in range(3000)}, list(range(3000))]
    for value in values:
        assert plain_value(pickle.dumps(value, protocol)) == value
    path = tmp_path / "lut.txt"
    path.write_bytes(pickle.dumps(TABLE, protocol))
    assert is_pickle(path) and read_lookup(path).latencies == TABLE


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in (Evil(made), {"a": Evil(made)}, np.float64(1.0), OrderedDict(a=1), print, Path("x"), {1, 2}, b"bytes"):
            with pytest.raises(ValueError, match=r"more than plain values"):
                plain_value(pickle.dumps(value, protocol))
    assert not made.exists()


def test_pickles_that_are_broken(tmp_path: Path) -> None:
    whole = pickle.dumps(TABLE)
    random = np.random.default_rng(0)
    for cut in range(len(whole)):
        with pytest.raises(ValueError, match=r"pickle|argument|end|expected|data"):
            plain_value(whole[:cut])
    for _ in range(300):  # whatever comes, it is a value or a ValueError
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            changed[place] = random.integers(256)
        with contextlib.suppress(ValueError):
            plain_value(bytes(changed))
    assert {"GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "STACK_GLOBAL", "EXT1", "PERSID"} <= {
        o.name for o in pickletools.opcodes
    }
    for code in (b"cos\nsystem\n.", b"(ios\nsystem\n.", b"\x80\x02\x82\x01.", b"Pid\n."):
        with pytest.raises(ValueError, match="more than plain values"):
            plain_value(code)
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps("x" * (17 * 2**20)))
    with pytest.raises(ValueError, match="more than 16 MiB"):
        read_lookup(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,1\na,2\n", "a is there twice"),
        ("a: -1\n", "a: expected a number of at least 0"),
        ('{"a": "fast"}', "a: expected a number, got 'fast'"),
        ("[1, 2]", "expected a mapping"),
    ],
)
def test_what_is_no_table(text: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    path = tmp_path / "t.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_lookup(path)


def test_small_files_that_stand_for_more_than_fits(tmp_path: Path) -> None:
    """Each of them took minutes, or all memory, or was told as a mistake of ours."""
    laughs: Any = 1.0
    for _ in range(60):
        laughs = (laughs, laughs)
    shared = b"\x80\x04}(K\x01" + b"".join(b"q%ch%c\x86" % (place, place) for place in range(60)) + b"K\x01u."
    itself: list[Any] = []
    itself.append(itself)
    long = [["x" * 10_000_000] * 100]
    for content, said in (
        (pickle.dumps({"a": laughs}), "stands for more"),
        (pickle.dumps(long), "stands for more"),
        (pickle.dumps({"a": itself}), "holds itself"),
        (shared, "neither texts nor numbers"),
        (pickle.dumps({2**61 - 1 << 3: 1}), "neither texts nor numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            plain_value(content)
    path = tmp_path / "t.txt"
    for text in ("a " + "1 " * 20_000 + "x\n", "a " + "1" * 30_000 + "x\n", "{'a': 1" + "0" * 400 + "}"):
        path.write_text(text)
        began = time.perf_counter()
        with pytest.raises(ValueError, match=r"expected a mapping|expected a number|not YAML"):
            read_lookup(path)
        assert time.perf_counter() - began < 10
    path.write_text("".join(f"k{number}: {{mean: 1.0}}\n" for number in range(150_000)))
    with pytest.raises(ValueError, match="more than 2 MiB"):
        read_lookup(path)
    for tag in ("", "!!int "):
        path.write_text("".join(f"{tag}{(number + 1) * (2**61 - 1)}: {{mean: 1}}\n" for number in range(3)))  # numbers of one hash
        assert all(map(str.isdigit, _yaml(path.read_text(), path)))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        is_pickle(tmp_path / "pipe")

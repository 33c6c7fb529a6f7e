"""Files are written whole, durably, with the user's modes and never through a link; what no record holds is refused when read."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from graphs.files import (
    Record,
    SealedRecord,
    append_text,
    load_json,
    own_folder,
    read_json,
    remove_partial_files,
    require_size,
    save_json,
    visible,
    written_whole,
)


class Named(Record):
    name: str
    values: dict[str, Any] = Field(default_factory=dict)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    folder = tmp_path / "sent"
    folder.mkdir()
    for name in ("run.json", "run.json.partial", f"run.json.{os.getpid()}.partial"):  # names of this version and of earlier ones
        (folder / name).symlink_to(elsewhere)
    save_json({"a": 1}, folder / "run.json")
    assert elsewhere.read_text() == "mine"
    assert read_json(folder / "run.json", "record") == {"a": 1} and not (folder / "run.json").is_symlink()


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    save_json({"a": 1}, path)
    with pytest.raises(KeyError), written_whole(path) as partial:
        partial.write_text("{")
        raise KeyError
    assert read_json(path, "record") == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_modes_are_those_of_the_users_mask_whoever_writes(tmp_path: Path, umask: None) -> None:
    save_json({}, tmp_path / "plain.json")
    with written_whole(tmp_path / "weights") as partial:
        partial.unlink()  # as libraries do that put their own file in its place
        partial.touch(0o600)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_file_and_name_are_on_the_disk_before_it_counts_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_IFMT(os.fstat(handle).st_mode)))
    save_json({}, tmp_path / "a.json")
    assert synced == [stat.S_IFREG, stat.S_IFDIR]


@pytest.mark.parametrize("full", ["no name is left", "no room is left"])
def test_where_there_is_no_room_is_told_and_nothing_half_written_stays(
    tmp_path: Path, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept.json").write_text("before")

    def refused(path: str | Path, *_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    if full == "no name is left":
        monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OSError, match="No space left") as raised, written_whole(tmp_path / "kept.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write does
    assert raised.value.errno == errno.ENOSPC and str(raised.value.filename).startswith(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"] and (tmp_path / "kept.json").read_text() == "before"


def test_a_folder_that_is_gone_stays_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "run" / "checkpoints" / "x", parents=False):
        pass
    assert not (tmp_path / "run").exists()


def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.safetensors") as partial:
        left = tmp_path / partial.name.replace(".a.", ".b.")
        left.write_text("half")
        (tmp_path / "table.json.partial.jsonl").touch()  # rounds of a measurement: these are kept
    remove_partial_files(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.safetensors", "table.json.partial.jsonl"]


def test_a_folder_of_a_run_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "export").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link: it would lead out of"):
        own_folder(tmp_path, "export")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"name": "\\u001b[31mred"}', r"a control character in '\\x1b\[31mred'"),
        ('{"name": "a\u202eb"}'.encode(), r"a control character in 'a\\x202eb'"),
        (b'{"name": "a", "values": {"b\\u0007": 1}}', "a control character"),
        (b'{"name": "a\\nThe found network fits."}', "a control character"),
        (b'{"name": "' + 30_000 * b"x" + b'"}', "a text of 30,000 characters"),
        (b'{"name": "a", "values": {"b": NaN}}', "a number is not finite"),
        (b'{"name": "a", "values": {"b": 1e999}}', "a number is not finite"),
        (b'{"name": "a", "values": {"b": ' + 100_000 * b"[" + 100_000 * b"]" + b"}}", "nested too deeply"),
        (b'{"name": "a", "values": {"b": ' + 100 * b"[" + 100 * b"]" + b"}}", "nested more than 64 levels deep"),
        (b'{"name": ' + 5000 * b"1" + b"}", "no valid record: "),
        (b"\xff\xfe", "not a text file"),
        (b'{"name": "a", "name": "b"}', "'name' is there twice"),
        (b'{"name": "a", "values": {"b": 1, "b": 1}}', "'b' is there twice"),
        (b'{"name": "' + 100_000 * b"x", "not complete JSON"),
        (b'{"name": "a", "values": {"' + 10_000 * b"x" + b'": NaN}, "' + 10_000 * b"y" + b'": 1}', "Extra inputs"),
    ],
)
def test_what_no_record_holds_is_refused_in_a_short_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as raised:
        load_json(path, Named, "record")
    assert len(str(raised.value)) < 500 + len(str(path)) and "\x1b" not in str(raised.value)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        read_json(tmp_path / "pipe", "record")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**34)  # takes no room on the disk
    with pytest.raises(ValueError, match="more than 64 MiB"):
        read_json(tmp_path / "large", "record")
    with pytest.raises(OSError, match="directory"):
        read_json(tmp_path, "record")


def test_nothing_is_appended_to_what_is_no_file(tmp_path: Path) -> None:
    append_text("a\n", tmp_path / "log")
    append_text("b\n", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "a\nb\n"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "log")
    for name in ("pipe", "link"):  # a pipe that nobody reads would be waited for
        with pytest.raises(OSError, match=name):
            append_text("c\n", tmp_path / name)
    assert (tmp_path / "log").read_text() == "a\nb\n"


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_of_several_names_is_appended_to_under_one(tmp_path: Path, durable: bool) -> None:
    append_text("a\n", tmp_path / "log", durable=durable)
    os.link(tmp_path / "log", tmp_path / "backup")
    append_text("b\n", tmp_path / "log", durable=durable)
    append_text("c\n", tmp_path / "log", durable=durable)
    assert (tmp_path / "log").read_text() == "a\nb\nc\n" and (tmp_path / "backup").read_text() == "a\n"


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"name": "a"}\r\n')
    assert read_json(tmp_path / "a.json", "record") == {"name": "a"}


def test_sizes_that_are_only_claimed_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"1,048,576 MiB, and at most 8,192 MiB are read"):
        require_size(tmp_path / "large", 2**33)
    require_size(tmp_path / "large", 2**40)


def test_escapes_are_seen() -> None:
    assert visible("a\x1b[0m\x9bb") == "a\\x1b[0m\\x9bb"
    assert visible("café\n[/b]") == "café\n[/b]"
    assert visible("\udcff") == "\\xdcff"  # no stream takes it


class Measured(SealedRecord):
    value: float


def test_a_sealed_record_is_believed_only_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    save_json(Measured(value=0.1 + 0.2), path)
    assert load_json(path, Measured, "value").value == 0.1 + 0.2
    for changed in ({"value": 0.3}, {"sha256": ""}, {"sha256": "0" * 64}):
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        with pytest.raises(ValueError, match="has another sha256 than it had when written; delete it"):
            load_json(path, Measured, "value")
        save_json(Measured(value=0.1 + 0.2), path)

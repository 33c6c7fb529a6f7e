"""Files of runs and sweeps changed at random, then read by every command: one line or an answer, no traceback, hang or flood."""

from __future__ import annotations

import contextlib
import io
import json
import random
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.fakes import true_table
from support.tiny import TINY, killer, run, settings

from constrained_nas.commands.cli import main
from constrained_nas.runs import begin_run, carry_out
from graphs import hardcore_small
from graphs.files import save_json

SECONDS = 60  # a command on such a folder takes two or three
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 10**400, 1e308, -1e-320, float("nan"), float("inf"), "", "x", "[/b]", "\x1b[2J", "../../x"),
    *("=1+1", "9" * 5000, [], {}, [[]], {"": {}}, "é" * 1000, [0] * 1000, "params=1e9", "\ud800"),
)


def nested(depth: int) -> Any:
    content: Any = 0
    for _ in range(depth):
        content = [content]
    return content


def other_bytes(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content) + 1)
    kind = generator.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + generator.randbytes(generator.randrange(1, 200)) + content[place:]
    if kind == 2:
        return content[:place] + content[place + generator.randrange(1, 500) :]
    changed = bytearray(content or b"x")
    for _ in range(1 if kind == 3 else 50):
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def other_json(content: bytes, generator: random.Random) -> bytes:
    """A value, or a whole part, is another; a key is new, gone or another's."""
    whole = json.loads(content)
    places: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list):
            for key, entry in part.items() if isinstance(part, dict) else enumerate(part):
                places.append((part, key))
                waiting.append(entry)
    if not places:
        return other_bytes(content, generator)
    part, key = generator.choice(places)
    kind = generator.randrange(4)
    if kind == 0 and isinstance(part, dict):
        part[str(generator.choice(ODD))] = part.pop(key)
    elif kind == 1:
        del part[key]
    elif kind == 2 and isinstance(part[key], int | float):
        part[key] *= generator.choice((2, -1, 1.0001, 1e9))
    else:
        part[key] = nested(generator.choice((3, 90, 900))) if kind == 3 and generator.random() < 0.1 else generator.choice(ODD)
    return json.dumps(whole).encode()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, one that was killed in fine-tuning, and a sweep."""
    root = tmp_path_factory.mktemp("whole")
    save_json(true_table(hardcore_small(10, 16, 1)), root / "table.json")
    asked = settings("hardcore-small", "params=60e3", "latency_ms=4", table=root / "table.json", measure=False)
    run(root / "finished", asked)
    begin_run(asked, root / "killed")
    with pytest.raises(KeyboardInterrupt):
        carry_out(root / "killed", killer("training: network", 4))
    typed(sweep_command(root))
    return root


def sweep_command(root: Path) -> list[str]:
    sizes = {name: value for name, value in TINY.items() if name not in ("test_references", "samples", "fine_tune_epochs")}
    tiny = [part for name, value in sizes.items() for part in (f"--{name}".replace("_", "-"), str(value))]
    return ["sweep", "hardcore-small", "--budget", "params=60e3,90e3", "--method", "random", "--out", str(root / "sweep"), *tiny]


def typed(arguments: Sequence[str]) -> str:
    """Run a command here; the line it ended in, nothing if it succeeded."""
    sys.argv = ["constrained-nas", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            return str(end.code)
    return ""


def commands(root: Path, folder: str, generator: random.Random) -> list[str]:
    if folder == "sweep":
        return sweep_command(root)
    if folder == "killed":
        return ["resume", str(root / "killed")]
    finished, out = str(root / "finished"), str(root / "out")
    return generator.choice((["report", finished], ["compare", finished, "--out", out], ["export", finished], ["resume", finished]))


def attack(whole: Path, work: Path, mutations: int, seed: int) -> Counter[str]:
    generator, counted = random.Random(seed), Counter[str]()
    files = [
        path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file() and path.suffix in (".json", ".safetensors")
    ]
    files = [path for path in files if len(path.parts) > 1 and not path.name.startswith(".")]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("hangs")

    old = signal.signal(signal.SIGALRM, too_long)
    try:
        for number in range(mutations):
            path = generator.choice(files)
            folder = path.parts[0]
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(whole / folder, work / folder)
            target, content = work / path, (whole / path).read_bytes()
            change: Callable[[bytes, random.Random], bytes] = other_bytes
            if path.suffix == ".json" and generator.random() < 0.7:
                change = other_json
            target.write_bytes(change(content, generator))
            arguments = commands(work, folder, generator)
            signal.alarm(SECONDS)
            try:
                said = typed(arguments)
            except BaseException as error:  # a traceback that the user would see
                said = f"traceback {type(error).__name__}: {error}"
            signal.alarm(0)
            kind = "answered" if not said else "refused" if said.startswith("constrained-nas: ") else "traceback"
            if "unexpected" in said or "hangs" in said or "\n" in said or len(said) > 600 or "\x1b" in said:
                kind = "traceback"
            if kind == "traceback":
                print(f"seed {seed}, mutation {number}, {path}, {arguments[0]}: {said[:300]}")
            counted[kind] += 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    counted["MiB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return counted


@pytest.mark.parametrize("mutations", [60, pytest.param(4000, marks=pytest.mark.slow)])
def test_mutated_files_end_in_a_line_or_in_an_answer(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutations: int
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    counted = attack(folders, tmp_path / "work", mutations, seed=mutations)
    print(dict(counted))
    assert counted["traceback"] == 0
    assert counted["refused"] + counted["answered"] == mutations and counted["refused"] > mutations // 2
    assert counted["MiB"] < 1024

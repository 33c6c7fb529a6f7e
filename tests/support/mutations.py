"""Files that are changed at random, and commands that then read them in a forked process of little memory and time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from support.killed import ready_to_fork

from constrained_nas.commands.cli import main

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 10**400, 1e308, -1e-320, float("nan"), float("inf"), "", "x", "[/b]", "\x1b[2J", "../../x"),
    *("=1+1", "9" * 5000, [], {}, [[]], {"": {}}, "é" * 1000, [0] * 1000, "params=1e9", "\ud800"),
)
NAMELESS = {"seconds", "versions", "machine", "threads"}  # keys of records that need not come out the same


def nested(depth: int) -> Any:
    content: Any = 0
    for _ in range(depth):
        content = [content]
    return content


def other_bytes(content: bytes, generator: random.Random) -> bytes:
    """Cut off, something put in or taken out, a bit or fifty flipped."""
    place = generator.randrange(len(content) + 1)
    kind = generator.randrange(6)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + generator.randbytes(generator.randrange(1, 200)) + content[place:]
    if kind == 2:
        return content[:place] + content[place + generator.randrange(1, 500) :]
    if kind == 3:  # what begins a file says how long its parts are
        place = generator.randrange(min(16, len(content)) or 1)
        return content[:place] + generator.randbytes(generator.choice((1, 4, 8))) + content[place + 8 :]
    changed = bytearray(content or b"x")
    for _ in range(1 if kind == 4 else 50):
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def other_text(content: bytes, generator: random.Random) -> bytes:
    """Another encoding, a line twice or gone or out of order, a number that is another, a file without an end of nesting."""
    text = content.decode(errors="replace")
    kind = generator.randrange(6)
    if kind == 0:
        return text.encode(generator.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037")), errors="replace")
    if kind == 1:
        return text.encode() * generator.choice((0, 2, 3)) + generator.choice((b"", b"\0", b"\xff\xfe", b"\r", b"\n" * 1000))
    if kind == 2:
        return (generator.choice("[{(-&*!\"'`%@") * generator.choice((1, 100, 100_000)) + text).encode()
    lines = text.splitlines(keepends=True) or [""]
    at = generator.randrange(len(lines))
    if kind == 3:
        lines[at : at + 1] = generator.choice(([], [lines[at]] * 2, [lines[at][::-1]], [lines[at], lines[0]]))
        return "".join(lines).encode()
    numbers = [place for place, letter in enumerate(text) if letter.isdigit()]
    if not numbers:
        return other_bytes(content, generator)
    place, other = (
        generator.choice(numbers),
        generator.choice(("-", "e", "9" * 400, "1e400", "nan", "inf", "0x", "_", "٣", ",", "\t")),
    )
    return (text[:place] + other + text[place + (kind == 4) :]).encode()


def other_json(content: bytes, generator: random.Random) -> bytes:
    """A value, or a whole part, is another; a key is new, gone or another's. JSON lines: one of the lines."""
    try:
        whole = json.loads(content)
    except ValueError:
        lines = content.splitlines(keepends=True)
        at = generator.randrange(len(lines))
        return b"".join([*lines[:at], other_json(lines[at], generator), b"\n", *lines[at + 1 :]])
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
    kind = generator.randrange(5)
    if kind == 0 and isinstance(part, dict):
        part[str(generator.choice(ODD))] = part.pop(key)
    elif kind == 1:
        del part[key]
    elif kind == 2 and isinstance(part[key], int | float):
        part[key] *= generator.choice((2, -1, 1.0001, 1e9))
    elif kind == 3:
        other, name = generator.choice(places)
        part[key] = json.loads(json.dumps(other[name]))
    else:
        part[key] = nested(generator.choice((3, 90, 900))) if generator.random() < 0.1 else generator.choice(ODD)
    return json.dumps(whole).encode()


def mutated(path: Path, content: bytes, generator: random.Random) -> bytes:
    """Another content for a file of that name, never the same."""
    changes: list[Callable[[bytes, random.Random], bytes]] = [other_bytes]
    if path.suffix in (".json", ".jsonl"):
        changes += [other_json] * 5
    if path.suffix in (".json", ".jsonl", ".csv", ".yaml", ".txt", ".html"):
        changes.append(other_text)
    while True:
        with contextlib.suppress(IndexError):
            other = generator.choice(changes)(content, generator)
            if other != content:
                return other


def differences(first: Any, second: Any, place: str = "") -> Iterator[str]:
    """The places at which two JSON contents differ; the numbers of entries of lists are left out."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in first.keys() | second.keys():
            if key not in first or key not in second:
                yield f"{place}.{key if key in first else '+'}"
            else:
                yield from differences(first[key], second[key], f"{place}.{key}")
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for one, other in zip(first, second, strict=True):
            yield from differences(one, other, place)
    elif json.dumps(first) != json.dumps(second):
        yield place


def typed(arguments: Sequence[str]) -> tuple[str, str]:
    """Run a command here: the line it ended in, nothing if it succeeded, and what it printed."""
    sys.argv, shown, beside = ["constrained-nas", *arguments], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(beside):
        try:
            main()
        except SystemExit as end:
            return (beside.getvalue() if isinstance(end.code, int) and end.code else str(end.code or "")), shown.getvalue()
    return "", shown.getvalue()


def answered(arguments: Sequence[str], outputs: Sequence[Path]) -> tuple[str, dict[str, str]]:
    """The line in which a command ended, and where it succeeded a hash of what it printed ('') and of all it wrote."""
    said, shown = typed(arguments)
    return said, {} if said else {"": hashlib.sha256(shown.encode()).hexdigest()} | told_by(outputs)


def told_by(outputs: Sequence[Path]) -> dict[str, str]:
    """A hash of every file there (JSON without times, machine and versions), by name."""
    hashes = {}
    for output in outputs:
        for path in sorted(output.rglob("*")) if output.is_dir() else [output]:
            if path.is_file() and not path.name.startswith("."):
                content = path.read_bytes()
                if path.suffix == ".json":
                    kept = without(json.loads(content))
                    content = json.dumps(kept, sort_keys=True).encode()
                hashes[path.name] = hashlib.sha256(content).hexdigest()
    return hashes


def without(content: Any) -> Any:
    """JSON without what need not come out the same."""
    if isinstance(content, dict):
        return {key: without(entry) for key, entry in content.items() if key not in NAMELESS}
    return [without(entry) for entry in content] if isinstance(content, list) else content


def forked(arguments: Sequence[str], outputs: Sequence[Path], seconds: int, room: int) -> dict[str, Any]:
    """Run a command in a fork of this process, which has imported everything.

    Args:
        outputs: files and folders that it may write, hashed by :func:`told_by` where it succeeds.
        seconds: of the processor after which a signal ends it (others may use it too); in any case six times of the clock.
        room: bytes that it may take beyond what this process has.

    Returns:
        ``kind``: answered, refused (in one line), traceback, hang, memory or killed; ``said``; ``told``.
    """
    ready_to_fork()
    here, there = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(here)
            signal.alarm(6 * seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))  # a fork begins at 0
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room,) * 2)
            try:
                said, told = answered(arguments, outputs)
            except BaseException as error:  # a traceback that a user would see
                said, told = f"traceback {type(error).__name__}: {error}", {}
            with contextlib.suppress(Exception), os.fdopen(there, "w") as pipe:
                json.dump({"said": said, "told": told}, pipe)
        finally:
            os._exit(0)
    os.close(there)
    with os.fdopen(here) as pipe:
        heard = pipe.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        kind = "hang" if number in (signal.SIGALRM, signal.SIGXCPU) else "killed"
        return {"kind": kind, "said": signal.Signals(number).name, "told": {}}
    answer: dict[str, Any] = json.loads(heard or '{"said": "nothing was told", "told": {}}')
    return {"kind": kind_of(answer["said"]), **answer}


def kind_of(said: str) -> str:
    if not said:
        return "answered"
    if "memory is exhausted" in said or "MemoryError" in said:
        return "memory"
    plain = re.match("constrained-nas: (?!unexpected )", said) is not None and "\n" not in said and "\x1b" not in said
    return "refused" if plain and len(said) <= 600 else "traceback"

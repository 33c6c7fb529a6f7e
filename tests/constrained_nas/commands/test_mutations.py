"""Files changed at random, then read by every command that reads them: one line or an answer, no traceback, hang or flood."""

from __future__ import annotations

import json
import pickle
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.fakes import true_table
from support.mutations import answered, differences, forked, mutated, typed
from support.own import NETWORK, PLAIN
from support.tiny import TINY, settings

from constrained_nas.runs import begin_run, carry_out
from graphs import MBConvSpace, hardcore_small
from graphs.files import save_json

SECONDS, ROOM = 20, 2**30  # a command takes one to three seconds, and some hundred MB
SMALL = ("hardcore-small", "params=60e3")
RUNS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "hardcore": (("hardcore-small", "params=60e3", "latency_ms=4"), {"table": "table.json", "measure": False}),
    "surrogate": (SMALL, {"method": "surrogate", "samples": 20}),
    "budgeted": (("cnf-small", "params=12e3"), {}),
    "prunet": (("gpunet-small", "params=40e3"), {}),
    "filters": (("resnet8-bits", "bops=1e9"), {"epochs": 1, "samples": 2}),
    "own": (("FILE.py:build", "params=2800"), {}),
}
# Where nothing can know that a value is another: the answer may then be another. All else is refused or changes nothing.
FREE = {
    "run.json": r"\.(data|machine|versions|seconds|remarks|history|nearby|settings|units)\b.*|.*\.(accuracy|name|unit)|\.schema.*",
    "settings.json": r".*",
    "table.json": r".*",
    "curves.jsonl": r".*",  # a log: what is damaged is left out, and the record has the hash of what is left
}


@dataclass(frozen=True)
class Read:
    """Commands of which one is typed, and the files and folders that they write."""

    commands: tuple[tuple[str, ...], ...]
    outputs: tuple[Path, ...]


def readers(root: Path, place: str) -> Read:
    kind, folder = place.partition("-")[0], root / place
    if kind == "finished":
        out = root / "out"
        commands = (("report",), ("compare", "--out", str(out)), ("export",), ("resume",))
        return Read(tuple((name, str(folder), *more) for name, *more in commands), (folder, out))
    if kind == "killed":
        return Read((("resume", str(folder)),), (folder / "run.json", folder / "network.safetensors"))
    if kind == "sweep":
        return Read((sweep_command(folder),), (folder / "sweep.json",))
    if kind == "quantised":
        return Read((quantise_command(folder),), (folder / "plan.json", folder / "network.safetensors"))
    out, file = root / "out.json", str(next(folder.iterdir()))
    if kind == "project":
        return Read((("project", file, "--budget", "ms=5", "--out", str(out)),), (out,))
    if kind == "allocate":
        return Read((("allocate", file, "--bits-per-weight", "3.6", "--out", str(out)),), (out,))
    unit = "mJ" if kind == "energies" else "us"
    how = ("hardcore-small", "--unit", unit, "--device", "phone", "--batch", "1", "--resolution", "16", "--classes", "10")
    return Read((("import-table", file, *how, "--channels", "1", "--out", str(out)),), (out,))


def sweep_command(folder: Path) -> tuple[str, ...]:
    foreign = ("test_references", "samples", "fine_tune_epochs", "evaluations", "judged_images")
    sizes = {name: value for name, value in TINY.items() if name not in foreign}
    tiny = [part for name, value in sizes.items() for part in (f"--{name}".replace("_", "-"), str(value))]
    methods = ("--method", "hardcore", "--method", "random")
    return ("sweep", "hardcore-small", "--budget", "params=60e3,90e3", *methods, "--out", str(folder), *tiny)


def quantise_command(folder: Path) -> tuple[str, ...]:
    sizes = ["--epochs", "1", "--fine-tune", "1", "--bits", "2,8", "--calibration", "16", "--held-out", "32", "--front", "1"]
    own = f"{folder.parent.parent / 'own' / 'plain.py'}:build"
    return ("quantise", own, *sizes, "--resolution", "16", "--budget", "size=95%", "--to", "packed", "--out", str(folder))


@pytest.fixture(scope="module")
def small_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, two that were interrupted, and a sweep, in ``whole``."""
    root = tmp_path_factory.mktemp("mutations")
    save_json(true_table(hardcore_small(10, 16, 1)), root / "table.json")
    add_runs(root, ("hardcore",), (0.4, 0.9))
    assert not typed(sweep_command(root / "whole" / "sweep"))[0]
    return root


@pytest.fixture(scope="module")
def folders(small_folders: Path) -> Path:
    """Runs of every family, finished and killed, a plan of bit widths, and tables of every kind."""
    root = small_folders
    (root / "own").mkdir()
    (root / "own" / "plain.py").write_text(PLAIN)
    add_runs(root, tuple(RUNS)[1:], (0.7,))
    assert not typed(quantise_command(root / "whole" / "quantised"))[0]
    for place, name, content in tables(hardcore_small(10, 16, 1)):
        (root / "whole" / place).mkdir()
        (root / "whole" / place / name).write_bytes(content)
    return root


def add_runs(root: Path, names: tuple[str, ...], shares: tuple[float, ...]) -> None:
    """A finished run of every name, and one that was interrupted after each share of its steps."""
    (root / "mynet.py").write_text(NETWORK)
    for name in names:
        (space, *budgets), more = RUNS[name]
        more = more | ({"table": root / "table.json"} if "table" in more else {})
        asked, steps = settings(space.replace("FILE.py", str(root / "mynet.py")), *budgets, **more), list[str]()
        whole = root / "whole" / f"finished-{name}"
        carry_out(whole, lambda done, total, what, steps=steps: steps.append(what), begin_run(asked, whole))
        for share in shares:
            folder = root / "whole" / f"killed-{name}-{share}"
            begin_run(asked, folder)
            with pytest.raises(KeyboardInterrupt):
                carry_out(folder, interrupting(int(share * len(steps))))


def interrupting(steps: int) -> Callable[[int, int, str], None]:
    left = iter(range(steps))

    def progress(done: int, total: int, what: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return progress


def tables(space: MBConvSpace) -> Iterator[tuple[str, str, bytes]]:
    """(folder, file name, content) of tables from elsewhere."""
    known = true_table(space)
    times = {f"{entry.block} {entry.configuration}": 1000 * entry.median for entry in known.entries} | {"fixed": 70.0}
    yield "table-yaml", "lut.yaml", "".join(f"{key}: {{mean: {value!r}}}\n" for key, value in times.items()).encode()
    yield "table-lines", "lut.txt", "".join(f"{key}: {value!r}\n" for key, value in times.items()).encode()
    yield "energies-json", "lut.json", json.dumps(times).encode()
    yield "table-pickle", "lut.pkl", pickle.dumps(times)
    rows = [["block", "option", "latency", "spread"], ["fixed", "", "70", "0.1"]]
    rows += [[*key.split(), repr(value), "0.5"] for key, value in times.items() if key != "fixed"]
    yield "table-csv", "lut.csv", "".join(",".join(row) + "\n" for row in rows).encode()
    losses = [(f"blk.{layer}.up", kind, loss / (layer + 1)) for layer in range(4) for kind, loss in (("q2_K", 4.0), ("q4_K", 1.0))]
    lines = "".join(f"{tensor},{kind},{loss!r},1024\n" for tensor, kind, loss in losses)
    yield "allocate-csv", "losses.csv", f"tensor,type,loss,weights\n{lines}".encode()
    measured = [{"tensor": tensor, "type": kind, "loss": loss, "weights": 1024} for tensor, kind, loss in losses]
    yield "allocate-json", "losses.json", json.dumps(measured).encode()
    chosen = [["group", "option", "score", "ms"]]
    chosen += [[f"g{group}", f"o{option}", str(option * group % 5), str(option + 0.5)] for group in range(4) for option in range(3)]
    yield "project-csv", "table.csv", "".join(",".join(row) + "\n" for row in chosen).encode()


def changes_of(name: str, before: bytes, after: bytes) -> set[str]:
    """The places at which a file of JSON is another; '' where it is no JSON, or not one any more."""
    try:
        return set(differences(json.loads(before), json.loads(after)))
    except (ValueError, RecursionError):
        return {""}


def attack(root: Path, mutations: int, seed: int) -> Counter[str]:
    """What became of so many commands, each on one folder with one other file, by kind; faults are printed."""
    generator, counted, normal = random.Random(seed), Counter[str](), dict[tuple[str, ...], dict[str, str]]()
    work, places = root / "work", sorted(path.name for path in (root / "whole").iterdir())
    for number in range(mutations):
        place = generator.choice(places)
        whole = root / "whole" / place
        files = [path for path in sorted(whole.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        path = generator.choice(files)
        command = None
        for _ in range(2):
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(whole, work / place)
            read = readers(work, place)
            command = command or generator.choice(read.commands)
            if command not in normal:  # what it answers to what is right; here, so that all it imports is there for those forked
                said, normal[command] = answered(command, read.outputs)
                assert not said, (command, said)
            else:
                break
        before = path.read_bytes()
        after = mutated(path, before, generator)
        (work / place / path.relative_to(whole)).write_bytes(after)
        answer = forked(command, read.outputs, SECONDS, ROOM)
        kind, what = answer["kind"], f"{place}/{path.relative_to(whole)}"
        if kind == "answered":
            own = {name: told for name, told in answer["told"].items() if name != path.name}
            kind = "the same answer" if own == {name: normal[command].get(name) for name in own} else "another answer"
            if kind == "another answer" and not place.startswith(("table", "energies", "project", "allocate")):
                where = changes_of(path.name, before, after)
                free = r"\.remark" if path.parent.name == "cells" else FREE.get(path.name)
                if free is None or not all(re.fullmatch(free, one) for one in where):
                    kind = "wrong answer"
                    print(f"seed {seed}, mutation {number}, {what}, {command[0]}: wrong answer, at {sorted(where)[:3]}", flush=True)
        elif kind != "refused":
            print(f"seed {seed}, mutation {number}, {what}, {command[0]}: {kind}: {answer['said'][:400]!r}", flush=True)
        counted[kind] += 1
    return counted


def check(counted: Counter[str], mutations: int) -> None:
    print(dict(counted))
    assert counted.keys() <= {"refused", "the same answer", "another answer"}
    assert counted.total() == mutations and counted["refused"] > mutations // 3


def test_mutated_files_end_in_a_line_or_in_an_answer(small_folders: Path) -> None:
    check(attack(small_folders, 60, seed=60), 60)


@pytest.mark.slow
def test_thousands_of_mutated_files_of_every_kind(folders: Path, request: pytest.FixtureRequest) -> None:
    mutations, seed = request.config.getoption("--mutations"), request.config.getoption("--mutation-seed")
    check(attack(folders, mutations, seed), mutations)

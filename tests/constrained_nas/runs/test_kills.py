"""kill -9 at random moments, for every method, fine-tuning and ``quantise``: what ends later is what an unbroken run ends in."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.killed import killed_after, killed_command, same, typed_silently
from support.own import NETWORK, PLAIN
from support.tiny import TINY, run, settings

from constrained_nas.runs import RunSettings, begin_run, carry_out, load_run

LONGER = {"train_epochs": 2, "fine_tune_epochs": 2}
SMALL = ("hardcore-small", "params=60e3")
# space, budget, settings, and the part of the work in which it is killed ('': any).
CASES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "hardcore": (*SMALL, {"method": "hardcore"}, ""),
    "surrogate": (*SMALL, {"method": "surrogate", "samples": 20}, ""),
    "soft-penalty": (*SMALL, {"method": "soft-penalty"}, ""),
    "random": (*SMALL, {"method": "random"}, ""),
    "fine-tuning": (*SMALL, {"method": "random", "train_epochs": 1, "warm_up": 0, "fine_tune_epochs": 8}, "training: network"),
    "budgeted": ("cnf-small", "params=12e3", {}, ""),
    "prunet": ("gpunet-small", "params=40e3", {}, ""),
    "filter-level": ("resnet8-bits", "bops=30e6", {}, ""),
    "option-scores": ("FILE.py:build", "params=2800", {"method": "option-scores"}, ""),
    "own network": ("FILE.py:build", "params=2800", {"samples": 20}, ""),
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in CASES]


def asked(name: str, folder: Path) -> tuple[RunSettings, str]:
    space, budget, more, only = CASES[name]
    own = folder / "mynet.py"
    own.write_text(NETWORK)
    return settings(space.replace("FILE.py", str(own)), budget, **(LONGER | more)), only


@pytest.mark.parametrize("name", SLOW)
def test_killed_at_random_moments_it_ends_as_an_unbroken_run(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    """Some random milliseconds after a random number of steps, until it has really been interrupted so often."""
    check_killed(tmp_path, name, request.config.getoption("--kills"))


def test_killed_twice_it_ends_as_an_unbroken_run(tmp_path: Path) -> None:
    check_killed(tmp_path, "hardcore", 2)


def check_killed(tmp_path: Path, name: str, kills: int) -> None:
    generator, (wanted, only) = random.Random(f"{name} {kills}"), asked(name, tmp_path)
    whole = run(tmp_path / "whole", wanted)
    interrupted, runs, places = 0, 0, Counter[str]()
    while interrupted < kills:
        folder, runs = tmp_path / f"killed{runs}", runs + 1
        begin_run(wanted, folder)
        while interrupted < kills and not (folder / "run.json").exists():
            what = killed_after(folder, generator.randrange(1, 12), 0.05 * generator.random(), only)
            interrupted += what is not None
            places.update([re.sub(r"iteration \d+: ", "", what)] if what else [])
        same(carry_out(folder), whole, folder, tmp_path / "whole")
    print(f"{name}: {interrupted} kills in {runs} run(s): {dict(places)}")
    assert kills < 5 or only or len(places) > 1


def typed(wanted: RunSettings, folder: Path) -> list[str]:
    given = {"method": wanted.method, **{name: getattr(wanted, name) for name in TINY if name != "test_references"}}
    options = [part for name, value in given.items() if value is not None for part in (f"--{name}".replace("_", "-"), str(value))]
    return ["search", wanted.space, "--budget", wanted.budget[0], "--no-test-references", "--out", str(folder), *options]


@pytest.mark.parametrize("name", SLOW)
def test_commands_that_are_killed_end_as_an_unbroken_one(tmp_path: Path, name: str) -> None:
    """At moments spread evenly over the time that an unbroken one takes; the first in a process of its own from the start."""
    generator, (wanted, _) = random.Random(name), asked(name, tmp_path)
    assert not killed_command(typed(wanted, tmp_path / "whole"), tmp_path / "whole", 3600, fresh=True)
    whole = load_run(tmp_path / "whole")
    seconds = sum(whole.seconds.values())
    kills, runs = 0, 0
    while kills < 5:
        folder, runs = tmp_path / f"killed{runs}", runs + 1
        command = typed(wanted, folder)
        while kills < 5 and not (folder / "run.json").exists():
            kills += killed_command(command, folder, seconds * generator.random(), fresh=kills == 0)
            command = ["resume", str(folder)]
        same(carry_out(folder), whole, folder, tmp_path / "whole")
        shutil.rmtree(folder)
    print(f"{name}: {kills} commands killed in {runs} run(s), {seconds:.1f} s each")


@pytest.mark.slow
def test_quantise_that_is_killed_ends_as_an_unbroken_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kills = request.config.getoption("--kills")
    (tmp_path / "mynet.py").write_text(PLAIN)
    sizes = ["--epochs", "1", "--fine-tune", "1", "--bits", "2,8", "--calibration", "16", "--held-out", "32", "--front", "2"]
    small = ["--resolution", "16", "--budget", "size=95%", "--to", "packed", "--out"]
    command = ["quantise", f"{tmp_path / 'mynet.py'}:build", *sizes, *small]
    typed_silently([*command, str(tmp_path / "warm")])
    began = time.monotonic()
    typed_silently([*command, str(tmp_path / "whole")])
    seconds, generator = time.monotonic() - began, random.Random("quantise")
    whole = json.loads((tmp_path / "whole" / "plan.json").read_text())
    interrupted, runs = 0, 0
    while interrupted < kills:
        folder, runs = tmp_path / f"killed{runs}", runs + 1
        while interrupted < kills and not (folder / "plan.json").exists():
            fresh = interrupted < 2
            interrupted += killed_command([*command, str(folder)], folder, seconds * generator.random(), fresh)
        typed_silently([*command, str(folder)])
        assert json.loads((folder / "plan.json").read_text()) == whole
        weights = [(place / "network.safetensors").read_bytes() for place in (folder, tmp_path / "whole")]
        assert weights[0] == weights[1]
    print(f"quantise: {interrupted} kills in {runs} run(s), {seconds:.1f} s each")

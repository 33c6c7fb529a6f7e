"""A run that is asked to end keeps the step it is at, and ends later as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.killed import same
from support.tiny import TINY, run, settings

from constrained_nas.runs import begin_run, carry_out, load_run
from constrained_nas.training import Stopped

SPACES = [
    ("hardcore-small", "params=60e3"),
    ("cnf-small", "params=12e3"),
    ("gpunet-small", "params=40e3"),
    ("resnet8-bits", "bops=30e6"),
]


def stopping_after(steps: int) -> Callable[[int, int, str], None]:
    left = steps

    def progress(done: int, total: int, what: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Stopped

    return progress


@pytest.mark.parametrize(("space", "budget"), [SPACES[0], *(pytest.param(*one, marks=pytest.mark.slow) for one in SPACES[1:])])
def test_stopped_every_few_steps_it_ends_as_an_unbroken_run(tmp_path: Path, space: str, budget: str) -> None:
    asked = settings(space, budget, train_epochs=2, fine_tune_epochs=2)
    whole = run(tmp_path / "whole", asked)
    begin_run(asked, tmp_path / "stopped")
    steps = 1 if space.endswith("bits") else 3  # an epoch is one of few steps there
    record, stops = None, 0
    while record is None:
        try:
            record = carry_out(tmp_path / "stopped", stopping_after(steps))
        except Stopped:
            stops += 1
            assert stops < 60  # every time so many steps further
    assert stops >= 5
    same(record, whole, tmp_path / "stopped", tmp_path / "whole")


def typed(space: str, budget: str, folder: Path, *more: str) -> list[str]:
    tiny = [part for name, value in TINY.items() if value is not False for part in (f"--{name}".replace("_", "-"), str(value))]
    code = "from constrained_nas.commands.cli import main; main()"
    command = ["search", space, "--budget", budget, "--no-test-references", "--out", str(folder), *tiny, *more]
    return [sys.executable, "-c", code, *command]


LONG = ("--training-digits", "200", "--draws", "2")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_a_command_and_it_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(typed(*SPACES[0], folder, *LONG), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not list(folder.glob("checkpoints/supernet*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and said == f"interrupted; continue with constrained-nas resume {folder}\n"
    assert not (folder / ".owner.json").exists()
    again = [sys.executable, "-c", "from constrained_nas.commands.cli import main; main()", "resume", str(folder)]
    subprocess.run(again, check=True, capture_output=True, timeout=300)
    asked = settings(*SPACES[0], training_digits=200, draws=2, threads=load_run(folder).settings["threads"])
    same(load_run(folder), run(tmp_path / "whole", asked), folder, tmp_path / "whole")

"""Work that is killed at some moment: in a process forked from this one, to be quick, or as a command."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import highspy
import torch
from safetensors.torch import load_file

from constrained_nas.commands.cli import main
from constrained_nas.runs import RunRecord, carry_out

COMMAND = (sys.executable, "-c", "from constrained_nas.commands.cli import main; main()")


def same(first: RunRecord, second: RunRecord, *folders: Path) -> None:
    timed = {"seconds", "remarks"}
    assert first.model_dump(exclude=timed) == second.model_dump(exclude=timed)  # with the sha256 of the weights
    networks = [load_file(folder / "network.safetensors") for folder in folders]
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())


def carry_out_telling(folder: str, told: Connection) -> None:
    carry_out(Path(folder), lambda done, total, what: told.send(what))


def typed_silently(arguments: list[str]) -> None:
    sys.argv = ["constrained-nas", *arguments]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main()


def killed_after(folder: Path, steps: int, pause: float = 0.0, only: str = "") -> str | None:
    """Go on with a run and kill -9 it once it has told of so many steps; what it was at, None if it ended before.

    Args:
        folder: of the run.
        steps: of those whose names begin with ``only``.
        pause: seconds after that step.
        only: see ``steps``.
    """
    context = multiprocessing.get_context("fork")  # of this process, which has done an unbroken run
    ready_to_fork()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=carry_out_telling, args=(str(folder), there))
    process.start()
    there.close()
    what, left = "", steps
    try:
        while left:
            what = here.recv()
            left -= what.startswith(only)
        time.sleep(pause)
    except EOFError:
        what = ""
    process.kill()
    process.join()
    return what if what and process.exitcode == -signal.SIGKILL else None


def killed_command(arguments: list[str], folder: Path, seconds: float, fresh: bool) -> bool:
    """Type a command and kill -9 it so many seconds after it has taken possession of its folder; whether it was still at work.

    ``fresh``: in a process of its own from the start, else in a forked one.
    """
    pid, running, ended = _started(arguments, fresh)
    while running() and not _holds(folder, pid):
        time.sleep(0.002)
    until = time.monotonic() + seconds
    while running() and time.monotonic() < until:
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return ended() == -signal.SIGKILL


def _started(arguments: list[str], fresh: bool) -> tuple[int, Callable[[], bool], Callable[[], int | None]]:
    if fresh:
        command = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return command.pid, lambda: command.poll() is None, command.wait
    ready_to_fork()
    process = multiprocessing.get_context("fork").Process(target=typed_silently, args=(arguments,))
    process.start()

    def ended() -> int | None:
        process.join()
        return process.exitcode

    return process.pid or 0, process.is_alive, ended


def ready_to_fork() -> None:
    """End the threads of HiGHS, which a forked process would wait for busily, as it has none of them."""
    highspy.Highs.resetGlobalScheduler(True)


def _holds(folder: Path, pid: int) -> bool:
    try:
        return bool(json.loads((folder / ".owner.json").read_text())["pid"] == pid)
    except FileNotFoundError:
        return False

"""A run in a process of its own that is killed after some steps: forked from one that has imported everything, to be quick."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from constrained_nas.runs import carry_out


def carry_out_telling(folder: str, told: Connection) -> None:
    carry_out(Path(folder), lambda done, total, what: told.send(what))


def killed_after(folder: Path, steps: int) -> str | None:
    """Go on with a run and kill -9 it once it has told of so many steps; what it was at, None if it ended before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["constrained_nas.runs", "constrained_nas.runs.families"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=carry_out_telling, args=(str(folder), there))
    process.start()
    there.close()
    what = ""
    try:
        for _ in range(steps):
            what = here.recv()
    except EOFError:
        what = ""
    process.kill()
    process.join()
    return what if what and process.exitcode == -signal.SIGKILL else None

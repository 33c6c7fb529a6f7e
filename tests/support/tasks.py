"""A task for tests of parallel work: light to import, so that worker processes start fast."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Square:
    """A number to square into a file of a folder."""

    folder: str
    number: int


def write_square(task: Square) -> None:
    """Write the square of a task's number; refuses negative ones."""
    if task.number < 0:
        raise ValueError(f"expected no negative number, got {task.number}")
    (Path(task.folder) / f"{task.number}.txt").write_text(str(task.number**2), encoding="utf-8")


def die(task: Square) -> None:
    """As the system kills a process that takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def square_unless_odd(task: Square) -> None:
    """Dies of 3 (every time) and, once, of 5; refuses 7; squares all others."""
    struck = Path(task.folder) / "struck"
    if task.number == 3 or (task.number == 5 and not struck.exists()):
        struck.touch()
        die(task)
    write_square(Square(task.folder, -1) if task.number == 7 else task)

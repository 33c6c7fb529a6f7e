"""A folder that one process at a time writes to: a lock of the operating system, and beside it who holds it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from graphs.files import Record, load_json, remove_partial_files, require_unicode, save_json

_LOCK, _OWNER = ".lock", ".owner.json"


class Owner(Record):
    """The process that writes to a folder."""

    pid: int
    host: str
    since: str


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made if it is missing, against all other processes inside the block.

    The operating system gives the lock back when its process ends in whatever way, so a lock never outlives its owner on this
    machine. Locks do not reach other machines on every file system: a folder whose owner's name is still there and was on another
    host is refused too, since nobody here can tell whether that process lives.

    Raises:
        ValueError: a name that is not UTF-8.
        BlockingIOError: another process holds the folder; says which.
        FileNotFoundError: the folder was removed, or put in another's place, before the block ended.
    """
    require_unicode(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _LOCK).is_symlink():  # a lock is emptied when it is taken
        (folder / _LOCK).unlink()
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BlockingIOError(f"{folder} is in use by {_named(folder)}: wait for it to end, or give another folder") from error
    try:
        before, here = _owner(folder), socket.gethostname()
        if before is not None and before.host != here:
            raise BlockingIOError(
                f"{folder} was last in use by {_named(folder)}, and whether that process has ended cannot be seen from {here}: "
                f"if it has, delete {folder / _OWNER}"
            )
        for place in (folder, folder / "checkpoints", folder / "cells", folder / "objectives", folder / "tests", folder / "tables"):
            remove_partial_files(place)
        save_json(Owner(pid=os.getpid(), host=here, since=datetime.now(UTC).isoformat(timespec="seconds")), folder / _OWNER)
        held = _identity(folder)
        removed = f"{folder} was removed while it was written to: nothing of this run is left there"
        try:
            yield
        except FileNotFoundError as error:
            if _identity(folder) != held:
                raise FileNotFoundError(removed) from error
            raise
        finally:
            if kept := _identity(folder) == held:
                (folder / _OWNER).unlink(missing_ok=True)
        if not kept:
            raise FileNotFoundError(removed)
    finally:
        lock.release()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _owner(folder: Path) -> Owner | None:
    try:
        return load_json(folder / _OWNER, Owner, "owner of a folder")
    except (FileNotFoundError, ValueError):  # released; or killed while it was written
        return None


def _named(folder: Path) -> str:
    owner = _owner(folder)
    return "another process" if owner is None else f"process {owner.pid} on {owner.host}, since {owner.since}"

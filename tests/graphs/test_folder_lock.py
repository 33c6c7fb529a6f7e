"""A folder is one process's at a time, and a folder that was removed is no success."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from graphs.folder_lock import owned

HOLDER = """
import sys, time
from pathlib import Path
from graphs.folder_lock import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match=f"is in use by process {holder.pid} on .*give another folder"), owned(tmp_path):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with owned(tmp_path):
        assert json.loads((tmp_path / ".owner.json").read_text())["pid"] != holder.pid
    assert not (tmp_path / ".owner.json").exists()


def test_the_owner_of_another_machine_may_still_live(tmp_path: Path) -> None:
    (tmp_path / ".owner.json").write_text(json.dumps({"pid": 1, "host": "another", "since": "yesterday"}))
    with pytest.raises(BlockingIOError, match=r"process 1 on another.*delete .*\.owner\.json"), owned(tmp_path):
        pass
    (tmp_path / ".owner.json").write_text("{")  # killed while it was written
    with owned(tmp_path):
        pass


def test_a_clock_that_went_back_makes_no_lock(tmp_path: Path) -> None:
    """A killed owner, and its lock, of years to come: whether a process lives is asked of the system, not of the clock."""
    (tmp_path / ".owner.json").write_text(
        json.dumps({"pid": 1, "host": socket.gethostname(), "since": "9999-01-01T00:00:00+00:00"})
    )
    (tmp_path / ".lock").touch()
    for name in (".owner.json", ".lock"):
        os.utime(tmp_path / name, (4e9, 4e9))
    with owned(tmp_path), pytest.raises(BlockingIOError, match="is in use"), owned(tmp_path):
        pass


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_removed_meanwhile(tmp_path: Path, again: bool) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="was removed while it was written to"), owned(folder):
        folder.rename(tmp_path / "moved")
        if again:
            folder.mkdir()
    shutil.rmtree(tmp_path / "moved")


def test_a_lock_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    with owned(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_whose_weights_could_not_be_read_again(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "run") + b"\xff"))
    with pytest.raises(ValueError, match=r"run\\xdcff: weights cannot be read from there, the name is not UTF-8"), owned(folder):
        pass
    assert not folder.exists()

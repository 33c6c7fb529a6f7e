"""Progress: a bar for the phase under way, one line for each that ended, and a log of all that was said."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from support.tiny import TINY

from constrained_nas.commands.cli import main
from constrained_nas.commands.console import stoppable
from constrained_nas.commands.progress import Phases, _Phase, duration, logged


def test_every_phase_leaves_one_line() -> None:
    said, shown = list[str](), list[tuple[str, int] | None]()

    def show(phase: _Phase | None, what: str) -> None:
        shown.append(None if phase is None else (what, phase.done))

    phases = Phases(said.append, show, time.monotonic() - 10)
    for step in range(1, 5):
        phases(step, 4, "heaviest network")
    phases(7, 8, "sampled paths")  # six were done before the run was resumed
    phases(8, 8, "sampled paths")
    for iteration in (1, 2):
        phases(1, 2, f"iteration {iteration}: shared weights")
        phases(2, 2, f"iteration {iteration}: shared weights")
        phases(iteration, 2, "search")
    phases(1, 5, "measuring networks")  # the first fits
    phases.end()
    assert [line.split(" in ")[0] for line in said] == [
        "heaviest network: 4",
        "sampled paths: 8 (6 before)",
        "search: 2",
        "measuring networks: 1 of 5",
    ]
    assert said[0] == "heaviest network: 4 in 10 s, 2.5 s each"
    assert shown[0] == ("heaviest network", 1) and ("iteration 2: shared weights, 1 of 2", 1) in shown and shown[-1] is None


@pytest.mark.parametrize(("seconds", "said"), [(0.42, "0.4 s"), (14, "14 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_times_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_log_has_what_the_screen_had_with_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [part for name, value in TINY.items() if value is not False for part in (f"--{name}".replace("_", "-"), str(value))]
    asked = ["search", "hardcore-small", "--budget", "params=60e3", "--no-test-references", *tiny, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["constrained-nas", *asked, "--quiet"])
    main()
    assert capsys.readouterr() == ("", "")
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  \S|.{19}  +\S", line) for line in lines)
    told = [line[21:] for line in lines]
    assert told[0].startswith("constrained-nas search hardcore-small") and told[0].endswith("--quiet")
    phases = [line.split(":")[0] for line in told if " in " in line and re.search(r": \d+ ", line)]
    assert phases == ["heaviest network", "sampled paths", "search", "training"]
    assert any(line.startswith("Certificate of the projection") for line in told)
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "resume", str(tmp_path / "run")])
    main()
    assert "nothing to resume" in capsys.readouterr().out
    assert (tmp_path / "run" / "log.txt").read_text().splitlines() == lines


def test_what_went_wrong_is_in_the_log_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "log.txt").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="too slow"), logged(tmp_path, quiet=True) as console:
        console.print("measured \x1b[2J")
        raise ValueError("even the cheapest network is too slow")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[21:] for line in lines[1:]] == ["measured \\x1b[2J", "even the cheapest network is too slow"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_that_is_gone_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="too slow"), logged(tmp_path / "run", quiet=True):
        (tmp_path / "run" / "log.txt").unlink()
        (tmp_path / "run").rmdir()
        raise ValueError("too slow")


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed_ends_the_work_but_not_under_nohup(nohup: bool, capsys: pytest.CaptureFixture[str]) -> None:
    before, steps = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL), list[int]()
    try:
        with pytest.raises(SystemExit) as ended, stoppable(lambda done, total, what: steps.append(done), "go on so") as progress:
            progress(1, 9, "search")
            os.kill(os.getpid(), signal.SIGHUP)
            progress(2, 9, "search")
            raise SystemExit(0)
        assert (ended.value.code, steps) == (0 if nohup else 130, [1, 2])
        assert capsys.readouterr().err == ("" if nohup else "interrupted; go on so\n")
        assert signal.getsignal(signal.SIGHUP) is (signal.SIG_IGN if nohup else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)

"""The way in: help and mistakes are answered without torch, in a line or two, and name what was meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from constrained_nas.commands.cli import main
from constrained_nas.selections import read_selection_table

HEAVY = ("torch", "matplotlib", "scipy", "sklearn", "numba", "networkx", "pandas", "timm")
TABLE = "group,option,score,latency_ms,params\na,x,1.5,1,3\na,y,2,2,5\nb,x,1,1,1\nb,y,3,3.5,9\n"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which says at the end what it has imported."""
    program = f"""
import sys
from constrained_nas.commands.cli import main
try:
    main()
finally:
    print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    started = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(started, capture_output=True, text=True, check=False, timeout=120)


def test_help_fits_one_screen_and_loads_nothing_heavy() -> None:
    done = command("--help")
    assert done.returncode == 0 and done.stderr.split() == ["loaded:"]
    lines = done.stdout.splitlines()
    assert len(lines) <= 28 and max(map(len, lines)) <= 80
    assert sum(line.startswith("  ") for line in lines) == 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "hardcore-small", "--bugdet", "params=4"), "no option --bugdet: did you mean --budget?"),
        (("search", "hardcore-smal", "--budget", "params=4"), "did you mean hardcore-small?"),
    ],
)
def test_a_mistake_loads_nothing_heavy(arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_spaces_are_listed_without_torch() -> None:
    done = command("spaces")
    assert done.returncode == 0 and "hardcore-small: 15 decisions" in done.stdout
    assert done.stderr.split() == ["loaded:"]


FULL = "constrained-nas: what was found cannot be printed: No space left on device\n"


@pytest.mark.parametrize(("where", "told"), [("> /dev/full", FULL), (">&-", ""), ("| true", "")])
def test_what_cannot_be_printed_is_a_line_or_nothing(where: str, told: str) -> None:
    program = f"{sys.executable} -c 'from constrained_nas.commands.cli import main; main()' --help {where}"
    said = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (said.stderr, said.returncode) == (told, int(bool(told)))


def test_letters_that_the_terminal_lacks_and_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("group,option,score,ms\n\u00e9,x,1,1\n", encoding="utf-8")
    (tmp_path / "gone").mkdir()
    program = f"{sys.executable} -c 'from constrained_nas.commands.cli import main; main()'"
    asked = f"PYTHONIOENCODING=ascii {program} project {tmp_path}/table.csv --budget ms=1"
    said = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == 0 and "\\xe9" in said.stdout, said.stderr
    asked = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {program} spaces"
    path = os.pathsep.join(part for part in sys.path if part)
    said = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"PYTHONPATH": path}
    )
    assert (said.returncode, said.stderr) == (1, "constrained-nas: the current folder is gone: change to one that is there\n")


def test_project_answers_without_torch(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    done = command("project", tmp_path / "table.csv", "--budget", "latency=4500us", "--budget", "params=10")
    assert done.returncode == 0 and "gap 0" in done.stdout
    assert done.stderr.split() == ["loaded:"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch"], "no command 'serch': did you mean search?"),
        (["--verison"], "no command '--verison': did you mean --version?"),
        (["search", "hardcore-small", "--method", "hardcor"], "--method: no 'hardcor': did you mean hardcore?"),
        (["search", "hardcore-small", "--budget", "latancy=4"], "did you mean latency_ms?"),
        (["search", "hardcore-small", "--budget", "params"], "expected NAME=LIMIT"),
        (["search", "hardcore-small", "--rounds", "0"], "greater than or equal to 1"),
        (["profile", "hardcore-small", "--rounds", "x"], "--rounds: expected a whole number, got 'x'"),
        (["profile"], "missing: "),
        (["import-table", "x.csv", "hardcore-small"], "missing: --unit, --device, --batch"),
        (["report"], "missing: PATH"),
        (["export", "runs/x", "--to", "onx"], "no 'onx': did you mean onnx?"),
        (["project", "t.csv", "--buget=ms=3"], "no option --buget: did you mean --budget?"),
    ],
)
def test_what_is_not_understood_is_said_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    written = capsys.readouterr()
    assert said in written.err and written.err.count("\n") == 2 and not written.out


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import constrained_nas

    monkeypatch.setattr(sys, "argv", ["constrained-nas", "--version"])
    main()
    assert capsys.readouterr().out == f"constrained-nas {constrained_nas.__version__}\n"


def test_doctor_looks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "doctor"])
    monkeypatch.setenv("COLUMNS", "200")
    main()
    said = capsys.readouterr().out
    for word in ("numba", "onnxruntime", "timm", "GPU", "C++ compiler", "cores", "wall clock", "processor clock"):
        assert word in said


def test_interrupted_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("constrained_nas.commands.project.project", interrupt)
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "project", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130 and capsys.readouterr().err == "constrained-nas: interrupted\n"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_of_other_spreadsheets(tmp_path: Path, separator: str) -> None:
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    ours.write_text(TABLE)
    theirs.write_text(TABLE.replace(",", separator).replace(".", ","))
    read, expected = read_selection_table(theirs), read_selection_table(ours)
    assert (read.scores, read.costs) == (expected.scores, expected.costs)
    assert "decimal commas" in read.read_as and not expected.read_as

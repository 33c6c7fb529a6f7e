"""Selections from CSV files: read, solved in Python and from the command line, written; every error says where."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from constrained_nas.commands.cli import main
from constrained_nas.selections import read_selection_table, save_selection, select, select_cheapest
from solvers import InfeasibleError, project_to_budget

TEXT = """group,option,score,latency_ms,params
conv1,2 bit,0.61,1.0,100
conv1,8 bit,0.93,3.7,400

conv2,2 bit,0.70,1.2,100
conv2,4 bit,0.88,2.3,inf
conv2,8 bit,0.95,4.4,900
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "project", *arguments])
    main()


def test_read_and_solved_as_by_the_solver(tmp_path: Path) -> None:
    table = read_selection_table(write(tmp_path, "\ufeff" + TEXT))  # with the mark that spreadsheets write
    assert table.scores == {"conv1": {"2 bit": 0.61, "8 bit": 0.93}, "conv2": {"2 bit": 0.70, "4 bit": 0.88, "8 bit": 0.95}}
    assert list(table.costs) == ["latency_ms", "params"]
    found = select(table, {"latency_ms": 6.0}, verify=True)
    assert found.choices == {"conv1": "8 bit", "conv2": "4 bit"}
    direct = project_to_budget(table.scores, table.costs["latency_ms"], 6.0)
    assert (found.score, found.budgets["latency_ms"].spent) == (direct.value, direct.cost)
    assert found.gap == 0.0
    both = select(table, {"latency_ms": 6.0, "params": 1e6}, verify=True)  # inf forbids the 4 bit option now
    assert both.choices == {"conv1": "8 bit", "conv2": "2 bit"}
    assert both.totals == {"latency_ms": 3.7 + 1.2, "params": 500.0}
    assert select(table, {"latency_ms": 9.0}, minimize=True).choices == {"conv1": "2 bit", "conv2": "2 bit"}


def test_written_and_read_again(tmp_path: Path) -> None:
    table = read_selection_table(write(tmp_path, TEXT))
    found = select(table, {"params": 1000.0})
    save_selection(found, table, tmp_path / "deep" / "selection.json")
    record = json.loads((tmp_path / "deep" / "selection.json").read_text())
    assert record["kind"] == "selection"
    assert record["choices"] == found.choices
    assert record["budgets"]["params"]["limit"] == 1000.0
    save_selection(found, table, tmp_path / "selection.csv")
    again = read_selection_table(tmp_path / "selection.csv")
    assert {group: next(iter(options)) for group, options in again.scores.items()} == found.choices
    assert again.costs["latency_ms"]["conv2"] == {
        found.choices["conv2"]: table.costs["latency_ms"]["conv2"][found.choices["conv2"]]
    }
    with pytest.raises(ValueError, match=r"\.json or \.csv"):
        save_selection(found, table, tmp_path / "selection.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("group,option,score,ms\n", "no options"),
        ("group:option:score:ms\na:b:1:2\n", "line 1: no column 'group'.*separated by commas"),
        ("group,option,ms\na,b,1\n", "line 1: no column 'score'"),
        ('[{"group": "a"}]', "looks like JSON; expected CSV with the columns group, option, score"),
        ("group,option,score,ms,ms\na,b,1,1,1\n", "line 1: column 'ms' is there twice"),
        ("group,option,score,,\na,b,1,1,1\n", "line 1: a column has no name"),
        ("group,option,score,ms\n\u00e9,b,1,1\ne\u0301,c,1,1\n", r"'\\xe9' and 'e\\u0301' look alike"),
        ("group,option,score,ms\na,b,1,1\na,b\u200b,1,1\n", r"'b' and 'b\\u200b' look alike"),
        ("group,option,score,ms\n\x1b[2Ja,b,1,1\n", r"line 2, column 'group': a control character in '\\x1b\[2Ja'"),
        ("group,option,score,ms\na,b\u202e,1,1\n", r"line 2, column 'option': a control character in 'b\\x202e'"),
        ("group,option,score,m\x07s\na,b,1,1\n", r"line 1: a control character in 'm\\x07s'"),
        ("group,option,score,ms\na,b,1\n", "line 2: 3 cells, the line of column names has 4"),
        ("group,option,score,ms\na,b,1,2\na,c,1,2,3\n", "line 3: 5 cells"),
        ("group,option,score,ms\na,b,1,nan\n", "line 2, column 'ms': is NaN"),
        ("group,option,score,ms\na,b,NaN,1\n", "line 2, column 'score': is NaN"),
        ("group,option,score,ms\n\na,b,1,-2\n", "line 3, column 'ms': a cost cannot be negative, got -2"),
        ("group,option,score,ms\na,b,1,\n", "line 2, column 'ms': empty"),
        ("group,option,score,ms\na,,1,2\n", "line 2, column 'option': empty"),
        ("group,option,score,ms\na,b,1,3 ms\n", "line 2, column 'ms': expected a number, got '3 ms'"),
        ("group,option,score,ms\na,b,1,2\na,b,1,2\n", "line 3, column 'option': group 'a' already has an option 'b'"),
        ('group,option,score,ms\n"a\nx",b,1,y\n', "line 3, column 'ms'"),
    ],
)
def test_errors_name_the_line_and_the_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_selection_table(write(tmp_path, text))


def test_budgets_that_cannot_be(tmp_path: Path) -> None:
    table = read_selection_table(write(tmp_path, TEXT))
    with pytest.raises(ValueError, match=r"'latency': .* no such cost column; there are: latency_ms, params"):
        select(table, {"latency": 3.0})
    with pytest.raises(ValueError, match="at least one budget"):
        select(table, {})
    with pytest.raises(InfeasibleError, match=r"'latency_ms' is 1\.0, the least possible cost is 2\.2"):
        select(table, {"latency_ms": 1.0})


def test_the_command_prints_and_writes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = write(tmp_path, TEXT), tmp_path / "selection.csv"
    run(monkeypatch, str(path), "--budget", "latency_ms=6", "--budget", "params=1e6", "--verify", "--out", str(out))
    printed = capsys.readouterr().out
    assert "optimal" in printed
    assert "rechecked" in printed
    assert out.read_text().splitlines()[1] == "conv1,8 bit,0.93,3.7,400.0"
    run(monkeypatch, str(path), "--budget", "latency_ms=6", "--json")
    assert json.loads(capsys.readouterr().out)["choices"] == {"conv1": "8 bit", "conv2": "4 bit"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--budget", "latency_ms"], "expected COLUMN=LIMIT"),
        (["--budget", "latency_ms=fast"], "expected a number after the '='"),
        (["--budget", "latency_ms=1", "--budget", "latency_ms=2"], "has a budget already"),
        (["--budget", "latency_ms=nan"], "NaN"),
        (["--budget", "watts=1"], "there are: latency_ms, params"),
        (["--budget", "latency_ms=1"], r"least possible cost is 2\.2"),
        (["--budget", "latency_ms=6", "--time-limit", "0"], "positive number of seconds"),
        (["--budget", "latency_ms=6", "--gap", "near"], r"--gap: expected a number, or a share such as 0\.1%"),
        ([], "at least one budget"),
    ],
)
def test_the_command_ends_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        run(monkeypatch, str(write(tmp_path, TEXT)), *flags)


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nowhere\.csv"):
        run(monkeypatch, str(tmp_path / "nowhere.csv"), "--budget", "ms=1")


LINKED = """group,option,score,MB,ms
up,4,0.0,1,1.5
up,8,0.3,2,2.5
gate,4,0.0,1,1.5
gate,8,0.1,2,2.5
down,4,0.0,1,1.5
down,8,0.25,2,2.5
"""


def test_links_shares_and_bounds_from_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, LINKED)
    run(monkeypatch, str(path), "--budget", "MB=5", "--link", "up, gate", "--verify", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["choices"] == {"up": "8", "gate": "8", "down": "4"} and found["links"] == [["up", "gate"]]
    run(monkeypatch, str(path), "--budget", "MB=60%..75%", "--budget", "ms=5..", "--verify", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["budgets"]["MB"]["floor"], found["budgets"]["MB"]["limit"]) == (4.0, 4.0)
    assert found["budgets"]["ms"]["floor"] == 5.0 and found["choices"] == {"up": "8", "gate": "4", "down": "4"}
    run(monkeypatch, str(path), "--budget", "MB=3..5")
    assert "3 to 5" in capsys.readouterr().out


def test_the_cheapest_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, LINKED)
    run(monkeypatch, str(path), "--minimize-cost", "MB", "--at-least", "0.4", "--verify")
    said = " ".join(capsys.readouterr().out.split())
    assert "no selection that is as good has less MB than 5" in said and "budgets" not in said
    table = read_selection_table(path)
    assert select_cheapest(table, "MB", at_least=0.4, links=[("up", "gate")]).totals["MB"] == 5.0
    assert select_cheapest(table, "ms", at_most=0.1).choices == {"up": "4", "gate": "4", "down": "4"}
    with pytest.raises(ValueError, match=r"cost 'GB': .* has no such cost column; there are: MB, ms"):
        select_cheapest(table, "GB", at_least=0.4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "MB=1..2..3"], "expected one limit, or LOWER..UPPER, got '1..2..3'"),
        (["--budget", "MB=.."], "expected one limit, or LOWER..UPPER"),
        (["--budget", "MB=a..2"], "expected a number after the '=', got 'a'"),
        (["--budget", "MB=5..3"], "the lower bound 5.0 is above the upper bound 3.0"),
        (["--budget", "MB=5", "--link", "up,side"], "links: there is no group 'side'"),
        (["--budget", "MB=5", "--at-least", "1"], "go with --minimize-cost"),
        (["--budget", "MB=5", "--minimize-cost", "MB", "--at-least", "1"], "without --budget"),
        (["--minimize-cost", "MB"], "expected one of the two"),
    ],
)
def test_wrong_conditions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, str(write(tmp_path, LINKED)), *arguments)
    assert said in str(caught.value)


def test_no_cell_of_a_written_selection_is_a_formula(tmp_path: Path) -> None:
    table = read_selection_table(write(tmp_path, 'group,option,score,ms\n"=1+1",@a,-2,1\n"=1+1",b,-1,3\n'))
    save_selection(select(table, {"ms": 2.0}), table, tmp_path / "selection.csv")
    assert (tmp_path / "selection.csv").read_text().splitlines()[1] == "'=1+1,'@a,-2.0,1.0"

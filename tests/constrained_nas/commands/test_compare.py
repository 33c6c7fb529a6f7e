"""Searches side by side: the marks, the remarks, the files, and runs that cannot be read."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.fakes import made_measurement, made_search

from constrained_nas.commands.compare import Compare, compare
from constrained_nas.reports import Comparison, compare_runs
from constrained_nas.runs import RunRecord
from constrained_nas.runs.record import save_run


def _runs(folder: Path, **records: RunRecord) -> list[Path]:
    for name, record in records.items():
        save_run(record, folder / name)
    return [folder / name for name in records]


def test_the_runs_that_no_other_beats_are_marked(tmp_path: Path) -> None:
    folders = _runs(
        tmp_path,
        cheap=made_search(latency=2.5, accuracy=91.0),
        worse=made_search(latency=3.0, accuracy=90.0, method="random", certificate=None),
        dear=made_search(latency=3.9, accuracy=95.5),
        over=made_search(latency=4.5, accuracy=99.0),
        untested=made_search(latency=2.0, accuracy=None),
    )
    comparison = compare_runs(folders)
    assert {run.run: run.best for run in comparison.runs} == {
        "cheap": True,
        "worse": False,
        "dear": True,
        "over": None,  # fits not, so it does not beat what does
        "untested": None,
    }
    assert comparison.runs[1].gap is None
    assert comparison.runs[0].gap == 0.25
    said = " ".join(comparison.remarks)
    assert "over, untested" in said
    assert "one seed" in said


def test_measured_costs_count_where_all_were_measured(tmp_path: Path) -> None:
    folders = _runs(
        tmp_path,
        a=made_search(latency=3.0, accuracy=91.0, measured=made_measurement(3.9, 3.95)),
        b=made_search(latency=3.2, accuracy=91.5, measured=made_measurement(3.1, 3.2)),
    )
    assert [run.best for run in compare_runs(folders).runs] == [False, True]  # by estimates both would be
    save_run(made_search(latency=3.0, accuracy=91.0), folders[0])
    assert [run.best for run in compare_runs(folders).runs] == [True, True]


def test_other_data_and_spaces_are_remarked_and_not_mixed(tmp_path: Path) -> None:
    folders = _runs(
        tmp_path,
        a=made_search(latency=3.0, accuracy=91.0),
        b=made_search(latency=2.0, accuracy=95.0, data="cifar10", space="hardcore-imagenet", machine="another"),
    )
    comparison = compare_runs(folders)
    assert [run.best for run in comparison.runs] == [True, True]
    said = " ".join(comparison.remarks)
    for words in ("different data", "different spaces", "different machines"):
        assert words in said
    compare(Compare(tuple(folders), out=tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "front_latency_cifar10.png",
        "front_latency_digits.png",
        "front_parameters_cifar10.png",
        "front_parameters_digits.png",
    }


def test_three_seeds_need_no_warning(tmp_path: Path) -> None:
    folders = _runs(tmp_path, **{f"seed{seed}": made_search(seed=seed) for seed in range(3)})
    assert not [remark for remark in compare_runs(folders).remarks if "chance" in remark]


def test_damaged_runs_are_named_and_the_others_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = _runs(tmp_path, good=made_search(), cut=made_search(accuracy=None))
    damaged = folders[1] / "run.json"
    damaged.write_text(damaged.read_text()[:200])
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(ValueError, match=r"left out: .*cut off.*unfinished: no search has ended"):
        compare(Compare((*folders, tmp_path / "unfinished"), out=tmp_path / "out"))
    shown = capsys.readouterr().out
    assert "good" in shown
    assert "95.50" in shown
    written = Comparison.model_validate_json((tmp_path / "out" / "compare.json").read_text())
    assert [run.run for run in written.runs] == ["good"]
    assert set(written.left_out) == {"cut", "unfinished"}
    assert (tmp_path / "out" / "front_latency.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "out" / "compare.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["latency (ms)"], row["limit of latency (ms)"], row["accuracy (%)"]) == ("3.9", "4.0", "95.5")
    assert not list((tmp_path / "out").glob("*.partial*"))


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the runs can be read"):
        compare_runs([tmp_path])
    with pytest.raises(ValueError, match="no runs: give the folders"):
        compare_runs([])


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [*_runs(tmp_path / "a", x=made_search()), *_runs(tmp_path / "b", x=made_search(seed=1))]
    assert [run.run for run in compare_runs(folders).runs] == [str(folder) for folder in folders]


def test_eighty_columns_hold_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folders = _runs(
        tmp_path,
        hardcore_at_four_ms=made_search(latency=3.9, accuracy=91.0, measured=made_measurement(3.9, 3.95)),
        soft=made_search(latency=3.0, accuracy=90.0, data="cifar10", space="hardcore-imagenet", method="soft-penalty"),
    )
    compare(Compare(tuple(folders)))
    shown = capsys.readouterr().out
    for whole in ("hardcore_at_four_ms", "hardcore-imagenet", "cifar10", "soft-penalty", "91.00", "61,234", "of 90,000"):
        assert whole in shown  # not folded
    assert max(map(len, shown.splitlines())) <= 80

"""A script started again goes on from its folder, unless options differ, and never removes anything unasked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from graphs.files import read_json
from graphs.folder_lock import owned
from papers_repro import prunet_table1
from papers_repro.experiment import ParallelOptions
from papers_repro.harness import ScriptOptions, started
from papers_repro.harness.kept import check_kept


@dataclass(frozen=True)
class Setup(ParallelOptions):
    rate: float = 0.1
    depths: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Options(ScriptOptions):
    setup: Setup = field(default_factory=Setup)
    table: Path | None = None


def test_it_goes_on_where_options_are_the_same_and_says_which_are_not(tmp_path: Path) -> None:
    options = Options(table=Path("a.json"))
    assert not check_kept(tmp_path, "script", options, False)  # nothing is there yet
    assert check_kept(tmp_path, "script", options, False)
    assert check_kept(tmp_path, "script", replace(options, out=tmp_path, setup=Setup(processes=3)), False)
    other = replace(options, setup=Setup(rate=0.2, depths=(3,)), seed=1)
    with pytest.raises(ValueError, match=r"seed 0, now 1; setup\.depths \[1, 2\], now \[3\]; setup\.rate 0\.1, now 0\.2\. "):
        check_kept(tmp_path, "script", other, False)
    assert check_kept(tmp_path, "another", options, False) is False  # which shares the folder
    assert check_kept(tmp_path, "script", options, False)  # a refusal changes nothing
    assert check_kept(tmp_path, "script", other, True)
    assert not check_kept(tmp_path, "script", replace(options, setup=Setup(resume=False)), False)


def test_by_default_nothing_is_removed() -> None:
    assert Setup().resume


def run(arguments: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "argv", ["script", *arguments])
    with started("script", lambda scale: Options(scale=scale)) as script:
        (script.folder / "kept").touch()


def test_a_folder_that_another_process_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(tmp_path), pytest.raises(SystemExit, match="is in use by process"):
        run(["--out", str(tmp_path)], monkeypatch)
    run(["--out", str(tmp_path)], monkeypatch)
    assert (tmp_path / "script.json").exists() and (tmp_path / "kept").exists()
    with pytest.raises(SystemExit, match="seed 0, now 4"):
        run(["--out", str(tmp_path), "--seed", "4"], monkeypatch)


def test_scripts_without_anything_to_resume_take_any_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for granularity in ("32", "16", "16", "8"):
        monkeypatch.setattr(sys, "argv", ["prunet_table1", "--out", str(tmp_path), "--granularity", granularity])
        prunet_table1.main()
    kept = {path.name: read_json(path, "record")["options"]["granularity"] for path in tmp_path.glob("prunet*.json")}
    assert kept == {"prunet_table1-1.json": 32, "prunet_table1-2.json": 16, "prunet_table1.json": 8}, "none is overwritten"

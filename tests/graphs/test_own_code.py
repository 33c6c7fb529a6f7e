"""A user's own file is run as it says; one that came with a run's folder never is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from constrained_nas.runs import RunSettings, begin_run, load_settings
from graphs.files import save_json
from graphs.own_code import own_built


def test_a_file_that_ends_the_program_is_told(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("raise SystemExit(0)")
    (tmp_path / "builds.py").write_text("import sys\ndef build(): sys.exit(0)")
    for name in ("ends.py:build", "builds.py:build"):
        with pytest.raises(ValueError, match="failed: SystemExit"):
            own_built(str(tmp_path / name))


def test_code_that_came_with_a_run_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, mine = tmp_path / "sent", tmp_path / "mine.py"
    sent.mkdir()
    for file in (sent / "evil.py", mine):
        file.write_text("def build(): ...")
    (tmp_path / "link.py").symlink_to(sent / "evil.py")
    settings = RunSettings(space=f"{mine}:build", budget=("params=100",))
    save_json(settings, sent / "settings.json")
    assert load_settings(sent).space == settings.space
    monkeypatch.chdir(tmp_path)
    for file in (sent / "evil.py", tmp_path / "link.py", sent / ".." / "sent" / "evil.py", Path("mine.py"), Path("sent/evil.py")):
        save_json(settings.model_dump(mode="json") | {"space": f"{file}:build"}, sent / "settings.json")
        with pytest.raises(ValueError, match=f"not run, and {re.escape(str(file))} (lies in it|is named without)"):
            load_settings(sent)
    with pytest.raises(ValueError, match="lies in it"):
        begin_run(RunSettings(space=f"{sent / 'evil.py'}:build", budget=("params=100",)), sent)

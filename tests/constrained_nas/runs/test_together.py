"""Copies of processes that were killed are gone when the run goes on."""

from __future__ import annotations

from pathlib import Path

from constrained_nas.runs.together import working_folder


def test_copies_left_behind_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for folder in (run / ".process-killed" / "checkpoints", elsewhere):
        folder.mkdir(parents=True)
        (folder / "kept").write_text("x")
    (run / ".process-link").symlink_to(elsewhere)
    seen = list[list[Path]]()
    with working_folder(run, "cpu", lambda: seen.append(list(run.glob(".process-*")))) as together:
        assert together.own == run
    assert seen == [[]] and (elsewhere / "kept").exists()

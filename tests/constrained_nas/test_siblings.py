"""Another package called ``solvers`` or ``graphs`` is named, not stumbled over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["solvers", "graphs"])
@pytest.mark.parametrize("with_init", [True, False])
def test_a_package_that_hides_ours_is_named(tmp_path: Path, name: str, with_init: bool) -> None:
    (tmp_path / name).mkdir()
    if with_init:
        (tmp_path / name / "__init__.py").write_text("")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    outcome = subprocess.run(
        [sys.executable, "-S", "-c", "import constrained_nas"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if with_init:
        assert outcome.returncode == 1
        assert f"{name!r} is a package of constrained-nas" in outcome.stderr
        assert str(tmp_path / name) in outcome.stderr
    else:  # a folder without an __init__ hides nothing that has one
        assert outcome.returncode == 0, outcome.stderr


def test_ours_are_found() -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", "import constrained_nas"], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert outcome.returncode == 0

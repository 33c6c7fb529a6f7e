"""The page on networks of one's own does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "own_network.md"


def test_its_program_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```\{code-cell\}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert sum(bool(line.strip()) for line in program.splitlines()) < 20
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(program, str(PAGE), "exec"), names)  # the page's own program
    found = names["found"]
    certificate = found.result.certificate
    assert found.costs["params"] <= 6000 and found.measured_ms <= 50 and 0 <= certificate.gap < 0.1 * certificate.primal
    assert sum(parameter.numel() for parameter in found.network.parameters()) == found.costs["params"]
    assert (tmp_path / "runs" / "own" / "network.py").exists()

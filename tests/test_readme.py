"""README states what the committed records say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_evidence", ROOT / "docs" / "write_evidence.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_evidence_is_the_records(writer: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    assert text == writer.with_evidence(text), "run: python docs/write_evidence.py"


def test_another_record_gives_another_table(writer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = writer.evidence()
    for path in writer.RECORDS.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    record = json.loads((tmp_path / "macro_regret.json").read_text())
    record["tables"][0]["ours"][0]["regret"] += 1.0
    (tmp_path / "macro_regret.json").write_text(json.dumps(record))
    monkeypatch.setattr(writer, "RECORDS", tmp_path)
    assert writer.evidence() != before


def test_another_measurement_gives_other_sizes(writer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = json.loads(writer.LIMITS.read_text())
    assert set(writer._SIZES) == {row["what"] for row in record["rows"]}, "every size that was tried is told"
    largest = max((row for row in record["rows"] if row["what"] == "groups"), key=lambda row: row["size"])
    largest["seconds"] *= 1_000
    monkeypatch.setattr(writer, "LIMITS", tmp_path / "limits.json")
    writer.LIMITS.write_text(json.dumps(record))
    assert next(line for line in writer.sizes().splitlines() if line.startswith("| groups")).endswith("steeper (4.3) |")


def test_links_of_readme_lead_somewhere() -> None:
    missing = [link for link in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text()) if not (ROOT / link).exists()]
    assert missing == []

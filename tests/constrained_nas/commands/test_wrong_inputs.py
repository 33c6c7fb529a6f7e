"""What a user may well type by mistake is answered in at most three lines, and these say what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from constrained_nas.commands.cli import main

FILES = {
    "table.csv": "a,b\n1,2\n",
    "words.csv": "group,option,score,ms\na,x,much,2\na,y,1,1\n",
    "loss.csv": "group,option,loss,ms\na,x,1,2\na,y,2,1\n",
    "good.csv": "group,option,score,ms\na,x,1,2\na,y,2,1\n",
    "runs/first/settings.json": "{}",
    "sweep/sweep.json": "{}",
    "flat/1.png": "",
    "three.py": "def build(): return 3",
    "halved/train/cat/1.png": "",
}
MEASURED = "--unit ms --device phone --batch 1"
WRONG = {
    "report empty": "constrained-nas search SPACE --budget NAME=LIMIT --out empty",
    "resume empty": "constrained-nas search SPACE --budget NAME=LIMIT --out empty",
    "export empty": "constrained-nas search SPACE --budget NAME=LIMIT --out empty",
    "report nowhere": "there is no such folder",
    "report runs": "did you mean runs/first?",
    "report sweep": "constrained-nas sweep ... --out sweep continues that",
    "report runs/first": "constrained-nas resume runs/first continues",
    "compare empty nowhere": "and 1 more",
    "project words.csv --budget ms=3": "line 2",
    "project loss.csv --budget ms=3": "expected group, option, score and the costs",
    "project good.csv --budget joules=3": "ms",
    "describe resnet-21": "did you mean resnet-20?",
    "import-table table.csv hardcore-small": "missing: --unit, --device, --batch",
    f"import-table table.csv hardcore-small {MEASURED}": "or CSV with columns block, option, latency",
    f"import-table loss.csv hardcore-small {MEASURED}": "expected columns option, latency, and block or shape",
    "sweep hardcore-small --budget params=60K:20K:5 --out new": "did you mean params=20K:60K:5?",
    "sweep hardcore-small --budget params=60K:20K --out new": "LOW:HIGH:COUNT, two numbers and how many limits",
    "search hardcore-small --budget params=60K --out runs/first": "constrained-nas resume runs/first",
    "search hardcore-small --budget params=60K --out good.csv/x": "good.csv is a file; give the name of a folder",
    "search hardcore-small --budget latency=2ms --table no.json": "no file no.json; constrained-nas profile hardcore-small",
    "search hardcore-small --budget params=60K --data flat": "no train/; expected flat/train/CLASS/",
    "search hardcore-small --budget params=60K --data halved": "no val/ or test/",
    "search hardcore-small --budget ms=2": "did you mean latency_ms?",
    "search three.py:build --budget params=60K": "returned int; expected a torch module, or a networkx graph",
    "report good.csv": "did you mean its folder",
    "project picture.csv --budget ms=3": "no text in UTF-8; save the table as CSV",
    "validate hardcore-small good.csv": "expected constrained-nas validate TABLE SPACE",
    "search hardcore-small --budget params=60K --epochs ten": "--epochs: expected a whole number, got 'ten'",
    "search hardcore-small --budget params=60K --method darts": "filter-level, hardcore, option-scores, prunet",
}


@pytest.mark.parametrize("line", WRONG)
def test_the_answer_is_short_and_says_what_to_do(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["constrained-nas", *line.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    written = capsys.readouterr()
    said = written.err + written.out + (stopped.value.code if isinstance(stopped.value.code, str) else "")
    assert WRONG[line] in said
    assert sum(1 + (len(part) - 1) // 80 for part in said.splitlines()) <= 3
    assert not (tmp_path / "new").exists()

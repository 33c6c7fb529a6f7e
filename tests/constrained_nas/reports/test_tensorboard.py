"""TensorBoard's events follow the file of curves, also where lines were taken back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from constrained_nas.reports import EventsOfCurves
from constrained_nas.reports import tensorboard as module


class Writer:
    """Keeps what it is told in a file, as the real one does."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / f"events.out.tfevents.{len(list(Path(folder).iterdir()))}"
        self.path.touch()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.path.write_text(self.path.read_text() + json.dumps([name, value, step]) + "\n")

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _line(step: int, **more: object) -> str:
    return json.dumps({"phase": "search", "epoch": 1, "step": step, "loss": 2.0 / step, **more}) + "\n"


def _events(run: Path) -> list[list[object]]:
    (path,) = (run / "tensorboard").iterdir()  # files of before are gone
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "writer_class", lambda: Writer)
    curves, heard = tmp_path / "curves.jsonl", list[tuple[int, int, str]]()
    events = EventsOfCurves(tmp_path)
    told = events.after(lambda *what: heard.append(what))
    chances = {"probabilities": {"a -> b": {"off": 0.25, "on": 0.75}}, "costs": {"latency": 1.5}}
    curves.write_text(_line(1) + _line(2, **chances))
    told(1, 4, "search")
    first = [["search/loss", 2.0, 1], ["search/loss", 1.0, 2]]
    more = [["search a -> b/off", 0.25, 2], ["search a -> b/on", 0.75, 2], ["search/costs latency", 1.5, 2]]
    assert _events(tmp_path) == first + more and heard == [(1, 4, "search")]
    curves.write_text(_line(1))  # a resumed run took the last line back
    events.follow()
    assert _events(tmp_path) == first[:1]
    with curves.open("a") as file:
        file.write(_line(2, validation={"accuracy": 50.0}) + '{"phase": "sea')
    events.close()
    assert _events(tmp_path) == [*first, ["search/validation accuracy", 50.0, 2]]
    EventsOfCurves(tmp_path).close()  # again: nothing is there twice
    assert len(_events(tmp_path)) == 3


def test_without_tensorboard_it_says_which_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorboard", "torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"constrained-nas\[tensorboard\]"):
        EventsOfCurves(tmp_path)

"""The list of spaces is read from a file: it says of every space what is counted, and is printed without torch."""

from __future__ import annotations

import json
import sys
from typing import Any, get_args

import pytest

from constrained_nas.commands.cli import main
from constrained_nas.commands.describe import COUNTED, DIGITS, counted
from constrained_nas.runs import SpaceName
from graphs import hardcore_small

SMALL = ("hardcore-small", "resnet-fabric-small", "resnet8-bits", "resnet8-widths")


def _printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "spaces", "--json", *arguments])
    main()
    facts: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return facts


def _counted(names: tuple[str, ...]) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = json.loads(json.dumps(list(counted(names, *DIGITS))))
    return facts


def test_the_file_says_of_small_spaces_what_is_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    printed = _printed(monkeypatch, capsys)
    assert tuple(fact["space"] for fact in printed) == get_args(SpaceName)
    assert [fact for fact in printed if fact["space"] in SMALL] == _counted(SMALL)
    assert printed[0]["networks"] == hardcore_small().architectures  # as describe says: blocks that do not run make no network


@pytest.mark.slow
def test_the_file_says_of_every_space_what_is_counted() -> None:
    assert json.loads(COUNTED.read_text()) == _counted(get_args(SpaceName))


def test_other_data_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("constrained_nas.commands.describe.get_args", lambda _: ("hardcore-small",))
    three, ten = _printed(monkeypatch, capsys, "--classes", "3")[0], json.loads(COUNTED.read_text())[0]
    assert three["costs"]["params"][0] < ten["costs"]["params"][0]

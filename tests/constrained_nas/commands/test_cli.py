"""The command, as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from constrained_nas.commands.cli import main
from constrained_nas.commands.describe import cost_range
from constrained_nas.commands.profile import Profile, side_of
from constrained_nas.latency import Validation, log_beside
from constrained_nas.runs import RunSettings, make_space, parse_budgets, plan_of
from graphs import hardcore_imagenet, hardcore_small
from graphs.costs import count, latency_cost, load_latency_table
from graphs.files import load_json


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", *arguments])
    main()


def test_describe_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _run(monkeypatch, "describe", "hardcore-imagenet", "--json")
    facts = json.loads(capsys.readouterr().out)
    space = hardcore_imagenet()
    assert facts["architectures"] == 5906234995112194080768
    assert len(facts["decisions"]) == 25
    lightest = {decision.name: decision.options[0] for decision in space.space.decisions}
    counted = count(space.supernet().extract(space.space.choose(lightest)), (3, 224, 224))
    assert facts["lightest"] == {"params": counted.parameters, "mult_adds": counted.macs}


def test_describe_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _run(monkeypatch, "describe", "hardcore-small")
    output = capsys.readouterr().out
    assert "stage3.depth" in output
    assert "multiply-adds" in output
    name, limit = output.rsplit("for example: --budget ", 1)[1].split()[0].split("=")
    family = make_space("hardcore-small", 10, 1, 32)
    least, most = cost_range(family, name)
    assert least < parse_budgets((f"{name}={limit}",))[name] < most  # a search of the space can keep it


def test_profile_writes_a_table_that_a_search_can_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "table.json"
    _run(monkeypatch, "profile", "hardcore-small", "--out", str(out), "--rounds", "6", "--networks", "6")
    assert "R^2" in capsys.readouterr().out
    table = load_latency_table(out)
    assert (table.unit, table.batch, table.threads, table.clock) == ("ms", 1, 1, "processor")
    assert not log_beside(out).exists()
    assert latency_cost(table, hardcore_small()).unit == "ms"
    _run(monkeypatch, "validate", str(out), "hardcore-small", "--networks", "3", "--rounds", "6")
    said = " ".join(capsys.readouterr().out.split())
    assert "3 networks of hardcore-small-32-1x10: measured =" in said
    validation = load_json(tmp_path / "table.validation.json", Validation, "table validation")
    assert len(validation.networks) == 3
    assert (tmp_path / "table.validation.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="the latency table is of space 'hardcore-small-32-1x10'"):
        _run(monkeypatch, "validate", str(out), "hardcore-imagenet")


def test_import_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    space = hardcore_small()
    lines = [f"{block},{c.name},250" for block in space.block_names for c in space.configurations]
    source, out = tmp_path / "phone.csv", tmp_path / "phone.json"
    source.write_text("\n".join(["block,option,latency", *lines, "fixed,,1000"]) + "\n", encoding="utf-8")
    conditions = ["--unit", "us", "--device", "Pixel 6", "--batch", "1", "--out", str(out)]
    _run(monkeypatch, "import-table", str(source), "hardcore-small", *conditions)
    table = load_latency_table(out)
    assert (table.device, table.batch, table.fixed, table.entries[0].median) == ("Pixel 6", 1, 1.0, 0.25)
    with pytest.raises(SystemExit, match="No such file"):
        _run(monkeypatch, "import-table", str(tmp_path / "phone.txt"), "hardcore-small", *conditions)
    with pytest.raises(SystemExit, match=r"device 'Pixel 6' where .* is asked for"):
        _run(monkeypatch, "validate", str(out), "hardcore-small")


@pytest.mark.parametrize(
    ("arguments", "named"), [(["describe", "no-such-space"], "constrained-nas spaces"), (["anything"], "profile")]
)
def test_unknown_names_end_with_where_to_find_the_names_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _run(monkeypatch, *arguments)
    assert stopped.value.code != 0
    written = capsys.readouterr()
    assert named in written.err + written.out + str(stopped.value.code)


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--networks", "5"], "at least 6 networks"), (["--rounds", "5"], "6 rounds"), (["--device", "cuda:9"], "GPU")],
)
def test_what_cannot_be_measured_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, flags: list[str], said: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match=said):
        _run(monkeypatch, "profile", "hardcore-small", *flags)


def test_a_file_that_is_not_there_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = tmp_path / "table.json"
    with pytest.raises(SystemExit, match=f"^constrained-nas: {missing}: No such file or directory$"):
        _run(monkeypatch, "validate", str(missing), "hardcore-small")


def test_training_that_diverges_ends_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny = ("--training-digits=40", "--draws=1", "--resolution=16", "--batch-size=8", "--warm-up=1", "--learning-rate=1e6")
    with pytest.raises(SystemExit, match=r"^constrained-nas: training the heaviest network: loss nan .* lower the learning rate$"):
        _run(monkeypatch, "search", "hardcore-small", "--budget", "params=60e3", "--out", str(tmp_path / "run"), *tiny)


def test_a_table_has_the_resolution_of_a_search_on_the_same_images(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part / "cat").mkdir(parents=True)
        Image.new("RGB", (24, 24)).save(tmp_path / part / "cat" / "1.png")
    searched = plan_of(RunSettings(space="hardcore-small", data=str(tmp_path))).resolution
    command = Profile("hardcore-small", out=tmp_path / "table.json", data=str(tmp_path))
    assert side_of(command.space, command.data, None) == searched == 24
    assert side_of(command.space, command.data, 40) == 40 and side_of(command.space, None, None) is None

"""The example of a user's own network with choices, at a small setting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.own_choices import Network, main
from graphs import choice_space


def test_it_finds_writes_and_says_what_fits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = ["--epochs", "1", "--tuning", "1", "--images", "400", "--latency-ms", "1000"]
    main([*small, "--macs", "150e3", "--params", "6e3", "--seed", "1", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "macs: " in printed
    assert "latency: " in printed
    assert (tmp_path / "found.py").exists()
    assert (tmp_path / "found.safetensors").exists()
    spent = float(next(line for line in printed.splitlines() if line.startswith("macs: ")).split()[1].replace(",", ""))
    assert spent <= 150e3


@pytest.mark.slow
def test_as_the_documentation_writes_it_down(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["--out", str(tmp_path)])
    assert "written: " in capsys.readouterr().out
    assert (tmp_path / "found.safetensors").exists()


def test_nested_choices_are_joint_options() -> None:
    space = choice_space(Network(), torch.zeros(2, 1, 8, 8))
    assert [decision.name for decision in space.space.decisions] == ["block1", "block2", "block3", "pool"]
    assert space.space.decisions[0].options[3:] == ("narrow(block1.size=3)", "narrow(block1.size=5)")


def test_its_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "graphs.Choice" in printed
    assert "multiply-adds an image" in printed

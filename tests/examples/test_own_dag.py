"""The example of a user's own networkx graph, at a small setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.own_dag import main, own_graph
from graphs import validate_dag


def test_it_finds_a_network_that_fits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "found.png"
    small = ["--cells", "2", "--epochs", "2", "--tuning", "1", "--images", "300", "--share", "0.4", "--seed", "1"]
    main([*small, "--draw", str(picture)])
    printed = capsys.readouterr().out
    words = next(line for line in printed.splitlines() if line.startswith("macs: ")).replace(",", "").split()
    assert float(words[1]) <= float(words[3])
    assert "test accuracy" in printed
    assert picture.exists()


def test_the_graph_is_valid() -> None:
    assert validate_dag(own_graph(4)) == ("image", "logits")


def test_its_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "Nodes are feature maps, edges are modules" in capsys.readouterr().out

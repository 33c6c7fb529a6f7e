"""Curves as JSON lines: nothing twice, nothing lost, whatever a process was doing when it was killed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from support.searches import FABRIC
from torch import nn
from torch.utils.data import TensorDataset

from constrained_nas.training import Curves, Stopped, TrainingOptions, fine_tune, read_curves

STEPS, EPOCHS = 6, 3


def _data(rows: int = 48) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 3
    return TensorDataset(torch.randn(rows, 1, 4, 4, generator=generator) + labels[:, None, None, None], labels)


def _train(folder: Path, stop: int = 0) -> Path:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    options = TrainingOptions(EPOCHS, 8, 0.05, mixup=0.2)

    def progress(done: int, total: int, what: str) -> None:
        if done == stop:
            raise Stopped

    curves = Curves(folder / "curves.jsonl", _data(12))
    fine_tune(network, _data(), options, FABRIC, checkpoint=folder / "kept.safetensors", progress=progress, curves=curves)
    return curves.path


def test_every_line_says_what_was_computed(tmp_path: Path) -> None:
    lines = read_curves(_train(tmp_path))
    steps = [line for line in lines if "validation" not in line]
    assert [(line["epoch"], line["step"]) for line in steps] == [(1 + s // STEPS, s + 1) for s in range(STEPS * EPOCHS)]
    assert all(line.keys() == {"phase", "epoch", "step", "loss", "accuracy", "rate"} for line in steps)
    ends = [line for line in lines if "validation" in line]
    assert [line["step"] for line in ends] == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]
    assert steps[0]["rate"] == 0.05 and steps[-1]["rate"] < 0.001 and steps[-1]["loss"] < steps[0]["loss"]
    right = ends[-1]["validation"]["accuracy"] * 12 / 100
    assert right == pytest.approx(round(right), abs=1e-4) and 6 < right <= 12  # of twelve images


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 18])
def test_stopped_and_resumed_the_file_is_that_of_an_unbroken_run(tmp_path: Path, stop: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = _train(tmp_path / "whole").read_text()
    with pytest.raises(Stopped):
        _train(tmp_path / "stopped", stop)
    assert _train(tmp_path / "stopped").read_text() == whole


@pytest.mark.parametrize("torn", ['{"phase": "network", "epo', '{"phase": "network", "epoch": 3, "step": 17, "loss": 1}\n'])
def test_what_was_written_after_the_last_checkpoint_is_taken_back(tmp_path: Path, torn: str) -> None:
    whole = _train(tmp_path).read_text()
    with pytest.raises(Stopped):
        (tmp_path / "kept.safetensors").unlink()
        _train(tmp_path, 13)
    path = tmp_path / "curves.jsonl"
    other = json.dumps({"phase": "other", "epoch": 9, "step": 99, "loss": 1.0}) + "\n"
    path.write_text(other + path.read_text() + torn)
    assert _train(tmp_path).read_text() == other + whole


@pytest.mark.parametrize("steps", [1, 7, 20, 45])
def test_a_line_is_the_mean_of_its_steps(tmp_path: Path, steps: int) -> None:
    curve = Curves(tmp_path / "curves.jsonl").of("x")
    curve.begin(0, 0, steps)
    for step in range(steps):
        curve.add("loss", torch.tensor(float(step)))
        curve.step(1, step + 1, {})
    lines = read_curves(curve.path)
    assert len(lines) <= 20 and lines[-1]["step"] == steps
    ends = [0, *(line["step"] for line in lines)]
    means = [sum(range(first, last)) / (last - first) for first, last in pairwise(ends)]
    assert [line["loss"] for line in lines] == means


def test_a_link_is_replaced_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    path = tmp_path / "curves.jsonl"
    path.symlink_to(tmp_path / "mine")
    curve = Curves(path).of("x")
    curve.begin(0, 0, 1)
    curve.write(1, 1, {"loss": 1.0})
    assert (tmp_path / "mine").read_text() == "mine" and read_curves(path) == [{"phase": "x", "epoch": 1, "step": 1, "loss": 1.0}]
    path.write_text('{"phase": "x", "epoch": 1, "step": 1}\n{"phase": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_curves(path)

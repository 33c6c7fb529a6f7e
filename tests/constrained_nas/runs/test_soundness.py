"""Data without anything to learn and training that ended nowhere are said to be so."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.searches import FABRIC
from support.tiny import run, settings
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from constrained_nas.data import DataSplits, digits, image_folder
from constrained_nas.runs.soundness import data_remarks, training_remarks


def data(images: Tensor, labels: Tensor, classes: int = 2) -> DataSplits:
    split = TensorDataset(images, labels)
    return DataSplits("made", split, split, split, classes, 1, images.shape[-1])


def test_data_without_anything_to_learn() -> None:
    labels, noise = torch.arange(40) % 2, torch.rand(40, 1, 8, 8)
    assert data_remarks(data(noise, labels)) == [] == data_remarks(digits(16, 40, 1, 1))
    (said,) = data_remarks(data(noise, torch.zeros(40, dtype=torch.int64)))
    assert "of one class" in said
    (said,) = data_remarks(data(noise[:, :, :1, :1].expand(-1, 1, 8, 8), labels))
    assert "are constant" in said
    (said,) = data_remarks(data(noise[:1].expand(40, 1, 8, 8), labels))
    assert "are the same" in said


@pytest.mark.parametrize("side", [16, 80])  # decoded once, or read again each time
def test_augmentation_hides_no_constant_images(tmp_path: Path, side: int) -> None:
    for number, (part, label) in enumerate(product(("train", "val"), "ab")):
        (tmp_path / part / label).mkdir(parents=True)
        for place in range(6):
            Image.new("RGB", (side, side), (40 * number, 10 * place, 99)).save(tmp_path / part / label / f"{place}.png")
    (said,) = data_remarks(image_folder(tmp_path, side, 0.3))
    assert "are constant" in said


def test_a_loss_far_above_that_of_guessing() -> None:
    made = data(torch.rand(40, 1, 8, 8), torch.arange(40) % 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    assert training_remarks(network, made, FABRIC) == []
    with torch.no_grad():
        network[1].bias.copy_(torch.tensor([50.0, 0.0]))
    (said,) = training_remarks(network, made, FABRIC)
    assert "training diverged" in said and "guessing among 2 classes has 0.693" in said


def test_a_run_that_diverged_says_so_in_its_record(tmp_path: Path) -> None:
    record = run(tmp_path, settings("hardcore-small", "params=60e3", fine_tune_rate=3.0, fine_tune_epochs=2))
    assert any(remark.startswith("training diverged") for remark in record.remarks), record.remarks

"""Data in COCO's format, and a detector on a found network, on a small made folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from constrained_nas.data.coco import CocoImages, make_coco, together
from papers_repro import prunet_figure4
from papers_repro.prunet.detector import DetectionOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_coco(tmp_path / "coco", 6, 64, 0)
    return tmp_path / "coco"


def annotations(folder: Path, part: str) -> Path:
    return folder / "annotations" / f"instances_{part}.json"


def test_boxes_surround_what_is_drawn(folder: Path) -> None:
    data = CocoImages(folder, "train2017", train=True)
    assert data.categories == ("square", "disc") and len(data) == 6
    seen = set()
    for index in range(len(data)):
        image, target = data[index]
        assert image.shape == (3, 64, 64) and len(target["boxes"]) == len(target["labels"]) > 0
        for box, label in zip(target["boxes"].round().int().tolist(), target["labels"].tolist(), strict=True):
            left, top, right, bottom = box
            assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64
            middle = image[label - 1, (top + bottom) // 2, (left + right) // 2]  # squares are drawn in the first colour
            other = image[2 - label, (top + bottom) // 2, (left + right) // 2]
            assert max(middle, other) > 0.85, "something bright, unless another covers it"
            seen.add(label)
    assert seen == {1, 2}
    images, targets = together([data[0], data[1]])
    assert len(images) == len(targets) == 2


def test_flips_take_the_boxes_along(folder: Path) -> None:
    plain, flipped = (CocoImages(folder, "train2017", train=True, flip=flip) for flip in (False, True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pairs = [(plain[index], flipped[index]) for index in range(6)]
    turned = [one for one in pairs if not torch.equal(one[0][0], one[1][0])]
    assert 0 < len(turned) < 6
    for (image, target), (other, moved) in turned:
        assert torch.equal(image.flip(-1), other)
        assert torch.equal(moved["boxes"][:, 0], 64 - target["boxes"][:, 2]) and torch.equal(
            moved["boxes"][:, 1], target["boxes"][:, 1]
        )


def test_crowds_and_empty_images_do_not_train(folder: Path) -> None:
    path = annotations(folder, "train2017")
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        if entry["image_id"] == 1:
            entry["iscrowd"] = 1
    path.write_text(json.dumps(content))
    assert len(CocoImages(folder, "train2017", train=True)) == 5
    held = CocoImages(folder, "train2017", train=False)
    assert len(held) == 6 and held[0][1]["iscrowd"].all()


def test_what_is_refused(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"instances_test2017\.json"):
        CocoImages(folder, "test2017", train=True)
    (folder / "val2017" / "000000000003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"000000000003\.png: no such image; 1 of 6"):
        CocoImages(folder, "val2017", train=False)
    path = annotations(folder, "train2017")
    whole = json.loads(path.read_text())
    for change, said in (
        ({"categories": None}, "not annotations of COCO's form"),
        ({"annotations": [{"image_id": 1, "category_id": 99, "bbox": [0, 0, 1, 1]}]}, "category 99"),
        ({"annotations": []}, "no images to use"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match=said):
            CocoImages(folder, "train2017", train=True)


def test_the_papers_training() -> None:
    paper = prunet_figure4.preset("paper").detection  # Fig. 4
    assert (paper.detector_epochs, paper.detector_batch, paper.detector_rate, paper.detector_warm_up) == (300, 60, 0.65, 20)
    assert (paper.detector_clip, paper.detector_average) == (10.0, 0.999)
    rates = [paper.rate(epoch) for epoch in (0, 10, 20, 160, 300)]
    assert rates == pytest.approx([0.0, 0.325, 0.65, 0.325, 0.0])
    assert DetectionOptions() == paper


def test_a_detector_learns_on_a_made_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = ("--detector-epochs", "6", "--detector-average", "0.5")
    monkeypatch.setattr(sys, "argv", ["s", "--scale", "smoke", "--out", str(tmp_path / "run"), "--coco", str(folder), *fast])
    prunet_figure4.main()
    record = json.loads((tmp_path / "run" / "prunet_figure4.json").read_text())
    (row,) = record["tables"][0]["ours"]
    assert row["last"] < 0.9 * row["first"]
    assert "6 images to train on, 6 to test on, 2 categories" in record["tables"][0]["remark"]
    assert (tmp_path / "run" / "prunet_figure4.png").read_bytes().startswith(b"\x89PNG")

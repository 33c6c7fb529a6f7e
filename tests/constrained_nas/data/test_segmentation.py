"""Segmentation data: masks read for what they are and flipped with their images, scenes labelled as drawn, wrong files named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from constrained_nas.data import IGNORED, DataSplits, digit_scenes, digits, loader, part_labels
from constrained_nas.data.drawn_digits import draw_strokes
from constrained_nas.data.segmentation import draw_scenes, segmentation_folder

HAIR, SKIN, BACKGROUND = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def few_scenes(**changes: Any) -> DataSplits:
    return digit_scenes(**({"training_digits": 50, "draws": 2, "test_draws": 1} | changes))


def write_face(root: Path, name: str, number: int, pixels: np.ndarray, mask: np.ndarray) -> None:
    (root / "lfw_funneled" / name).mkdir(parents=True, exist_ok=True)
    (root / "parts_lfw_funneled_gt_images").mkdir(exist_ok=True)
    # Quality 100 without subsampling: a flat image comes back to within a rounding.
    Image.fromarray(pixels).save(root / "lfw_funneled" / name / f"{name}_{number:04d}.jpg", quality=100, subsampling=0)
    Image.fromarray(mask).save(root / "parts_lfw_funneled_gt_images" / f"{name}_{number:04d}.ppm")


def write_faces(root: Path, side: int = 10) -> None:
    """Grey faces, one brightness each; hair on the top half, skin at the bottom left, background at the bottom right."""
    mask = np.zeros((side, side, 3), dtype=np.uint8)
    mask[: side // 2], mask[side // 2 :, : side // 2], mask[side // 2 :, side // 2 :] = HAIR, SKIN, BACKGROUND
    lists = {
        "train": [("Ann_Lee", 1), ("Ann_Lee", 12), ("Bo", 3)],
        "validation": [("Cy_de_Vil", 1)],
        "test": [("Bo", 4), ("Di", 1)],
    }
    brightness = 0
    for part, faces in lists.items():
        for name, number in faces:
            brightness += 30
            write_face(root, name, number, np.full((side, side, 3), brightness, dtype=np.uint8), mask)
        (root / f"parts_{part}.txt").write_text("".join(f"{name} {number}\n" for name, number in faces) + "\n")


def test_part_labels(tmp_path: Path) -> None:
    write_faces(tmp_path)
    splits = part_labels(tmp_path, resolution=13, augment=False)
    assert (splits.name, splits.classes, splits.image_channels, splits.resolution) == ("part-labels", 3, 3, 13)
    sizes = [len(part) for part in (splits.weights, splits.architecture, splits.test)]  # type: ignore[arg-type]
    assert sizes == [3, 1, 2]
    for number, (image, label) in enumerate([splits.weights[1], splits.architecture[0], splits.test[1]]):
        brightness = (60, 120, 180)[number]
        assert image.shape == (3, 13, 13)
        assert image.dtype == torch.float32
        assert label.shape == (13, 13)
        assert label.dtype == torch.int64
        # 3 missing pixels: 1 before, 2 after. Black is -1.
        np.testing.assert_allclose(image[:, 1:11, 1:11], brightness / 127.5 - 1, atol=1.5 / 127.5)  # JPEG rounds twice
        inside = torch.zeros(13, 13, dtype=torch.bool)
        inside[1:11, 1:11] = True
        assert (image[:, ~inside] == -1.0).all()
        assert (label[~inside] == IGNORED).all()
        assert (label[1:6, 1:11] == 0).all()
        assert (label[6:11, 1:6] == 1).all()
        assert (label[6:11, 6:11] == 2).all()
    ((images, labels),) = loader(splits.test, 4)
    assert images.shape == (2, 3, 13, 13)
    assert labels.shape == (2, 13, 13)


def write_pairs(root: Path, masks: dict[str, Image.Image], size: tuple[int, int] = (6, 4)) -> None:
    """One image for every mask; its red says the column, its green the row."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(size[0]) * 20, np.arange(size[1])[:, None] * 20
    for name, mask in masks.items():
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
        mask.save(root / "masks" / f"{name}.png")
    names = list(masks)
    for part, some in (("train", names[:-2]), ("val", names[-2:-1]), ("test", names[-1:])):
        (root / f"{part}.txt").write_text("\n".join(some))


def columns_mask(mode: str = "P") -> Image.Image:
    """6x4: the class is the column's number."""
    mask = Image.fromarray(np.tile(np.arange(6, dtype=np.uint8), (4, 1)))
    if mode == "P":
        mask = mask.convert("P")
        mask.putdata(np.tile(np.arange(6), 4).tolist())
    return mask


@pytest.mark.parametrize("mode", ["P", "L"])
def test_images_and_masks_flip_together(tmp_path: Path, mode: str) -> None:
    write_pairs(tmp_path, {name: columns_mask(mode) for name in "abc"})
    splits = segmentation_folder(tmp_path, 6, 6)
    torch.manual_seed(0)
    flipped = 0
    for _ in range(60):
        image, label = splits.weights[0]
        assert (label[[0, 5]] == IGNORED).all()  # 4 rows of 6: one missing on either side
        column = torch.round((image[0, 1:5] + 1) * 127.5 / 20).long()
        assert torch.equal(label[1:5], column)
        flipped += int(label[1, 0] == 5)
    assert 15 < flipped < 45  # 30 expected, a standard deviation of 4
    for part in (splits.architecture, splits.test):
        assert all(int(part[0][1][1, 0]) == 0 for _ in range(10))
    still = segmentation_folder(tmp_path, 6, 6, augment=False)
    assert all(int(still.weights[0][1][1, 0]) == 0 for _ in range(10))


def test_void_pixels_have_no_label(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[0, 1] = 255
    write_pairs(tmp_path, {name: Image.fromarray(mask) for name in "abc"})
    _, label = segmentation_folder(tmp_path, 6, 2).test[0]
    assert label[1, 1] == IGNORED
    assert int((label == 0).sum()) == 23


def test_colours_become_classes(tmp_path: Path) -> None:
    mask = np.zeros((4, 6, 3), dtype=np.uint8)
    mask[2:] = (1, 2, 3)
    write_pairs(tmp_path, {name: Image.fromarray(mask) for name in "abc"})
    _, label = segmentation_folder(tmp_path, 6, 5, colours={(0, 0, 0): 4, (1, 2, 3): 0}).test[0]
    assert (label[1:3] == 4).all()
    assert (label[3:5] == 0).all()
    wrong = segmentation_folder(tmp_path, 6, 5, colours={(0, 0, 0): 4, (1, 2, 4): 0})
    with pytest.raises(
        ValueError, match=r"c\.png: colour \(1, 2, 3\) at row 2, column 0 has no class; expected one of \(0, 0, 0\)"
    ):
        wrong.test[0]
    with pytest.raises(ValueError, match=r"expected classes 0\.\.2, got 4 for \(0, 0, 0\)"):
        segmentation_folder(tmp_path, 6, 3, colours={(0, 0, 0): 4})
    with pytest.raises(ValueError, match=r"c\.png: expected an indexed or grey mask, got mode 'RGB'; pass colours"):
        segmentation_folder(tmp_path, 6, 5).test[0]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    write_pairs(tmp_path, {name: columns_mask() for name in "abc"})
    with pytest.raises(ValueError, match=r"c\.png: class 5 at row 0, column 5; expected 0\.\.4"):
        segmentation_folder(tmp_path, 6, 5).test[0]
    with pytest.raises(ValueError, match=r"images.c\.png: 6x4 pixels do not fit into 5"):
        segmentation_folder(tmp_path, 5, 6).test[0]
    columns_mask().resize((5, 4)).save(tmp_path / "masks" / "c.png")
    with pytest.raises(ValueError, match=r"masks.c\.png: 5x4 pixels, but .*images.c\.png has 6x4"):
        segmentation_folder(tmp_path, 6, 6).test[0]
    image = tmp_path / "images" / "c.png"
    image.write_bytes(image.read_bytes()[:45])
    with pytest.raises(ValueError, match=r"images.c\.png: not a readable image"):
        segmentation_folder(tmp_path, 6, 6).test[0]
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"masks.b\.\*: missing, but val\.txt lists it"):
        segmentation_folder(tmp_path, 6, 6)
    columns_mask().save(tmp_path / "masks" / "b.png")
    columns_mask().save(tmp_path / "masks" / "b.bmp")
    with pytest.raises(ValueError, match=r"expected one file for 'b', got b\.bmp, b\.png"):
        segmentation_folder(tmp_path, 6, 6)
    (tmp_path / "masks" / "b.bmp").unlink()
    (tmp_path / "test.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"test\.txt: a\.png is also in train\.txt; splits must not overlap"):
        segmentation_folder(tmp_path, 6, 6)
    (tmp_path / "test.txt").write_text("\n \n")
    with pytest.raises(ValueError, match=r"test\.txt: expected one image a line, got none"):
        segmentation_folder(tmp_path, 6, 6)
    (tmp_path / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt: missing; it lists the images of a split"):
        segmentation_folder(tmp_path, 6, 6)
    with pytest.raises(FileNotFoundError, match=r"images: no such folder"):
        segmentation_folder(tmp_path / "elsewhere", 6, 6)


def test_part_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"parts_train\.txt: missing"):
        part_labels(tmp_path)
    write_faces(tmp_path)
    mask = tmp_path / "parts_lfw_funneled_gt_images" / "Bo_0003.ppm"
    content = mask.read_bytes()
    mask.unlink()
    with pytest.raises(FileNotFoundError, match=r"Bo_0003\.ppm: missing, but parts_train\.txt lists it"):
        part_labels(tmp_path)
    mask.write_bytes(content)
    with (tmp_path / "parts_test.txt").open("a") as file:
        file.write("Eve\n")
    with pytest.raises(ValueError, match=r"parts_test\.txt, line 4: expected '<Name> <number>', got 'Eve'"):
        part_labels(tmp_path)


def test_scenes_have_the_pictures_of_the_digits_task() -> None:
    scenes, plain = few_scenes(seed=3), digits(32, 50, 2, 1, seed=3)
    assert (scenes.classes, scenes.image_channels, scenes.resolution) == (3, 1, 32)
    for part, size in (("weights", 80), ("architecture", 20), ("test", 1747)):
        one, other = getattr(scenes, part), getattr(plain, part)
        assert isinstance(one, TensorDataset)
        images, labels = one.tensors
        assert images.shape == (size, 1, 32, 32)
        assert labels.shape == (size, 32, 32)
        assert labels.dtype == torch.int64
        assert torch.equal(images, other.tensors[0])
        # Every scene has a digit; background, digit and clutter all take their share.
        assert (labels == 1).flatten(1).any(1).all()
        shares = torch.bincount(labels.flatten(), minlength=3) / labels.numel()
        assert len(shares) == 3
        assert float(shares.min()) > 0.04
    assert torch.equal(few_scenes(seed=3).test.tensors[1], scenes.test.tensors[1])  # type: ignore[attr-defined]
    assert not torch.equal(few_scenes(seed=4).test.tensors[1], scenes.test.tensors[1])  # type: ignore[attr-defined]


def test_labels_say_what_was_drawn() -> None:
    squares = torch.zeros(40, 8, 8)
    squares[:, 2:6, 2:6] = 1.0
    digit, clutter = draw_strokes(squares, 48, torch.Generator().manual_seed(5))
    _, labels = draw_scenes(squares, 48, torch.Generator().manual_seed(5))
    digit, clutter = digit[:, 0], clutter[:, 0]
    assert (labels[digit > 0.99] == 1).all()  # clutter is never so dark
    assert (labels[(digit == 0) & (clutter > 0.59)] == 2).all()
    assert (labels[(digit == 0) & (clutter == 0)] == 0).all()


def test_scenes_out_of_range() -> None:
    with pytest.raises(ValueError, match="expected resolution >= 16"):
        few_scenes(resolution=8)

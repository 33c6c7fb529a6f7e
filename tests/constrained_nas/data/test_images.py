"""Data sets: splits that do not overlap and repeat from their seed, labels kept, files that are cut off or wrong."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from constrained_nas.data import cifar, digits, drawn_digits, image_folder, loader
from constrained_nas.data import images as data


def tensors(dataset: object) -> tuple[Tensor, Tensor]:
    assert isinstance(dataset, TensorDataset)
    images, labels = dataset.tensors
    return images, labels


def few_digits(seed: int = 0, **changes: Any) -> data.DataSplits:
    return digits(**({"resolution": 24, "training_digits": 100, "draws": 2, "test_draws": 1, "seed": seed} | changes))


def test_digits_shapes_and_determinism() -> None:
    first, again, other = few_digits(), few_digits(), few_digits(seed=1)
    assert (first.classes, first.image_channels, first.resolution) == (10, 1, 24)
    for part, size in (("weights", 160), ("architecture", 40), ("test", 1697)):
        images, labels = tensors(getattr(first, part))
        assert images.shape == (size, 1, 24, 24)
        assert images.dtype == torch.float32
        assert set(labels.tolist()) <= set(range(10))
        same, moved = tensors(getattr(again, part)), tensors(getattr(other, part))
        assert torch.equal(images, same[0])
        assert torch.equal(labels, same[1])
        assert not torch.equal(images, moved[0])


def test_digits_are_disjoint_and_keep_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    monkeypatch.setattr(drawn_digits, "draw_digits", lambda images, *_: images)  # the digits, not their drawings
    splits = few_digits()
    bunch = load_digits()
    label_of: dict[bytes, set[int]] = {}
    for image, label in zip((bunch.images / 16).astype(np.float32), bunch.target, strict=True):
        label_of.setdefault(image.tobytes(), set()).add(int(label))
    seen: dict[str, set[bytes]] = {}
    for part in ("weights", "architecture", "test"):
        images, labels = tensors(getattr(splits, part))
        seen[part] = {image.numpy().tobytes() for image in images}
        for image, label in zip(images, labels.tolist(), strict=True):
            assert label in label_of[image.numpy().tobytes()]
    assert not seen["weights"] & seen["architecture"]
    assert not (seen["weights"] | seen["architecture"]) & seen["test"]


def test_drawings_keep_their_digit() -> None:
    # A bright square on a canvas must be there, whole; clutter, at 60 % of its brightness, seldom passes 0.8 by noise.
    squares = torch.zeros(50, 8, 8)
    squares[:, 2:6, 2:6] = 1.0
    canvas = drawn_digits.draw_digits(squares, 32, torch.Generator().manual_seed(0)) * 0.35 + 0.2
    bright = (canvas > 0.8).sum((1, 2, 3))
    # The square has half the digit's side, which is 35 to 75 % of 32 pixels; noise of 0.15 hides a tenth of its pixels.
    assert int(bright.min()) > 0.6 * (0.5 * 0.35 * 32) ** 2
    assert int(bright.max()) < 1.2 * (0.5 * 0.75 * 32) ** 2


@pytest.mark.parametrize(
    "changes",
    [
        {"resolution": 15},
        {"training_digits": 9},
        {"training_digits": 1701},
        {"architecture_share": 0.0},
        {"draws": 0},
        {"test_draws": 0},
    ],
)
def test_digits_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="digits: expected resolution >= 16"):
        few_digits(**changes)


def test_clutter_only_adds_ink() -> None:
    """The same digits in the same places; what is drawn around them fades."""
    none, half, whole = (tensors(few_digits(clutter=strength).weights)[0] for strength in (0.0, 0.5, 1.0))
    assert (none <= half).all() and (half <= whole).all() and (none < half).any() and (half < whole).any()
    assert few_digits(clutter=0.5).identity["clutter"] == 0.5 and "clutter" not in few_digits().identity
    with pytest.raises(ValueError, match="clutter of a strength in"):
        few_digits(clutter=1.5)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_digits_with_an_empty_part(share: float) -> None:
    with pytest.raises(ValueError, match="leaves one of the two parts empty"):
        few_digits(architecture_share=share)


def write_cifar(root: Path, classes: int, records: int) -> dict[str, np.ndarray]:
    """Files in CIFAR's binary format: label bytes, then 3072 bytes of red, green and blue planes. Image i is all of value i."""
    folder = root / ("cifar-10-batches-bin" if classes == 10 else "cifar-100-binary")
    folder.mkdir()
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"] if classes == 10 else ["train.bin", "test.bin"]
    contents = {}
    for number, name in enumerate(names):
        fine = (np.arange(records) + number) % classes
        coarse = np.full((records, 1), 19)
        planes = np.repeat((np.arange(records) * 9 + number)[:, None], 3072, 1)
        rows = np.concatenate([*([coarse] if classes == 100 else []), fine[:, None], planes], 1).astype(np.uint8)
        rows.tofile(folder / name)
        contents[name] = rows
    return contents


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path: Path, classes: int) -> None:
    records = 10
    contents = write_cifar(tmp_path, classes, records)
    splits = cifar(tmp_path, classes, resolution=16, architecture_share=0.2, augment=False)
    count = records * (5 if classes == 10 else 1)
    assert isinstance(splits.weights, Subset)
    assert isinstance(splits.architecture, Subset)
    assert sorted([*splits.weights.indices, *splits.architecture.indices]) == list(range(count))
    assert len(splits.architecture) == count // 5
    assert (splits.name, splits.classes, splits.image_channels, splits.resolution) == (f"cifar-{classes}", classes, 3, 16)
    ((images, labels),) = loader(splits.test, records)
    assert images.shape == (records, 3, 16, 16)
    test_rows = contents["test_batch.bin" if classes == 10 else "test.bin"]
    assert labels.tolist() == test_rows[:, 0 if classes == 10 else 1].tolist()
    red = (test_rows[:, -1] / 255 - 0.485) / 0.229  # normalized with ImageNet's mean and deviation
    np.testing.assert_allclose(images[:, 0, 3, 5].numpy(), red, rtol=1e-5)  # float32
    again = cifar(tmp_path, classes, resolution=16, augment=False)
    assert isinstance(again.weights, Subset)
    assert again.weights.indices == splits.weights.indices


def test_cifar_augments_the_weights_split_alone(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, 4)
    splits = cifar(tmp_path, 10, resolution=32)
    image, _ = splits.weights[0]
    assert image.shape == (3, 32, 32)
    held = [splits.architecture[0][0] for _ in range(4)]
    assert all(torch.equal(held[0], other) for other in held[1:])


def test_cifar_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected 10 or 100 classes, got 20"):
        cifar(tmp_path, 20)
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin"):
        cifar(tmp_path)
    write_cifar(tmp_path, 10, 4)
    with pytest.raises(ValueError, match=r"strictly between 0 and 1, got 1\.0"):
        cifar(tmp_path, architecture_share=1.0)
    with pytest.raises(ValueError, match=r"a share of 0\.99 of 20 images leaves none"):
        cifar(tmp_path, architecture_share=0.99)
    broken = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    content = broken.read_bytes()
    for length in (len(content) - 100, 0):
        broken.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"data_batch_3\.bin: {length} bytes is not a whole number of 3073-byte records"):
            cifar(tmp_path)


def write_folder(root: Path, parts: dict[str, list[str]], count: int = 5) -> None:
    for part, classes in parts.items():
        for number, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40, 30), (60 * number, index, 0)).save(root / part / name / f"{index}.png")


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_image_folder(tmp_path: Path, held_out: str) -> None:
    write_folder(tmp_path, {"train": ["cat", "dog", "emu"], held_out: ["cat", "dog", "emu"]})
    splits = image_folder(tmp_path, 24, architecture_share=0.4, augment=False)
    assert (splits.classes, splits.image_channels, splits.resolution) == (3, 3, 24)
    assert isinstance(splits.weights, Subset)
    assert isinstance(splits.architecture, Subset)
    assert (len(splits.weights), len(splits.architecture)) == (9, 6)
    assert not set(splits.weights.indices) & set(splits.architecture.indices)
    ((images, labels),) = loader(splits.test, 15)
    assert images.shape == (15, 3, 24, 24)
    assert labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    red = (np.array([0, 60, 120]) / 255 - 0.485) / 0.229
    np.testing.assert_allclose(images[::5, 0, 12, 12].numpy(), red, rtol=1e-5)  # float32


def windows(image: np.ndarray, side: int) -> list[bytes]:
    """All crops of that side, and their mirror images."""
    places = range(image.shape[-1] - side + 1)
    crops = [image[:, row : row + side, column : column + side] for row in places for column in places]
    return [np.ascontiguousarray(turned).tobytes() for crop in crops for turned in (crop, crop[:, :, ::-1])]


def test_crop_and_flip_as_on_cifar(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-binary").mkdir()
    rng = np.random.default_rng(0)
    for name in ("train.bin", "test.bin"):
        rng.integers(0, 100, (20, 3074), dtype=np.uint8).tofile(tmp_path / "cifar-100-binary" / name)
    splits = cifar(tmp_path, 100, architecture_share=0.1, recipe="crop_flip")
    assert isinstance(splits.weights, Subset)
    assert (len(splits.weights), len(splits.architecture), len(splits.test)) == (18, 2, 20)
    pixels = (
        np.fromfile(tmp_path / "cifar-100-binary" / "train.bin", dtype=np.uint8).reshape(20, 3074)[:, 2:].reshape(20, 3, 32, 32)
    )
    torch.manual_seed(0)
    seen = set()
    for index in range(2):
        padded = np.pad(pixels[splits.weights.indices[index]], ((0, 0), (2, 2), (2, 2)))  # black, to 36x36
        every = windows(padded, 32)
        for _ in range(60):
            image, _ = splits.weights[index]
            assert image.dtype == torch.float32
            back = ((image + 1) * 127.5).numpy()
            # [-1, 1] and back: a rounding of float32 on numbers up to 255.
            np.testing.assert_allclose(back, np.round(back), atol=1e-4)
            seen.add((index, every.index(np.round(back).astype(np.uint8).tobytes())))
    assert len(seen) > 60  # of 2 x 25 places x 2 directions
    image, label = splits.test[3]
    content = np.fromfile(tmp_path / "cifar-100-binary" / "test.bin", dtype=np.uint8).reshape(20, 3074)
    np.testing.assert_allclose(image.numpy().ravel(), content[3, 2:] / 127.5 - 1, atol=1e-6)
    assert label == content[3, 1]  # the fine label is the second byte


def test_the_usual_split_of_cifar() -> None:
    weights, architecture = data._split_indices(50_000, 0.1, 0)
    assert (len(weights), len(architecture)) == (45_000, 5_000)
    assert sorted(weights + architecture) == list(range(50_000))


def test_an_unknown_recipe(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, 4)
    for augment in (True, False):
        with pytest.raises(ValueError, match="recipe: expected one of auto_augment, rand_augment, crop_flip, got 'plain'"):
            cifar(tmp_path, augment=augment, recipe="plain")  # type: ignore[arg-type]


def test_cifar_unpacked_to_files() -> None:
    root = os.environ.get("CIFAR10_FOLDER")
    if not root:
        pytest.skip("set CIFAR10_FOLDER to a folder of CIFAR-10 images, train/<class>/* and test/<class>/*, to test on it")
    splits = image_folder(root, 32, 0.1, recipe="crop_flip")
    assert splits.classes == 10
    assert (len(splits.weights), len(splits.architecture), len(splits.test)) == (45_000, 5_000, 10_000)  # type: ignore[arg-type]
    for part in (splits.weights, splits.architecture, splits.test):
        image, label = part[123]
        assert image.shape == (3, 32, 32)
        assert -1.0 <= float(image.min()) < 0.0 < float(image.max()) <= 1.0
        assert 0 <= label < 10


@pytest.mark.parametrize("side", [24, 96])
@pytest.mark.parametrize(("kept", "said"), [(5, "it is none"), (90, "truncated|broken|cut")])
def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, side: int, kept: int, said: str) -> None:
    for part, kind, number in product(("train", "val"), "ab", range(4)):
        (tmp_path / part / kind).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / part / kind / f"{number}.png")
    broken = tmp_path / "train" / "b" / "2.png"
    broken.write_bytes(broken.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"b/2.png: an image that cannot be read \(.*({said}).*\): mend it or take it away"):
        splits = image_folder(tmp_path, side, 0.5, augment=False)
        for part in (splits.weights, splits.architecture):
            list(loader(part, 2))


def test_image_folder_at_imagenets_convention(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": ["cat", "dog"], "val": ["cat", "dog"]}, count=2)
    splits = image_folder(tmp_path, 72)
    for part in (splits.weights, splits.architecture, splits.test):
        assert part[0][0].shape == (3, 72, 72)


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    for part, number in product(("train", "val"), range(4)):
        folder = tmp_path / part / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(folder / f"{number}.png")
        if number == 3:  # a class, and an image, may be links
            (tmp_path / part / "2").symlink_to(folder)
    (tmp_path / "train" / "0" / "more.png").symlink_to(tmp_path / "train" / "0" / "0.png")
    assert image_folder(tmp_path, 8, 0.3).classes == 3
    (tmp_path / "train" / "0" / "deep").mkdir()
    (tmp_path / "train" / "0" / "deep" / "again").symlink_to(tmp_path / "train")
    with pytest.raises(ValueError, match=r"0/deep/again: a link to a folder inside a class"):
        image_folder(tmp_path, 8, 0.3)


def test_image_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        image_folder(tmp_path, 24)
    write_folder(tmp_path, {"train": ["cat", "dog"], "val": ["cat", "emu"]}, count=1)
    with pytest.raises(ValueError, match=r"train and val have different classes, e\.g\. \['dog', 'emu'\]"):
        image_folder(tmp_path, 24)


def numbered(count: int) -> TensorDataset:
    return TensorDataset(torch.arange(count, dtype=torch.float32)[:, None], torch.arange(count))


@pytest.mark.parametrize("wrap", [lambda dataset: dataset, lambda dataset: Subset(dataset, range(10))])
def test_loader_batches(wrap: Any) -> None:
    dataset = wrap(numbered(10))
    in_order = [labels.tolist() for _, labels in loader(dataset, 4)]
    assert in_order == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]

    def shuffled(seed: int) -> list[list[int]]:
        batches = loader(dataset, 4, torch.Generator().manual_seed(seed), drop_last=True)
        assert len(batches) == 2
        found = []
        for images, labels in batches:
            assert torch.equal(images[:, 0].long(), labels)
            found.append(labels.tolist())
        return found

    assert shuffled(0) == shuffled(0)
    assert shuffled(0) != shuffled(1)
    drawn = [label for batch in shuffled(0) for label in batch]
    assert len(drawn) == len(set(drawn)) == 8

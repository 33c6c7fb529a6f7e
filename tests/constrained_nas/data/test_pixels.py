"""Pixels: decoded once and anew when files change, augmented image by image though a batch at a time, and loaded in order."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import nn
from torch.utils.data import Subset
from torchvision.transforms import v2

from constrained_nas.data import image_folder, loader, pixels
from constrained_nas.data.pixels import PixelDataset, auto_augmented, cropped_and_flipped, pixels_of, scaled_pixels
from constrained_nas.training import Stopped, TrainingOptions, fine_tune

PLAIN = scaled_pixels((0.5,) * 3, (0.5,) * 3)


def write(root: Path, count: int = 6) -> None:
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                content = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
                Image.fromarray(content).save(root / part / name / f"{index}.png")


def refuse(*_: object) -> None:
    raise AssertionError("decoded again")


def test_files_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    first = image_folder(tmp_path, 24, augment=False)
    kept = sorted((tmp_path / ".decoded").iterdir())
    assert len(kept) == 2, "a file for each part, and nothing partial"
    file = tmp_path / "train" / "cat" / "0.png"
    with Image.open(file) as image:
        expected = v2.functional.resize(v2.functional.pil_to_tensor(image), [24, 24], antialias=True)
    found = pixels_of(first.weights)
    assert found is not None
    data = found[0]
    assert isinstance(data.images, np.memmap)
    assert np.array_equal(data.images[0], expected.numpy())
    with monkeypatch.context() as patched:
        patched.setattr(pixels, "_decoded", refuse)
        again = image_folder(tmp_path, 24, augment=False)
        os.utime(file, ns=(1, 1))
        with pytest.raises(AssertionError, match="decoded again"):
            image_folder(tmp_path, 24, augment=False)
    assert torch.equal(again.weights[0][0], first.weights[0][0])
    Image.new("RGB", (40, 30), (9, 9, 9)).save(file)
    changed = pixels_of(image_folder(tmp_path, 24, augment=False).weights)
    assert changed is not None
    assert (changed[0].images[0] == 9).all()
    assert len(list((tmp_path / ".decoded").iterdir())) == 2, "what is out of date is removed"


def test_a_file_of_the_same_size_and_time_is_another_file(tmp_path: Path) -> None:
    """As where a clock went back, or a copy kept its time."""
    write(tmp_path)
    file = tmp_path / "train" / "cat" / "0.png"
    image_folder(tmp_path, 24, augment=False)
    before, content = file.stat(), file.read_bytes()
    Image.new("RGB", (40, 30), (9, 9, 9)).save(file)
    file.write_bytes(file.read_bytes().ljust(len(content), b"\0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    found = pixels_of(image_folder(tmp_path, 24, augment=False).weights)
    assert found is not None and (found[0].images[0] == 9).all()


def test_decoded_images_lie_where_the_user_says_or_in_memory(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two", 7)
    cache = tmp_path / "cache"
    for name in ("one", "two", "one"):
        image_folder(tmp_path / name, 24, cache=cache)
    assert len(list(cache.iterdir())) == 4, "two data sets share a cache"
    assert not (tmp_path / "one" / ".decoded").exists()
    occupied = tmp_path / "file"
    occupied.write_text("no folder")
    assert image_folder(tmp_path / "one", 24, cache=occupied).weights[0][0].shape == (3, 24, 24)


def striped(count: int, side: int = 8) -> PixelDataset:
    """Every image has its number everywhere."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, side, side)).copy()
    return PixelDataset(images, np.arange(count), PLAIN)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_subsets_of_subsets(workers: int) -> None:
    data = Subset(Subset(striped(20), [19, 3, 5, 7, 11, 2]), [4, 1, 0, 5])
    batches = loader(data, 3, workers=workers)
    assert len(batches) == 2
    assert [labels.tolist() for _, labels in batches] == [[11, 3, 19], [2]]
    for images, labels in batches:
        assert torch.equal(((images + 1) * 127.5).round()[:, 0, 0, 0].long(), labels)
        assert images.shape[1:] == (3, 8, 8)
    assert data[1][1] == 3
    assert torch.equal(data[1][0], next(iter(batches))[0][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_differ_and_repeat_by_their_seed(workers: int) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    data = PixelDataset(images, np.arange(12), lambda batch: PLAIN(cropped_and_flipped(2)(batch)))

    def epoch(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        order = torch.Generator().manual_seed(seed)
        pairs = [(labels, images) for images, labels in loader(data, 4, order, workers=workers)]
        return torch.cat([i for _, i in pairs])[torch.cat([n for n, _ in pairs]).argsort()]

    assert torch.equal(epoch(0), epoch(0))
    same = (epoch(0) == epoch(1)).flatten(1).all(1)
    assert float(same.float().mean()) < 0.5


@pytest.mark.parametrize("workers", [0, 1])
def test_no_batch_is_transformed_as_another_was(workers: int) -> None:
    data = PixelDataset(np.zeros((12, 3, 2, 2), dtype=np.uint8), np.arange(12), lambda batch: torch.rand(len(batch), 1, 1, 1))
    drawn = []
    for seed in range(3):  # an epoch each, as training begins it
        torch.manual_seed(0)
        drawn += [images for images, _ in loader(data, 4, torch.Generator().manual_seed(seed), workers=workers)]
    assert len(torch.cat(drawn).unique()) == 3 * 12


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_that_load_change_no_pixel_and_no_generator(workers: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    data = Subset(PixelDataset(images, np.arange(20), lambda batch: PLAIN(cropped_and_flipped(2)(batch))), range(1, 19))

    def epoch(count: int) -> list[torch.Tensor]:
        order, drawn = torch.Generator().manual_seed(3), []
        for batch, labels in loader(data, 4, order, True, count):
            torch.rand(())  # the rest of a step draws as well, and has no influence
            drawn += [batch, labels, torch.rand(2, generator=order)]
        return drawn

    torch.manual_seed(1)
    here = epoch(0)
    before = torch.get_rng_state()
    there = epoch(workers)
    assert len(here) == 12 and all(map(torch.equal, here, there))
    torch.set_rng_state(before)
    next(iter(loader(data, 4, torch.Generator().manual_seed(3))))
    assert torch.equal(torch.get_rng_state(), before), "augmentation has draws of its own"


class _Dropping(nn.Sequential):
    """Draws from torch's global state, as augmentation of single images does."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 64, 8), nn.Dropout(0.5), nn.Linear(8, 4))


@pytest.mark.parametrize("step", [2, 5, 8])
def test_training_on_pixels_that_was_stopped_ends_in_the_same_weights(tmp_path: Path, step: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (18, 3, 8, 8), dtype=np.uint8)
    data = PixelDataset(images, np.arange(18) % 4, lambda batch: PLAIN(cropped_and_flipped(2)(batch)))
    fabric, options = Fabric(accelerator="cpu", devices=1), TrainingOptions(2, 4, 0.05, mixup=0.2)
    start = _Dropping().state_dict()

    def trained(checkpoint: Path | None, stop: int = 0, workers: int = 0) -> dict[str, torch.Tensor]:
        def progress(done: int, *_: object) -> None:
            if done == stop:
                raise Stopped

        network = _Dropping()
        network.load_state_dict(start)
        chosen = replace(options, workers=workers)
        fine_tune(network, data, chosen, fabric, checkpoint=checkpoint, progress=progress)
        return network.state_dict()

    unbroken, path = trained(None), tmp_path / "network.safetensors"
    with pytest.raises(Stopped):
        trained(path, step)
    found = trained(path, workers=1)
    assert all(torch.equal(found[name], tensor) for name, tensor in unbroken.items())


def test_every_image_of_a_batch_is_cropped_and_flipped_by_itself() -> None:
    torch.manual_seed(0)
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8) + 1
    batch = cropped_and_flipped(1)(image.expand(500, 1, 8, 8))
    padded = torch.nn.functional.pad(image, [1] * 4)
    places = [(top, left, flip) for top in range(3) for left in range(3) for flip in (False, True)]
    windows = [padded[:, top : top + 8, left : left + 8] for top, left, _ in places]
    every = torch.stack([w.flip(2) if flip else w for w, (_, _, flip) in zip(windows, places, strict=True)])  # (18, 1, 8, 8)
    counts = (batch[:, None] == every[None]).flatten(2).all(2).sum(0)
    assert int(counts.sum()) == 500, "every image is one of the crops"
    assert int(counts.min()) >= 10, "27.8 are expected of each; fewer than 10 have a chance of 1 in 10,000"


def test_auto_augment_differs_within_a_batch() -> None:
    torch.manual_seed(0)
    image = torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8)
    batch = auto_augmented(image.expand(64, 3, 16, 16).contiguous())
    assert batch.dtype == torch.uint8
    assert len({part.numpy().tobytes() for part in batch}) > 5


def test_scaling_is_torchvisions() -> None:
    batch = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, deviation)])
    torch.testing.assert_close(scaled_pixels(mean, deviation)(batch), steps(batch))

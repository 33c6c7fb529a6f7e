"""Data sets with the splits a search needs.

``weights`` trains the super-network, ``architecture`` drives the search, ``test`` is looked at once, for the reported accuracy.
Every loader splits deterministically from a seed. Nothing is ever downloaded: CIFAR and image folders are read
from disk, and the embedded default is in ``drawn_digits.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler, Subset, TensorDataset

from constrained_nas.data.folders import require_no_loops
from constrained_nas.data.identity import files_identity
from constrained_nas.data.pixels import (
    PixelBatches,
    PixelDataset,
    Transform,
    auto_augmented,
    cropped_and_flipped,
    decoded,
    drawing_from,
    pixels_of,
    rand_augment,
    rand_augmented,
    read_image,
    resized,
    scaled_pixels,
)
from constrained_nas.data.preparation import Preparation

SMALL = 64  # pixels: up to this side images are kept decoded
IGNORED = -100  # the label of a pixel that has none: the default ignore_index of torch's cross-entropy

CROP = 7 / 8  # share of the shorter side that tests see: ImageNet's convention

# How images are augmented and scaled: ``auto_augment`` is HardCoRe-NAS's (crop, flip, AutoAugment; ImageNet's mean and deviation),
# ``rand_augment`` PruNet's (crop, flip, RandAugment m9-mstd0.5; scaled likewise), ``crop_flip`` that of ResNets and Budgeted Super
# Networks on CIFAR (crop, flip; scaled to [-1, 1]).
Recipe = Literal["auto_augment", "rand_augment", "crop_flip"]


@dataclass(frozen=True, slots=True)
class DataSplits:
    """Splits of (image (channels, side, side) float, label) pairs, and what they are.

    A label is a class or, for segmentation, one class a pixel: (side, side) int64, ``IGNORED`` where there is none. ``identity``
    says what images and labels they are, JSON-ready, in numbers or hashes that change with them; nothing where that is not known.
    ``preparation`` says how other images are made ready for a network of these.
    """

    name: str
    weights: Dataset[Any]
    architecture: Dataset[Any]
    test: Dataset[Any]
    classes: int
    image_channels: int
    resolution: int
    identity: Mapping[str, Any] = field(default_factory=dict)
    preparation: Preparation = field(default_factory=Preparation)


def cifar(
    root: Path | str,
    classes: int = 10,
    resolution: int = 32,
    architecture_share: float = 0.2,
    augment: bool = True,
    seed: int = 0,
    recipe: Recipe = "auto_augment",
) -> DataSplits:
    """CIFAR-10 or CIFAR-100, binary version, on disk under ``root`` (``cifar-10-batches-bin`` or ``cifar-100-binary``).

    The binary version holds plain bytes and is read with numpy: nothing is unpickled. CIFAR-100's labels are the fine ones. An
    ``architecture_share`` of 0.1 gives the usual 45,000 / 5,000 / 10,000 split.

    Args:
        resolution: of the images, 32 unless they are to be resized.
        augment: False leaves the training images as the others are.
        recipe: augmentation and scaling. With ``crop_flip`` 32x32 images are padded with black to 36x36, cropped at random to
            32x32, flipped half of the time, and scaled to [-1, 1].

    Raises:
        FileNotFoundError: a batch file is missing; names it.
        ValueError: ``classes`` is neither 10 nor 100, an unknown recipe, or a file has the wrong length.
    """
    if classes not in (10, 100):
        raise ValueError(f"cifar: expected 10 or 100 classes, got {classes}")
    folder = Path(root) / ("cifar-10-batches-bin" if classes == 10 else "cifar-100-binary")
    training = [f"data_batch_{number}.bin" for number in range(1, 6)] if classes == 10 else ["train.bin"]
    testing = ["test_batch.bin"] if classes == 10 else ["test.bin"]
    train = [_read_cifar(folder / name, classes) for name in training]
    test, test_labels = _read_cifar(folder / testing[0], classes)
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    if resolution <= SMALL:
        images, test = resized(images, resolution), resized(test, resolution)
    fitted = PixelDataset(images, labels, _batch_transform(resolution, augment, recipe))
    held = PixelDataset(images, labels, _batch_transform(resolution, False, recipe))
    test_set = PixelDataset(test, test_labels, _batch_transform(resolution, False, recipe))
    split = _split_indices(len(labels), architecture_share, seed)
    identity = files_identity(folder, [folder / name for name in (*training, *testing)])
    identity |= {"share": architecture_share, "seed": seed, "augment": augment and recipe}
    ready = _preparation(_cifar_names(folder, classes), resolution, recipe, CROP)
    return DataSplits(
        f"cifar-{classes}", Subset(fitted, split[0]), Subset(held, split[1]), test_set, classes, 3, resolution, identity, ready
    )


def image_folder(
    root: Path | str,
    resolution: int,
    architecture_share: float = 0.2,
    augment: bool = True,
    seed: int = 0,
    recipe: Recipe = "auto_augment",
    cache: Path | None = None,
    crop: float = CROP,
) -> DataSplits:
    """An ImageNet-style folder: ``root/train/<class>/*`` and ``root/val/<class>/*`` (or ``test``), read by torchvision.

    CIFAR unpacked to PNG or JPEG files in that layout works too: ``image_folder(root, 32, 0.1, recipe="crop_flip")`` gives the
    splits and transforms that :func:`cifar` gives for the binary version. Images of up to 64 pixels are decoded once, into the
    folder ``cache`` (``root/.decoded`` if not given); larger ones stay files, as they would not fit. Of these tests see the central
    ``crop`` of the shorter side.

    Raises:
        FileNotFoundError: no such folders, or no images in them.
        ValueError: the two parts have different classes, links to folders inside a class, or an unknown recipe.
    """
    from torchvision.datasets import ImageFolder

    held_out = next((name for name in ("val", "test") if (Path(root) / name).is_dir()), "val")
    for name in ("train", held_out):
        if (Path(root) / name).is_dir():
            require_no_loops(Path(root) / name)
    train, test = (ImageFolder(str(Path(root) / name)) for name in ("train", held_out))
    if train.classes != test.classes:
        different = sorted(set(train.classes) ^ set(test.classes))
        raise ValueError(f"{root}: train and {held_out} have different classes, e.g. {different[:5]}")
    split = _split_indices(len(train), architecture_share, seed)
    identity = files_identity(root, [path for path, _ in (*train.samples, *test.samples)])
    identity |= {"share": architecture_share, "seed": seed, "augment": augment and recipe}
    fitted: Dataset[Any]
    held: Dataset[Any]
    test_set: Dataset[Any]
    if resolution <= SMALL:
        kept = cache or Path(root) / ".decoded"
        images, tests = (
            decoded([Path(file) for file, _ in part.samples], Path(part.root), resolution, kept) for part in (train, test)
        )
        fitted = PixelDataset(images, train.targets, _batch_transform(resolution, augment, recipe))
        held = PixelDataset(images, train.targets, _batch_transform(resolution, False, recipe))
        test_set = PixelDataset(tests, test.targets, _batch_transform(resolution, False, recipe))
    else:
        fitted = ImageFolder(train.root, _train_transform(resolution, augment, recipe), loader=read_image)
        ready_to_test = _test_transform(resolution, recipe, crop)
        held, test_set = (ImageFolder(part.root, ready_to_test, loader=read_image) for part in (train, test))
    name, classes = Path(root).name, len(train.classes)
    ready = _preparation(tuple(train.classes), resolution, recipe, crop)
    return DataSplits(name, Subset(fitted, split[0]), Subset(held, split[1]), test_set, classes, 3, resolution, identity, ready)


def loader(
    dataset: Dataset[Any],
    batch_size: int,
    generator: torch.Generator | None = None,
    drop_last: bool = False,
    workers: int = 0,
    device: torch.device | None = None,
) -> DataLoader[Any] | PixelBatches:
    """Batches of (images, labels): shuffled by ``generator`` where one is given, else in order.

    Tensors and pixels are indexed a batch at a time, which is much faster than example by example; pixels are augmented and given
    on ``device`` (the host if none is said). Where examples are shuffled, each, and each batch of pixels, is augmented under a seed
    of its own, so that the number of processes that load them, ``workers``, changes nothing.
    """
    pixels = pixels_of(dataset)
    sampler: Sampler[int] = RandomSampler(dataset, generator=generator) if generator else SequentialSampler(dataset)  # type: ignore[arg-type]
    if pixels is not None:
        data, rows = pixels
        return PixelBatches(data, rows, BatchSampler(sampler, batch_size, drop_last), device, workers, generator)
    if isinstance(dataset, TensorDataset):
        return DataLoader(dataset, batch_size=None, sampler=BatchSampler(sampler, batch_size, drop_last))
    if generator is not None:
        dataset, sampler = _SeededExamples(dataset), _SeededIndices(sampler, generator)  # type: ignore[assignment]
    return DataLoader(dataset, batch_size, sampler=sampler, drop_last=drop_last, num_workers=workers, generator=generator)


class _SeededIndices(Sampler[tuple[int, int]]):
    """Indices with a seed each, drawn where the order is."""

    def __init__(self, order: Sampler[int], generator: torch.Generator) -> None:
        self.order, self.generator = order, generator

    def __len__(self) -> int:
        return len(self.order)  # type: ignore[arg-type] # both kinds have a length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(self.order)
        seeds = torch.randint(2**31, (len(order),), generator=self.generator).tolist()
        yield from zip(order, seeds, strict=True)


class _SeededExamples(Dataset[Any]):
    """Examples whose augmentation draws from a seed of their own: whichever process loads them, they are the same."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, seed = key
        with drawing_from(seed):
            return self.dataset[index]


def _read_cifar(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    prefix = 1 if classes == 10 else 2  # CIFAR-100 stores the coarse label first
    content = np.fromfile(path, dtype=np.uint8)
    record = prefix + 3072
    if not len(content) or len(content) % record:
        raise ValueError(f"{path}: {len(content)} bytes is not a whole number of {record}-byte records; is it the binary version?")
    rows = content.reshape(-1, record)
    return rows[:, prefix:].reshape(-1, 3, 32, 32).copy(), rows[:, prefix - 1].astype(np.int64)


def _split_indices(count: int, architecture_share: float, seed: int) -> tuple[list[int], list[int]]:
    if not 0 < architecture_share < 1:
        raise ValueError(f"architecture_share must lie strictly between 0 and 1, got {architecture_share}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    cut = count - max(1, round(count * architecture_share))
    if cut < 1:
        raise ValueError(f"a share of {architecture_share} of {count} images leaves none to train the weights")
    return order[:cut], order[cut:]


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, the convention of the published networks


def _batch_transform(resolution: int, augment: bool, recipe: Recipe) -> Transform:
    """Of batches that lie on a device: what the transforms of single images do, each image with draws of its own."""
    if resolution > SMALL:
        each = _train_transform(resolution, augment, recipe)
        return lambda images: torch.stack([each(image) for image in images])
    scaling = scaled_pixels(*_statistics(recipe))
    steps: list[Transform] = []
    if augment:
        steps.append(cropped_and_flipped(resolution // 16 if recipe == "crop_flip" else resolution // 8))
        steps += [auto_augmented] if recipe == "auto_augment" else [rand_augmented] if recipe == "rand_augment" else []
    return lambda images: reduce(lambda batch, step: step(batch), [*steps, scaling], images)


def _train_transform(resolution: int, augment: bool, recipe: Recipe) -> Callable[[Any], Tensor]:
    """Of single images, larger than :data:`SMALL`."""
    from torchvision.transforms import v2

    if not augment:
        return _test_transform(resolution, recipe)
    steps = [v2.ToImage(), v2.RandomResizedCrop(resolution, antialias=True), v2.RandomHorizontalFlip()]
    if recipe == "auto_augment":
        steps.append(v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET))
    elif recipe == "rand_augment":
        steps.append(v2.Lambda(rand_augment))
    return v2.Compose([*steps, *_scaling(recipe)])


def _test_transform(resolution: int, recipe: Recipe, crop: float = CROP) -> Callable[[Any], Tensor]:
    """The central ``crop`` of the shorter side."""
    from torchvision.transforms import v2

    sizing = [v2.Resize(round(resolution / crop), antialias=True), v2.CenterCrop(resolution)]
    return v2.Compose([v2.ToImage(), *sizing, *_scaling(recipe)])


def _scaling(recipe: Recipe) -> list[Any]:
    from torchvision.transforms import v2

    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(*_statistics(recipe))]


def _preparation(classes: tuple[str, ...], resolution: int, recipe: Recipe, crop: float) -> Preparation:
    """Of images as tests see them: :func:`_test_transform` beyond :data:`SMALL`, else squeezed into a square."""
    sizing = f"resized to {resolution} x {resolution}"
    if resolution > SMALL:
        sizing = f"shorter side resized to {round(resolution / crop)}, then the central {resolution} x {resolution}"
    mean, deviation = _statistics(recipe)
    return Preparation(classes, tuple(mean), tuple(deviation), sizing)


def _cifar_names(folder: Path, classes: int) -> tuple[str, ...]:
    """As the binary version has them beside the images, if it has."""
    path = folder / ("batches.meta.txt" if classes == 10 else "fine_label_names.txt")
    names = tuple(path.read_text(encoding="utf-8").split()) if path.exists() else ()
    return names if len(names) == classes else ()


def _statistics(recipe: Recipe) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation that images are normalized by."""
    if recipe not in get_args(Recipe):
        raise ValueError(f"recipe: expected one of {', '.join(get_args(Recipe))}, got {recipe!r}")
    return ((0.5,) * 3, (0.5,) * 3) if recipe == "crop_flip" else (_MEAN, _STD)  # the former gives [-1, 1]

"""Segmentation: images whose every pixel has a class, with the splits a search needs.

Labels are (side, side) int64; pixels that were never labelled (the padding of an image, the void of a mask) are ``IGNORED``: losses
and accuracies leave them out. Nothing is ever downloaded: Part Labels and other folders are read from disk, and the embedded task
is procedurally generated from scikit-learn's digits.

Reference: Kae et al., Augmenting CRFs with Boltzmann Machine Shape Priors for Image Labeling, CVPR 2013 (Part Labels); Véniat &
Denoyer, Budgeted Super Networks, Sec. 5 (its use there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from constrained_nas.data.drawn_digits import digit_parts, draw_strokes
from constrained_nas.data.images import IGNORED, DataSplits

_VOID = 255  # in indexed masks, as in PASCAL VOC: a pixel without a label

Colours = Mapping[tuple[int, int, int], int]

PART_LABELS_COLOURS: Colours = {(255, 0, 0): 0, (0, 255, 0): 1, (0, 0, 255): 2}
"""Hair is red, skin is green, background is blue."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """An image and its mask on disk."""

    image: Path
    mask: Path


def part_labels(root: Path | str, resolution: int = 256, augment: bool = True) -> DataSplits:
    """Part Labels: 2,927 faces of 250x250 pixels with the classes hair, skin and background, in the database's own layout.

    ``root`` holds ``lfw_funneled/<Name>/<Name>_0001.jpg``, ``parts_lfw_funneled_gt_images/<Name>_0001.ppm`` (red hair, green skin,
    blue background) and the lists ``parts_train.txt``, ``parts_validation.txt`` and ``parts_test.txt`` (1,500 / 500 / 927 lines
    ``<Name> <number>``), which become the splits for weights, architecture and test.

    Args:
        resolution: images are padded with black to this side, in equal parts on both sides; the padding is not labelled.
        augment: whether images for the weights are flipped (with their masks) half of the time.

    Raises:
        FileNotFoundError: a list, image or mask is missing; names it.
        ValueError: a list with a line that is no ``<Name> <number>``, no lines, or a face of another list. Reading an example
            raises it too, as :func:`segmentation_folder` says.
    """
    top = Path(root)

    def pair(entry: str, where: str) -> _Pair:
        name, _, number = entry.rpartition(" ")
        if not name.strip() or not number.isdecimal():
            raise ValueError(f"{where}: expected '<Name> <number>', got {entry!r}")
        stem = f"{name.strip()}_{int(number):04d}"
        image = top / "lfw_funneled" / name.strip() / f"{stem}.jpg"
        return _Pair(image, top / "parts_lfw_funneled_gt_images" / f"{stem}.ppm")

    lists = [top / f"parts_{part}.txt" for part in ("train", "validation", "test")]
    pairs = [[pair(entry, where) for entry, where in _entries(path)] for path in lists]
    return _splits("part-labels", lists, pairs, PART_LABELS_COLOURS, 3, resolution, augment)


def segmentation_folder(
    root: Path | str, resolution: int, classes: int, *, colours: Colours | None = None, augment: bool = True
) -> DataSplits:
    """Images and masks of one name: ``images/NAME.*`` and ``masks/NAME.*`` under ``root``, with the lists of each split.

    Each of ``root/train.txt``, ``root/val.txt`` (the architecture split) and ``root/test.txt`` holds one NAME (without its suffix)
    a line. Images may be smaller than ``resolution``: they are padded with black, in equal parts on both sides, and the padding is
    not labelled. They are read as RGB and scaled to [-1, 1].

    Args:
        colours: the class of each colour of RGB masks; None for indexed or grey masks, whose values are the classes (255: none).
        augment: whether images for the weights are flipped (with their masks) half of the time.

    Raises:
        FileNotFoundError: a list, image or mask is missing; names it.
        ValueError: an empty list, a name in two lists, several files for a name, or colours of classes there are not. Reading an
            example raises it for a mask of another size than its image, an image larger than ``resolution``, and unknown colours
            or classes; names the file.
    """
    top = Path(root)
    lists = [top / f"{part}.txt" for part in ("train", "val", "test")]
    found = {folder: _by_stem(top / folder) for folder in ("images", "masks")}

    def path(folder: str, name: str) -> Path:
        files = found[folder].get(name, [])
        if len(files) > 1:
            raise ValueError(f"{top / folder}: expected one file for {name!r}, got {', '.join(file.name for file in files)}")
        return files[0] if files else top / folder / f"{name}.*"

    pairs = [[_Pair(path("images", entry), path("masks", entry)) for entry, _ in _entries(part)] for part in lists]
    return _splits(top.name, lists, pairs, colours, classes, resolution, augment)


def digit_scenes(
    resolution: int = 32,
    training_digits: int = 800,
    draws: int = 6,
    test_draws: int = 2,
    architecture_share: float = 0.2,
    seed: int = 0,
) -> DataSplits:
    """Scenes to segment into background, digit and clutter, procedurally generated from scikit-learn's handwritten digits.

    The canvases are those of ``constrained_nas.data.digits`` (a digit among halves of others, at lower contrast, and
    noise); the label of a pixel is what was drawn there. Three quarters of the pixels are background, and the best rule by
    brightness alone is right in 90 % of them. Training and test digits are disjoint; ``seed`` decides the split and every
    drawing. Arguments and errors as there.
    """
    parts, generator = digit_parts(resolution, training_digits, draws, test_draws, architecture_share, seed)
    weights, architecture, test = (TensorDataset(*draw_scenes(images, resolution, generator)) for images, _ in parts)
    return DataSplits(f"digit-scenes-{resolution}", weights, architecture, test, 3, 1, resolution)


def draw_scenes(images: Tensor, resolution: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw digits (N, 8, 8) in [0, 1] as scenes (N, 1, side, side) with labels (N, side, side): 0 background, 1 digit, 2 clutter.

    Ink of less than 30 % of a stroke's full strength belongs to the background; where strokes cross, the darker one is seen.
    """
    digit, clutter = draw_strokes(images, resolution, generator)
    noise = 0.1 * torch.randn(digit.shape, generator=generator)
    scenes = (torch.maximum(digit, clutter) + noise - 0.2) / 0.35
    labels = torch.zeros(digit.shape, dtype=torch.int64)
    labels[clutter >= 0.3 * 0.6] = 2  # clutter's full strength is 0.6
    labels[(digit >= 0.3) & (digit >= clutter)] = 1
    return scenes, labels[:, 0]


class _PairDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs read from disk when asked for."""

    def __init__(self, pairs: Sequence[_Pair], colours: Colours | None, classes: int, resolution: int, flip: bool) -> None:
        self.pairs, self.classes, self.resolution, self.flip = pairs, classes, resolution, flip
        self.colours = colours

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.pairs[index]
        pixels = np.array(_read(pair.image).convert("RGB"))  # (height, width, 3)
        labels = _mask(_read(pair.mask), pair.mask, self.colours, self.classes)
        if labels.shape != pixels.shape[:2]:
            raise ValueError(f"{pair.mask}: {_size(labels)} pixels, but {pair.image} has {_size(pixels)}")
        if max(labels.shape) > self.resolution:
            raise ValueError(f"{pair.image}: {_size(pixels)} pixels do not fit into {self.resolution}; choose a larger resolution")
        missing = [self.resolution - length for length in labels.shape]
        around = [(length // 2, length - length // 2) for length in missing]
        image = torch.from_numpy(np.pad(pixels, [*around, (0, 0)])).permute(2, 0, 1).float() / 127.5 - 1
        label = torch.from_numpy(np.pad(labels, around, constant_values=IGNORED))
        if self.flip and torch.rand(()) < 0.5:
            image, label = image.flip(-1), label.flip(-1)
        return image.contiguous(), label.contiguous()


def _splits(
    name: str, lists: list[Path], pairs: list[list[_Pair]], colours: Colours | None, classes: int, resolution: int, augment: bool
) -> DataSplits:
    if colours is not None:
        wrong = [(colour, number) for colour, number in colours.items() if not 0 <= number < classes]
        if wrong:
            raise ValueError(f"colours: expected classes 0..{classes - 1}, got {wrong[0][1]} for {wrong[0][0]}")
    seen: dict[Path, Path] = {}
    for path, part in zip(lists, pairs, strict=True):
        for pair in part:
            for file in (pair.image, pair.mask):
                if not file.is_file():
                    raise FileNotFoundError(f"{file}: missing, but {path.name} lists it")
            if pair.image in seen:
                raise ValueError(f"{path}: {pair.image.name} is also in {seen[pair.image].name}; splits must not overlap")
            seen[pair.image] = path
    weights, architecture, test = (
        _PairDataset(part, colours, classes, resolution, flip) for part, flip in zip(pairs, (augment, False, False), strict=True)
    )
    return DataSplits(name, weights, architecture, test, classes, 3, resolution)


def _entries(path: Path) -> list[tuple[str, str]]:
    """The lines of a list that say something, each with where it stands.

    Raises:
        FileNotFoundError: no such list.
        ValueError: it is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; it lists the images of a split")
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [(" ".join(line.split()), f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise ValueError(f"{path}: expected one image a line, got none")
    return entries


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        files.setdefault(path.stem, []).append(path)
    return files


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            file.load()
            return file
    except OSError as error:  # it does not name files that are cut off
        raise ValueError(f"{path}: not a readable image ({error})") from error


def _mask(file: Image.Image, path: Path, colours: Colours | None, classes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The labels (height, width) of a mask.

    Raises:
        ValueError: colours or values that are no classes, or an RGB mask without colours.
    """
    if colours is None:
        if file.mode not in ("P", "L", "1"):
            raise ValueError(f"{path}: expected an indexed or grey mask, got mode {file.mode!r}; pass colours for RGB masks")
        values = np.array(file).astype(np.int64)
        unknown = (values >= classes) & (values != _VOID)
        if unknown.any():
            row, column = np.argwhere(unknown)[0].tolist()
            raise ValueError(f"{path}: class {values[row, column]} at row {row}, column {column}; expected 0..{classes - 1}")
        return np.where(values == _VOID, IGNORED, values)
    pixels = np.array(file.convert("RGB")).astype(np.int64)
    codes = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    labels = np.full(codes.shape, -1, dtype=np.int64)
    for (red, green, blue), number in colours.items():
        labels[codes == (red << 16 | green << 8 | blue)] = number
    if (labels < 0).any():
        row, column = np.argwhere(labels < 0)[0].tolist()
        raise ValueError(
            f"{path}: colour {tuple(pixels[row, column].tolist())} at row {row}, column {column} has no class; "
            f"expected one of {', '.join(map(str, colours))}"
        )
    return labels


def _size(array: np.ndarray[Any, Any]) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"

"""Data in COCO's format, read with the standard library: images, boxes, and the categories of a file of instances.

A folder has ``annotations/instances_<part>.json`` and the images in ``<part>/``; COCO's own parts are ``train2017`` and
``val2017``. Crowds are left out of training. :func:`make_coco` writes a small folder of that form, of squares and discs, to try
things on.

Reference: Lin et al., Microsoft COCO (format of the annotations); PruNet, Fig. 4.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from graphs.files import save_json

Target = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image file with its boxes (n, 4) as left, top, right, bottom in pixels, their labels (n,) from 1, and which are crowds."""

    file: Path
    number: int
    boxes: Tensor
    labels: Tensor
    crowds: Tensor


class CocoImages(Dataset[tuple[Tensor, Target]]):
    """One part of a folder: images (3, H, W) in [0, 1] with ``boxes``, ``labels`` and ``image_id``.

    Args:
        folder: with ``annotations`` and the part's images.
        part: e.g. ``train2017``.
        train: leave out crowds, and images without boxes.
        flip: mirror half of the images, drawn from torch's global generator.

    Raises:
        FileNotFoundError: no such annotations, or an image is missing; names it.
        ValueError: annotations that are not of COCO's form; says which.
    """

    def __init__(self, folder: Path, part: str, train: bool, flip: bool = False) -> None:
        path = folder / "annotations" / f"instances_{part}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected COCO's annotations there and its images in {folder / part}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            names = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
            files = {int(entry["id"]): str(entry["file_name"]) for entry in content["images"]}
            rows = [
                (int(e["image_id"]), int(e["category_id"]), [float(x) for x in e["bbox"]], bool(e.get("iscrowd", 0)))
                for e in content["annotations"]
            ]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not annotations of COCO's form ({type(error).__name__}: {error})") from error
        order = {category: place for place, category in enumerate(sorted(names), start=1)}
        self.categories = tuple(names[category] for category in sorted(names))
        self.train, self.flip = train, flip
        boxes: dict[int, list[tuple[list[float], int, bool]]] = defaultdict(list)
        for image, category, box, crowd in rows:
            if image not in files or category not in order or len(box) != 4:
                raise ValueError(f"{path}: an annotation of image {image}, category {category}, box {box} fits nothing in the file")
            left, top, width, height = box
            if width > 0 and height > 0 and not (train and crowd):  # a few of COCO's boxes have no area
                boxes[image].append(([left, top, left + width, top + height], order[category], crowd))
        self.images = [self._labelled(folder / part / file, image, boxes[image]) for image, file in sorted(files.items())]
        if train:
            self.images = [one for one in self.images if len(one.labels)]
        if not self.images:
            raise ValueError(f"{path}: no images to use")
        missing = [one.file for one in self.images if not one.file.is_file()]
        if missing:
            raise FileNotFoundError(f"{missing[0]}: no such image; {len(missing)} of {len(self.images)} are missing")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        one = self.images[index]
        with Image.open(one.file) as opened:
            image = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1).float() / 255
        boxes = one.boxes.clone()
        if self.flip and torch.rand(()) < 0.5:
            width = image.shape[-1]
            image, boxes = image.flip(-1), torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
        target = {"boxes": boxes, "labels": one.labels, "image_id": torch.tensor(one.number)}
        return image, target if self.train else target | {"iscrowd": one.crowds}

    @staticmethod
    def _labelled(file: Path, number: int, found: list[tuple[list[float], int, bool]]) -> Labelled:
        boxes = torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([label for _, label, _ in found], dtype=torch.int64)
        return Labelled(file, number, boxes, labels, torch.tensor([crowd for *_, crowd in found], dtype=torch.int64))


def together(rows: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """A batch as torchvision's detectors take it: images may differ in size."""
    return [image for image, _ in rows], [target for _, target in rows]


def make_coco(folder: Path, images: int, side: int, seed: int, parts: tuple[str, ...] = ("train2017", "val2017")) -> None:
    """Write a folder of COCO's form: bright squares and discs, one to three an image, on noise."""
    generator = np.random.default_rng(seed)
    rows = np.arange(side)
    for part in parts:
        (folder / part).mkdir(parents=True, exist_ok=True)
        categories = [{"id": 3, "name": "square"}, {"id": 7, "name": "disc"}]
        content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
        for number in range(1, images + 1):
            picture = generator.integers(0, 60, (3, side, side))
            for _ in range(int(generator.integers(1, 4))):
                size = int(generator.integers(side // 4, side // 2))
                left, top = (int(value) for value in generator.integers(0, side - size, 2))
                disc = bool(generator.integers(2))
                centre = (left + (size - 1) / 2, top + (size - 1) / 2)
                inside = (abs(rows[None] - centre[0]) <= size / 2) & (abs(rows[:, None] - centre[1]) <= size / 2)
                if disc:
                    inside = (rows[None] - centre[0]) ** 2 + (rows[:, None] - centre[1]) ** 2 <= (size / 2) ** 2
                picture[int(disc)][inside] = 230
                entry = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": 7 if disc else 3, "iscrowd": 0}
                content["annotations"].append(entry | {"bbox": [left, top, size, size], "area": size * size})
            Image.fromarray(picture.astype(np.uint8).transpose(1, 2, 0)).save(folder / part / f"{number:012d}.png")
            content["images"].append({"id": number, "file_name": f"{number:012d}.png", "width": side, "height": side})
        save_json(content, folder / "annotations" / f"instances_{part}.json")

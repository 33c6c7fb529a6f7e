"""What a folder of images holds, looked at before anything is loaded: how many, of how many classes, how large."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NAMED = ("digits", "cifar10", "cifar100")  # data that are no folder
FEW = 5000  # training images: fewer are not augmented hard, and epochs are more
_LOOKED_AT = 24  # images, whose headers are read


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """``images`` in train/, in ``classes`` folders; ``side`` is the median shorter side in pixels (0: none could be read)."""

    images: int
    classes: int
    side: int

    @property
    def few(self) -> bool:
        """Whether there are too few images to train by a recipe for tens of thousands."""
        return self.images < FEW


def require_images(data: str) -> None:
    """Check that there are training and test images, each with a sub-folder a class, where data are not of a name.

    Raises:
        FileNotFoundError: a folder is missing; says what is expected.
    """
    root = Path(data)
    if data in NAMED:
        return
    if not root.is_dir():
        raise FileNotFoundError(f"--data: no folder {data!r}; expected {', '.join(NAMED)} or an image folder with train/ and val/")
    for parts in (("train",), ("val", "test")):
        if not any((root / part).is_dir() for part in parts):
            raise FileNotFoundError(
                f"--data {data}: it has no {'/ or '.join(parts)}/; expected {data}/train/CLASS/ and {data}/val/CLASS/, a folder of "
                "images for each class"
            )


def require_no_loops(part: Path) -> None:
    """Check that folders inside a class are no links: they may lead in a circle, or through the whole disk.

    Folders of classes, and images, may be links.

    Raises:
        ValueError: one is; names it.
    """
    for of_class in sorted(path for path in part.iterdir() if path.is_dir()):
        for folder, inside, _ in os.walk(of_class):
            link = next((name for name in sorted(inside) if (Path(folder) / name).is_symlink()), None)
            if link is not None:
                raise ValueError(f"{Path(folder) / link}: a link to a folder inside a class: put its images there, or take it away")


def data_shape(data: str | None, classes: int | None = None, channels: int | None = None) -> tuple[int | None, int | None]:
    """Classes and channels of data, None where nothing says them; what is given itself goes first.

    Raises:
        FileNotFoundError: there is no such folder, or no train/ in it.
        ValueError: fewer than one.
    """
    if min(1 if classes is None else classes, 1 if channels is None else channels) < 1:
        raise ValueError(f"expected at least one class and channel, got {classes} and {channels}")
    known: dict[str | None, tuple[int | None, int | None]] = {
        None: (None, None),
        "digits": (10, 1),
        "cifar10": (10, 3),
        "cifar100": (100, 3),
    }
    if data not in known:
        train = Path(str(data)) / "train"
        if not train.is_dir():
            raise FileNotFoundError(f"--data: no folder {str(train)!r}")
        known[data] = (sum(path.is_dir() for path in train.iterdir()), 3)
    return classes or known[data][0], channels or known[data][1]


@cache
def folder_facts(data: str) -> FolderFacts | None:
    """The facts of an image folder; None for data of a name, or where there is no train/."""
    train = Path(data) / "train"
    if data in NAMED or not train.is_dir():
        return None
    files = {
        folder.name: sorted(file for file in folder.iterdir() if file.is_file()) for folder in train.iterdir() if folder.is_dir()
    }
    every = [file for each in files.values() for file in each]
    return FolderFacts(len(every), len(files), _side(every[:: max(1, len(every) // _LOOKED_AT)][:_LOOKED_AT]))


def _side(files: list[Path]) -> int:
    from PIL import Image, UnidentifiedImageError

    sides = []
    for file in files:
        try:
            with Image.open(file) as image:
                sides.append(min(image.size))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue  # loading will say so
    return round(statistics.median(sides)) if sides else 0

"""Data sets by the names that commands and scripts know: the embedded digits, CIFAR, or a folder of images."""

from __future__ import annotations

from pathlib import Path

from constrained_nas.data.drawn_digits import digits
from constrained_nas.data.folders import require_images
from constrained_nas.data.images import CROP, DataSplits, Recipe, cifar, image_folder


def load_splits(
    name: str,
    side: int,
    share: float,
    seed: int,
    *,
    root: Path | str = "data",
    cache: Path | None = None,
    augment: bool = True,
    training_digits: int = 800,
    draws: int = 4,
    test_draws: int = 2,
    recipe: Recipe = "auto_augment",
    crop: float = CROP,
) -> DataSplits:
    """The splits of a data set; ``seed`` decides them and, for digits, every drawing.

    Args:
        name: digits, cifar10 or cifar100 (binary version, under ``root``), or an image folder with train/ and val/.
        side: of the images in pixels.
        share: of the training examples, kept for the search.
        seed: not negative.
        root: of the CIFAR folders.
        cache: of decoded images, see :func:`constrained_nas.data.image_folder`.
        augment: crops, flips and the ``recipe``'s augmentation on CIFAR and image folders.
        crop: share of the shorter side that tests see, of images from folders that are larger than 64 pixels.
        training_digits, draws, test_draws: see :func:`constrained_nas.data.digits`.

    Raises:
        FileNotFoundError: CIFAR or the folder is not there.
        ValueError: an option out of range.
    """
    if name == "digits":
        return digits(side, training_digits, draws, test_draws, share, seed)
    if name in ("cifar10", "cifar100"):
        return cifar(root, int(name.removeprefix("cifar")), side, share, augment, seed, recipe)
    require_images(name)
    return image_folder(name, side, share, augment, seed, recipe, cache, crop)

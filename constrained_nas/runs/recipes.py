"""Recipes: how long and how hard networks of inverted residuals are trained on data of a kind.

What suits 800 digits in minutes is no training on ImageNet, so a recipe is chosen by the data unless one is asked for; what the
user gives stands in any case. ``imagenet`` is HardCoRe-NAS's own; the two others are this library's.

Reference: HardCoRe-NAS, Sec. 3.3 (the super-network: heaviest network, then paths), Sec. 3.1 (length of the search), Appendix G
(fine-tuning).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from constrained_nas.runs.settings import PathPer, RecipeName


@dataclass(frozen=True, slots=True)
class Recipe:
    """Epochs, rates and regularization.

    Attributes:
        warm_up, train_epochs: of the heaviest network, and then of paths.
        epochs: of a search by batches.
        evaluations, judged_images: networks that the surrogate is told, and the images on which they are judged.
        batch_size, learning_rate: of the heaviest network.
        paths_rate: what the paths begin with, as a share of ``learning_rate``.
        path_per: what each of these paths is drawn for, an example or a batch.
        fine_tune_epochs, fine_tune_rate: of a found network.
        mixup, label_smoothing, ema_decay: of all these trainings.
    """

    warm_up: int
    train_epochs: int
    epochs: int
    batch_size: int
    learning_rate: float
    paths_rate: float
    fine_tune_epochs: int
    fine_tune_rate: float
    mixup: float
    label_smoothing: float
    ema_decay: float
    path_per: PathPer = "batch"
    evaluations: int = 120
    judged_images: int = 250

    def numbers(self) -> dict[str, Any]:
        """What a plan can be asked to have otherwise, by the plan's names."""
        asked = ["warm_up", "train_epochs", "epochs", "batch_size", "learning_rate", "fine_tune_epochs", "fine_tune_rate"]
        asked += ["path_per", "evaluations", "judged_images"]
        return {name: getattr(self, name) for name in asked}


_STEPS = 2500  # of all training before a search, of ``small``

RECIPES: dict[RecipeName, Recipe] = {
    # Digits are drawn anew instead of augmented, and a moving average of so few steps would still be at the start.
    "digits": Recipe(4, 20, 4, 32, 0.1, 0.6, 1, 0.05, mixup=0.0, label_smoothing=0.1, ema_decay=0.0),
    # Some hundred images: as many steps as digits have, epochs by how many images there are (see ``scaled``).
    "small": Recipe(20, 80, 4, 32, 0.05, 0.6, 10, 0.02, mixup=0.0, label_smoothing=0.1, ema_decay=0.0),
    "cifar": Recipe(30, 60, 2, 128, 0.1, 0.6, 10, 0.05, 0.2, 0.1, ema_decay=0.999, evaluations=300, judged_images=1_000),
    "imagenet": Recipe(250, 100, 2, 256, 0.1, 1.0, 10, 0.05, 0.2, 0.1, 0.9999, "example", evaluations=500, judged_images=2_000),
}


def scaled(numbers: dict[str, Any], images: int) -> dict[str, Any]:
    """``small``'s numbers for so many training images: about the same number of steps, whatever their number is.

    Example:
        >>> scaled(RECIPES["small"].numbers(), 480)["train_epochs"]
        133
    """
    epochs = numbers["warm_up"] + numbers["train_epochs"]
    factor = min(2.0, max(1 / 3, _STEPS * numbers["batch_size"] / (epochs * max(1, images))))
    spread = {name: max(1, round(numbers[name] * factor)) for name in ("warm_up", "train_epochs", "fine_tune_epochs")}
    return numbers | spread


def recipe_for(data: str, resolution: int, few: bool = False) -> RecipeName:
    """What suits the data of that name: folders of images of up to 64 pixels are like CIFAR, unless they are few."""
    if data == "digits":
        return "digits"
    if few:
        return "small"
    return "cifar" if data in ("cifar10", "cifar100") or resolution <= 64 else "imagenet"

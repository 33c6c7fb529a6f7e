"""Recipes: how long and how hard networks of inverted residuals are trained on data of a kind.

What suits 800 digits in minutes is no training on ImageNet, so a recipe is chosen by the data unless one is asked for; what the
user gives stands in any case. ``imagenet`` is HardCoRe-NAS's own; the two others are this library's.

Reference: HardCoRe-NAS, Sec. 3.3 (the super-network: heaviest network, then paths), Sec. 3.1 (length of the search), Appendix G
(fine-tuning).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from constrained_nas.runs.settings import RecipeName


@dataclass(frozen=True, slots=True)
class Recipe:
    """Epochs, rates and regularization.

    Attributes:
        warm_up, train_epochs: of the heaviest network, and then of paths.
        epochs: of the search.
        batch_size, learning_rate: of the heaviest network.
        paths_rate: what the paths begin with, as a share of ``learning_rate``.
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

    def numbers(self) -> dict[str, Any]:
        """What a plan can be asked to have otherwise, by the plan's names."""
        asked = ["warm_up", "train_epochs", "epochs", "batch_size", "learning_rate", "fine_tune_epochs", "fine_tune_rate"]
        return {name: getattr(self, name) for name in asked}


RECIPES: dict[RecipeName, Recipe] = {
    # Digits are drawn anew instead of augmented, and a moving average of so few steps would still be at the start.
    "digits": Recipe(4, 10, 4, 32, 0.1, 0.6, 1, 0.05, mixup=0.0, label_smoothing=0.1, ema_decay=0.0),
    "cifar": Recipe(30, 60, 2, 128, 0.1, 0.6, 10, 0.05, mixup=0.2, label_smoothing=0.1, ema_decay=0.999),
    "imagenet": Recipe(250, 100, 2, 256, 0.1, 1.0, 10, 0.05, mixup=0.2, label_smoothing=0.1, ema_decay=0.9999),
}


def recipe_for(data: str, resolution: int) -> RecipeName:
    """What suits the data of that name: folders of images of up to 64 pixels are taken for the like of CIFAR."""
    if data == "digits":
        return "digits"
    return "cifar" if data in ("cifar10", "cifar100") or resolution <= 64 else "imagenet"

"""Whether there was anything to learn, and whether it was learned: what is wrong without any number being infinite."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from constrained_nas.data import DataSplits
from constrained_nas.training import row_losses, seeded

_LOOKED_AT = 256  # examples, evenly spread
_FAR = 2.0  # times the loss of guessing: a network that has learned nothing, but is sane, has once


def data_remarks(data: DataSplits) -> list[str]:
    """What makes every accuracy on the data meaningless: a single class, or images without anything in them."""
    labels = _examples(data.weights)[1]
    images = _examples(data.architecture)[0]  # not augmented: crops have edges, whatever was in the image
    said = []
    if data.classes < 2 or len(labels.unique()) < 2:
        said.append(f"all {len(labels)} training labels looked at are of one class: any network is right on them")
    if bool((images.flatten(2) == images.flatten(2)[..., :1]).all()):  # colours are shifted each by its own mean
        said.append(f"all {len(images)} training images looked at are constant: there is nothing to see in them")
    elif len(images) > 1 and bool((images == images[:1]).all()):
        said.append(f"all {len(images)} training images looked at are the same")
    return said


@torch.no_grad()
def training_remarks(network: nn.Module, data: DataSplits, fabric: Fabric) -> list[str]:
    """Whether training diverged: a loss on its own examples far above that of guessing.

    Args:
        network: in evaluation mode, on the fabric's device.
        data: it was trained on.
        fabric: where it runs.
    """
    images, labels = _examples(data.weights)
    loss = float(row_losses(network(fabric.to_device(images)).float(), fabric.to_device(labels)).mean())
    guessing = math.log(max(2, data.classes))
    if loss <= _FAR * guessing:
        return []
    return [
        f"training diverged: the found network ends with a loss of {loss:.3g} on its own training examples, and guessing among "
        f"{data.classes} classes has {guessing:.3g}; lower the learning rate"
    ]


def chance_remarks(accuracy: float, data: DataSplits) -> list[str]:
    """Whether a test accuracy in % is no better than that of guessing, at 95 % confidence."""
    count, guessing = len(cast(Sized, data.test)), 100 / max(1, data.classes)
    if data.classes < 2 or accuracy > guessing + 1.645 * math.sqrt(guessing * (100 - guessing) / count):
        return []
    return [
        f"the found network is right on {accuracy:.1f} % of {count} test images, and guessing among {data.classes} classes on "
        f"{guessing:.1f} %: it has learned nothing that shows; try more --warm-up and --train-epochs, or --no-augment"
    ]


def _examples(data: Dataset[Any]) -> tuple[Tensor, Tensor]:
    count = len(cast(Sized, data))
    places = range(0, count, max(1, count // _LOOKED_AT))
    # Augmentation draws from torch's global state: the run must not notice that somebody looked.
    images, labels = seeded(lambda: default_collate([data[place] for place in places]), 0)
    return images, torch.as_tensor(labels)

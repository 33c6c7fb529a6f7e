"""Losses: one a row for searches, smoothed and mixed for training, and the distance to a teacher.

Labels are one an image or one a pixel.

Reference: Hinton et al. 2015 for distillation; Zhang et al. 2018 for mixup.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from constrained_nas.data import IGNORED


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of every row, (B,).

    Args:
        logits: (B, K), or (B, K, H, W) where every pixel has a class.
        labels: (B,), or (B, H, W); a row's loss then is the mean over its pixels but those labelled ``IGNORED``.

    Raises:
        ValueError: shapes that do not meet.
    """
    check_shapes(logits, labels)
    losses = functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED).reshape(len(labels), -1)
    counted = (labels != IGNORED).reshape(len(labels), -1).sum(1)
    return losses.sum(1) / counted.clamp(min=1)  # a row without any label has no loss


def training_loss(
    logits: Tensor,
    labels: Tensor,
    partner: Tensor,
    share: float,
    smoothing: float,
    whole: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The mean over the labels, one an image or one a pixel; mixed images have two of each.

    Args:
        whole: labels and partners of the batch of which these rows are a part: the losses of its parts add up to its own.
    """
    check_shapes(logits, labels)
    of, with_of = whole or (None, None)
    loss = _cross_entropy(logits, labels, smoothing, of)
    if share == 1.0:
        return loss
    return share * loss + (1 - share) * _cross_entropy(logits, partner, smoothing, with_of)


def mixup(images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    """Zhang et al. 2018, with the loss in place of mixed labels: the same gradient, and label smoothing stays the loss's own."""
    if alpha == 0:
        return images, labels, labels, 1.0
    first, second = (torch._standard_gamma(torch.tensor(float(alpha)), generator=generator) for _ in range(2))
    share = float(first / (first + second))
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    return share * images + (1 - share) * images[order], labels, labels[order], share


def distillation(logits: Tensor, teacher: nn.Module, images: Tensor, temperature: float) -> Tensor:
    with torch.no_grad():
        target = functional.log_softmax(teacher(images) / temperature, 1)
    student = functional.log_softmax(logits / temperature, 1)
    divergence = functional.kl_div(student, target, reduction="sum", log_target=True)
    return divergence / (student.numel() // student.shape[1]) * temperature**2  # the mean over images, or over pixels


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: float, whole: Tensor | None) -> Tensor:
    if whole is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    total = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum")
    return total / (whole != IGNORED).sum().clamp(min=1)


@torch.no_grad()
def count_right(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """How many labels are predicted, on their device, and of how many; pixels without a class do not count."""
    return (logits.argmax(1) == labels).sum(), labels.numel() if labels.ndim == 1 else int((labels != IGNORED).sum())


def check_shapes(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim not in (2, 4) or labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            "expected logits (B, K) with labels (B,), or (B, K, H, W) with labels (B, H, W); "
            f"got {tuple(logits.shape)} with {tuple(labels.shape)}"
        )

"""A batch to train on, and the gradients of some of its rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from constrained_nas.training.curves import Curve
from constrained_nas.training.losses import count_right, distillation, training_loss
from constrained_nas.training.parts import part_of_gate

Gates = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Of images, mixed or not, and what they are to be trained towards.

    Attributes:
        images, labels, partner, share: as :func:`constrained_nas.training.losses.mixup` gives them.
        gates: drawn for them; None for a bare network.
        smoothing: of labels.
        whole: whether it is computed at one time.
        teacher, temperature: of distillation; None for labels alone.
        curve: where loss and accuracy are noted.
        told: to a super-network besides, see :meth:`constrained_nas.training.parts.Parts.whole`.
    """

    images: Tensor
    labels: Tensor
    partner: Tensor
    share: float
    gates: Gates | None
    smoothing: float
    whole: bool
    teacher: nn.Module | None
    temperature: float
    curve: Curve | None = None
    told: tuple[Gates, ...] = ()

    def backward(self, network: nn.Module, fabric: Fabric, what: str, epoch: int, rows: slice) -> None:
        """Add the gradients of some rows, of their share in the loss of the batch.

        Raises:
            FloatingPointError: the loss is not finite; ``what`` and ``epoch`` (from 1) say where.
        """
        images = self.images[rows]
        gates = None if self.gates is None else {name: part_of_gate(gate, rows) for name, gate in self.gates.items()}
        logits = network(images) if gates is None else network(images, gates, *self.told)
        of = None if self.whole else (self.labels, self.partner)
        loss = training_loss(logits, self.labels[rows], self.partner[rows], self.share, self.smoothing, of)
        if self.teacher is not None:
            with fabric.autocast():
                taught = 0.5 * distillation(logits, self.teacher, images, self.temperature)
                loss = 0.5 * loss + (taught if self.whole else taught * (len(images) / len(self.images)))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"training the {what}: loss {loss.item()} in epoch {epoch}; lower the learning rate")
        if self.curve is not None:
            self.curve.add("loss", loss, len(images) / len(self.images))
            first, second = (count_right(logits, labels[rows]) for labels in (self.labels, self.partner))
            right = self.share * first[0] + (1 - self.share) * second[0]
            self.curve.add("accuracy", 100 * right, self.share * first[1] + (1 - self.share) * second[1])
        fabric.backward(loss)

"""The options of a training: optimizer, rates by epoch, regularization, and how its batches are computed.

Reference: Nayman et al., HardCoRe-NAS, Appendix A; PruNet, Sec. 4 (retraining); Tan & Le, EfficientNet (RMSprop).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """SGD with Nesterov momentum, or RMSprop; the defaults are HardCoRe-NAS's.

    Attributes:
        mixup: Beta parameter; 0 turns it off.
        ema_decay: of the moving average of the weights, in which training then ends; 0 turns it off.
        drop_path: rate at which the last residual block of a bare network is left out, rising to it linearly; 0 turns it off.
        from_scratch: a bare network forgets its weights first, and draws new ones from ``seed``.
        decay, decay_epochs: the rate falls by the factor ``decay`` every so many epochs; 0 for a cosine.
        clip: the norm of all gradients together is clipped to this; 0 leaves it.
        optimizer: ``rmsprop`` has EfficientNet's smoothing .9 and epsilon .001.
        parts: of a batch, whose gradients add up, see :mod:`constrained_nas.training.parts`; shared by all processes.
        recompute: save memory, see :mod:`constrained_nas.training.recompute`; the weights are the same.
        sync_batchnorm: normalize the parts together, one a process: the training of the whole batch on one process, up to rounding.

    PruNet retrains with ``TrainingOptions(450, 1536, 0.06, ema_decay=0.9999, drop_path=0.2, from_scratch=True, decay=0.97)``.

    Raises:
        ValueError: an option out of range.
    """

    epochs: int = 250
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    mixup: float = 0.2
    ema_decay: float = 0.0
    workers: int = 0
    seed: int = 0
    drop_path: float = 0.0
    from_scratch: bool = False
    decay: float = 0.0
    decay_epochs: float = 2.4
    clip: float = 0.0
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    parts: int = 1
    recompute: bool = False
    sync_batchnorm: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "rmsprop"):
            raise ValueError(f"training: expected the optimizer 'sgd' or 'rmsprop', got {self.optimizer!r}")
        if self.clip < 0:
            raise ValueError(f"training: expected a clip of 0 or more, got {self.clip}")
        if self.epochs < 0 or self.batch_size < 1 or not self.decay_epochs > 0:
            raise ValueError(
                "training: expected epochs of 0 or more, a batch_size of 1 or more and positive decay_epochs; "
                f"got {self.epochs}, {self.batch_size}, {self.decay_epochs}"
            )
        shares = {"label_smoothing": self.label_smoothing, "ema_decay": self.ema_decay, "drop_path": self.drop_path}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"training: {name} must be 0 or more and less than 1, got {share}")

    def rate(self, epoch: float) -> float:
        """The learning rate after ``epoch`` epochs, possibly a fraction, in closed form: it needs no state of its own to resume."""
        if self.decay:
            return self.learning_rate * self.decay ** math.floor(epoch / self.decay_epochs)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))

"""The paper's algorithms C.1 to C.5 as settings of one loop, ``filter_search``.

An iteration has two stages. First the shared weights learn (if any are shared). Then configurations are sampled, each gets its
network, and the law steps along their losses, batch by batch. The switches:

===  =======  ==========  =========  ==============  ==============================================================
..   split    sharing     sampling   sample epochs   besides
===  =======  ==========  =========  ==============  ==============================================================
C.1  halves   sampled     batch      0               one sampled configuration a batch of the weights' half
C.2  halves   slimmable   batch      5, of a copy    homogeneous widths and the expected configuration
C.3  whole    slimmable   iteration  5, of a copy    shared weights drawn anew every ``reset_period`` iterations
C.4  whole    none        iteration  from scratch
C.5  whole    none        iteration  from scratch    loss (7): against what a homogeneous network of that cost loses
===  =======  ==========  =========  ==============  ==============================================================

C.3's printed test resets whenever k mod k_omega is *not* 0; here it is when it is 0.

Reference: Zur et al., Appendix C, Algorithms C.1-C.5 and Eq. 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from constrained_nas.methods.filter_level.training import FilterWeights

Sharing = Literal["sampled", "slimmable", "none"]


@dataclass(frozen=True, slots=True)
class FilterSearchOptions:
    """The loop's switches; :func:`c1` to :func:`c5` are the paper's.

    Attributes:
        split: ``halves``: the weights learn from one half, the law from the other; ``whole``: both from everything.
        sharing: whether weights are shared, and how they learn: one ``sampled`` configuration a batch, or ``slimmable``.
        sampling: configurations are drawn anew for every ``batch``, or once an ``iteration``.
        weight_epochs: of the shared weights, an iteration (t_omega).
        sample_epochs: of the network of every sample: a copy of the shared weights, or one from scratch; 0: the shared one as is.
        reset_period: iterations after which shared weights are drawn anew (k_omega, 10 to 20); 0: never.
        loss: ``penalty``: cross-entropy plus the method's term in the cost; ``interpolation``: Eq. 7.
        relative: Eq. 7 as in the release: the difference divided by what is expected.
        shares: homogeneous widths, of slimmable training and Eq. 7.
        reference_trainings: of every homogeneous configuration, for Eq. 7.
        samples: configurations in S_k.
        law_batches: at most so many batches an iteration drive the law; 0: all.

    Raises:
        ValueError: an unknown word or a number out of range, or settings that exclude each other.
    """

    split: Literal["halves", "whole"]
    sharing: Sharing
    sampling: Literal["batch", "iteration"]
    weight_epochs: int
    sample_epochs: int
    reset_period: int = 0
    loss: Literal["penalty", "interpolation"] = "penalty"
    relative: bool = False
    shares: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    reference_trainings: int = 5
    samples: int = 8
    iterations: int = 20
    law_batches: int = 0
    weights: FilterWeights = field(default_factory=FilterWeights)
    seed: int = 0

    def __post_init__(self) -> None:
        words = {"split": ("halves", "whole"), "sampling": ("batch", "iteration"), "loss": ("penalty", "interpolation")}
        for name, known in (words | {"sharing": get_args(Sharing)}).items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if min(self.weight_epochs, self.sample_epochs, self.reset_period, self.law_batches) < 0:
            raise ValueError(f"expected epochs, periods and batches of 0 or more, got {self}")
        if min(self.samples, self.iterations, self.reference_trainings) < 1:
            raise ValueError(f"expected at least one sample, iteration and reference training, got {self}")
        if self.sharing == "none" and not self.sample_epochs:
            raise ValueError("without shared weights every sample needs training: sample_epochs >= 1")
        if self.loss == "interpolation" and not self.sample_epochs:
            raise ValueError("Eq. 7 compares with homogeneous networks trained like the samples: sample_epochs >= 1")


def c1(**changes: Any) -> FilterSearchOptions:
    """Quantization: halves, shared weights, one sampled configuration a batch. The paper does not print t_omega: here 5."""
    return replace(FilterSearchOptions("halves", "sampled", "batch", weight_epochs=5, sample_epochs=0), **changes)


def c2(**changes: Any) -> FilterSearchOptions:
    """Pruning: slimmable weights, a copy with five epochs of its own for every sample of every batch."""
    return replace(FilterSearchOptions("halves", "slimmable", "batch", weight_epochs=5, sample_epochs=5), **changes)


def c3(**changes: Any) -> FilterSearchOptions:
    """As C.2 on all the data, samples once an iteration, weights drawn anew every 15 iterations (the paper: 10 to 20)."""
    return replace(c2(split="whole", sampling="iteration", reset_period=15), **changes)


def c4(**changes: Any) -> FilterSearchOptions:
    """No sharing: every sample is trained from scratch. The paper trains to convergence: 150 epochs here."""
    return replace(FilterSearchOptions("whole", "none", "iteration", weight_epochs=0, sample_epochs=150), **changes)


def c5(**changes: Any) -> FilterSearchOptions:
    """As C.4 with the interpolation loss: no lambda and no target."""
    return replace(c4(loss="interpolation"), **changes)

"""The options of a contest of budgeted super-networks, with their values at each scale.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 5.1, for those of the paper scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import tyro

from constrained_nas.subgraph_distribution import Baseline
from papers_repro.bsn_published import DataName
from papers_repro.bsn_setup import SetupOptions, setup_preset
from papers_repro.rows import Scale

__all__ = ["ContestOptions", "contest_preset"]


@dataclass(frozen=True, slots=True)
class ContestOptions:
    """Budgets, searches and training; the values shown are those of the scale."""

    seeds: int = 3
    """How many seeds: each draws its own data, weights and samples."""
    resnet_sizes: tuple[int, ...] = (1, 2, 3)
    """Reference ResNets by their blocks a group: each is trained, and what it costs is a budget."""
    resnet_shares: tuple[float, ...] = ()
    """More budgets of the ResNet fabric, as shares of what the whole of it costs."""
    cnf_sizes: tuple[int, ...] = (2, 3)
    """Reference convolutional neural fabrics by their columns, likewise. (What the whole super-network costs is no budget.)"""
    cnf_shares: tuple[float, ...] = (0.2,)
    """More budgets of the convolutional neural fabric."""
    methods: tuple[Literal["soft", "hard"], ...] = ("soft", "hard")
    """soft: the paper's. hard: samples are projected onto the budget (not for steps, which do not add up over modules)."""
    plain: bool = True
    """Train the reference networks too."""
    epochs: int = 12
    """Of every search and training, the warm-up included."""
    warm_up: int = 3
    """Epochs of the whole super-network before sampling begins."""
    batch_size: int = 32
    """Images a step."""
    samples: int = 0
    """Sub-graphs a batch, which share its images evenly; 0: one for every image, as in the paper."""
    hard_samples: int = 8
    """The same for hard searches, where each sample that does not fit is a small integer program."""
    penalties: tuple[float, ...] = (10.0,)
    """A search each: a network is charged penalty x max(0, cost / limit - 1). The paper's range of lambda holds 1 to 10."""
    aim: float = 0.95
    """Limit of soft searches as a share of the budget: the network of the likeliest modules costs more than the mean sample."""
    ramp: float = 0.4
    """Share of the steps after the warm-up over which the penalty rises from 0; 0: constant."""
    logit_rate: float = 0.3
    """Learning rate of the logits."""
    baseline: Baseline = "batch_mean"
    """Of the score-function estimator: batch_mean (Eq. 7), leave_one_out or running."""
    learning_rate: float = 0.1
    """Of the weights' SGD, divided by 10 at each milestone."""
    momentum: float = 0.9
    """Of both."""
    weight_decay: float = 1e-4
    """Of the weights."""
    milestones: tuple[float, ...] = (0.6, 0.85)
    """Shares of the search at which both learning rates fall."""
    recalibration: int = 10
    """Batches over which normalisations are measured anew before a network is scored; 0: those of the search, as in the paper."""
    processes: int = 0
    """Runs at a time, a process each (CPU only); 0: one a core."""
    workers: int = 0
    """Processes that load data, for each run."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where networks are trained."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Of training."""
    resume: bool = False
    """Keep the runs that ended and continue the one that was interrupted, instead of starting over."""
    setup: Annotated[SetupOptions, tyro.conf.arg(name="")] = field(default_factory=SetupOptions)
    """Data and super-networks."""


def contest_preset(scale: Scale, data: DataName = "CIFAR-10") -> ContestOptions:
    """The options of a scale; ``data`` is what the paper's experiment is about."""
    setup, segmentation = setup_preset(scale, data), data == "Part Labels"
    if scale == "smoke":
        small = ContestOptions(seeds=2, resnet_sizes=(1,), cnf_sizes=(2,), cnf_shares=(), setup=setup)
        return replace(small, epochs=3, warm_up=1, recalibration=2)
    if scale == "laptop":
        laptop = ContestOptions(setup=setup)
        return replace(laptop, cnf_sizes=(2, 4), cnf_shares=(0.6, 0.8)) if segmentation else laptop
    paper = ContestOptions(
        seeds=1,
        resnet_sizes=(3, 5, 7, 9, 18),
        cnf_sizes=(1, 2, 4, 8),
        cnf_shares=(),
        epochs=300,
        warm_up=50,
        batch_size=128,
        penalties=(1.0, 3.0, 10.0),
        aim=1.0,
        ramp=0.0,
        logit_rate=0.1,
        milestones=(0.5, 0.75),
        recalibration=0,
        workers=8,
        device="auto",
        setup=setup,
    )
    if not segmentation:
        return paper
    # The paper does not say the batch of Part Labels' 256x256 images; 16 fit a GPU of 16 GB.
    return replace(paper, cnf_sizes=(8,), cnf_shares=(0.6, 0.8), epochs=200, batch_size=16, milestones=(0.65,))

"""The options that every HardCoRe-NAS experiment shares: data, space, training of the super-network, measuring of its latencies.

Reference: HardCoRe-NAS, Sec. 3.1 (latency table), Sec. 3.3 and Appendix G (training).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from papers_repro.experiment import DeviceOptions, DrawingOptions, LoopOptions, MeasuringOptions
from papers_repro.harness import Scale


@dataclass(frozen=True)
class SetupOptions(MeasuringOptions, LoopOptions, DeviceOptions, DrawingOptions):
    """Data, space, training of the super-network and measuring of its latencies; the values shown are those of the scale."""

    resolution: int = 32
    draws: int = 4
    architecture_share: float = 0.2
    """Share of the training examples kept for the search."""
    space: Literal["small", "imagenet"] = "small"
    """small: three stages for CPUs. imagenet: the paper's five."""
    variant: Literal["paper", "release"] = "release"
    """Of the imagenet space: activations as printed, or as in the authors' release."""
    warm_up_epochs: int = 4
    """Epochs of the heaviest network, before paths are sampled."""
    multi_path_epochs: int = 10
    """Epochs with paths drawn uniformly."""
    path_per: Literal["example", "batch"] = "example"
    """example: a path for every example, as in the paper. batch: one for a whole batch, the heaviest in a quarter of them, with
    which small networks learn in fewer and shorter steps."""
    batch_size: int = 32
    """Of training."""
    multi_path_batch: int = 0
    """Of the sampled paths; 0 for batch_size."""
    learning_rate: float = 0.1
    """Of SGD at the start of the heaviest network's cosine schedule."""
    multi_path_rate: float = 0.06
    """Of SGD at the start of the sampled paths' cosine schedule."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 1e-4
    """L2 penalty of SGD."""
    label_smoothing: float = 0.1
    """Share of a label's weight spread over all classes."""
    mixup: float = 0.0
    """Parameter of mixup's Beta distribution; 0 turns it off."""
    ema_decay: float = 0.0
    """Decay of the moving average of the weights; 0 turns it off."""
    latency_threads: int = 1
    """Torch threads of a timed pass."""
    clock: Literal["auto", "wall", "processor"] = "auto"
    """wall: the time that went by. processor: only what the thread ran (CPU, one thread), so that a busy machine can be used.
    auto: processor where it can be."""
    rounds: int = 60
    """Timed passes of every uniform network, in random order."""
    calibration_networks: int = 24
    calibration_rounds: int = 20


def setup_preset(scale: Scale) -> SetupOptions:
    """The options of a scale: smoke ends in seconds, laptop in a minute on two cores, paper is the paper's protocol."""
    if scale == "smoke":
        return SetupOptions(
            training_digits=200,
            draws=2,
            test_draws=1,
            resolution=16,
            warm_up_epochs=1,
            multi_path_epochs=1,
            latency_batch=8,
            rounds=5,
            calibration_networks=6,
            calibration_rounds=3,
        )
    if scale == "laptop":
        return SetupOptions()
    return SetupOptions(
        data="imagenet",  # Sec. 4.1, as are the split and the resolution
        resolution=224,
        architecture_share=0.2,
        space="imagenet",  # Sec. 3.1, Tables 3 and 4
        warm_up_epochs=250,  # Sec. 3.3 and Appendix A, as is what follows
        multi_path_epochs=100,
        batch_size=200,  # a GPU; the authors have eight
        multi_path_batch=16,  # likewise
        learning_rate=0.1,
        multi_path_rate=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        label_smoothing=0.1,
        mixup=0.2,
        ema_decay=0.9999,
        precision="16-mixed",
        latency_batch=1,  # on a CPU, Table 1; 64 on a GPU
        workers=8,
        device="auto",
    )


def learned_digits() -> SetupOptions:
    """Laptop scale where super-networks learn enough that networks can be ranked: digits without clutter, small and in numbers."""
    data = SetupOptions(resolution=16, training_digits=1400, draws=3, test_draws=4, clutter=0.0, architecture_share=0.25)
    return replace(data, batch_size=64, warm_up_epochs=4, multi_path_epochs=9, multi_path_rate=0.1)

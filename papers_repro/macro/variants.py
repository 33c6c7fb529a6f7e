"""Ways to train a super-network, each for the same time of the processor: what they are worth in rank correlation.

The loop is apart from the library's, which trains in the way that is called ``example`` here (or ``heaviest first``): most of these
ways are tried to be left alone.

Reference: Guo et al., Single Path One-Shot NAS (a path a batch); HardCoRe-NAS, Sec. 3.3 (a path an example, heaviest first); Yu et
al., BigNAS (in-place distillation).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from constrained_nas.data import DataSplits, loader
from constrained_nas.training import seeded, uniform_rows
from graphs import MacroSpace, Supernet
from graphs.blocks import ConvNormActivation, InvertedResidual
from graphs.supernet import compile_supernet
from papers_repro.harness import ProgressCallback
from papers_repro.macro.training import Trained, TrainingChoices

Way = Literal["example", "batch", "heaviest first", "in-place distillation", "shared norm", "longer"]
WAYS: tuple[Way, ...] = get_args(Way)
_FIRST = 0.3  # of the time: the heaviest network alone
_LONGER = 3.0  # times the time
_WARM = 0.02  # of the time: the rate rises


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds and epochs of a training."""

    seconds: float
    epochs: float


def trained_by(
    way: Way, options: TrainingChoices, data: DataSplits, seconds: float, seed: int, fabric: Fabric, told: ProgressCallback
) -> tuple[Trained, Spent]:
    """A super-network trained for so many seconds of the processor; all ways begin with the same weights."""
    space = MacroSpace(data.classes, data.resolution, data.image_channels, options.width)
    supernet = seeded(lambda: compile_supernet(space.dag(), space.space, rows="route"), seed)
    if way == "shared norm":
        _share_norms(supernet)
    seconds *= _LONGER if way == "longer" else 1.0
    supernet.to(fabric.device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        supernet.parameters(), options.learning_rate, momentum=0.9, nesterov=True, weight_decay=options.weight_decay
    )
    heaviest, generator = supernet.gates(space.heaviest()), torch.Generator().manual_seed(seed)
    began, seen, share, smoothing = time.process_time(), 0, 0.0, options.label_smoothing
    while share < 1:
        for images, labels in loader(data.weights, options.batch_size, generator, True, device=fabric.device):
            share = (time.process_time() - began) / seconds
            if share >= 1:
                break
            optimizer.param_groups[0]["lr"] = options.learning_rate * _rate(share, way)
            optimizer.zero_grad(set_to_none=True)
            shown = images.contiguous(memory_format=torch.channels_last)
            if way == "heaviest first" and share < _FIRST:
                functional.cross_entropy(supernet(shown, heaviest), labels, label_smoothing=smoothing).backward()
            elif way == "in-place distillation":
                answers: Tensor = supernet(shown, heaviest)
                functional.cross_entropy(answers, labels, label_smoothing=smoothing).backward()
                target = answers.detach().softmax(1)
                functional.cross_entropy(supernet(shown, uniform_rows(supernet, len(shown), generator)), target).backward()
            else:
                gates = uniform_rows(supernet, 1 if way == "batch" else len(shown), generator)
                gates = {name: gate[0] for name, gate in gates.items()} if way == "batch" else gates
                functional.cross_entropy(supernet(shown, gates), labels, label_smoothing=smoothing).backward()
            optimizer.step()
            seen += len(labels)
            told(min(99, int(100 * share)), 100, "percent of the time")
    told(100, 100, "percent of the time")
    spent = time.process_time() - began
    return Trained(space, data, supernet.eval(), spent), Spent(spent, seen / len(data.weights))  # type: ignore[arg-type]


def _rate(share: float, way: Way) -> float:
    """Of the greatest; a cosine, begun anew where paths follow the heaviest network."""
    if way == "heaviest first":
        share = share / _FIRST if share < _FIRST else (share - _FIRST) / (1 - _FIRST)
    return min(1.0, share / _WARM) * 0.5 * (1 + math.cos(math.pi * share))


def _share_norms(supernet: Supernet) -> None:
    """One normalization after the projections of all options of a layer, in place of one each."""
    shared: dict[object, nn.Module] = {}
    for (_, target, _), module in zip(supernet.edge_keys, supernet.edge_modules, strict=True):
        last = module.project if isinstance(module, InvertedResidual) else module
        if isinstance(last, ConvNormActivation) and str(target).startswith("layer"):
            last.norm = shared.setdefault(target, last.get_submodule("norm"))

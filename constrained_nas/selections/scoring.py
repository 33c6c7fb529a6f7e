"""Scores of options from a super-network of uniformly trained paths: by how much less the images lose that have an option."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from constrained_nas.data import loader
from constrained_nas.training import uniform_rows
from graphs import Supernet


@torch.no_grad()
def option_scores(
    supernet: nn.Module, data: Dataset[Any], passes: int, seed: int, batch_size: int = 128
) -> dict[str, dict[str, float]]:
    """``{decision: {option: score}}``: the mean loss over everything less that of the images that had the option.

    Every image gets a random architecture of its own, in each pass another.

    Args:
        supernet: in evaluation mode; anything with ``space`` that runs under gates, such as :class:`graphs.ChoiceSupernet`.
        data: images and labels that no weight was trained on.
        passes: over the data, at least one.
        seed: decides the architectures.
        batch_size: images at a time.

    Raises:
        ValueError: no pass.
    """
    if passes < 1:
        raise ValueError(f"passes: expected at least one, got {passes}")
    net = cast(Supernet, supernet)
    generator, losses, drawn = torch.Generator().manual_seed(seed), [], []
    device = next(net.parameters()).device
    for _ in range(passes):
        for images, labels in loader(data, batch_size):
            gates = {name: gate.to(device) for name, gate in uniform_rows(net, len(images), generator).items()}
            losses.append(functional.cross_entropy(net(images.to(device), gates), labels.to(device), reduction="none"))
            drawn.append(torch.cat([gates[decision.name] for decision in net.space.decisions], dim=1))
    loss, rows = torch.cat(losses), torch.cat(drawn)  # (rows,), (rows, options)
    mean = (rows * loss[:, None]).sum(0) / rows.sum(0).clamp(min=1)
    slices = {decision.name: net.space.slice(decision.name) for decision in net.space.decisions}
    return {d.name: dict(zip(d.options, (loss.mean() - mean[slices[d.name]]).tolist(), strict=True)) for d in net.space.decisions}

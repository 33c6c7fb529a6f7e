"""Spaces and data small enough for tests, and networks whose every parameter and statistic matters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from graphs import Architecture, MBConvSettings, MBConvSpace, SearchSpace, StageSetting


def tiny_space(
    expansions: tuple[int, ...] = (2, 3), squeeze_excite: tuple[bool, ...] = (False, True), dropout: float = 0.0
) -> MBConvSpace:
    """Two stages of two blocks, eight configurations by default, 5184 networks on 16x16 grey images of three classes."""
    stages = (StageSetting(8, 2, "relu"), StageSetting(8, 1))  # the second stage's blocks all have a skip
    settings = MBConvSettings(
        "tiny",
        16,
        3,
        stages,
        image_channels=1,
        stem_channels=8,
        separable_channels=4,
        blocks_per_stage=2,
        depths=(1, 2),
        expansions=expansions,
        squeeze_excite=squeeze_excite,
        head_channels=16,
        features=16,
        dropout=dropout,
    )
    return MBConvSpace(settings)


def random_architecture(space: SearchSpace, generator: np.random.Generator) -> Architecture:
    """One option a decision, uniformly."""
    return space.choose({decision.name: str(generator.choice(decision.options)) for decision in space.decisions})


def stir(network: nn.Module, seed: int) -> None:
    """Give every bias and batch statistic a value of its own, so that a wrong or forgotten channel shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low in (
                    (module.running_mean, -0.5),
                    (module.running_var, 0.5),
                    (module.weight, 0.5),
                    (module.bias, -0.5),
                ):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)


def images(rows: int, space: MBConvSpace, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Noise in the space's input shape."""
    settings = space.settings
    shape = (rows, settings.image_channels, settings.resolution, settings.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def striped_data(count: int, seed: int) -> TensorDataset:
    """Three classes on 16x16: horizontal stripes, vertical stripes, none; under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    stripes = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4)
    patterns = torch.stack([stripes[:, None].expand(16, 16), stripes[None, :].expand(16, 16), torch.zeros(16, 16)])
    noise = 0.5 * torch.randn((count, 1, 16, 16), generator=generator)
    return TensorDataset(patterns[labels][:, None] + noise, labels)

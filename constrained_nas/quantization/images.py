"""Images as a network takes them: single-channel ones three times over, for networks made for colours."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from constrained_nas.data import loader


def first_images(dataset: Dataset[Any], count: int, network: nn.Module) -> tuple[Tensor, Tensor]:
    """The first ``count`` images, (B, C, H, W) as the network takes them, and their labels (B,)."""
    batches = list(islice(loader(dataset, 64), -(-count // 64)))
    images = torch.cat([images for images, _ in batches])[:count]
    return _coloured(images, network), torch.cat([labels for _, labels in batches])[:count]


def fitting_data(dataset: Dataset[Any], network: nn.Module) -> Dataset[Any]:
    """The same data with images as the network takes them; all but single-channel tensors are left as they are."""
    if not isinstance(dataset, TensorDataset):
        return dataset
    images, labels = dataset.tensors
    return TensorDataset(_coloured(images, network), labels)


def _coloured(images: Tensor, network: nn.Module) -> Tensor:
    takes = next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), images.shape[1])
    return images.expand(-1, takes, -1, -1) if images.shape[1] == 1 else images

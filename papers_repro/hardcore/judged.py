"""What the super-network says of networks: their losses on the same images for all, so that two of them are compared in pairs."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch.nn import functional
from torch.utils.data import Subset

from constrained_nas.data import loader
from graphs import Architecture
from papers_repro.hardcore.setup import TrainedSupernet

_BATCH = 500  # whose statistics normalize


class SupernetLoss:
    """Cross-entropy of networks with the super-network's weights, each computed once; normalized by the batch, as searches are.

    Args:
        images: of the search's split, the first ones.
    """

    def __init__(self, prepared: TrainedSupernet, images: int, fabric: Fabric) -> None:
        self.prepared = prepared
        split = prepared.data.architecture
        kept = Subset(split, range(min(images, len(split))))  # type: ignore[arg-type]
        self.batches = list(loader(kept, _BATCH, device=fabric.device))
        self.known: dict[str, float] = {}

    @torch.no_grad()
    def __call__(self, architecture: Architecture) -> float:
        """The mean over the images."""
        key = str(self.prepared.space.space.describe(architecture))
        if key not in self.known:
            network = self.prepared.supernet.extract(architecture).to(memory_format=torch.channels_last).train()
            total, count = 0.0, 0
            for images, labels in self.batches:
                logits = network(images.contiguous(memory_format=torch.channels_last))
                total += float(functional.cross_entropy(logits, labels, reduction="sum"))
                count += len(labels)
            self.known[key] = total / count
        return self.known[key]

"""How well something ranks networks whose true accuracy is known: the super-network's accuracy, or only their multiply-adds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from scipy.stats import kendalltau, spearmanr
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Subset

from constrained_nas.data import loader
from constrained_nas.training import recalibrate_on, seeded
from graphs import Architecture
from graphs.files import read_json, save_json
from papers_repro.macro.training import Trained
from solvers.arrays import FloatArray

_RESAMPLES = 1000
_GROUPS = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What inherited weights make of a network: accuracy in % and mean loss, by the statistics of training and by its own."""

    accuracy: float
    loss: float
    own_accuracy: float
    own_loss: float


class Judge:
    """Networks with the super-network's weights on images kept from training; each is looked at once and remembered in a file.

    Args:
        images: of the architecture split that are looked at.
        batches: of training images, from which a network's own statistics are made.
        memory: the file; one that another super-network's networks fill is started over.
    """

    def __init__(self, trained: Trained, images: int, batches: int, batch_size: int, fabric: Fabric, memory: Path) -> None:
        self.trained, self.batches, self.batch_size, self.fabric = trained, batches, batch_size, fabric
        split = trained.data.architecture
        kept = Subset(split, range(min(images, len(split))))  # type: ignore[arg-type]
        self.shown = list(loader(kept, 500, device=fabric.device))
        self.memory, weights = memory, hashlib.sha256()
        for tensor in trained.supernet.state_dict().values():
            weights.update(tensor.cpu().contiguous().numpy().tobytes())
        self.made_by = {"weights": weights.hexdigest(), "images": images, "batches": [batches, batch_size]}
        content = read_json(memory, "list of networks") if memory.exists() else {}
        self.known: dict[str, dict[str, float]] = content["known"] if content.get("made_by") == self.made_by else {}

    def __call__(self, architecture: Architecture) -> Seen:
        """Look at a network."""
        code = self.trained.space.code(architecture)
        if code not in self.known:
            network = self.trained.supernet.extract(architecture).to(memory_format=torch.channels_last).eval()
            before = self._shown(network)
            data, seed = self.trained.data.weights, 0
            seeded(lambda: recalibrate_on(network, data, self.batch_size, self.batches, seed, self.fabric), seed)
            self.known[code] = asdict(Seen(*before, *self._shown(network)))
            if len(self.known) % 20 == 0:
                self.keep()
        return Seen(**self.known[code])

    def keep(self) -> None:
        """Write the file."""
        save_json({"made_by": self.made_by, "known": self.known}, self.memory)

    @torch.no_grad()
    def _shown(self, network: nn.Module) -> tuple[float, float]:
        logits: list[Tensor] = []
        labels: list[Tensor] = []
        for images, of_images in self.shown:
            logits.append(network(images.contiguous(memory_format=torch.channels_last)))
            labels.append(of_images)
        values, truth = torch.cat(logits), torch.cat(labels)
        right = (values.argmax(1) == truth).float().mean()
        return 100 * float(right), float(functional.cross_entropy(values, truth))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Agreement of two orders of networks.

    Attributes:
        tau, spearman: over all of them; ``half`` of tau's 95 % interval, by resampling the networks.
        within: tau in fifths of like cost, in the mean: what a budget leaves to decide.
    """

    tau: float
    half: float
    spearman: float
    within: float


def ranking(guess: Sequence[float] | FloatArray, truth: Sequence[float] | FloatArray, cost: FloatArray, seed: int = 0) -> Ranking:
    """How well ``guess`` orders networks as ``truth`` does, all (networks,)."""
    first, second = np.asarray(guess, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    generator, count = np.random.default_rng(seed), len(first)
    draws = (generator.integers(count, size=count) for _ in range(_RESAMPLES))
    taus = [_tau(first[draw], second[draw]) for draw in draws]
    groups = np.array_split(np.argsort(cost, kind="stable"), min(_GROUPS, count // 2))
    return Ranking(
        tau=_tau(first, second),
        half=1.96 * float(np.std(taus)),
        spearman=float(spearmanr(first, second).statistic) if np.ptp(first) and np.ptp(second) else 0.0,
        within=float(np.mean([_tau(first[group], second[group]) for group in groups])),
    )


def drawn_codes(codes: Sequence[str], count: int, seed: int) -> list[str]:
    """So many different networks, drawn uniformly."""
    return [codes[place] for place in np.random.default_rng(seed).permutation(len(codes))[:count]]


def _tau(first: FloatArray, second: FloatArray) -> float:
    """Kendall's; a guess that is the same for all orders nothing."""
    return float(kendalltau(first, second).statistic) if np.ptp(first) and np.ptp(second) else 0.0

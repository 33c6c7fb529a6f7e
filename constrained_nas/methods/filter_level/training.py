"""Training networks of filters: one configuration, one drawn a batch, or several homogeneous ones at once (slimmable).

Which configurations a batch trains is a function of the step, so one loop covers the paper's three: the sampled configuration of
C.1, the slimmable set of C.2 and C.3 (their gradients are averaged), and the single one of a copy or of a network from scratch.
Configurations that are trained for themselves have batch statistics of their own; all others run on fresh ones, recalibrated.

Reference: Zur et al., Appendix C; Yu et al., Slimmable Neural Networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, Subset, TensorDataset

from constrained_nas.data import loader
from constrained_nas.training import Parts, mixed_seed, recalibrate, row_losses, weight_step
from graphs import FilterNetwork, FilterSpace
from graphs.filters import FRESH
from solvers.arrays import IntArray

Build = Callable[[], FilterNetwork]
_BATCHES = 20  # for statistics and clamps: their error falls as 1 / sqrt, and some thousand images make it a few per cent


@dataclass(frozen=True, slots=True)
class FilterWeights:
    """SGD of the weights, Nesterov momentum; ``noise_share`` of quantized weights get uniform noise instead of rounding.

    Where the rate falls along a cosine it may first rise to ``learning_rate``, linearly, over the share ``rise`` of the training.
    ``parts`` of a batch and ``sync_batchnorm``: see :mod:`constrained_nas.training.parts`.
    """

    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    noise_share: float = 0.05
    rise: float = 0.0
    parts: int = 1
    sync_batchnorm: bool = False

    def rate(self, progress: float) -> float:
        """The learning rate at a share ``progress`` of the training."""
        if progress < self.rise:
            return self.learning_rate * progress / self.rise
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - self.rise) / (1 - self.rise)))


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """Counts (layers, operations) and the batch statistics they run on; ``fresh`` for those that are not trained for themselves."""

    counts: IntArray
    statistics: str = FRESH


@dataclass(slots=True)
class Training:
    """How far a training has come: it says so after every epoch, and given again, with the network as it was, goes on from there.

    ``tensors``: momenta by the parameters' places, and the states of the generators of batches and noise.
    """

    epochs: int = 0
    losses: list[float] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def homogeneous_configurations(space: FilterSpace, shares: Sequence[float] = (0.25, 0.5, 0.75, 1.0)) -> dict[str, IntArray]:
    """By name: every filter at one operation, or every layer at one of ``shares`` of its filters; counts (layers, operations)."""
    if space.kind == "width":
        return {f"x{share:g}": space.layer_counts(space.homogeneous(share=share)) for share in shares}
    return {o.name: space.layer_counts(space.homogeneous(index)) for index, o in enumerate(space.operations)}


def fresh_network(build: Build, seed: int, data: Dataset[Any], options: FilterWeights, fabric: Fabric) -> FilterNetwork:
    """Weights drawn from ``seed``, activation bounds calibrated on ``data``; torch's global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    network.to(fabric.device).train()
    quantized = any(operation.activation_bits < 32 for operation in network.operations)
    if quantized and any(True for _ in network.parameters()):
        shuffle = torch.Generator().manual_seed(seed)
        images = _images(data, options.batch_size, shuffle, fabric)
        network.calibrate_activations(fabric.to_device(batch) for batch in images)
    return network


def train_configurations(
    network: FilterNetwork,
    pick: Callable[[int], Sequence[Configuration]],
    data: Dataset[Any],
    epochs: int,
    options: FilterWeights,
    fabric: Fabric,
    seed: int,
    *,
    cosine: bool = True,
    after_epoch: Callable[[int], bool] | None = None,
    place: Training | None = None,
) -> list[float]:
    """Train in place; the mean loss of every epoch.

    Args:
        network: ends in evaluation mode, with the configuration of the last step.
        pick: the configurations of a step; the gradient is that of their mean loss.
        data: what to train on; batches that are not full are left out, unless none is.
        seed: of batches, noise and whatever the network draws.
        cosine: let the learning rate follow ``options.rate``; else it stays.
        after_epoch: called with the epochs done; True ends the training (early stopping).
        place: where the training stands, told after every epoch; one that has epochs is gone on from.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    parts = Parts(options.parts, fabric, options.sync_batchnorm)
    parts.check(options.batch_size)
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(
        parameters, options.learning_rate, options.momentum, nesterov=options.momentum > 0, weight_decay=options.weight_decay
    )
    running, optimizer = fabric.setup(network, optimizer)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.Generator().manual_seed(seed + 1)
    network.inject_noise(options.noise_share, noise if options.noise_share else None)
    whole = len(data) >= options.batch_size  # type: ignore[arg-type]
    batches = len(loader(data, options.batch_size, torch.Generator(), drop_last=whole))
    current, place = None, Training() if place is None else place
    if place.epochs:
        generator.set_state(place.tensors["order"])
        noise.set_state(place.tensors["noise"])
        for index, parameter in enumerate(parameters):
            if (momentum := place.tensors.get(f"momentum.{index}")) is not None:
                optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter.device)
    try:
        for epoch in range(place.epochs, epochs):
            network.train()
            total = 0.0
            with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
                torch.manual_seed(seed * 1_009 + epoch)
                order = loader(data, options.batch_size, generator, whole, device=fabric.device)
                for index, (images, labels) in enumerate(order):
                    step = epoch * batches + index
                    images, labels = fabric.to_device(images), fabric.to_device(labels)
                    optimizer.zero_grad(set_to_none=True)
                    chosen = pick(step)
                    for turn, configuration in enumerate(chosen):
                        if configuration is not current:  # to set fresh statistics again would forget them
                            network.configure(configuration.counts, configuration.statistics)
                            current = configuration
                        lost = list[Tensor]()
                        run = partial(_backward, running, images, labels, len(chosen), parts, noise, (seed, step, turn), lost)
                        parts.compute(network, len(images), run, (seed, step, turn))
                        total += float(parts.total(torch.stack(lost).sum())) / len(chosen)
                    if cosine:
                        for group in optimizer.param_groups:
                            group["lr"] = options.rate((step + (options.rise > 0)) / (epochs * batches + (options.rise > 0)))
                    weight_step(fabric, running, optimizer)
            place.losses.append(total / batches)
            place.epochs = epoch + 1
            momenta = [optimizer.state[parameter].get("momentum_buffer") for parameter in parameters]
            place.tensors = {f"momentum.{index}": momentum for index, momentum in enumerate(momenta) if momentum is not None}
            place.tensors |= {"order": generator.get_state(), "noise": noise.get_state()}
            if after_epoch is not None and after_epoch(epoch + 1):
                break
    finally:
        network.inject_noise(0.0, None)
    network.eval()
    return place.losses


def _backward(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    configurations: int,
    parts: Parts,
    noise: torch.Generator,
    seeds: tuple[int, ...],
    lost: list[Tensor],
    rows: slice,
) -> None:
    """Add the gradients of some rows under one of so many configurations, and their share of the loss to ``lost``."""
    if parts.count > 1 and not parts.together:  # every part draws its own, wherever it is computed
        noise.manual_seed(mixed_seed(*seeds, rows.start))
    loss = functional.cross_entropy(network(images[rows]), labels[rows])
    if parts.count > 1:
        loss = loss * (len(images[rows]) / len(images))
    if not torch.isfinite(loss):
        raise FloatingPointError(f"loss {loss.item()}: lower the learning rate")
    parts.fabric.backward(loss / configurations)
    lost.append(loss.detach())


def recalibrate_configuration(
    network: FilterNetwork, configuration: Configuration, data: Dataset[Any], batch_size: int, fabric: Fabric, seed: int = 0
) -> None:
    """Set the network to a configuration and average its statistics over batches of ``data``; it ends in evaluation mode."""
    network.configure(configuration.counts, configuration.statistics)
    shuffle = torch.Generator().manual_seed(seed)

    def runs() -> Iterator[Callable[[], Tensor]]:
        for images in _images(data, batch_size, shuffle, fabric):
            yield partial(network, fabric.to_device(images))

    recalibrate(network, runs)


@torch.no_grad()
def mean_loss(network: nn.Module, data: Dataset[Any], fabric: Fabric, batch_size: int = 500) -> float:
    """The mean cross-entropy on ``data``; put the network in evaluation mode first."""
    batches = loader(data, batch_size, device=fabric.device)
    rows = [row_losses(network(fabric.to_device(x)), fabric.to_device(y)) for x, y in batches]
    return float(torch.cat(rows).double().mean())


def split_halves(data: Dataset[Any], seed: int) -> tuple[Dataset[Any], Dataset[Any]]:
    """Two random halves, the first the larger by one where the number is odd.

    Raises:
        ValueError: fewer than two examples.
    """
    count = len(data)  # type: ignore[arg-type]
    if count < 2:
        raise ValueError(f"expected at least two examples to split, got {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    parts = order[: (count + 1) // 2], order[(count + 1) // 2 :]
    if isinstance(data, TensorDataset):  # stays one, which is indexed a batch at a time
        first, second = (TensorDataset(*(tensor[part] for tensor in data.tensors)) for part in parts)
        return first, second
    return Subset(data, parts[0].tolist()), Subset(data, parts[1].tolist())


def _images(data: Dataset[Any], batch_size: int, generator: torch.Generator, fabric: Fabric) -> Iterator[Tensor]:
    for images, _ in islice(loader(data, batch_size, generator, device=fabric.device), _BATCHES):
        if len(images) > 1:  # the statistics of one image are none
            yield images

"""Search inside a network of your own: put choices where something is to be decided, and name the budgets.

Four steps, a quarter of a minute on an idle CPU with scikit-learn's digits:

1. write a network as always, with ``graphs.Choice`` where options compete; ``choice_space`` finds them;
2. train all options together, every batch on a random architecture of its own;
3. judge whole networks with these weights on held-out images, and take the best by a pairwise model that fits all budgets, exactly;
4. extract the found network, train it a little further, and write it as a Python file that needs torch only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import tyro
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from constrained_nas.data import loader
from constrained_nas.export import export_python
from constrained_nas.methods import recommended
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import JudgeOptions, NetworkLoss, search_networks
from constrained_nas.training import TrainingOptions, evaluate, fine_tune, path_a_batch, recalibrate, train_supernet
from graphs import Choice, Supernet, choice_space
from graphs.costs import choice_cost, choice_macs, choice_parameters


def convolution(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Module:
    """Convolution, normalization, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Bottleneck(nn.Module):
    """An option that holds a choice of its own: the size of its middle convolution."""

    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        self.narrow = convolution(channels, channels // 2, 1)
        self.middle = Choice(f"{name}.size", {str(k): convolution(channels // 2, channels // 2, k) for k in (3, 5)})
        self.wide = convolution(channels // 2, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.wide(self.middle(self.narrow(features)))


class Network(nn.Module):
    """A small network for grey images: two stages, four decisions."""

    def __init__(self, channels: int = 12, classes: int = 10) -> None:
        super().__init__()
        self.stem = convolution(1, channels, 3)
        self.blocks = nn.Sequential(*(self._block(f"block{n}", channels) for n in (1, 2)))
        self.widen = convolution(channels, 2 * channels, 1)
        self.late = self._block("block3", 2 * channels)
        pools = {"average": nn.AdaptiveAvgPool2d(1), "max": nn.AdaptiveMaxPool2d(1)}
        self.pool = Choice("pool", pools)
        self.head = nn.Linear(2 * channels, classes)

    @staticmethod
    def _block(name: str, channels: int) -> Choice:
        separable = nn.Sequential(convolution(channels, channels, 5, channels), convolution(channels, channels, 1))
        options = {"skip": nn.Identity(), "conv3": convolution(channels, channels, 3), "separable5": separable}
        return Choice(name, options | {"narrow": Bottleneck(channels, name)})

    def forward(self, images: Tensor) -> Tensor:
        features = functional.max_pool2d(self.blocks(self.stem(images)), 2)
        features = self.late(self.widen(features))
        return self.head(self.pool(features).flatten(1))


@dataclass(frozen=True)
class Options:
    """Search inside a network of your own, under several budgets at once."""

    macs: float = 160e3
    """Budget: multiply-adds an image."""
    params: float = 6e3
    """Budget: parameters."""
    latency_ms: float | None = None
    """Budget: milliseconds for one image on this machine, by the sum of measured options; none by default."""
    epochs: int = 24
    """Epochs in which all options are trained together."""
    networks: int = 60
    """Networks that the search is told the loss of."""
    tuning: int = 3
    """Epochs in which the found network is trained further."""
    images: int = 1797
    """How many of the 1797 digits to use: half to train, a quarter to judge networks, a quarter to test."""
    out: Path | None = None
    """Write the found network into this folder (found.py, found.safetensors)."""
    seed: int = 0
    """Decides data, weights and sampled architectures."""


def digit_splits(images: int, seed: int) -> list[TensorDataset]:
    """Images (N, 1, 8, 8) and labels: for the weights, to judge networks, for the test."""
    bunch = load_digits()
    chosen = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(seed))[:images]
    pixels = (torch.as_tensor(bunch.images, dtype=torch.float32)[chosen, None] - 8) / 8
    labels = torch.as_tensor(bunch.target, dtype=torch.int64)[chosen]
    quarter = len(chosen) // 4
    bounds = [len(chosen) - 2 * quarter, quarter, quarter]
    return [TensorDataset(*part) for part in zip(pixels.split(bounds), labels.split(bounds), strict=True)]


def milliseconds(module: nn.Module, inputs: tuple[Any, ...], repeats: int = 50) -> float:
    """Median time of a module on the first row of its inputs. (``constrained_nas.latency.timer`` measures with more care.)"""
    rows = tuple(value[:1] for value in inputs)
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            began = time.perf_counter()
            module(*rows)
            times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[5:])  # the first passes warm up


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = tyro.cli(Options, args=arguments, description=__doc__)
    console, fabric = Console(), Fabric(accelerator="cpu")
    torch.set_num_threads(1)  # on networks this small a second thread costs more than it brings
    torch.manual_seed(options.seed)
    weights, architecture, test = digit_splits(options.images, options.seed)

    space = choice_space(Network(), torch.zeros(2, 1, 8, 8), "my network")
    costs = [choice_macs(space), choice_parameters(space)]
    budgets = [Budget(costs[0], options.macs, "MACs"), Budget(costs[1], options.params, "parameters")]
    latency = choice_cost(space, "latency", "ms", milliseconds)
    if options.latency_ms is not None:
        budgets.append(Budget(latency, options.latency_ms, "ms"))
    problem = SearchProblem(space.space, tuple(budgets))
    for decision in space.space.decisions:
        console.print(f"{decision.name}: {', '.join(decision.options)}", highlight=False)

    supernet = space.supernet()
    typed = cast(Supernet, supernet)  # the training loop asks for nothing that a ChoiceSupernet does not have
    widest = space.space.choose({d.name: "max" if d.name == "pool" else "conv3" for d in space.space.decisions})
    gates = supernet.gates(widest)
    together = TrainingOptions(options.epochs, 64, 0.05, mixup=0.0, label_smoothing=0.0, seed=options.seed)
    brief = TrainingOptions(1, 64, 0.05, mixup=0.0, label_smoothing=0.0, seed=options.seed)
    train_supernet(typed, gates, weights, brief, together, fabric, draw=path_a_batch(typed, gates))

    judging = JudgeOptions(options.networks, len(architecture), seed=options.seed)
    loss = NetworkLoss(typed, architecture, judging.images, fabric, batch_statistics=True)
    method = recommended(space.space, None, judging.networks)
    found = search_networks(problem, method, loss, typed, judging, fabric).result
    network = space.extract(found.architecture)
    batches = [images for images, _ in loader(weights, 128)]
    recalibrate(network, lambda: ((lambda batch=batch: network(batch)) for batch in batches))  # type: ignore[misc]
    before = evaluate(network, test, fabric)
    tuning = TrainingOptions(options.tuning, 64, 0.02, mixup=0.0, label_smoothing=0.0, seed=options.seed)
    fine_tune(network, weights, tuning, fabric)
    network.eval()

    table = Table(title="found", title_justify="left")
    for column in ("decision", "option"):
        table.add_column(column, overflow="fold")
    for name, option in space.space.describe(found.architecture).items():
        table.add_row(name, option)
    console.print(table)
    console.print(found.remark, highlight=False)
    for budget in budgets:
        spent = budget.cost.cost(found.architecture)
        console.print(f"{budget.cost.name}: {spent:,.6g} of {budget.limit:,.6g} {budget.unit}", highlight=False)
    measured = milliseconds(network, (torch.zeros(1, 1, 8, 8),))
    console.print(
        f"latency: {latency.cost(found.architecture):.3f} ms by the sum, {measured:.3f} ms measured whole", highlight=False
    )
    accuracy = evaluate(network, test, fabric)
    console.print(f"test accuracy: {before:.1%} with inherited weights, {accuracy:.1%} after tuning", highlight=False)
    if options.out is not None:
        written = export_python(network, torch.zeros(2, 1, 8, 8), options.out, "found")
        console.print(f"written: {written.source} and {written.weights}", highlight=False)


if __name__ == "__main__":
    main()

"""Choose bit widths for every layer of your network so that it meets a compute and a memory budget at once.

You have a trained network and a device with two budgets: bit operations (what a multiply costs when it takes so many bits) and
memory for the weights. This example

1. takes a torchvision network: yours (``--weights``), trained here for a moment on embedded digits, or randomly initialized;
2. measures, for every convolution and linear layer and every pair of weight and activation bits, how far the network's predictions
   move when that layer alone is quantized (``constrained_nas.quantization``: Kullback-Leibler divergence from floating point, no
   labels);
3. chooses one pair a layer: the least total divergence that meets both budgets, by ``solvers.project_to_budget``, exactly;
4. quantizes the whole network so, and sets it against the best uniform widths and against a greedy choice under the same budgets.

The command ``constrained-nas quantise`` does all this and writes a file that runs; here every step is in the open.

A layer's activation bits are those of its *input*, so each layer's cost is its own and budgets add up over layers: with n weights
a filter, ``H W C' n (b_w b_a + b_w + b_a + log2 n)`` bit operations, accumulator included; the image has 8 bits.
Memory is that of packed weights with four bytes a filter for its scale.

What is additive is an assumption: divergences of layers quantized together need not add up. So the last columns are measured on the
whole quantized network, and the choice is only as good as the sum predicts them. Fine-tune the quantized network afterwards.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
import tyro
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from constrained_nas.data import DataSplits, image_folder, loader
from constrained_nas.quantization import (
    QuantizableLayer,
    bits_name,
    distance,
    find_layers,
    measure_sensitivities,
    network_logits,
    rounded,
)
from graphs import Operation
from solvers import InfeasibleError, project_to_budget

Picks = tuple[int, ...]  # an index into the options for every layer


@dataclass(frozen=True)
class Options:
    """Bit widths for every layer of a torchvision network under a budget of bit operations AND one of weight memory.

    Try first, about a minute or two on a CPU, nothing to download:

        python examples/bit_widths_per_layer.py

    Your own network, its state dict as a safetensors file, on your images (FOLDER/train/CLASS/*, FOLDER/val/CLASS/*):

        python examples/bit_widths_per_layer.py --network resnet50 --weights mine.safetensors --images FOLDER --resolution 224

    (From a .pth file: safetensors.torch.save_file(torch.load("mine.pth", weights_only=True), "mine.safetensors").)

    The table compares choices under the same budgets. "predicted" is the sum that was minimized, "measured" what the whole network
    then does: if the two disagree in order, give more --calibration-images.
    """

    network: str = "resnet18"
    """Any torchvision.models classifier made of convolutions: resnet18, resnet50, mobilenet_v2, vgg11_bn ..."""
    weights: Path | None = None
    """A safetensors file of its state dict. Without it the network is trained on the spot, see --epochs."""
    classes: int = 10
    """Outputs of the network; taken from --images where given."""
    images: Path | None = None
    """An image folder with train/ and val/; embedded handwritten digits without it."""
    resolution: int = 32
    """Side of the images in pixels."""
    epochs: int = 2
    """Without --weights: passes over the training images; 0 leaves the network as it is initialized."""
    options: tuple[str, ...] = ("2/4", "3/4", "4/4", "4/8", "6/6", "8/8")
    """Pairs of weight/activation bits to choose from."""
    gbops: float | None = None
    """Budget of 10^9 bit operations an image; by default what --like costs everywhere."""
    megabytes: float | None = None
    """Budget of 10^6 bytes for the weights of these layers; by default what --like takes everywhere."""
    like: str = "4/4"
    """The uniform choice that sets the budgets that are not given."""
    calibration_images: int = 64
    """Training images on which divergences are measured."""
    test_images: int = 400
    """Test images on which the choices are compared."""
    seed: int = 0
    """Of data, initial weights and training."""
    save: Path | None = None
    """Write the exact choice, {layer: bits}, and both budgets here, as JSON."""


@dataclass(frozen=True)
class Tables:
    """Divergences (layers, options), costs of the same shape by name, and the budget on each."""

    divergences: np.ndarray
    costs: dict[str, np.ndarray]
    budget: dict[str, float]


def main(options: Options) -> None:
    """Measure, choose, compare."""
    began = time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 110)
    offered, like = [read_bits(text) for text in options.options], read_bits(options.like)
    data = read_data(options)
    network = read_network(options, data)
    calibration, _ = first(data.weights, options.calibration_images)
    test = first(data.test, options.test_images)
    try:
        layers = find_layers(network, [calibration])
    except ValueError as error:
        raise SystemExit(str(error)) from error
    budget = {
        "bops": 1e9 * options.gbops if options.gbops is not None else math.fsum(layer.bit_operations(like) for layer in layers),
        "MB": options.megabytes if options.megabytes is not None else math.fsum(megabytes(layer, like) for layer in layers),
    }
    costs = {
        "bops": np.array([[layer.bit_operations(bits) for bits in offered] for layer in layers]),
        "MB": np.array([[megabytes(layer, bits) for bits in offered] for layer in layers]),
    }
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("measuring layers", total=len(layers))
        told = lambda done, *_: bars.update(task, completed=done)  # noqa: E731
        found = measure_sensitivities(network, layers, offered, calibration, progress=told)
    measured = np.array([[found.added[layer.name][bits_name(bits)] for bits in offered] for layer in layers])
    table = Tables(measured, costs, budget)
    choices, bound = choose(table, offered)
    reference = network_logits(network, calibration)
    right = accuracy(network, *test)
    half = 1.96 * math.sqrt(right * (1 - right) / len(test[1]))  # half a 95 % interval, binomial
    rows = [["floating point", "0", "0", f"{right:.1%}", "-", "-", "-"]]
    for method, picks in choices.items():
        with rounded(layers, [offered[pick] for pick in picks]):
            moved = distance("divergence", reference, network_logits(network, calibration), None)
            rows.append(row_of(method, picks, table, moved, accuracy(network, *test)))
    print_choices(rows, budget, console)
    console.print(f"  accuracy: on {len(test[1])} test images; 95 % interval of the first ± {half:.1%}", highlight=False)
    print_layers(layers, offered, choices["project_to_budget"], table.divergences, console)
    console.print(f"Certified: of these options, nothing that meets both budgets has a sum below {bound:.5g}.", highlight=False)
    if options.save is not None:
        chosen = {layer.name: written(offered[pick]) for layer, pick in zip(layers, choices["project_to_budget"], strict=True)}
        plan = {"network": options.network, "budget": budget, "weight/activation bits": chosen}
        options.save.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
    console.print(f"{time.perf_counter() - began:.0f} s in all", highlight=False)


def megabytes(layer: QuantizableLayer, bits: Operation) -> float:
    """10^6 bytes of a layer's weights, scales included."""
    return layer.weight_bytes(bits.weight_bits) / 1e6


def read_bits(text: str) -> Operation:
    """From ``4/8``: weight and activation bits."""
    parts = text.split("/")
    try:
        return Operation(*(int(part) for part in parts))
    except (TypeError, ValueError) as error:
        raise SystemExit(f"expected weight/activation bits such as 4/8, 2 to 16 and 1 to 16 or 32, got {text!r}") from error


def written(bits: Operation) -> str:
    """As ``4/8``."""
    return f"{bits.weight_bits}/{bits.activation_bits}"


def read_data(options: Options) -> DataSplits:
    """The user's images, or embedded digits."""
    if options.images is not None:
        return image_folder(options.images, options.resolution, 0.1, False, options.seed)
    bunch = load_digits()
    images = torch.as_tensor(bunch.images / 8 - 1, dtype=torch.float32)[:, None]  # (1797, 1, 8, 8) in [-1, 1]
    images = functional.interpolate(images, (options.resolution,) * 2, mode="bilinear")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(options.seed))
    data = TensorDataset(images, torch.as_tensor(bunch.target, dtype=torch.int64))
    parts = (order[:1200], order[1200:1300], order[1300:])
    weights, held, test = (TensorDataset(*(tensor[part] for tensor in data.tensors)) for part in parts)
    return DataSplits("digits", weights, held, test, 10, 1, options.resolution)


def read_network(options: Options, data: DataSplits) -> nn.Module:
    """The network with the user's weights, trained for a moment, or as it is initialized; in evaluation mode."""
    classes = data.classes if options.images is not None else options.classes
    torch.manual_seed(options.seed)
    network = torchvision.models.get_model(options.network, weights=None, num_classes=classes)
    if options.weights is not None:
        try:
            network.load_state_dict(load_file(options.weights))
        except RuntimeError as error:
            raise SystemExit(f"{options.weights} does not fit {options.network} with {classes} classes: {error}") from error
    elif options.epochs:
        train(network, data, options)
    return network.eval()


def train(network: nn.Module, data: DataSplits, options: Options) -> None:
    """A moment of training, so that the example has something to lose."""
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, nesterov=True, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(options.seed)
    steps = options.epochs * (len(data.weights) // 32)  # type: ignore[arg-type]
    batches = (batch for _ in range(options.epochs) for batch in loader(data.weights, 32, generator, drop_last=True))
    network.train()
    for step, (images, labels) in enumerate(track(batches, "training", steps, console=Console(stderr=True))):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        functional.cross_entropy(network(coloured(images)), labels).backward()
        optimizer.step()


def coloured(images: Tensor) -> Tensor:
    """Three channels, as torchvision's networks expect."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def first(dataset: Any, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` images, (count, 3, side, side), and their labels."""
    batches = list(islice(loader(dataset, 64), -(-count // 64)))
    return coloured(torch.cat([images for images, _ in batches]))[:count], torch.cat([labels for _, labels in batches])[:count]


def choose(table: Tables, offered: Sequence[Operation]) -> tuple[dict[str, Picks], float]:
    """The exact choice first, then the greedy one and the uniform ones; and the certificate's bound on the sum."""
    try:
        best = project_to_budget(table.divergences, table.costs, table.budget, minimize=True)
    except InfeasibleError as error:
        raise SystemExit(f"{error}; raise a budget or offer fewer bits with --options") from error
    # Verified from the tables, not from the solver's word.
    certificate = best.certificate.verify(table.divergences, table.costs, table.budget)
    choices: dict[str, Picks] = {"project_to_budget": tuple(best.choices)}
    picks = greedy(table)
    if picks is not None:
        choices["greedy"] = picks
    choices |= {f"uniform {written(bits)}": (index,) * len(table.divergences) for index, bits in enumerate(offered)}
    return choices, float(certificate.bound if certificate.bound is not None else math.nan)


def greedy(table: Tables) -> Picks | None:
    """From every layer at its least divergence: the change that adds least per budget share saved, until all fit; None if stuck."""
    divergences, costs, budget = table.divergences, table.costs, table.budget
    shares = np.sum([each / budget[name] for name, each in costs.items()], axis=0)
    picks = divergences.argmin(1)
    rows = np.arange(len(picks))
    while any(each[rows, picks].sum() > budget[name] for name, each in costs.items()):
        saved = shares[rows, picks][:, None] - shares
        added = divergences - divergences[rows, picks][:, None]
        price = np.where(saved > 0, added / np.where(saved > 0, saved, 1.0), np.inf)
        row, column = np.unravel_index(int(price.argmin()), price.shape)
        if not np.isfinite(price[row, column]):
            return None
        picks[row] = column
    return tuple(picks.tolist())


def row_of(method: str, picks: Picks, table: Tables, measured: float, right: float) -> list[str]:
    """A row of the comparison: predicted and measured divergence, accuracy, both costs, whether they fit."""
    rows = np.arange(len(picks))
    totals = {name: math.fsum(costs[rows, picks].tolist()) for name, costs in table.costs.items()}
    predicted = math.fsum(table.divergences[rows, picks].tolist())
    shares = {name: f"({total / table.budget[name]:.1%})" for name, total in totals.items()}
    spent = [f"{totals['bops'] / 1e9:.4g} {shares['bops']}", f"{totals['MB']:.4g} {shares['MB']}"]
    fits = all(totals[name] <= table.budget[name] for name in table.budget)
    return [method, f"{predicted:.5f}", f"{measured:.5f}", f"{right:.1%}", *spent, "yes" if fits else "no"]


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of right predictions."""
    return float((network_logits(network, images).argmax(1) == labels).double().mean())


def print_choices(rows: Sequence[Sequence[str]], budget: dict[str, float], console: Console) -> None:
    """The comparison, and what its columns mean."""
    title = f"Budgets: {budget['bops'] / 1e9:.4g} GBOPs an image, {budget['MB']:.4g} MB of weights"
    table = Table(title=title, title_justify="left", header_style="bold")
    for index, heading in enumerate(("choice", "predicted", "measured", "accuracy", "GBOPs", "MB", "fits")):
        table.add_column(heading, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*row, style="dim" if row[6] == "no" else "", end_section=row is rows[0])
    console.print(table)
    for line in (
        "predicted: sum of the layers' divergences from the network in floating point (nats), what was minimized",
        "measured: divergence of the whole quantized network on the same images",
        "GBOPs, MB: cost, and as a share of the budget; fits: both budgets are met",
    ):
        console.print("  " + line, highlight=False)


def print_layers(
    layers: Sequence[QuantizableLayer], offered: Sequence[Operation], exact: Picks, divergences: np.ndarray, console: Console
) -> None:
    """The exact choice, layer by layer."""
    table = Table(title="The exact choice", title_justify="left", header_style="bold")
    for heading in ("layer", "bits", *(f"kl {written(bits)}" for bits in offered)):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer, pick, row in zip(layers, exact, divergences, strict=True):
        cells = [f"{value:.4f}" for value in row]
        cells[pick] = f"[bold]{cells[pick]}[/bold]"
        table.add_row(layer.name, written(offered[pick]), *cells)
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Options))

"""Search which modules of your own graph to keep, under a hard budget: a networkx DAG as a super-network.

Nodes are feature maps, edges are modules; where edges meet, their outputs are added. Every edge with a ``decision`` can be switched
off. Weights and switches are learned on the same batches (Budgeted Super Networks), and with ``hard=True`` every network tried fits
the budget; at the end modules that lead nowhere are gone. Half a minute on an idle CPU with scikit-learn's digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import networkx as nx
import torch
import tyro
from lightning_fabric import Fabric
from rich.console import Console
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from constrained_nas.methods.budgeted import Budgeted
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.reports import save_picture
from constrained_nas.search import SearchOptions, WeightTraining, search
from constrained_nas.training import TrainingOptions, evaluate, fine_tune
from graphs import DagSpace, add_edge, add_layer
from graphs.blocks import ConvNormActivation
from graphs.costs import connected_macs, connected_parameters


@dataclass(frozen=True)
class Options:
    """Search which modules of your own networkx graph to keep, under a budget that every network tried meets."""

    share: float = 0.35
    """Budget: multiply-adds, as a share of those of the whole graph."""
    cells: int = 4
    """Feature maps between stem and head; each is joined to the two after it."""
    epochs: int = 10
    """Epochs of the search; the first tenth trains the whole graph."""
    tuning: int = 4
    """Epochs in which the found network is trained further."""
    images: int = 1797
    """How many of the 1797 digits to use: three quarters to train and search, one to test."""
    draw: Path | None = None
    """Draw the graph with the found network in it (.png, .pdf, .svg)."""
    seed: int = 0
    """Decides data, weights and sampled networks."""


def own_graph(cells: int, channels: int = 8, classes: int = 10) -> nx.MultiDiGraph:
    """A chain of feature maps with shortcuts, three candidate modules between any two that are joined."""
    dag = nx.MultiDiGraph(name="own")
    modules = {
        "conv3": partial(ConvNormActivation, channels, channels, 3),
        "conv1": partial(ConvNormActivation, channels, channels, 1),
        "copy": nn.Identity,
    }
    add_layer(dag, "image", (1, 8, 8))
    maps = [f"map{number}" for number in range(cells + 1)]
    for name in maps:
        add_layer(dag, name, (channels, 8, 8))
    add_edge(dag, "image", maps[0], partial(ConvNormActivation, 1, channels, 3))  # no decision: always there
    for place, source in enumerate(maps):
        for target in maps[place + 1 : place + 3]:
            for kind, module in modules.items():
                add_edge(dag, source, target, module, decision=f"{source}-{target}-{kind}", option=1, key=kind)
    add_layer(dag, "logits", (classes,))
    add_edge(dag, maps[-1], "logits", partial(head, channels, classes))
    return dag


def head(channels: int, classes: int) -> nn.Module:
    """Logits from the greatest activations in the four quarters of the image, normalized: sums grow with the modules that meet."""
    return nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(4 * channels), nn.Linear(4 * channels, classes))


def digit_splits(images: int, seed: int) -> tuple[TensorDataset, TensorDataset]:
    """Images (N, 1, 8, 8) and labels: to train and search with, and to test."""
    bunch = load_digits()
    chosen = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(seed))[:images]
    pixels = (torch.as_tensor(bunch.images, dtype=torch.float32)[chosen, None] - 8) / 8
    labels = torch.as_tensor(bunch.target, dtype=torch.int64)[chosen]
    cut = len(chosen) - len(chosen) // 4
    return TensorDataset(pixels[:cut], labels[:cut]), TensorDataset(pixels[cut:], labels[cut:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the example."""
    options = tyro.cli(Options, args=arguments, description=__doc__)
    console, fabric = Console(), Fabric(accelerator="cpu")
    torch.set_num_threads(1)  # on networks this small a second thread costs more than it brings
    torch.manual_seed(options.seed)
    train, test = digit_splits(options.images, options.seed)

    space = DagSpace("own", own_graph(options.cells))
    macs, parameters = connected_macs(space), connected_parameters(space)
    whole = macs.cost(space.whole)
    problem = SearchProblem(space.space, (Budget(macs, options.share * whole, macs.unit),))
    console.print(f"{len(space.space.decisions)} switches, {whole:,.0f} {macs.unit} with all of them on", highlight=False)

    supernet = space.supernet()
    method = Budgeted(space, samples=4, warm_up=max(1, options.epochs // 10), learning_rate=0.3, hard=True)
    settings = SearchOptions(options.epochs, 64, seed=options.seed)
    run = search(problem, method, supernet, train, settings, fabric, training=WeightTraining(learning_rate=0.05))
    found = run.result.architecture
    network = supernet.extract(found)
    before = evaluate(network.eval(), test, fabric)
    tuning = TrainingOptions(options.tuning, 64, 0.02, mixup=0.0, label_smoothing=0.0, seed=options.seed)
    fine_tune(network, train, tuning, fabric)
    network.eval()

    on = [name for name, state in space.space.describe(found).items() if state == "on"]
    console.print(f"kept: {', '.join(on)}", highlight=False)
    console.print(f"{macs.name}: {macs.cost(found):,.0f} of {options.share * whole:,.0f} {macs.unit}", highlight=False)
    console.print(f"{parameters.name}: {parameters.cost(found):,.0f}", highlight=False)
    certificate = run.result.certificate
    if certificate is not None:
        console.print(
            f"likeliest network that fits: log-odds {certificate.primal:.4g}, bound {certificate.bound:.4g}", highlight=False
        )
    after = evaluate(network, test, fabric)
    console.print(f"test accuracy: {before:.1%} with the search's weights, {after:.1%} after tuning", highlight=False)
    if options.draw is not None:
        edges = space.dag.edges(keys=True, data="edge")
        used = {(a, b, key): float(edge.decision is None or edge.decision in on) for a, b, key, edge in edges}
        save_picture(options.draw, space.dag, "own", used)
        console.print(f"drawn in {options.draw}", highlight=False)


if __name__ == "__main__":
    main()

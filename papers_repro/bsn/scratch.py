"""What a network is worth by itself: trained from new weights, alike whether it was learned, drawn at random or is a plain one.

A search scores networks with the weights of the super-network, which favour what it has settled on. So every network that is
compared is trained anew, by the same loop and for as many epochs as any other, alone.

A random network that fits is one of the best sub-graphs under random scores that the budget holds: it uses the budget as learned
ones do, and knows nothing of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import networkx as nx
import numpy as np
import torch
from lightning_fabric import Fabric

from constrained_nas.ask_tell import SearchResult
from constrained_nas.data import DataSplits
from constrained_nas.methods.budgeted import Budgeted, ConnectedProgram, settle_within
from constrained_nas.problem import SearchProblem
from constrained_nas.search import SearchOptions, SearchRun, WeightTraining, search
from constrained_nas.training import Checkpoint, evaluate, recalibrate_on
from graphs import DagSpace, Supernet
from graphs.costs import connected_architecture
from papers_repro.bsn.networks import COST_NAMES, cost_model
from papers_repro.bsn.runs import ScratchRecord
from papers_repro.bsn.setup import ContestOptions
from solvers.arrays import BoolArray


def reduced(space: DagSpace, running: BoolArray) -> DagSpace:
    """The space of the modules (E,) that run: what the super-network is when all others are gone."""
    parts = space.connectivity
    kept = [parts.edges[edge] for edge in np.flatnonzero(running)]
    return DagSpace(f"{space.name}-part", nx.MultiDiGraph(space.dag.edge_subgraph(kept)))


def random_networks(space: DagSpace, problem: SearchProblem, count: int, seed: int) -> Iterator[BoolArray]:
    """The modules (E,) of ``count`` random networks that fit.

    They are what a search would sample before it has learned anything: every module is as likely as any other, and logistic noise
    decides among those that the budget cannot hold together.
    """
    program, generator = ConnectedProgram.of(space, problem), np.random.default_rng([seed, 1])
    for _ in range(count):
        worth = np.maximum(3.0 + generator.logistic(size=len(space.space.decisions)), 0.0)
        yield settle_within(problem, program, worth)[0]


def trained_alone(
    space: DagSpace,
    options: ContestOptions,
    data: DataSplits,
    seed: int,
    fabric: Fabric,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    every_epoch: bool = False,
) -> tuple[SearchRun[Any], dict[str, float]]:
    """Train the whole of ``space`` from new weights: a search that never leaves its warm-up. The run, and the scores at its end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = space.supernet(rows="route", disconnected="zeros")
    training = WeightTraining(options.learning_rate, options.momentum, options.weight_decay, options.milestones)
    loop = SearchOptions(options.scratch_epochs, options.batch_size, workers=options.workers, seed=seed)
    method, problem = Budgeted(space, samples=1, warm_up=options.scratch_epochs), SearchProblem(space.space, ())
    score = scorer(net, data, options, seed, fabric)
    found: SearchRun[Any] = search(
        problem,
        method,
        net,
        data.weights,
        loop,
        fabric,
        checkpoint,
        progress,
        training=training,
        score=score if every_epoch else None,
    )
    return found, score(found.result)


def scratch_record(
    space: DagSpace, running: BoolArray, options: ContestOptions, data: DataSplits, seed: int, fabric: Fabric
) -> ScratchRecord:
    """The network of the modules (E,) of ``space`` that run, trained alone."""
    architecture = connected_architecture(space, running)
    costs = {name: cost_model(space, name).cost(architecture) for name in COST_NAMES}
    _, scores = trained_alone(reduced(space, running), options, data, seed, fabric)
    return ScratchRecord(seed=seed, costs=costs, **scores)


def scorer(
    supernet: Supernet, data: DataSplits, options: ContestOptions, seed: int, fabric: Fabric
) -> Callable[[SearchResult], dict[str, float]]:
    """Validation and test accuracy of an architecture's bare network."""

    def score(result: SearchResult) -> dict[str, float]:
        network = supernet.extract(result.architecture)
        if options.recalibration:
            recalibrate_on(network, data.weights, options.batch_size, options.recalibration, seed, fabric)
        network.eval()
        splits = {"validation": data.architecture, "test": data.test}
        return {name: evaluate(network, split, fabric) for name, split in splits.items()}

    return score

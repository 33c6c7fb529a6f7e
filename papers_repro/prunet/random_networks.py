"""What a search must beat: a network that was drawn at random and fits the same budget, trained as found ones are.

Every option of every layer gets a score at random, and the scores are projected as a search's are: onto the budget or, where a
search uses most of it, onto the same window. Networks drawn evenly would hardly ever cost so little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from constrained_nas.methods.prunet import LayerScores, project_survivors
from constrained_nas.problem import Budget, SearchProblem
from graphs import Architecture
from graphs.spaces import GPUNetSpace
from papers_repro.experiment import one_thread
from papers_repro.harness import ProgressBars, Reports, run_seeds
from papers_repro.prunet.retraining import retrained, settings_of
from papers_repro.prunet.searches import Pruned, SearchRecord, SearchSpec
from papers_repro.prunet.setup import SetupOptions, WidthLatencies, load_data, make_space


def random_networks(
    specs: Sequence[SearchSpec], setup: SetupOptions, latencies: WidthLatencies, folder: Path, progress: ProgressBars
) -> list[Pruned]:
    """A random network for every spec's budget and seed, retrained under its name; what the folder already has is not run again."""
    if setup.data == "digits":
        for seed in {spec.seed for spec in specs}:
            load_data(setup, seed)
    work = partial(_run, tuple(specs), setup, latencies, folder)
    return run_seeds(work, range(len(specs)), setup.side_by_side(len(specs)), progress)


def draw_network(space: GPUNetSpace, latencies: WidthLatencies, limit: float, least_use: float, seed: int) -> Architecture:
    """Random scores, projected onto ``least_use`` to all of a budget of ``limit`` ms."""
    generator = np.random.default_rng([seed, round(1e6 * limit)])
    layers = {
        name: LayerScores(generator.standard_normal(len(shape.options)), np.ones(len(shape.options), dtype=np.bool_))
        for name, shape in space.layers.items()
    }
    cost = latencies.cost
    problem = SearchProblem(space.space, (Budget(cost, limit, cost.unit),))
    return project_survivors(problem, layers, cost.name, 1.0, prices=False, least_use=least_use).architecture


def _run(
    specs: Sequence[SearchSpec], setup: SetupOptions, latencies: WidthLatencies, folder: Path, number: int, progress: Reports
) -> Pruned:
    spec = specs[number]
    if spec.budget_ms is None:
        raise ValueError(f"{spec.name}: a random network needs a budget")
    data = load_data(setup, spec.seed)
    space = make_space(setup, data.classes, data.image_channels)
    architecture = draw_network(space, latencies, spec.budget_ms, spec.least_use, spec.seed)
    choices = space.describe(architecture)
    with one_thread(setup.device):
        trained = retrained(spec.name, spec.seed, choices, setup, folder, progress)
    record = SearchRecord(
        spec=asdict(spec),
        choices=choices,
        latency_ms=latencies.cost.cost(architecture),
        blocks=sum(choice != "skip" for name, choice in choices.items() if space.layers[name].widths),
        undecided=0,
        loss=float("nan"),
        cross_entropy=float("nan"),
        history=(),
        steps=0,
        step_seconds=(),
        processor_seconds=(),
        seconds=0.0,
        needed_alpha=None,
        remark="drawn at random",
        settings=settings_of(setup, retrain=False),
    )
    return Pruned(spec, record, 100 * trained.accuracy, trained.seconds)

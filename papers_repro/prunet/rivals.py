"""What a search must beat: networks that nobody searched for and that cost as much, trained as found ones are.

Random: every option of every layer gets a score at random, and the scores are projected as a search's are: onto the budget or,
where a search uses most of it, onto the same window. Networks drawn evenly would hardly ever cost so little. Uniform: every layer
stays, with the smallest kernel, no squeeze-and-excitation, and the same share of its widest width, the last ones a step more where
that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from constrained_nas.methods.prunet import LayerScores, project_survivors
from constrained_nas.problem import Budget, SearchProblem
from graphs import Architecture
from graphs.spaces import GPUNetSpace
from papers_repro.experiment import one_thread
from papers_repro.harness import Column, ProgressBars, Reports, Row, Rows, compared, mean, run_seeds
from papers_repro.prunet.retraining import retrained, settings_of
from papers_repro.prunet.searches import Pruned, SearchRecord, SearchSpec
from papers_repro.prunet.setup import SetupOptions, WidthLatencies, load_data, make_space

Task = tuple[SearchSpec, int, Mapping[str, Any]]  # number of the drawing, or -1: the uniform one; what a drawing must not be

_SHARES = np.linspace(0.01, 1.0, 100).tolist()  # of the widest width, for uniform networks


def random_networks(
    specs: Sequence[SearchSpec], setup: SetupOptions, latencies: WidthLatencies, folder: Path, progress: ProgressBars
) -> list[Pruned]:
    """A random network for every spec's budget and seed, retrained under its name; what the folder already has is not run again."""
    return _train([(spec, 0, {}) for spec in specs], setup, latencies, folder, progress)


def rivals_of(
    found: Sequence[Pruned], draws: int, setup: SetupOptions, latencies: WidthLatencies, folder: Path, progress: ProgressBars
) -> list[Pruned]:
    """For every found network ``draws`` other ones at random and a uniform one of its latency, or up to 5 % less, under its seed.

    Their specs have the found network's alpha, and its latency as a budget.
    """
    tasks = []
    for entry in found:
        spec = replace(entry.spec, budget_ms=entry.record.latency_ms, least_use=0.95)
        of = f"alpha{spec.alpha:g}_seed{spec.seed}"
        tasks.append((replace(spec, name=f"uniform_{of}"), -1, entry.record.choices))
        tasks += [(replace(spec, name=f"random_{of}_draw{draw}"), draw, entry.record.choices) for draw in range(1, draws + 1)]
    return _train(tasks, setup, latencies, folder, progress)


def rival_rows(found: Sequence[Pruned], rivals: Sequence[Pruned]) -> Rows:
    """Found networks against :func:`rivals_of` them, a row an alpha, paired by seed."""
    columns = [
        Column("alpha", "alpha", "of the searches; a row's networks have the latency of what was found"),
        Column("latencies", "est. ms", "latencies of the found networks, by the table"),
        Column("use", "rivals use", "least share of them that a rival uses", ".3f"),
        Column("found", "found %", "test accuracy of the found networks, mean over seeds", ".2f"),
        Column("random", "random %", "of random networks, mean over seeds and draws", ".2f"),
        Column("uniform", "uniform %", "of networks with one kernel and one share of the width everywhere, mean over seeds", ".2f"),
        Column("versus_random", "minus random", "found minus random (the mean of a seed's draws), half its 95 % interval, verdict"),
        Column("versus_uniform", "minus uniform", "the same, minus uniform"),
    ]
    rows: list[Row] = []
    for alpha in sorted({entry.spec.alpha for entry in found}):
        ours = [entry for entry in found if entry.spec.alpha == alpha]
        own = [rival for rival in rivals if rival.spec.alpha == alpha]
        kinds = {
            kind: [
                mean([one.accuracy for one in own if one.spec.seed == entry.spec.seed and one.spec.name.startswith(kind)])
                for entry in ours
            ]
            for kind in ("random", "uniform")
        }
        accuracies = [entry.accuracy for entry in ours]
        rows.append(
            {
                "alpha": f"{alpha:g}",
                "latencies": ", ".join(f"{entry.record.latency_ms:.3f}" for entry in ours),
                "use": min(rival.record.latency_ms / (rival.spec.budget_ms or 1.0) for rival in own),
                "found": mean(accuracies),
                "random": mean(kinds["random"]),
                "uniform": mean(kinds["uniform"]),
                "versus_random": compared(accuracies, kinds["random"], "found"),
                "versus_uniform": compared(accuracies, kinds["uniform"], "found"),
            }
        )
    return Rows("Found networks against others of their latency", columns, rows)


def draw_network(space: GPUNetSpace, latencies: WidthLatencies, spec: SearchSpec, draw: int = 0) -> Architecture:
    """Random scores, projected onto ``spec.least_use`` to all of its budget; different ones for every ``draw``."""
    limit = _limit(spec)
    generator = np.random.default_rng([spec.seed, round(1e6 * limit), *([draw] if draw else [])])
    layers = {
        name: LayerScores(generator.standard_normal(len(shape.options)), np.ones(len(shape.options), dtype=np.bool_))
        for name, shape in space.layers.items()
    }
    cost = latencies.cost
    problem = SearchProblem(space.space, (Budget(cost, limit, cost.unit),))
    return project_survivors(problem, layers, cost.name, 1.0, prices=False, least_use=spec.least_use).architecture


def uniform_network(space: GPUNetSpace, latencies: WidthLatencies, spec: SearchSpec) -> Architecture:
    """The greatest share that fits; then, from the last layer on, the next width where that fits too.

    Where not even the narrowest network fits, layers are left out from the last one on.
    """

    def fits(choices: dict[str, str]) -> bool:
        return latencies.cost.cost(space.space.choose(choices)) <= _limit(spec)

    every = [_evenly(space, share) for share in _SHARES]
    choices = next((one for one in reversed(every) if fits(one)), every[0])
    for name, shape in reversed(space.layers.items()):
        if shape.skippable and not fits(choices):
            choices = choices | {name: "skip"}
    for name, shape in reversed(space.layers.items()):
        options = [option.name for option in shape.options if option.block == 0]
        if choices[name] in options[:-1]:
            wider = choices | {name: options[options.index(choices[name]) + 1]}
            choices = wider if fits(wider) else choices
    return space.space.choose(choices)


def _evenly(space: GPUNetSpace, share: float) -> dict[str, str]:
    """Every layer at its first block and the width nearest to a share of its widest."""
    return {
        name: min(
            (option for option in shape.options if option.block == 0),
            key=lambda option: abs((option.width or 0) - share * max(shape.widths, default=0)),
        ).name
        for name, shape in space.layers.items()
    }


def _limit(spec: SearchSpec) -> float:
    if spec.budget_ms is None:
        raise ValueError(f"{spec.name}: a rival needs a budget")
    return spec.budget_ms


def _train(
    tasks: Sequence[Task], setup: SetupOptions, latencies: WidthLatencies, folder: Path, progress: ProgressBars
) -> list[Pruned]:
    """Every task's rival."""
    if setup.data == "digits":
        for seed in {spec.seed for spec, _, _ in tasks}:
            load_data(setup, seed)
    work = partial(_run, tuple(tasks), setup, latencies, folder)
    return run_seeds(work, range(len(tasks)), setup.side_by_side(len(tasks)), progress)


def _run(
    tasks: Sequence[Task],
    setup: SetupOptions,
    latencies: WidthLatencies,
    folder: Path,
    number: int,
    progress: Reports,
) -> Pruned:
    spec, draw, found = tasks[number]
    data = load_data(setup, spec.seed)
    space = make_space(setup, data.classes, data.image_channels)
    uniform = draw < 0
    architecture = uniform_network(space, latencies, spec) if uniform else draw_network(space, latencies, spec, draw)
    while space.describe(architecture) == found and not uniform:  # few networks may lie there
        draw += 1000
        architecture = draw_network(space, latencies, spec, draw)
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
        remark="uniform" if uniform else "drawn at random",
        settings=settings_of(setup, retrain=False),
    )
    return Pruned(spec, record, 100 * trained.accuracy, trained.seconds)

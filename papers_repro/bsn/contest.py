"""Searches of budgeted super-networks under several budgets, and the reference networks trained alike beside them.

For a super-network, a cost and a budget: ``soft`` is the paper's search (sampled sub-graphs pay for what exceeds the budget),
``hard`` the same with every sample projected onto the budget (where the cost adds up over modules). ``plain`` trains a reference
network (a plain ResNet, a smaller fabric) with the same optimizer: a search that never leaves its warm-up. After every epoch the
deterministic network is scored on validation and on test data; only validation decides what is chosen (Sec. 5.1). The network at
the end of each search, the plain one of equal cost and ``random`` ones that fit are also trained alone from new weights
(``papers_repro.bsn.scratch``), which is how they are compared.

Each run is a process; what ended is kept as JSON and what was interrupted as a checkpoint, so that a contest can be resumed.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 4 and 5.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from constrained_nas.data import DataSplits
from constrained_nas.methods.budgeted import Budgeted
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions, SearchRun, WeightTraining, search
from constrained_nas.training import Checkpoint
from graphs import DagSpace
from graphs.files import save_json
from papers_repro.bsn.networks import COST_NAMES, Family, NetworkSpec, cost_model
from papers_repro.bsn.published import CostName
from papers_repro.bsn.runs import ContestBudget, ContestRun, EpochRecord, Method, RunsRecord, ScratchRecord
from papers_repro.bsn.scratch import random_networks, scorer, scratch_record, trained_alone
from papers_repro.bsn.setup import ContestOptions, load_data, super_network
from papers_repro.experiment import kept_record, kept_under, make_fabric, one_thread
from papers_repro.harness import ProgressBars, Reports, Scale, run_seeds

_ADDITIVE: tuple[CostName, ...] = ("macs", "macs-published", "parameters")


@dataclass(frozen=True, slots=True)
class Run:
    """What one process does; ``name`` is that of its files."""

    name: str
    network: NetworkSpec
    method: Method
    budget: ContestBudget | None
    penalty: float
    seed: int

    @property
    def label(self) -> str:
        """For a progress bar."""
        within = f" within {self.budget.name} ({self.budget.cost})" if self.budget else ""
        return f"{self.network.title}, {self.method}{within}, seed {self.seed}"


def run_contest(
    families: Sequence[Family],
    costs: Sequence[CostName],
    options: ContestOptions,
    scale: Scale,
    seed: int,
    folder: Path,
    progress: ProgressBars,
) -> RunsRecord:
    """Every search of these super-networks under budgets on these costs, and the reference networks.

    Args:
        seed: the first of ``options.seeds``.
        folder: finished runs are kept in ``runs/``, checkpoints in ``checkpoints/``.

    Raises:
        FileNotFoundError: the data are not there.
        InfeasibleError: a budget below the cheapest network; with the least cost there is.
        ValueError: an option out of range, or kept runs of other options.
    """
    data = load_data(options.setup, seed)
    runs = list(_runs(families, costs, options, data, range(seed, seed + options.seeds)))
    if not options.resume:
        for old in [*(folder / "runs").glob("*.json"), *(folder / "checkpoints").glob("*.safetensors")]:
            old.unlink()
    done = run_seeds(partial(_run, runs, options, folder), range(len(runs)), options.side_by_side(len(runs)), progress)
    return RunsRecord(data=data.name, scale=scale, runs=tuple(done))


def budgets_of(
    network: NetworkSpec, cost: CostName, sizes: Sequence[int], shares: Sequence[float], fractions: Sequence[float] = ()
) -> list[ContestBudget]:
    """Budgets on a cost, the least first: what reference networks cost, shares of the whole and fractions of the largest reference
    network, rounded down."""
    whole, found = _cost_of(network, cost), dict[float, str]()
    for size in sizes:
        plain = network.plain(size)
        found[_cost_of(plain, cost)] = plain.title
    largest = max(found, default=whole)
    for share in fractions:
        found.setdefault(float(math.floor(share * largest)), f"{share:.0%} of {found[largest]}")
    for share in shares:
        found.setdefault(float(math.floor(share * whole)), f"{share:.0%} of the whole")
    return [ContestBudget(cost=cost, name=found[limit], limit=limit) for limit in sorted(found) if limit < whole]


def _cost_of(network: NetworkSpec, cost: CostName) -> float:
    space = network.space()
    return cost_model(space, cost).cost(space.whole)


def _runs(
    families: Sequence[Family], costs: Sequence[CostName], options: ContestOptions, data: DataSplits, seeds: Sequence[int]
) -> Iterator[Run]:
    for family in families:
        network = super_network(family, options.setup, data)
        ours = family == "ResNet"
        sizes, shares = (options.resnet_sizes, options.resnet_shares) if ours else (options.cnf_sizes, options.cnf_shares)
        short = family.replace(" ", "-").lower()
        for cost in costs:
            for budget in budgets_of(network, cost, sizes, shares, options.fractions if ours else ()):
                within = re.sub(r"\W+", "-", budget.name).lower()
                for method in options.methods:
                    if method == "soft" or cost in _ADDITIVE:
                        for penalty in options.penalties:
                            for seed in seeds:
                                name = f"{short}_{cost}_{within}_{method}{penalty:g}_seed{seed}"
                                yield Run(name, network, method, budget, penalty, seed)
                for seed in seeds if options.randoms else ():
                    yield Run(f"{short}_{cost}_{within}_random_seed{seed}", network, "random", budget, 0.0, seed)
        for size in sizes if options.plain else ():
            for seed in seeds:
                yield Run(f"{short}_plain{size}_seed{seed}", network.plain(size), "plain", None, 0.0, seed)


def _run(runs: Sequence[Run], options: ContestOptions, folder: Path, number: int, progress: Reports) -> ContestRun:
    """One run, or what was kept of it."""
    run, settings = runs[number], _settings(options)
    kept = folder / "runs" / f"{run.name}.json"
    decides = {"network": run.network, "budget": run.budget, "penalty": run.penalty, "settings": settings}
    record = kept_record(kept, ContestRun, "contest", **decides)
    if record is None:
        with one_thread(options.device):
            record = _searched(run, options, settings, folder / "checkpoints" / f"{run.name}.safetensors", progress)
        save_json(record, kept)
    return record


def _searched(run: Run, options: ContestOptions, settings: dict[str, Any], checkpoint: Path, progress: Reports) -> ContestRun:
    began = time.perf_counter()
    data, space, fabric = load_data(options.setup, run.seed), run.network.space(), make_fabric(options)
    kept, report = kept_under(checkpoint, data), progress.callback(run.label)
    found: SearchRun[Any] | None = None
    scratch: list[ScratchRecord] = []
    if run.method == "random" and run.budget is not None:
        problem = SearchProblem(space.space, (_budget(space, run.budget),))
        for number, running in enumerate(random_networks(space, problem, options.randoms, run.seed)):
            scratch.append(scratch_record(space, running, options, data, _weights(run.seed, number), fabric))
            report(number + 1, options.randoms, "random networks")
    else:
        if run.method == "plain":
            found, scores = trained_alone(space, options, data, _weights(run.seed, 0), fabric, kept, report, every_epoch=True)
            if options.scratch:
                costs = {name: cost_model(space, name).cost(space.whole) for name in COST_NAMES}
                scratch.append(ScratchRecord(seed=_weights(run.seed, 0), costs=costs, **scores))
        else:
            found = _search(run, space, options, data, fabric, kept, report)
        running = space.connectivity.running(space.space, found.result.architecture)
        for number in range(len(scratch), options.scratch):
            scratch.append(scratch_record(space, running, options, data, _weights(run.seed, number), fabric))
    return ContestRun(
        network=run.network,
        method=run.method,
        budget=run.budget,
        penalty=run.penalty,
        seed=run.seed,
        warm_up=options.scratch_epochs if run.method == "plain" else options.warm_up,
        probabilities=() if found is None else tuple(found.result.point[1::2].tolist()),
        history=() if found is None else tuple(_entries(space, found)),
        scratch=tuple(scratch),
        seconds=time.perf_counter() - began,
        settings=settings,
    )


def _search(
    run: Run,
    space: DagSpace,
    options: ContestOptions,
    data: DataSplits,
    fabric: Fabric,
    kept: Checkpoint,
    report: Callable[[int, int, str], None],
) -> SearchRun[Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        supernet = space.supernet(rows="route", disconnected="zeros")
    budgets = () if run.budget is None else (_budget(space, run.budget),)
    return search(
        SearchProblem(space.space, budgets),
        method_of(run, space, options),
        supernet,
        data.weights,
        SearchOptions(options.epochs, options.batch_size, workers=options.workers, seed=run.seed),
        fabric,
        kept,
        report,
        training=WeightTraining(options.learning_rate, options.momentum, options.weight_decay, options.milestones),
        score=scorer(supernet, data, options, run.seed, fabric),
    )


def method_of(run: Run, space: DagSpace, options: ContestOptions) -> Budgeted:
    """The method of a search, by the options of its scale."""
    limit = run.budget.limit if run.budget is not None else 1.0
    hard = run.method == "hard"
    return Budgeted(
        space,
        samples=options.hard_samples if hard else options.samples,
        coefficient=0.0 if hard else _coefficient(run.penalty, limit),
        charge=options.charge,
        anneal=options.anneal,
        warm_up=options.warm_up,
        learning_rate=options.hard_rate if hard else options.logit_rate,
        momentum=options.momentum,
        milestones=options.milestones,
        clamp=options.clamp or math.inf,
        baseline=options.baseline,
        hard=hard,
        settle="project" if options.clamp else "mode",
    )


def _weights(seed: int, number: int) -> int:
    """The seed of the weights and batches of a training alone: networks of one seed and number begin alike."""
    return 1000 * seed + number


def _budget(space: DagSpace, budget: ContestBudget) -> Budget:
    cost = cost_model(space, budget.cost)
    return Budget(cost, budget.limit, cost.unit)


def _coefficient(penalty: float, limit: float) -> float:
    """Of ``Budgeted``: it counts in 10^-m for a limit of magnitude 10^m, the penalty is relative to the limit itself."""
    magnitude: float = 10.0 ** math.floor(math.log10(limit))
    return penalty / limit * magnitude


def _entries(space: DagSpace, found: SearchRun[Any]) -> Iterator[EpochRecord]:
    costs = {cost: cost_model(space, cost) for cost in COST_NAMES}
    for entry in found.history:
        on = [entry["choices"][decision.name] == "on" for decision in space.space.decisions]
        architecture = space.switched(np.array(on))
        yield EpochRecord(
            epoch=entry["epoch"],
            loss=entry["loss"],
            entropy=entry["entropy"],
            on=entry["on"],
            modules="".join("01"[state] for state in on),
            costs={name: cost.cost(architecture) for name, cost in costs.items()},
            **entry["scores"],
        )


def _settings(options: ContestOptions) -> dict[str, Any]:
    """What decides a run, JSON-ready; where and how many at a time does not."""
    budgets = ("resnet_sizes", "resnet_shares", "fractions", "cnf_sizes", "cnf_shares")
    how_many = ("seeds", "methods", "plain", "penalties", "processes", "workers", "resume")
    values = {name: value for name, value in asdict(options).items() if name not in (*budgets, *how_many)}
    values["setup"] = {name: value for name, value in values["setup"].items() if name != "data_root"}
    plain: dict[str, Any] = json.loads(json.dumps(values))  # tuples as lists, as they come back from a file
    return plain

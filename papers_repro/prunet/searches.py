"""Many PruNet searches side by side, each kept in a file of its own so that a run can be resumed; retraining of what they found.

A search without a budget charges ``alpha (ln LAT)^beta`` and lands where it lands. One with a budget charges ``alpha`` too (0 is
allowed), and its answer is projected exactly onto the budget: blocks and widths that survived, at their best. Every found network
is retrained from fresh weights on the digits of both splits and tested on others.

Reference: PruNet, Sec. 3 and 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from constrained_nas.methods.prunet import PruNet, PruNetState, PrunodeSettings, SkipScales
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import save_architecture
from constrained_nas.search import PRUNET_TRAINING, SearchOptions, SearchRun, search, search_identity
from constrained_nas.training import Checkpoint
from graphs.costs import QuadraticCost, width_latency_cost
from graphs.files import Record, save_json
from graphs.spaces import GPUNetSpace
from papers_repro.experiment import fresh_supernet, kept_record, kept_under, make_fabric, one_thread
from papers_repro.harness import ProgressBars, Reports, run_seeds
from papers_repro.prunet.retraining import plain, retrained, settings_of, teacher_of
from papers_repro.prunet.setup import SetupOptions, WidthLatencies, load_data, make_space
from papers_repro.prunet.spaces import separate_candidates
from papers_repro.prunet.warm_up import begin_warm


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """One search; the defaults are the paper's.

    Attributes:
        name: of its files.
        seed: of data, weights and search.
        alpha: of the loss.
        budget_ms: project the answer onto this latency; None leaves it to alpha.
        least_use: share of that budget that the answer uses at least, where what survived allows it.
        prunode, pruning, skipping: PruNet's optimizations; without any it is FBNet, with two widths a block.
        thresholds: of block pruning, first and last.
        phi, scale: of layer skipping: what the outputs of the skip and of the block are multiplied by (scale is lambda).
    """

    name: str
    seed: int
    alpha: float
    budget_ms: float | None = None
    prunode: bool = True
    pruning: bool = True
    skipping: bool = True
    thresholds: tuple[float, float] = (0.15, 0.55)
    phi: float = 1.1
    scale: float = 0.55
    least_use: float = 0.0


class SearchRecord(Record):
    """What a search found and how it went.

    Attributes:
        spec: of the search.
        choices: block and width, or skip, of every layer.
        latency_ms: estimated.
        blocks: inverted residuals that are left.
        undecided: layers in which more than one option was left at the end.
        loss, cross_entropy: of the last epoch, with and without its penalty (means over its architecture steps).
        history: an entry an epoch: ``loss``, ``latency_ms`` (expected), ``options`` left a layer ...
        steps: of an epoch.
        step_seconds: wall time of a step, mean of every epoch.
        processor_seconds: of every epoch; empty on a GPU and where the search was resumed half-way.
        needed_alpha: of a projection: the least alpha that would have led there; None without a budget.
        remark: of the search's answer.
        settings: everything else that decides the search.
    """

    spec: dict[str, Any]
    choices: dict[str, dict[str, str | int] | str]
    latency_ms: float
    blocks: int
    undecided: int
    loss: float
    cross_entropy: float
    history: tuple[dict[str, Any], ...]
    steps: int
    step_seconds: tuple[float, ...]
    processor_seconds: tuple[float, ...]
    seconds: float
    needed_alpha: float | None
    remark: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pruned:
    """A search, with the test accuracy in % of its network and the seconds of retraining; NaN and 0 where it was not retrained."""

    spec: SearchSpec
    record: SearchRecord
    accuracy: float
    retrain_seconds: float


def start_over(folder: Path, setup: SetupOptions) -> None:
    """Remove what earlier runs kept in ``folder``, unless the run is to be resumed."""
    if setup.resume:
        return
    for kept in ("searches", "retrained", "checkpoints", "architectures"):
        for path in (folder / kept).glob("*"):
            path.unlink(missing_ok=True)


def run_searches(
    specs: Sequence[SearchSpec],
    setup: SetupOptions,
    latencies: WidthLatencies,
    folder: Path,
    progress: ProgressBars,
    retrain: bool = True,
    processes: int | None = None,
) -> list[Pruned]:
    """Run every search, then (``retrain``) train what it found; what the folder already has is not run again.

    Args:
        specs: different names.
        folder: keeps records and architectures; call :func:`start_over` first.
        retrain: whether accuracies are wanted.
        processes: at a time; as the setup says if None.

    Raises:
        ValueError: no searches, a kept record is of other options, or the teacher does not suit the data.
    """
    if not specs:
        raise ValueError("no searches: give at least one seed, and one alpha or budget")
    if len({spec.name for spec in specs}) < len(specs):
        raise ValueError("searches must have different names: their files would overwrite each other")
    if setup.data == "digits":
        for seed in {spec.seed for spec in specs}:
            load_data(setup, seed)
    if retrain and setup.teacher:  # one that does not suit the data is refused before anything is searched
        teacher_of(setup, load_data(setup, specs[0].seed, retrain=True))
    work = partial(_run, tuple(specs), setup, latencies, folder, retrain)
    return run_seeds(work, range(len(specs)), min(processes or len(specs), setup.side_by_side(len(specs))), progress)


def method_of(spec: SearchSpec, setup: SetupOptions, space: GPUNetSpace, cost: QuadraticCost) -> PruNet:
    """The method as a search runs it, in the space it sees (:func:`_space_of`)."""
    return PruNet(
        space,
        cost,
        alpha=spec.alpha,
        temperature=setup.temperature,
        learning_rate=setup.logit_rate,
        warm_up=setup.warm_up,
        first_threshold=spec.thresholds[0],
        last_threshold=spec.thresholds[1],
        prunode=spec.prunode,
        widths=PrunodeSettings(clamp=setup.clamp),
        pruning=spec.pruning,
        skipping=spec.skipping,
        scales=SkipScales(spec.phi, spec.scale),
        hard=spec.budget_ms is not None,
        hard_epochs=spec.budget_ms is not None and setup.hard_epochs,
        least_use=spec.least_use,
    )


def run_search(
    spec: SearchSpec, setup: SetupOptions, latencies: WidthLatencies, folder: Path, progress: Reports, retrain: bool = True
) -> Pruned:
    """One search and, with ``retrain``, the training of what it found; what the folder already has is not run again.

    Raises:
        ValueError: a kept record is of other options.
    """
    with one_thread(setup.device):
        record = _searched(spec, setup, latencies, folder, progress)
        if not retrain:
            return Pruned(spec, record, float("nan"), 0.0)
        trained = retrained(spec.name, spec.seed, record.choices, setup, folder, progress)
        return Pruned(spec, record, 100 * trained.accuracy, trained.seconds)


def _run(
    specs: Sequence[SearchSpec],
    setup: SetupOptions,
    latencies: WidthLatencies,
    folder: Path,
    retrain: bool,
    number: int,
    progress: Reports,
) -> Pruned:
    return run_search(specs[number], setup, latencies, folder, progress, retrain)


def _searched(spec: SearchSpec, setup: SetupOptions, latencies: WidthLatencies, folder: Path, progress: Reports) -> SearchRecord:
    """One search, or what was kept of it."""
    path, settings = folder / "searches" / f"{spec.name}.json", settings_of(setup, retrain=False)
    described = plain(asdict(spec))
    kept = kept_record(path, SearchRecord, "search", spec=described, settings=settings)
    if kept is not None:
        return kept
    data = load_data(setup, spec.seed)
    whole = make_space(setup, data.classes, data.image_channels)
    space, cost = _space_of(spec, whole, latencies)
    method = method_of(spec, setup, space, cost)
    budgets = () if spec.budget_ms is None else (Budget(cost, spec.budget_ms, cost.unit),)
    problem = SearchProblem(space.space, budgets)
    checkpoint = kept_under(folder / "checkpoints" / f"{spec.name}.safetensors", data)
    options = SearchOptions(setup.epochs, setup.batch_size, workers=setup.workers, seed=spec.seed)
    training = replace(PRUNET_TRAINING, learning_rate=setup.weights_rate)
    report, began, resumed = progress.callback(spec.name), time.perf_counter(), checkpoint.exists()

    def searched(kept: Checkpoint, told: Callable[[int, int, str], None]) -> SearchRun[PruNetState]:
        supernet, fabric = fresh_supernet(space, spec.seed), make_fabric(setup)
        return search(
            problem,
            method,
            supernet,
            data.architecture,
            options,
            fabric,
            kept,
            told,
            training=training,
            weights_data=data.weights,
        )

    before: tuple[float, ...] = ()
    if setup.share_warm_up and setup.warm_up and spec.prunode and spec.pruning and not resumed:
        identity = search_identity(problem, method, options, training)
        before = begin_warm(checkpoint, identity, setup.warm_up, searched, report).processor_seconds
        resumed = not before
    stamps, done_before = [time.process_time()], len(before)

    def stamp(done: int, total: int, what: str) -> None:
        if done % (total // setup.epochs) == 0 and done > done_before * (total // setup.epochs):
            stamps.append(time.process_time())
        report(done, total, what)

    run = searched(checkpoint, stamp)
    save_architecture(problem, run.result, "PruNet", folder / "architectures" / f"{spec.name}.json")
    choices = space.describe(run.result.architecture)
    alphas = method.project(problem, run.state).alphas if budgets else None
    record = SearchRecord(
        spec=described,
        choices=choices,
        latency_ms=latencies.cost.cost(whole.architecture(choices)),
        blocks=sum(choice != "skip" for name, choice in choices.items() if whole.layers[name].widths),
        undecided=sum(
            len({space.layers[n].options[o].block for o in options}) > 1 for n, options in method.alive(run.state).items()
        ),
        loss=run.history[-1]["objective"],
        cross_entropy=run.history[-1]["cross_entropy"],
        history=tuple(run.history),
        steps=len(run.losses) // setup.epochs,
        step_seconds=tuple(run.seconds),
        processor_seconds=() if resumed or setup.device != "cpu" else (*before, *np.diff(stamps).tolist()),
        seconds=time.perf_counter() - began,
        needed_alpha=None if alphas is None else alphas[0],
        remark=run.result.remark,
        settings=settings,
    )
    save_json(record, path)
    return record


def _space_of(spec: SearchSpec, whole: GPUNetSpace, latencies: WidthLatencies) -> tuple[GPUNetSpace, QuadraticCost]:
    """Without Prunodes a search sees two widths a block, each with weights of its own; their latencies are in the same table."""
    if spec.prunode:
        return whole, latencies.cost
    space = separate_candidates(whole)
    return space, width_latency_cost(latencies.table.model_copy(update={"space": space.space.name}), space)

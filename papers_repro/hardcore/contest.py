"""Searches under the same budgets on the same super-network, what their networks come to, and the picture of them.

For one seed: our search (HardCoRe-NAS's algorithm with small steps, its gradients averaged and the linearized loss projected);
HardCoRe-NAS as printed (balanced start, steps 4 / (t + 4), credits projected, but jointly and exactly, as Eq. 13 may not fit); a
soft penalty ended by argmax and by our projection; a random network that fits; the cheapest network. Every distinct network is
extracted with the super-network's weights, fine-tuned towards labels and the heaviest network's answers ("2 for 1", Appendix G),
and tested once.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from constrained_nas.ask_tell import SearchMethod, SearchResult
from constrained_nas.latency import Measurement
from constrained_nas.methods import HardCoRe, Objective, SoftPenalty, Start, random_feasible
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchOptions, SearchRun, search
from constrained_nas.training import Checkpoint, TrainingOptions, evaluate, fine_tune, recalibrate_on
from graphs import Architecture
from graphs.files import read_json, save_json
from papers_repro.experiment import kept_under
from papers_repro.hardcore.setup import TrainedSupernet
from papers_repro.harness import Reports, mean, new_figure, save_figure
from solvers import Certificate, cheapest_start

State = TypeVar("State")

OURS = "ours: small steps, linearized"
PRINTED = "HardCoRe-NAS as printed"
PENALTY = "soft penalty, argmax"
PENALTY_PROJECTED = "soft penalty, joint projection"
RANDOM = "random that fits"
CHEAPEST = "cheapest network"
METHODS = (OURS, PRINTED, PENALTY, PENALTY_PROJECTED, RANDOM, CHEAPEST)


@dataclass(frozen=True, slots=True)
class ContestOptions:
    """The searches and the fine-tuning."""

    search_epochs: int = 4
    """Passes over the architecture split."""
    search_batch: int = 64
    """Rows of a search step, an architecture each."""
    start: Start = "entropy"
    """Of our search: balanced (Eq. 27), cheapest, or entropy (the joint maximum-entropy point)."""
    step_numerator: float = 0.1
    """Of our search: steps numerator / (t + offset). Small steps keep every option sampled while gradients are averaged."""
    step_offset: float = 40.0
    """Of our search: see step_numerator."""
    gradient_momentum: float = 0.97
    """Of our search: share of the past in the mean of the gradients."""
    objective: Objective = "linearize"
    """What our projection maximizes: minus that mean (linearize), or the credits of the last point."""
    penalty: float = 10.0
    """Coefficient of the soft penalty."""
    penalty_rate: float = 0.1
    """Learning rate of the soft penalty's Adam."""
    fine_tune_epochs: int = 1
    """Of every network that is tested."""
    fine_tune_rate: float = 0.05
    """Learning rate at the start of fine-tuning."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method found under one budget with one seed, with the projection's certificate where there was one."""

    seed: int
    budget: int
    limit_ms: float
    method: str
    architecture: Architecture
    estimated_ms: float
    fits: bool
    search_seconds: float
    certificate: Certificate | None

    @property
    def gap(self) -> float | None:
        """The certificate's gap; None without a certificate."""
        return None if self.certificate is None else self.certificate.gap


def run_contest(
    prepared: TrainedSupernet,
    limits_ms: list[float],
    options: ContestOptions,
    seed: int,
    fabric: Fabric,
    progress: Reports,
    checkpoints: Path,
    resume: bool,
) -> list[Outcome]:
    """Every method under every budget (ms), with one seed.

    Raises:
        InfeasibleError: a budget below the cheapest network; names it.
    """
    outcomes = []
    for index, limit in enumerate(limits_ms):
        problem = SearchProblem(prepared.space.space, (Budget(prepared.cost, limit, "ms"),))
        for method, result, seconds in _results(prepared, problem, options, seed, index, fabric, progress, checkpoints, resume):
            outcomes.append(
                Outcome(
                    seed=seed,
                    budget=index,
                    limit_ms=limit,
                    method=method,
                    architecture=result.architecture,
                    estimated_ms=result.costs[prepared.cost.name],
                    fits=result.feasible,
                    search_seconds=seconds,
                    certificate=result.certificate,
                )
            )
    return outcomes


def _results(
    prepared: TrainedSupernet,
    problem: SearchProblem,
    options: ContestOptions,
    seed: int,
    budget: int,
    fabric: Fabric,
    progress: Reports,
    checkpoints: Path,
    resume: bool,
) -> Iterator[tuple[str, SearchResult, float]]:
    space, staged = prepared.space.space, prepared.space.staged
    settings = SearchOptions(options.search_epochs, options.search_batch, seed=seed * 1000 + budget)
    ours = HardCoRe(
        space, staged, options.start, options.step_numerator, options.step_offset, options.gradient_momentum, options.objective
    )
    printed = HardCoRe(space, staged)  # the defaults are Algorithm 1's: balanced start, 4 / (t + 4), credits
    penalty = SoftPenalty(space, staged, options.penalty, options.penalty_rate)
    label = f"seed {seed}, budget {problem.limits[0]:.3g} ms"

    def checkpoint(name: str) -> Checkpoint:
        path = checkpoints / f"search_{name}_seed{seed}_budget{budget}.safetensors"
        if not resume:
            path.unlink(missing_ok=True)
        return kept_under(path, prepared.data)

    def searched(name: str, method: SearchMethod[State]) -> tuple[SearchRun[State], float]:
        began = time.perf_counter()
        split, report = prepared.data.architecture, progress.callback(label)
        run = search(problem, method, prepared.supernet, split, settings, fabric, checkpoint(name), report)
        return run, time.perf_counter() - began

    for method, name, algorithm in ((OURS, "ours", ours), (PRINTED, "printed", printed)):
        run, seconds = searched(name, algorithm)
        yield method, run.result, seconds
    soft, seconds = searched("soft", penalty)
    yield PENALTY, soft.result, seconds
    yield PENALTY_PROJECTED, replace(penalty, projection="joint").finish(problem, soft.state), seconds
    began = time.perf_counter()
    drawn = random_feasible(problem, staged, np.random.default_rng([seed, budget]))
    yield RANDOM, drawn.result, time.perf_counter() - began
    began = time.perf_counter()
    point = cheapest_start(staged, prepared.cost.quadratic, problem.limits[0]).require_feasible().x
    architecture = space.architecture(point)  # type: ignore[arg-type] # a feasible result has a point
    yield CHEAPEST, SearchResult.of(problem, architecture, space.point(architecture)), time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Tested:
    """An outcome with its network's test accuracy (%), fine-tuning time, and latency on the device."""

    outcome: Outcome
    accuracy: float
    fine_tune_seconds: float
    measured: Measurement


class Tests:
    """Test accuracies of networks after fine-tuning, each measured once and remembered in a file; the weights stay in checkpoints.

    A network is fine-tuned from the super-network of its seed, so a result belongs to (seed, architecture).
    """

    def __init__(self, prepared: TrainedSupernet, training: TrainingOptions, fabric: Fabric, memory: Path, resume: bool) -> None:
        self.prepared, self.training, self.fabric, self.memory = prepared, training, fabric, memory
        self.known: dict[str, dict[str, float]] = {}
        options = {name: value for name, value in asdict(training).items() if name != "workers"}
        self.made_by = {"training": options, **kept_under(memory, prepared.data).made_by}
        if resume and memory.exists():
            kept = read_json(memory, "list of accuracies")
            if not isinstance(kept, dict) or json.loads(json.dumps(self.made_by)) != kept.get("made_by"):
                raise ValueError(f"{memory}: of other options, data or versions; start over with --no-resume, or restore them")
            self.known = kept["known"]
        self.resume = resume

    def accuracy(self, architecture: Architecture) -> tuple[float, float]:
        """(test accuracy, seconds of fine-tuning) of an architecture."""
        key = "|".join(map(str, self.prepared.space.space.describe(architecture).values()))
        if key not in self.known:
            began = time.perf_counter()
            network = self._extract(architecture)
            name = hashlib.sha256(key.encode()).hexdigest()[:16]
            checkpoint = self.memory.with_name(f"tuned_seed{self.training.seed}_{name}.safetensors")
            if not self.resume:
                checkpoint.unlink(missing_ok=True)
            data, teacher = self.prepared.data.weights, self.prepared.teacher
            fine_tune(network, data, self.training, self.fabric, teacher, checkpoint=kept_under(checkpoint, self.prepared.data))
            seconds = time.perf_counter() - began
            self.known[key] = {
                "accuracy": evaluate(network, self.prepared.data.test, self.fabric, workers=self.training.workers),
                "seconds": seconds,
            }
            save_json({"made_by": self.made_by, "known": self.known}, self.memory)
        return self.known[key]["accuracy"], self.known[key]["seconds"]

    def _extract(self, architecture: Architecture) -> nn.Module:
        """The bare network with the super-network's weights and statistics of its own."""
        network = self.prepared.supernet.extract(architecture)
        network.to(self.fabric.device).to(memory_format=torch.channels_last)
        recalibrate_on(network, self.prepared.data.weights, self.training.batch_size, 10, self.training.seed, self.fabric)
        return network


def draw_contest(tested: Sequence[Tested], path: Path, task: str, conditions: str) -> None:
    """Write the picture to ``path``; ``task`` and ``conditions`` say what was tested and how latencies were measured."""
    figure = new_figure(8.5, 5)
    axes = figure.subplots()
    colours = dict(zip(METHODS, ("#d62728", "#ff7f0e", "#7f7f7f", "#1f77b4", "#2ca02c", "#9467bd"), strict=True))
    markers = dict(zip(METHODS, "oPsD^v", strict=True))
    budgets = sorted({t.outcome.budget for t in tested})
    for budget in budgets:
        limit = next(t.outcome.limit_ms for t in tested if t.outcome.budget == budget)
        axes.axvline(limit, color="0.6", linewidth=1, linestyle="--", zorder=0)
        axes.annotate(
            f"T = {limit:.2f} ms",
            (limit, 1),
            (2, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=8,
            color="0.35",
        )
    for method in METHODS:
        shown = budgets[:1] if method == CHEAPEST else budgets
        groups = [[t for t in tested if t.outcome.method == method and t.outcome.budget == budget] for budget in shown]
        dots = [t for group in groups for t in group]
        axes.scatter(
            [t.measured.median for t in dots], [t.accuracy for t in dots], s=14, color=colours[method], alpha=0.45, linewidths=0
        )
        x = [mean(t.measured.median for t in group) for group in groups]
        y = [mean(t.accuracy for t in group) for group in groups]
        axes.plot(x, y, marker=markers[method], color=colours[method], label=method, markersize=7, linewidth=1.3, alpha=0.9)
    axes.set_xlabel(f"measured latency, ms ({conditions})")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"Networks under hard latency budgets: {task} (small dots)", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right")
    save_figure(figure, path)

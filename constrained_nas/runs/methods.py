"""Which method searches which space under which budgets, and one search with it.

A combination that cannot hold every budget is refused before anything is trained, with the reason and what to use instead. What a
search has learned is kept as a function, :attr:`Found.again`: the same state projected onto other limits, which costs milliseconds.
Budgets tightened on a device, and sweeps that only project again, use it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from constrained_nas.ask_tell import SearchMethod, SearchResult
from constrained_nas.latency import Progress
from constrained_nas.methods import HardCoRe, SoftPenalty, random_feasible, start_point
from constrained_nas.methods.budgeted import Budgeted
from constrained_nas.methods.filter_level import (
    FilterLevel,
    FilterSearchOptions,
    FilterWeights,
    c1,
    c3,
    filter_search,
    statistics_of,
)
from constrained_nas.methods.prunet import PruNet
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.costs import require_within_reach
from constrained_nas.runs.settings import MethodName, Plan, RunSettings, plan_of
from constrained_nas.runs.setup import Prepared
from constrained_nas.runs.spaces import Family, FilterFamily, RunSpace
from constrained_nas.search import PRUNET_TRAINING, SearchOptions, WeightTraining, search
from graphs import DagSpace, GPUNetSpace, MBConvSpace, Supernet
from graphs.costs import CostModel, QuadraticCost
from solvers import InfeasibleError, Quadratic

_METHODS: dict[Family, tuple[MethodName, ...]] = {
    "hardcore": ("hardcore", "soft-penalty", "random"),
    "dag": ("budgeted",),
    "gpunet": ("prunet",),
    "filters": ("filter-level",),
}
_SEARCHED: dict[MethodName, str] = {
    "hardcore": "blocks and depths (hardcore-small, hardcore-imagenet)",
    "soft-penalty": "blocks and depths (hardcore-small, hardcore-imagenet)",
    "random": "blocks and depths (hardcore-small, hardcore-imagenet)",
    "budgeted": "modules to switch off (resnet-fabric-small, cnf-small, resnet-fabric-3 ...)",
    "prunet": "blocks with widths (gpunet-small, gpunet-imagenet, gpunet-imagewoof)",
    "filter-level": "filters (resnet8-bits, resnet8-widths, resnet20-bits ...)",
}
_OF_LATENCY = ("latency_ms", "selected_ms", "needed_alpha")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search came to.

    Attributes:
        result: its answer.
        again: the same state under other limits of the same budgets; raises InfeasibleError where nothing fits.
        history: an entry an epoch.
        supernet: with the weights that the search ended with; None where networks are trained from scratch.
        seconds: of this search, less than the whole where it was gone on with.
        tightens: whether ``again`` follows the limits: an argmax does not.
    """

    result: SearchResult
    again: Callable[[SearchProblem], SearchResult]
    history: list[dict[str, Any]]
    supernet: Supernet | None
    seconds: float
    tightens: bool = True


def refuse_method(settings: RunSettings, method: MethodName | None = None) -> None:
    """Nothing, if the method (the settings' by default) searches such spaces and holds so many budgets.

    Raises:
        ValueError: it does not; says why and what to use instead.
    """
    chosen = method or plan_of(settings).method
    suitable = _METHODS[settings.family]
    if chosen not in suitable:
        raise ValueError(
            f"--method {chosen} searches {_SEARCHED[chosen]}; {settings.space} has other decisions: use --method "
            f"{' or '.join(suitable)}, or one of those spaces"
        )
    if chosen == "filter-level" and len(settings.budgets) > 1:
        raise ValueError(
            f"--method filter-level holds one budget, got {len(settings.budgets)}: leave out all but one, or search another space "
            "(hardcore, budgeted and prunet hold several at once)"
        )


def require_tables(settings: RunSettings) -> None:
    """Nothing, if latencies of such spaces can be tabulated.

    Raises:
        ValueError: they cannot; says what to use instead.
    """
    instead = {"dag": "params or macs", "filters": "bops or macs"}.get(settings.family)
    if instead:
        raise ValueError(f"there are no latency tables of {settings.space}: use {instead}, or a hardcore or gpunet space")


def refuse_impossible(
    settings: RunSettings, space: RunSpace, problem: SearchProblem, costs: Mapping[str, CostModel], method: MethodName | None = None
) -> None:
    """Nothing, if the method can hold every budget in this space.

    Args:
        settings: of the run.
        space: what is searched.
        problem: see ``run_costs.make_problem``.
        costs: those that the space knows, with the latency if there is a table.
        method: another one than the settings'.

    Raises:
        ValueError: it cannot; says why and what to use instead.
        InfeasibleError: nothing fits; with the least cost there is.
    """
    refuse_method(settings, method)
    require_within_reach(space, problem)
    try:
        _feasible_together(settings, space, problem, costs)
    except InfeasibleError as error:
        together = ", ".join(f"{b.cost.name} <= {b.limit:.10g} {b.unit}" for b in problem.budgets)
        raise InfeasibleError(f"no network of {problem.space.name!r} meets {together}: {error}") from error


def search_problem(
    prepared: Prepared,
    problem: SearchProblem,
    costs: Mapping[str, CostModel],
    checkpoint: Path,
    progress: Progress | None = None,
    method: MethodName | None = None,
) -> Found:
    """One search. A HardCoRe super-network (``prepared.supernet``, trained) stays as it is; others are trained on the way.

    Args:
        prepared: see ``run_setup.prepare``.
        problem: what is asked.
        costs: see ``run_costs.costs_of``; PruNet charges ``latency_ms``.
        checkpoint: saved after every epoch and gone on with; of this problem and method alone.
        progress: told after each step.
        method: another one than the settings'.

    Raises:
        ValueError: as :func:`refuse_impossible` says, or a checkpoint of another search.
    """
    settings, plan, space = prepared.settings, prepared.plan, prepared.space
    chosen = method or plan.method
    began = time.perf_counter()
    if isinstance(space, FilterFamily):
        found = _search_filters(prepared, space, problem, checkpoint, progress)
    elif chosen == "random" and isinstance(space, MBConvSpace):
        draw = partial(_random, space, settings.seed)
        found = Found(draw(problem), draw, [], prepared.supernet, 0.0)
    elif isinstance(space, MBConvSpace) and prepared.supernet is not None:
        options = SearchOptions(plan.epochs, plan.batch_size, workers=settings.workers, seed=settings.seed)
        found = _search(
            problem, _frozen_method(settings, space, chosen), prepared.supernet, prepared, options, checkpoint, progress, None
        )
        found = replace(found, tightens=not (chosen == "soft-penalty" and settings.soft_end == "argmax"))
    elif isinstance(space, DagSpace):
        supernet = _seeded(partial(space.supernet, rows="route", disconnected="zeros"), settings.seed)
        training = WeightTraining(plan.learning_rate, milestones=(0.6, 0.85))
        options = SearchOptions(plan.epochs, plan.batch_size, workers=settings.workers, seed=settings.seed)
        found = _search(problem, _budgeted(settings, space, problem), supernet, prepared, options, checkpoint, progress, training)
    elif isinstance(space, GPUNetSpace):
        supernet = _seeded(space.supernet, settings.seed)
        training = replace(PRUNET_TRAINING, learning_rate=plan.learning_rate)
        options = SearchOptions(plan.epochs, plan.batch_size, workers=settings.workers, seed=settings.seed)
        found = _search(problem, _prunet(settings, space, costs), supernet, prepared, options, checkpoint, progress, training)
        found = replace(found, history=_known(found.history, costs))
    else:
        raise ValueError(f"--method {chosen} does not search {settings.space}")
    return replace(found, seconds=time.perf_counter() - began)


def filter_options(plan: Plan, space: FilterFamily, seed: int) -> FilterSearchOptions:
    """C.1 for bit widths; C.3, on all the data and without fresh starts, for numbers of filters."""
    weights = FilterWeights(plan.batch_size, plan.learning_rate)
    if space.space.kind == "quantization":
        return c1(weight_epochs=plan.train_epochs, samples=plan.samples, iterations=plan.epochs, weights=weights, seed=seed)
    return c3(
        weight_epochs=plan.train_epochs,
        sample_epochs=1,
        samples=max(2, plan.samples // 2),
        iterations=plan.epochs,
        reset_period=0,
        law_batches=30,
        weights=weights,
        seed=seed,
    )


def _feasible_together(settings: RunSettings, space: RunSpace, problem: SearchProblem, costs: Mapping[str, CostModel]) -> None:
    generator = np.random.default_rng(0)
    if isinstance(space, FilterFamily):
        _filter_level(space).init(problem, generator)
    elif isinstance(space, MBConvSpace):
        start_point(problem, space.staged, "cheapest")
    elif isinstance(space, DagSpace):
        _budgeted(settings, space, problem).init(problem, generator)
    else:
        _prunet(settings, space, costs).init(problem, generator)


def _search(
    problem: SearchProblem,
    method: SearchMethod[Any],
    supernet: Supernet,
    prepared: Prepared,
    options: SearchOptions,
    checkpoint: Path,
    progress: Progress | None,
    training: WeightTraining | None,
) -> Found:
    """The architecture learns from its own split, but where one batch teaches both (``Budgeted``)."""
    both = isinstance(method, Budgeted)
    run = search(
        problem,
        method,
        supernet,
        prepared.data.weights if both else prepared.data.architecture,
        options,
        prepared.fabric,
        checkpoint,
        progress,
        training=training,
        weights_data=prepared.data.weights if training is not None and not both else None,
    )
    return Found(run.result, lambda other: method.finish(other, run.state), run.history, supernet, 0.0)


def _frozen_method(settings: RunSettings, space: MBConvSpace, chosen: MethodName) -> SearchMethod[Any]:
    """HardCoRe-NAS with small steps, averaged gradients and the linearized loss projected; or the penalty it is held against."""
    if chosen == "hardcore":
        return HardCoRe(space.space, space.staged, "entropy", 0.1, 40.0, 0.97, "linearize")
    projection = "joint" if settings.soft_end == "projection" else "argmax"
    return SoftPenalty(space.space, space.staged, settings.penalty, projection=projection)  # type: ignore[arg-type]


def _budgeted(settings: RunSettings, space: DagSpace, problem: SearchProblem) -> Budgeted:
    plan = plan_of(settings)
    return Budgeted(
        space,
        samples=plan.samples,
        coefficient=settings.penalty,
        ramp=0.4,
        warm_up=min(plan.warm_up, plan.epochs - 1),
        learning_rate=0.3,
        milestones=(0.6, 0.85),
        hard=True,
    )


def _prunet(settings: RunSettings, space: GPUNetSpace, costs: Mapping[str, CostModel]) -> PruNet:
    """The projection holds the budgets; the paper's alpha would only add a wish for less latency than was asked for."""
    plan, latency = plan_of(settings), costs.get("latency_ms")
    if not isinstance(latency, QuadraticCost):  # no table: with alpha 0 any positive latency does, and _known leaves it out
        decisions = space.space
        latency = QuadraticCost("latency", "ms", decisions, Quadratic.of(math.e, np.zeros(decisions.blocks.dimension)))
    return PruNet(space, latency, alpha=0.0, warm_up=min(plan.warm_up, plan.epochs - 1), hard=True, hard_epochs=True)


def _known(history: list[dict[str, Any]], costs: Mapping[str, CostModel]) -> list[dict[str, Any]]:
    """Without a table, nothing is known of latencies."""
    if "latency_ms" in costs:
        return history
    return [{name: value for name, value in entry.items() if name not in _OF_LATENCY} for entry in history]


def _filter_level(space: FilterFamily) -> FilterLevel:
    # Few steps on a laptop ask for rates far above the paper's 1e-4 to 5e-4, which are for hundreds of iterations.
    return FilterLevel(space.space, learning_rate=0.1 if space.space.kind == "quantization" else 0.02, hard=True)


def _search_filters(
    prepared: Prepared, space: FilterFamily, problem: SearchProblem, checkpoint: Path, progress: Progress | None
) -> Found:
    method, options = _filter_level(space), filter_options(prepared.plan, space, prepared.settings.seed)
    build = partial(space.build, statistics_of(method, options))
    run = filter_search(problem, method, build, prepared.data.weights, options, prepared.fabric, checkpoint, progress)
    return Found(run.result, lambda other: method.finish(other, run.state), run.history, None, 0.0)


def _random(space: MBConvSpace, seed: int, problem: SearchProblem) -> SearchResult:
    return random_feasible(problem, space.staged, np.random.default_rng([seed, 0])).result


def _seeded(build: Callable[[], Supernet], seed: int) -> Supernet:
    """Weights drawn from ``seed``; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()

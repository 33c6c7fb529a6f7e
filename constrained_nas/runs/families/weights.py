"""Searching under gates and training what was found: what several families do alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Dataset

from constrained_nas.ask_tell import SearchMethod
from constrained_nas.methods import PairwiseSurrogate
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.family import Costs, Found, Plan, Prepared, Saved
from constrained_nas.search import JudgeOptions, NetworkLoss, SearchOptions, WeightTraining, search, search_networks
from constrained_nas.training import (
    TrainingOptions,
    fine_tune,
    heaviest_file,
    load_weights,
    path_a_batch,
    recalibrate_on,
    seeded,
    train_supernet,
)
from graphs import Architecture, SearchSpace, Supernet
from graphs.costs import CostModel, PeakCost, QuadraticCost
from solvers import Quadratic

_BYTES = 4  # of a weight


def search_supernet(
    problem: SearchProblem,
    method: SearchMethod[Any],
    supernet: nn.Module,
    prepared: Prepared,
    saved: Saved,
    training: WeightTraining | None = None,
    *,
    together: bool = False,
) -> Found:
    """Search a super-network, and train it on the way where ``training`` is given.

    The architecture learns from its own split, but where one batch teaches both (``together``).
    """
    plan, data = prepared.plan, prepared.data
    settings = plan.settings
    options = SearchOptions(
        plan.epochs,
        plan.batch_size,
        workers=settings.workers,
        seed=settings.seed,
        parts=settings.parts or 1,
        recompute=settings.recompute,
        sync_batchnorm=settings.sync_batchnorm,
    )
    run = search(
        problem,
        method,
        cast(Supernet, supernet),
        data.weights if together else data.architecture,
        options,
        prepared.fabric,
        saved.checkpoint,
        saved.progress,
        training=training,
        weights_data=data.weights if training is not None and not together else None,
        curve=None if saved.curves is None else saved.curves.of("search"),
    )
    return Found(run.result, lambda other: method.finish(other, run.state), run.history, supernet)


def judge_networks(
    problem: SearchProblem, method: PairwiseSurrogate, supernet: Supernet, prepared: Prepared, saved: Saved
) -> Found:
    """Search by whole networks, judged on the first images of the architecture split."""
    plan, settings = prepared.plan, prepared.settings
    options = JudgeOptions(plan.evaluations, plan.judged_images, method.samples, settings.workers, settings.seed)
    split, fabric = prepared.data.architecture, prepared.fabric
    by_batch = plan.path_per == "batch"  # the statistics that networks had in training
    loss = NetworkLoss(
        supernet, split, options.images, fabric, batch_statistics=by_batch, workers=options.workers, seed=options.seed
    )
    curve = None if saved.curves is None else saved.curves.of("search")
    run = search_networks(problem, method, loss, supernet, options, fabric, saved.checkpoint, saved.progress, curve=curve)
    return Found(run.result, lambda other: method.finish(other, run.state), run.history, supernet)


def train_shared(prepared: Prepared, heaviest: Architecture, saved: Saved) -> None:
    """Train the shared super-network: the heaviest network first, then paths drawn uniformly, for every example or a batch.

    Reference: HardCoRe-NAS, Sec. 3.3.
    """
    plan, supernet = prepared.plan, cast(Supernet, prepared.supernet)
    gates = supernet.gates(heaviest)
    train_supernet(
        supernet,
        gates,
        prepared.data.weights,
        _by_recipe(plan, plan.warm_up, plan.learning_rate),
        _by_recipe(plan, plan.train_epochs, plan.recipe.paths_rate * plan.learning_rate),
        prepared.fabric,
        saved.checkpoint,
        saved.progress,
        path_a_batch(supernet, gates) if plan.path_per == "batch" else None,
        curves=saved.curves,
    )


def inherited(prepared: Prepared, supernet: nn.Module | None, architecture: Architecture) -> nn.Module:
    """The bare network with the super-network's weights, and statistics of its own.

    Raises:
        ValueError: there is no super-network.
    """
    if supernet is None:
        raise ValueError(f"networks of {prepared.settings.space} take the super-network's weights, and there is none")
    network = cast(Supernet, supernet).extract(architecture)
    network.to(prepared.fabric.device).to(memory_format=torch.channels_last)
    seed, batch = prepared.settings.seed, prepared.plan.batch_size
    # augmentation draws from torch's global state
    seeded(lambda: recalibrate_on(network, prepared.data.weights, batch, 10, seed, prepared.fabric), seed)
    return network


def heaviest_teacher(prepared: Prepared, heaviest: Architecture) -> nn.Module:
    """The heaviest network as it was before paths were sampled: its weights and statistics are then its own, and it answers best.

    Where it was not trained alone (``warm_up`` 0) it takes what the paths left.

    Reference: HardCoRe-NAS, Appendix G (the teacher has the weights w-bar*).
    """
    file = heaviest_file(prepared.saved("supernet").checkpoint)
    if not file.exists():
        return inherited(prepared, prepared.supernet, heaviest)
    before = cast(Supernet, seeded(prepared.family.supernet, 0))
    load_weights(before, file)
    return before.extract(heaviest).to(memory_format=torch.channels_last)


def fine_tuned(
    prepared: Prepared, network: nn.Module, data: Dataset[Any], saved: Saved, teacher: nn.Module | None = None
) -> nn.Module:
    """The network, trained further on ``data`` towards labels and, with a teacher, its answers; see :meth:`Family.trained`."""
    options = _by_recipe(prepared.plan, prepared.plan.fine_tune_epochs, prepared.plan.fine_tune_rate)
    curves = saved.curves
    if curves is not None and data is not prepared.data.weights:
        curves = replace(curves, validation=None)  # no images are held out
    kept = saved.checkpoint
    fine_tune(network, data, options, prepared.fabric, teacher, 1.0, kept, saved.told, curves, saved.phase)
    return network.to(prepared.fabric.device).eval()


def extreme_options(decisions: SearchSpace, cost: CostModel, sign: float) -> Architecture:
    """The option of greatest ``sign x cost`` of every decision, by a cost that is their sum or their peak."""
    linear = sign * (cost.peaks if isinstance(cost, PeakCost) else cast(QuadraticCost, cost).quadratic.linear)
    return decisions.choose({d.name: d.options[int(linear[decisions.slice(d.name)].argmax())] for d in decisions.decisions})


def counted_costs(parameters: QuadraticCost, macs: CostModel, memory: CostModel, energy: CostModel | None) -> Costs:
    """What is held without a clock, by the name of its budget; ``size`` is the bytes of the weights in float32."""
    count = parameters.quadratic
    bytes_ = Quadratic.of(_BYTES * count.offset, _BYTES * count.linear, _BYTES * count.theta)
    size = QuadraticCost("size", "bytes", parameters.space, bytes_)
    told = {} if energy is None else {"energy_mj": energy}
    return {"params": parameters, "macs": macs, "size": size, "activation_memory": memory, **told}


def _by_recipe(plan: Plan, epochs: int, rate: float) -> TrainingOptions:
    recipe, settings = plan.recipe, plan.settings
    return TrainingOptions(
        epochs,
        plan.batch_size,
        rate,
        label_smoothing=recipe.label_smoothing,
        mixup=recipe.mixup,
        ema_decay=recipe.ema_decay,
        workers=settings.workers,
        seed=settings.seed,
        parts=settings.parts or 1,
        recompute=settings.recompute,
        sync_batchnorm=settings.sync_batchnorm,
    )

"""The ask/tell loop over a super-network.

By default the weights stay frozen (HardCoRe-NAS) and batch normalization uses the statistics of the batch: those of uniformly
sampled paths, with which training ended, no longer fit once the search has narrowed the distribution (what either is worth:
``macro_statistics.py`` and ``hardcore_table1.py`` of papers_repro). With ``WeightTraining`` the weights learn in the same loop:
on the very batches the architecture learns from (Budgeted Super Networks), or on batches of a split of their own in between
(PruNet). Options that the method has given up leave the super-network after every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from constrained_nas.ask_tell import Feedback, Moment, Proposal, Purpose, SearchMethod, SearchResult
from constrained_nas.data import loader
from constrained_nas.problem import SearchProblem
from constrained_nas.search.checkpoints import Journal, drop_options, load_search, save_search, search_identity
from constrained_nas.search.notes import Notes
from constrained_nas.search.weights import WeightTraining, make_optimizer, set_rate
from constrained_nas.training import (
    Checkpoint,
    Curve,
    Parts,
    Stopped,
    Within,
    gradient_scale,
    lower_scale,
    part_of_gate,
    recomputing,
    row_losses,
    weight_step,
)
from graphs import Supernet

State = TypeVar("State")
Score = Callable[[SearchResult], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The loop's own settings; HardCoRe-NAS searches for two epochs of the architecture split.

    ``batch_statistics`` is for frozen weights: normalize by the batch rather than by the running statistics. ``parts`` of a batch,
    ``recompute`` and ``sync_batchnorm`` as in :class:`constrained_nas.training.TrainingOptions`.
    """

    epochs: int = 2
    batch_size: int = 64
    batch_statistics: bool = True
    workers: int = 0
    seed: int = 0
    parts: int = 1
    recompute: bool = False
    sync_batchnorm: bool = False


@dataclass(frozen=True, slots=True)
class SearchRun(Generic[State]):
    """The result, the last state, the mean loss of every step, and what was noted after every epoch.

    ``history`` has one entry an epoch: ``epoch``, ``loss`` (mean), the method's report, and with ``score`` the deterministic
    architecture of the moment (``choices``: its decisions, described), its ``costs``, whether it ``fits``, and its ``scores``
    (none where the architecture needs options that have left the super-network). ``seconds`` is what a step took in each epoch,
    loading included, in the mean.
    """

    result: SearchResult
    state: State
    losses: list[float]
    history: list[dict[str, Any]]
    seconds: list[float]


def search(
    problem: SearchProblem,
    method: SearchMethod[State],
    supernet: Supernet,
    data: Dataset[Any],
    options: SearchOptions,
    fabric: Fabric,
    checkpoint: Path | Checkpoint | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    training: WeightTraining | None = None,
    weights_data: Dataset[Any] | None = None,
    score: Score | None = None,
    curve: Curve | None = None,
) -> SearchRun[State]:
    """Search. The super-network ends in evaluation mode.

    Args:
        supernet: of the same space; trained, unless ``training`` is given. Methods that prune remove modules from it.
        data: what the architecture's parameters learn from (the ``architecture`` split; for joint training the ``weights`` split).
        checkpoint: saved after each epoch; the search resumes from it if it exists, and ends in the same result.
        training: None leaves weights and statistics as they were.
        weights_data: batches that train the weights alone, spread evenly between those of ``data``; None trains both on ``data``.
        score: called after each epoch with the architecture the state stands for, the super-network being in evaluation mode, e.g.
            to measure its accuracy on a validation split; the numbers it returns enter the history.
        curve: where losses, the probability of every option and what the projection spends are written along the way.

    Raises:
        ValueError: the problem does not suit the method, nothing fits its budgets, the checkpoint is of other options, another
            problem or another method, or a cost is not a number.
        FloatingPointError: a loss is not finite.
    """
    if weights_data is not None and training is None:
        raise ValueError("weights_data without training: say how the weights learn with training=WeightTraining(...)")
    parts = Parts(options.parts, fabric, options.sync_batchnorm)
    parts.check(options.batch_size)
    supernet.to(fabric.device).to(memory_format=torch.channels_last)
    state = method.init(problem, np.random.default_rng([options.seed, 0]))
    optimizer = None if training is None else make_optimizer(supernet, training)
    identity = search_identity(problem, method, options, training)
    journal = Journal(state, 0, [], [], [])
    if checkpoint is not None and checkpoint.exists():
        journal = load_search(method, state, identity, checkpoint, supernet, optimizer, fabric)
    state, losses = journal.state, journal.losses
    steps = _count(data, options, "architecture") + (0 if weights_data is None else _count(weights_data, options, "weights"))
    kept = [] if training is not None else _freeze(supernet, options.batch_statistics)
    notes = None if curve is None else Notes(curve, problem, method, options.epochs, steps)
    if notes is not None:
        notes.begin(journal)
    running: nn.Module = fabric.setup_module(supernet)
    if optimizer is not None:
        optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(optimizer))
    try:
        for epoch in range(journal.epochs, options.epochs):
            began = perf_counter()
            if optimizer is not None:
                supernet.train()
            # All randomness of an epoch comes from (seed, epoch), so that a resumed search repeats an unbroken one.
            generator = np.random.default_rng([options.seed, epoch + 1])
            shuffle = torch.Generator().manual_seed(int(generator.integers(2**62)))
            moment = Moment("both", epoch, options.epochs, 0, steps)
            # Dropout and augmentation draw from torch's global state: it too is seeded for the epoch, and given back as it was.
            with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
                torch.manual_seed(options.seed * 100_003 + epoch)
                batches = _batches(data, weights_data, training is not None, options, shuffle, fabric.device)
                for step, (purpose, images, labels) in enumerate(batches):
                    if (within := journal.within) is not None:
                        if step < within.steps:
                            continue
                        within.restore(fabric.device)
                        generator.bit_generator.state = within.values["generator"]
                        journal.within = None
                    moment = Moment(purpose, epoch, options.epochs, step, steps)
                    proposal = method.ask(problem, state, len(labels), moment, generator)
                    if optimizer is not None and training is not None:
                        set_rate(optimizer, training, moment.progress)
                    learner = None if purpose == "architecture" else optimizer
                    with recomputing(supernet, options.recompute, parts.normalizing if parts.together else None):
                        feedback = _evaluate(running, proposal, images, labels, parts, learner, (options.seed, epoch, step))
                    if purpose != "weights":
                        if proposal.observed is not None:
                            costs = problem.observe(proposal.observed)
                            feedback = Feedback(feedback.losses, feedback.gate_gradients, costs)
                        state = method.tell(problem, state, proposal, feedback, moment)
                    losses.append(float(feedback.losses.mean()))
                    if notes is not None:
                        notes.step(state, moment, proposal, losses[-1], optimizer)
                    try:
                        if progress:
                            progress(epoch * steps + step + 1, options.epochs * steps, "search")
                    except Stopped:
                        if checkpoint is not None:
                            journal.state = state
                            values = {"generator": generator.bit_generator.state}
                            if notes is not None:
                                values["curve"] = notes.curve.state()
                            journal.within = Within.now(step + 1, fabric.device, values=values)
                            save_search(journal, identity, checkpoint, supernet, optimizer, fabric)
                        raise
            journal.within = None  # also where the last step was done before
            journal.seconds.append((perf_counter() - began) / steps)
            journal.state = state = method.epoch_end(problem, state, moment)
            drop_options(method, state, supernet, optimizer)
            journal.history.append(_note(problem, method, state, supernet, epoch, losses[-steps:], score))
            journal.epochs = epoch + 1
            if notes is not None:
                notes.curve.settle()
            if checkpoint is not None:
                save_search(journal, identity, checkpoint, supernet, optimizer, fabric)
    finally:
        _thaw(supernet, kept)
    return SearchRun(method.finish(problem, state), state, losses, journal.history, journal.seconds)


def _count(data: Dataset[Any], options: SearchOptions, split: str) -> int:
    steps = len(loader(data, options.batch_size, torch.Generator(), drop_last=True))
    if steps == 0:
        raise ValueError(f"a batch of {options.batch_size} is larger than the {split} split: choose a smaller batch_size")
    return steps


def _batches(
    data: Dataset[Any],
    weights_data: Dataset[Any] | None,
    joint: bool,
    options: SearchOptions,
    shuffle: torch.Generator,
    device: torch.device,
) -> Iterator[tuple[Purpose, Tensor, Tensor]]:
    """One epoch; with two splits, the batches of the smaller spread evenly among those of the larger."""
    architecture = loader(data, options.batch_size, shuffle, True, options.workers, device)
    if weights_data is None:
        for images, labels in architecture:
            yield "both" if joint else "architecture", images, labels
        return
    weights = loader(weights_data, options.batch_size, shuffle, True, options.workers, device)
    streams = chain(weights), chain(architecture)  # begun when first asked for: with workers they draw as without
    total = len(weights) + len(architecture)
    for step in range(total):
        turn = (step + 1) * len(architecture) // total > step * len(architecture) // total
        images, labels = next(streams[turn])
        yield "architecture" if turn else "weights", images, labels


def _evaluate(
    network: nn.Module,
    proposal: Proposal,
    images: Tensor,
    labels: Tensor,
    parts: Parts,
    optimizer: torch.optim.Optimizer | None,
    seeds: tuple[int, int, int],
) -> Feedback:
    """Run the batch under the proposal's gates; with an optimizer, the weights take a step on the mean loss.

    ``network`` and ``optimizer`` as Fabric set them up, ``seeds`` of the step.
    """
    fabric = parts.fabric
    images = fabric.to_device(images).contiguous(memory_format=torch.channels_last)
    gates = {name: torch.as_tensor(gate, dtype=torch.float32) for name, gate in proposal.gates.items()}  # on the host
    wanted = sorted(proposal.differentiable)
    for name in wanted:
        gates[name].requires_grad_()
    losses = torch.zeros(len(labels), dtype=torch.float64, device=fabric.device)

    def run(rows: slice) -> None:
        given = gates if parts.count == 1 else {name: part_of_gate(gate, rows) for name, gate in gates.items()}
        lost = row_losses(network(images[rows], given, *parts.whole(gates)), fabric.to_device(labels[rows]))  # (rows,)
        if not torch.isfinite(lost).all():
            advice = "was it trained?" if optimizer is None else "lower the learning rate"
            raise FloatingPointError(f"the super-network's loss is not finite: {advice}")
        loss = lost.mean() if parts.count == 1 else lost.sum() / len(labels)
        if loss.requires_grad:  # a batch of networks without a weight has nothing to learn
            fabric.backward(loss)
        losses[rows] = lost.detach().to(losses)

    if optimizer is not None:
        optimizer.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(bool(wanted) or optimizer is not None):
        parts.compute(network, len(labels), run, seeds)
    losses, scale = parts.total(losses), gradient_scale(fabric)
    # A block that no row's depth reaches has no say in the loss: its gradient is 0.
    found = {name: torch.zeros_like(gates[name]) if (own := gates[name].grad) is None else own / scale for name in wanted}
    found = {name: parts.total(gradient) for name, gradient in found.items()}
    if not all(bool(torch.isfinite(gradient).all()) for gradient in found.values()):
        if lower_scale(fabric):
            return _evaluate(network, proposal, images, labels, parts, optimizer, seeds)
        raise FloatingPointError("the gradient of the super-network's gates is not finite: was it trained?")
    if optimizer is not None and any(p.grad is not None for p in network.parameters()):
        weight_step(fabric, network, optimizer)
    gradients = {name: gradient.double().cpu().numpy() for name, gradient in found.items()}
    return Feedback(losses.cpu().numpy(), gradients)


def _note(
    problem: SearchProblem,
    method: SearchMethod[State],
    state: State,
    supernet: Supernet,
    epoch: int,
    losses: list[float],
    score: Score | None,
) -> dict[str, Any]:
    entry: dict[str, Any] = {"epoch": epoch + 1, "loss": float(np.mean(losses)), **method.report(state)}
    if score is not None:
        result, alive = method.finish(problem, state), method.alive(state) or {}
        modes = [(module, module.training) for module in supernet.modules()]
        supernet.eval()
        scores: dict[str, float] = {}
        if all(result.architecture.choice(decision) in options for decision, options in alive.items()):
            with torch.no_grad():
                scores = {name: float(value) for name, value in score(result).items()}
        for module, mode in modes:  # frozen weights keep their normalizations in training mode
            module.training = mode
        entry |= {"choices": problem.space.describe(result.architecture), "costs": result.costs}
        entry |= {"fits": result.feasible, "scores": scores}
    return entry


_Norm = nn.modules.batchnorm._BatchNorm


def _freeze(supernet: Supernet, batch_statistics: bool) -> list[tuple[_Norm, bool]]:
    """Freeze the weights; returns every normalization and whether it tracks statistics, for :func:`_thaw`."""
    supernet.eval().requires_grad_(False)
    norms = [module for module in supernet.modules() if isinstance(module, _Norm)]
    kept = [(norm, norm.track_running_stats) for norm in norms]
    if batch_statistics:
        for norm in norms:
            norm.train()
            # The running statistics stay as training left them. A momentum of 0 would not do: 0 times NaN is NaN.
            norm.track_running_stats = False
    return kept


def _thaw(supernet: Supernet, kept: list[tuple[_Norm, bool]]) -> None:
    for norm, tracked in kept:
        norm.track_running_stats = tracked
    supernet.requires_grad_(True).eval()

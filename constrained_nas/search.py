"""The ask/tell loop over a super-network.

By default the weights stay frozen (HardCoRe-NAS) and batch normalisation uses the statistics of the batch: those of uniformly
sampled paths, with which training ended, no longer fit once the search has narrowed the distribution. With ``WeightTraining`` the
weights learn in the same loop: on the very batches the architecture learns from (Budgeted Super Networks), or on batches of a
split of their own in between (PruNet).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from constrained_nas.ask_tell import Feedback, Moment, Proposal, Purpose, SearchMethod, SearchResult
from constrained_nas.checkpoints import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint
from constrained_nas.data import loader
from constrained_nas.problem import SearchProblem
from constrained_nas.training import row_losses
from graphs import Supernet

__all__ = ["SearchOptions", "SearchRun", "WeightTraining", "search"]

State = TypeVar("State")
Score = Callable[[SearchResult], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The loop's own settings; HardCoRe-NAS searches for two epochs of the architecture split.

    ``batch_statistics`` is for frozen weights: normalise by the batch rather than by the running statistics.
    """

    epochs: int = 2
    batch_size: int = 64
    batch_statistics: bool = True
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class WeightTraining:
    """How the weights learn during the search: SGD whose rate falls by ``factor`` at each milestone.

    Attributes:
        learning_rate, momentum, weight_decay: of SGD; the defaults are Budgeted Super Networks'.
        milestones: shares of the search, each in (0, 1).
        factor: what the rate is multiplied by at a milestone.
    """

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1


@dataclass(frozen=True, slots=True)
class SearchRun(Generic[State]):
    """The result, the last state, the mean loss of every step, and what was noted after every epoch.

    ``history`` has one entry an epoch: ``epoch``, ``loss`` (mean), the method's report, and with ``score`` the deterministic
    architecture of the moment (``choices``: its decisions, described), its ``costs``, whether it ``fits``, and its ``scores``.
    """

    result: SearchResult
    state: State
    losses: list[float]
    history: list[dict[str, Any]]


def search(
    problem: SearchProblem,
    method: SearchMethod[State],
    supernet: Supernet,
    data: Dataset[Any],
    options: SearchOptions,
    fabric: Fabric,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    training: WeightTraining | None = None,
    weights_data: Dataset[Any] | None = None,
    score: Score | None = None,
) -> SearchRun[State]:
    """Search. The super-network ends in evaluation mode.

    Args:
        problem: space and budgets.
        method: proposes and learns.
        supernet: of the same space; trained, unless ``training`` is given.
        data: what the architecture's parameters learn from (the ``architecture`` split; for joint training the ``weights`` split).
        options: epochs and batch size.
        fabric: device and precision.
        checkpoint: saved after each epoch; if it is there the search resumes and ends in the same result.
        progress: called after each step.
        training: None leaves weights and statistics as they were.
        weights_data: batches that train the weights alone, spread evenly between those of ``data``; None trains both on ``data``.
        score: called after each epoch with the architecture the state stands for, the super-network being in evaluation mode, e.g.
            to measure its accuracy on a validation split; the numbers it returns enter the history.

    Raises:
        ValueError: the problem does not suit the method, nothing fits its budgets, the checkpoint is of other options, another
            problem or another method, or a cost is not a number.
        FloatingPointError: a loss is not finite.
    """
    if weights_data is not None and training is None:
        raise ValueError("weights_data without training: say how the weights learn with training=WeightTraining(...)")
    supernet.to(fabric.device).to(memory_format=torch.channels_last)
    state = method.init(problem, np.random.default_rng([options.seed, 0]))
    optimizer = None if training is None else _optimizer(supernet, training)
    identity = _identity(problem, method, options, training)
    first, losses, history = 0, list[float](), list[dict[str, Any]]()
    if checkpoint is not None and checkpoint.exists():
        state, first, losses, history = _load(state, identity, checkpoint, supernet, optimizer)
    steps = _count(data, options, "architecture") + (0 if weights_data is None else _count(weights_data, options, "weights"))
    kept = [] if training is not None else _freeze(supernet, options.batch_statistics)
    try:
        for epoch in range(first, options.epochs):
            if optimizer is not None:
                supernet.train()
            # All randomness of an epoch comes from (seed, epoch), so that a resumed search repeats an unbroken one.
            generator = np.random.default_rng([options.seed, epoch + 1])
            shuffle = torch.Generator().manual_seed(int(generator.integers(2**62)))
            moment = Moment("both", epoch, options.epochs, 0, steps)
            # Dropout and augmentation draw from torch's global state: it too is seeded for the epoch, and given back as it was.
            with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
                torch.manual_seed(options.seed * 100_003 + epoch)
                batches = _batches(data, weights_data, training is not None, options, shuffle)
                for step, (purpose, images, labels) in enumerate(batches):
                    moment = Moment(purpose, epoch, options.epochs, step, steps)
                    proposal = method.ask(problem, state, len(labels), moment, generator)
                    if optimizer is not None and training is not None:
                        _schedule(optimizer, training, moment.progress)
                    feedback = _evaluate(
                        supernet, proposal, images, labels, fabric, None if purpose == "architecture" else optimizer
                    )
                    if purpose != "weights":
                        if proposal.observed is not None:
                            costs = problem.observe(proposal.observed)
                            feedback = Feedback(feedback.losses, feedback.gate_gradients, costs)
                        state = method.tell(problem, state, proposal, feedback, moment)
                    losses.append(float(feedback.losses.mean()))
                    if progress:
                        progress(epoch * steps + step + 1, options.epochs * steps, "search")
            state = method.epoch_end(problem, state, moment)
            history.append(_note(problem, method, state, supernet, epoch, losses[-steps:], score))
            if checkpoint is not None:
                _save(state, identity, checkpoint, epoch + 1, losses, history, supernet, optimizer)
    finally:
        _thaw(supernet, kept)
    return SearchRun(method.finish(problem, state), state, losses, history)


def _count(data: Dataset[Any], options: SearchOptions, split: str) -> int:
    steps = len(loader(data, options.batch_size, torch.Generator(), drop_last=True))
    if steps == 0:
        raise ValueError(f"a batch of {options.batch_size} is larger than the {split} split: choose a smaller batch_size")
    return steps


def _batches(
    data: Dataset[Any], weights_data: Dataset[Any] | None, joint: bool, options: SearchOptions, shuffle: torch.Generator
) -> Iterator[tuple[Purpose, Tensor, Tensor]]:
    """One epoch; with two splits, the batches of the smaller spread evenly among those of the larger."""
    architecture = loader(data, options.batch_size, shuffle, True, options.workers)
    if weights_data is None:
        for images, labels in architecture:
            yield "both" if joint else "architecture", images, labels
        return
    weights = loader(weights_data, options.batch_size, shuffle, True, options.workers)
    streams = iter(weights), iter(architecture)
    total = len(weights) + len(architecture)
    for step in range(total):
        turn = (step + 1) * len(architecture) // total > step * len(architecture) // total
        images, labels = next(streams[turn])
        yield "architecture" if turn else "weights", images, labels


def _evaluate(
    supernet: Supernet,
    proposal: Proposal,
    images: Tensor,
    labels: Tensor,
    fabric: Fabric,
    optimizer: torch.optim.Optimizer | None,
) -> Feedback:
    """Run the batch under the proposal's gates; with an optimiser, the weights take a step on the mean loss."""
    images = fabric.to_device(images).contiguous(memory_format=torch.channels_last)
    gates = {name: torch.as_tensor(gate, dtype=torch.float32, device=images.device) for name, gate in proposal.gates.items()}
    wanted = sorted(proposal.differentiable)
    for name in wanted:
        gates[name].requires_grad_()
    with torch.set_grad_enabled(bool(wanted) or optimizer is not None):
        with fabric.autocast():
            losses = row_losses(supernet(images, gates), fabric.to_device(labels))  # (rows,)
        if not torch.isfinite(losses).all():
            advice = "was it trained?" if optimizer is None else "lower the learning rate"
            raise FloatingPointError(f"the super-network's loss is not finite: {advice}")
        loss = losses.mean()
        learns = optimizer is not None and loss.requires_grad  # a batch of networks without a weight has nothing to learn
        inputs = [gates[name] for name in wanted]
        # A block that no row's depth reaches has no say in the loss: its gradient is 0.
        gradients = torch.autograd.grad(loss, inputs, retain_graph=learns, materialize_grads=True) if wanted else ()
        if optimizer is not None and learns:
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
    found = {name: gradient.double().cpu().numpy() for name, gradient in zip(wanted, gradients, strict=True)}
    return Feedback(losses.detach().double().cpu().numpy(), found)


def _optimizer(supernet: Supernet, training: WeightTraining) -> torch.optim.Optimizer:
    return torch.optim.SGD(supernet.parameters(), training.learning_rate, training.momentum, weight_decay=training.weight_decay)


def _schedule(optimizer: torch.optim.Optimizer, training: WeightTraining, progress: float) -> None:
    """The rate in closed form: it needs no state of its own to resume."""
    passed = sum(progress >= milestone for milestone in training.milestones)
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * training.factor**passed


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
        result = method.finish(problem, state)
        modes = [(module, module.training) for module in supernet.modules()]
        supernet.eval()
        with torch.no_grad():
            scores = {name: float(value) for name, value in score(result).items()}
        for module, mode in modes:  # frozen weights keep their normalisations in training mode
            module.training = mode
        entry |= {"choices": problem.space.describe(result.architecture), "costs": result.costs}
        entry |= {"fits": result.feasible, "scores": scores}
    return entry


_Norm = nn.modules.batchnorm._BatchNorm


def _freeze(supernet: Supernet, batch_statistics: bool) -> list[tuple[_Norm, bool]]:
    """Freeze the weights; returns every normalisation and whether it tracks statistics, for :func:`_thaw`."""
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


def _identity(
    problem: SearchProblem, method: SearchMethod[Any], options: SearchOptions, training: WeightTraining | None
) -> dict[str, Any]:
    """What a checkpoint must agree on to be resumed, JSON-ready."""
    names: list[str] = [field.name for field in fields(method)] if is_dataclass(method) else []
    values = {name: getattr(method, name) for name in names}
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if isinstance(v, str | int | float | tuple)}
    budgets = [[budget.cost.name, budget.unit, float(budget.limit)] for budget in problem.budgets]
    named = {"method": type(method).__name__, "settings": plain, "space": problem.space.name, "budgets": budgets}
    how = None if training is None else asdict(training) | {"milestones": list(training.milestones)}
    return {**named, "options": asdict(options), "training": how}


def _save(
    state: Any,
    identity: dict[str, Any],
    checkpoint: Path,
    epochs: int,
    losses: list[float],
    history: list[dict[str, Any]],
    supernet: Supernet,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    entries = {field.name: getattr(state, field.name) for field in fields(state)}
    tensors = {name: torch.as_tensor(value) for name, value in entries.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in entries.items() if not isinstance(value, np.ndarray)}
    values = {"identity": identity, "epochs": epochs, "losses": losses, "history": history, "state": plain}
    if optimizer is not None:
        learnt, values["groups"] = flatten_optimizer(optimizer)
        tensors |= learnt | {f"network.{name}": tensor for name, tensor in supernet.state_dict().items()}
    save_checkpoint(checkpoint, tensors, values)


def _load(
    state: State,
    identity: dict[str, Any],
    checkpoint: Path,
    supernet: Supernet,
    optimizer: torch.optim.Optimizer | None,
) -> tuple[State, int, list[float], list[dict[str, Any]]]:
    tensors, values = load_checkpoint(checkpoint)
    saved = values.get("identity", {})
    different = [name for name, value in identity.items() if saved.get(name) != value]
    if different:
        was = {name: saved.get(name) for name in different}
        raise ValueError(f"{checkpoint}: saved by another search, with {was}; delete it to start over")
    if optimizer is not None:
        supernet.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")})
        restore_optimizer(optimizer, tensors, values["groups"])
    learnt = ("network.", "optimizer.")
    entries = values["state"] | {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith(learnt)}
    return type(state)(**entries), int(values["epochs"]), list(values["losses"]), list(values["history"])

"""The ask/tell loop over a trained super-network.

A method proposes an architecture for every row of a batch (``ask``), the loop runs the super-network under those gates and hands
back the losses and the gradients of the gates (``tell``). Methods are pure: their whole state is a dataclass of arrays and numbers,
so the loop can checkpoint it and a killed search resumes to the same result.

The weights stay frozen. Batch normalisation uses the statistics of the batch by default: those of uniformly sampled paths, with
which training ended, no longer fit once the search has narrowed the distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from constrained_nas.checkpoints import load_checkpoint, save_checkpoint
from constrained_nas.data import loader
from constrained_nas.problem import SearchProblem
from graphs import Architecture, Supernet
from solvers import Certificate

__all__ = ["Feedback", "Proposal", "SearchMethod", "SearchOptions", "SearchResult", "SearchRun", "search"]

FloatArray = NDArray[np.float64]
State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Proposal:
    """An architecture for every row.

    Attributes:
        gates: {decision: (rows, options)} one-hot.
        differentiable: the decisions whose gate gradients the method wants.
        noise: every random draw behind the gates, by name.
    """

    gates: dict[str, FloatArray]
    differentiable: frozenset[str]
    noise: dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What came of a proposal: ``losses`` (rows,) and, of their mean, the gate gradients {decision: (rows, options)}."""

    losses: FloatArray
    gate_gradients: dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """An architecture, its costs under the budgets, and the relaxed point it came from, with the projection's certificate."""

    architecture: Architecture
    costs: dict[str, float]
    feasible: bool
    point: FloatArray
    certificate: Certificate | None


class SearchMethod(Protocol[State]):
    """A search method: pure functions over an explicit state (a dataclass of arrays and numbers)."""

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> State:
        """The first state; raises ValueError where the problem does not suit the method or nothing fits."""

    def ask(self, state: State, rows: int, generator: np.random.Generator) -> Proposal:
        """Architectures for the next ``rows`` examples."""

    def tell(self, problem: SearchProblem, state: State, proposal: Proposal, feedback: Feedback) -> State:
        """The state after seeing what the proposal came to."""

    def finish(self, problem: SearchProblem, state: State) -> SearchResult:
        """The architecture that the state stands for."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The loop's own settings; the paper searches for two epochs of the architecture split."""

    epochs: int = 2
    batch_size: int = 64
    batch_statistics: bool = True
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SearchRun(Generic[State]):
    """The result, the last state, and the mean loss of every step."""

    result: SearchResult
    state: State
    losses: list[float]


def search(
    problem: SearchProblem,
    method: SearchMethod[State],
    supernet: Supernet,
    data: Dataset[Any],
    options: SearchOptions,
    fabric: Fabric,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> SearchRun[State]:
    """Search with the super-network's weights frozen; weights and statistics are left as they were, in evaluation mode.

    Args:
        problem: space and budgets.
        method: proposes and learns.
        supernet: trained, of the same space.
        data: the ``architecture`` split.
        options: epochs and batch size.
        fabric: device and precision.
        checkpoint: saved after each epoch; if it is there the search resumes and ends in the same result.
        progress: called after each step.

    Raises:
        ValueError: the problem does not suit the method, nothing fits its budgets, or the checkpoint is of other options, another
            problem or another method.
        FloatingPointError: a loss is not finite.
    """
    supernet.to(fabric.device).to(memory_format=torch.channels_last)
    state = method.init(problem, np.random.default_rng([options.seed, 0]))
    first, losses = 0, list[float]()
    if checkpoint is not None and checkpoint.exists():
        state, first, losses = _load(state, _identity(problem, method, options), checkpoint)
    steps = len(loader(data, options.batch_size, torch.Generator(), drop_last=True))
    if steps == 0:
        raise ValueError(f"a batch of {options.batch_size} is larger than the architecture split: choose a smaller batch_size")
    kept = _freeze(supernet, options.batch_statistics)
    try:
        for epoch in range(first, options.epochs):
            # All randomness of an epoch comes from (seed, epoch), so that a resumed search repeats an unbroken one.
            generator = np.random.default_rng([options.seed, epoch + 1])
            shuffle = torch.Generator().manual_seed(int(generator.integers(2**62)))
            for step, (images, labels) in enumerate(loader(data, options.batch_size, shuffle, True, options.workers)):
                proposal = method.ask(state, len(labels), generator)
                feedback = _evaluate(supernet, proposal, images, labels, fabric)
                state = method.tell(problem, state, proposal, feedback)
                losses.append(float(feedback.losses.mean()))
                if progress:
                    progress(epoch * steps + step + 1, options.epochs * steps, "search")
            if checkpoint is not None:
                _save(state, _identity(problem, method, options), checkpoint, epoch + 1, losses)
    finally:
        _thaw(supernet, kept)
    return SearchRun(method.finish(problem, state), state, losses)


def _evaluate(supernet: Supernet, proposal: Proposal, images: torch.Tensor, labels: torch.Tensor, fabric: Fabric) -> Feedback:
    images = fabric.to_device(images).contiguous(memory_format=torch.channels_last)
    gates = {name: torch.as_tensor(gate, dtype=torch.float32, device=images.device) for name, gate in proposal.gates.items()}
    wanted = sorted(proposal.differentiable)
    for name in wanted:
        gates[name].requires_grad_()
    with torch.set_grad_enabled(bool(wanted)), fabric.autocast():
        losses = functional.cross_entropy(supernet(images, gates), fabric.to_device(labels), reduction="none")  # (rows,)
    if not torch.isfinite(losses).all():
        raise FloatingPointError("the super-network's loss is not finite: was it trained?")
    # A block that no row's depth reaches has no say in the loss: its gradient is 0.
    inputs = [gates[name] for name in wanted]
    gradients = torch.autograd.grad(losses.mean(), inputs, materialize_grads=True) if wanted else ()
    found = {name: gradient.double().cpu().numpy() for name, gradient in zip(wanted, gradients, strict=True)}
    return Feedback(losses.detach().double().cpu().numpy(), found)


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


def _identity(problem: SearchProblem, method: SearchMethod[Any], options: SearchOptions) -> dict[str, Any]:
    """What a checkpoint must agree on to be resumed, JSON-ready."""
    names: list[str] = [field.name for field in fields(method)] if is_dataclass(method) else []
    plain = {name: getattr(method, name) for name in names if isinstance(getattr(method, name), str | int | float)}
    budgets = [[budget.cost.name, budget.unit, float(budget.limit)] for budget in problem.budgets]
    named = {"method": type(method).__name__, "settings": plain, "space": problem.space.name, "budgets": budgets}
    return {**named, "options": asdict(options)}


def _save(state: Any, identity: dict[str, Any], checkpoint: Path, epochs: int, losses: list[float]) -> None:
    entries = {field.name: getattr(state, field.name) for field in fields(state)}
    arrays = {name: torch.as_tensor(value) for name, value in entries.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in entries.items() if not isinstance(value, np.ndarray)}
    save_checkpoint(checkpoint, arrays, {"identity": identity, "epochs": epochs, "losses": losses, "state": plain})


def _load(state: State, identity: dict[str, Any], checkpoint: Path) -> tuple[State, int, list[float]]:
    arrays, values = load_checkpoint(checkpoint)
    saved = values.get("identity", {})
    different = [name for name, value in identity.items() if saved.get(name) != value]
    if different:
        was = {name: saved.get(name) for name in different}
        raise ValueError(f"{checkpoint}: saved by another search, with {was}; delete it to start over")
    entries = values["state"] | {name: array.numpy() for name, array in arrays.items()}
    return type(state)(**entries), int(values["epochs"]), list(values["losses"])

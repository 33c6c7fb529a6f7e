"""Searches that are told whole networks: each is judged with the super-network's weights on the same held-out images.

Two networks are then compared in pairs, which tells far smaller differences than losses of different batches do; the price is that
fewer networks are seen in the same processor time than by batches. The weights stay frozen, and batch normalization uses the
statistics of training unless asked otherwise. Several processes judge different networks: the result is that of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, Subset

from constrained_nas.ask_tell import Feedback, Moment, SearchMethod
from constrained_nas.data import loader
from constrained_nas.problem import SearchProblem
from constrained_nas.search.checkpoints import Journal, load_search, save_search, search_identity
from constrained_nas.search.loop import SearchRun
from constrained_nas.search.notes import Notes
from constrained_nas.search.tabular import proposed_points
from constrained_nas.search.threads import single_threaded
from constrained_nas.training import Checkpoint, Curve, Stopped, seeded
from graphs import Architecture, Supernet

State = TypeVar("State")
_BATCH = 500  # images at a time, whose statistics normalize


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How many networks are judged, on how many images of the split (its first), and how many are proposed at a time."""

    networks: int = 120
    images: int = 250
    rows: int = 8
    workers: int = 0
    seed: int = 0


class NetworkLoss:
    """Cross-entropy of networks with a super-network's weights, on the same images for all; each is computed once.

    Args:
        supernet: trained; it stays as it is.
        split: of which the first ``images`` are used, augmented, if they are, once and for all.
        images: at most.
        fabric: where networks run.
        workers: that load the images.
        seed: of their augmentation.
    """

    def __init__(
        self,
        supernet: Supernet,
        split: Dataset[Any],
        images: int,
        fabric: Fabric,
        *,
        batch_statistics: bool = False,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        self.supernet, self.batch_statistics = supernet.to(fabric.device), batch_statistics
        kept = Subset(split, range(min(images, len(split))))  # type: ignore[arg-type]
        self.batches = seeded(lambda: list(loader(kept, _BATCH, workers=workers, device=fabric.device)), seed)
        self.known: dict[str, float] = {}

    @torch.no_grad()
    def __call__(self, architecture: Architecture) -> float:
        """The mean over the images.

        Raises:
            FloatingPointError: it is not finite.
        """
        key = str(self.supernet.space.describe(architecture))
        if key not in self.known:
            network = self.supernet.extract(architecture).to(memory_format=torch.channels_last).eval()
            for module in network.modules():
                if self.batch_statistics and isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train()
            total, count = 0.0, 0
            for images, labels in self.batches:
                logits = network(images.contiguous(memory_format=torch.channels_last))
                total += float(functional.cross_entropy(logits.float(), labels.to(logits.device), reduction="sum"))
                count += len(labels)
            if not np.isfinite(total):
                raise FloatingPointError("the super-network's loss is not finite: was it trained?")
            self.known[key] = total / count
        return self.known[key]


@single_threaded
def search_networks(
    problem: SearchProblem,
    method: SearchMethod[State],
    loss: Callable[[Architecture], float],
    supernet: Supernet,
    options: JudgeOptions,
    fabric: Fabric,
    checkpoint: Path | Checkpoint | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    curve: Curve | None = None,
) -> SearchRun[State]:
    """Search by whole networks, ``options.networks`` of them in all. An entry of the history is a proposal.

    Args:
        problem: of the super-network's space.
        method: one that needs no gradients, such as :class:`constrained_nas.methods.PairwiseSurrogate`.
        loss: of an architecture, e.g. :class:`NetworkLoss`.
        supernet: whose networks are judged.
        checkpoint: saved after each proposal; the search resumes from it if it exists, and ends in the same result.
        progress: told (networks judged, networks in all, "search").
        curve: where every proposal is noted: its mean loss, its share of every option, and what the projection would spend by then.

    Raises:
        ValueError: the problem does not suit the method, nothing fits its budgets, or a checkpoint of another search.
        FloatingPointError: a loss is not finite.
    """
    state = method.init(problem, np.random.default_rng([options.seed, 0]))
    identity, journal = search_identity(problem, method, options, None), Journal(state, 0, [], [], [])
    if checkpoint is not None and checkpoint.exists():
        journal = load_search(method, state, identity, checkpoint, supernet, None, fabric)
    steps = -(-options.networks // options.rows)
    notes = None if curve is None else Notes(curve, problem, method, steps, 1)
    for step in range(journal.epochs, steps):
        began, before = perf_counter(), step * options.rows
        rows = min(options.rows, options.networks - before)
        moment = Moment("architecture", 0, 1, step, steps)
        # All randomness of a proposal comes from (seed, step), so that a resumed search repeats an unbroken one.
        proposal = method.ask(problem, journal.state, rows, moment, np.random.default_rng([options.seed, step + 1]))
        if proposal.differentiable:
            raise ValueError(f"{type(method).__name__} wants gradients, which whole networks do not have: use search")
        losses, stopped = np.zeros(rows), cast(Stopped | None, None)
        for row, point in enumerate(proposed_points(problem.space, proposal, rows)):
            if row % fabric.world_size == fabric.global_rank:
                losses[row] = loss(problem.space.architecture(point))
            try:
                if progress and stopped is None:
                    progress(before + row + 1, options.networks, "search")
            except Stopped as asked:  # the proposal is judged to its end, and kept
                stopped = asked
        if fabric.world_size > 1:  # each is 0 on all processes but one
            losses = fabric.all_reduce(torch.as_tensor(losses, device=fabric.device), reduce_op="sum").cpu().numpy()  # type: ignore[union-attr]
        journal.state = method.tell(problem, journal.state, proposal, Feedback(losses, {}), moment)
        journal.losses.append(float(losses.mean()))
        journal.seconds.append(perf_counter() - began)
        journal.epochs = step + 1
        journal.history.append({"epoch": step + 1, "loss": journal.losses[-1], **method.report(journal.state)})
        if notes is not None:
            notes.epoch(step + 1, journal.state, {"architecture_loss": journal.losses[-1]}, proposal)
        if checkpoint is not None:
            save_search(journal, identity, checkpoint, supernet, None, fabric)
        if stopped is not None:
            raise stopped
    return SearchRun(method.finish(problem, journal.state), journal.state, journal.losses, journal.history, journal.seconds)

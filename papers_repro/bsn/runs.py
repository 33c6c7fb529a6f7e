"""The record of a contest: every search with what was noted after each of its epochs, as JSON that tables and pictures read.

A network is written as the string of its switches, ``1`` for on, in the order of the super-network's decisions, so that a picture
can draw it again; its costs are all those of the paper's tables, so that what was found under one can be placed under another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from constrained_nas.search import front
from graphs.files import Record
from papers_repro.bsn.networks import NetworkSpec
from papers_repro.bsn.published import CostName
from papers_repro.harness import Scale

Method = Literal["soft", "hard", "random", "plain"]


class EpochRecord(Record):
    """The deterministic network after an epoch.

    Attributes:
        loss: mean of the epoch's training losses, over what was sampled.
        entropy, on: mean entropy (nats) and mean probability of the switches.
        modules: the network's switches.
        costs: of that network.
        validation, test: share of right answers.
    """

    epoch: int
    loss: float
    entropy: float
    on: float
    modules: str
    costs: dict[CostName, float]
    validation: float
    test: float


class ContestBudget(Record):
    """What a search of a contest was to keep within."""

    cost: CostName
    name: str
    limit: float


class ScratchRecord(Record):
    """A network trained alone from new weights, after its last epoch.

    Attributes:
        seed: of its weights and batches.
        costs: of the network.
        validation, test: share of right answers.
    """

    seed: int
    costs: dict[CostName, float]
    validation: float
    test: float


class ContestRun(Record):
    """One search, (``plain``) the training of one network, or (``random``) that of random networks within a budget.

    Attributes:
        network: the super-network.
        budget: None for a plain network.
        penalty: times ``max(0, cost / limit - 1)``.
        probabilities: of every switch at the end.
        history: an entry an epoch; sampling begins after ``warm_up`` epochs. None for random networks.
        scratch: the network at the end, the plain network, or each random one, trained alone from new weights.
        seconds: of wall time; less than the whole where the run was resumed.
        settings: everything else that decides the run.
    """

    network: NetworkSpec
    method: Method
    budget: ContestBudget | None
    penalty: float
    seed: int
    warm_up: int
    probabilities: tuple[float, ...]
    history: tuple[EpochRecord, ...]
    scratch: tuple[ScratchRecord, ...] = ()
    seconds: float
    settings: dict[str, Any]

    def chosen(self, cost: CostName, limit: float) -> EpochRecord | None:
        """The network of the best validation accuracy among those within ``limit``, the cheapest of equals; None if none is."""
        fitting = [entry for entry in self.history if entry.costs[cost] <= limit]
        return max(fitting, key=lambda entry: (entry.validation, -entry.costs[cost]), default=None)


class RunsRecord(Record):
    """All runs of a contest: on which data and at which scale."""

    kind: Literal["bsn_runs"] = "bsn_runs"
    schema_version: Literal[2] = 2
    data: str
    scale: Scale
    runs: tuple[ContestRun, ...]


def switches(modules: str) -> NDArray[np.bool_]:
    """The switches (decisions,) of a network as it is written in a record."""
    return np.array([state == "1" for state in modules])


def pareto_front(runs: Sequence[ContestRun], cost: CostName) -> list[tuple[ContestRun, EpochRecord]]:
    """The networks of all epochs of all runs that none beats in both cost and validation accuracy, the cheapest first."""
    found = [(run, entry) for run in runs for entry in run.history]
    kept = front([{"costs": entry.costs, "scores": {"validation": entry.validation}} for _, entry in found], cost)
    return sorted((found[index] for index in np.flatnonzero(kept)), key=lambda pair: pair[1].costs[cost])

"""Made records of searches, for tests of the rows and figures of Budgeted Super Networks: no network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from graphs import DagSpace
from graphs.costs import CostModel
from papers_repro.bsn import ContestBudget, ContestRun, CostName, EpochRecord, Family, Method, RunsRecord
from papers_repro.bsn.contest import budgets_of
from papers_repro.bsn.networks import COST_NAMES, NetworkSpec, cost_model
from papers_repro.bsn.runs import ScratchRecord

EPOCHS = 6
_WORSE: dict[Method, float] = {"random": 0.1, "plain": 0.2}  # than the learned networks, trained alone


def network(family: Family) -> NetworkSpec:
    """A small super-network of that family."""
    if family == "ResNet":
        return NetworkSpec(family=family, size=2, widths=(4, 8, 16), image_channels=1, side=16)
    classes = 10 if family == "CNF" else 3
    return NetworkSpec(family=family, size=3, widths=(4,), scales=3, classes=classes, image_channels=1, side=16)


def made_record(
    families: Sequence[Family] = ("ResNet", "CNF"), costs: Sequence[CostName] = ("macs",), seeds: int = 3
) -> RunsRecord:
    """A record as a contest writes it: networks lose modules at random until they fit, accuracies rise with epochs and cost."""
    generator = np.random.default_rng(0)
    runs = []
    for family in families:
        whole, sizes = network(family), (1, 2) if family == "ResNet" else (2,)
        for seed in range(seeds):
            for cost in costs:
                methods: tuple[Method, ...] = ("soft", "hard") if cost in ("macs", "parameters") else ("soft",)
                for budget in budgets_of(whole, cost, sizes, (0.6,)):
                    runs += [_made(whole, method, budget, seed, generator) for method in (*methods, "random")]
            runs += [_made(whole.plain(size), "plain", None, seed, generator) for size in sizes]
    return RunsRecord(data="made", scale="smoke", runs=tuple(runs))


@cache
def priced(spec: NetworkSpec) -> tuple[DagSpace, dict[CostName, CostModel]]:
    """A super-network and its costs, built once."""
    space = spec.space()
    return space, {name: cost_model(space, name) for name in COST_NAMES}


def _made(spec: NetworkSpec, method: Method, budget: ContestBudget | None, seed: int, generator: np.random.Generator) -> ContestRun:
    space, costs = priced(spec)
    on, history = np.ones(len(space.space.decisions), dtype=np.bool_), []
    whole = costs["macs"].cost(space.whole)
    for epoch in range(1, EPOCHS + 1):
        if budget is not None and epoch > 2:
            on = _thinned(on, space, costs[budget.cost], budget.limit if epoch > 4 else 1.5 * budget.limit, generator)
        architecture = space.switched(on)
        paid = {name: cost.cost(architecture) for name, cost in costs.items()}
        accuracy = 0.9 - 0.5 / epoch - 0.1 * (1 - paid["macs"] / whole) + 0.02 * float(generator.random())
        share = max(0.02, 0.2 - 0.02 * epoch)
        history.append(
            EpochRecord(
                epoch=epoch,
                loss=2 / epoch,
                entropy=share,
                on=float(on.mean()),
                modules="".join("01"[int(state)] for state in on),
                costs=paid,
                validation=accuracy,
                test=accuracy - 0.01,
            )
        )
    return ContestRun(
        network=spec,
        method=method,
        budget=budget,
        penalty=10.0 if budget else 0.0,
        seed=seed,
        warm_up=EPOCHS if budget is None else 2,
        probabilities=tuple(np.where(on, 0.97, 0.02).tolist()),
        history=() if method == "random" else tuple(history),
        scratch=tuple(
            ScratchRecord(seed=number, costs=paid, validation=accuracy, test=accuracy - _WORSE.get(method, 0.0) + 0.001 * number)
            for number in range(2)
        ),
        seconds=1.0,
        settings={},
    )


def _thinned(
    on: NDArray[np.bool_], space: DagSpace, cost: CostModel, limit: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """``on`` without modules, taken out in random order as long as the rest is connected, until it costs no more than ``limit``."""
    on = on.copy()
    for place in generator.permutation(np.flatnonzero(on)).tolist():
        if cost.cost(space.switched(on)) <= limit:
            break
        on[place] = False
        on[place] = not space.connectivity.running(space.space, space.switched(on)).any()
    return on

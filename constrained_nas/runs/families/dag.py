"""Super-networks of modules to switch off in a run: ResNet fabrics and convolutional neural fabrics, by Budgeted Super Networks.

The weights are trained while the search runs; a found network is fine-tuned from those it ended with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from torch import nn

from constrained_nas.latency import Clock
from constrained_nas.methods import Budgeted
from constrained_nas.methods.budgeted import ConnectedProgram
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, RunTable, Saved
from constrained_nas.runs.families.timed_parts import TimedParts, dag_parts
from constrained_nas.runs.families.weights import fine_tuned, inherited, search_supernet
from constrained_nas.search import WeightTraining
from constrained_nas.training import seeded
from graphs import Architecture, DagSpace, SearchSpace, Supernet, convolutional_neural_fabric, resnet_fabric
from graphs.costs import (
    CostModel,
    LatencyTable,
    connected_architecture,
    connected_latency,
    connected_macs,
    connected_parameters,
    load_latency_table,
)
from graphs.own_code import is_own, own_built, own_title


@dataclass(frozen=True, eq=False)
class DagFamily(Family):
    """Which modules of a graph run."""

    methods: ClassVar[tuple[str, ...]] = ("budgeted",)
    free: ClassVar[bool] = False
    decides: ClassVar[str] = "modules to switch off (resnet-fabric-small, cnf-small, resnet-fabric-3 ...)"
    # A super-network that was trained while it was searched favours what was found: its other networks tell little.
    tests_references: ClassVar[bool] = False

    space: DagSpace

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        side = 16 if space.endswith("-small") else 32
        numbers = {"epochs": 12, "warm_up": 3, "train_epochs": 1, "batch_size": 32, "learning_rate": 0.1, "samples": 8}
        return {"method": "budgeted", "resolution": side, **numbers, "fine_tune_epochs": 2, "fine_tune_rate": 0.02}

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        if is_own(space):
            graph = own_built(space, classes=classes, channels=image_channels, resolution=resolution)
            return cls(DagSpace(own_title(space), graph))
        kind, _, size = space.rpartition("-")
        if kind == "resnet-fabric":
            widths, blocks = ((8, 16, 32), 3) if size == "small" else ((16, 32, 64), int(size))
            return cls(resnet_fabric(blocks, classes=classes, image_channels=image_channels, side=resolution, widths=widths))
        columns, scales, filters = (4, 4, 8) if size == "small" else (int(size), 6, 128)
        fabric = convolutional_neural_fabric(
            columns, scales, filters, classes=classes, image_channels=image_channels, side=resolution
        )
        return cls(fabric)

    @property
    def decisions(self) -> SearchSpace:
        return self.space.space

    def counted(self) -> Costs:
        """Parameters and multiply-adds of what runs."""
        return {"params": connected_parameters(self.space), "macs": connected_macs(self.space, "exact")}

    def cheapest(self, cost: CostModel) -> Architecture:
        """The cheapest connected sub-graph."""
        whole = Budget(cost, cost.cost(self.space.whole), cost.unit)
        found = ConnectedProgram.of(self.space, SearchProblem(self.decisions, (whole,))).model.cheapest[0].require_feasible()
        return connected_architecture(self.space, np.asarray(found.x) > 0.5)

    def largest(self, cost: CostModel) -> Architecture:
        """Every module."""
        return self.space.whole

    def random(self, problem: SearchProblem, seed: int) -> Architecture | None:
        """The best connected sub-graph that fits under random scores of the modules: few that are drawn are connected."""
        scores = np.random.default_rng([seed, 1]).normal(size=self.decisions.blocks.dimension // 2)
        found = ConnectedProgram.of(self.space, problem).best(scores).require_feasible()
        architecture = connected_architecture(self.space, np.asarray(found.x) > 0.5)
        return architecture if problem.fits(architecture) else None  # a cost that does not add up may not be met

    def uniform(self, problem: SearchProblem) -> None:
        """Every module is the largest network, and none is no network."""
        return

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        self._method(plan).init(problem, np.random.default_rng(0))

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """Budgeted Super Networks, every sample within the budgets."""
        supernet = seeded(self._supernet, prepared.settings.seed)
        training = WeightTraining(prepared.plan.learning_rate, milestones=(0.6, 0.85))
        budgeted = self._method(prepared.plan)
        return search_supernet(problem, budgeted, supernet, prepared, saved, training, together=True)

    def trained(self, prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, saved: Saved) -> nn.Module:
        """From the weights that the search ended with; without any from scratch, for as many epochs as search and fine-tuning."""
        if supernet is None:
            plan, network = prepared.plan, seeded(lambda: self.network(architecture), prepared.settings.seed)
            longer = replace(plan, fine_tune_epochs=plan.epochs + plan.fine_tune_epochs, fine_tune_rate=plan.learning_rate)
            return fine_tuned(replace(prepared, plan=longer), network, prepared.data.weights, saved)
        return fine_tuned(prepared, inherited(prepared, supernet, architecture), prepared.data.weights, saved)

    def network(self, architecture: Architecture) -> nn.Module:
        return self._supernet().extract(architecture)

    def read_table(self, path: Path) -> LatencyTable:
        return load_latency_table(path)

    def latency(self, table: RunTable) -> CostModel:
        return connected_latency(table, self.space) if isinstance(table, LatencyTable) else super().latency(table)

    def parts(self) -> TimedParts:
        return dag_parts(self.space)

    def clock(self, table: RunTable) -> Clock:
        return cast(LatencyTable, table).clock

    def timed(self, prepared: Prepared) -> tuple[DagSpace, Callable[[Architecture], nn.Module]]:
        return self.space, self.network

    def _supernet(self) -> Supernet:
        return self.space.supernet(rows="route", disconnected="zeros")

    def _method(self, plan: Plan) -> Budgeted:
        return Budgeted(
            self.space,
            samples=plan.samples,
            anneal=0.7,
            warm_up=min(plan.warm_up, plan.epochs - 1),
            milestones=(0.6, 0.85),
            clamp=4.0,
            hard=True,
        )

"""PruNet's spaces in a run: blocks with widths, and layers that may be skipped. Found networks are trained from fresh weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn
from torch.utils.data import ConcatDataset, Dataset

from constrained_nas.latency import Clock, Progress, Timer, calibrate_width_table, measure_width_table, require_runtime
from constrained_nas.methods import PruNet
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, RunTable, Saved
from constrained_nas.runs.families.weights import extreme_options, fine_tuned, search_supernet
from constrained_nas.search import PRUNET_TRAINING
from constrained_nas.training import seeded
from graphs import Architecture, GPUNetSpace, SearchSpace, gpunet_imagenet, gpunet_imagewoof, gpunet_small
from graphs.costs import CostModel, QuadraticCost, WidthLatencyTable, load_width_latency_table, width_count_cost, width_latency_cost
from graphs.files import save_json
from solvers import Quadratic

_SPACES: dict[str, Callable[[int, int, int], GPUNetSpace]] = {
    "gpunet-small": gpunet_small,
    "gpunet-imagenet": gpunet_imagenet,
    "gpunet-imagewoof": gpunet_imagewoof,
}
_SIDES = {"gpunet-small": 16, "gpunet-imagenet": 288, "gpunet-imagewoof": 224}
_OF_LATENCY = ("latency_ms", "selected_ms", "needed_alpha")


@dataclass(frozen=True, eq=False)
class GPUNetFamily(Family):
    """A block and its width for every layer, or none."""

    methods: ClassVar[tuple[str, ...]] = ("prunet",)
    decides: ClassVar[str] = "blocks with widths (gpunet-small, gpunet-imagenet, gpunet-imagewoof)"

    space: GPUNetSpace

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        numbers = {"epochs": 10, "warm_up": 2, "train_epochs": 1, "batch_size": 40, "learning_rate": 0.005, "samples": 1}
        return {"method": "prunet", "resolution": _SIDES[space], **numbers, "fine_tune_epochs": 15, "fine_tune_rate": 0.1}

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        return cls(_SPACES[space](classes, resolution, image_channels))

    @property
    def decisions(self) -> SearchSpace:
        return self.space.space

    def counted(self) -> Costs:
        """Parameters and multiply-adds."""
        return {"params": width_count_cost(self.space, "parameters"), "macs": width_count_cost(self.space, "macs")}

    def cheapest(self, cost: CostModel) -> Architecture:
        """The cheapest option of every layer."""
        return extreme_options(self.decisions, cost, -1.0)

    def largest(self, cost: CostModel) -> Architecture:
        """The costliest option of every layer."""
        return extreme_options(self.decisions, cost, 1.0)

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        self._method(plan, costs).init(problem, np.random.default_rng(0))

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """PruNet; the projection holds the budgets."""
        supernet = seeded(self.space.supernet, prepared.settings.seed)
        training = replace(PRUNET_TRAINING, learning_rate=prepared.plan.learning_rate)
        found = search_supernet(problem, self._method(prepared.plan, costs), supernet, prepared, saved, training)
        if "latency_ms" in costs:
            return found
        # Without a table, nothing is known of latencies.
        known = [{name: value for name, value in entry.items() if name not in _OF_LATENCY} for entry in found.history]
        return replace(found, history=known)

    def trained(self, prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, saved: Saved) -> nn.Module:
        """From fresh weights, on all the training data."""
        network = seeded(partial(self.space.network, architecture), prepared.settings.seed)
        everything: Dataset[Any] = ConcatDataset([prepared.data.weights, prepared.data.architecture])
        return fine_tuned(prepared, network, everything, saved)

    def network(self, architecture: Architecture) -> nn.Module:
        return self.space.network(architecture)

    def read_table(self, path: Path) -> WidthLatencyTable:
        return load_width_latency_table(path)

    def latency(self, table: RunTable) -> CostModel:
        return width_latency_cost(table, self.space) if isinstance(table, WidthLatencyTable) else super().latency(table)

    def measure_table(self, timer: Timer, seed: int, path: Path, progress: Progress | None) -> None:
        require_runtime("torch", timer.device)
        generator = np.random.default_rng(seed)
        table = measure_width_table(self.space, timer, 20, generator, 4, progress)
        table, _, _ = calibrate_width_table(table, self.space, timer, 20, 20, generator, progress)
        save_json(table.model_copy(update={"runtime": f"{table.runtime}, {timer.clock} clock"}), path)

    def clock(self, table: RunTable) -> Clock:
        return "processor" if table.runtime.endswith("processor clock") else "wall"

    def timed(self, prepared: Prepared) -> tuple[GPUNetSpace, Callable[[Architecture], nn.Module]]:
        """Fresh networks: the super-network has lost options that a projection may want back."""
        return self.space, self.space.network

    def _method(self, plan: Plan, costs: Costs) -> PruNet:
        """The paper's alpha would only add a wish for less latency than was asked for: it is 0."""
        latency = costs.get("latency_ms")
        if not isinstance(
            latency, QuadraticCost
        ):  # no table: with alpha 0 any positive latency does, and the history leaves it out
            nothing = Quadratic.of(math.e, np.zeros(self.decisions.blocks.dimension))
            latency = QuadraticCost("latency", "ms", self.decisions, nothing)
        warm_up = min(plan.warm_up, plan.epochs - 1)
        return PruNet(self.space, latency, alpha=0.0, warm_up=warm_up, hard=True, hard_epochs=True)

"""HardCoRe-NAS's spaces in a run: inverted residuals with a choice of depth, on one super-network trained before any search.

The super-network is trained as in the paper, the heaviest network first, then paths drawn uniformly: one for every example, or for
small networks one a batch. A found network takes its weights and is fine-tuned towards labels and the heaviest network's answers
("2 for 1", HardCoRe-NAS, Appendix G).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from torch import nn

from constrained_nas.ask_tell import SearchMethod, SearchResult
from constrained_nas.latency import Clock, ProfileSettings, Progress, Timer, log_beside, profile_space
from constrained_nas.methods import SoftPenalty, random_feasible, recommended, small_steps, start_point
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, RunTable, Saved
from constrained_nas.runs.families.weights import (
    counted_costs,
    extreme_options,
    fine_tuned,
    heaviest_teacher,
    inherited,
    judge_networks,
    search_supernet,
    train_shared,
)
from constrained_nas.runs.recipes import RECIPES
from graphs import Architecture, MBConvSpace, SearchSpace, Supernet, hardcore_imagenet, hardcore_small, ofa_mbv3
from graphs.costs import (
    CostModel,
    LatencyTable,
    PeakCost,
    QuadraticCost,
    block_memory,
    latency_cost,
    load_energy_table,
    load_latency_table,
    mac_cost,
    parameter_cost,
)
from graphs.files import save_json
from solvers import cheapest_start


@dataclass(frozen=True, eq=False)
class HardCoReFamily(Family):
    """Configurations of blocks, and depths of stages."""

    methods: ClassVar[tuple[str, ...]] = ("surrogate", "hardcore", "soft-penalty", "random")
    decides: ClassVar[str] = "blocks and depths (hardcore-small, hardcore-imagenet, ofa-mbv3)"
    shares_supernet: ClassVar[bool] = True
    takes_recipes: ClassVar[bool] = True

    space: MBConvSpace
    energy: CostModel | None = None

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        side = 32 if space == "hardcore-small" else 224
        return {"method": "surrogate", "resolution": side, "samples": 1, **RECIPES["digits"].numbers()}

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        if space == "hardcore-small":
            return cls(hardcore_small(classes, resolution, image_channels))
        if space == "ofa-mbv3":
            return cls(ofa_mbv3(classes, resolution, image_channels))
        variant = "paper" if space.endswith("paper") else "release"
        return cls(hardcore_imagenet(variant, classes, resolution, image_channels))  # type: ignore[arg-type] # one of two words

    @property
    def decisions(self) -> SearchSpace:
        return self.space.space

    @property
    def networks(self) -> int:
        """Different ones: blocks beyond the depth of a stage make none."""
        return self.space.architectures

    def counted(self) -> Costs:
        """Parameters, multiply-adds, bytes of the weights, and of the feature maps alive at once."""
        return counted_costs(parameter_cost(self.space), mac_cost(self.space), block_memory(self.space), self.energy)

    def cheapest(self, cost: CostModel) -> Architecture:
        """The cheapest configurations at the least depths."""
        if isinstance(cost, PeakCost):
            return extreme_options(self.decisions, cost, -1.0)  # depths have no peak of their own: the first is the least
        quadratic = cast(QuadraticCost, cost).quadratic
        return self.decisions.architecture(np.asarray(cheapest_start(self.space.staged, quadratic, math.inf).require_feasible().x))

    def largest(self, cost: CostModel) -> Architecture:
        """Greatest expansion and kernel, squeeze-and-excitation, full depth."""
        return self.space.heaviest()

    def random(self, problem: SearchProblem, seed: int) -> Architecture:
        """Projected where budgets are too tight to be met by drawing."""
        return random_feasible(problem, self.space.staged, np.random.default_rng([seed, 1])).result.architecture

    def supernet(self) -> Supernet:
        return self.space.supernet()

    def train(self, prepared: Prepared, saved: Saved) -> None:
        train_shared(prepared, self.space.heaviest(), saved)

    def read_table(self, path: Path) -> LatencyTable:
        return load_latency_table(path)

    def latency(self, table: RunTable) -> CostModel:
        return latency_cost(table, self.space) if isinstance(table, LatencyTable) else super().latency(table)

    def with_energy(self, path: Path) -> HardCoReFamily:
        return replace(self, energy=latency_cost(load_energy_table(path), self.space))

    def measure_table(self, timer: Timer, seed: int, path: Path, progress: Progress | None) -> None:
        """A killed measurement goes on where it was."""
        log = log_beside(path)
        found = profile_space(self.space, ProfileSettings("torch", timer, evidence=False, seed=seed), log, progress)
        save_json(found.table, path)
        log.unlink(missing_ok=True)

    def clock(self, table: RunTable) -> Clock:
        return cast(LatencyTable, table).clock

    def timed(self, prepared: Prepared) -> tuple[MBConvSpace, Callable[[Architecture], nn.Module]]:
        return self.space, cast(Supernet, prepared.supernet).extract

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        """By the cheapest start."""
        start_point(problem, self.space.staged, "cheapest")

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """The pairwise surrogate told whole networks; HardCoRe-NAS or the soft penalty by batches; or random networks that fit.

        The super-network stays as it is.
        """
        settings, supernet = prepared.settings, prepared.supernet
        if method == "random":
            draw = partial(self._random, settings.seed)
            return Found(draw(problem), draw, [], supernet)
        if method == "surrogate":
            ours = recommended(self.decisions, self.space.staged, prepared.plan.evaluations)
            return judge_networks(problem, ours, cast(Supernet, supernet), prepared, saved)
        found = search_supernet(problem, self._method(prepared.plan, method), cast(Supernet, supernet), prepared, saved)
        return replace(found, tightens=not (method == "soft-penalty" and settings.soft_end == "argmax"))

    def trained(self, prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, saved: Saved) -> nn.Module:
        """From the super-network's weights, under the eyes of the heaviest network, as it was before paths were sampled."""
        network = inherited(prepared, supernet, architecture)
        teacher = heaviest_teacher(prepared, self.space.heaviest()) if prepared.plan.fine_tune_epochs else None
        return fine_tuned(prepared, network, prepared.data.weights, saved, teacher)

    def network(self, architecture: Architecture) -> nn.Module:
        return self.space.supernet().extract(architecture)

    def _method(self, plan: Plan, method: str) -> SearchMethod[Any]:
        """HardCoRe-NAS with small steps, averaged gradients and the linearized loss projected; or the penalty."""
        settings = plan.settings
        if method == "hardcore":
            return small_steps(self.decisions, self.space.staged)
        projection = "joint" if settings.soft_end == "projection" else "argmax"
        return SoftPenalty(self.decisions, self.space.staged, settings.penalty, projection=projection)  # type: ignore[arg-type]

    def _random(self, seed: int, problem: SearchProblem) -> SearchResult:
        return random_feasible(problem, self.space.staged, np.random.default_rng([seed, 0])).result

"""A network of one's own with ``graphs.Choice`` in it, in a run: one super-network, searched by whole networks under exact budgets.

All options are trained together, every batch on a random architecture of its own; then whole networks with these weights are judged
on the same held-out images, and a pairwise model of their loss is minimized within all budgets. The found network takes the
super-network's weights and is fine-tuned. Its name is ``FILE.py:CALLABLE``: the file is run, and the callable, which may take
``classes``, ``channels`` and ``resolution``, returns the module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.latency import Clock
from constrained_nas.methods import SoftPenalty, recommended
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, RunTable, Saved
from constrained_nas.runs.families.timed_parts import TimedParts, choice_parts
from constrained_nas.runs.families.weights import (
    counted_costs,
    extreme_options,
    fine_tuned,
    inherited,
    judge_networks,
    search_supernet,
    train_shared,
)
from constrained_nas.selections import option_scores, project_linear
from constrained_nas.training import seeded
from graphs import Architecture, ChoiceSpace, SearchSpace, Supernet, choice_space
from graphs.costs import (
    CostModel,
    LatencyTable,
    choice_latency,
    choice_macs,
    choice_memory,
    choice_parameters,
    load_energy_table,
    load_latency_table,
)
from graphs.own_code import own_built, own_title

_DRAWS = 1000  # random networks that are tried until one fits; then random scores are projected


@dataclass(frozen=True, eq=False)
class ChoiceFamily(Family):
    """Options of the choices in a network."""

    methods: ClassVar[tuple[str, ...]] = ("surrogate", "option-scores", "soft-penalty", "random")
    decides: ClassVar[str] = "choices in a network of one's own"
    shares_supernet: ClassVar[bool] = True

    space: ChoiceSpace
    fresh: Callable[[], ChoiceSpace] | None = None  # the same with weights of its own
    energy: CostModel | None = None

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        numbers: dict[str, Any] = {
            "epochs": 4,
            "warm_up": 1,
            "train_epochs": 24,
            "batch_size": 32,
            "learning_rate": 0.05,
            "samples": 1,
        }
        numbers |= {"fine_tune_epochs": 3, "fine_tune_rate": 0.02, "path_per": "batch", "evaluations": 120, "judged_images": 250}
        return {"method": "surrogate", "resolution": 32, **numbers}

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        """The user's file is run; the module sees a batch of zeros."""

        def fresh() -> ChoiceSpace:
            module = own_built(space, classes=classes, channels=image_channels, resolution=resolution)
            if not isinstance(module, nn.Module):
                raise ValueError(
                    f"{space} returned {type(module).__name__}; expected a torch module, or a networkx graph with decisions"
                )
            example = torch.zeros(2, image_channels, resolution, resolution)
            try:
                return choice_space(module, example, f"{own_title(space)}-{resolution}-{image_channels}x{classes}")
            except RuntimeError as error:  # torch's, of shapes that do not suit
                shape = f"{image_channels} x {resolution} x {resolution}"
                raise ValueError(f"{space} fails on images of {shape}: {' '.join(str(error).split())}") from error

        return cls(seeded(fresh, 0), fresh)

    @property
    def decisions(self) -> SearchSpace:
        return self.space.space

    def counted(self) -> Costs:
        """Parameters, multiply-adds, bytes of the weights, and of the feature maps alive at once."""
        return counted_costs(choice_parameters(self.space), choice_macs(self.space), choice_memory(self.space), self.energy)

    def cheapest(self, cost: CostModel) -> Architecture:
        return extreme_options(self.decisions, cost, -1.0)

    def largest(self, cost: CostModel) -> Architecture:
        return extreme_options(self.decisions, cost, 1.0)

    def supernet(self) -> nn.Module:
        """With fresh weights where the network has a name to build it from; else it shares those of the network."""
        return (self.fresh() if self.fresh is not None else self.space).supernet()

    def train(self, prepared: Prepared, saved: Saved) -> None:
        """The network of most multiply-adds first, then sampled paths."""
        train_shared(prepared, self.largest(self.counted()["macs"]), saved)

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        """By a selection of options that are all worth the same."""
        project_linear(problem, {d.name: dict.fromkeys(d.options, 0.0) for d in self.decisions.decisions})

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """The pairwise surrogate told whole networks; scores of the options by ``epochs`` passes over held-out images, and the best
        selection; the soft penalty; or chance."""
        supernet = cast(nn.Module, prepared.supernet).to(prepared.fabric.device).eval()
        passes, settings = prepared.plan.epochs, prepared.settings
        seed = settings.seed
        if method == "random":
            draw = partial(self._random, seed)
            return Found(draw(problem), draw, [], supernet)
        if method == "surrogate":
            ours = recommended(self.decisions, None, prepared.plan.evaluations)
            return judge_networks(problem, ours, cast(Supernet, supernet), prepared, saved)
        if method == "soft-penalty":
            projected = settings.soft_end == "projection"
            penalized = SoftPenalty(self.decisions, coefficient=settings.penalty, projection="joint" if projected else "argmax")
            return replace(search_supernet(problem, penalized, supernet, prepared, saved), tightens=projected)
        score = partial(option_scores, supernet, prepared.data.architecture, passes, seed)
        scores = seeded(score, seed)  # augmentation draws from torch's global state
        select = partial(project_linear, scores=scores)
        return Found(select(problem), select, [{"scores": scores}], supernet)

    def trained(self, prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, saved: Saved) -> nn.Module:
        """From the super-network's weights."""
        return fine_tuned(prepared, inherited(prepared, supernet, architecture), prepared.data.weights, saved)

    def network(self, architecture: Architecture) -> nn.Module:
        """With the weights that the network has now."""
        return self.space.extract(architecture)

    def read_table(self, path: Path) -> LatencyTable:
        return load_latency_table(path)

    def latency(self, table: RunTable) -> CostModel:
        return choice_latency(table, self.space) if isinstance(table, LatencyTable) else super().latency(table)

    def with_energy(self, path: Path) -> ChoiceFamily:
        return replace(self, energy=choice_latency(load_energy_table(path), self.space))

    def parts(self) -> TimedParts:
        return choice_parts(self.space)

    def clock(self, table: RunTable) -> Clock:
        return cast(LatencyTable, table).clock

    def timed(self, prepared: Prepared) -> tuple[ChoiceSpace, Callable[[Architecture], nn.Module]]:
        return self.space, self.space.extract

    def _random(self, seed: int, problem: SearchProblem) -> SearchResult:
        generator = np.random.default_rng([seed, 0])
        for _ in range(_DRAWS):
            drawn = self.decisions.choose({d.name: str(generator.choice(d.options)) for d in self.decisions.decisions})
            if problem.fits(drawn):
                return SearchResult.of(problem, drawn, self.decisions.point(drawn))
        scores = {d.name: {option: float(generator.random()) for option in d.options} for d in self.decisions.decisions}
        return project_linear(problem, scores)

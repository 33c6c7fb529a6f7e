"""A network of one's own with ``graphs.Choice`` in it, in a run: options scored on one super-network, the best selection exact.

All options are trained together, every image on a random architecture of its own; each option is scored by how well held-out images
fare with it; and the selection of greatest summed score that fits all budgets is proven best. The found network takes the
super-network's weights and is fine-tuned. There is no name to build one from: make it from ``graphs.choice_space``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, cast

from torch import nn

from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, Saved
from constrained_nas.runs.families.weights import extreme_options, fine_tuned, inherited, train_shared
from constrained_nas.selections import option_scores, project_linear
from constrained_nas.training import seeded
from graphs import Architecture, ChoiceSpace, SearchSpace
from graphs.costs import CostModel, choice_macs, choice_parameters


@dataclass(frozen=True, eq=False)
class ChoiceFamily(Family):
    """Options of the choices in a network."""

    methods: ClassVar[tuple[str, ...]] = ("option-scores",)
    decides: ClassVar[str] = "choices in a network of one's own"
    uncounted: ClassVar[str] = "params or macs"
    shares_supernet: ClassVar[bool] = True

    space: ChoiceSpace

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        numbers = {"epochs": 4, "warm_up": 1, "train_epochs": 12, "batch_size": 32, "learning_rate": 0.05, "samples": 1}
        return {"method": "option-scores", "resolution": 32, **numbers, "fine_tune_epochs": 3, "fine_tune_rate": 0.02}

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        raise ValueError(f"{space}: a network of one's own has no name to build it from; use ChoiceFamily(choice_space(...))")

    @property
    def decisions(self) -> SearchSpace:
        return self.space.space

    def counted(self) -> Costs:
        """Parameters and multiply-adds."""
        return {"params": choice_parameters(self.space), "macs": choice_macs(self.space)}

    def cheapest(self, cost: CostModel) -> Architecture:
        return extreme_options(self.decisions, cost, -1.0)

    def largest(self, cost: CostModel) -> Architecture:
        return extreme_options(self.decisions, cost, 1.0)

    def supernet(self) -> nn.Module:
        """It shares the weights of the network."""
        return self.space.supernet()

    def train(self, prepared: Prepared, saved: Saved) -> None:
        """The last option of every choice first, then sampled paths."""
        train_shared(prepared, self.decisions.choose({d.name: d.options[-1] for d in self.decisions.decisions}), saved)

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        """By a selection of options that are all worth the same."""
        project_linear(problem, {d.name: dict.fromkeys(d.options, 0.0) for d in self.decisions.decisions})

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """Scores of the options, and the best selection; ``epochs`` passes over the held-out images."""
        supernet = cast(nn.Module, prepared.supernet).to(prepared.fabric.device).eval()
        passes, seed = prepared.plan.epochs, prepared.settings.seed
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

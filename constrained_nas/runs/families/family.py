"""What a run asks of a kind of search space, and what it works with: its plan, what was prepared, what a search found.

A family is one object: a search space built for given data, with the costs, latency tables, methods, ends and training that suit
it. Everything else in ``constrained_nas.runs`` speaks to this protocol and never asks which family it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from lightning_fabric import Fabric
from torch import nn

from constrained_nas.ask_tell import SearchResult
from constrained_nas.data import DataSplits
from constrained_nas.latency import Clock, Progress, TimedSpace, Timer
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.option_latencies import measure_option_table
from constrained_nas.runs.families.timed_parts import TimedParts
from constrained_nas.runs.fingerprint import digest, fingerprint
from constrained_nas.runs.recipes import Recipe
from constrained_nas.runs.settings import PathPer, RunSettings
from constrained_nas.training import Checkpoint, Curves
from graphs import Architecture, SearchSpace
from graphs.costs import CostModel, LatencyTable, QuadraticCost, WidthLatencyTable
from graphs.files import save_json

_DRAWS = 1000  # networks that are looked at for a random or a uniform one

RunTable = LatencyTable | WidthLatencyTable
Costs = dict[str, CostModel]  # by the names that budgets are given in


@dataclass(frozen=True, slots=True)
class Plan:
    """A run decided: its settings with nothing left open, and those that the family decides where they were.

    Fields are described in :class:`RunSettings`; ``family`` is the kind of its space, ``recipe`` what its networks are trained by.
    """

    settings: RunSettings
    family: type[Family]
    method: str
    resolution: int
    epochs: int
    warm_up: int
    train_epochs: int
    batch_size: int
    learning_rate: float
    fine_tune_epochs: int
    fine_tune_rate: float
    samples: int
    recipe: Recipe
    path_per: PathPer = "example"
    evaluations: int = 0
    judged_images: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What searches share.

    Attributes:
        plan: of the run.
        family: its space, built for the data.
        data: the splits.
        fabric: where networks are trained.
        supernet: of a family whose searches share one, trained before them; else None.
        folder: of the run; its checkpoints lie in ``checkpoints``.
        remarks: what was noticed on the way, for the record.
        curves: where losses and accuracies are written along the way; None for nowhere.
    """

    plan: Plan
    family: Family
    data: DataSplits
    fabric: Fabric
    supernet: nn.Module | None
    folder: Path
    remarks: list[str] = field(default_factory=list)
    curves: Curves | None = None

    @property
    def settings(self) -> RunSettings:
        """The settings, none of them open."""
        return self.plan.settings

    def saved(self, name: str, progress: Progress | None = None, **more: Any) -> Saved:
        """Where something of that name is kept while it is under way.

        Args:
            name: ``supernet`` is the one that serves every search.
            progress: told after each step.
            more: what decides it besides the settings, JSON-ready.
        """
        decided = fingerprint(self.settings, self.family.decisions, self.data, self.fabric, shared=name == "supernet")
        if name != "supernet" and isinstance(self.family.energy, QuadraticCost):
            terms = self.family.energy.quadratic
            more |= {"energy": digest([terms.offset, terms.linear.tolist(), terms.theta.tolist()])}
        path = self.folder / "checkpoints" / f"{name}.safetensors"
        return Saved(Checkpoint(path, decided | more, self.remarks), progress, self.curves)


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a search or training keeps its state after every epoch, who is told after each step, and where curves are written."""

    checkpoint: Checkpoint
    progress: Progress | None = None
    curves: Curves | None = None

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.checkpoint.path

    @property
    def phase(self) -> str:
        """What the curves call it."""
        return self.path.stem.replace("_", " ")

    def told(self, done: int, total: int, what: str) -> None:
        """Pass on that ``done`` of ``total`` steps of training the network of this checkpoint are done."""
        if self.progress:
            self.progress(done, total, f"training: {self.phase}")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search came to.

    Attributes:
        result: its answer.
        again: the same state under other limits of the same budgets; raises InfeasibleError where nothing fits.
        history: an entry an epoch.
        supernet: with the weights that the search ended with; None where networks are trained from scratch.
        seconds: of this search, less than the whole where it was resumed.
        tightens: whether ``again`` follows the limits: an argmax does not.
    """

    result: SearchResult
    again: Callable[[SearchProblem], SearchResult]
    history: list[dict[str, Any]]
    supernet: nn.Module | None
    seconds: float = 0.0
    tightens: bool = True


class Family(Protocol):
    """A search space built for given data, and all that depends on its kind; what is said here holds in every family.

    Attributes:
        methods: those that search it, its own first.
        free: whether any option of a decision goes with any of the others.
        decides: what they decide on, with some of the spaces, for messages.
        most_budgets: that hold at once; 0 for any number.
        shares_supernet: whether one super-network, trained before, serves every search.
        takes_recipes: whether the data decide how its networks are trained, see :mod:`constrained_nas.runs.recipes`.
        energy: of its networks, by a table, if there is one.
        tests_references: whether networks that were not found are worth testing with the weights there are; else they are trained
            from scratch.
    """

    methods: ClassVar[tuple[str, ...]]
    free: ClassVar[bool] = True
    decides: ClassVar[str]
    most_budgets: ClassVar[int] = 0
    shares_supernet: ClassVar[bool] = False
    takes_recipes: ClassVar[bool] = False
    tests_references: ClassVar[bool] = True
    energy: CostModel | None = None

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        """What suits the space of that name on digits in minutes, by the fields of :class:`Plan`."""

    @classmethod
    def uncounted(cls, space: str) -> str:
        """What to budget instead of a latency, for spaces that have no tables; nothing where they have."""
        return ""

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        """The space of that name for images (image_channels, resolution, resolution) of so many classes.

        Raises:
            ValueError: a resolution that the network cannot halve as often as it has to.
        """

    @property
    def decisions(self) -> SearchSpace:
        """The decisions of the space."""

    @property
    def networks(self) -> int:
        """How many there are, by their decisions."""
        return math.prod(math.comb(d.units + len(d.options) - 1, d.units) for d in self.decisions.decisions)

    def counted(self) -> Costs:
        """The costs that are counted, and the energy by a table, see :meth:`with_energy`."""

    def cheapest(self, cost: CostModel) -> Architecture:
        """The network of least cost, one of the space's costs."""

    def largest(self, cost: CostModel) -> Architecture:
        """The whole network: every module, block and filter at its widest, or the one of greatest cost."""

    def random(self, problem: SearchProblem, seed: int) -> Architecture | None:
        """A random network that fits: options drawn uniformly until they do; None where that takes too long."""
        generator = np.random.default_rng([seed, 1])
        for _ in range(_DRAWS):
            drawn = [generator.multinomial(d.units, np.full(len(d.options), 1 / len(d.options))) for d in self.decisions.decisions]
            architecture = self.decisions.architecture(np.concatenate(drawn))
            if problem.fits(architecture):
                return architecture
        return None

    def uniform(self, problem: SearchProblem) -> Architecture | None:
        """The costliest network that fits among those with the same option wherever options are the same; None if none does."""
        decisions, first = self.decisions.decisions, problem.budgets[0].cost
        kinds = list(dict.fromkeys(decision.options for decision in decisions))
        if math.prod(len(options) for options in kinds) > _DRAWS:
            return None
        best: tuple[float, Architecture] | None = None
        for chosen in product(*kinds):
            picked = dict(zip(kinds, chosen, strict=True))
            counts = {d.name: tuple(d.units * (option == picked[d.options]) for option in d.options) for d in decisions}
            architecture = Architecture(counts)
            if problem.fits(architecture) and (best is None or first.cost(architecture) > best[0]):
                best = first.cost(architecture), architecture
        return None if best is None else best[1]

    def network(self, architecture: Architecture) -> nn.Module:
        """The bare network, with fresh weights."""

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        """Check that some network meets all budgets together.

        Raises:
            InfeasibleError: none does.
            ValueError: a cost that the method cannot hold.
        """

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """One search by one of the family's methods, resumed if it has begun."""

    def trained(self, prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, saved: Saved) -> nn.Module:
        """The bare network with weights of its own, on the fabric's device, in evaluation mode.

        Args:
            supernet: with trained weights; None where networks are trained from scratch.
            saved: training resumes from it if it exists.
        """

    def supernet(self) -> nn.Module | None:
        """A fresh super-network where searches share one."""
        return None

    def train(self, prepared: Prepared, saved: Saved) -> None:
        """Train the shared super-network in place, or resume its training; elsewhere there is nothing to train before a search."""
        return

    def read_table(self, path: Path) -> RunTable:
        """Read a latency table.

        Raises:
            ValueError: there are none of such spaces; or the file is damaged, or of another kind.
        """
        raise self._without_tables()

    def latency(self, table: RunTable) -> CostModel:
        """Latency by a table.

        Raises:
            ValueError: a table of another space or kind, or with entries missing.
        """
        raise ValueError(f"a {table.kind} does not suit the space {self.decisions.name!r}")

    def parts(self) -> TimedParts | None:
        """What is timed where tables are measured part by part; None in families that have ways of their own.

        Raises:
            ValueError: there are no tables of such spaces.
        """
        return None

    def measure_table(self, timer: Timer, seed: int, path: Path, progress: Progress | None) -> None:
        """Measure a latency table on this machine and write it."""
        parts = self.parts()
        if parts is None:
            raise self._without_tables()
        save_json(measure_option_table(parts, timer, seed=seed, progress=progress)[0], path)

    def clock(self, table: RunTable) -> Clock:
        """By which a table was measured."""
        raise self._without_tables()

    def timed(self, prepared: Prepared) -> tuple[TimedSpace, Callable[[Architecture], nn.Module]]:
        """The space (or an image's shape), and what builds its bare networks of any weights: for timing them."""
        raise self._without_tables()

    def with_energy(self, path: Path) -> Family:
        """The same with the energy of a table among its costs.

        Raises:
            ValueError: there are none of such spaces; or the file is damaged, or of another space.
        """
        raise ValueError(f"{self.decisions.name} has no energy tables: they are of hardcore spaces and of networks with choices")

    def _without_tables(self) -> ValueError:
        return ValueError(f"{self.decisions.name} has no latency tables: use another space")


def costs_of(family: Family, table: RunTable | None = None) -> Costs:
    """The costs that a space knows, by the name a budget gives them; ``latency_ms`` with a table.

    Raises:
        ValueError: a table of another space or family, or with entries missing.
    """
    return family.counted() if table is None else {"latency_ms": family.latency(table), **family.counted()}

"""The filters of a ResNet in a run: how many of each layer get which bit width, or how many there are in each stage.

Found networks are trained from fresh weights, in one go: the same network again if it is interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from torch import nn

from constrained_nas.latency import Clock
from constrained_nas.methods import FilterLevel
from constrained_nas.methods.filter_level import (
    Configuration,
    CountCost,
    FilterSearchOptions,
    FilterWeights,
    Training,
    c1,
    c3,
    filter_search,
    fresh_network,
    recalibrate_configuration,
    statistics_of,
    train_configurations,
)
from constrained_nas.problem import SearchProblem
from constrained_nas.runs.families.family import Costs, Family, Found, Plan, Prepared, RunTable, Saved
from constrained_nas.runs.families.timed_parts import TimedParts, filter_parts
from constrained_nas.search import Notes
from constrained_nas.training import load_checkpoint, part_of, rounded, save_checkpoint
from graphs import FLOAT, Architecture, FilterNetwork, FilterSpace, SearchSpace, resnet_filters, resnet_topology
from graphs.costs import BitOperations, CostModel, LatencyTable, SlimmableMacs, load_latency_table, slimmable_latency


@dataclass(frozen=True, eq=False)
class FilterFamily(Family):
    """Numbers of filters; ``make`` gives the network with fresh weights, given the statistics it keeps."""

    methods: ClassVar[tuple[str, ...]] = ("filter-level",)
    decides: ClassVar[str] = "filters (resnet8-bits, resnet8-widths, resnet20-bits ...)"
    most_budgets: ClassVar[int] = 1

    space: FilterSpace
    make: Callable[[tuple[str, ...]], FilterNetwork]
    image: tuple[int, ...]

    @classmethod
    def defaults(cls, space: str) -> dict[str, Any]:
        numbers = {"epochs": 8, "warm_up": 0, "train_epochs": 3, "batch_size": 16, "learning_rate": 0.1, "samples": 8}
        return {"method": "filter-level", "resolution": 16, **numbers, "fine_tune_epochs": 6, "fine_tune_rate": 0.1}

    @classmethod
    def uncounted(cls, space: str) -> str:
        """Filters of several bit widths in one layer are simulated here: no runtime has them."""
        return "bops" if space.endswith("-bits") else ""

    @classmethod
    def build(cls, space: str, classes: int, image_channels: int, resolution: int) -> Self:
        size, _, kind = space.partition("-")
        filters, blocks = ((8, 16, 32), 1) if size == "resnet8" else ((16, 32, 64), 3)
        topology = resnet_topology(filters, blocks, image_channels, resolution)
        made = topology.quantization_space() if kind == "bits" else topology.width_space(per="stage")
        operations = made.operations if kind == "bits" else (FLOAT,)

        def make(sets: tuple[str, ...]) -> FilterNetwork:
            return resnet_filters(filters, blocks, classes, image_channels, resolution, operations=operations, sets=sets)

        return cls(made, make, (image_channels, resolution, resolution))

    @property
    def decisions(self) -> SearchSpace:
        return self.space.space

    def counted(self) -> Costs:
        """Bit operations of bit widths, multiply-adds of numbers of filters."""
        return {"bops": BitOperations(self.space)} if self._bits else {"macs": SlimmableMacs(self.space)}

    def read_table(self, path: Path) -> LatencyTable:
        self.parts()
        return load_latency_table(path)

    def latency(self, table: RunTable) -> CostModel:
        self.parts()
        return slimmable_latency(table, self.space) if isinstance(table, LatencyTable) else super().latency(table)

    def parts(self) -> TimedParts:
        if self._bits:
            raise ValueError(f"{self.decisions.name} has no latency tables: no runtime has several bit widths in a layer; use bops")
        return filter_parts(self.space, self.image, self.network)

    def clock(self, table: RunTable) -> Clock:
        return cast(LatencyTable, table).clock

    def timed(self, prepared: Prepared) -> tuple[tuple[int, ...], Callable[[Architecture], nn.Module]]:
        return self.image, self.network

    def cheapest(self, cost: CostModel) -> Architecture:
        """The cheapest operation, or one filter, everywhere."""
        counts = cast(CountCost, cost).least()[0]
        return self.space.architecture(counts if self._bits else 1 + counts[:, 1])

    def largest(self, cost: CostModel) -> Architecture:
        """Every filter at the widest."""
        return self.space.homogeneous(len(self.space.operations) - 1)

    def require_feasible(self, plan: Plan, problem: SearchProblem, costs: Costs) -> None:
        self._method().init(problem, np.random.default_rng(0))

    def search(self, prepared: Prepared, problem: SearchProblem, costs: Costs, method: str, saved: Saved) -> Found:
        """Filter-level compression, ended by the most probable counts within the budget."""
        level, options = self._method(), self._options(prepared.plan)
        build = partial(self.make, statistics_of(level, options))
        kept = cast(Path, saved.checkpoint)  # the search asks it only whether it exists, and hands it on to be written and read
        notes = None if saved.curves is None else Notes(saved.curves.of("search"), problem, level, options.iterations, 1)
        whole = prepared.data.weights
        run = filter_search(
            problem, level, build, whole, options, prepared.fabric, kept, saved.progress, notes.epoch if notes else None
        )
        return Found(run.result, lambda other: level.finish(other, run.state), run.history, None)

    def trained(self, prepared: Prepared, supernet: nn.Module | None, architecture: Architecture, saved: Saved) -> nn.Module:
        """From fresh weights; after every epoch the training is kept, and it goes on from there."""
        plan, seed, data = prepared.plan, prepared.settings.seed, prepared.data.weights
        weights = FilterWeights(
            plan.batch_size, plan.fine_tune_rate, parts=plan.settings.parts or 1, sync_batchnorm=plan.settings.sync_batchnorm
        )
        configuration = Configuration(self.space.layer_counts(architecture))
        network = fresh_network(lambda: self.make(()), seed, data, weights, prepared.fabric)

        place = Training()
        curve = None if saved.curves is None else saved.curves.of(saved.phase)
        if saved.checkpoint.exists():
            tensors, values = load_checkpoint(saved.checkpoint)
            network.load_state_dict(part_of(tensors, "network."))
            place = Training(values["epochs"], values["losses"], part_of(tensors, "training."))

        def told(epochs: int) -> bool:
            if curve is not None:
                loss, rate = rounded([place.losses[-1], weights.rate(epochs / plan.fine_tune_epochs)])
                curve.epoch(epochs, {"loss": loss, "rate": rate})
            tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
            tensors |= {f"training.{name}": tensor for name, tensor in place.tensors.items()}
            save_checkpoint(saved.checkpoint, tensors, {"epochs": place.epochs, "losses": place.losses})
            saved.told(epochs, plan.fine_tune_epochs, "")
            return False

        one = [configuration]
        epochs, fabric = plan.fine_tune_epochs, prepared.fabric
        train_configurations(network, lambda _: one, data, epochs, weights, fabric, seed, after_epoch=told, place=place)
        recalibrate_configuration(network, configuration, data, plan.batch_size, prepared.fabric, seed)
        return network.extract().to(prepared.fabric.device).eval()

    def network(self, architecture: Architecture) -> nn.Module:
        network = self.make(())
        configuration = Configuration(self.space.layer_counts(architecture))
        network.configure(configuration.counts, configuration.statistics)
        return network.extract()

    @property
    def _bits(self) -> bool:
        return self.space.kind == "quantization"

    def _method(self) -> FilterLevel:
        # Few steps on a laptop ask for rates far above the paper's 1e-4 to 5e-4, which are for hundreds of iterations.
        return FilterLevel(self.space, learning_rate=0.1 if self._bits else 0.02, hard=True)

    def _options(self, plan: Plan) -> FilterSearchOptions:
        """C.1 for bit widths; C.3, on all the data and without fresh starts, for numbers of filters."""
        weights = FilterWeights(
            plan.batch_size, plan.learning_rate, parts=plan.settings.parts or 1, sync_batchnorm=plan.settings.sync_batchnorm
        )
        seed = plan.settings.seed
        if self._bits:
            return c1(weight_epochs=plan.train_epochs, samples=plan.samples, iterations=plan.epochs, weights=weights, seed=seed)
        return c3(
            weight_epochs=plan.train_epochs,
            sample_epochs=1,
            samples=max(2, plan.samples // 2),
            iterations=plan.epochs,
            reset_period=0,
            law_batches=30,
            weights=weights,
            seed=seed,
        )

"""The search for filter-level configurations: the one loop behind algorithms C.1 to C.5 (``filter_algorithms``).

All draws of an iteration come from (seed, iteration): a search that is killed and resumed from its checkpoint ends as an unbroken
one does. Asked to stop, it keeps the iteration it is in as well: epochs of the shared weights, samples that were trained.

Reference: Zur et al., Appendix C.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from constrained_nas.ask_tell import Feedback, Moment, SearchResult
from constrained_nas.data import loader
from constrained_nas.methods.filter_level.algorithms import FilterSearchOptions
from constrained_nas.methods.filter_level.interpolation_loss import InterpolationLoss
from constrained_nas.methods.filter_level.journal import Inside, Journal, load_journal, save_journal
from constrained_nas.methods.filter_level.method import FilterLevel, FilterLevelState
from constrained_nas.methods.filter_level.training import (
    Configuration,
    fresh_network,
    homogeneous_configurations,
    mean_loss,
    recalibrate_configuration,
    split_halves,
    train_configurations,
)
from constrained_nas.problem import SearchProblem
from constrained_nas.training import Stopped, row_losses
from graphs import FilterNetwork
from graphs.filters import FRESH, SwitchableNorm
from solvers.arrays import FloatArray

Progress = Callable[[int, int, str], None]
AfterIteration = Callable[[int, FilterLevelState, Mapping[str, Any]], None]
_SAMPLED, _EXPECTED = "sampled", "expected"  # statistics of C.1's sampled configurations, and of the expected one


@dataclass(frozen=True, slots=True)
class FilterRun:
    """What a search came to.

    Attributes:
        result: the method's answer (``hard`` or not).
        expected: the expected configuration, rounded: the paper's answer.
        losses: mean cross-entropy of the samples at every step of the law.
        history: an entry an iteration: ``iteration``, ``loss``, ``objective`` (what the law stepped along, without the method's own
            term), the method's report, ``expected`` counts, their ``costs``, the law's ``parameters``.
        references: of Eq. 7, else None.
    """

    result: SearchResult
    expected: SearchResult
    state: FilterLevelState
    losses: list[float]
    history: list[dict[str, Any]]
    references: InterpolationLoss | None


def filter_search(
    problem: SearchProblem,
    method: FilterLevel,
    build: Callable[[], FilterNetwork],
    data: Dataset[Any],
    options: FilterSearchOptions,
    fabric: Fabric,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    after_iteration: AfterIteration | None = None,
) -> FilterRun:
    """Search.

    Args:
        problem: the space's decisions, and the budget (lambda and ``hard`` need one; Eq. 7 needs one for its cost).
        build: a network with fresh weights from torch's global generator, which is seeded for it; its statistics must include the
            homogeneous names and ``expected`` (slimmable) or ``sampled``; see :func:`statistics_of`.
        options: one of ``c1()`` ... ``c5()``, or switches of your own.
        checkpoint: saved after every iteration, and where ``progress`` raises ``Stopped``; the search resumes from it if it exists,
            and ends in the same result.
        progress: called with steps done, steps in all, and what is going on.
        after_iteration: told (iterations done, the state, its entry of the history) before the checkpoint is written.

    Raises:
        ValueError: a problem that does not suit the method; a network of another topology or without the statistics; Eq. 7 with a
            lambda or without a budget; a checkpoint of another search.
        FloatingPointError: a loss is not finite.
    """
    if options.loss == "interpolation" and (method.coefficient or len(problem.budgets) != 1):
        raise ValueError("Eq. 7 has no lambda: set the method's coefficient to 0, and give one budget for its cost")
    state = method.init(problem, np.random.default_rng([options.seed, 0]))
    law_half, weight_half = split_halves(data, options.seed) if options.split == "halves" else (data, data)
    loop = _Loop(problem, method, build, law_half, weight_half, options, fabric)
    journal = Journal(state)
    if checkpoint is not None and checkpoint.exists():
        journal = loop.load(checkpoint)
    try:
        loop.run(journal, checkpoint, progress, after_iteration)
    except Stopped:
        if checkpoint is not None:
            save_journal(checkpoint, journal, loop.identity())
        raise
    state = journal.state
    found, expected = method.finish(problem, state), method.expected(problem, state)
    return FilterRun(found, expected, state, journal.losses, journal.history, journal.references)


def statistics_of(method: FilterLevel, options: FilterSearchOptions) -> tuple[str, ...]:
    """The names of batch statistics that the network of a search needs: give them to ``filter_network(..., sets=...)``."""
    if options.sharing == "slimmable":
        return (*homogeneous_configurations(method.space, options.shares), _EXPECTED)
    return (_SAMPLED,) if options.sharing == "sampled" else ()


class _Loop:
    """What an iteration is made of."""

    def __init__(
        self,
        problem: SearchProblem,
        method: FilterLevel,
        build: Callable[[], FilterNetwork],
        law_data: Dataset[Any],
        weight_data: Dataset[Any],
        options: FilterSearchOptions,
        fabric: Fabric,
    ) -> None:
        self.problem, self.method, self.build = problem, method, build
        self.law_data, self.weight_data, self.options, self.fabric = law_data, weight_data, options, fabric
        self.homogeneous = homogeneous_configurations(method.space, options.shares)
        self.owner = method.space.owner_index

    def moment(self, purpose: Literal["weights", "architecture"], iteration: int, step: int, steps: int) -> Moment:
        return Moment(purpose, iteration, self.options.iterations, step, steps)

    def run(self, journal: Journal, checkpoint: Path | None, progress: Progress | None, told: AfterIteration | None) -> None:
        """The iterations that the journal has not."""
        options, method, problem = self.options, self.method, self.problem
        if options.loss == "interpolation" and journal.references is None:
            journal.references = self.references(journal.reference_losses, progress)
        for iteration in range(journal.iterations, options.iterations):
            generator = np.random.default_rng([options.seed, iteration + 1])
            if journal.inside is None:
                journal.inside = Inside(len(journal.losses))
                if options.sharing != "none" and (
                    journal.network is None or (options.reset_period and iteration % options.reset_period == 0)
                ):
                    journal.network = self.fresh(int(generator.integers(2**31)))
                journal.inside.generator = generator.bit_generator.state
            inside = journal.inside
            generator.bit_generator.state = inside.generator
            if journal.network is not None and inside.law is None:
                self.train_shared(journal.network, journal.state, inside, iteration, generator, progress)
            self.step_law(journal, inside, iteration, generator, progress)
            journal.state = state = method.epoch_end(problem, journal.state, self.moment("architecture", iteration, 0, 1))
            journal.history.append(self.note(state, iteration, journal.losses[inside.losses :], inside.objectives))
            journal.iterations, journal.inside = iteration + 1, None
            if told is not None:
                told(iteration + 1, state, journal.history[-1])
            if checkpoint is not None:
                save_journal(checkpoint, journal, self.identity())
            if progress:
                progress(iteration + 1, options.iterations, "search")

    def fresh(self, seed: int) -> FilterNetwork:
        return fresh_network(self.build, seed, self.weight_data, self.options.weights, self.fabric)

    def train_shared(
        self,
        network: FilterNetwork,
        state: FilterLevelState,
        inside: Inside,
        iteration: int,
        generator: np.random.Generator,
        progress: Progress | None,
    ) -> None:
        options = self.options
        if not options.weight_epochs:
            return
        fixed = [Configuration(counts, name) for name, counts in self.homogeneous.items()]
        fixed.append(Configuration(self.method.law.expected(state.parameters)[self.owner], _EXPECTED))

        def pick(step: int) -> Sequence[Configuration]:
            if options.sharing == "slimmable":
                return fixed
            proposal = self.method.ask(self.problem, state, 1, self.moment("weights", iteration, 0, 1), generator)
            return [Configuration(proposal.noise["counts"][0].astype(np.int64)[self.owner], _SAMPLED)]

        if inside.weights is None:
            inside.weights = int(generator.integers(2**31))

        def report(epochs: int) -> bool:
            inside.generator = generator.bit_generator.state
            if progress:
                progress(epochs, options.weight_epochs, f"iteration {iteration + 1}: shared weights")
            return False

        train_configurations(
            network,
            pick,
            self.weight_data,
            options.weight_epochs,
            options.weights,
            self.fabric,
            inside.weights,
            cosine=False,  # the weights are not done when the iteration is
            after_epoch=report,
            place=inside.training,
        )

    def step_law(
        self, journal: Journal, inside: Inside, iteration: int, generator: np.random.Generator, progress: Progress | None
    ) -> None:
        """The law's steps of an iteration; mean cross-entropies are added to the journal's, mean objectives to the iteration's."""
        options, problem, references = self.options, self.problem, journal.references
        if inside.law is None:
            inside.law, inside.generator = int(generator.integers(2**31)), generator.bit_generator.state
        whole = len(self.law_data) >= options.weights.batch_size  # type: ignore[arg-type]
        shuffle = torch.Generator().manual_seed(inside.law)
        batches = loader(self.law_data, options.weights.batch_size, shuffle, whole, device=self.fabric.device)
        steps = min(len(batches), options.law_batches or len(batches))
        trainings = options.samples * (steps if options.sampling == "batch" else 1) if options.sample_epochs else 0
        proposal = None
        for step, (images, labels) in enumerate(islice(batches, steps)):
            if step < inside.steps:
                continue
            moment = self.moment("architecture", iteration, step, steps)
            if proposal is None or options.sampling == "batch":
                proposal = self.method.ask(problem, journal.state, options.samples, moment, generator)
                costs = problem.observe(proposal.observed) if proposal.observed is not None else {}
                networks = []
                for place, counts in enumerate(proposal.noise["counts"].astype(np.int64)):
                    seed, kept = int(generator.integers(2**31)), inside.samples[place : place + 1]
                    networks.append(self.network_of(journal.network, counts[self.owner], seed, kept[0] if kept else None))
                    if trainings and not kept:
                        inside.samples.append(cast(FilterNetwork, networks[-1]).state_dict())
                        if progress:
                            done = step * options.samples + place + 1
                            progress(done, trainings, f"iteration {iteration + 1}: training samples")
            values = self.losses_of(networks, images, labels)
            objective = values
            if references is not None:
                objective = references.loss(values, costs[problem.budgets[0].cost.name], options.relative)
            journal.state = self.method.tell(problem, journal.state, proposal, Feedback(objective, {}, costs), moment)
            journal.losses.append(float(values.mean()))
            inside.objectives.append(float(objective.mean()))
            if options.sampling == "batch":  # of one proposal for all steps nobody is told before they are done
                inside.steps, inside.samples, inside.generator = step + 1, [], generator.bit_generator.state

    def network_of(
        self, network: FilterNetwork | None, counts: NDArray[np.int64], seed: int, kept: Mapping[str, Tensor] | None
    ) -> Callable[[Tensor], Tensor]:
        """The logits of a sample: from the shared network as it is, or from one trained for it (``kept`` if it was)."""
        options, configuration = self.options, Configuration(counts)
        if network is not None and not options.sample_epochs:
            return lambda images: _with_batch_statistics(network, counts, images)
        own = self.fresh(seed) if network is None else copy.deepcopy(network)
        if kept is None:
            self.train(own, configuration, seed)
        else:
            own.configure(configuration.counts, configuration.statistics)
            own.load_state_dict(kept)
            own.eval()
        return own

    def train(self, network: FilterNetwork, configuration: Configuration, seed: int) -> None:
        options = self.options
        one = [configuration]
        train_configurations(network, lambda _: one, self.weight_data, options.sample_epochs, options.weights, self.fabric, seed)
        recalibrate_configuration(network, configuration, self.weight_data, options.weights.batch_size, self.fabric, seed)

    @torch.no_grad()
    def losses_of(self, networks: Sequence[Callable[[Tensor], Tensor]], images: Tensor, labels: Tensor) -> FloatArray:
        images, labels = self.fabric.to_device(images), self.fabric.to_device(labels)
        with self.fabric.autocast():
            values = [float(row_losses(network(images).float(), labels).double().mean()) for network in networks]
        if not np.isfinite(values).all():
            raise FloatingPointError("the loss of a sampled configuration is not finite: lower the weights' learning rate")
        return np.array(values)

    def references(self, known: list[float], progress: Progress | None) -> InterpolationLoss:
        """E of Eq. 7: every homogeneous configuration trained several times as samples are; losses are added to those ``known``."""
        cost, space = self.problem.budgets[0].cost, self.method.space
        decisions = np.array([int(np.flatnonzero(self.owner == d)[0]) for d in range(len(space.units))])
        total = len(self.homogeneous) * self.options.reference_trainings
        costs = [cost.cost(space.architecture(counts[decisions])) for counts in self.homogeneous.values()]
        each = self.options.reference_trainings
        for done in range(len(known), total):
            place, training = divmod(done, each)
            seed = int(np.random.default_rng([self.options.seed, 0, place, training]).integers(2**31))
            network = self.fresh(seed)
            self.train(network, Configuration(list(self.homogeneous.values())[place]), seed)
            known.append(mean_loss(network, self.law_data, self.fabric))
            if progress:
                progress(done + 1, total, "homogeneous references")
        losses = [known[start : start + each] for start in range(0, total, each)]
        return InterpolationLoss.of(costs, losses)

    def note(self, state: FilterLevelState, iteration: int, losses: list[float], objectives: list[float]) -> dict[str, Any]:
        found = self.method.expected(self.problem, state)
        entry: dict[str, Any] = {
            "iteration": iteration + 1,
            "loss": float(np.mean(losses)),
            "objective": float(np.mean(objectives)),
        }
        entry |= {**self.method.report(state), "expected": self.problem.space.describe(found.architecture), "costs": found.costs}
        return entry | {"parameters": state.parameters.tolist()}

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on, JSON-ready."""
        named = {f.name: getattr(self.method, f.name) for f in fields(self.method)}
        settings = {name: value for name, value in named.items() if isinstance(value, str | int | float)}
        budgets = [[b.cost.name, b.unit, float(b.limit)] for b in self.problem.budgets]
        options = asdict(self.options) | {"shares": list(self.options.shares)}
        sizes = [len(self.law_data), len(self.weight_data)]  # type: ignore[arg-type]
        return {"space": self.problem.space.name, "budgets": budgets, "settings": settings, "options": options, "data": sizes}

    def load(self, path: Path) -> Journal:
        network = None
        if self.options.sharing != "none":
            network = self.build()
            network.to(self.fabric.device)
        return load_journal(path, self.identity(), network)


def _with_batch_statistics(network: FilterNetwork, counts: NDArray[np.int64], images: Tensor) -> Tensor:
    """Logits of a configuration that has no statistics of its own: normalized by the batch, as it was while the weights learned."""
    network.configure(counts, FRESH)
    network.eval()
    for module in network.modules():
        if isinstance(module, SwitchableNorm):
            module.train()
    return network(images)

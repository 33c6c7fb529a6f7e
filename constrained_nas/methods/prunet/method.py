"""PruNet: layers of blocks whose widths, number and very presence are searched while the super-network trains.

Gumbel-softmax mixtures run every surviving block at the two candidate widths of its Prunode. Steps of the weights and of the
architecture's parameters alternate on splits of their own; the latter follow the gradient of ``CE + alpha (ln LAT)^beta`` by Adam,
and Algorithm 1 then moves the widths. Once the warm-up is over, every epoch ends with the removal of improbable blocks.

``hard=True`` goes beyond the paper: the answer is the exact projection of what is left onto the budgets of the problem, see
``constrained_nas.methods.prunet.projection``.

The paper's "Adam with cosine from .1" can be read of either optimizer; here it is the architecture's, from the end of the warm-up
on, and the weights have RMSprop's constant rate (``constrained_nas.search.weights.PRUNET_TRAINING``).

Reference: PruNet, Eq. 2-6, Algorithm 1, Sec. 3-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchResult
from constrained_nas.methods.distributions import mean_entropy
from constrained_nas.methods.prunet.block_pruning import PruningSchedule, SkipScales, output_scales, prune_layer
from constrained_nas.methods.prunet.layout import Layout
from constrained_nas.methods.prunet.loss import Mixture, latency_penalty, mix, mix_gradient
from constrained_nas.methods.prunet.projection import LayerScores, Projection, layer_scores, project_survivors
from constrained_nas.methods.prunet.prunode import PrunodeSettings, pick_widths, step_prunodes
from constrained_nas.methods.prunet.state import (
    PruNetState,
    adam_step,
    initial_state,
    layer_of,
    prunodes_of,
    with_layers,
    with_prunodes,
)
from constrained_nas.problem import SearchProblem
from graphs import Architecture, GPUNetSpace
from graphs.costs import QuadraticCost
from solvers.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class PruNet:
    """The method. Its defaults are the paper's for 200 epochs.

    Attributes:
        latency: the cost charged by the loss, in ms: ``graphs.costs.width_latency.width_latency_cost`` of a measured table.
        alpha, beta: of the loss; alpha 0 charges nothing.
        temperature: of the Gumbel-softmax, constant.
        learning_rate: of Adam, falling to 0 by a cosine from the end of the warm-up.
        warm_up: epochs during which the architecture's parameters stay equal.
        first_threshold, last_threshold: of block pruning, rising linearly; equal for the constant threshold of Fig. 5.
        prunode: find widths by Algorithm 1; without, every width of the space is a candidate of its own (FBNet; see
            ``papers_repro.prunet.separate_candidates``).
        widths: constants of Algorithm 1.
        pruning: remove blocks; without, the likeliest is picked at the end.
        skipping: let layers be skipped: once one block is left, or from the start where nothing is pruned.
        scales: phi and lambda.
        hard: project the answer onto the budgets.
        hard_epochs: project the selection of every epoch, and let what it picks not be pruned: something that survives then fits.
        kappa: of the projection: what ``ln(width / picked width)^2`` costs, in nats.
        least_use: of the projection: share of the latency budget that the answer uses at least, where what survived allows it.
    """

    space: GPUNetSpace
    latency: QuadraticCost
    alpha: float = 1.0
    beta: float = 0.6
    temperature: float = 1.0
    learning_rate: float = 0.1
    warm_up: int = 70
    first_threshold: float = 0.15
    last_threshold: float = 0.55
    prunode: bool = True
    widths: PrunodeSettings = field(default_factory=PrunodeSettings)
    pruning: bool = True
    skipping: bool = True
    scales: SkipScales = field(default_factory=SkipScales)
    hard: bool = False
    hard_epochs: bool = False
    kappa: float = 1.0
    least_use: float = 0.0

    def __post_init__(self) -> None:
        positive = {"beta": self.beta, "temperature": self.temperature, "learning_rate": self.learning_rate}
        wrong = [f"{name} {value}" for name, value in positive.items() if not (value > 0 and math.isfinite(value))]
        wrong += [f"{name} {value}" for name, value in {"alpha": self.alpha, "kappa": self.kappa}.items() if not value >= 0]
        if wrong:
            raise ValueError(f"PruNet: expected positive numbers (alpha and kappa may be 0), got {', '.join(wrong)}")
        if not 0 <= self.least_use <= 1:
            raise ValueError(f"PruNet: least_use is a share of the budget, expected 0 to 1, got {self.least_use}")
        if self.hard_epochs and not self.hard:
            raise ValueError("PruNet: hard_epochs projects every epoch's selection on the way to a hard answer: set hard=True too")
        if self.latency.space.decisions != self.space.space.decisions:
            raise ValueError(
                f"PruNet: the latency is of space {self.latency.space.name!r}, the search in {self.space.space.name!r}"
            )
        if self.latency.unit != "ms" or self.latency.quadratic.theta.any():
            raise ValueError(f"PruNet: expected a latency in ms that adds up over the layers, got one in {self.latency.unit!r}")

    @cached_property
    def layout(self) -> Layout:
        """Where the parameters of every layer lie."""
        return Layout.of(self.space, self.prunode)

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> PruNetState:
        """Equal logits, Prunodes at half and full width.

        Raises:
            ValueError: a problem of another space; ``hard`` without a budget or with costs that do not add up.
            InfeasibleError: ``hard``, and nothing fits; with the least cost there is.
        """
        if problem.space.decisions != self.space.space.decisions:
            raise ValueError(f"PruNet searches {self.space.space.name!r}, the problem is of space {problem.space.name!r}")
        state = initial_state(self.layout, self.skipping, self.pruning)
        if self.hard:
            self.project(problem, state)
        return state

    def ask(
        self, problem: SearchProblem, state: PruNetState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        """One mixture for the whole batch (Eq. 4); gradients are wanted where the architecture learns."""
        noise = {"options": generator.gumbel(size=len(state.logits)), "widths": generator.gumbel(size=(len(state.small), 2))}
        gates, wanted = {}, set[str]()
        for number, mixture in enumerate(self._mixtures(state, noise)):
            layer = self.layout.layers[number]
            alive, options = self._alive_options(state, number)
            gate = np.zeros(len(layer.shape.options))
            scales = output_scales(layer_of(state, self.layout, number), self.scales)[alive]
            np.add.at(gate, options, scales[:, None] * mixture.pairs)  # a slot of one width has weight 0 in the first column
            gates[layer.name] = gate
            if len(alive) > 1 or mixture.two.any():
                wanted.add(layer.name)
        learning = moment.purpose != "weights" and self._schedule(moment).progress(moment.epoch + 1) > 0
        return Proposal(gates, frozenset(wanted if learning else ()), noise)

    def tell(
        self, problem: SearchProblem, state: PruNetState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> PruNetState:
        """One step of Adam on the loss, then Algorithm 1; while warming up, only the loss is noted."""
        gradient, total = self.gradient(state, proposal, feedback)
        entropies = state.entropies + float(feedback.losses.mean())
        state = replace(state, total=state.total + total, entropies=entropies, told=state.told + 1)
        schedule = self._schedule(moment)
        if schedule.progress(moment.epoch + 1) == 0:
            return state
        rate = 0.5 * self.learning_rate * (1 + math.cos(math.pi * schedule.progress(moment.progress * moment.epochs)))
        state = adam_step(state, self.layout, gradient, rate)
        if not len(state.width_logits):
            return state
        over = schedule.progress(moment.epoch + (moment.step + 1) / moment.steps)
        return with_prunodes(state, *step_prunodes(prunodes_of(state, self.layout), state.width_logits, over, self.widths))

    def gradient(self, state: PruNetState, proposal: Proposal, feedback: Feedback) -> tuple[FloatArray, float]:
        """The gradient of the loss (Eq. 2) with respect to all logits, (K + P,), and its value."""
        mixtures = self._mixtures(state, proposal.noise)
        tables = [self._latencies(state, number) for number in range(len(mixtures))]
        latency = self.latency.quadratic.offset + sum(float((m.pairs * t).sum()) for m, t in zip(mixtures, tables, strict=True))
        penalty, slope = latency_penalty(latency, self.alpha, self.beta)
        gradient = np.zeros(len(state.logits) + len(state.width_logits))
        for number, (mixture, table) in enumerate(zip(mixtures, tables, strict=True)):
            layer = self.layout.layers[number]
            if layer.name not in feedback.gate_gradients:
                continue
            alive, options = self._alive_options(state, number)
            scales = output_scales(layer_of(state, self.layout, number), self.scales)[alive]
            pairs = scales[:, None] * feedback.gate_gradients[layer.name][options] + slope * table  # latency is not scaled
            by_option, by_width = mix_gradient(mixture, pairs)
            gradient[layer.slots.start + alive] = by_option
            numbers = layer.prunodes[alive]
            gradient[len(state.logits) + numbers[mixture.two]] = by_width[mixture.two]
        return gradient, float(feedback.losses.mean()) + penalty

    def epoch_end(self, problem: SearchProblem, state: PruNetState, moment: Moment) -> PruNetState:
        """The selection is projected if asked for, then improbable options fall.

        After the last epoch no skip joins: it could not be judged any more, and the block stays.
        """
        steps = max(1, state.told)
        state = replace(state, loss=state.total / steps, cross_entropy=state.entropies / steps, total=0.0, entropies=0.0, told=0)
        protected: list[int | None] = [None] * len(self.layout.layers)
        if self.hard_epochs:
            found = self.project(problem, state)
            alpha = 0.0 if found.alphas is None else found.alphas[0]
            state = replace(state, selected=self.latency.cost(found.architecture), needed_alpha=alpha)
            protected = [self._slot(number, choice) for number, choice in enumerate(found.choices)]
        threshold = self._schedule(moment).threshold(moment.epoch + 1)
        if threshold is None or not self.pruning:
            return state
        before = [layer_of(state, self.layout, number) for number in range(len(protected))]
        after = [prune_layer(layer, layer.logits, threshold, kept) for layer, kept in zip(before, protected, strict=True)]
        if moment.epoch + 1 == moment.epochs:
            joined = [new.skip == "competes" and old.skip == "later" for old, new in zip(before, after, strict=True)]
            after = [replace(layer, skip="later") if new else layer for layer, new in zip(after, joined, strict=True)]
        return with_layers(state, self.layout, after)

    def alive(self, state: PruNetState) -> dict[str, list[int]]:
        """The blocks that are left, at all their widths, and skips that have not lost."""
        left = {}
        for number, layer in enumerate(self.layout.layers):
            known = layer_of(state, self.layout, number)
            slots = np.flatnonzero(np.append(known.blocks, known.skip in ("later", "competes", "chosen")))
            left[layer.name] = [option for slot in slots for option in layer.members(int(slot))]
        return left

    def report(self, state: PruNetState) -> dict[str, float]:
        """Mean entropy of the layers in nats, options left a layer, expected latency in ms, the loss with and without its penalty
        (means over the epoch), the share of Prunodes whose candidates are settled; with ``hard_epochs`` the projection's latency
        and alpha."""
        layers = [layer_of(state, self.layout, number) for number in range(len(self.layout.layers))]
        numbers = {
            "entropy": mean_entropy([layer.probabilities for layer in layers]),
            "options": float(np.mean([layer.alive.sum() for layer in layers])),
            "latency_ms": self.latency.quadratic.value(self.point(state)),
            "objective": state.loss,
            "cross_entropy": state.cross_entropy,
            "frozen": float(state.frozen.mean()) if len(state.frozen) else 1.0,
        }
        return numbers | ({"selected_ms": state.selected, "needed_alpha": state.needed_alpha} if self.hard_epochs else {})

    def finish(self, problem: SearchProblem, state: PruNetState) -> SearchResult:
        """The survivors: the likeliest option of every layer, at the width its Prunode settled on; with ``hard`` the projection.

        Raises:
            InfeasibleError: ``hard``, and nothing fits, pruned or not.
        """
        if self.hard:
            found = self.project(problem, state)
            remark = ""
            if found.returned:
                remark = f"no network of the surviving options fits; returned, without weights: {', '.join(found.returned)}"
            if found.alphas is not None:
                remark += ("; " if remark else "") + f"alpha needed: {found.alphas[0]:.4g} to {found.alphas[1]:.4g}"
            return SearchResult.of(problem, found.architecture, self.point(state), found.certificate, remark, found.objective)
        return SearchResult.of(problem, self.survivors(state), self.point(state))

    def survivors(self, state: PruNetState) -> Architecture:
        """The likeliest option of every layer, whatever the budgets; of equals the first, so a block before a skip."""
        picked = pick_widths(prunodes_of(state, self.layout), state.width_logits)
        choices = {}
        for number, layer in enumerate(self.layout.layers):
            slot = int(layer_of(state, self.layout, number).probabilities.argmax())
            choices[layer.name] = layer.shape.options[int(layer.options(picked, picked)[slot, 1])].name
        return self.space.space.choose(choices)

    def point(self, state: PruNetState) -> FloatArray:
        """The relaxed architecture, (dimension,): probabilities of the options, a Prunode's shared by its two candidates."""
        point = np.zeros(self.space.space.blocks.dimension)
        shares = 1.0 / (1.0 + np.exp(-state.width_logits))
        for number, layer in enumerate(self.layout.layers):
            probabilities = layer_of(state, self.layout, number).probabilities
            large = np.where(layer.two, shares[layer.prunodes] if len(shares) else 1.0, 1.0)
            pairs = probabilities[:, None] * np.stack([1.0 - large, large], 1)
            np.add.at(point[layer.point], layer.options(state.small, state.large), pairs)
        return point

    def project(self, problem: SearchProblem, state: PruNetState) -> Projection:
        """The exact projection of what is left onto the budgets of ``problem``, with the alpha that would have been needed.

        Raises:
            ValueError, InfeasibleError: as :func:`project_survivors`.
        """
        return project_survivors(problem, self.scores(state), self.latency.name, self.beta, least_use=self.least_use)

    def scores(self, state: PruNetState) -> dict[str, LayerScores]:
        """What the projection maximizes, by decision.

        A skip that is still to compete counts as surviving, with the probability it would join with.
        """
        picked = pick_widths(prunodes_of(state, self.layout), state.width_logits)
        layers = {}
        for number, layer in enumerate(self.layout.layers):
            known = layer_of(state, self.layout, number)
            logarithms = np.log(np.maximum(known.probabilities, np.finfo(np.float64).tiny))
            logarithms[~known.alive] = 0.0  # what was pruned differs by its widths alone
            if known.skip == "later":
                logarithms[-1] = -math.log(known.blocks.sum() + 1)
            count = len(layer.blocks) + (self.skipping and layer.shape.skippable)
            members = [layer.members(slot) for slot in range(count)]
            ratios = [
                [
                    1.0 if layer.prunodes[slot] < 0 else layer.shape.options[option].width / picked[layer.prunodes[slot]]
                    for option in m
                ]
                for slot, m in enumerate(members)
            ]
            scores = layer_scores(logarithms[:count], members, ratios, self.kappa, len(layer.shape.options))
            survives = np.zeros(len(scores), dtype=np.bool_)
            survives[self.alive(state)[layer.name]] = True
            layers[layer.name] = LayerScores(scores, survives)
        return layers

    def _mixtures(self, state: PruNetState, noise: Mapping[str, FloatArray]) -> list[Mixture]:
        """The weights of every layer's surviving slots under given noise."""
        mixtures = []
        for number, layer in enumerate(self.layout.layers):
            alive = np.flatnonzero(layer_of(state, self.layout, number).alive)
            numbers, two = layer.prunodes[alive], layer.two[alive]
            width_logits, width_noise = np.zeros(len(alive)), np.zeros((len(alive), 2))
            width_logits[two], width_noise[two] = state.width_logits[numbers[two]], noise["widths"][numbers[two]]
            logits, option_noise = state.logits[layer.slots][alive], noise["options"][layer.slots][alive]
            mixtures.append(mix(logits, width_logits, two, option_noise, width_noise, self.temperature))
        return mixtures

    def _alive_options(self, state: PruNetState, number: int) -> tuple[IntArray, IntArray]:
        """The surviving slots (n,) of a layer, and the options (n, 2) they stand for."""
        alive = np.flatnonzero(layer_of(state, self.layout, number).alive)
        return alive, self.layout.layers[number].options(state.small, state.large)[alive]

    def _latencies(self, state: PruNetState, number: int) -> FloatArray:
        """Milliseconds of a layer's surviving slots at both widths, (n, 2)."""
        table = self.latency.quadratic.linear[self.layout.layers[number].point]
        return table[self._alive_options(state, number)[1]]

    def _slot(self, number: int, option: int) -> int:
        """The slot of a layer that an option belongs to."""
        layer = self.layout.layers[number]
        return next(slot for slot in range(len(layer.blocks) + 1) if option in layer.members(slot))

    def _schedule(self, moment: Moment) -> PruningSchedule:
        return PruningSchedule(moment.epochs, self.warm_up, self.first_threshold, self.last_threshold)

"""PruNet's block pruning where the truth is known: its threshold, its Adam, its penalty on the logarithm of the cost.

Every decision is a layer whose options are blocks (the table knows no outputs that phi and lambda could scale, and no widths).
Soft, the search charges ``alpha (ln cost)^beta`` and answers with what survived, whatever that costs: so that it can meet a budget
it is run several times, one after the other, with alpha found by bisection, and answers with the costliest survivors that fitted.
Hard, it charges nothing and runs once: what a projection onto the budget picks of the moment's blocks is kept from falling, and the
answer is the last such projection (``PruNet(hard=True, hard_epochs=True)``).

Reference: PruNet, Eq. 2, Sec. 3 (block pruning); the hard budget goes beyond the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods import project_point, sample_rows
from constrained_nas.methods.prunet import LayerState, init_layer, prune_layer
from constrained_nas.problem import SearchProblem
from papers_repro.macro.pruned import FALLEN, logit_gradient
from solvers import StagedBlocks
from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class BlockPruningState:
    """What is left of every layer, Adam's moments (n,) and steps; of bisection the run, alpha's bracket (logarithms) and answers.

    ``answers`` are the survivors (n,) of runs that fitted.
    """

    layers: tuple[LayerState, ...]
    first: FloatArray
    second: FloatArray
    step: int
    run: int
    bracket: tuple[float, float]
    answers: tuple[FloatArray, ...]


@dataclass(frozen=True)
class BlockPruning(SearchMethod[BlockPruningState]):
    """The method.

    Attributes:
        runs: of bisection, each with as many evaluations; 1 with ``hard``.
        alphas: where bisection looks.
        warm_up: share of a run before the threshold rises.
    """

    staged: StagedBlocks
    hard: bool
    learning_rate: float = 0.1
    runs: int = 5
    alphas: tuple[float, float] = (0.003, 3.0)
    beta: float = 0.6
    warm_up: float = 0.35
    first_threshold: float = 0.15
    last_threshold: float = 0.55

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> BlockPruningState:
        low, high = map(math.log, self.alphas)
        return self._fresh(0, (low, high), ())

    def ask(
        self, problem: SearchProblem, state: BlockPruningState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        names = [decision.name for decision in problem.space.decisions if len(decision.options) > 1]
        return sample_rows(problem.space, _point(state), rows, generator, names, {})

    def tell(
        self, problem: SearchProblem, state: BlockPruningState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> BlockPruningState:
        runs = 1 if self.hard else self.runs
        run = min(runs - 1, int(runs * moment.progress))
        if run > state.run:
            state = self._next(problem, state)
        gradient = logit_gradient(problem, _point(state), self._slope(problem, state), proposal, feedback)
        first, second, step = 0.9 * state.first + 0.1 * gradient, 0.999 * state.second + 0.001 * gradient**2, state.step + 1
        moved = self.learning_rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        share = runs * moment.progress - run
        rising = (share - self.warm_up) / (1 - self.warm_up)
        threshold = self.first_threshold + max(0.0, rising) * (self.last_threshold - self.first_threshold)
        layers = tuple(
            replace(layer, logits=layer.logits - np.append(moved[self.staged.blocks.slice(block)], 0.0))
            for block, layer in enumerate(state.layers)
        )
        state = replace(state, layers=layers, first=first, second=second, step=step)
        if rising < 0:
            return state
        protected: list[int | None] = [None] * len(layers)
        if self.hard:
            chosen = self._projected(problem, state).architecture
            protected = [chosen.choice(decision.name) for decision in problem.space.decisions]
        pruned = [prune_layer(layer, layer.logits, threshold, kept) for layer, kept in zip(layers, protected, strict=True)]
        return replace(state, layers=tuple(pruned))

    def report(self, state: BlockPruningState) -> dict[str, float]:
        return {"options": float(sum(layer.alive.sum() for layer in state.layers))}

    def finish(self, problem: SearchProblem, state: BlockPruningState) -> SearchResult:
        if self.hard:
            return self._projected(problem, state)
        answers = [*state.answers, *self._fitting(problem, state)]
        if not answers:
            answers = [self._survivors(state)]
        best = max(answers, key=lambda point: min(q.value(point) / t for q, t in _budgets(problem)))
        return SearchResult.of(problem, problem.space.architecture(best), best)

    def _projected(self, problem: SearchProblem, state: BlockPruningState) -> SearchResult:
        point, alive = _point(state), np.concatenate([layer.blocks for layer in state.layers])
        return project_point(problem, self.staged, point, np.where(alive, np.log(np.maximum(point, 1e-12)), FALLEN))

    def _slope(self, problem: SearchProblem, state: BlockPruningState) -> FloatArray:
        """The penalty's gradient; ``alpha (ln cost)^beta`` of the expected cost, summed over the budgets."""
        point, slope = _point(state), np.zeros(self.staged.blocks.dimension)
        if self.hard:
            return slope
        alpha = math.exp(0.5 * sum(state.bracket))
        for quadratic, _ in _budgets(problem):
            value = quadratic.value(point)
            slope += alpha * self.beta * math.log(value) ** (self.beta - 1.0) / value * quadratic.gradient(point)
        return slope

    def _next(self, problem: SearchProblem, state: BlockPruningState) -> BlockPruningState:
        """The next run of bisection: a larger alpha if what survived is too costly, a smaller one if it fits."""
        low, high = state.bracket
        fitting, middle = self._fitting(problem, state), 0.5 * (low + high)
        bracket = (low, middle) if fitting else (middle, high)
        return self._fresh(state.run + 1, bracket, (*state.answers, *fitting))

    def _fitting(self, problem: SearchProblem, state: BlockPruningState) -> list[FloatArray]:
        point = self._survivors(state)
        return [point] if all(quadratic.value(point) <= limit for quadratic, limit in _budgets(problem)) else []

    def _survivors(self, state: BlockPruningState) -> FloatArray:
        picks = [int(layer.probabilities[:-1].argmax()) for layer in state.layers]
        return self.staged.blocks.vertex(picks)

    def _fresh(self, run: int, bracket: tuple[float, float], answers: tuple[FloatArray, ...]) -> BlockPruningState:
        zeros = np.zeros(self.staged.blocks.dimension)
        layers = tuple(init_layer(size, skippable=False) for size in self.staged.blocks.sizes)
        return BlockPruningState(layers, zeros, zeros, 0, run, bracket, answers)


def _point(state: BlockPruningState) -> FloatArray:
    return np.concatenate([layer.probabilities[:-1] for layer in state.layers])


def _budgets(problem: SearchProblem) -> list[tuple[Any, float]]:
    return list(zip(problem.quadratics("block pruning"), problem.limits, strict=True))

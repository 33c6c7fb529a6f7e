"""Peers that try whole networks and answer with the best that fits: random, local search, evolution, policy gradients, TPE.

All behind the ask/tell protocol. Costs are known without training anything, so no peer spends an evaluation on a network that it
can see does not fit: random, local search, evolution and TPE draw again, the policy gradients are charged for the excess.

Reference: Real et al., Regularized evolution for image classifier architecture search; White et al., Local search is state of the
art for neural architecture search benchmarks; Williams, REINFORCE; Kool et al., Buy 4 REINFORCE samples, get a baseline for free
(leave-one-out); Bergstra et al., Algorithms for hyper-parameter optimization (TPE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods import gumbel_rows, project_point, softmax
from constrained_nas.problem import SearchProblem
from solvers import StagedBlocks
from solvers.arrays import FloatArray, IntArray

_TRIES, _TOGETHER = 2048, 64  # uniform draws before random scores are projected instead; how many at a time
_REFUSED = 5  # trials of TPE that do not fit before one that does is given to it


@dataclass(frozen=True, slots=True)
class Told:
    """Choices (networks, blocks) told so far, and their losses (networks,)."""

    choices: IntArray
    losses: FloatArray

    @classmethod
    def nothing(cls, blocks: int) -> Told:
        return cls(np.zeros((0, blocks), dtype=np.int64), np.zeros(0))

    def with_more(self, choices: IntArray, losses: FloatArray) -> Told:
        return Told(np.concatenate([self.choices, choices]), np.concatenate([self.losses, losses]))


@dataclass(frozen=True)
class Tried(SearchMethod[Any]):
    """What such peers share: networks as choices, and the best one told that fits as the answer (the cheapest if none does)."""

    staged: StagedBlocks

    def fits(self, problem: SearchProblem, choices: IntArray) -> bool:
        """By the relaxed costs, which are whole numbers here."""
        point = self.staged.blocks.vertex(choices.tolist())
        priced = zip(problem.quadratics("peer"), problem.limits, strict=True)
        return all(quadratic.value(point) <= limit for quadratic, limit in priced)

    def drawn(self, problem: SearchProblem, generator: np.random.Generator) -> IntArray:
        """Uniform among the networks that fit; where they are too rare, random scores projected."""
        sizes = np.asarray(self.staged.blocks.sizes)
        for _ in range(_TRIES // _TOGETHER):
            choices = generator.integers(sizes, size=(_TOGETHER, len(sizes)))
            points = np.concatenate([np.eye(size)[choices[:, block]] for block, size in enumerate(sizes)], 1)
            fits = np.ones(_TOGETHER, dtype=np.bool_)
            for quadratic, limit in zip(problem.quadratics("peer"), problem.limits, strict=True):
                fits &= quadratic.offset + points @ quadratic.linear + ((points @ quadratic.theta) * points).sum(1) <= limit
            if fits.any():
                return choices[fits.argmax()]
        scores = generator.random(self.staged.blocks.dimension)
        return self.choices_of(problem.space.point(project_point(problem, self.staged, scores, scores).architecture))

    def choices_of(self, point: FloatArray) -> IntArray:
        return np.flatnonzero(point) - np.asarray(self.staged.blocks.offsets[:-1])

    def proposed(self, problem: SearchProblem, choices: IntArray, noise: dict[str, FloatArray] | None = None) -> Proposal:
        """Rows of choices (rows, blocks) as gates."""
        gates = {d.name: np.eye(len(d.options))[choices[:, b]] for b, d in enumerate(problem.space.decisions)}
        return Proposal(gates, frozenset(), {"choices": choices.astype(np.float64), **(noise or {})})

    def answered(self, problem: SearchProblem, told: Told) -> SearchResult:
        for place in np.argsort(told.losses, kind="stable"):
            if self.fits(problem, told.choices[place]):
                point = self.staged.blocks.vertex(told.choices[place].tolist())
                return SearchResult.of(problem, problem.space.architecture(point), point)
        nothing = np.zeros(self.staged.blocks.dimension)
        return project_point(problem, self.staged, nothing, nothing)

    def report(self, state: Any) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class RandomSearch(Tried):
    """Uniform among what fits, the best one taken."""

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Told:
        return Told.nothing(self.staged.blocks.count)

    def ask(self, problem: SearchProblem, state: Told, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        return self.proposed(problem, np.stack([self.drawn(problem, generator) for _ in range(rows)]))

    def tell(self, problem: SearchProblem, state: Told, proposal: Proposal, feedback: Feedback, moment: Moment) -> Told:
        return state.with_more(proposal.noise["choices"].astype(np.int64), feedback.losses)

    def finish(self, problem: SearchProblem, state: Told) -> SearchResult:
        return self.answered(problem, state)


@dataclass(frozen=True)
class Evolution(RandomSearch):
    """Regularized evolution: the oldest dies; a child is the best of ``sample`` with one decision changed, such that it fits."""

    population: int = 20
    sample: int = 10

    def ask(self, problem: SearchProblem, state: Told, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        if len(state.losses) < self.population:
            return super().ask(problem, state, rows, moment, generator)
        alive = np.arange(len(state.losses) - self.population, len(state.losses))
        picked = generator.choice(alive, self.sample, replace=False)
        parent = state.choices[picked[state.losses[picked].argmin()]]
        near = list(neighbours(self, problem, parent))
        child = near[int(generator.integers(len(near)))] if near else parent
        return self.proposed(problem, child[None])


def neighbours(peer: Tried, problem: SearchProblem, choices: IntArray) -> Iterator[IntArray]:
    """The networks that fit and differ in one decision."""
    for block, size in enumerate(peer.staged.blocks.sizes):
        for option in range(size):
            if option != choices[block]:
                changed = choices.copy()
                changed[block] = option
                if peer.fits(problem, changed):
                    yield changed


@dataclass(frozen=True, slots=True)
class Climb:
    """A local search: what was told, where it stands with what loss, and the neighbours (n, blocks) still to be tried."""

    told: Told
    here: IntArray | None
    loss: float
    left: IntArray


@dataclass(frozen=True)
class LocalSearch(Tried):
    """From a random network to the first neighbour that is better, in random order; from a local optimum to a random network."""

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Climb:
        blocks = self.staged.blocks.count
        return Climb(Told.nothing(blocks), None, np.inf, np.zeros((0, blocks), dtype=np.int64))

    def ask(self, problem: SearchProblem, state: Climb, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        if not len(state.left):
            return self.proposed(problem, self.drawn(problem, generator)[None], {"start": np.ones(1)})
        return self.proposed(problem, state.left[:1], {"start": np.zeros(1)})

    def tell(self, problem: SearchProblem, state: Climb, proposal: Proposal, feedback: Feedback, moment: Moment) -> Climb:
        choices, loss = proposal.noise["choices"].astype(np.int64), float(feedback.losses[0])
        told = state.told.with_more(choices, feedback.losses)
        if proposal.noise["start"][0] or loss < state.loss:
            near = list(neighbours(self, problem, choices[0]))
            order = np.random.default_rng(len(told.losses)).permutation(len(near))
            left = np.stack(near)[order] if near else state.left[:0]
            return Climb(told, choices[0], loss, left)
        return replace(state, told=told, left=state.left[1:])

    def finish(self, problem: SearchProblem, state: Climb) -> SearchResult:
        return self.answered(problem, state.told)


@dataclass(frozen=True, slots=True)
class Policy:
    """Logits (n,), Adam's moments, steps, the running baseline, what was told."""

    logits: FloatArray
    first: FloatArray
    second: FloatArray
    step: int
    baseline: float
    told: Told


@dataclass(frozen=True)
class PolicyGradient(Tried):
    """REINFORCE over independent decisions on ``loss + coefficient x excess`` (relative, summed over the budgets).

    Attributes:
        baseline: ``running`` (mean of the objectives before; the usual REINFORCE) or ``leave_one_out`` (RLOO).
    """

    baseline: Literal["running", "leave_one_out"] = "running"
    learning_rate: float = 0.1
    coefficient: float = 1.0

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Policy:
        zeros = np.zeros(self.staged.blocks.dimension)
        return Policy(zeros, zeros, zeros, 0, 0.0, Told.nothing(self.staged.blocks.count))

    def ask(self, problem: SearchProblem, state: Policy, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        parts = [softmax(part) for part in self.staged.blocks.split(state.logits)]
        return self.proposed(problem, np.stack([gumbel_rows(part, rows, generator)[0].argmax(1) for part in parts], 1))

    def tell(self, problem: SearchProblem, state: Policy, proposal: Proposal, feedback: Feedback, moment: Moment) -> Policy:
        choices = proposal.noise["choices"].astype(np.int64)
        points = np.stack([self.staged.blocks.vertex(row.tolist()) for row in choices])
        objectives = feedback.losses.copy()
        for quadratic, limit in zip(problem.quadratics("peer"), problem.limits, strict=True):
            objectives += self.coefficient * np.maximum(0.0, np.array([quadratic.value(p) for p in points]) / limit - 1.0)
        rows = len(objectives)
        if self.baseline == "leave_one_out":
            advantages = (objectives - objectives.mean()) * (rows / (rows - 1)) if rows > 1 else np.zeros(1)
        else:
            advantages = objectives - (state.baseline if state.step else objectives.mean())
        probabilities = np.concatenate([softmax(part) for part in self.staged.blocks.split(state.logits)])
        gradient = (advantages[:, None] * (points - probabilities)).mean(0)
        first, second, step = 0.9 * state.first + 0.1 * gradient, 0.99 * state.second + 0.01 * gradient**2, state.step + 1
        moved = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        seen = objectives.mean() if not state.step else 0.8 * state.baseline + 0.2 * objectives.mean()
        told = state.told.with_more(choices, feedback.losses)
        return Policy(state.logits - self.learning_rate * moved, first, second, step, float(seen), told)

    def finish(self, problem: SearchProblem, state: Policy) -> SearchResult:
        return self.answered(problem, state.told)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Optuna's study, changed in place, and what was told."""

    study: Any
    told: Told


@dataclass(frozen=True)
class TPE(Tried):
    """Optuna's tree-structured Parzen estimator; trials that do not fit are told so, at the cost of no evaluation."""

    multivariate: bool = True
    startup: int = 10
    constrained: bool = True
    trials: list[Any] = field(default_factory=list, repr=False, compare=False)

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.startup,
            multivariate=self.multivariate,
            constraints_func=(lambda trial: trial.user_attrs["excess"]) if self.constrained else None,
            seed=int(generator.integers(2**31)),
        )
        return Study(optuna.create_study(sampler=sampler), Told.nothing(self.staged.blocks.count))

    def ask(self, problem: SearchProblem, state: Study, rows: int, moment: Moment, generator: np.random.Generator) -> Proposal:
        import optuna

        for tries in range(_REFUSED + 1):
            if tries == _REFUSED:  # what fits is rare: the next trial is given
                state.study.enqueue_trial({str(b): int(c) for b, c in enumerate(self.drawn(problem, generator))})
            trial = state.study.ask()
            names = [str(block) for block in range(self.staged.blocks.count)]
            sizes = self.staged.blocks.sizes
            choices = np.array(
                [trial.suggest_categorical(n, list(range(s))) if s > 1 else 0 for n, s in zip(names, sizes, strict=True)]
            )
            point = self.staged.blocks.vertex(choices.tolist())
            pairs = zip(problem.quadratics("peer"), problem.limits, strict=True)
            excess = [quadratic.value(point) / limit - 1.0 for quadratic, limit in pairs]
            trial.set_user_attr("excess", excess)
            if max(excess) <= 0:
                self.trials[:] = [trial]
                return self.proposed(problem, choices[None])
            if self.constrained:
                state.study.tell(trial, 1.0 + max(excess))  # worse than any loss
            else:
                state.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise RuntimeError("TPE: a trial that was given does not fit")

    def tell(self, problem: SearchProblem, state: Study, proposal: Proposal, feedback: Feedback, moment: Moment) -> Study:
        state.study.tell(self.trials[0], float(feedback.losses[0]))
        return Study(state.study, state.told.with_more(proposal.noise["choices"].astype(np.int64), feedback.losses))

    def finish(self, problem: SearchProblem, state: Study) -> SearchResult:
        return self.answered(problem, state.told)

"""Bayesian optimization under hard budgets: the recommended search where networks, or a super-network's losses, can be evaluated.

A pairwise model of the loss (options and pairs of options) is fitted to all that was evaluated; each step draws a loss from its
posterior (Thompson sampling) and evaluates the architecture that is best under it within all budgets. That program is solved by
successive exact linearization and exact swaps, so every evaluated network fits, and what a budget leaves over is spent wherever the
drawn loss has a use for it. It begins with random scores, projected: networks that fit, at the edge of the budgets.

What is certified is the surrogate's program: the certificate states the surrogate's loss of the answer and a true lower bound on
the surrogate over all that fits. How good the surrogate itself is, is measured: the remark gives its leave-one-out error.

Reference: Baptista & Poloczek, Bayesian optimization of combinatorial structures; Thompson 1933. The exact budgets are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.methods.surrogate.model import PairwiseModel, Prior, fit
from constrained_nas.methods.surrogate.program import PairwiseProgram
from constrained_nas.problem import SearchProblem
from graphs import SearchSpace
from solvers import Certificate, StagedBlocks
from solvers.arrays import FloatArray

_REFIT = 1.1  # the prior is chosen again when there are so many times as many losses
_MOST = 1024  # losses the model is fitted to, the latest: their covariance is factored at every step
JUDGED_ROWS = 8  # of the recommended search: drawn losses that are minimized before the model is told again
_STARTS = 1  # best architectures from which a drawn loss is minimized, beside a random one


@dataclass(frozen=True, slots=True)
class SurrogateState:
    """Architectures evaluated (n, dimension), their losses (n,); the prior's (interaction, noise), chosen at ``chosen`` losses."""

    points: FloatArray
    losses: FloatArray
    prior: FloatArray
    chosen: int


@dataclass(frozen=True, slots=True)
class PairwiseSurrogate(SearchMethod[SurrogateState]):
    """The method, on spaces of blocks and depths or of decisions that do not depend on each other.

    Attributes:
        staged: the layout of blocks and depths; None where there are none.
        samples: architectures a batch, each for its share of the rows.
        start: architectures before the model is used; 0: half as many as there are options.
        noisy: whether losses are of batches: then an architecture may be evaluated again. Others are looked at once.
        by_model: whether the answer is the model's best at one standard deviation above the mean, as it always is of noisy losses,
            not the best of what was told. What a super-network tells of a network is no truth, be it always the same.
    """

    space: SearchSpace
    staged: StagedBlocks | None
    samples: int = 1
    start: int = 0
    noisy: bool = False
    by_model: bool = False
    _programs: dict[int, tuple[SearchProblem, PairwiseProgram]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.samples < 1 or self.start < 0:
            raise ValueError(f"PairwiseSurrogate: expected samples >= 1 and start >= 0, got {self.samples} and {self.start}")

    def init(self, problem: SearchProblem, generator: np.random.Generator) -> SurrogateState:
        """Nothing evaluated.

        Raises:
            ValueError: a cost without a relaxed form.
            InfeasibleError: nothing fits; with the least cost there is.
        """
        dimension = self.space.blocks.dimension
        self._program(problem).projected(np.zeros(dimension))
        return SurrogateState(np.zeros((0, dimension)), np.zeros(0), np.ones(2), 0)

    def ask(
        self, problem: SearchProblem, state: SurrogateState, rows: int, moment: Moment, generator: np.random.Generator
    ) -> Proposal:
        """``samples`` architectures that fit, each for its share of the rows."""
        samples, program = min(self.samples, rows), self._program(problem)
        points: list[FloatArray] = []
        taken = set() if self.noisy else {point.tobytes() for point in state.points}
        model = self._model(state) if self._first <= len(state.losses) and len(taken) < program.all_taken else None
        for _ in range(samples):
            if model is None:
                point = program.projected(generator.normal(size=self.space.blocks.dimension))[0]
            else:
                order = np.argsort(state.losses, kind="stable")
                starts = [state.points[place] for place in order[:_STARTS] if program.fits(state.points[place])]
                fresh = program.projected(generator.normal(size=self.space.blocks.dimension))[0]
                point = program.least(model.draw(generator), [*starts, fresh], taken)
            points.append(point)
            if not self.noisy:
                taken.add(point.tobytes())
        share = np.arange(rows) * samples // rows  # rows of a sample lie together
        chosen = np.stack(points)
        gates = {}
        for decision in self.space.decisions:
            options = chosen[:, self.space.slice(decision.name)]
            gates[decision.name] = options[0] if samples == 1 else options[share]
        return Proposal(gates, frozenset(), {"points": chosen, "share": share.astype(np.float64)})

    def tell(
        self, problem: SearchProblem, state: SurrogateState, proposal: Proposal, feedback: Feedback, moment: Moment
    ) -> SurrogateState:
        """Note the mean loss of every sample; an exact loss once."""
        points, share = proposal.noise["points"], proposal.noise["share"].astype(np.int64)
        losses = np.bincount(share, feedback.losses, len(points)) / np.bincount(share, minlength=len(points))
        if not self.noisy:
            places = {point.tobytes(): place for place, point in enumerate(points)}
            new = sorted(place for key, place in places.items() if key not in {point.tobytes() for point in state.points})
            if not new:
                return state
            points, losses = points[new], losses[new]
        state = replace(
            state,
            points=np.concatenate([state.points, points])[-_MOST:],
            losses=np.concatenate([state.losses, losses])[-_MOST:],
        )
        count = len(state.losses)
        if count < self._first or count < min(_REFIT * state.chosen, _MOST):
            return state
        prior = fit(state.points, state.losses, self.space.blocks).prior
        return replace(state, prior=np.array([prior.interaction, prior.noise]), chosen=count)

    def report(self, state: SurrogateState) -> dict[str, float]:
        """Networks evaluated, the least loss, and the surrogate's leave-one-out error."""
        if len(state.losses) < max(2, self._first):
            return {"evaluated": float(len(state.losses))}
        error = self._model(state).leave_one_out()
        return {"evaluated": float(len(state.losses)), "least": float(state.losses.min()), "surrogate_error": error}

    def finish(self, problem: SearchProblem, state: SurrogateState) -> SearchResult:
        """The best architecture evaluated that fits; where the model answers, the one whose loss is least at one standard deviation
        above the mean, among those evaluated and the one that the surrogate thinks best.

        Raises:
            InfeasibleError: nothing fits.
        """
        program = self._program(problem)
        if len(state.losses) < 2:
            point = program.projected(np.zeros(self.space.blocks.dimension))[0]
            return SearchResult.of(problem, self.space.architecture(point), point, remark="nothing was evaluated")
        model = self._model(state)
        mean = model.mean
        told = [place for place in np.argsort(state.losses, kind="stable") if program.fits(state.points[place])]
        if told and not (self.noisy or self.by_model):
            point = state.points[told[0]]
        else:
            fresh = program.projected(-mean.gradient(self.space.blocks.uniform()))[0]
            points = np.unique(state.points[told], axis=0)
            best = sorted(points, key=mean.value)[:_STARTS]
            candidates = np.stack([*points, program.least(mean, [*best, fresh])])
            values = np.array([mean.value(point) for point in candidates])
            point = candidates[int((values + model.deviations(candidates)).argmin())]
        value = mean.value(point)
        certificate = Certificate(value, min(program.bound(mean), value), 0.0, None, maximize=False)
        remark = f"surrogate loss {value:.4g}, its leave-one-out error {model.leave_one_out():.2g}"
        same = (state.points == point).all(1)
        remark += f", measured {float(state.losses[same].mean()):.4g}" if same.any() else ", not evaluated itself"
        return SearchResult.of(problem, self.space.architecture(point), point, certificate, remark, mean)

    @property
    def _first(self) -> int:
        return self.start or max(2, self.space.blocks.dimension // 2)

    def _model(self, state: SurrogateState) -> PairwiseModel:
        prior = Prior(*map(float, state.prior)) if state.chosen else None
        return fit(state.points, state.losses, self.space.blocks, prior)

    def _program(self, problem: SearchProblem) -> PairwiseProgram:
        """Read once a problem."""
        if id(problem) not in self._programs:
            self._programs[id(problem)] = problem, PairwiseProgram.of(problem, self.staged)
        return self._programs[id(problem)][1]


def recommended(space: SearchSpace, staged: StagedBlocks | None, networks: int) -> PairwiseSurrogate:
    """The recommended search of a trained super-network, told so many whole networks (``constrained_nas.search.search_networks``).

    A third of them are drawn at random; the model answers, under whatever budgets.
    """
    return PairwiseSurrogate(space, staged, JUDGED_ROWS, max(2, networks // 3), by_model=True)

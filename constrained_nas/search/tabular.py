"""The ask/tell loop on tabular truth: networks whose losses are known, each looked up when a method first asks for it.

What a method may spend is a number of networks: each that is looked up counts once, those behind a gradient too; asked again it is
remembered, free of charge. A table has no gradients by the gates. A method that wants them gets, for every decision it named,

- ``differences``: the losses of the row's network with each of the decision's options in turn, every one of them looked up; the
  exact gradient of the multilinear loss at that network, for (options - 1) networks a decision;
- ``regression``: the coefficients of a ridge regression of the losses on the options, over all networks looked up so far; it
  costs nothing beyond the row itself and is as good as the loss is additive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import numpy as np

from constrained_nas.ask_tell import Feedback, Moment, Proposal, SearchMethod, SearchResult
from constrained_nas.problem import SearchProblem
from constrained_nas.search.threads import single_threaded
from graphs import Architecture, SearchSpace
from solvers.arrays import FloatArray

State = TypeVar("State")
Gradients = Literal["differences", "regression"]
_RIDGE = 0.5  # in networks: what the regression adds to each option's count
_PATIENCE = 5  # rows a method may ask for, per network it may look up: one that only repeats itself would never end


class OutOfEvaluationsError(RuntimeError):
    """A network beyond the last that may be looked up was asked for."""


@dataclass(slots=True, eq=False)
class TabularTruth:
    """Losses of architectures, looked up at most ``most`` times.

    Attributes:
        space: the decisions, of one unit each.
        loss: of an architecture; lower is better.
        most: networks that may be looked up.
        known: the losses of those that were, by their points' bytes; in the order in which they were asked for.
    """

    space: SearchSpace
    loss: Callable[[Architecture], float]
    most: int
    known: dict[bytes, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Networks looked up so far."""
        return len(self.known)

    def losses(self, points: FloatArray) -> FloatArray:
        """Losses (rows,) of one-hot points (rows, dimension).

        Raises:
            OutOfEvaluationsError: more networks than there are left are new; none of the others is lost.
            ValueError: a point that is no architecture.
        """
        return np.array([self._loss(point) for point in points])

    def _loss(self, point: FloatArray) -> float:
        key = np.asarray(point, dtype=np.float64).tobytes()
        if key not in self.known:
            if self.count >= self.most:
                raise OutOfEvaluationsError(f"all {self.most} networks have been looked up")
            self.known[key] = float(self.loss(self.space.architecture(point)))
        return self.known[key]

    def points(self) -> FloatArray:
        """The points (networks, dimension) looked up, in order."""
        return np.array([np.frombuffer(key) for key in self.known]).reshape(-1, self.space.blocks.dimension)


@dataclass(frozen=True, slots=True, eq=False)
class TabularRun(Generic[State]):
    """What a search on a table came to.

    Attributes:
        result: the method's own answer.
        best: the architecture of least loss among those looked up that fit; None where none does.
        state: the last.
        evaluations: networks looked up; ``asked`` counts the rows, repeats included.
    """

    result: SearchResult
    best: Architecture | None
    state: State
    evaluations: int
    asked: int


@single_threaded
def search_table(
    problem: SearchProblem,
    method: SearchMethod[State],
    truth: TabularTruth,
    *,
    rows: int = 1,
    gradients: Gradients = "regression",
    seed: int = 0,
) -> TabularRun[State]:
    """Search until the table's evaluations are spent; one epoch, whose progress is the share of them that is.

    Args:
        problem: of the table's space.
        method: any; what it asks must be one-hot.
        truth: with its evaluations left.
        rows: asked for at a time, fewer at the end.
        gradients: how the gates' gradients come about, for methods that want them.
        seed: of everything the method draws.

    A step whose gradients are wanted for decisions of a single option only is passed over: nothing can come of it.

    Raises:
        ValueError: the problem does not suit the method, nothing fits, or gates that are not one-hot.
    """
    generator, asked, patience = np.random.default_rng(seed), 0, _PATIENCE * truth.most
    state = method.init(problem, generator)
    single = {decision.name for decision in problem.space.decisions if len(decision.options) == 1}
    while truth.count < truth.most and asked < patience:
        moment = Moment("architecture", 0, 1, max(truth.count, asked * truth.most // patience), truth.most)
        count = min(rows, truth.most - truth.count)
        proposal = method.ask(problem, state, count, moment, generator)
        asked += count
        if proposal.differentiable and proposal.differentiable <= single:
            continue
        try:
            feedback = _look_up(problem, proposal, truth, count, gradients)
        except OutOfEvaluationsError:
            break
        state = method.tell(problem, state, proposal, feedback, moment)
    state = method.epoch_end(problem, state, Moment("architecture", 0, 1, truth.most - 1, truth.most))
    return TabularRun(method.finish(problem, state), _best(problem, truth), state, truth.count, asked)


def proposed_points(space: SearchSpace, proposal: Proposal, rows: int) -> FloatArray:
    """The points (rows, dimension) that a proposal's gates stand for."""
    return np.concatenate([np.broadcast_to(proposal.gates[d.name], (rows, len(d.options))) for d in space.decisions], 1)


def _look_up(problem: SearchProblem, proposal: Proposal, truth: TabularTruth, rows: int, gradients: Gradients) -> Feedback:
    points = proposed_points(problem.space, proposal, rows)
    unique, where = np.unique(points, axis=0, return_inverse=True)
    losses = truth.losses(unique)[where.reshape(-1)]
    wanted = [d for d in problem.space.decisions if d.name in proposal.differentiable]
    found: Mapping[str, FloatArray]
    if gradients == "differences":
        found = {d.name: _differences(truth, points, losses, problem.space.slice(d.name)) for d in wanted}
    else:
        slopes = _regression(truth) if wanted else np.zeros(0)
        found = {d.name: np.broadcast_to(slopes[problem.space.slice(d.name)], (rows, len(d.options))) for d in wanted}
    shaped = {
        name: gradient.sum(0) / rows if proposal.gates[name].ndim == 1 else gradient / rows for name, gradient in found.items()
    }
    costs = {} if proposal.observed is None else problem.observe(proposal.observed)
    return Feedback(losses, shaped, costs)


def _differences(truth: TabularTruth, points: FloatArray, losses: FloatArray, where: slice) -> FloatArray:
    """(rows, options) the loss with each option of one decision, all else as it is."""
    found = np.empty((len(points), where.stop - where.start))
    for option in range(found.shape[1]):
        changed = points.copy()
        changed[:, where] = 0.0
        changed[:, where.start + option] = 1.0
        found[:, option] = truth.losses(changed)
    return found


def _regression(truth: TabularTruth) -> FloatArray:
    """(dimension,) ridge coefficients of the centred losses on the one-hot points."""
    points, losses = truth.points(), np.array(list(truth.known.values()))
    matrix = points.T @ points + _RIDGE * np.eye(points.shape[1])
    slopes: FloatArray = np.linalg.solve(matrix, points.T @ (losses - losses.mean()))
    return slopes


def _best(problem: SearchProblem, truth: TabularTruth) -> Architecture | None:
    ordered = sorted(zip(truth.known.values(), range(truth.count), strict=True))
    points = truth.points()
    architectures = (problem.space.architecture(points[place]) for _, place in ordered)
    return next((architecture for architecture in architectures if problem.fits(architecture)), None)

"""The most probable counts that meet a true budget: linearize, solve exactly, price the answer truly, tighten, again.

Bit operations and multiply-adds are bilinear in the counts of neighbouring layers, so the constrained program is not linear. At the
counts of a round the cost is linearized and ``solvers.knapsack.counts`` finds the most probable counts under that: optimal, with a
certificate of the linear program. Their true cost decides. If they fit, the next round starts from them, until none is more
probable. If they do not, the next starts there too; once counts come again, the linear limit is tightened by the excess instead
until they fit. Single filters are then moved to other operations while that helps and still fits.

So the answer meets the budget by the cost's own sum, but the bound of a linear program is none of the true one. That is stated only
where it is known: where the unconstrained mode fits. ``relaxed_bound``, always true, comes from a linear function that is nowhere
above the cost; it is loose.

Reference: Zur et al.; the issue's hard budget goes beyond the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from constrained_nas.methods.filter_level.counts import LikelyCounts
from graphs.costs import Linearization
from solvers.arrays import FloatArray
from solvers.knapsack import most_probable_counts
from solvers.results import Certificate, InfeasibleError

_MOVES = 10_000  # each strictly improves; thousands would mean a start far from any optimum


@runtime_checkable
class CountCost(Protocol):
    """A cost of (decisions, options) counts, such as ``BitOperations``, ``MemoryTraffic`` or ``SlimmableMacs``."""

    @property
    def name(self) -> str:
        """What is counted."""

    @property
    def unit(self) -> str:
        """In what."""

    @property
    def units(self) -> NDArray[np.int64]:
        """(decisions,) what counts sum to."""

    def of_counts(self, counts: ArrayLike) -> float:
        """The cost that budgets are held to."""

    def totals(self, counts: ArrayLike) -> FloatArray:
        """The costs of (..., decisions, options) counts, up to rounding."""

    def linearize(self, counts: ArrayLike) -> Linearization:
        """First order at counts."""

    def underestimate(self) -> Linearization:
        """Linear, nowhere above the cost."""

    def least(self) -> tuple[FloatArray, float]:
        """The cheapest counts and their cost."""


@dataclass(frozen=True, slots=True, eq=False)
class HardRound:
    """One linear program: its limit on the true cost's scale, and what came of it.

    Attributes:
        limit: what the linearized cost was held to; below the budget where it was tightened.
        linear_cost, true_cost: of the counts it found; None if nothing fitted.
    """

    limit: float
    linear_cost: float | None
    true_cost: float | None
    certificate: Certificate | None


@dataclass(frozen=True, slots=True, eq=False)
class HardCounts:
    """Counts that meet the budget.

    Attributes:
        counts: (decisions, options), whole.
        cost: their true cost, at most the limit.
        log_probability: of all decisions together, in nats.
        certificate: of the true program. Its bound is None unless the unconstrained mode fits.
        relaxed_bound: no counts that meet the budget are more probable; true, but loose.
    """

    counts: NDArray[np.int64]
    cost: float
    log_probability: float
    certificate: Certificate
    relaxed_bound: float
    rounds: tuple[HardRound, ...]
    moves: int


def most_probable_within(log_weights: Sequence[ArrayLike], cost: CountCost, limit: float, *, rounds: int = 40) -> HardCounts:
    """The most probable counts whose true cost is at most ``limit``, in the cost's unit.

    Args:
        log_weights: (options,) a decision: ``Multinomial.log_weights``, or ``BinomialWidth.log_probabilities`` for
            ``SlimmableMacs``; -inf forbids.
        rounds: linear programs at most from each of three starts; then the best counts so far are the answer.

    Raises:
        InfeasibleError: nothing fits; with the least cost. Where options are forbidden, also if no round found any counts that fit.
        ValueError: malformed weights, a limit that is no number, or rounds below 1.
    """
    if not math.isfinite(limit) or rounds < 1:
        raise ValueError(f"expected a finite limit and at least one round, got {limit} and {rounds}")
    units = cost.units
    weights = [np.asarray(row, dtype=np.float64) for row in log_weights]
    cheapest, least = cost.least()
    if cheapest.shape != (len(weights), weights[0].shape[0] if weights else 0) or any(w.shape != weights[0].shape for w in weights):
        raise ValueError(f"log_weights: expected {len(cheapest)} rows of {cheapest.shape[1]}, got {[w.shape for w in weights]}")
    if least > limit:
        raise InfeasibleError(f"nothing meets {limit} {cost.unit}: the least possible {cost.name} is {least} {cost.unit}")
    search = _Search(weights, cost, limit, units)
    mode, _ = search.solve(np.zeros(cheapest.shape), math.inf, 0.0)
    if mode is None:  # pragma: no cover - without a budget everything fits
        raise InfeasibleError("no counts at all")
    if cost.of_counts(mode) <= limit:
        value = search.value(mode)
        certificate = Certificate(value, value, 0.0, None, maximize=True)
        return HardCounts(mode.astype(np.int64), cost.of_counts(mode), value, certificate, value, (), 0)
    relaxed, relaxed_bound = search.relaxation()
    # Where a round starts decides which of several answers it comes to: from the mode, from the relaxation, from the cheapest.
    found = [search.descend(start, rounds) for start in (mode, relaxed, cheapest) if start is not None]
    answers = [(counts, search.move(counts)) for counts in found if counts is not None]
    if not answers and all(np.isfinite(row).all() for row in weights):
        answers = [(cheapest, search.move(cheapest))]
    if not answers:
        raise InfeasibleError(f"no counts found that meet {limit} {cost.unit} without the forbidden options; with them {least}")
    best, moves = max(answers, key=lambda answer: search.value(answer[0]))
    value = search.value(best)
    certificate = Certificate(value, None, 0.0, None, maximize=True)
    bound = max(relaxed_bound, value)
    return HardCounts(best.astype(np.int64), cost.of_counts(best), value, certificate, bound, tuple(search.rounds), moves)


class _Search:
    """The loop's record and the few things it does."""

    def __init__(self, weights: list[FloatArray], cost: CountCost, limit: float, units: NDArray[np.int64]) -> None:
        self.weights, self.cost, self.limit, self.units = weights, cost, limit, units
        self.rounds: list[HardRound] = []
        logs = [row - (row.max() + math.log(np.exp(row - row.max()).sum())) for row in weights]
        self.logs = np.array(logs)

    def solve(
        self, at: FloatArray, limit: float, offset: float, linear: Linearization | None = None
    ) -> tuple[FloatArray | None, Certificate | None]:
        coefficients = np.zeros(at.shape) if linear is None else linear.coefficients
        result = most_probable_counts(self.weights, self.units.tolist(), list(coefficients), limit - offset)
        return (None if result.x is None else result.x.reshape(at.shape)), result.certificate

    def descend(self, start: FloatArray, most: int) -> FloatArray | None:
        at, best, seen = start, None, {start.tobytes()}
        tightened = 0.0
        linear = self.cost.linearize(at)
        for _ in range(most):
            held = self.limit - tightened
            counts, certificate = self.solve(at, held, linear.offset, linear)
            if counts is None:
                self.rounds.append(HardRound(held, None, None, None))
                # Too tight here. From the cheapest counts, which fit, the linear program has a solution.
                at, tightened = self.cost.least()[0], 0.0
                if at.tobytes() in seen:
                    break
                seen.add(at.tobytes())
                linear = self.cost.linearize(at)
                continue
            true = self.cost.of_counts(counts)
            self.rounds.append(HardRound(held, linear.value(counts), true, certificate))
            fits = true <= self.limit
            better = fits and (best is None or self.value(counts) > self.value(best))
            if better:
                best = counts
            if counts.tobytes() not in seen:
                seen.add(counts.tobytes())
                at, tightened, linear = counts, 0.0, self.cost.linearize(counts)
            elif fits:
                break
            else:  # it goes in circles: hold this linearization and ask for less
                tightened += max(true - self.limit, math.ulp(self.limit))
        return best

    def move(self, counts: FloatArray) -> int:
        """Move single units from one option to another, the most helpful first, while the counts still fit; in place."""
        options = counts.shape[1]
        moves = 0
        while moves < _MOVES:
            with np.errstate(divide="ignore", invalid="ignore"):
                lost = np.log(counts) - self.logs  # what taking a unit away adds, but for the sign of forbidden options
                won = self.logs - np.log(counts + 1.0)
            gain = np.where(counts[:, :, None] > 0, lost[:, :, None] + won[:, None, :], -np.inf)
            gain[:, np.arange(options), np.arange(options)] = -np.inf
            candidates = np.argwhere(gain > 1e-12)  # above the rounding of logarithms: no move is undone
            if not len(candidates):
                break
            order = np.argsort(-gain[tuple(candidates.T)], kind="stable")
            trials = np.repeat(counts[None], len(order), 0)
            rows = np.arange(len(order))
            d, source, target = candidates[order].T
            trials[rows, d, source] -= 1.0
            trials[rows, d, target] += 1.0
            fitting = np.flatnonzero(self.cost.totals(trials) <= self.limit * (1.0 + 1e-12))  # the strict sum decides
            chosen = next((row for row in fitting.tolist() if self.cost.of_counts(trials[row]) <= self.limit), None)
            if chosen is None:
                break
            counts[...] = trials[chosen]
            moves += 1
        return moves

    def value(self, counts: FloatArray) -> float:
        """Log probability of all decisions."""
        return LikelyCounts(self.logs).value(counts.ravel())

    def relaxation(self) -> tuple[FloatArray | None, float]:
        """The most probable counts under a cost that is nowhere above the true one, and their bound."""
        under = self.cost.underestimate()
        counts, certificate = self.solve(under.counts, self.limit, under.offset, under)
        return counts, math.inf if certificate is None or certificate.bound is None else certificate.bound

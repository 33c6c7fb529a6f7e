"""Distributions over integer counts: how many filters of a layer get which operation, or how many there are.

Multinomial: ``P(a) = C! / prod a_k! exp(sum alpha_k a_k) / (sum_k e^alpha_k)^C``, one weight an operation. Binomial: the width is
``1 + A``, ``A ~ Binomial(C - 1, p)``, one weight a layer. Block-binomial: the same law, one decision a stage instead of a layer
(``FilterTopology.width_space(per="stage")``). Layers are independent, so a network's law is a list of these.

The two estimators of the gradient of an expected loss are pure functions of scores and losses: the paper's (3), which is plain
REINFORCE, and leave-one-out. Subtracting the batch's own mean instead gives (K - 1) / K times the latter: biased, so not here.

Reference: Zur et al., Eq. 3 and Sec. 3, with the factorials that (10) lost and 1 + Binomial(C - 1, p); Kool et al. 2019 (RLOO).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from constrained_nas.methods.distributions import softmax
from solvers.arrays import FloatArray, IntArray
from solvers.sets import read_only


@dataclass(frozen=True, slots=True, eq=False)
class Multinomial:
    """``units`` filters, each at operation k with probability ``softmax(log_weights)[k]``. Build it with :meth:`of`."""

    units: int
    log_weights: FloatArray

    @classmethod
    def of(cls, units: int, log_weights: ArrayLike) -> Multinomial:
        """Check and keep a copy.

        Raises:
            ValueError: no units, or weights that are not finite numbers.
        """
        weights = np.asarray(log_weights, dtype=np.float64)
        if units < 1 or weights.ndim != 1 or not len(weights) or not np.isfinite(weights).all():
            raise ValueError(f"Multinomial: expected units >= 1 and finite weights (operations,), got {units} and {weights}")
        return cls(units, read_only(weights, "log_weights", weights.shape))

    @property
    def probabilities(self) -> FloatArray:
        """(operations,)."""
        return softmax(self.log_weights)

    @property
    def mean(self) -> FloatArray:
        """Expected counts, (operations,)."""
        return self.units * self.probabilities

    @property
    def log_probabilities(self) -> FloatArray:
        """Logarithm of :attr:`probabilities`, exact where those underflow."""
        shifted = self.log_weights - self.log_weights.max()
        result: FloatArray = shifted - math.log(math.fsum(np.exp(shifted).tolist()))
        return result

    def sample(self, rows: int, generator: np.random.Generator) -> IntArray:
        """(rows, operations) counts."""
        return generator.multinomial(self.units, self.probabilities, size=rows)

    def log_probability(self, counts: ArrayLike) -> FloatArray:
        """Of (..., operations) counts that sum to the units, shape (...)."""
        a = np.asarray(counts)
        logs = _log_factorials(self.units)
        result: FloatArray = logs[self.units] - logs[a].sum(-1) + a @ self.log_probabilities
        return result

    def score(self, counts: ArrayLike) -> FloatArray:
        """Gradient of the log probability by the weights: ``a - C p``, shape (..., operations)."""
        result: FloatArray = np.asarray(counts, dtype=np.float64) - self.mean
        return result

    @property
    def entropy(self) -> float:
        """In nats, exactly: the factorials' expectations are those of the binomial margins."""
        terms = [-math.lgamma(self.units + 1.0), -float(self.mean @ self.log_probabilities)]
        logs = _log_factorials(self.units)
        for p, log_p in zip(self.probabilities.tolist(), self.log_probabilities.tolist(), strict=True):
            terms.append(float(np.exp(_log_binomial(self.units, log_p, _log_complement(p))) @ logs))
        return math.fsum(terms)

    def rounded_mean(self) -> IntArray:
        """The expected counts in whole numbers, by largest remainder, (operations,)."""
        return largest_remainder(self.mean, self.units)


@dataclass(frozen=True, slots=True, eq=False)
class LikelyCounts:
    """The log probability of a network's counts, from (decisions, operations) log probabilities of the operations.

    Example:
        >>> round(LikelyCounts(np.log([[0.25, 0.75]])).value(np.array([1.0, 1.0])), 6)  # log of 2 x 1/4 x 3/4
        -0.980829
    """

    log_probabilities: FloatArray

    def value(self, x: FloatArray) -> float:
        """In nats, of the (decisions * operations,) counts, each at least 0."""
        counts, logs = x.reshape(self.log_probabilities.shape), self.log_probabilities
        terms = [math.lgamma(total + 1.0) for total in counts.sum(1).tolist()]
        terms += [-math.lgamma(count + 1.0) for count in counts.ravel().tolist()]
        return math.fsum([*terms, *(counts[counts > 0] * logs[counts > 0]).tolist()])


@dataclass(frozen=True, slots=True)
class BinomialWidth:
    """A width ``1 + Binomial(filters - 1, p)``, ``p = sigmoid(log_odds)``.

    Raises:
        ValueError: no filters, or log odds that are not a finite number.
    """

    filters: int
    log_odds: float

    def __post_init__(self) -> None:
        if self.filters < 1 or not math.isfinite(self.log_odds):
            raise ValueError(f"BinomialWidth: expected filters >= 1 and finite log odds, got {self.filters} and {self.log_odds}")

    @property
    def probability(self) -> float:
        """Of each filter beyond the first to stay."""
        return math.exp(self.log_probabilities[1])

    @property
    def mean(self) -> float:
        """Expected width."""
        return 1.0 + (self.filters - 1) * self.probability

    @property
    def log_probabilities(self) -> tuple[float, float]:
        """log(1 - p) and log p, exact at both ends: the weights of (pruned, kept) as counts of ``filters - 1`` units."""
        softplus = math.log1p(math.exp(-abs(self.log_odds)))
        return -max(self.log_odds, 0.0) - softplus, min(self.log_odds, 0.0) - softplus

    def sample(self, rows: int, generator: np.random.Generator) -> IntArray:
        """(rows,) widths."""
        return 1 + generator.binomial(self.filters - 1, self.probability, size=rows)

    def log_probability(self, widths: ArrayLike) -> FloatArray:
        """Of (...) widths from 1 to ``filters``."""
        pruned, kept = self.log_probabilities
        result: FloatArray = _log_binomial(self.filters - 1, kept, pruned)[np.asarray(widths) - 1]
        return result

    def score(self, widths: ArrayLike) -> FloatArray:
        """Derivative of the log probability by the log odds: ``(w - 1) - (C - 1) p``, shape (...)."""
        result: FloatArray = np.asarray(widths, dtype=np.float64) - self.mean
        return result

    @property
    def entropy(self) -> float:
        """In nats."""
        pruned, kept = self.log_probabilities
        logs = _log_binomial(self.filters - 1, kept, pruned)
        return -float(np.exp(logs) @ logs)

    def rounded_mean(self) -> int:
        """The expected width as a whole number; halves go up."""
        return math.floor(self.mean + 0.5)


def largest_remainder(expected: ArrayLike, units: int) -> IntArray:
    """Whole counts that sum to ``units``: the whole parts, and what is left to the largest fractions, of equal ones the first.

    Raises:
        ValueError: numbers that are negative or do not sum to ``units``.
    """
    mean = np.asarray(expected, dtype=np.float64)
    if mean.ndim != 1 or not (mean >= 0).all() or not math.isclose(mean.sum(), units, rel_tol=1e-9):
        raise ValueError(f"expected numbers (operations,), none negative, that sum to {units}, got {mean}")
    near = np.rint(mean)
    mean = np.where(np.abs(mean - near) < 1e-9, near, mean)  # 2.9999999999 is 3: softmax rounds
    whole = np.floor(mean).astype(np.int64)
    order = np.argsort(-(mean - whole), kind="stable")
    whole[order[: units - int(whole.sum())]] += 1
    return whole


def plain_gradient(scores: ArrayLike, losses: ArrayLike) -> FloatArray:
    """Eq. (3): ``1/K sum_i loss_i score_i``, unbiased for the gradient of the expected loss; scores (K, parameters), losses (K,).

    Raises:
        ValueError: shapes that do not meet, or no samples.
    """
    s, values = _samples(scores, losses, 1)
    result: FloatArray = values @ s / len(s)
    return result


def leave_one_out_gradient(scores: ArrayLike, losses: ArrayLike) -> FloatArray:
    """``1/K sum_i (loss_i - mean of the others) score_i``: unbiased, and blind to a constant added to all losses; shapes as there.

    Raises:
        ValueError: shapes that do not meet, or fewer than two samples.
    """
    s, values = _samples(scores, losses, 2)
    result: FloatArray = (values - values.mean()) @ s / (len(s) - 1)
    return result


def _samples(scores: ArrayLike, losses: ArrayLike, least: int) -> tuple[FloatArray, FloatArray]:
    s, values = np.asarray(scores, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if s.ndim != 2 or values.shape != s.shape[:1] or len(s) < least:
        raise ValueError(f"expected scores (K, parameters) and losses (K,), K >= {least}, got {s.shape} and {values.shape}")
    return s, values


def _log_factorials(most: int) -> FloatArray:
    return np.array([math.lgamma(count + 1.0) for count in range(most + 1)])


def _log_complement(p: float) -> float:
    return math.log1p(-p) if p < 1.0 else -math.inf


def _log_binomial(trials: int, log_p: float, log_rest: float) -> FloatArray:
    """log P(0), ..., log P(trials)."""
    logs, k = _log_factorials(trials), np.arange(trials + 1)
    with np.errstate(invalid="ignore"):  # 0 x -inf where an outcome is certain
        up, down = np.where(k > 0, k * log_p, 0.0), np.where(k < trials, (trials - k) * log_rest, 0.0)
    result: FloatArray = logs[trials] - logs[k] - logs[trials - k] + up + down
    return result

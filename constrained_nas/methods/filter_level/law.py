"""The law of a network's counts: independent multinomials or binomial widths, over all decisions of a filter space at once.

Parameters are one vector. In a quantization space: one logit an operation and decision (multinomial). In a width space: one log
odds a decision, the width being ``1 + Binomial(C - 1, p)``; a decision a layer is the binomial law, a decision a stage
(``FilterTopology.width_space(per="stage")``) the block-binomial.

Reference: Zur et al., Eq. 3 and Sec. 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from constrained_nas.methods.filter_level.counts import BinomialWidth, LikelyCounts, Multinomial
from graphs import FilterSpace
from solvers import Quadratic
from solvers.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class FilterLaw:
    """Counts (decisions, operations) of ``space``, or widths (decisions, 1), and their score function.

    Raises:
        ValueError: a width space that offers only some widths: a binomial reaches every one.
    """

    space: FilterSpace

    def __post_init__(self) -> None:
        decisions = zip(self.space.space.decisions, self.space.units.tolist(), strict=True)
        if self.space.kind == "width":
            for decision, filters in decisions:
                if decision.options != tuple(map(str, range(1, filters + 1))):
                    raise ValueError(f"decision {decision.name!r}: a binomial width needs all of 1 to {filters} on offer")

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.space.units) * (len(self.space.operations) if self.space.kind == "quantization" else 1)

    def start(self, probability: float = 0.5) -> FloatArray:
        """Equally likely operations; or each filter beyond the first kept with ``probability``, as the paper starts.

        Raises:
            ValueError: a probability that is not between 0 and 1.
        """
        if not 0.0 < probability < 1.0:
            raise ValueError(f"expected a probability strictly between 0 and 1, got {probability}")
        if self.space.kind == "quantization":
            return np.zeros(self.size)
        return np.full(self.size, np.log(probability) - np.log1p(-probability))

    def sample(self, parameters: ArrayLike, rows: int, generator: np.random.Generator) -> IntArray:
        """(rows, decisions, operations) counts, or (rows, decisions, 1) widths."""
        drawn = [law.sample(rows, generator).reshape(rows, -1) for law in self._laws(parameters)]
        return np.stack(drawn, 1)

    def scores(self, parameters: ArrayLike, counts: ArrayLike) -> FloatArray:
        """Gradients of the log probability by the parameters, (rows, size), of (rows, decisions, operations) counts."""
        drawn = np.asarray(counts, dtype=np.float64)
        if self.space.kind == "width":
            return np.stack([law.score(drawn[:, d, 0]) for d, law in enumerate(self._widths(parameters))], 1)
        return np.concatenate([law.score(drawn[:, d]) for d, law in enumerate(self._multinomials(parameters))], 1)

    def log_probability(self, parameters: ArrayLike, counts: ArrayLike) -> float:
        """Of (decisions, operations) counts, in nats."""
        drawn = np.asarray(counts)
        if self.space.kind == "width":
            return math.fsum(float(law.log_probability(drawn[d, 0])) for d, law in enumerate(self._widths(parameters)))
        return math.fsum(float(law.log_probability(drawn[d])) for d, law in enumerate(self._multinomials(parameters)))

    def likelihood(self, parameters: ArrayLike) -> LikelyCounts | Quadratic:
        """:meth:`log_probability` of a point of the search space: of widths, which are options, a sum over them."""
        if self.space.kind == "quantization":
            return LikelyCounts(np.stack([law.log_probabilities for law in self._multinomials(parameters)]))
        widths = self._widths(parameters)
        return Quadratic.of(0.0, np.concatenate([law.log_probability(np.arange(1, law.filters + 1)) for law in widths]))

    def expected(self, parameters: ArrayLike) -> IntArray:
        """The expected counts in whole numbers: by largest remainder, widths to the nearest; (decisions, operations)."""
        return np.stack([np.atleast_1d(law.rounded_mean()) for law in self._laws(parameters)]).astype(np.int64)

    def log_weights(self, parameters: ArrayLike) -> list[FloatArray]:
        """(options,) a decision, as ``most_probable_within`` takes them; of a width: (pruned, kept)."""
        return [np.asarray(law.log_probabilities) for law in self._laws(parameters)]

    def unit_counts(self, counts: ArrayLike) -> FloatArray:
        """Counts as ``CountCost`` takes them: as they are, or the (pruned, kept) filters of widths, (..., decisions, 2)."""
        given = np.asarray(counts, dtype=np.float64)
        if self.space.kind == "quantization":
            return given
        return np.concatenate([self.space.units[:, None] - given, given - 1.0], -1)

    def from_unit_counts(self, counts: ArrayLike) -> IntArray:
        """The inverse of :meth:`unit_counts`."""
        given = np.asarray(counts, dtype=np.int64)
        return given if self.space.kind == "quantization" else given[..., 1:] + 1

    def point(self, parameters: ArrayLike) -> FloatArray:
        """The mean of the law as a point of the search space, (dimension,): expected counts, or the probability of every width."""
        if self.space.kind == "quantization":
            return np.concatenate([law.mean for law in self._multinomials(parameters)])
        return np.concatenate([np.exp(law.log_probability(np.arange(1, law.filters + 1))) for law in self._widths(parameters)])

    def entropy(self, parameters: ArrayLike) -> float:
        """The mean over the decisions, in nats."""
        return float(np.mean([law.entropy for law in self._laws(parameters)]))

    def _laws(self, parameters: ArrayLike) -> list[Multinomial] | list[BinomialWidth]:
        return self._widths(parameters) if self.space.kind == "width" else self._multinomials(parameters)

    def _widths(self, parameters: ArrayLike) -> list[BinomialWidth]:
        odds = self._read(parameters)
        return [BinomialWidth(n, float(value)) for n, value in zip(self.space.units.tolist(), odds, strict=True)]

    def _multinomials(self, parameters: ArrayLike) -> list[Multinomial]:
        rows = self._read(parameters).reshape(len(self.space.units), -1)
        return [Multinomial.of(n, row) for n, row in zip(self.space.units.tolist(), rows, strict=True)]

    def _read(self, parameters: ArrayLike) -> FloatArray:
        given = np.asarray(parameters, dtype=np.float64)
        if given.shape != (self.size,):
            raise ValueError(f"space {self.space.space.name!r}: expected {self.size} parameters, got shape {given.shape}")
        return given

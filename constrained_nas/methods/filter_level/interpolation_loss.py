"""The interpolation loss: how much worse a configuration does than a homogeneous network of the same cost would.

``L(a) = sigma(CE(a) - E(B(a)))``: E is the mean loss of several trainings of every homogeneous configuration, linear in the cost
between the two nearest. The paper has the difference, the release divides it by E; sigma is a leaky ReLU. It needs no weight of the
cost and no target. Beyond the cheapest and the costliest homogeneous configuration E stays what it is there: the print does not
say, and a line continued could promise a loss below 0.

Reference: Zur et al., Eq. 7, Appendix C.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class InterpolationLoss:
    """Costs of homogeneous configurations, rising, their mean losses, and the slope of sigma below 0. Build it with :meth:`of`."""

    costs: tuple[float, ...]
    losses: tuple[float, ...]
    slope: float = 0.01

    @classmethod
    def of(cls, costs: Sequence[float], losses: Sequence[Sequence[float]], slope: float = 0.01) -> InterpolationLoss:
        """From the cost of each homogeneous configuration and the losses of its trainings.

        Raises:
            ValueError: numbers that do not meet, are not positive and finite, or two configurations of one cost.
        """
        order = np.argsort(costs)
        prices = np.asarray(costs, dtype=np.float64)[order]
        means = [float(np.mean(losses[index])) for index in order] if len(costs) == len(losses) else []
        if not means or not np.isfinite(means).all() or not min(means) > 0 or not (np.diff(prices) > 0).all():
            raise ValueError(f"expected losses > 0 of configurations of different costs, got {list(costs)} and {list(losses)}")
        return cls(tuple(prices.tolist()), tuple(means), slope)

    def expected(self, costs: ArrayLike) -> FloatArray:
        """E at (...) costs."""
        return np.interp(np.asarray(costs, dtype=np.float64), self.costs, self.losses)

    def loss(self, losses: ArrayLike, costs: ArrayLike, relative: bool = False) -> FloatArray:
        """Eq. 7 for (...) losses and costs; ``relative`` as in the release."""
        reference = self.expected(costs)
        difference = np.asarray(losses, dtype=np.float64) - reference
        if relative:
            difference = difference / reference
        return np.where(difference > 0, difference, self.slope * difference)

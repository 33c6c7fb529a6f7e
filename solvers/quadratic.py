"""Quadratic costs that are linear in every part a solver moves at a time.

The latency of a HardCoRe-NAS architecture is bilinear in configurations and depths, ``LAT(alpha, beta) = alpha' Theta beta``
(Eq. 3 and 9). With ``x = (alpha, beta)`` that is ``offset + linear'x + x' Theta x`` where Theta couples only different parts, so
freezing one part leaves a linear budget on the other: the step that makes block-coordinate Frank-Wolfe possible.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.1, Eq. 3 and 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.sets import read_only


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """``offset + linear @ x + x @ theta @ x`` with linear (n,) and theta (n, n). Build it with :meth:`of`.

    Example:
        >>> product = Quadratic.of(1.0, [0.0, 0.0], [[0.0, 2.0], [0.0, 0.0]])  # 1 + 2 x y
        >>> product.value(np.array([3.0, 4.0]))
        25.0
    """

    offset: float
    linear: FloatArray
    theta: FloatArray

    @classmethod
    def of(cls, offset: float, linear: ArrayLike, theta: ArrayLike | None = None) -> Quadratic:
        """Check and freeze the coefficients; no ``theta`` means a linear cost.

        Raises:
            ValueError: shapes that do not meet, NaN or infinite coefficients.
        """
        row = np.asarray(linear, dtype=np.float64)
        if row.ndim != 1:
            raise ValueError(f"Quadratic linear: expected one dimension, got shape {row.shape}")
        n = len(row)
        row = read_only(row, "Quadratic linear", (n,))
        matrix = read_only(np.zeros((n, n)) if theta is None else theta, "Quadratic theta", (n, n))
        if not (np.isfinite(offset) and np.isfinite(row).all() and np.isfinite(matrix).all()):
            raise ValueError("Quadratic: offset, linear and theta must be finite")
        return cls(float(offset), row, matrix)

    @property
    def dimension(self) -> int:
        """Length of a point."""
        return len(self.linear)

    def value(self, x: FloatArray) -> float:
        """The cost of ``x`` (shape (n,))."""
        return float(self.offset + x @ (self.linear + self.theta @ x))

    def gradient(self, x: FloatArray) -> FloatArray:
        """The gradient at ``x``, shape (n,)."""
        return self.linear + self.theta @ x + x @ self.theta

    def freeze(self, free: slice, x: FloatArray) -> tuple[float, FloatArray]:
        """The cost as an affine function of ``x[free]`` with every other coordinate held: ``(offset, weights)``.

        Raises:
            ValueError: theta couples two coordinates of ``free``: the cost is not affine there.
        """
        if self.theta[free, free].any():
            raise ValueError(f"the cost is not affine in x[{free.start}:{free.stop}]: theta couples two of its coordinates")
        held = x.copy()
        held[free] = 0.0
        weights = self.linear[free] + self.theta[free] @ held + held @ self.theta[:, free]
        return self.value(held), weights

"""Bayesian linear regression of a loss on options and pairs of options, in its kernel form.

``loss(x) = c + b'x + x'Wx / 2 + noise`` for one-hot x, W without couplings inside a decision, all coefficients normal a priori: b
of unit variance, W of variance ``interaction``. Two architectures that agree in m decisions then have the covariance
``1 + m + interaction m (m - 1) / 2``, so that nothing but matrices of the architectures seen is ever solved with, whatever the
number of pairs; and both the posterior mean and a draw from the posterior are again of that form: quadratics.

Reference: Baptista & Poloczek, Bayesian optimization of combinatorial structures (the model); Wilson et al., Efficiently sampling
functions from Gaussian process posteriors (draws by Matheron's rule).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from solvers import Blocks, Quadratic
from solvers.arrays import FloatArray

INTERACTIONS = (0.03, 0.1, 0.3, 1.0)
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # variances, beside the unit variance of an option's coefficient


@dataclass(frozen=True, slots=True)
class Prior:
    """Variances of the pairs' coefficients and of the noise, beside that of the options'."""

    interaction: float
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class PairwiseModel:
    """The posterior after some losses. Build it with :func:`fit`.

    Attributes:
        points: (n, dimension) one-hot.
        losses: (n,) standardized: ``(loss - centre) / scale``, the scale with the amplitude of greatest likelihood in it.
        outside: (dimension, dimension) 1 where two options belong to different decisions.
        factor: lower Cholesky factor of the points' covariance with noise.
        weights: its solution with ``losses``, (n,).
    """

    points: FloatArray
    losses: FloatArray
    centre: float
    scale: float
    prior: Prior
    outside: FloatArray
    factor: FloatArray
    weights: FloatArray

    @property
    def mean(self) -> Quadratic:
        """The expected loss, in the loss's unit."""
        return self._quadratic(self.weights, 0.0, np.zeros(self.points.shape[1]), np.zeros_like(self.outside))

    def draw(self, generator: np.random.Generator) -> Quadratic:
        """A loss drawn from the posterior (Thompson sampling), in the loss's unit."""
        n, dimension = self.points.shape
        constant, slopes = float(generator.normal()), generator.normal(size=(dimension,))
        pairs = np.triu(generator.normal(size=(dimension, dimension))) * self.outside * math.sqrt(self.prior.interaction)
        drawn = constant + self.points @ slopes + ((self.points @ pairs) * self.points).sum(1)
        drawn += generator.normal(size=n) * math.sqrt(self.prior.noise)
        corrected: FloatArray = self.weights - cho_solve((self.factor, True), drawn, check_finite=False)
        return self._quadratic(corrected, constant, slopes, pairs + pairs.T)

    def deviations(self, points: FloatArray) -> FloatArray:
        """Standard deviations (rows,) of the expected loss at points (rows, dimension)."""
        shared = solve_triangular(self.factor, covariance(self.points, points, self.prior), lower=True, check_finite=False)
        total = float(self.points[0].sum())
        alone = 1.0 + total + self.prior.interaction * total * (total - 1) / 2
        spread: FloatArray = self.scale * np.sqrt(np.maximum(alone - (shared**2).sum(0), 0.0))
        return spread

    def leave_one_out(self) -> float:
        """Root of the mean square error at each point, predicted from the others, in the loss's unit."""
        inverse = cho_solve((self.factor, True), np.eye(len(self.losses)), check_finite=False)
        return float(self.scale * np.sqrt(np.mean((self.weights / np.diag(inverse)) ** 2)))

    def _quadratic(self, weights: FloatArray, constant: float, slopes: FloatArray, pairs: FloatArray) -> Quadratic:
        linear = slopes + self.points.T @ weights
        theta = pairs + self.prior.interaction * ((self.points.T * weights) @ self.points) * self.outside
        offset = self.centre + self.scale * (constant + float(weights.sum()))
        return Quadratic.of(offset, self.scale * linear, 0.5 * self.scale * theta)


def covariance(left: FloatArray, right: FloatArray, prior: Prior) -> FloatArray:
    """(left rows, right rows) of one-hot points."""
    return _covariance(left @ right.T, prior)


def _covariance(agreements: FloatArray, prior: Prior) -> FloatArray:
    covariances: FloatArray = 1.0 + agreements * (1.0 + 0.5 * prior.interaction * (agreements - 1.0))
    return covariances


def fit(points: FloatArray, losses: FloatArray, blocks: Blocks, prior: Prior | None = None) -> PairwiseModel:
    """The posterior; without a prior, under the one of a small grid that makes the losses likeliest.

    Args:
        points: (n, dimension) one-hot.
        losses: (n,).
        blocks: the decisions.
        prior: as another fit had it.
    """
    centre, spread = float(losses.mean()), float(losses.std()) or 1.0
    standard = (losses - centre) / spread
    tried = [Prior(interaction, noise) for interaction in INTERACTIONS for noise in NOISES] if prior is None else [prior]
    best, agreements = None, points @ points.T
    for candidate in tried:
        matrix = _covariance(agreements, candidate)
        matrix[np.diag_indices_from(matrix)] += candidate.noise
        factor = cholesky(matrix, lower=True, check_finite=False)
        whitened = solve_triangular(factor, standard, lower=True, check_finite=False)
        amplitude = max(float(whitened @ whitened) / len(losses), 1e-12)
        likelihood = -0.5 * len(losses) * math.log(amplitude) - float(np.log(np.diag(factor)).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, candidate, factor, math.sqrt(amplitude)
    assert best is not None
    _, chosen, factor, amplitude = best
    number = np.repeat(np.arange(blocks.count), blocks.sizes)
    outside = (number[:, None] != number).astype(np.float64)
    scaled = standard / amplitude
    weights = cho_solve((factor, True), scaled, check_finite=False)
    return PairwiseModel(points, scaled, centre, spread * amplitude, chosen, outside, factor, weights)

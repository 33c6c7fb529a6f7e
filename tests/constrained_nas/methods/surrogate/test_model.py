"""The pairwise model: its kernel form is the regression on all options and pairs, its draws are draws from the posterior."""

from __future__ import annotations

import numpy as np
import pytest

from constrained_nas.methods.surrogate.model import Prior, fit
from solvers import Blocks
from solvers.arrays import FloatArray

BLOCKS, PRIOR = Blocks.of([3, 2, 3]), Prior(0.3, 0.05)


def data(count: int = 12) -> tuple[FloatArray, FloatArray]:
    generator = np.random.default_rng(0)
    points = np.stack([BLOCKS.vertex(generator.integers(BLOCKS.sizes).tolist()) for _ in range(count)])
    return points, generator.normal(size=count)


def features(points: FloatArray) -> FloatArray:
    """1, options, and pairs scaled so that all coefficients have unit variance a priori."""
    number = np.repeat(np.arange(3), BLOCKS.sizes)
    pairs = [(i, j) for i in range(8) for j in range(i + 1, 8) if number[i] != number[j]]
    products = np.stack([points[:, i] * points[:, j] for i, j in pairs], 1)
    return np.concatenate([np.ones((len(points), 1)), points, np.sqrt(PRIOR.interaction) * products], 1)


def everything() -> FloatArray:
    return np.stack([BLOCKS.vertex([a, b, c]) for a in range(3) for b in range(2) for c in range(3)])


def test_mean_and_deviations_are_the_regressions() -> None:
    points, losses = data()
    model, table = fit(points, losses, BLOCKS, PRIOR), features(points)
    precision = np.eye(table.shape[1]) + table.T @ table / PRIOR.noise
    coefficients = np.linalg.solve(precision, table.T @ model.losses / PRIOR.noise)
    every = features(everything())
    mean = np.array([model.mean.value(point) for point in everything()])
    assert np.allclose(mean, model.centre + model.scale * every @ coefficients)
    variances = (every * np.linalg.solve(precision, every.T).T).sum(1)
    assert np.allclose(model.deviations(everything()), model.scale * np.sqrt(variances))


def test_draws_have_the_posteriors_mean_and_variance() -> None:
    model, generator = fit(*data(), BLOCKS, PRIOR), np.random.default_rng(1)
    drawn = np.array([[d.value(p) for p in everything()] for d in (model.draw(generator) for _ in range(3000))])
    deviations = model.deviations(everything())
    mean = np.array([model.mean.value(point) for point in everything()])
    assert np.all(np.abs(drawn.mean(0) - mean) < 4.5 * deviations / np.sqrt(3000))
    assert drawn.std(0) == pytest.approx(deviations, rel=0.08)


def test_leave_one_out_is_what_leaving_one_out_gives() -> None:
    points, losses = data()
    model, errors = fit(points, losses, BLOCKS, PRIOR), []
    table = features(points)
    for place in range(len(losses)):
        kept = np.arange(len(losses)) != place
        matrix = table[kept] @ table[kept].T + PRIOR.noise * np.eye(len(losses) - 1)
        predicted = table[place] @ table[kept].T @ np.linalg.solve(matrix, model.losses[kept])
        errors.append(model.scale * (model.losses[place] - predicted))
    assert model.leave_one_out() == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def test_the_prior_of_greatest_likelihood() -> None:
    generator, every = np.random.default_rng(2), everything()
    linear = every @ generator.normal(size=8)
    assert fit(every, linear, BLOCKS).prior == Prior(0.03, 0.01)
    noisy = linear + 3.0 * generator.normal(size=len(every))
    assert fit(every, noisy, BLOCKS).prior.noise >= 0.3


def test_equal_losses() -> None:
    model = fit(data()[0], np.ones(12), BLOCKS)
    assert all(model.mean.value(point) == pytest.approx(1.0) for point in everything())

"""Sampling by the Gumbel trick has the right frequencies, and its gradient is that of softmax(log p + noise)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_nas.methods.distributions import gumbel_rows, point_gradient, softmax


def test_frequencies() -> None:
    probabilities = np.array([0.5, 0.3, 0.0, 0.15, 0.05])
    rows = 40_000
    gates, noise = gumbel_rows(probabilities, rows, np.random.default_rng(0))
    assert gates.shape == noise.shape == (rows, 5)
    assert set(np.unique(gates)) == {0.0, 1.0}
    assert (gates.sum(1) == 1).all()
    frequency = gates.mean(0)
    # Five standard deviations of a frequency: a chance failure once in a million for an unlucky seed.
    assert (np.abs(frequency - probabilities) <= 5 * np.sqrt(probabilities * (1 - probabilities) / rows)).all()
    assert frequency[2] == 0.0


def test_certain_options_and_determinism() -> None:
    gates, _ = gumbel_rows(np.array([0.0, 1.0, 0.0]), 100, np.random.default_rng(1))
    assert gates.argmax(1).tolist() == [1] * 100
    one, two = (gumbel_rows(np.full(4, 0.25), 50, np.random.default_rng(2)) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_point_gradient_is_autograds(seed: int, options: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(options))
    probabilities = np.maximum(probabilities, 1e-6) / np.maximum(probabilities, 1e-6).sum()  # autograd of log p needs p > 0
    _, noise = gumbel_rows(probabilities, rows, generator)
    upstream = generator.normal(size=(rows, options))
    p = torch.tensor(probabilities, requires_grad=True)
    hat = torch.softmax(p.log() + torch.tensor(noise), 1)
    (expected,) = torch.autograd.grad((hat * torch.tensor(upstream)).sum(), p)
    found = point_gradient(probabilities, noise, upstream)
    scale = np.abs(upstream).max() / probabilities.min()  # dividing by a small p is where autograd loses digits
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9, atol=1e-12 * scale)


def test_point_gradient_against_finite_differences_at_zero() -> None:
    # log p has no derivative at p = 0; the gradient exists there all the same, and a difference quotient finds it.
    generator = np.random.default_rng(3)
    probabilities = np.array([0.6, 0.4, 0.0])
    noise = generator.gumbel(size=(5, 3))
    upstream = generator.normal(size=(5, 3))

    def value(p: np.ndarray) -> float:
        weights = p * np.exp(noise)
        return float((upstream * weights / weights.sum(1, keepdims=True)).sum())

    found = point_gradient(probabilities, noise, upstream)
    step = 1e-6
    for option in range(3):
        moved = probabilities.copy()
        moved[option] += step
        # A one-sided quotient errs by the step times the curvature, which stays below e^(spread of the noise) squared.
        assert (value(moved) - value(probabilities)) / step == pytest.approx(found[option], rel=1e-3, abs=1e-3)


def test_a_constant_over_the_options_is_no_gradient() -> None:
    generator = np.random.default_rng(4)
    probabilities = generator.dirichlet(np.ones(4))
    noise, upstream = generator.gumbel(size=(6, 4)), generator.normal(size=(6, 4))
    shifted = upstream + 100 * generator.normal(size=(6, 1))
    # A shift of about 100 leaves rounding of about 100 x 1e-16 x e^noise / Z, which is at most 1 / min p.
    np.testing.assert_allclose(
        point_gradient(probabilities, noise, shifted),
        point_gradient(probabilities, noise, upstream),
        atol=1e-11 / probabilities.min(),
    )


def test_softmax() -> None:
    logits = np.array([1000.0, 1000.0 + np.log(3.0), -1000.0])
    np.testing.assert_allclose(softmax(logits), [0.25, 0.75, 0.0], rtol=1e-12)

"""The laws of counts and the two estimators, by enumeration of every outcome."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import compositions

from constrained_nas.methods.filter_level import largest_remainder
from constrained_nas.methods.filter_level.counts import BinomialWidth, Multinomial, leave_one_out_gradient, plain_gradient
from solvers.arrays import FloatArray


def outcomes(law: Multinomial) -> FloatArray:
    return np.array(list(compositions(law.units, len(law.log_weights))))


@pytest.mark.parametrize("seed", range(8))
def test_multinomial_by_enumeration(seed: int) -> None:
    generator = np.random.default_rng(seed)
    law = Multinomial.of(int(generator.integers(1, 9)), 2 * generator.normal(size=int(generator.integers(1, 5))))
    counts = outcomes(law)
    p = np.exp(law.log_probability(counts))
    weights = np.exp(law.log_weights)
    printed = [
        math.factorial(law.units) / math.prod(map(math.factorial, row)) * float(np.prod(weights**row)) / weights.sum() ** law.units
        for row in counts.tolist()
    ]
    np.testing.assert_allclose(p, printed, rtol=1e-12)  # factorials below 10! and a dozen roundings
    assert p.sum() == pytest.approx(1.0, rel=1e-13)
    np.testing.assert_allclose(p @ counts, law.mean, rtol=1e-12)
    np.testing.assert_allclose(p @ law.score(counts), 0.0, atol=1e-13)
    assert law.entropy == pytest.approx(-float(p @ law.log_probability(counts)), abs=1e-12)
    # The score is the gradient: central differences of step 1e-5 err by 1e-10 and by rounding of 1e-11.
    for option in range(len(weights)):
        step = 1e-5 * np.eye(len(weights))[option]
        up, down = (Multinomial.of(law.units, law.log_weights + s).log_probability(counts) for s in (step, -step))
        np.testing.assert_allclose((up - down) / 2e-5, law.score(counts)[:, option], atol=1e-8)
    # The covariance of the score is the covariance of the counts, C (diag p - p p').
    q = law.probabilities
    np.testing.assert_allclose(
        (p[:, None] * law.score(counts)).T @ law.score(counts), law.units * (np.diag(q) - np.outer(q, q)), atol=1e-12
    )


@pytest.mark.parametrize("filters", [1, 2, 7, 16])
@pytest.mark.parametrize("log_odds", [-40.0, -1.3, 0.0, 2.0, 40.0])
def test_binomial_by_enumeration(filters: int, log_odds: float) -> None:
    law = BinomialWidth(filters, log_odds)
    widths = np.arange(1, filters + 1)
    p = np.exp(law.log_probability(widths))
    assert p.sum() == pytest.approx(1.0, rel=1e-13)
    assert p @ widths == pytest.approx(law.mean, rel=1e-12)
    np.testing.assert_allclose(p @ law.score(widths), 0.0, atol=1e-12)
    assert law.entropy == pytest.approx(-float(p @ law.log_probability(widths)), abs=1e-12)
    up, down = (BinomialWidth(filters, log_odds + s).log_probability(widths) for s in (1e-5, -1e-5))
    np.testing.assert_allclose((up - down) / 2e-5, law.score(widths), atol=1e-7)  # log probabilities of 600 at the ends
    # It is the multinomial of (pruned, kept) filters beyond the first.
    if filters > 1:
        pair = Multinomial.of(filters - 1, law.log_probabilities)
        counts = np.stack([filters - widths, widths - 1], 1)
        np.testing.assert_allclose(pair.log_probability(counts), law.log_probability(widths), rtol=1e-12, atol=1e-12)
    assert law.rounded_mean() == math.floor(1 + (filters - 1) * law.probability + 0.5)


def test_samples_have_the_law() -> None:
    law, width = Multinomial.of(5, np.log([0.5, 0.3, 0.2])), BinomialWidth(9, 0.4)
    rows = 40_000
    counts, widths = law.sample(rows, np.random.default_rng(0)), width.sample(rows, np.random.default_rng(1))
    assert (counts.sum(1) == 5).all()
    for row in outcomes(law):
        p = float(np.exp(law.log_probability(row)))
        # Five standard deviations: a chance failure once in a million for an unlucky seed.
        assert abs((counts == row).all(1).mean() - p) <= 5 * math.sqrt(p * (1 - p) / rows)
    for w in range(1, 10):
        p = float(np.exp(width.log_probability(w)))
        assert abs((widths == w).mean() - p) <= 5 * math.sqrt(p * (1 - p) / rows)


def every_batch(
    law: Multinomial, losses: FloatArray, size: int, estimate: Callable[[FloatArray, FloatArray], FloatArray]
) -> FloatArray:
    """Mean (first row) and total variance of an estimator over all batches of ``size``, each with its probability."""
    counts = outcomes(law)
    p, scores = np.exp(law.log_probability(counts)), law.score(counts)
    mean, square = np.zeros(scores.shape[1]), 0.0
    for batch in itertools.product(range(len(counts)), repeat=size):
        index = np.array(batch)
        gradient = estimate(scores[index], losses[index])
        mean += p[index].prod() * gradient
        square += p[index].prod() * float(gradient @ gradient)
    return np.append(mean, square - float(mean @ mean))


@pytest.mark.parametrize("size", [2, 3])
def test_estimators_by_enumeration_of_every_batch(size: int) -> None:
    law = Multinomial.of(3, np.array([0.3, -0.2, 0.1]))
    counts = outcomes(law)
    losses = 1.0 + 0.3 * np.random.default_rng(0).normal(size=len(counts)) + 0.1 * counts[:, 0]
    p = np.exp(law.log_probability(counts))
    true = (p * losses) @ law.score(counts)
    plain = every_batch(law, losses, size, plain_gradient)
    leave_one_out = every_batch(law, losses, size, leave_one_out_gradient)
    np.testing.assert_allclose(plain[:-1], true, atol=1e-13)
    np.testing.assert_allclose(leave_one_out[:-1], true, atol=1e-13)
    assert leave_one_out[-1] < 0.5 * plain[-1], "its variance is below plain's"
    shifted = every_batch(law, losses + 2.0, size, leave_one_out_gradient)
    np.testing.assert_allclose(shifted, leave_one_out, atol=1e-12)
    assert every_batch(law, losses + 2.0, size, plain_gradient)[-1] > 2 * plain[-1]
    # The mean of the batch as baseline, the printed alternative, is biased by (K - 1) / K.
    biased = every_batch(law, losses, size, lambda s, loss: (loss - loss.mean()) @ s / len(s))
    np.testing.assert_allclose(biased[:-1], (size - 1) / size * true, atol=1e-13)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
@settings(deadline=None, max_examples=40)
def test_leave_one_out_is_what_it_says(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    scores, losses = generator.normal(size=(size, 3)), generator.normal(size=size)
    expected = np.mean([(losses[i] - np.delete(losses, i).mean()) * scores[i] for i in range(size)], 0)
    np.testing.assert_allclose(leave_one_out_gradient(scores, losses), expected, atol=1e-12)


def test_rounding() -> None:
    assert largest_remainder([1.4, 2.4, 4.2], 8).tolist() == [2, 2, 4]  # of equal remainders the first
    assert largest_remainder([2.9999999999999, 1.0000000000001], 4).tolist() == [3, 1]
    assert Multinomial.of(64, np.log([0.3, 0.28, 0.22, 0.2])).rounded_mean().tolist() == [19, 18, 14, 13]
    assert BinomialWidth(64, 0.0).rounded_mean() == 33  # 1 + 63 / 2 = 32.5: halves go up
    with pytest.raises(ValueError, match="that sum to 5"):
        largest_remainder([1.0, 2.0], 5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_rounding_stays_within_one(seed: int, units: int, options: int) -> None:
    mean = units * np.random.default_rng(seed).dirichlet(np.ones(options))
    whole = largest_remainder(mean, units)
    assert whole.sum() == units
    assert (np.abs(whole - mean) < 1.0).all()


def test_messages() -> None:
    with pytest.raises(ValueError, match="units >= 1 and finite weights"):
        Multinomial.of(0, [0.0])
    with pytest.raises(ValueError, match="finite log odds"):
        BinomialWidth(4, math.inf)
    with pytest.raises(ValueError, match=r"K >= 2, got \(1, 2\) and \(1,\)"):
        leave_one_out_gradient([[1.0, 2.0]], [1.0])
    with pytest.raises(ValueError, match=r"K >= 1, got \(2, 2\) and \(3,\)"):
        plain_gradient(np.ones((2, 2)), np.ones(3))

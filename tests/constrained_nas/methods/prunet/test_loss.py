"""The loss of PruNet and its gradients against autograd's; units; the exponents that the published losses imply."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from constrained_nas.methods.prunet.loss import Mixture, gumbel_softmax, latency_penalty, mix, mix_gradient

FLOAT64 = 1e-10  # relative; a few operations on numbers near 1 lose some 1e-15


def drawn(seed: int, options: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    two = generator.random(options) < 0.7
    return (
        generator.normal(size=options),
        generator.normal(size=options),
        two,
        generator.gumbel(size=options),
        generator.gumbel(size=(options, 2)),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_gradients_of_the_whole_objective_equal_autograds(seed: int, temperature: float) -> None:
    """Eq. 2 on two layers: a cross-entropy that is not linear in the weights, and the latency of both."""
    generator = np.random.default_rng(seed + 100)
    layers = [drawn(seed, 4), drawn(seed + 50, 3)]
    tables = [generator.uniform(0.05, 0.6, (len(layer[0]), 2)) for layer in layers]
    effects = [generator.normal(size=(len(layer[0]), 2, 5)) for layer in layers]
    alpha, beta, label = 0.8, 0.6, 2

    parameters, pairs_t, latency_t, logits_t = [], [], torch.zeros((), dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    for (a, w, two, a_noise, w_noise), table, effect in zip(layers, tables, effects, strict=True):
        at, wt = (torch.tensor(value, requires_grad=True) for value in (a, w))
        options = torch.softmax((at + torch.tensor(a_noise)) / temperature, 0)
        shares = torch.softmax((torch.stack([torch.zeros_like(wt), wt], 1) + torch.tensor(w_noise)) / temperature, 1)
        single = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
        pairs = options[:, None] * torch.where(torch.tensor(two)[:, None], shares, single)
        latency_t = latency_t + (pairs * torch.tensor(table)).sum()
        logits_t = logits_t + torch.tanh((pairs[:, :, None] * torch.tensor(effect)).sum((0, 1)))
        parameters += [at, wt]
        pairs_t.append(pairs)
    entropy = torch.nn.functional.cross_entropy(logits_t[None], torch.tensor([label]))
    loss = entropy + alpha * torch.log(latency_t * 1000) ** beta
    expected = torch.autograd.grad(loss, parameters, retain_graph=True)
    by_framework = torch.autograd.grad(entropy, pairs_t)

    mixtures = [mix(*layer, temperature) for layer in layers]
    latency = sum(float((mixture.pairs * table).sum()) for mixture, table in zip(mixtures, tables, strict=True))
    penalty, slope = latency_penalty(latency, alpha, beta)
    assert float(entropy.detach()) + penalty == pytest.approx(float(loss.detach()), rel=FLOAT64)
    for number, (mixture, table) in enumerate(zip(mixtures, tables, strict=True)):
        np.testing.assert_allclose(mixture.pairs, pairs_t[number].detach().numpy(), rtol=FLOAT64, atol=1e-15)
        gradients = mix_gradient(mixture, by_framework[number].numpy() + slope * table)
        for found, wanted in zip(gradients, expected[2 * number : 2 * number + 2], strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-8, atol=1e-12)


def test_weights_sum_to_one_and_single_candidates_are_large() -> None:
    layer = drawn(3, 5)
    mixture = mix(*layer, 1.0)
    assert isinstance(mixture, Mixture)
    assert mixture.pairs.sum() == pytest.approx(1.0, rel=FLOAT64)
    assert not mixture.pairs[~mixture.two, 0].any()
    assert (mixture.pairs[mixture.two] > 0).all()


def test_gumbel_softmax_draws_with_the_softmax_probabilities() -> None:
    logits = np.array([0.0, 1.0, -0.5])
    noise = np.random.default_rng(0).gumbel(size=(20_000, 3))
    frequency = np.bincount(gumbel_softmax(logits, noise, 0.7).argmax(1), minlength=3) / 20_000
    # Five standard deviations of a frequency over 20 000 draws are at most 0.018.
    np.testing.assert_allclose(frequency, np.exp(logits) / np.exp(logits).sum(), atol=0.018)
    with pytest.raises(ValueError, match="temperature: expected a positive number, got 0"):
        gumbel_softmax(logits, noise, 0.0)


def test_the_penalty_is_in_microseconds() -> None:
    # The published losses grow by 3.08 a unit of alpha; at 480 to 1280 microseconds (ln us)^0.6 spans 2.98 to 3.26.
    low, high = latency_penalty(0.48, 1.0)[0], latency_penalty(1.28, 1.0)[0]
    assert (round(low, 2), round(high, 2)) == (2.98, 3.26)
    assert low < 3.080 < high
    assert latency_penalty(1.0, 2.0)[0] == pytest.approx(2.0 * math.log(1000.0) ** 0.6, rel=FLOAT64)
    with pytest.raises(ValueError, match=r"more than 0.001 ms, got 0.0005 ms; is the table in milliseconds"):
        latency_penalty(0.0005, 1.0)


@pytest.mark.parametrize("latency", [0.0011, 0.05, 0.7, 40.0])
def test_slope_and_inverse_of_the_penalty(latency: float) -> None:
    step = 1e-6 * latency
    value, slope = latency_penalty(latency, 0.4)
    central = (latency_penalty(latency + step, 0.4)[0] - latency_penalty(latency - step, 0.4)[0]) / (2 * step)
    assert slope == pytest.approx(central, rel=1e-5)  # the error of a central difference at this step near ln = 0.1
    assert math.exp((value / 0.4) ** (1.0 / 0.6)) / 1000 == pytest.approx(latency, rel=1e-9)

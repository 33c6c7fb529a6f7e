"""PruNet's objective: Gumbel-softmax mixtures, expected latency, and a loss with the logarithm of the latency.

    L = CE + alpha (ln LAT)^beta,   LAT = sum_l sum_i a_{l,i} LAT(B_{l,i}),

with LAT in microseconds (the logarithm of milliseconds is negative below 1 ms, and its power then no number), a from a
Gumbel-softmax at a constant temperature, and a Prunode's latency the mean of its two candidates' under the Gumbel-softmax of its
own logit. Tables are in milliseconds; the conversion happens here and nowhere else.

A layer's parameters are a logit an option (its blocks, and the skip where it competes) and a logit a Prunode, of the large
candidate against the small. :func:`mix` turns them into weights of (option, candidate) pairs, :func:`mix_gradient` takes a gradient
of these back. Gradients are explicit, so that they can come from any framework.

Reference: PruNet, Eq. 2-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constrained_nas.methods.distributions import softmax
from solvers.arrays import FloatArray

MICROSECONDS_PER_MILLISECOND = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The weights of one layer.

    Attributes:
        options: a (N,), of blocks and, last, the skip if it competes; they sum to 1.
        large: share of the large candidate in every option, (N,); 1 where an option has one candidate only.
        two: which options have two candidates, (N,).
    """

    options: FloatArray
    large: FloatArray
    two: NDArray[np.bool_]
    temperature: float

    @property
    def pairs(self) -> FloatArray:
        """Weights of (option, candidate), (N, 2): small, large. An option with one candidate has it in the second column."""
        return self.options[:, None] * np.stack([1.0 - self.large, self.large], 1)


def gumbel_softmax(logits: FloatArray, noise: FloatArray, temperature: float) -> FloatArray:
    """``softmax((logits + noise) / temperature)`` over the last axis (Eq. 4); ``noise`` is standard Gumbel, or 0 for none.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    return softmax((logits + noise) / temperature)


def gumbel_softmax_gradient(weights: FloatArray, gradient: FloatArray, temperature: float) -> FloatArray:
    """Gradient with respect to the logits, from that with respect to the ``weights`` that :func:`gumbel_softmax` gave."""
    result: FloatArray = weights * (gradient - (weights * gradient).sum(-1, keepdims=True)) / temperature
    return result


def mix(
    option_logits: FloatArray,
    width_logits: FloatArray,
    two: NDArray[np.bool_],
    option_noise: FloatArray,
    width_noise: FloatArray,
    temperature: float,
) -> Mixture:
    """The weights of a layer under given noise.

    Args:
        width_logits: w (N,), of the large candidate against the small; not read where ``two`` is False.
        two: (N,), whether an option has two candidates; the skip, convolutions and settled widths have one.
        option_noise: (N,) standard Gumbel.
        width_noise: (N, 2) standard Gumbel, of the small and the large candidate.
    """
    keys = np.stack([np.zeros_like(width_logits), width_logits], 1)  # (N, 2): the small candidate's logit is 0
    shares = gumbel_softmax(keys, width_noise, temperature)
    options = gumbel_softmax(option_logits, option_noise, temperature)
    return Mixture(options, np.where(two, shares[:, 1], 1.0), two, temperature)


def mix_gradient(mixture: Mixture, pair_gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradients with respect to the option logits (N,) and the width logits (N,), from that of the pairs (N, 2).

    Width logits of options with one candidate get 0.
    """
    large = mixture.large
    options = pair_gradient[:, 0] * (1.0 - large) + pair_gradient[:, 1] * large
    shares = mixture.options * (pair_gradient[:, 1] - pair_gradient[:, 0])
    slope = large * (1.0 - large) / mixture.temperature
    return gumbel_softmax_gradient(mixture.options, options, mixture.temperature), np.where(mixture.two, shares * slope, 0.0)


def latency_penalty(latency_ms: float, alpha: float, beta: float = 0.6) -> tuple[float, float]:
    """``alpha (ln LAT)^beta`` with LAT in microseconds, and its derivative with respect to the latency in milliseconds.

    Raises:
        ValueError: a latency of 1 microsecond or less (the logarithm must be positive): are its entries in milliseconds?
    """
    microseconds = latency_ms * MICROSECONDS_PER_MILLISECOND
    if not microseconds > 1.0:
        raise ValueError(f"latency: expected more than 0.001 ms, got {latency_ms} ms; is the table in milliseconds?")
    logarithm = math.log(microseconds)
    return alpha * logarithm**beta, alpha * beta * logarithm ** (beta - 1.0) / latency_ms  # d ln(1000 x) / dx = 1 / x

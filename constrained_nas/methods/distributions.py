"""Distributions over the options of decisions: sampling rows, and gradients back to their parameters.

Reference: Jang et al. 2017 (Gumbel-softmax); Nayman et al., HardCoRe-NAS, Eq. 4-5, whose print takes the logarithm of a negative
number: read ``softmax(log p - log(-log U))``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from solvers.arrays import FloatArray


def gumbel_rows(probabilities: FloatArray, rows: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """One option a row by the Gumbel-max trick.

    Args:
        probabilities: (options,), non-negative, summing to 1; an option of probability 0 is never drawn.

    Returns:
        one-hot gates (rows, options), and the Gumbel noise (rows, options) behind them.
    """
    noise = generator.gumbel(size=(rows, len(probabilities)))
    with np.errstate(divide="ignore"):
        keys = np.log(probabilities) + noise  # -inf where p = 0
    gates = np.zeros_like(noise)
    gates[np.arange(rows), keys.argmax(1)] = 1.0
    return gates, noise


def point_gradient(probabilities: FloatArray, noise: FloatArray, gate_gradient: FloatArray) -> FloatArray:
    """Straight-through gradient of a mean loss with respect to the probabilities, shape (options,).

    The hard gates pass their gradient to ``hat = softmax(log p + noise)`` at temperature 1; ``d hat_i / d p_j`` then is
    ``(e^noise_j / Z)(delta_ij - hat_i)`` with ``Z = sum_k p_k e^noise_k``, finite where p_j = 0 too.

    Args:
        probabilities: (options,).
        noise: (rows, options), from :func:`gumbel_rows`.
        gate_gradient: (rows, options), of the mean loss, so rows are summed.
    """
    scaled = np.exp(noise - noise.max(1, keepdims=True))  # a common factor of a row cancels in the ratio
    ratio = scaled / (scaled @ probabilities)[:, None]  # e^noise / Z
    hat = probabilities * ratio
    centred = gate_gradient - (gate_gradient * hat).sum(1, keepdims=True)
    gradient: FloatArray = (ratio * centred).sum(0)
    return gradient


def softmax(logits: FloatArray) -> FloatArray:
    """exp(logits) normalized over the last axis, shape (..., options)."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    result: FloatArray = weights / weights.sum(-1, keepdims=True)
    return result


def mean_entropy(parts: Iterable[FloatArray]) -> float:
    """The mean over the decisions of the entropy of their distributions (options,), in nats; 0 log 0 is 0."""
    return float(np.mean([-(part[part > 0] * np.log(part[part > 0])).sum() for part in parts]))

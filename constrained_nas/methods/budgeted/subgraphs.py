"""The distribution of a budgeted super-network's sub-graphs, and its score-function gradient.

Layers are visited from the source on; a module is drawn, on with its own probability, only if its source layer is connected to the
input by modules already drawn, else it stays off. So the log-probability of a sub-graph covers the drawn modules alone, and its
gradient with respect to the logit of a drawn module is ``on - p``, 0 for the others.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.2 and Eq. 7; Kool et al. 2019 for the leave-one-out baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from graphs import DagSpace
from solvers.arrays import BoolArray, FloatArray

Baseline = Literal["batch_mean", "leave_one_out", "running"]


@dataclass(frozen=True, slots=True, eq=False)
class SubgraphDraws:
    """Samples of a super-network's switches.

    Attributes:
        on: (samples, decisions) whether a switch is on.
        drawn: (samples, decisions) whether it was drawn at all; what was not is off.
        connected: (samples,) whether a path of modules that are on joins the source to the sink.
    """

    on: BoolArray
    drawn: BoolArray
    connected: BoolArray


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-logits)), without overflow."""
    result: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return result


def draw_subgraphs(space: DagSpace, probabilities: FloatArray, uniforms: FloatArray) -> SubgraphDraws:
    """Connectivity-aware sampling (Sec. 3.2).

    Args:
        space: the super-network; a switch of several modules is drawn when the first of them comes up.
        probabilities: (decisions,) of being on.
        uniforms: (samples, decisions) in [0, 1): a drawn switch is on where its number is below its probability.
    """
    parts = space.connectivity
    wanted = uniforms < probabilities
    on, drawn = np.zeros_like(wanted), np.zeros_like(wanted)
    reached = np.zeros((len(uniforms), len(parts.nodes)), dtype=np.bool_)
    reached[:, 0] = True
    # Edges come in the order of their source layers: whether a source is reached is settled when its first edge comes up.
    for source, target, column in zip(parts.sources.tolist(), parts.targets.tolist(), parts.columns.tolist(), strict=True):
        live = reached[:, source]
        if column >= 0:
            switch = column // 2  # two options a decision
            fresh = live & ~drawn[:, switch]
            on[:, switch] |= fresh & wanted[:, switch]
            drawn[:, switch] |= fresh
            live = live & on[:, switch]
        reached[:, target] |= live
    return SubgraphDraws(on, drawn, reached[:, -1].copy())


def log_probability(probabilities: FloatArray, draws: SubgraphDraws) -> FloatArray:
    """The log-probability of each sample, (samples,)."""
    with np.errstate(divide="ignore"):
        terms = np.where(draws.on, np.log(probabilities), np.log1p(-probabilities))
    result: FloatArray = np.where(draws.drawn, terms, 0.0).sum(1)
    return result


def score(probabilities: FloatArray, draws: SubgraphDraws) -> FloatArray:
    """The gradient of each sample's log-probability with respect to the logits, (samples, decisions)."""
    return np.where(draws.drawn, draws.on - probabilities, 0.0)


def score_of_noise(uniforms: FloatArray) -> FloatArray:
    """The gradient of the log-density of the noisy log-odds ``logit - log u + log(1 - u)`` with respect to the logits: ``1 - 2u``.

    It is the score of whatever is a function of these numbers, such as their projection onto a budget; where only ``u < p``
    matters its mean given that is :func:`score`.

    Args:
        uniforms: (samples, decisions) in (0, 1).
    """
    return 1.0 - 2.0 * uniforms


def chances_of_being_drawn(space: DagSpace, probabilities: FloatArray) -> FloatArray:
    """How probable it is that each switch is drawn, (decisions,), as if the modules before it were independent of one another."""
    parts = space.connectivity
    reached = np.zeros(len(parts.nodes))
    reached[0] = 1.0
    chances = np.zeros(len(probabilities))
    for source, target, column in zip(parts.sources.tolist(), parts.targets.tolist(), parts.columns.tolist(), strict=True):
        on = 1.0
        if column >= 0:
            chances[column // 2] = max(chances[column // 2], reached[source])
            on = probabilities[column // 2]
        reached[target] = 1 - (1 - reached[target]) * (1 - reached[source] * on)
    return chances


def advantages(objectives: FloatArray, baseline: Baseline, running: float) -> FloatArray:
    """What multiplies the scores: the objectives (samples,) less a baseline.

    The batch's mean (Eq. 7) makes the mean over samples of ``advantage x score`` (B - 1) / B times the gradient; the mean of the
    other samples (``leave_one_out``) and a number from before (``running``) leave it unbiased. One sample alone has no others, so
    both take the running baseline.
    """
    count = len(objectives)
    if baseline == "running" or count == 1:
        return objectives - running
    centred: FloatArray = objectives - objectives.mean()
    return centred if baseline == "batch_mean" else centred * (count / (count - 1))

"""Multiply-adds of slimmable networks: filters pruned from the end, identity shortcuts projected where widths differ.

A layer of ``w'`` filters that reads ``w`` channels costs ``H W k^2 w w'``, a depthwise one ``H W k^2 w'``; an identity shortcut
between unequal widths gets a 1x1 projection, ``H W w w'`` more; the classifier, where it is counted, its classes times the last
width. Under binomial widths ``1 + Binomial(C - 1, p)`` the expectation is closed: products of means between decisions, second
moments within one, and for the projections ``E[w w'] - sum_w w^2 P(w) P'(w)``.

As counts, for the constrained program, a decision shares ``C - 1`` units among (pruned, kept): the first filter always stays.

Reference: Zur et al., pruning (binomial, block-binomial); Yu et al., Slimmable Neural Networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.costs.bit_operations import Linearization
from graphs.costs.conditions import measured_name, medians_by_key
from graphs.costs.latency import LatencyTable
from graphs.filters import FilterSpace
from graphs.space import Architecture
from solvers.arrays import FloatArray

FULL, HALF = "full width", "half width"  # what tables call the entries of a layer
_CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


@dataclass(frozen=True)
class SlimmableMacs:
    """Multiply-adds of one image, under the widths of a width space.

    Attributes:
        classes: of the classifier that reads the last layer, pooled to one pixel; 0 leaves it out.

    Raises:
        ValueError: a quantization space, or classes below 0.

    Example:
        >>> from graphs import resnet_topology
        >>> space = resnet_topology().width_space()
        >>> SlimmableMacs(space, classes=10).cost(space.homogeneous())
        40813184.0
    """

    space: FilterSpace
    classes: int = 0
    name: str = "macs"
    unit: str = "MACs"

    def __post_init__(self) -> None:
        if self.space.kind != "width":
            raise ValueError("slimmable MACs are counted in a width space; a quantization space keeps all filters")
        if self.classes < 0:
            raise ValueError(f"classes: expected at least 0, got {self.classes}")

    @property
    def units(self) -> NDArray[np.int64]:
        """(decisions,) filters that may be pruned, C - 1."""
        units: NDArray[np.int64] = self.space.units - 1
        return units

    def cost(self, architecture: Architecture) -> float:
        """The cost of an architecture, in ``unit``."""
        return float(self.of_widths(self.space.decision_counts(architecture)[:, 0]))

    def of_widths(self, widths: ArrayLike) -> FloatArray:
        """The costs of (..., decisions) widths, shape (...); exact below 2^53."""
        w = np.asarray(widths, dtype=np.float64)
        left, right, scale, joined = self._terms
        product = scale * w[..., left] * w[..., right]
        total: FloatArray = np.where(joined & (w[..., left] == w[..., right]), 0.0, product).sum(-1)
        return self._fixed + total + w @ self._linear

    def of_counts(self, counts: ArrayLike) -> float:
        """The cost of (decisions, 2) counts of pruned and kept filters, the first of each layer left out."""
        return float(self.of_widths(1.0 + np.asarray(counts, dtype=np.float64)[..., 1]))

    def totals(self, counts: ArrayLike) -> FloatArray:
        """The costs of many (..., decisions, 2) counts, shape (...)."""
        return self.of_widths(1.0 + np.asarray(counts, dtype=np.float64)[..., 1])

    def expectation(self, probabilities: ArrayLike) -> float:
        """The expected cost where the width of decision d is ``1 + Binomial(C - 1, p_d)``; (decisions,) probabilities.

        Raises:
            ValueError: another shape, or numbers out of [0, 1].
        """
        p = np.asarray(probabilities, dtype=np.float64)
        if p.shape != self.units.shape or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"expected {len(self.units)} probabilities in [0, 1], one a decision, got {p}")
        laws = [_binomial_law(int(n), float(q)) for n, q in zip(self.units, p, strict=True)]
        mean = 1.0 + self.units * p
        second = self.units * p * (1.0 - p) + mean**2
        terms = [self._fixed, *(self._linear * mean).tolist()]
        for left, right, scale, joined in zip(*(part.tolist() for part in self._terms), strict=True):
            if left == right:
                terms.append(0.0 if joined else scale * second[left])
                continue
            product = mean[left] * mean[right]
            if joined:  # no projection where the widths agree
                shared = min(len(laws[left]), len(laws[right]))
                widths = np.arange(1.0, shared + 1.0)
                product -= float((widths**2 * laws[left][:shared] * laws[right][:shared]).sum())
            terms.append(scale * product)
        return math.fsum(terms)

    def linearize(self, counts: ArrayLike) -> Linearization:
        """The first-order expansion at (decisions, 2) counts.

        A projection counts as it stands there: inserted or not. What it adds or saves elsewhere is part of the stated error.
        """
        at = np.asarray(counts, dtype=np.float64)
        w = 1.0 + at[:, 1]
        left, right, scale, joined = self._terms
        active = np.where(joined & (w[left] == w[right]), 0.0, scale)
        slope = self._linear.copy()
        np.add.at(slope, left, active * w[right])
        np.add.at(slope, right, active * w[left])
        offset = float(self.of_widths(w)) - float(slope @ at[:, 1])
        # Products and tangents are bilinear: over the box of widths their extremes lie at its corners.
        most = self.space.units.astype(np.float64)
        u = np.where(_CORNERS[:, :1], most[left], 1.0)  # (4, terms)
        v = np.where(_CORNERS[:, 1:], most[right], 1.0)
        tangent = active * (u * w[right] + v * w[left] - w[left] * w[right])
        rest = np.where(joined, scale, active) * u * v - tangent
        lowest, highest = rest.min(0), rest.max(0)
        lowest = np.where(joined, np.minimum(lowest, (-tangent).min(0)), lowest)
        highest = np.where(joined, np.maximum(highest, (-tangent).max(0)), highest)
        coefficients = np.stack([np.zeros_like(slope), slope], 1)
        return Linearization(offset, coefficients, at, min(0.0, float(lowest.sum())), max(0.0, float(highest.sum())))

    def underestimate(self) -> Linearization:
        """McCormick's ``w w' >= w + w' - 1``, no projection: nowhere above the cost."""
        left, right, scale, joined = self._terms
        active = np.where(joined, 0.0, scale)
        slope = self._linear.copy()
        np.add.at(slope, left, active)
        np.add.at(slope, right, active)
        counts, least = self.least()
        return Linearization(least, np.stack([np.zeros_like(slope), slope], 1), counts, 0.0, math.inf)

    def least(self) -> tuple[FloatArray, float]:
        """All pruned to one filter a layer, (decisions, 2), and what that costs."""
        counts = np.stack([self.units, np.zeros_like(self.units)], 1).astype(np.float64)
        return counts, self.of_counts(counts)

    @property
    def _rates(self) -> FloatArray:
        """(layers,) what a multiply-add of each layer costs."""
        return np.ones(len(self.space.topology.layers))

    @property
    def _fixed(self) -> float:
        """What every network pays."""
        return 0.0

    @cached_property
    def _terms(self) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray, NDArray[np.bool_]]:
        """Products of two widths: the decisions of both, what one unit of the product costs, and whether it is a join's."""
        topology, owner, rates = self.space.topology, self.space.owner_index, self._rates
        rows = [
            (owner[source], owner[index], float(layer.window * layer.positions) * rates[index], False)
            for index, (layer, source) in enumerate(zip(topology.layers, topology.sources, strict=True))
            if source >= 0 and not layer.depthwise
        ]
        rows += [
            (owner[topology.index[j.source]], owner[topology.index[j.target]], j.positions * rates[topology.index[j.target]], True)
            for j in topology.joins
        ]
        left, right, scale, joined = zip(*rows, strict=True) if rows else ((), (), (), ())
        return np.array(left, dtype=int), np.array(right, dtype=int), np.array(scale, dtype=float), np.array(joined, dtype=bool)

    @cached_property
    def _linear(self) -> FloatArray:
        """Costs of one filter of each decision that reads the image or its own channel, or is read by the classifier."""
        topology, owner = self.space.topology, self.space.owner_index
        linear = np.zeros(len(self.space.units))
        for index, layer in enumerate(topology.layers):
            if layer.source is None or layer.depthwise:
                window = layer.window * layer.positions * self._rates[index]
                linear[owner[index]] += window * (1 if layer.depthwise else layer.channels)
        linear[owner[topology.last]] += self.classes
        return linear


@dataclass(frozen=True)
class SlimmableLatency(SlimmableMacs):
    """Latency of the same networks: what is fixed, and a time a multiply-add for each layer (a join's is its second layer's).

    Attributes:
        rates: (layers,) in ``unit``.
        fixed: of every network.
    """

    name: str = "latency"
    unit: str = "ms"
    rates: tuple[float, ...] = ()
    fixed: float = 0.0

    @property
    def _rates(self) -> FloatArray:
        return np.array(self.rates)

    @property
    def _fixed(self) -> float:
        return self.fixed


def slimmable_latency(table: LatencyTable, space: FilterSpace) -> SlimmableLatency:
    """The latency of a width space by a table that has two entries a layer: ``FULL``, every layer at its full width, and
    ``HALF``. Times are taken to rise in proportion to multiply-adds in between; what is left of them at none is fixed.

    Raises:
        ValueError: the table is of another space, or has none or two entries for a layer's width; names the first.
    """
    layers = space.topology.layers
    wanted = [(layer.name, width) for layer in layers for width in (FULL, HALF)]
    entries = (((entry.block, entry.configuration), entry.median) for entry in table.entries)
    medians = medians_by_key(table, space.space.name, entries, wanted, "layer {!r}, {!r}".format)
    rates, rest = [], [table.fixed]
    for layer, (most, fewer) in zip(layers, _layer_macs(space), strict=True):
        slow, fast = medians[layer.name, FULL], medians[layer.name, HALF]
        rates.append(min(slow / most, max(0.0, (slow - fast) / (most - fewer))) if most > fewer else 0.0)
        rest.append(slow - rates[-1] * most)
    return SlimmableLatency(space, name=measured_name(table), unit=table.unit, rates=tuple(rates), fixed=math.fsum(rest))


def half_widths(space: FilterSpace) -> NDArray[np.int64]:
    """(decisions,) half the filters of every decision, at least one."""
    return np.maximum(1, space.units // 2)


def _layer_macs(space: FilterSpace) -> list[tuple[float, float]]:
    """Multiply-adds of every layer at the full and at half the widths."""
    topology, counted = space.topology, []
    for widths in (space.units, half_widths(space)):
        own = widths[space.owner_index]
        read = [
            layer.channels if source < 0 else own[source] for layer, source in zip(topology.layers, topology.sources, strict=True)
        ]
        counted.append(
            [
                float(layer.window * layer.positions * filters * (1 if layer.depthwise else channels))
                for layer, filters, channels in zip(topology.layers, own, read, strict=True)
            ]
        )
    return list(zip(*counted, strict=True))


def _binomial_law(trials: int, probability: float) -> FloatArray:
    """P(1 + Binomial = 1, ..., trials + 1)."""
    if probability in (0.0, 1.0):
        law = np.zeros(trials + 1)
        law[trials if probability else 0] = 1.0
        return law
    ways = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(trials + 1)]
    k = np.arange(trials + 1)
    probabilities: FloatArray = np.exp(np.array(ways) + k * math.log(probability) + (trials - k) * math.log1p(-probability))
    return probabilities

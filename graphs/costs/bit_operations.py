"""Bit operations (BOPs) and memory traffic of networks whose filters have bit widths of their own.

A multiplication of ``b_a`` by ``b_w`` bits costs ``b_a b_w`` bit operations, an addition the width of the accumulator:

    aw(t)  = b_w(t) + log2 k^2 + log2 S,   S = sum_s a_s 2^{b_a(s)}
    B_n    = H W sum_t a'_t k^2 [ c aw(t) + A b_w(t) ],   A = sum_s a_s b_a(s)

over the operations s of the layer read (counts a, c filters in all) and t of the layer itself (counts a'). These are the paper's
(29)-(31) corrected: (29) lost a plus sign and log2 k^2, (31) sums without multiplicity, (27) omits H W. Logarithms stay real, the
image has 8 bits, fully connected layers and normalization count nothing.

B_n is linear in the layer's own counts and concave in its source's, with one product A x W, ``W = sum a'_t b_w``. So the least
cost lies at one operation a layer, the expectation has a closed form but for E log2 S (an integral in one variable, to rounding),
and the error of a linearization can be stated: see ``Linearization``.

Reference: Zur et al., Eq. 27-31; Baskin et al., UNIQ (bit operations).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.costs.least_choices import least_choices
from graphs.filters import FilterSpace
from graphs.space import Architecture
from solvers.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Linearization:
    """``offset + sum coefficients * counts``, the first-order expansion of a cost at ``counts``, exact there.

    Attributes:
        coefficients: (decisions, operations), not negative.
        counts: (decisions, operations) where it was made.
        below, above: for all counts of the space, cost - linear lies in [below, above]; for one point ask ``cost - linear`` itself.
    """

    offset: float
    coefficients: FloatArray
    counts: FloatArray
    below: float
    above: float

    def value(self, counts: ArrayLike) -> float:
        """The linear cost of (decisions, operations) counts."""
        return math.fsum([self.offset, *(self.coefficients * np.asarray(counts, dtype=np.float64)).ravel().tolist()])


@dataclass(frozen=True)
class BitOperations:
    """Bit operations of one image through the convolutions, under the counts of a quantization space.

    Raises:
        ValueError: a space of widths, or image bits below 1.

    Example:
        >>> from graphs import resnet_topology
        >>> space = resnet_topology().quantization_space()
        >>> f"{BitOperations(space).cost(space.homogeneous(operation=0)):.2e}"  # 2 bits everywhere
        '6.62e+08'
    """

    space: FilterSpace
    image_bits: int = 8
    name: str = "bit operations"
    unit: str = "BOPs"

    def __post_init__(self) -> None:
        if self.space.kind != "quantization":
            raise ValueError("bit operations are counted in a quantization space; count the MACs of a width space")
        if self.image_bits < 1:
            raise ValueError(f"image_bits: expected at least 1, got {self.image_bits}")

    @property
    def units(self) -> NDArray[np.int64]:
        """(decisions,) what the counts of each decision sum to."""
        return self.space.units

    def cost(self, architecture: Architecture) -> float:
        """The cost of an architecture, in ``unit``."""
        return self.of_counts(self.space.decision_counts(architecture))

    def of_counts(self, counts: ArrayLike) -> float:
        """The cost of (decisions, operations) counts: the correctly rounded sum over the layers, as budgets are checked."""
        return math.fsum(self.layers(np.asarray(counts, dtype=np.float64)[self.space.owner_index]).tolist())

    def totals(self, counts: ArrayLike) -> FloatArray:
        """The costs of many (..., decisions, operations) counts, shape (...)."""
        total: FloatArray = self.layers(np.asarray(counts, dtype=np.float64)[..., self.space.owner_index, :]).sum(-1)
        return total

    def layers(self, layer_counts: ArrayLike) -> FloatArray:
        """Each layer's cost, (..., layers), from (..., layers, operations) counts."""
        counts = np.asarray(layer_counts, dtype=np.float64)
        channels, bits, powers = self._read(counts.sum(-1), counts @ self._activation, counts @ self._powers)
        own, weights = counts.sum(-1), counts @ self._weight
        accumulator = weights + own * (self._log_window + np.log2(powers))
        result: FloatArray = self._scale * (channels * accumulator + bits * weights)
        return result

    def expectation(self, probabilities: ArrayLike) -> float:
        """The expected cost where each decision's counts are multinomial, (decisions, operations) probabilities.

        Closed but for E log2 S, which is an integral in one variable (``expected_log2``).

        Raises:
            ValueError: rows that are no distributions.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        units = self.space.units.astype(np.float64)
        if p.shape != (len(units), len(self._weight)) or not (p >= 0).all() or not np.allclose(p.sum(1), 1.0, rtol=0, atol=1e-9):
            raise ValueError(
                f"expected one distribution over {len(self._weight)} operations a decision, shape {p.shape} given: {p}"
            )
        owner = self.space.owner_index
        logs = np.array([expected_log2(row, int(n), self._powers) for row, n in zip(p, units, strict=True)])
        n, row = units[owner], p[owner]
        own_bits, own_weights = n * (row @ self._activation), n * (row @ self._weight)
        channels, bits, log_powers = self._read(n, own_bits, logs[owner])
        image = self._sources < 0
        log_powers[image] = np.log2(log_powers[image])
        product = bits * own_weights
        shared = ~image & (owner[self._sources] == owner)  # a layer that reads one of its own decision: E[A W] is a second moment
        cross = row @ (self._activation * self._weight) - (row @ self._activation) * (row @ self._weight)
        product[shared] += (n * cross)[shared]
        terms = self._scale * (channels * (own_weights + n * (self._log_window + log_powers)) + product)
        return math.fsum(terms.tolist())

    def linearize(self, counts: ArrayLike) -> Linearization:
        """The first-order expansion at (decisions, operations) counts, whole or not, and how far the cost can be from it.

        cost - linear = sum over layers of ``H W k^2 (c C' (log2 S - its tangent) + dA dW)``: the first is never positive, and both
        are bounded over the whole space by their extremes at single operations.
        """
        at = np.asarray(counts, dtype=np.float64)
        owner, a = self.space.owner_index, np.asarray(counts, dtype=np.float64)[self.space.owner_index]
        own, bits_out, powers_out, weights = a.sum(-1), a @ self._activation, a @ self._powers, a @ self._weight
        channels, bits, powers = self._read(own, bits_out, powers_out)
        coefficients = np.zeros_like(at)
        # By the layer's own counts; its total C' is fixed, but the part that multiplies it is kept so that all stay positive.
        head = self._scale * channels * (self._log_window + np.log2(powers))
        slope = self._scale * (channels + bits)
        np.add.at(coefficients, owner, slope[:, None] * self._weight + head[:, None])
        read = self._sources >= 0
        source = self._sources[read]
        by_log = (self._scale * channels * own)[read] / (powers[read] * math.log(2.0))
        by_bits = (self._scale * weights)[read]
        np.add.at(coefficients, owner[source], by_log[:, None] * self._powers + by_bits[:, None] * self._activation)
        offset = math.fsum([self.of_counts(at), *(-coefficients * at).ravel().tolist()])
        d_bits = own[source][:, None] * self._activation - bits_out[source][:, None]
        d_weights = own[read][:, None] * self._weight - weights[read][:, None]
        corners = np.stack([d_bits[:, s, None] * d_weights for s in range(len(self._weight))], 1)  # (readers, source's, own)
        # The log's remainder is concave with its maximum 0 at the point: its least value is at a corner, where S is C 2^b.
        vertex = own[source][:, None] * self._powers
        log_rest = np.log2(vertex / powers[read][:, None]) - (vertex / powers[read][:, None] - 1.0) / math.log(2.0)
        scale = self._scale[read]
        below = math.fsum((scale * (corners.min((1, 2)) + channels[read] * own[read] * log_rest.min(1))).tolist())
        above = math.fsum((scale * corners.max((1, 2))).tolist())
        return Linearization(offset, coefficients, at, min(below, 0.0), max(above, 0.0))

    def underestimate(self) -> Linearization:
        """A linear function that is nowhere above the cost: McCormick's for the products, the chord for the logarithm.

        A program over it relaxes the true one, so its optimum is a true bound. ``counts`` are those of least cost.
        """
        units, owner = self.space.units.astype(np.float64), self.space.owner_index
        own = units[owner]
        least_bits, least_weights = self._activation.min(), self._weight.min()
        coefficients = np.zeros((len(units), len(self._weight)))
        read = self._sources >= 0
        channels, bits, powers = self._read(own, own * least_bits, np.ones_like(own))
        # A W >= A_low W + W_low A - A_low W_low; of the image A is fixed and the first term alone is exact.
        logs = np.where(read, 0.0, np.log2(powers))
        by_own = self._scale[:, None] * (
            (channels + bits)[:, None] * self._weight + (channels * (self._log_window + logs))[:, None]
        )
        np.add.at(coefficients, owner, by_own)
        source = self._sources[read]
        chord = np.log2(own[source][:, None] * self._powers) * (channels * own)[read][:, None] / own[source][:, None]
        by_source = self._scale[read][:, None] * (chord + (least_weights * own[read])[:, None] * self._activation)
        np.add.at(coefficients, owner[source], by_source)
        offset = -math.fsum((self._scale * bits * own * least_weights)[read].tolist())
        return Linearization(offset, coefficients, self.least()[0], 0.0, math.inf)

    def least(self) -> tuple[FloatArray, float]:
        """The counts of least cost, (decisions, operations), and that cost; exact, since the cost is concave in each decision."""
        units, owner = self.space.units.astype(np.float64), self.space.owner_index
        own = units[owner]
        factors = []
        for layer, source in enumerate(self._sources.tolist()):
            scale, window = float(self._scale[layer]), float(self._log_window[layer])
            image = self._image_channels[layer]
            channels = image if source < 0 else own[source]
            bits = np.array([float(self.image_bits)]) if source < 0 else self._activation  # of each operation the source may have
            accumulator = self._weight + window + (bits + math.log2(channels))[:, None]
            table = scale * channels * own[layer] * (accumulator + bits[:, None] * self._weight)
            factors.append(((int(owner[layer]),), table[0]) if source < 0 else ((int(owner[source]), int(owner[layer])), table))
        choices = least_choices(factors, [len(self._weight)] * len(units))
        counts = np.zeros((len(units), len(self._weight)))
        counts[np.arange(len(units)), choices] = units
        return counts, self.of_counts(counts)

    def _read(self, own: FloatArray, bits: FloatArray, powers: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Channels, summed activation bits and summed powers of what each layer reads, from those of each layer's output."""
        image, channels = self._sources < 0, self._image_channels
        return (
            np.where(image, channels, own[..., self._sources]),
            np.where(image, channels * self.image_bits, bits[..., self._sources]),
            np.where(image, channels * 2.0**self.image_bits, powers[..., self._sources]),
        )

    @cached_property
    def _sources(self) -> NDArray[np.int64]:
        return self.space.topology.sources

    @cached_property
    def _image_channels(self) -> FloatArray:
        return np.array([float(layer.channels) for layer in self.space.topology.layers])

    @cached_property
    def _scale(self) -> FloatArray:
        return np.array([float(layer.window * layer.positions) for layer in self.space.topology.layers])

    @cached_property
    def _log_window(self) -> FloatArray:
        return np.log2([float(layer.window) for layer in self.space.topology.layers])

    @cached_property
    def _weight(self) -> FloatArray:
        return np.array([float(operation.weight_bits) for operation in self.space.operations])

    @cached_property
    def _activation(self) -> FloatArray:
        return np.array([float(operation.activation_bits) for operation in self.space.operations])

    @cached_property
    def _powers(self) -> FloatArray:
        return np.array([2.0**operation.activation_bits for operation in self.space.operations])


@dataclass(frozen=True)
class MemoryTraffic:
    """Bits of all convolution weights, each read once: ``sum of parameters x b_w``. Linear in the counts.

    Raises:
        ValueError: a space of widths.

    Example:
        >>> from graphs import resnet_topology
        >>> space = resnet_topology().quantization_space()
        >>> int(MemoryTraffic(space).cost(space.homogeneous(operation=0)))  # 2 bits everywhere
        540512
    """

    space: FilterSpace
    name: str = "memory traffic"
    unit: str = "bits"

    def __post_init__(self) -> None:
        if self.space.kind != "quantization":
            raise ValueError("memory traffic is counted in a quantization space")

    @property
    def units(self) -> NDArray[np.int64]:
        """(decisions,) what the counts of each decision sum to."""
        return self.space.units

    def cost(self, architecture: Architecture) -> float:
        """The cost of an architecture, in ``unit``."""
        return self.of_counts(self.space.decision_counts(architecture))

    def of_counts(self, counts: ArrayLike) -> float:
        """The cost of (decisions, operations) counts; of expected counts it is the expected cost."""
        return math.fsum((np.asarray(counts, dtype=np.float64) * self._coefficients).ravel().tolist())

    def totals(self, counts: ArrayLike) -> FloatArray:
        """The costs of many (..., decisions, operations) counts, shape (...)."""
        total: FloatArray = (np.asarray(counts, dtype=np.float64) * self._coefficients).sum((-2, -1))
        return total

    def expectation(self, probabilities: ArrayLike) -> float:
        """The expected cost under multinomial counts, (decisions, operations) probabilities."""
        return self.of_counts(self.space.units[:, None] * np.asarray(probabilities, dtype=np.float64))

    def linearize(self, counts: ArrayLike) -> Linearization:
        """Itself: the error is 0."""
        return Linearization(0.0, self._coefficients, np.asarray(counts, dtype=np.float64), 0.0, 0.0)

    def underestimate(self) -> Linearization:
        """Itself."""
        return self.linearize(self.least()[0])

    def least(self) -> tuple[FloatArray, float]:
        """All filters at the fewest weight bits, and what they cost."""
        counts = np.zeros(self._coefficients.shape)
        counts[:, int(self._coefficients[0].argmin())] = self.space.units
        return counts, self.of_counts(counts)

    @cached_property
    def _coefficients(self) -> FloatArray:
        coefficients = np.zeros((len(self.space.units), len(self.space.operations)))
        bits = [float(operation.weight_bits) for operation in self.space.operations]
        sizes = np.array([float(layer.window * layer.channels) for layer in self.space.topology.layers])
        np.add.at(coefficients, self.space.owner_index, np.outer(sizes, bits))
        return coefficients


def expected_log2(probabilities: FloatArray, units: int, values: FloatArray) -> float:
    """``E log2 sum_k a_k values_k`` for multinomial ``a`` of ``units``, to about 1e-13.

    By Frullani's integral ``E ln S = int_0^inf (e^-t - E e^{-tS}) dt / t`` and ``E e^{-tS} = (sum_k p_k e^{-t v_k})^units``. In
    ``u = ln t`` the integrand is analytic in a strip of half-width pi / 2, so the trapezoidal rule at step 1/4 errs by e^-39.
    """
    if np.ptp(values[probabilities > 0]) == 0.0:
        return math.log2(units * float(values[probabilities > 0][0]))
    scaled = values / values.max()  # S in units of its largest term: at most `units`
    # Left of the start both terms are 1 - O(e^u); right of the end both are below the smallest double's logarithm.
    t = np.exp(np.arange(-40.0 - math.log(units), 4.0 - math.log(float(scaled.min())), 0.25))
    below_one = np.maximum(np.expm1(-np.outer(t, scaled)) @ probabilities, -1.0 + 2.0**-53)  # the floor keeps log1p finite
    difference = -np.expm1(units * np.log1p(below_one)) + np.expm1(-t)
    return 0.25 * math.fsum(difference.tolist()) / math.log(2.0) + math.log2(float(values.max()))

"""The published and corrected numbers of ResNet-20, and every formula against enumeration or a second derivation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from support.references import compositions

from graphs.costs import BitOperations, CostModel, MemoryTraffic
from graphs.costs.bit_operations import expected_log2
from graphs.filters import PAPER_OPERATIONS, FilterLayer, FilterSpace, FilterTopology, Operation
from graphs.spaces import Shortcut, resnet_topology

TOPOLOGIES = {shortcut: resnet_topology(shortcut=shortcut) for shortcut in ("projection", "identity")}
TABLE = [  # weight and activation bits, GBOPs with the input at b_a, with an 8-bit input, weight bits; projection shortcuts
    (2, 2, 0.653924079, 0.661886703, 540512),
    (2, 4, 0.898799343, 0.904107759, 540512),
    (3, 3, 0.939611887, 0.948459247, 810768),
    (8, 8, 3.592427247, 3.592427247, 2162048),
    (32, 32, 44.731471599, 44.381116143, 8648192),
]
IDENTITY = [(2, 2, 0.650647279), (2, 4, 0.893949679), (3, 3, 0.934500079), (8, 8, 3.570276079), (32, 32, 44.445079279)]


def homogeneous_space(shortcut: Shortcut, weight_bits: int, activation_bits: int) -> FilterSpace:
    return TOPOLOGIES[shortcut].quantization_space((Operation(weight_bits, activation_bits),))


def tiny_space(operations: tuple[Operation, ...] = (Operation(2, 4), Operation(4, 2), Operation(8, 8))) -> FilterSpace:
    """Four small layers with a projection that follows, an identity, and a sink: 3 x 4 + ... few enough configurations."""
    layers = (
        FilterLayer("a", 2, 9, 16, None, 3, "s"),
        FilterLayer("b", 3, 9, 4, "a", 2, "t"),
        FilterLayer("c", 3, 9, 4, "b", 3, "t"),
        FilterLayer("shortcut", 3, 1, 4, "a", 2, "t", follows="c"),
        FilterLayer("d", 2, 1, 4, "c", 3, "u"),
    )
    return FilterTopology("tiny", layers).quantization_space(operations)


def every_count(space: FilterSpace) -> np.ndarray:
    rows = [list(compositions(int(units), len(space.operations))) for units in space.units]
    return np.array(list(itertools.product(*rows)), dtype=float)


@pytest.mark.parametrize(("weight_bits", "activation_bits", "low_input", "eight_bit_input", "memory"), TABLE)
def test_table_with_projections(
    weight_bits: int, activation_bits: int, low_input: float, eight_bit_input: float, memory: int
) -> None:
    space = homogeneous_space("projection", weight_bits, activation_bits)
    architecture = space.homogeneous()
    # The published numbers have nine decimals of 10^9: whole bit operations.
    assert BitOperations(space, activation_bits).cost(architecture) / 1e9 == pytest.approx(low_input, abs=5.01e-10)
    assert BitOperations(space).cost(architecture) / 1e9 == pytest.approx(eight_bit_input, abs=5.01e-10)
    assert MemoryTraffic(space).cost(architecture) == memory


@pytest.mark.parametrize(("weight_bits", "activation_bits", "expected"), IDENTITY)
def test_table_with_identity_shortcuts(weight_bits: int, activation_bits: int, expected: float) -> None:
    space = homogeneous_space("identity", weight_bits, activation_bits)
    assert BitOperations(space, activation_bits).cost(space.homogeneous()) / 1e9 == pytest.approx(expected, abs=5.01e-10)


@pytest.mark.parametrize("shortcut", ["projection", "identity"])
@pytest.mark.parametrize("bits", [(2, 2), (2, 4), (3, 3), (8, 8), (32, 32)])
def test_homogeneous_networks_follow_equation_27_times_the_pixels(shortcut: Shortcut, bits: tuple[int, int]) -> None:
    weight_bits, activation_bits = bits
    space = homogeneous_space(shortcut, *bits)
    oracle = math.fsum(
        layer.positions
        * layer.channels
        * layer.filters
        * layer.window
        * (weight_bits * activation_bits + weight_bits + activation_bits + math.log2(layer.channels * layer.window))
        for layer in space.topology.layers
    )
    # One rounding of 1e-16 per operation of some ten a layer.
    assert BitOperations(space, activation_bits).cost(space.homogeneous()) == pytest.approx(oracle, rel=1e-14)


@pytest.mark.parametrize("shortcuts", ["follow", "own"])
def test_heterogeneous_values(shortcuts: str) -> None:
    space = TOPOLOGIES["projection"].quantization_space(shortcuts="own" if shortcuts == "own" else "follow")
    cost = BitOperations(space)
    half = [[units // 2, 0, 0, units // 2] for units in space.units]
    quarters = [[units // 4] * 4 for units in space.units]
    assert cost.of_counts(half) == pytest.approx(1845468736.02, abs=0.005)
    assert cost.of_counts(quarters) == pytest.approx(1388946805.04, abs=0.005)
    assert cost.cost(space.architecture(half)) == cost.of_counts(half)
    np.testing.assert_allclose(cost.totals([half, quarters]), [cost.of_counts(half), cost.of_counts(quarters)], rtol=1e-14)


def test_numbers_of_configurations() -> None:
    topology = TOPOLOGIES["projection"]
    assert topology.quantization_space().log10_size == pytest.approx(71.88, abs=0.005)
    assert topology.quantization_space(shortcuts="own").log10_size == pytest.approx(80.38, abs=0.005)
    assert topology.width_space().log10_size == pytest.approx(28.30, abs=0.005)
    assert round(10 ** topology.width_space(per="stage").log10_size) == 32768
    assert len(topology.quantization_space().space.decisions) == 19


def test_one_layer_by_hand() -> None:
    layers = (FilterLayer("a", 2, 1, 1, None, 1, "s"), FilterLayer("b", 1, 4, 3, "a", 2, "t"))
    space = FilterTopology("two", layers).quantization_space((Operation(2, 1), Operation(4, 3)))
    cost = BitOperations(space, image_bits=3)
    # Layer a reads one channel of 3 bits: filter 1 (2 bits): 2 + 3 + 6 = 11; filter 2 (4 bits): 4 + 3 + 12 = 19.
    # Layer b has 4 bits, reads 1 + 3 bits, S = 2 + 8: 3 pixels x 4 x [2 (4 + 2 + log2 10) + 16].
    assert cost.of_counts([[1, 1], [0, 1]]) == pytest.approx(30 + 12 * (2 * (6 + math.log2(10)) + 16), rel=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_expectation_by_enumeration(seed: int) -> None:
    space = tiny_space()
    cost, memory = BitOperations(space), MemoryTraffic(space)
    p = np.random.default_rng(seed).dirichlet(np.ones(3), size=len(space.units))
    counts = every_count(space)
    ways = np.array(
        [
            math.prod(
                math.factorial(int(units)) / math.prod(math.factorial(int(a)) for a in row)
                for units, row in zip(space.units, one, strict=True)
            )
            for one in counts
        ]
    )
    law = ways * (p[None] ** counts).prod((1, 2))
    assert law.sum() == pytest.approx(1.0, rel=1e-12)
    # Sums of some 10^4 rounded products, and an integral good to 1e-13.
    assert cost.expectation(p) == pytest.approx(float(law @ cost.totals(counts)), rel=1e-11)
    assert memory.expectation(p) == pytest.approx(float(law @ memory.totals(counts)), rel=1e-11)


def test_expectation_of_resnet_lies_within_the_error_of_a_sample() -> None:
    space = TOPOLOGIES["projection"].quantization_space()
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(4), size=len(space.units))
    counts = np.stack([generator.multinomial(units, row, size=4000) for units, row in zip(space.units, p, strict=True)], 1)
    sample = BitOperations(space).totals(counts)
    # Five standard errors: a chance failure in a million for an unlucky seed.
    assert BitOperations(space).expectation(p) == pytest.approx(sample.mean(), abs=5 * sample.std() / math.sqrt(4000))


@pytest.mark.parametrize("units", [1, 2, 7])
def test_expected_log2_by_enumeration(units: int) -> None:
    generator = np.random.default_rng(units)
    for options in (2, 3, 4):
        p = generator.dirichlet(np.ones(options))
        values = 2.0 ** generator.integers(1, 33, options)
        expected = math.fsum(
            math.factorial(units)
            / math.prod(map(math.factorial, row))
            * float(np.prod(p ** np.array(row)))
            * math.log2(float(np.dot(row, values)))
            for row in compositions(units, options)
        )
        assert expected_log2(p, units, values) == pytest.approx(expected, abs=1e-12)  # the rule errs by 1e-17, rounding by 1e-13
    assert expected_log2(np.array([0.0, 1.0]), units, np.array([4.0, 8.0])) == math.log2(8 * units)


@pytest.mark.parametrize("seed", range(10))
def test_linearization_is_exact_at_its_point_and_its_error_holds(seed: int) -> None:
    space = tiny_space()
    cost = BitOperations(space)
    counts = every_count(space)
    totals = cost.totals(counts)
    generator = np.random.default_rng(seed)
    at = (
        counts[generator.integers(len(counts))]
        if seed % 2
        else generator.dirichlet(np.ones(3), len(space.units)) * space.units[:, None]
    )
    linear = cost.linearize(at)
    assert linear.value(at) == pytest.approx(cost.of_counts(at), rel=1e-13)
    assert (linear.coefficients >= 0).all()
    rest = totals - (linear.offset + (linear.coefficients * counts).sum((1, 2)))
    rounding = 1e-12 * totals.max()
    assert rest.min() >= linear.below - rounding
    assert rest.max() <= linear.above + rounding
    # It is the tangent: a small move along the simplices leaves an error of second order.
    towards = counts[generator.integers(len(counts))]
    gaps = [abs(cost.of_counts(at + step * (towards - at)) - linear.value(at + step * (towards - at))) for step in (1e-2, 1e-3)]
    assert gaps[1] <= 0.02 * gaps[0] + rounding


def test_the_underestimate_is_below_and_touches() -> None:
    space = tiny_space()
    cost = BitOperations(space)
    counts = every_count(space)
    under = cost.underestimate()
    rest = cost.totals(counts) - (under.offset + (under.coefficients * counts).sum((1, 2)))
    assert rest.min() == pytest.approx(0.0, abs=1e-12 * cost.totals(counts).max())


@pytest.mark.parametrize(
    "operations", [PAPER_OPERATIONS, (Operation(2, 4), Operation(4, 2)), (Operation(2, 8), Operation(3, 3), Operation(8, 2))]
)
def test_least_cost_by_enumeration(operations: tuple[Operation, ...]) -> None:
    layers = tiny_space().topology.layers
    space = FilterTopology("tiny", layers[:4]).quantization_space(operations[:3])
    for cost in (BitOperations(space), MemoryTraffic(space)):
        counts, least = cost.least()
        assert least == pytest.approx(cost.totals(every_count(space)).min(), rel=1e-14)
        assert cost.of_counts(counts) == least


def test_memory_is_linear() -> None:
    space = TOPOLOGIES["projection"].quantization_space()
    memory = MemoryTraffic(space)
    generator = np.random.default_rng(1)
    counts = np.stack([generator.multinomial(units, np.full(4, 0.25)) for units in space.units])
    linear = memory.linearize(counts)
    assert (linear.below, linear.above) == (0.0, 0.0)
    assert linear.value(counts) == memory.of_counts(counts) == memory.totals(counts[None])[0]


def test_they_are_cost_models_of_quantization_spaces() -> None:
    space = tiny_space()
    assert isinstance(BitOperations(space), CostModel)
    assert isinstance(MemoryTraffic(space), CostModel)
    widths = space.topology.width_space()
    with pytest.raises(ValueError, match="count the MACs of a width space"):
        BitOperations(widths)
    with pytest.raises(ValueError, match="quantization space"):
        MemoryTraffic(widths)
    with pytest.raises(ValueError, match="image_bits: expected at least 1, got 0"):
        BitOperations(space, image_bits=0)
    with pytest.raises(ValueError, match="one distribution over 3 operations a decision"):
        BitOperations(space).expectation(np.full((4, 3), 0.5))

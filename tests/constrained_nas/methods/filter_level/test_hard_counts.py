"""Hard budgets on true costs: met to the last operation, near the optimum of brute force, with an honest certificate."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from constrained_nas.methods.filter_level import CountCost
from constrained_nas.methods.filter_level.counts import BinomialWidth
from constrained_nas.methods.filter_level.hard_counts import most_probable_within
from graphs.costs import BitOperations, MemoryTraffic, SlimmableMacs
from graphs.filters import FilterLayer, FilterTopology, Operation
from graphs.filters.space import Join
from graphs.spaces import resnet_topology
from solvers.results import InfeasibleError

RESNET = resnet_topology((8, 16, 32), 1, 1, 16, shortcut="identity")
TINY = FilterTopology(
    "tiny",
    (
        FilterLayer("stem", 3, 9, 16, None, 2, "s"),
        FilterLayer("a", 3, 9, 16, "stem", 3, "s"),
        FilterLayer("b", 4, 9, 4, "a", 3, "t"),
        FilterLayer("p", 4, 1, 4, "stem", 3, "t", follows="b"),
    ),
    (Join("stem", "a", 16),),
)


def every_count(units: list[int], options: int) -> np.ndarray:
    rows = [[a for a in itertools.product(range(n + 1), repeat=options) if sum(a) == n] for n in units]
    return np.array(list(itertools.product(*rows)), dtype=float)


def costs() -> list[CountCost]:
    quantized = TINY.quantization_space((Operation(2, 4), Operation(4, 2), Operation(8, 8)))
    return [
        BitOperations(quantized),
        MemoryTraffic(quantized),
        SlimmableMacs(TINY.width_space()),
        SlimmableMacs(TINY.width_space(per="stage")),
    ]


@pytest.mark.parametrize("cost", costs(), ids=["bits", "memory", "layer widths", "stage widths"])
def test_against_brute_force(cost: CountCost) -> None:
    generator = np.random.default_rng(0)
    counts = every_count(cost.units.tolist(), cost.least()[0].shape[1])
    true = np.array([cost.of_counts(row) for row in counts])
    factorials = np.vectorize(math.lgamma)(counts + 1.0).sum((1, 2))
    ways = np.vectorize(math.lgamma)(cost.units + 1.0).sum() - factorials
    optimal = 0
    for _ in range(20):
        weights = np.log(generator.dirichlet(np.full(counts.shape[2], generator.choice([0.5, 1, 3])), size=counts.shape[1]))
        limit = float(np.quantile(true, generator.uniform(0.001, 0.6), method="nearest"))
        best = (ways + (counts * weights).sum((1, 2)))[true <= limit].max()
        found = most_probable_within(list(weights), cost, limit)
        assert found.cost == cost.of_counts(found.counts) <= limit
        assert (found.counts.sum(1) == cost.units).all()
        assert found.relaxed_bound >= best - 1e-9  # sums of a dozen logarithms
        assert found.log_probability <= best + 1e-9
        assert found.certificate.bound is None or found.certificate.bound == pytest.approx(best, abs=1e-9)
        assert (found.certificate.bound is None) == bool(found.rounds)
        optimal += found.log_probability >= best - 1e-9
    assert optimal >= 18, "the loop is no exact method, but on spaces this small it hardly misses"


@pytest.mark.parametrize("tightness", [0.02, 0.3, 0.7])
def test_bit_operations_of_a_small_resnet(tightness: float) -> None:
    space = RESNET.quantization_space()
    cost = BitOperations(space)
    generator = np.random.default_rng(3)
    p = generator.dirichlet(np.ones(4), size=len(space.units))
    limit = cost.least()[1] + tightness * (cost.expectation(p) - cost.least()[1])
    found = most_probable_within(list(np.log(p)), cost, limit)
    architecture = space.architecture(found.counts)
    assert cost.cost(architecture) == found.cost <= limit
    assert found.certificate.bound is None
    assert found.certificate.violation == 0.0
    assert found.log_probability <= found.relaxed_bound
    assert found.rounds[0].certificate is not None
    assert any(r.true_cost is not None and r.true_cost > limit for r in found.rounds), "the first linear programs miss the budget"
    assert any(r.true_cost is not None and r.true_cost <= limit for r in found.rounds)
    # A move of one filter that raises the probability must break the budget: the answer is a local optimum.
    for decision, source, target in itertools.product(range(len(p)), range(4), range(4)):
        if source != target and found.counts[decision, source]:
            moved = found.counts.copy()
            moved[decision, source] -= 1
            moved[decision, target] += 1
            gain = math.log(found.counts[decision, source] / moved[decision, target] * p[decision, target] / p[decision, source])
            assert gain <= 1e-9 or cost.of_counts(moved) > limit


def test_widths_of_a_small_resnet_are_an_architecture() -> None:
    space = RESNET.width_space()
    cost = SlimmableMacs(space, classes=10)
    laws = [BinomialWidth(int(filters), 1.0) for filters in space.units]
    limit = 0.3 * cost.expectation(np.array([law.probability for law in laws]))
    found = most_probable_within([law.log_probabilities for law in laws], cost, limit)
    architecture = space.architecture(1 + found.counts[:, 1])
    assert cost.cost(architecture) == found.cost <= limit
    widths = 1 + found.counts[:, 1]
    expected = math.fsum(float(law.log_probability(width)) for law, width in zip(laws, widths, strict=True))
    assert found.log_probability == pytest.approx(expected, rel=1e-12)


def test_a_budget_that_does_not_bind() -> None:
    cost = costs()[0]
    found = most_probable_within([np.zeros(3)] * 3, cost, 1e12)
    assert found.counts.tolist()[0] == [1, 1, 1]
    assert (found.rounds, found.moves) == ((), 0)
    assert found.certificate.bound == found.certificate.primal == found.relaxed_bound


def test_the_cheapest_network_is_found_and_nothing_below_it() -> None:
    for cost in costs():
        cheapest, least = cost.least()
        weights = [np.linspace(0.0, 9.0, cheapest.shape[1])] * len(cheapest)
        found = most_probable_within(weights, cost, least)
        assert found.cost == least
        with pytest.raises(InfeasibleError, match=f"the least possible {cost.name} is {least} {cost.unit}"):
            most_probable_within(weights, cost, math.nextafter(least, 0.0))


def test_messages() -> None:
    cost = costs()[0]
    with pytest.raises(ValueError, match="expected 3 rows of 3"):
        most_probable_within([np.zeros(3)] * 2, cost, 1e12)
    with pytest.raises(ValueError, match="finite limit and at least one round"):
        most_probable_within([np.zeros(3)] * 3, cost, math.inf)
    forbidden = [np.array([-np.inf, -np.inf, 0.0])] * 3
    with pytest.raises(InfeasibleError, match="without the forbidden options"):
        most_probable_within(forbidden, cost, cost.least()[1])

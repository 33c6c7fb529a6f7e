"""MACs of pruned networks: the published numbers, expectations by enumeration, inserted projections counted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphs.costs import CostModel, SlimmableMacs
from graphs.filters import FilterLayer, FilterSpace, FilterTopology
from graphs.filters.space import Join
from graphs.spaces import Shortcut, resnet_topology

SHARES = (0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    ("shortcut", "expected"),
    [
        ("projection", (2633728, 10313728, 23040000, 40812544)),
        ("identity", (2617344, 10248192, 22892544, 40550400)),
    ],
)
def test_resnet20_at_four_widths(shortcut: Shortcut, expected: tuple[int, ...]) -> None:
    topology = resnet_topology(shortcut=shortcut)
    for space in (topology.width_space(), topology.width_space(per="stage")):
        cost, with_classifier = SlimmableMacs(space), SlimmableMacs(space, classes=10)
        macs = [cost.cost(space.homogeneous(share=share)) for share in SHARES]
        assert tuple(macs) == expected
        classifier = [with_classifier.cost(space.homogeneous(share=share)) for share in SHARES]
        assert [a - b for a, b in zip(classifier, macs, strict=True)] == [160, 320, 480, 640]


def test_block_binomial_expectations() -> None:
    cost = SlimmableMacs(resnet_topology().width_space(per="stage"))
    assert cost.expectation(np.full(3, 0.5)) == 11452704
    assert cost.expectation(np.full(3, 0.75)) == 23881664


def tiny() -> FilterTopology:
    """A stem, an identity block, and a narrower block behind a projection."""
    layers = (
        FilterLayer("stem", 3, 9, 16, None, 2, "s"),
        FilterLayer("a1", 3, 9, 16, "stem", 3, "s"),
        FilterLayer("a2", 3, 9, 16, "a1", 3, "s"),
        FilterLayer("b", 4, 9, 4, "a2", 3, "t"),
        FilterLayer("p", 4, 1, 4, "a2", 3, "t", follows="b"),
    )
    return FilterTopology("tiny", layers, (Join("stem", "a2", 16),))


def every_width(space: FilterSpace) -> np.ndarray:
    return np.array(list(itertools.product(*(range(1, int(units) + 1) for units in space.units))), dtype=float)


def test_widths_by_hand() -> None:
    cost = SlimmableMacs(tiny().width_space(), classes=5)
    # stem 2 -> 2, a1 2 -> 3, a2 3 -> 1, a projection 2 -> 1, b and p 1 -> 4, five classes.
    plain = 16 * 9 * (2 * 2 + 2 * 3 + 3 * 1) + 4 * 10 * 1 * 4 + 5 * 4
    assert float(cost.of_widths([2, 3, 1, 4])) == plain + 16 * 2 * 1
    assert float(cost.of_widths([2, 3, 2, 4])) == 16 * 9 * (2 * 2 + 2 * 3 + 3 * 2) + 4 * 10 * 2 * 4 + 5 * 4


@pytest.mark.parametrize("per", ["layer", "stage"])
@pytest.mark.parametrize("seed", range(4))
def test_expectation_by_enumeration(per: str, seed: int) -> None:
    space = tiny().width_space(per="stage" if per == "stage" else "layer")
    cost = SlimmableMacs(space, classes=5)
    p = np.random.default_rng(seed).uniform(size=len(space.units))
    if seed == 3:
        p[:2] = (0.0, 1.0)
    widths = every_width(space)
    kept, trials = widths - 1, space.units - 1
    ways = np.vectorize(lambda n, k: float(np.prod(np.arange(n - k + 1, n + 1)) / np.prod(np.arange(1, k + 1))))(trials, kept)
    law = (ways * p**kept * (1 - p) ** (trials - kept)).prod(1)
    assert law.sum() == pytest.approx(1.0, rel=1e-12)
    assert cost.expectation(p) == pytest.approx(float(law @ cost.of_widths(widths)), rel=1e-12)


@pytest.mark.parametrize("per", ["layer", "stage"])
def test_linearization_error_and_underestimate(per: str) -> None:
    space = tiny().width_space(per="stage" if per == "stage" else "layer")
    cost = SlimmableMacs(space, classes=5)
    widths = every_width(space)
    counts = np.stack([space.units - widths, widths - 1], -1)
    totals = cost.totals(counts)
    assert totals.tolist() == cost.of_widths(widths).tolist()
    generator = np.random.default_rng(0)
    for _ in range(10):
        at = counts[generator.integers(len(counts))]
        linear = cost.linearize(at)
        assert linear.value(at) == pytest.approx(cost.of_counts(at), rel=1e-14)
        rest = totals - (linear.offset + (linear.coefficients * counts).sum((1, 2)))
        assert linear.below - 1e-9 <= rest.min() <= rest.max() <= linear.above + 1e-9  # whole numbers below 1e5
    under = cost.underestimate()
    assert (under.offset + (under.coefficients * counts).sum((1, 2)) <= totals).all()
    least, value = cost.least()
    assert value == totals.min() == cost.of_counts(least)


def test_offered_widths_and_messages() -> None:
    topology = tiny()
    space = topology.width_space(per="stage", widths={"s": (1, 3)})
    assert [len(decision.options) for decision in space.space.decisions] == [2, 4]
    architecture = space.architecture([3, 2])
    assert space.layer_counts(architecture)[:, 0].tolist() == [3, 3, 3, 2, 2]
    assert isinstance(SlimmableMacs(space), CostModel)
    with pytest.raises(ValueError, match="no option '2'"):
        space.architecture([2, 2])
    with pytest.raises(ValueError, match=r"widths of unknown decisions \['x'\]"):
        topology.width_space(widths={"x": (1,)})
    with pytest.raises(ValueError, match=r"widths of 'b': expected numbers from 1 to 4, got \[5\]"):
        topology.width_space(widths={"b": (5,)})
    with pytest.raises(ValueError, match="a quantization space keeps all filters"):
        SlimmableMacs(topology.quantization_space())


def test_topologies_that_do_not_hang_together() -> None:
    stem = FilterLayer("stem", 3, 9, 16, None, 2, "s")
    with pytest.raises(ValueError, match="reads 2 channels of 'stem', which has 3 filters"):
        FilterTopology("x", (stem, FilterLayer("a", 3, 9, 16, "stem", 2, "s")))
    with pytest.raises(ValueError, match="'later', which does not run before it"):
        FilterTopology("x", (stem, FilterLayer("a", 3, 9, 16, "later", 3, "s")))
    with pytest.raises(ValueError, match="two layers are named 'stem'"):
        FilterTopology("x", (stem, stem))
    with pytest.raises(ValueError, match="no layer of 3 filters"):
        FilterTopology("x", (stem, FilterLayer("p", 3, 1, 16, "stem", 3, "s", follows="a")))

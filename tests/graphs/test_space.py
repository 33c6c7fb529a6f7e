"""Search spaces: points and architectures are each other's inverse, and wrong ones are refused by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import Architecture, Decision, SearchSpace

SPACE = SearchSpace("two", (Decision("width", ("8", "16", "32")), Decision("bits", ("2", "4"), units=5)))


def counts(options: int, units: int) -> st.SearchStrategy[tuple[int, ...]]:
    cuts = st.lists(st.integers(0, units), min_size=options - 1, max_size=options - 1)
    return cuts.map(sorted).map(lambda ends: tuple(np.diff([0, *ends, units]).tolist()))


@st.composite
def spaces(draw: st.DrawFn) -> tuple[SearchSpace, Architecture]:
    shapes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=4))
    decisions = tuple(Decision(f"d{i}", tuple(map(str, range(options))), units) for i, (options, units) in enumerate(shapes))
    picks = {decision.name: draw(counts(len(decision.options), decision.units)) for decision in decisions}
    return SearchSpace("random", decisions), Architecture(picks)


@given(spaces())
@settings(deadline=None)
def test_points_round_trip(case: tuple[SearchSpace, Architecture]) -> None:
    space, architecture = case
    point = space.point(architecture)
    assert space.blocks.residual(point) == 0.0
    assert space.architecture(point) == architecture
    noisy = point + 4e-10 * np.resize([1, -1], point.shape)  # within the 1e-9 that a solver's rounding is granted
    if all(len(d.options) % 2 == 0 for d in space.decisions):  # the noise cancels within every block
        assert space.architecture(noisy) == architecture
    for decision in space.decisions:
        assert tuple(point[space.slice(decision.name)]) == architecture.counts[decision.name]


def test_choose_and_describe() -> None:
    space = SearchSpace("s", (Decision("a", ("x", "y")), Decision("b", ("u",))))
    architecture = space.choose({"a": "y", "b": "u"})
    assert architecture.counts == {"a": (0, 1), "b": (1,)}
    assert architecture.choice("a") == 1
    assert space.describe(architecture) == {"a": "y", "b": "u"}
    assert SPACE.describe(Architecture({"width": (0, 0, 1), "bits": (2, 3)})) == {"width": "32", "bits": {"2": 2, "4": 3}}


def test_blocks_total_the_units() -> None:
    assert SPACE.blocks.sizes == (3, 2)
    assert SPACE.blocks.totals.tolist() == [1.0, 5.0]


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ((Decision("a", ("x",)), Decision("a", ("y",))), r"different names, repeated: \['a'\]"),
        ((Decision("a", ("x", "x")),), "'a': expected distinct options"),
        ((Decision("a", ()),), "'a': expected distinct options"),
        ((Decision("a", ("x",), units=0),), "'a': expected distinct options and at least one unit"),
    ],
)
def test_malformed_spaces(decisions: tuple[Decision, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace("bad", decisions)


@pytest.mark.parametrize(
    ("picks", "message"),
    [
        ({"width": (1, 0, 0)}, r"missing decisions \['bits'\], unknown decisions \[\]"),
        ({"width": (1, 0, 0), "bits": (2, 3), "depth": (1,)}, r"unknown decisions \['depth'\]"),
        ({"width": (1, 0), "bits": (2, 3)}, r"'width'.*3 counts.*\(1, 0\)"),
        ({"width": (1, 0, 0), "bits": (2, 2)}, r"'bits'.*sum to 5.*\(2, 2\)"),
        ({"width": (2, -1, 0), "bits": (2, 3)}, r"'width'.*\(2, -1, 0\)"),
    ],
)
def test_points_of_architectures_of_another_space(picks: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPACE.point(Architecture(picks))


@pytest.mark.parametrize("point", [[0.5, 0.5, 0, 2, 3], [1, 0, 0, 2.5, 2.5], [1, 0, 0, 2, 2], [1, 1, -1, 2, 3]])
def test_points_that_are_no_architecture(point: list[float]) -> None:
    with pytest.raises(ValueError, match="not an architecture"):
        SPACE.architecture(point)


def test_points_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(5,\)"):
        SPACE.architecture([1, 0, 0])


def test_choices_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="'bits' has 5 units: give counts"):
        SPACE.choose({"width": "8", "bits": "2"})
    with pytest.raises(ValueError, match="'width': no option '64'; there are 8, 16, 32"):
        SPACE.choose({"width": "64", "bits": "2"})
    with pytest.raises(ValueError, match="'bits' shares 5 units"):
        Architecture({"bits": (2, 3)}).choice("bits")


@pytest.mark.parametrize("name", ["a\nb", "a\r", "\x1b[2J", "\ud800", "x" * 1001])
def test_names_that_no_record_could_hold(name: str) -> None:
    for decision in (Decision(name, ("a",)), Decision("a", (name,))):
        with pytest.raises(ValueError, match="names have one line of at most 1,000 characters"):
            SearchSpace("toy", (decision,))

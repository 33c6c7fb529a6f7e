"""The cheapest selection that is good enough: against enumeration, at every score that is attained and just above it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import brute_force_constrained

from solvers import CertificateError, InfeasibleError, Status, minimize_cost

SCORES = {"a": {"s": 0.5, "l": 1.5}, "b": {"s": 0.25, "l": 1.0}}
COSTS = {"a": {"s": 1.0, "l": 4.0}, "b": {"s": 1.0, "l": 2.0}}


def least_cost(scores: Any, costs: Any, at_least: float, links: Any) -> float | None:
    shift = min(0.0, float(scores.min()))  # enumeration too takes costs that are not negative
    units = np.round((scores - shift) * 100) if np.array_equal(np.round(scores, 2), scores) else scores - shift
    floor = round((at_least - shift * len(scores)) * 100) if units is not scores and (units % 1 == 0).all() else None
    bound = float(floor) if floor is not None else at_least - shift * len(scores)
    found = brute_force_constrained(list(-costs), [list(units)], [(bound, math.inf)], links=links)
    return -found[0][0] if found else None


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 10**6))
def test_the_cheapest_equals_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, options = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    scores = np.round(rng.normal(size=(groups, options)), 2)
    costs = np.round(rng.random((groups, options)), 2) if rng.random() < 0.5 else rng.random((groups, options))
    links = [(0, groups - 1)] if groups > 1 and rng.random() < 0.3 else []
    attained = round(math.fsum(scores[np.arange(groups), rng.integers(options)]), 2)
    for asked in (attained, round(attained + 0.01, 2)):
        expected = least_cost(scores, costs, asked, links)
        if expected is None:
            with pytest.raises(InfeasibleError, match="greatest possible sum"):
                minimize_cost(scores, costs, at_least=asked, links=links)
            continue
        found = minimize_cost(scores, costs, at_least=asked, links=links)
        assert found.status is Status.OPTIMAL and found.value >= asked
        assert found.cost == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert found.value == pytest.approx(math.fsum(scores[np.arange(groups), list(found.choices)]), abs=1e-12)
        found.verify(scores, costs, asked)
        mirrored = minimize_cost(-scores, costs, at_most=-asked, links=links)
        assert mirrored.cost == pytest.approx(expected, rel=1e-9, abs=1e-9) and mirrored.value <= -asked
        mirrored.verify(-scores, costs, -asked)


def test_a_score_is_met_as_a_decimal() -> None:
    assert minimize_cost([[0, 0.1]] * 3, [[0, 1]] * 3, at_least=0.3).choices == (1, 1, 1)  # 0.1 + 0.1 + 0.1 is more in binary
    assert minimize_cost([[0.8, 0.7], [0.1, 0.0]], [[0, 1], [0, 1]], at_least=0.9).cost == 0.0  # and 0.8 + 0.1 is 0.9


def test_the_certificate_is_about_the_cost() -> None:
    found = minimize_cost(SCORES, COSTS, at_least=1.5)
    assert (found.by_group, found.cost, found.value) == ({"a": "s", "b": "l"}, 3.0, 1.5)
    assert found.certificate.primal == 3.0 and found.certificate.gap == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(CertificateError, match="better than the bound"):
        replace(found.certificate, bound=3.5).verify(SCORES, COSTS, 1.5)
    with pytest.raises(CertificateError, match="is exceeded by"):
        found.verify(SCORES, COSTS, 1.6)
    other = minimize_cost(SCORES, COSTS, at_least=2.0).certificate
    with pytest.raises(CertificateError, match="is none"):
        replace(other, choices=("l", "l"), primal=6.0, bound=6.0).verify(SCORES, COSTS, 1.5)


def test_options_of_minus_infinity_are_forbidden() -> None:
    assert minimize_cost([[-math.inf, 1.0, 2.0]], [[0.0, 1.0, 2.0]], at_least=0).choices == (1,)
    assert minimize_cost([[math.inf, 1.0, 2.0]], [[0.0, 1.0, 2.0]], at_most=5).choices == (1,)
    assert minimize_cost([[3.0, 1.0]], [[math.inf, 2.0]], at_least=-5).choices == (1,)


@pytest.mark.parametrize(
    ("costs", "asked", "message"),
    [
        (COSTS, {}, "at_least, at_most: expected one of the two"),
        (COSTS, {"at_least": 1, "at_most": 1}, "at_least, at_most: expected one of the two"),
        (COSTS, {"at_least": math.nan}, "at_least: expected a number, got NaN"),
        (COSTS, {"at_most": math.inf}, "at_most: expected a finite number, got inf"),
        (COSTS, {"at_least": "most"}, "at_least: expected real numbers"),
        ({"ms": COSTS}, {"at_least": 1}, "costs: names differ from scores|must be a mapping"),
        (COSTS, {"at_least": 3}, "budget 'score' must be at least 3.0, the greatest possible sum is 2.5"),
    ],
)
def test_malformed_questions_are_named(costs: Any, asked: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        minimize_cost(SCORES, costs, **asked)

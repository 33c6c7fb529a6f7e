"""Robust selections: against enumeration of selections and of the groups at their upper end."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import CertificateError, InfeasibleError, Status, project_robustly, project_to_budget


def enumerated(scores: Any, costs: Any, spread: Any, budget: float, gamma: int, decimal: bool) -> dict[tuple[int, ...], float]:
    """Every selection that fits at the worst, with its value."""

    def number(x: float) -> Any:
        return Fraction(repr(float(x))) if decimal else float(x)

    found = {}
    for pick in itertools.product(*(range(len(row)) for row in scores)):
        own = [number(costs[g][o]) for g, o in enumerate(pick)]
        extra = sorted((number(spread[g][o]) for g, o in enumerate(pick)), reverse=True)[:gamma]
        worst = sum([*own, *extra]) if decimal else math.fsum([*own, *extra])
        if worst <= number(budget):
            found[pick] = math.fsum(scores[g][o] for g, o in enumerate(pick))
    return found


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6))
def test_robust_selections_equal_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, options = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    decimal = bool(rng.random() < 0.5)
    scores = rng.integers(0, 4, (groups, options)).astype(float) if rng.random() < 0.5 else rng.normal(size=(groups, options))
    costs, spread = rng.random((groups, options)), rng.random((groups, options)) * rng.integers(0, 2, (groups, options))
    if decimal:
        costs, spread = np.round(costs, 2), np.round(spread, 2)
    gamma = int(rng.integers(0, groups + 1))
    pick = rng.integers(options, size=groups)
    extra = np.sort(spread[np.arange(groups), pick])[groups - gamma :]
    budget = math.fsum([*costs[np.arange(groups), pick], *extra])  # attained to the ulp
    budget = round(budget, 2) if decimal else float(rng.choice([budget, math.nextafter(budget, 0.0)]))
    expected = enumerated(scores, costs, spread, budget, gamma, decimal)
    if not expected:
        with pytest.raises(InfeasibleError, match="the least possible cost at the worst is"):
            project_robustly(scores, costs, spread, budget, gamma=gamma)
        return
    found = project_robustly(scores, costs, spread, budget, gamma=gamma)
    assert found.status is Status.OPTIMAL and found.choices in expected and found.cost <= budget  # type: ignore[operator]
    assert found.value == pytest.approx(max(expected.values()), rel=1e-9, abs=1e-9)
    found.verify(scores, (costs, spread), budget)
    losses = project_robustly(-scores, costs, spread, budget, gamma=gamma, minimize=True)
    assert losses.value == pytest.approx(-max(expected.values()), rel=1e-9, abs=1e-9)


def test_none_at_the_upper_end_is_the_plain_program_and_all_is_with_the_spread_added() -> None:
    rng = np.random.default_rng(1)
    scores, costs, spread = rng.random((20, 5)), rng.random((20, 5)), rng.random((20, 5)) / 4
    values = [project_robustly(scores, costs, spread, 8.0, gamma=gamma).value for gamma in range(21)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(project_to_budget(scores, costs, 8.0).value, rel=1e-9)
    assert values[20] == pytest.approx(project_to_budget(scores, costs + spread, 8.0).value, rel=1e-9)


def test_names_and_certificates() -> None:
    scores = {"a": {"s": 0.0, "l": 3.0}, "b": {"s": 0.0, "l": 2.0}}
    costs = {"a": {"s": 1.0, "l": 3.0}, "b": {"s": 1.0, "l": 2.0}}
    spread = {"a": {"s": 0.0, "l": 2.0}, "b": {"s": 0.0, "l": 0.5}}
    found = project_robustly(scores, costs, spread, 5.0, gamma=1)
    assert found.by_group == {"a": "s", "b": "l"} and found.cost == 3.5
    with pytest.raises(CertificateError, match="better than the bound"):
        replace(found.certificate, bound=1.5).verify(scores, (costs, spread), 5.0)
    with pytest.raises(CertificateError, match=r"at the worst they cost 7\.0, the budget is 5\.0"):
        replace(found.certificate, choices=("l", "l"), primal=5.0, bound=5.0).verify(scores, (costs, spread), 5.0)
    with pytest.raises(CertificateError, match="is none"):
        replace(found.certificate, choices=("s", "s"), primal=0.0, bound=0.0).verify(scores, (costs, spread), 5.0)


@pytest.mark.parametrize(
    ("spread", "gamma", "budget", "message"),
    [
        ([[0.0, -1.0]], 1, 5.0, "the cost for budget 'spread' is negative"),
        ([[0.0]], 1, 5.0, "group 0 has 1 options, but 2 in scores"),
        ([[0.0, 1.0]], 2, 5.0, "gamma: expected a whole number of groups from 0 to 1, got 2"),
        ([[0.0, 1.0]], 0.5, 5.0, "gamma: expected a whole number"),
        ([[0.0, 1.0]], 1, (1.0, 5.0), "budget: expected one finite limit from above"),
        ([[0.0, 1.0]], 1, math.inf, "budget: expected one finite limit from above"),
        ([[0.5, 1.0]], 1, 1.0, "the budget is 1.0, the least possible cost at the worst is 1.5"),
    ],
)
def test_malformed_questions_are_named(spread: Any, gamma: Any, budget: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_robustly([[0.0, 1.0]], [[1.0, 2.0]], spread, budget, gamma=gamma)

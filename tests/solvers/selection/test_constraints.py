"""Links, bounds from both sides, shares, needs and forbids: against enumeration, and every malformed one is named."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import brute_force_constrained

from solvers import CertificateError, InfeasibleError, Status, project_to_budget, verify_selection

LAYERS = {"up": {"4 bit": 0.0, "8 bit": 3.0}, "gate": {"4 bit": 0.0, "8 bit": 1.0}, "down": {"4 bit": 0.0, "8 bit": 2.5}}
SIZES = {layer: {"4 bit": 1.0, "8 bit": 2.0} for layer in LAYERS}


def random_costs(rng: np.random.Generator, groups: int, options: int) -> np.ndarray:
    """Measured, decimal or whole costs."""
    kind = rng.integers(3)
    if kind == 0:
        return rng.random((groups, options))
    return np.round(rng.random((groups, options)), 2) if kind == 1 else rng.integers(0, 5, (groups, options)).astype(float)


def check(found: Any, expected: list[tuple[float, tuple[int, ...]]]) -> None:
    assert found.status is Status.OPTIMAL and found.certificate.violation == 0.0
    assert found.choices in {choices for _, choices in expected}
    assert abs(found.value - expected[0][0]) <= 1e-9 * max(1.0, abs(expected[0][0]))


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 10**6))
def test_links_and_bounds_equal_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, options, budgets = int(rng.integers(2, 6)), int(rng.integers(2, 4)), int(rng.integers(1, 3))
    scores = rng.integers(0, 4, (groups, options)).astype(float) if rng.random() < 0.5 else rng.normal(size=(groups, options))
    costs = {str(j): random_costs(rng, groups, options) for j in range(budgets)}
    links = [tuple(rng.choice(groups, 2, replace=False).tolist()) for _ in range(rng.integers(0, 3))]
    bounds = {}
    for name, table in costs.items():
        # Costs of linked selections, summed in this order, so that bounds are met to the ulp or missed by it.
        low, high = sorted(math.fsum(table[np.arange(groups), rng.integers(options)]) for _ in range(2))
        bounds[name] = (None if rng.random() < 0.3 else low, high)
    ends = [(-math.inf if low is None else low, high) for low, high in bounds.values()]
    expected = brute_force_constrained(list(scores), [list(table) for table in costs.values()], ends, links=links)
    if not expected:
        with pytest.raises(InfeasibleError):
            project_to_budget(scores, costs, bounds, links=links)
        return
    found = project_to_budget(scores, costs, bounds, links=links)
    check(found, expected)
    found.verify(scores, costs, bounds)
    losses = project_to_budget(-scores, costs, bounds, links=links, minimize=True)
    check(replace(losses, value=-losses.value), expected)
    losses.verify(-scores, costs, bounds)
    for method in ("lp", "greedy"):
        other = project_to_budget(scores, costs, bounds, links=links, method=method)  # type: ignore[arg-type]
        assert other.choices in {choices for _, choices in expected}
        assert other.certificate.bound is not None and other.certificate.bound >= expected[0][0] - 1e-9 * max(
            1.0, abs(expected[0][0])
        )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_needs_and_forbids_equal_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, options = int(rng.integers(2, 5)), int(rng.integers(2, 4))
    scores, costs = rng.normal(size=(groups, options)), random_costs(rng, groups, options)

    def pairs() -> list[Any]:
        chosen = [rng.choice(groups, 2, replace=False).tolist() for _ in range(rng.integers(0, 3))]
        return [((g, int(rng.integers(options))), (h, int(rng.integers(options)))) for g, h in chosen]

    rules: dict[str, Any] = {"needs": pairs(), "forbids": pairs(), "links": [(0, 1)] if rng.random() < 0.3 else []}
    low, high = sorted(math.fsum(costs[np.arange(groups), rng.integers(options, size=groups)]) for _ in range(2))
    expected = brute_force_constrained(list(scores), [list(costs)], [(low, high)], **rules)
    if not expected:
        with pytest.raises(InfeasibleError):
            project_to_budget(scores, costs, (low, high), **rules)
        return
    found = project_to_budget(scores, costs, (low, high), **rules)
    check(found, expected)
    found.verify(scores, costs, (low, high))


def test_named_links_go_by_name_and_not_by_place() -> None:
    swapped = LAYERS | {"gate": {"8 bit": 1.0, "4 bit": 0.0}}
    found = project_to_budget(swapped, SIZES, 5.0, links=[("up", "gate")])
    assert found.by_group == {"up": "8 bit", "gate": "8 bit", "down": "4 bit"}
    found.verify(swapped, SIZES, 5.0)


def test_links_join_through_others() -> None:
    scores = [[0.0, 1.0], [0.0, 1.0], [0.0, -5.0]]
    assert project_to_budget(scores, [[0, 0]] * 3, 1, links=[(0, 1), (1, 2)]).choices == (0, 0, 0)
    assert project_to_budget(scores, [[0, 0]] * 3, 1, links=[(0, 1)]).choices == (1, 1, 0)


def test_an_option_forbidden_in_one_is_forbidden_in_all() -> None:
    scores = [[0.0, 9.0], [0.0, -math.inf]]
    assert project_to_budget(scores, [[1, 1]] * 2, 2, links=[(0, 1)]).choices == (0, 0)
    with pytest.raises(InfeasibleError, match="group 0: every option of it or of one it is linked with is forbidden"):
        project_to_budget([[-math.inf, 9.0], [0.0, -math.inf]], [[1, 1]] * 2, 2, links=[(0, 1)])


@pytest.mark.parametrize(("share", "budget"), [("75%", 4.5), ("50%", 3.0), ("83.4 %", 5.0), ("100%", 6.0), ("150%", 9.0)])
def test_a_share_is_of_the_costliest_selection(share: str, budget: float) -> None:
    assert project_to_budget(LAYERS, SIZES, share).value == project_to_budget(LAYERS, SIZES, budget).value
    assert project_to_budget(LAYERS, {"MB": SIZES}, {"MB": share}).cost["MB"] <= budget  # type: ignore[index]


def test_a_share_of_decimals_is_exact() -> None:
    found = project_to_budget([[0, 1]] * 10, [[0, 0.1]] * 10, "30%")
    assert (found.value, found.cost) == (3.0, 0.3)
    found.verify([[0, 1]] * 10, [[0, 0.1]] * 10, "30%")
    both = project_to_budget([[1, 0]] * 10, [[0, 0.1]] * 10, ("30%", "60%"))
    assert (both.value, both.cost) == (7.0, 0.3)


def test_forbidden_options_are_no_part_of_the_costliest() -> None:
    assert project_to_budget([[0, 1, -math.inf]], [[1.0, 2.0, 100.0]], "50%").choices == (0,)
    assert project_to_budget([[0, 1, 2]], [[1.0, 2.0, math.inf]], "100%").choices == (1,)


def test_a_floor_has_a_negative_multiplier_that_proves_the_bound() -> None:
    found = project_to_budget(LAYERS, SIZES, (5.0, None), minimize=True)
    assert found.by_group == {"up": "4 bit", "gate": "8 bit", "down": "8 bit"}
    assert found.certificate.dual is not None and found.certificate.dual.tolist() == [-2.5]
    found.verify(LAYERS, SIZES, (5.0, None))
    with pytest.raises(CertificateError, match="better than the bound"):
        verify_selection(replace(found.certificate, bound=3.6), LAYERS, SIZES, (5.0, None))


def test_certificates_notice_broken_rules() -> None:
    found = project_to_budget(LAYERS, SIZES, 5.0, links=[("up", "gate")])
    broken = replace(found.certificate, choices=("8 bit", "4 bit", "8 bit"), primal=5.5)
    with pytest.raises(CertificateError, match="group 'gate' and group 'up' are linked but take different options"):
        broken.verify(LAYERS, SIZES, 5.0)
    pair = [(("up", "8 bit"), ("down", "8 bit"))]
    found = project_to_budget(LAYERS, SIZES, 5.0, forbids=pair)
    broken = replace(found.certificate, choices=("8 bit", "4 bit", "8 bit"), primal=5.5)
    with pytest.raises(CertificateError, match="option '8 bit' of group 'up' cannot stand beside option '8 bit' of group 'down'"):
        broken.verify(LAYERS, SIZES, 5.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"links": [("up", "side")]}, "links: there is no group 'side'; groups are 'up', 'gate', 'down'"),
        ({"links": ["up"]}, "links: expected tuples of two or more groups, got 'up'"),
        ({"links": [("up",)]}, "links: expected tuples of two or more groups"),
        ({"needs": [("up", "gate")]}, "needs: expected pairs of options"),
        ({"needs": [(("up", "4 bit"), ("down", "2 bit"))]}, "needs: group 'down' has no option '2 bit'"),
        ({"forbids": [(("up", "4 bit"), ("up", "8 bit"))]}, "forbids: both options of .* are of one group"),
        ({"forbids": [(("up", "4 bit"), ("gate", "8 bit"))], "method": "argmax"}, "method: 'argmax' cannot tell"),
        ({"budget": "60"}, "budget: expected real numbers, got the text '60'; a share is written '60%'"),
        ({"budget": "x%"}, "budget: expected a number before the percent sign"),
        ({"budget": "-3%"}, "budget: expected a share of 0% or more"),
        ({"budget": (3.0, 2.0)}, "budget: the lower bound 3.0 is above the upper bound 2.0"),
        ({"budget": ("80%", 4.0)}, "budget: the lower bound 5.0 is above the upper bound 4.0"),
        ({"budget": (1.0, 2.0, 3.0)}, r"budget: expected a number or a pair \(lower, upper\), got 3 numbers"),
        ({"budget": (math.nan, 2.0)}, "budget, lower bound: expected a number, got NaN"),
        ({"budget": (6.5, 7.0)}, "the budget must be at least 6.5, the greatest possible sum is 6.0"),
    ],
)
def test_malformed_conditions_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_to_budget(LAYERS, SIZES, options.pop("budget", 5.0), **options)


def test_linked_groups_have_the_same_options() -> None:
    with pytest.raises(ValueError, match=r"group 'up' and group 'gate' have different options: \['2 bit', '4 bit'\] only in one"):
        project_to_budget(
            LAYERS | {"gate": {"2 bit": 0, "8 bit": 1}}, SIZES | {"gate": {"2 bit": 0, "8 bit": 1}}, 9, links=[("up", "gate")]
        )
    with pytest.raises(ValueError, match="group 0 and group 1 have 2 and 1 options"):
        project_to_budget([[0, 1], [0]], [[0, 1], [0]], 9, links=[(0, 1)])


def test_a_negative_cost_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"is negative .*; add the same amount to every cost of the group and to the budget"):
        project_to_budget([[1, 2]], [[-1, 2]], 1)


def test_bounds_that_exclude_each_other_name_all() -> None:
    with pytest.raises(InfeasibleError, match=r"the budget 4.5 \(least 3.0\), the budget at least 4.25 \(greatest 6.0\)"):
        project_to_budget(LAYERS, SIZES, (4.25, 4.5))

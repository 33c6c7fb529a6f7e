"""project_to_budget: every method and back end fits, exact is exact, every malformed input is named, certificates recheck."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from support.references import FAMILIES, brute_force_written, highs_milp, random_options

from solvers import CertificateError, InfeasibleError, Status, project_to_budget

# The certified gap of "exact", relative to max(1, |value|).
EXACT = 1e-9
SAFE_METHODS = ("exact", "lp", "greedy")


def close(a: float, b: float) -> bool:
    return abs(a - b) <= EXACT * max(1.0, abs(b))


def random_program(
    rng: np.random.Generator, budgets: int, groups: int = 5, most: int = 4
) -> tuple[list[Any], list[list[Any]], list[float]]:
    family = FAMILIES[int(rng.integers(len(FAMILIES)))]
    sizes = rng.integers(1, most + 1, groups).tolist()
    scores, first = random_options(rng, sizes, family)
    costs = [first] + [[rng.choice([0.0, 0.1, 0.2, 0.7, 1.3], len(row)) for row in scores] for _ in range(budgets - 1)]
    limits = []
    for rows in costs:
        low, high = math.fsum(row.min() for row in rows), math.fsum(row.max() for row in rows)
        limits.append(float(low + rng.uniform(0.2, 0.8) * (high - low)))
    return scores, costs, limits


@pytest.mark.parametrize("backend", ["native", "numpy", "highs", "scipy"])
def test_exact_equals_brute_force_with_one_budget(backend: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(150 if backend in ("native", "numpy") else 25):
        scores, (costs,), (budget,) = random_program(rng, 1)
        best = brute_force_written(scores, [costs], [budget])
        assert best is not None
        selection = project_to_budget(scores, costs, budget, backend=backend)  # type: ignore[arg-type]
        assert selection.status is Status.OPTIMAL and close(selection.value, best[0])
        assert selection.cost == math.fsum(row[o] for row, o in zip(costs, selection.choices, strict=True)) <= budget
        assert selection.certificate.violation == 0.0


@pytest.mark.parametrize("backend", ["native", "scipy"])
def test_exact_equals_brute_force_with_several_budgets(backend: str) -> None:
    rng = np.random.default_rng(1)
    infeasible = 0
    for _ in range(60 if backend == "native" else 20):
        scores, costs, limits = random_program(rng, int(rng.integers(2, 4)))
        named_costs, named_limits = dict(zip("abc", costs, strict=False)), dict(zip("abc", limits, strict=False))
        best = brute_force_written(scores, costs, limits)
        if best is None:
            infeasible += 1
            for method in SAFE_METHODS:
                with pytest.raises(InfeasibleError, match="alone but not all together"):
                    project_to_budget(scores, named_costs, named_limits, method=method, backend=backend)  # type: ignore[arg-type]
            continue
        selection = project_to_budget(scores, named_costs, named_limits, backend=backend)  # type: ignore[arg-type]
        assert selection.status is Status.OPTIMAL and close(selection.value, best[0])
        assert isinstance(selection.cost, dict) or hasattr(selection.cost, "items")
        for name, rows in named_costs.items():
            total = math.fsum(row[o] for row, o in zip(rows, selection.choices, strict=True))
            assert selection.cost[name] == total <= named_limits[name]  # type: ignore[index]
        for method in ("lp", "greedy"):
            other = project_to_budget(scores, named_costs, named_limits, method=method, backend=backend)  # type: ignore[arg-type]
            assert other.certificate.violation == 0.0
            assert other.value <= best[0] + EXACT * max(1.0, abs(best[0]))
            assert other.certificate.bound is not None and other.certificate.bound >= best[0] - EXACT * max(1.0, abs(best[0]))
    assert infeasible > 0  # the sweep does reach programs whose budgets contradict each other


def test_exact_equals_highs_on_larger_programs_with_two_budgets() -> None:
    rng = np.random.default_rng(2)
    for _ in range(3):
        scores, costs = rng.random((20, 6)), {"ms": rng.random((20, 6)), "mb": rng.random((20, 6))}
        limits = {"ms": 7.0, "mb": 8.0}
        selection = project_to_budget(scores, costs, limits)
        reference = highs_milp(list(scores), [list(costs["ms"]), list(costs["mb"])], [7.0, 8.0])
        assert reference is not None and close(selection.value, reference[0])
        assert selection.status is Status.OPTIMAL
        selection.certificate.verify(scores, costs, limits)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("method", SAFE_METHODS)
def test_safe_methods_fit_to_the_ulp(method: str, backend: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(120):
        scores, (costs,), _ = random_program(rng, 1)
        total = math.fsum(row[rng.integers(len(row))] for row in costs)
        for budget in (total, float(np.nextafter(total, 0.0))):
            least = math.fsum(row.min() for row in costs)
            if least > budget:
                continue
            selection = project_to_budget(scores, costs, budget, method=method, backend=backend)  # type: ignore[arg-type]
            assert math.fsum(row[o] for row, o in zip(costs, selection.choices, strict=True)) <= budget
            assert selection.status in (Status.OPTIMAL, Status.FEASIBLE)
            assert selection.certificate.bound is not None and selection.certificate.bound >= selection.value


def test_lp_takes_the_cheaper_of_the_couple_and_greedy_goes_on() -> None:
    scores, costs = [[0.0, 10.0], [0.0, 4.0], [0.0, 0.9]], [[0.0, 5.0], [0.0, 4.0], [0.0, 1.0]]
    rounded = project_to_budget(scores, costs, 6.5, method="lp")
    assert rounded.choices == (1, 0, 0)  # 1.5 is left: the second group is fractional, its cheaper option costs nothing
    assert project_to_budget(scores, costs, 6.5, method="greedy").choices == (1, 0, 1)
    assert rounded.certificate.bound == pytest.approx(11.5, rel=1e-15)  # 10 + 1.5 * 4 / 4
    assert rounded.certificate.dual is not None and rounded.certificate.dual.tolist() == [1.0]


def test_argmax_reports_its_violation() -> None:
    selection = project_to_budget([[1.0, 2.0], [0.0, 3.0]], [[1.0, 4.0], [1.0, 5.0]], 6.0, method="argmax")
    assert selection.choices == (1, 1) and selection.status is Status.VIOLATED
    assert selection.certificate.violation == 3.0
    selection.certificate.verify([[1.0, 2.0], [0.0, 3.0]], [[1.0, 4.0], [1.0, 5.0]], 6.0)
    assert project_to_budget([[1.0, 2.0], [0.0, 3.0]], [[1.0, 4.0], [1.0, 5.0]], 9.0, method="argmax").status is Status.OPTIMAL


def test_minimize_is_maximizing_the_negative() -> None:
    rng = np.random.default_rng(4)
    for method in (*SAFE_METHODS, "argmax"):
        losses, costs = rng.random((6, 5)), rng.random((6, 5))
        low = project_to_budget(losses, costs, 2.0, minimize=True, method=method)  # type: ignore[arg-type]
        high = project_to_budget(-losses, costs, 2.0, method=method)  # type: ignore[arg-type]
        assert low.choices == high.choices and low.value == -high.value
        assert low.certificate.bound is not None and low.certificate.gap == high.certificate.gap
        assert not low.certificate.maximize
        low.certificate.verify(losses, costs, 2.0)


def test_named_input_returns_names_in_the_order_of_the_scores() -> None:
    scores = {"stem": {"k3": 1.0, "k5": 2.0}, "head": {"wide": 5.0, "slim": 1.0, "off": 0.0}}
    costs = {"head": {"off": 0.0, "slim": 1.0, "wide": 4.0}, "stem": {"k5": 3.0, "k3": 1.0}}
    selection = project_to_budget(scores, costs, 5.0)
    assert selection.choices == ("k3", "wide") and selection.by_group == {"stem": "k3", "head": "wide"}
    assert (selection.value, selection.cost) == (6.0, 5.0)
    selection.certificate.verify(scores, costs, 5.0)
    two = project_to_budget(scores, {"ms": costs, "mb": costs}, {"ms": 5.0, "mb": 4.0})
    assert two.choices == ("k5", "slim") and dict(two.cost) == {"ms": 4.0, "mb": 4.0}  # type: ignore[arg-type]
    two.certificate.verify(scores, {"ms": costs, "mb": costs}, {"ms": 5.0, "mb": 4.0})


def test_one_named_budget_is_solved_natively_and_named() -> None:
    selection = project_to_budget([[1.0, 2.0]], {"ms": [[1.0, 2.0]]}, {"ms": 1.5})
    assert selection.choices == (0,) and dict(selection.cost) == {"ms": 1.0}  # type: ignore[arg-type]


def test_forbidden_options_keep_their_index() -> None:
    scores, costs = [[9.0, 1.0, 2.0], [-math.inf, 3.0]], [[math.inf, 1.0, 1.0], [0.0, 1.0]]
    for method in (*SAFE_METHODS, "argmax"):
        selection = project_to_budget(scores, costs, 3.0, method=method)  # type: ignore[arg-type]
        assert selection.choices == (2, 1)
        selection.certificate.verify(scores, costs, 3.0)
    assert project_to_budget([[math.inf, 1.0]], [[0.0, 1.0]], 3.0, minimize=True).choices == (1,)
    with pytest.raises(InfeasibleError, match="group 1: every option is forbidden"):
        project_to_budget([[1.0], [-math.inf]], [[1.0], [1.0]], 3.0)


def test_ragged_and_ready_input_give_the_same_answer() -> None:
    rng = np.random.default_rng(5)
    scores, costs = rng.random((4, 3)), rng.random((4, 3))
    expected = project_to_budget(scores, costs, 1.2)
    for form in (list, lambda a: a.tolist(), lambda a: [tuple(r) for r in a.tolist()], np.asfortranarray, torch.tensor):
        selection = project_to_budget(form(scores), form(costs), 1.2)
        assert (selection.choices, selection.value) == (expected.choices, expected.value)
    assert project_to_budget(scores, costs, np.float64(1.2)).choices == expected.choices
    assert project_to_budget(scores, costs, torch.tensor(1.2, dtype=torch.float64)).choices == expected.choices
    assert project_to_budget([[1, 2], [3]], [[1, 2], [1]], 3).value == 5.0


def test_tensors_with_gradients_and_in_bfloat16_are_read() -> None:
    scores = torch.tensor([[1.0, 2.0], [0.5, 3.0]], requires_grad=True)
    costs = torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.bfloat16)
    assert project_to_budget(scores, costs, 3.0).choices == (0, 1)
    rows = [scores[0], scores[1] * 1.0]
    assert project_to_budget(rows, list(costs), 3.0).choices == (0, 1)
    scalars = [[scores[0, 0], scores[0, 1]], [scores[1, 0]]]
    assert project_to_budget(scalars, [[1.0, 2.0], [1.0]], 2.0).value == 1.5
    assert scores.grad is None and scores.requires_grad


def test_infinite_budget_is_none() -> None:
    for backend in ("native", "highs"):
        selection = project_to_budget([[1.0, 2.0]], [[1.0, 9.0]], math.inf, backend=backend)  # type: ignore[arg-type]
        assert selection.choices == (1,) and selection.certificate.dual is not None and selection.certificate.dual.tolist() == [0.0]
        selection.certificate.verify([[1.0, 2.0]], [[1.0, 9.0]], math.inf)
    both = project_to_budget([[1.0, 2.0]], {"a": [[1.0, 9.0]], "b": [[1.0, 2.0]]}, {"a": math.inf, "b": 1.0})
    assert both.choices == (0,)


def test_infeasible_names_the_budget_and_the_least_cost() -> None:
    with pytest.raises(InfeasibleError, match=r"the budget is 1\.5, the least possible cost is 2\.0"):
        project_to_budget([[1.0, 2.0], [1.0, 5.0]], [[1.0, 2.0], [1.0, 2.0]], 1.5)
    with pytest.raises(InfeasibleError, match=r"budget 'mb' is 0\.5, the least possible cost is 2\.0"):
        project_to_budget([[1.0]], {"ms": [[1.0]], "mb": [[2.0]]}, {"ms": 5.0, "mb": 0.5})
    with pytest.raises(InfeasibleError, match="-1"):
        project_to_budget([[1.0]], [[0.0]], -1.0)
    together = {"a": [[0.0, 2.0]], "b": [[2.0, 0.0]]}
    with pytest.raises(
        InfeasibleError, match=r"alone but not all together: budget 'a' 1\.0 \(least 0\.0\), budget 'b' 1\.0 \(least 0\.0\)"
    ):
        project_to_budget([[1.0, 1.0]], together, {"a": 1.0, "b": 1.0})


def test_only_the_cheapest_is_accepted_within_round_off() -> None:
    costs = [[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]]
    least = math.fsum([0.1, 0.2, 0.3])
    just_below = least * (1 - 1e-13)
    selection = project_to_budget([[0.0, 9.0]] * 3, costs, just_below)
    assert selection.choices == (0, 0, 0)
    assert selection.certificate.violation == least - just_below > 0.0
    selection.certificate.verify([[0.0, 9.0]] * 3, costs, just_below)
    with pytest.raises(InfeasibleError):
        project_to_budget([[0.0, 9.0]] * 3, costs, least * (1 - 1e-11))
    # Something else fits: then nothing beyond the budget is taken, not by an ulp.
    costlier = math.fsum([1.0, 0.2, 0.3])
    assert project_to_budget([[0.0, 9.0]] * 3, costs, float(np.nextafter(costlier, 0.0))).choices == (0, 0, 0)


@pytest.mark.parametrize(
    ("scores", "costs", "budget", "message"),
    [
        ([[1.0, math.nan]], [[1.0, 1.0]], 1, "group 0, option 1: the score is NaN"),
        (np.array([[1.0, 2.0], [math.nan, 1.0]]), np.ones((2, 2)), 1, "group 1, option 0: the score is NaN"),
        ([[1.0, math.inf]], [[1.0, 1.0]], 1, r"group 0, option 1: the score is inf; -inf is what forbids"),
        ([[1.0], [2.0]], [[1.0], [math.nan]], 1, "group 1, option 0: the cost is NaN"),
        (np.ones((2, 2)), np.array([[1.0, 1.0], [1.0, -2.0]]), 1, r"group 1, option 1: the cost is negative \(-2.0\)"),
        ([[1.0]], {"ms": [[-1.0]]}, {"ms": 1}, r"group 0, option 0: the cost for budget 'ms' is negative"),
        ([[1.0], []], [[1.0], []], 1, "scores: group 1 is empty"),
        ([], [], 1, "scores: expected at least one group"),
        (np.ones((0, 3)), np.ones((0, 3)), 1, "scores: expected at least one group"),
        (np.ones((3, 0)), np.ones((3, 0)), 1, "scores: group 0 is empty"),
        ([[1.0], [1.0, 2.0]], [[1.0], [1.0]], 1, "costs: group 1 has 1 options, but 2 in scores"),
        ([[1.0], [1.0]], [[1.0]], 1, "costs: holds 1 groups, scores holds 2"),
        (np.ones((2, 2)), np.ones((2, 3)), 1, "costs: group 0 has 3 options, but 2 in scores"),
        ([1.0, 2.0], [1.0, 2.0], 1, "scores: group 0 must be one-dimensional"),
        (np.ones(3), np.ones(3), 1, r"scores: expected a 2-D array .* got shape \(3,\)"),
        (3.0, [[1.0]], 1, "scores: expected a 2-D array or a list of groups, got float"),
        ([["a"]], [[1.0]], 1, "scores: group 0: expected real numbers"),
        (np.ones((1, 1)) * 1j, np.ones((1, 1)), 1, "scores: expected real numbers"),
        ([[1.0]], [[1.0]], math.nan, "budget: expected a number, got NaN"),
        ([[1.0]], [[1.0]], "ten", "budget: expected real numbers"),
        ([[1.0]], [[1.0]], {"ms": 1}, "budget is a mapping of names, so costs must be one too"),
        ([[1.0]], {"ms": [[1.0]]}, {"mb": 1}, r"names differ from budget: missing \['mb'\], not in budget \['ms'\]"),
        ([[1.0]], {"ms": [[1.0]]}, {}, "expected at least one named budget"),
        ([[1.0]], {"ms": [[1.0]]}, 1, "costs: is a mapping while scores is not"),
        ({"a": {"x": 1.0}}, [[1.0]], 1, "scores names its groups, so costs must too"),
        ({"a": {"x": 1.0}}, {"b": {"x": 1.0}}, 1, r"costs: names differ from scores: missing \['a'\]"),
        ({"a": {"x": 1.0}}, {"a": {"y": 1.0}}, 1, r"costs, group 'a': names differ from scores: missing \['x'\]"),
        ({"a": {"x": math.nan}}, {"a": {"x": 1.0}}, 1, "group 'a', option 'x': the score is NaN"),
        ({"a": {"x": 1.0}}, {"m": {"a": {"x": -1.0}}}, {"m": 1}, "group 'a', option 'x': the cost for budget 'm' is negative"),
        ({"a": {}}, {"a": {}}, 1, "group 'a' is empty"),
        ({"a": [1.0]}, {"a": [1.0]}, 1, "group 'a' must be a mapping"),
        (
            [[1.0, 2.0], [1e308, 1e308]],
            [[1.0, 1.0], [1.0, 1.0]],
            5,
            r"group 1, option 0: 1e\+308 is so large that sums of the scores",
        ),
        ([[1.0], [1.0]], [[1e308], [1e308]], 5, r"group 0, option 0: 1e\+308 is so large that sums of the costs"),
        ([[10**400, 1]], [[1, 2]], 5, "scores: group 0: expected real numbers, got int too large"),
        ([[1.0]], [[1.0]], 10**400, "budget: expected real numbers, got int too large"),
        ([[1.0]], [[1.0]], None, "budget: expected real numbers, got None"),
        ([[None, 1.0]], [[1.0, 1.0]], 1, "scores: group 0: expected real numbers, got None"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), [[1.0, 1.0]], 1, "scores: expected an array without masked"),
        (csr_array(np.eye(2)), np.eye(2), 1, "expected a dense array, got csr_array"),
    ],
)
def test_malformed_input_is_named(scores: Any, costs: Any, budget: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_to_budget(scores, costs, budget)


def test_unknown_options_are_refused() -> None:
    for bad in ({"method": "best"}, {"backend": "cplex"}, {"time_limit_seconds": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            project_to_budget([[1.0]], [[1.0]], 1.0, **bad)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([2.0**-80, 2.0**80, 1.0]), st.booleans())
def test_answers_do_not_depend_on_the_units(seed: int, unit: float, minimize: bool) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.normal(size=(6, 4)), rng.random((6, 4)) * 0.6
    plain = project_to_budget(scores, costs, 4.0, minimize=minimize)
    scaled = project_to_budget(scores * unit, costs / unit, 4.0 / unit, minimize=minimize)
    assert abs(scaled.value / unit - plain.value) <= EXACT * abs(plain.value)  # powers of two lose nothing on the way


def test_certificates_hold_and_are_strict_about_tampering() -> None:
    rng = np.random.default_rng(6)
    scores, costs = rng.random((8, 5)), rng.random((8, 5))
    for method in SAFE_METHODS:
        selection = project_to_budget(scores, costs, 2.5, method=method)  # type: ignore[arg-type]
        certificate = selection.certificate
        assert certificate.verify(scores, costs, 2.5) is certificate
        assert selection.verify(scores, costs, 2.5) is selection
    exact = project_to_budget(scores, costs, 2.5).certificate
    assert exact.bound is not None
    tampered = [
        (replace(exact, primal=exact.primal + 1e-6), "worth"),
        (replace(exact, violation=0.1), "exceeded by 0.0, the certificate says 0.1"),
        (replace(exact, bound=exact.bound - 1e-3), "better than the bound"),
        (replace(exact, choices=(*exact.choices[:-1], 9)), "group 7: there is no option 9"),
        (replace(exact, choices=exact.choices[:-1]), "holds 7 choices, the data 8 groups"),
        (replace(exact, dual=np.array([-1.0])), "multipliers"),
        (replace(exact, dual=np.array([1.0, 1.0])), "multipliers"),
    ]
    for certificate, message in tampered:
        with pytest.raises(CertificateError, match=message):
            certificate.verify(scores, costs, 2.5)
    with pytest.raises(CertificateError, match="is exceeded by"):
        exact.verify(scores, costs, 2.0)
    forbidden = scores.copy()
    forbidden[0, exact.choices[0]] = -np.inf
    with pytest.raises(CertificateError, match=r"group 0: the chosen option .* is forbidden"):
        exact.verify(forbidden, costs, 2.5)
    with pytest.raises(ValueError, match="scores"):
        exact.verify([[np.nan]], costs, 2.5)


def test_a_suboptimal_answer_that_claims_optimality_is_refuted() -> None:
    rng = np.random.default_rng(7)
    refuted = 0
    for _ in range(20):
        scores, costs = rng.random((6, 4)), rng.random((6, 4))
        budget = float(costs.min(axis=1).sum()) + 0.5
        best, greedy = project_to_budget(scores, costs, budget), project_to_budget(scores, costs, budget, method="greedy")
        if greedy.value < best.value - 1e-6:
            claim = replace(greedy.certificate, bound=greedy.value)
            with pytest.raises(CertificateError, match=r"is none: the option indices .* fit and are worth"):
                claim.verify(scores, costs, budget)
            refuted += 1
    assert refuted > 0


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_time_limit_is_honoured_with_an_honest_gap(backend: str) -> None:
    rng = np.random.default_rng(8)
    costs = rng.random((30, 8))
    scores = costs + 0.1 * rng.integers(0, 2, costs.shape)  # strongly correlated: hard to prove
    selection = project_to_budget(scores, costs, 11.0, time_limit_seconds=0.02, backend=backend)  # type: ignore[arg-type]
    assert selection.certificate.violation == 0.0 and selection.certificate.gap is not None
    assert (selection.status is Status.OPTIMAL) == (selection.certificate.gap <= EXACT * max(1.0, selection.value))
    assert selection.seconds < 5.0  # one expansion of states is not interrupted


@pytest.mark.parametrize(("scale", "offset"), [(1e-11, 0.0), (1.0, 1e9), (1.0, 0.0)])
@pytest.mark.parametrize("method", ["lp", "greedy"])
def test_a_rounding_is_called_optimal_only_if_it_is(method: str, scale: float, offset: float) -> None:
    """Neither tiny scores nor a large offset may hide a gap."""
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(50):
        scores, costs = generator.random((4, 3)), generator.random((4, 3))
        budget = float(costs.min(axis=1).sum() + 0.3 * np.ptp(costs, axis=1).sum())
        best = project_to_budget(scores, costs, budget)
        rounded = project_to_budget(scale * scores + offset, costs, budget, method=method)
        gained = sum(scores[group, option] for group, option in enumerate(rounded.choices))
        if gained < best.value - 1e-6:
            wrong += 1
            assert rounded.status is Status.FEASIBLE
    assert wrong >= 3  # the instances do separate the methods from the best

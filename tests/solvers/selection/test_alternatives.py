"""The k best selections: against the sorted list of all that fit, with ties, rules, floors and several budgets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.references import brute_force_constrained

from solvers import CertificateError, InfeasibleError, Status, best_selections, project_to_budget


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10**6))
def test_the_best_equal_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, options, budgets = int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    scores = rng.integers(0, 4, (groups, options)).astype(float) if rng.random() < 0.5 else rng.normal(size=(groups, options))
    costs = {str(j): np.round(rng.random((groups, options)), int(rng.integers(1, 17))) for j in range(budgets)}
    limits = {name: float(np.sort(table, axis=1)[:, : 1 + options // 2].sum()) + 0.2 for name, table in costs.items()}
    rules: dict[str, Any] = {"links": [(0, groups - 1)] if groups > 1 and rng.random() < 0.3 else []}
    if groups > 1 and rng.random() < 0.3:
        rules["forbids"] = [((0, 0), (1, options - 1))]
    floor = {name: (0.3 * limit, limit) for name, limit in limits.items()} if rng.random() < 0.3 else limits
    ends = [each if isinstance(each, tuple) else (-math.inf, each) for each in floor.values()]
    expected = brute_force_constrained(list(scores), [list(table) for table in costs.values()], ends, **rules)
    k = int(rng.integers(1, 12))
    if not expected:
        with pytest.raises(InfeasibleError):
            best_selections(scores, costs, floor, k, **rules)
        return
    found = best_selections(scores, costs, floor, k, **rules)
    assert len(found) == min(k, len(expected)) == len({each.choices for each in found})
    assert [each.value for each in found] == pytest.approx([value for value, _ in expected[:k]], rel=1e-9, abs=1e-9)
    assert {each.choices for each in found} <= {choices for _, choices in expected}
    assert all(each.status is Status.OPTIMAL for each in found)
    for each in found[:: max(1, len(found) - 1)]:
        each.verify(scores, costs, floor)


def test_losses_and_names() -> None:
    losses = {"stem": {"k3": 3.0, "k5": 0.0}, "head": {"slim": 2.0, "wide": 0.0}}
    times = {"stem": {"k3": 1.0, "k5": 4.0}, "head": {"slim": 1.0, "wide": 2.0}}
    found = best_selections(losses, times, 5.0, 9, minimize=True)
    assert [each.value for each in found] == [2.0, 3.0, 5.0]
    assert found[1].by_group == {"stem": "k3", "head": "wide"}


@pytest.mark.parametrize("backend", ["native", "numpy", "highs"])
def test_larger_programs_by_every_back_end(backend: Any) -> None:
    rng = np.random.default_rng(5)
    scores, costs = rng.random((12, 4)), rng.random((12, 4))
    found = best_selections(scores, costs, 4.0, 8, backend=backend)
    reference = best_selections(scores, costs, 4.0, 8)
    assert [each.choices for each in found] == [each.choices for each in reference]
    assert found[0].choices == project_to_budget(scores, costs, 4.0).choices
    values = [each.value for each in found]
    assert values == sorted(values, reverse=True)
    # The second best is the best once the first is left out, which a one-option change of the scores does.
    found[1].verify(scores, costs, 4.0)


def test_certificates_notice_what_was_left_out() -> None:
    scores, costs = [[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]]
    first, second, third = best_selections(scores, costs, 5.0, 3)
    assert second.certificate.excluded == (first.choices,)
    with pytest.raises(CertificateError, match="leaves out"):
        replace(second.certificate, excluded=(second.choices,)).verify(scores, costs, 5.0)
    with pytest.raises(CertificateError, match="is none"):
        replace(third.certificate, excluded=(first.choices,)).verify(scores, costs, 5.0)
    with pytest.raises(CertificateError, match="is none"):
        replace(second.certificate, excluded=()).verify(scores, costs, 5.0)


def test_k_is_a_number_of_selections() -> None:
    for k in (0, -1, 1.5, True, "3"):
        with pytest.raises(ValueError, match="k: expected a whole number of at least 1"):
            best_selections([[1.0]], [[1.0]], 1.0, k)  # type: ignore[arg-type]
    with pytest.raises(InfeasibleError, match=r"the budget is 0\.5, the least possible cost is 1\.0"):
        best_selections([[1.0]], [[1.0]], 0.5, 3)

"""A search that is steered: from a known selection, up to a gap or a number of nodes, watched, and what it says about its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from solvers import Selection, Status, project_to_budget

SHARES = {"MB": "40%", "ms": "45%"}


def _hard(seed: int = 3) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores that the costs nearly determine: thousands of nodes."""
    rng = np.random.default_rng(seed)
    sizes, times = np.round(rng.random((20, 8)), 3), np.round(rng.random((20, 8)), 3)
    return sizes + times + 0.01 * rng.random((20, 8)), {"MB": sizes, "ms": times}


@pytest.fixture(scope="module")
def best() -> Selection:
    return project_to_budget(*_hard(), SHARES, gap="0.1%")


@pytest.mark.parametrize("gap", [0.2, "2%"])
def test_a_gap_ends_the_search_and_is_kept(gap: float | str, best: Selection) -> None:
    data = *_hard(), SHARES
    found = project_to_budget(*data, gap=gap)
    assert found.certificate.stopped == "gap" and found.status is Status.FEASIBLE
    assert 0.0 < (found.certificate.gap or 0.0) <= 1.001 * (gap if isinstance(gap, float) else 0.02 * found.value)
    assert found.value <= (best.certificate.bound or 0.0) and best.value <= (found.certificate.bound or 0.0)
    assert "as near as was asked" in found.explain()
    found.verify(*data)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_with_one_budget_a_gap_that_the_relaxation_shows_is_enough(backend: Any) -> None:
    rng = np.random.default_rng(0)
    scores, costs = rng.random((50, 8)), rng.random((50, 8))
    exact = project_to_budget(scores, costs, 10.0, backend=backend)
    near = project_to_budget(scores, costs, 10.0, gap=1.0, backend=backend)
    assert near.status is not Status.OPTIMAL and near.certificate.stopped == "gap"
    assert exact.value - 1.0 <= near.value < exact.value <= (near.certificate.bound or 0.0)
    assert project_to_budget(scores, costs, 10.0, gap=1e-12, backend=backend).value == exact.value


def test_a_start_is_never_lost(best: Selection) -> None:
    scores, costs = _hard()
    by_hand = project_to_budget(scores, costs, SHARES, start=list(best.choices), node_limit=1)
    assert by_hand.value >= best.value
    assert by_hand.certificate.stopped in ("node limit", "")
    merged = project_to_budget(scores, costs, SHARES, links=[(0, 1)], gap="1%")
    again = project_to_budget(scores, costs, SHARES, links=[(0, 1)], start=merged, node_limit=1)
    assert again.value >= merged.value and again.choices[0] == again.choices[1]


def test_a_start_serves_one_budget_too() -> None:
    rng = np.random.default_rng(1)
    scores, costs = rng.random((12, 5)), rng.random((12, 5))
    exact = project_to_budget(scores, costs, 4.0)
    for start in (exact, [0] * 12 if costs[:, 0].sum() <= 4.0 else exact.by_group):
        found = project_to_budget(scores, costs, 4.0, start=start)
        assert found.value == exact.value and found.status is Status.OPTIMAL
        found.verify(scores, costs, 4.0)
    richer = project_to_budget(scores, costs, 5.0, start=exact)
    assert richer.value == project_to_budget(scores, costs, 5.0).value


def test_a_node_limit_is_named() -> None:
    data = *_hard(), SHARES
    found = project_to_budget(*data, node_limit=5)
    assert found.certificate.stopped == "node limit" and found.status is Status.FEASIBLE
    assert project_to_budget(*data, time_limit_seconds=0.02).certificate.stopped in ("time limit", "")


def test_a_callback_sees_rising_selections_that_fit_and_may_end_the_search() -> None:
    seen: list[Selection] = []
    data = *_hard(), SHARES
    found = project_to_budget(*data, callback=seen.append, gap="0.5%")
    values = [selection.value for selection in seen]
    assert values == sorted(values) and values[-1] == found.value
    for selection in seen:
        assert selection.certificate.violation == 0.0 and selection.value <= found.value <= (selection.certificate.bound or 0.0)
    first = project_to_budget(*data, callback=lambda selection: True)
    assert first.certificate.stopped == "callback" and first.value == values[0]
    linked: list[Selection] = []
    project_to_budget(*data, callback=linked.append, gap="1%", links=[(0, 1)])
    assert linked and all(selection.choices[0] == selection.choices[1] for selection in linked)
    once: list[Selection] = []
    only = project_to_budget(data[0], data[1]["MB"], "40%", callback=once.append)
    assert [selection.value for selection in once] == [only.value]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gap": -1.0}, "gap: expected a number of 0 or more"),
        ({"gap": "near"}, "a share is written"),
        ({"node_limit": 0}, "node_limit: expected a whole number"),
        ({"start": [0]}, "start: expected 2 options"),
        ({"start": [1, 1]}, r"start: does not fit \(the budget 4\.0: 5\.0\)"),
        ({"start": [0, 7]}, "there is no option 7"),
        ({"start": {0: 1}}, "start: expected an option for each group"),
        ({"start": [0, 1], "links": [(0, 1)]}, "are linked"),
        ({"gap": 1.0, "backend": "highs"}, "are for the method"),
        ({"gap": 1.0, "canonical": True}, "are for the method"),
        ({"gap": 1.0, "method": "lp"}, "are for the method"),
    ],
)
def test_what_cannot_be_asked_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        project_to_budget([[0.0, 3.0], [0.0, 2.0]], [[1.0, 3.0], [1.0, 2.0]], 4.0, **options)

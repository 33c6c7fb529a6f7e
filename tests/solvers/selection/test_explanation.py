"""What a selection says of itself: in sentences, as text, as a table."""

from __future__ import annotations

import math

import pytest

from solvers import minimize_cost, project_chain, project_robustly, project_to_budget

SCORES = {"stem": {"k3": 0.0, "k5": 3.0}, "head": {"slim": 0.0, "wide": 2.0}}
TIMES = {"stem": {"k3": 1.0, "k5": 4.0}, "head": {"slim": 1.0, "wide": 2.0}}


def test_it_says_what_is_spent_and_what_more_would_buy() -> None:
    said = project_to_budget(SCORES, {"ms": TIMES}, {"ms": 5.0}).explain().splitlines()
    assert said[0] == "The summed score is 3; it is proven that no selection that fits has a greater one."
    assert said[1].startswith(
        "Budget 'ms': 5 of 5 used (100 %), 0 left; it binds: at the margin one unit more buys about 1 of score."
    )
    assert said[2] == "Group 'head' takes 'slim' to fill the budget; at these prices 'wide' is worth more."
    assert said[3] == "Group 'stem' is at the margin: at these prices 'k5' and 'k3' are worth the same."
    loose = project_to_budget(SCORES, TIMES, 9.0).explain()
    assert "The budget: 6 of 9 used (66.7 %), 3 left; it does not bind at the margin." in loose
    assert "Group 'head' would change from 'wide' to 'slim' if that score were 2 greater." in loose
    assert "there is no limit" in project_to_budget(SCORES, TIMES, math.inf).explain()


def test_the_margin_is_what_changes_a_group() -> None:
    scores, costs = [[0.0, 3.0], [0.0, 2.0], [0.0, 2.5]], [[1.0, 2.0]] * 3
    found = project_to_budget(scores, costs, 5.0)
    said = found.explain()
    assert found.choices == (1, 0, 1) and "Group 1 " in said and "Group 2 would change from 1 to 0 if that score were" in said
    margin = float(said.split("Group 2 would change from 1 to 0 if that score were ")[1].split()[0])
    assert project_to_budget([[0.0, 3.0], [0.0, 2.0], [margin + 0.01, 2.5]], costs, 5.0).choices == (1, 1, 0)
    assert project_to_budget([[0.0, 3.0], [0.0, 2.0], [margin - 0.01, 2.5]], costs, 5.0).choices == (1, 0, 1)


def test_only_one_selection_fits() -> None:
    tight = project_to_budget(SCORES, TIMES, 2.0)
    assert "Only one selection fits" in tight.explain() and "the only one that fits" in repr(tight)
    assert "only one" not in project_to_budget(SCORES, TIMES, 3.0).explain().lower()
    highest = project_to_budget(SCORES, TIMES, (6.0, 9.0), minimize=True)
    assert "Only one selection fits" in highest.explain()
    linked = {"a": {"x": 0, "y": 1}, "b": {"x": 0, "y": 1}}
    assert "Only one" not in project_to_budget(linked, linked, 1.5).explain()
    assert "Only one selection fits" in project_to_budget(linked, linked, 1.5, links=[("a", "b")]).explain()


def test_other_questions_have_their_words() -> None:
    cheapest = minimize_cost(SCORES, TIMES, at_least=3.0).explain()
    assert cheapest.startswith("The summed cost is 5;") and "Budget 'score': 3 used, at least 3 asked; " in cheapest
    pair = minimize_cost([[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 2.0]], at_least=1.0).explain()
    assert "the lower bound binds: at the margin one unit less takes off about 1 of cost" in pair
    assert "exceeded" in project_to_budget(SCORES, TIMES, 5.0, method="argmax").explain()
    assert "not proven best" in project_to_budget(SCORES, TIMES, 5.5, method="lp").explain()
    robust = project_robustly(SCORES, TIMES, {g: dict.fromkeys(row, 0.5) for g, row in TIMES.items()}, 6.0, gamma=1)
    assert robust.explain() == "Selection (optimal): value 3, cost 5.5."
    assert "(0, 1)" in repr(project_chain([0, 1], {(0, 1): {"pair": 1.0}}, {(0, 1): {"pair": 1.0}}, 1.0))


def test_text_is_short_and_markup_is_escaped() -> None:
    found = project_to_budget({f"<{g}>": {"a": 1.0} for g in range(40)}, {f"<{g}>": {"a": 1.0} for g in range(40)}, 40.0)
    lines = repr(found).splitlines()
    assert lines[0] == "Selection (optimal): value 40, cost 40, the only one that fits" and lines[1] == "  <0>   a"
    assert lines[-1] == "  ... and 28 more groups" and len(lines) == 14
    assert "&lt;0&gt;" in found._repr_html_() and "<0>" not in found._repr_html_()


def test_a_frame_has_a_row_a_group() -> None:
    pandas = pytest.importorskip("pandas")
    found = project_to_budget(SCORES, {"ms": TIMES}, {"ms": 5.0}).to_frame()
    assert isinstance(found, pandas.DataFrame) and list(found.columns) == ["group", "option", "score", "ms"]
    assert found.values.tolist() == [["stem", "k5", 3.0, 4.0], ["head", "slim", 0.0, 1.0]]


def test_a_frame_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas"):
        project_to_budget(SCORES, TIMES, 5.0).to_frame()

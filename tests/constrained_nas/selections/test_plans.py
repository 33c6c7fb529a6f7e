"""Links and pins by pattern; uniform and greedy selections beside the best."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from constrained_nas.selections import (
    SelectionTable,
    costs_of,
    greedy_selection,
    linked,
    pinned,
    score_of,
    select,
    uniform_selections,
)


def made(seed: int, groups: int = 6) -> SelectionTable:
    random = np.random.default_rng(seed)
    names = [f"b{number // 2}.{'qk'[number % 2]}" for number in range(groups)]
    sizes = random.integers(1, 9, groups)
    scores = {name: {str(b): float(random.gamma(2.0) * 4.0**-b) for b in (2, 4, 8)} for name in names}
    costs = {name: {str(b): float(b * size) for b in (2, 4, 8)} for name, size in zip(names, sizes, strict=True)}
    return SelectionTable("made", scores, {"size": costs})


def test_links_are_by_capture() -> None:
    names = ["b0.q", "b0.k", "b0.v", "b1.q", "b1.k", "head"]
    assert linked(names, [r"(b\d+)[.][qk]"]) == [("b0.q", "b0.k"), ("b1.q", "b1.k")]
    assert linked(names, [r"b1[.].", "b0[.][qv]"]) == [("b1.q", "b1.k"), ("b0.q", "b0.v")]
    with pytest.raises(ValueError, match="--link head: finds no two groups"):
        linked(names, ["head"])
    with pytest.raises(ValueError, match="not a regular expression"):
        linked(names, ["("])


def test_pins_leave_one_option() -> None:
    table = pinned(made(0), ["b0[.].=8"])
    assert [len(options) for options in table.scores.values()] == [1, 1, 3, 3, 3, 3]
    assert table.costs["size"]["b0.q"].keys() == {"8"}
    for pins, said in ((["b0"], "expected PATTERN=OPTION"), (["x=8"], "finds no group"), (["b0.q=3"], "has no option '3'")):
        with pytest.raises(ValueError, match=said):
            pinned(made(0), pins)


@pytest.mark.parametrize("seed", range(4))
def test_greedy_fits_and_is_not_better_than_the_best(seed: int) -> None:
    table, links = made(seed), linked(made(seed).scores, [r"(b\d+)[.][qk]"])
    most = costs_of(table, uniform_selections(table)["8"])["size"]
    for share in (0.3, 0.5, 0.8):
        best = select(table, {"size": share * most}, links=links, minimize=True, backend="numpy")
        greedy = greedy_selection(table, {"size": share * most}, links)
        assert greedy is not None and costs_of(table, greedy)["size"] <= share * most
        assert all(greedy[a] == greedy[b] for a, b in links)
        assert score_of(table, greedy) >= best.score - 1e-12
        singles = [dict(zip(table.scores, picks, strict=True)) for picks in itertools.product("248", repeat=6)]
        fitting = [s for s in singles if costs_of(table, s)["size"] <= share * most and all(s[a] == s[b] for a, b in links)]
        assert best.score == pytest.approx(min(score_of(table, s) for s in fitting), rel=1e-12)
    assert greedy_selection(table, {"size": 0.1 * most}) is None


def test_uniform_selections_keep_what_is_pinned() -> None:
    table = pinned(made(1), ["b0.q=8"])
    found = uniform_selections(table)
    assert list(found) == ["2", "4", "8"] and {choices["b0.q"] for choices in found.values()} == {"8"}
    assert math.isclose(
        score_of(table, found["4"]), table.scores["b0.q"]["8"] + sum(s["4"] for n, s in table.scores.items() if n != "b0.q")
    )


def test_thousands_of_groups_take_no_time_that_grows_with_their_square() -> None:
    table = made(0, 8_000)
    links, budgets = (
        linked(table.scores, [r"(b\d+)[.][qk]"]),
        {"size": 0.4 * costs_of(table, uniform_selections(table)["8"])["size"]},
    )
    began = time.process_time()
    for tied in (links, []):
        greedy = greedy_selection(table, budgets, tied)
        assert greedy is not None and costs_of(table, greedy)["size"] <= budgets["size"]
    assert select(table, budgets, links=links, minimize=True, backend="numpy").status == "optimal"
    assert time.process_time() - began < 8  # more than a minute where every step looks at every group

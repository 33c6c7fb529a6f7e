"""Programs of which one budget decides: bounds hold, selections fit, and scores that are a cost are proven."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from solvers import Status, project_to_budget
from solvers.budgets.scaled import ScaledProgram
from solvers.budgets.single import by_one_budget
from solvers.knapsack import exact_sum

_ROOT = Path(__file__).parents[3]


def subset_sum(seed: int, groups: int, options: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Scores, which are the first cost, both costs (groups, options) and budgets that are two fifths of what there is."""
    costs = np.random.default_rng([seed, 15]).random((2, groups, options))
    limits = [float(0.6 * row.min(axis=1).sum() + 0.4 * row.max(axis=1).sum()) for row in costs]
    return costs[0], costs[0], costs[1], limits


@pytest.mark.parametrize("seed", range(25))
def test_bound_and_selection_hold_against_enumeration(seed: int) -> None:
    scores, first, second, limits = subset_sum(seed, 5, 4)
    if seed % 3 == 0:  # the second budget is tight, so that the one that decides alone is not enough
        limits[1] = float(0.8 * second.min(axis=1).sum() + 0.2 * second.max(axis=1).sum())
    flat = [table.ravel() for table in (scores, first, second)]
    scaled = ScaledProgram.of(flat[0], np.array(flat[1:]), np.array(limits), np.arange(0, 21, 4))
    picks = [np.array(pick) + np.arange(0, 20, 4) for pick in itertools.product(range(4), repeat=5)]
    worths = sorted(exact_sum(scaled.values[pick]) for pick in picks if scaled.fits(pick))
    known = next(pick for pick in picks if scaled.fits(pick))
    better, bound = by_one_budget(scaled, np.array([1.0, 0.0]), known, 0.0, 5.0)
    assert bound >= worths[-1]
    if better is not None:
        assert scaled.fits(better)
        assert exact_sum(scaled.values[known]) < exact_sum(scaled.values[better]) <= worths[-1]
    found = better if better is not None else known
    if seed % 3:
        assert exact_sum(scaled.values[found]) >= worths[-20]


def test_two_budgets_that_both_count_are_left_to_others() -> None:
    scores, first, second, limits = subset_sum(1, 5, 4)
    scaled = ScaledProgram.of(scores.ravel(), np.array([first.ravel(), second.ravel()]), np.array(limits), np.arange(0, 21, 4))
    assert by_one_budget(scaled, np.array([1.0, 1.0]), None, 0.0, 1.0) == (None, math.inf)


@pytest.mark.parametrize("seed", [2, 3])
def test_scores_that_are_a_cost_are_proven_under_two_budgets(seed: int) -> None:
    """Before, neither this search nor HiGHS proved it in 10 s."""
    scores, first, second, limits = subset_sum(seed, 20, 12)
    tables = scores, {"a": first, "b": second}, dict(zip("ab", limits, strict=True))
    found = project_to_budget(*tables, time_limit_seconds=20.0)
    assert found.status is Status.OPTIMAL and found.certificate.violation == 0.0
    assert limits[0] - 1e-9 * max(1.0, found.value) <= found.value <= limits[0]
    found.verify(*tables)


def test_a_process_may_end_while_the_rival_is_stopped() -> None:
    """A thread that comes back from HiGHS while the interpreter ends aborts it."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_single import subset_sum
from solvers import project_to_budget
scores, first, second, limits = subset_sum(2, 20, 12)
tables = first + second, {{"a": first, "b": second}}, dict(zip("ab", limits))
for _ in range(2):  # the first may compile all the time
    project_to_budget(*tables, time_limit_seconds=0.3)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

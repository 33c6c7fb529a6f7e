"""Sub-graphs by prices and ears: connected, within the budgets, and mostly the enumerated best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.subgraph_programs import Enumeration, random_program

from solvers import SubgraphFilling, SubgraphProgram


@pytest.mark.parametrize("budgets", [1, 2])
def test_what_is_found_is_connected_fits_and_mostly_the_best(budgets: int) -> None:
    rng, shares, missed, fitting = np.random.default_rng(budgets), [], 0, 0
    for _ in range(150):
        program = random_program(rng, budgets=budgets)
        every, scores = Enumeration.of(program), rng.normal(1.0, 1.0, (2, program.edges))
        running, found = SubgraphFilling.of(program).fill(scores)
        for row in range(2):
            best = every.best(scores[row], program.limits)
            fitting += best is not None
            missed += best is not None and not found[row]
            if not found[row]:
                assert not running[row].any()
                continue
            assert best is not None, "nothing fits, so nothing may be found"
            assert np.array_equal(program.connected(running[row]), running[row]) and program.fits(running[row])
            least = float((every.running @ scores[row]).min())
            shares.append((float(scores[row] @ running[row]) - least) / max(best - least, 1e-12))
            assert shares[-1] <= 1 + 1e-9
    assert missed <= 0.1 * fitting  # where the least price that fits jumps over them; callers then solve exactly
    assert np.median(shares) > 1 - 1e-9 and np.mean(shares) > 0.7


def test_without_a_budget_in_the_way_everything_worth_having_runs() -> None:
    program = replace(random_program(np.random.default_rng(3), required=False), limits=np.array([np.inf]))
    running, found = SubgraphFilling.of(program).fill(np.ones((1, program.edges)))
    assert found.all() and running.all()


def test_an_ear_is_entered_by_its_least_loss() -> None:
    """Two edges worth nothing lead to one worth 5, twice the cost of the direct edge: taken where the budget holds it."""
    program = SubgraphProgram(
        [0, 0, 1, 2], [3, 1, 2, 3], 4, np.ones((1, 4)), np.zeros((1, 4)), [0.0], [4.0], np.zeros(4, dtype=bool)
    )
    scores = np.array([[1.0, -0.5, -0.5, 5.0]])
    assert SubgraphFilling.of(program).fill(scores)[0].tolist() == [[True] * 4]
    tight = replace(program, limits=np.array([2.0]))
    assert SubgraphFilling.of(tight).fill(scores)[0].tolist() == [[True, False, False, False]]
    with pytest.raises(ValueError, match=r"expected finite numbers \(rows, 4\)"):
        SubgraphFilling.of(tight).fill(scores[0])

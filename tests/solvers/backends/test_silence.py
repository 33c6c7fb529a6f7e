"""A library prints nothing: not even what a solver writes to the file descriptors, past ``sys.stdout``."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SETUP = """
import numpy as np
from solvers import project_to_budget
from solvers.backends import LinearModel, MixedIntegerModel, Polyhedron, least_by_scipy, linear_program
from solvers.backends import minimize_by_clarabel, minimize_quadratic
from solvers.sets import Blocks, BudgetedBlocks
costs = np.array([1.0, 2.0, 3.0, 1.0, 5.0, 2.0])
feasible = BudgetedBlocks.of(Blocks.of([3, 3]), costs, 4.5)
polyhedron = Polyhedron.of_budgeted_blocks(feasible)
scores, budget = [[1.0, 2.0, 4.0]] * 3, 6.0
several = {"ms": costs.reshape(2, 3), "mb": costs[::-1].reshape(2, 3)}, {"ms": 5.0, "mb": 6.0}
"""

_CALLS = {
    "highs LP": "LinearModel.of(polyhedron).minimize(-costs)",
    "highs LP of blocks": "linear_program(feasible, 'highs')(-costs)",
    "highs QP": "minimize_quadratic(polyhedron, np.eye(6), -costs)",
    "highs MIP": "MixedIntegerModel.of(polyhedron, np.ones(6, dtype=bool)).minimize(-costs)",
    "scipy LP": "linear_program(feasible, 'scipy')(-costs)",
    "scipy least": "least_by_scipy(costs, (costs[None], np.ones(1)), (np.ones((0, 6)), np.ones(0)))",
    "cvxpy LP": "linear_program(feasible, 'cvxpy')(-costs)",
    "cvxpy QP": "minimize_by_clarabel(feasible, np.eye(6))",
    "project by highs": "project_to_budget(scores[:2], *several, backend='highs')",
    "project by scipy": "project_to_budget(scores[:2], *several, backend='scipy')",
}


@pytest.mark.parametrize("call", _CALLS)
def test_back_ends_write_nothing(call: str) -> None:
    """In a process of its own, whose whole output is seen: HiGHS writes its banner once a process, past Python, at its end."""
    done = subprocess.run([sys.executable, "-c", _SETUP + _CALLS[call]], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")

"""What network a distribution over sub-graphs settles on within its budgets: the modules of greatest worth that these hold.

Where all budgets add up over the modules that is an exact program. Other costs of sub-graphs, such as steps on machines, have none:
there modules leave the best sub-graph one by one, the least worth first, until the rest fits, and come back in turn where they fit.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from constrained_nas.methods.budgeted.program import ConnectedProgram
from constrained_nas.problem import Budget, SearchProblem
from graphs.costs import SubgraphCost, connected_architecture
from solvers import Certificate
from solvers.arrays import BoolArray, FloatArray


def settle_within(problem: SearchProblem, program: ConnectedProgram, worth: FloatArray) -> tuple[BoolArray, Certificate | None]:
    """The modules (E,) of a connected sub-graph of great total ``worth`` (decisions,), not negative, that fits where one is found.

    Returns:
        the modules; the certificate of the exact program, None where some cost does not add up.
    """
    found = program.best(worth).require_feasible()
    running = cast(FloatArray, found.x) > 0.5
    if not program.skipped:
        return running, found.certificate
    others = [budget for budget in problem.budgets if budget.cost.name in program.skipped]
    return _thinned(program, others, worth, running), None


def _thinned(program: ConnectedProgram, budgets: list[Budget], worth: FloatArray, running: BoolArray) -> BoolArray:
    parts = program.space.connectivity
    switched = [edge for edge in np.flatnonzero(running).tolist() if parts.columns[edge] >= 0]
    least_first = sorted(switched, key=lambda edge: worth[parts.columns[edge] // 2])
    for edge in least_first:
        if _fit(program, budgets, running):
            break
        without = running.copy()
        without[edge] = False
        without = parts.connected(without[None])[0]
        if without.any():
            running = without
    for edge in reversed(least_first):
        more = running.copy()
        more[edge] = True
        if not running[edge] and parts.connected(more[None])[0][edge] and _fit(program, budgets, more):
            running = more
    return running


def _fit(program: ConnectedProgram, budgets: list[Budget], running: BoolArray) -> bool:
    for budget in budgets:
        if isinstance(budget.cost, SubgraphCost):
            cost = float(budget.cost.cost_of_running(running[None])[0])
        else:
            cost = budget.cost.cost(connected_architecture(program.space, running))
        if cost > budget.limit:
            return False
    return True

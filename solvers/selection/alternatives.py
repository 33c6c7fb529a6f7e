"""The k best selections that fit: those to measure again on the device, where the best by the table need not be the best.

They come in the order of ``solvers.budgets.ranking``, each with a certificate that leaves out those before it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Any

import numpy as np

from solvers.budgets import ranked
from solvers.selection.constraints import Rules, constrained_program
from solvers.selection.project import Backend, solve_constrained
from solvers.selection.selection import Answer, Selection, selection_of
from solvers.tables import read_table


def best_selections(
    scores: Any,
    costs: Any,
    budget: Any,
    k: int,
    *,
    minimize: bool = False,
    links: Any = None,
    needs: Any = None,
    forbids: Any = None,
    time_limit_seconds: float | None = None,
    backend: Backend = "native",
) -> tuple[Selection, ...]:
    """The ``k`` best selections that fit, best first; all of them where fewer fit.

    Args:
        scores, costs, budget, minimize, links, needs, forbids, backend: as of :func:`solvers.project_to_budget`.
        k: at least 1.
        time_limit_seconds: stop then, with those that are proven.

    Each selection's certificate says that nothing that fits is better, those before it left out. Scores that differ by less than
    1e-9 of them may come in either order.

    Raises:
        InfeasibleError: nothing fits; it names the budget and the least cost there is.
        ValueError: malformed input; it names the group.
        SolverError: a back end fails, or finds nothing within the time limit.

    Complexity: at most k programs a group, of which bounds leave a few for each selection.

    Example:
        >>> first, second, third = best_selections([[0.0, 3.0], [0.0, 2.0]], [[1.0, 4.0], [1.0, 2.0]], 5.0, 3)
        >>> first.choices, second.choices, third.choices, third.value
        ((1, 0), (0, 1), (0, 0), 0.0)
    """
    began = time.perf_counter()
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k: expected a whole number of at least 1, got {k!r}")
    table = read_table(scores, costs, budget, minimize=minimize)
    rules = Rules.read(table, links, needs, forbids)
    wide = constrained_program(table, rules, minimize=minimize)
    found: list[Selection] = []
    with contextlib.suppress(TimeoutError):
        for bound, choices in ranked(wide.program, backend=backend, time_limit_seconds=time_limit_seconds):
            flat = wide.expand(choices)
            if not wide.exact and table.excess(flat) > 0.0:  # it misses by rounding
                continue
            selection = selection_of(table, flat, Answer(choices, bound, None), "exact", minimize, began, rules)
            before = tuple(other.choices for other in found)
            found.append(replace(selection, certificate=replace(selection.certificate, excluded=before)))
            if len(found) == k:
                break
    if found:
        return tuple(found)
    # Single calls say why nothing fits, or accept what misses a budget by rounding.
    flat, answer = solve_constrained(table, rules, "exact", backend, minimize, time_limit_seconds)
    return (selection_of(table, flat, answer, "exact", minimize, began, rules),)

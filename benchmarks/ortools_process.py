"""GLOP and CP-SAT on one instance, in a process that does not import highspy: ``... glop|cp-sat FILE LIMIT WORKERS``.

Reads what ``benchmarks.general_solvers.ortools_answers`` wrote and prints a JSON list of seconds, choices and objective. Only
solving is timed, and changing the objective in place, which has no faster way than one coefficient at a time.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any

import numpy as np

_PLACES = 6  # CP-SAT takes whole numbers: decimals of so many places as they are, others rounded, costs upwards so that answers fit


def main() -> None:
    """Solve and print."""
    program, path, limit, workers = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    print(json.dumps(_glop(arrays, limit) if program == "glop" else _cp_sat(arrays, limit, workers)))


def _glop(data: dict[str, Any], limit: float) -> list[dict[str, Any]]:
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    solver.SetTimeLimit(int(1000 * limit))
    columns = [solver.NumVar(0.0, 1.0, "") for _ in range(data["costs"].shape[1])]
    budget = solver.Constraint(-solver.infinity(), float(data["budgets"][0]))
    for column, cost in zip(columns, data["costs"][0].tolist(), strict=True):
        budget.SetCoefficient(column, cost)
    offsets = data["offsets"].tolist()
    for first, last in itertools.pairwise(offsets):
        row = solver.Constraint(1.0, 1.0)
        for column in columns[first:last]:
            row.SetCoefficient(column, 1.0)
    objective = solver.Objective()
    objective.SetMinimization()
    answers = []
    solver.Solve()  # the first basis is not timed
    for gradient in data["gradients"].tolist():
        began = time.perf_counter()
        for column, value in zip(columns, gradient, strict=True):
            objective.SetCoefficient(column, value)
        status = solver.Solve()
        seconds = time.perf_counter() - began
        value = objective.Value() if status == pywraplp.Solver.OPTIMAL else None
        answers.append({"seconds": min(seconds, limit), "choices": None, "objective": value})
    return answers


def _cp_sat(data: dict[str, Any], limit: float, workers: int) -> list[dict[str, Any]]:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    literals = [model.new_bool_var("") for _ in range(len(data["scores"]))]
    offsets = data["offsets"].tolist()
    for first, last in itertools.pairwise(offsets):
        model.add_exactly_one(literals[first:last])
    for costs, budget in zip(data["costs"], data["budgets"].tolist(), strict=True):
        scale = _scale(np.append(costs, budget))
        whole = np.ceil(np.round(costs * scale, 3)).astype(int).tolist()
        model.add(cp_model.LinearExpr.weighted_sum(literals, whole) <= int(np.floor(round(budget * scale, 3))))
    scale = _scale(data["scores"])
    model.maximize(cp_model.LinearExpr.weighted_sum(literals, np.round(data["scores"] * scale).astype(int).tolist()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.max_time_in_seconds = limit
    began = time.perf_counter()
    status = solver.solve(model)
    seconds = time.perf_counter() - began
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    choices = [index for index, literal in enumerate(literals) if solver.value(literal)] if found else None
    return [{"seconds": min(seconds, limit), "choices": choices, "objective": None, "bound": solver.best_objective_bound / scale}]


def _scale(numbers: Any) -> float:
    """The least power of ten, up to a million, that makes whole numbers of them."""
    for places in range(_PLACES):
        if (np.abs(numbers * 10.0**places - np.round(numbers * 10.0**places)) < 1e-6).all():
            return 10.0**places
    return 10.0**_PLACES


if __name__ == "__main__":
    main()

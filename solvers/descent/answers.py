"""What oracles answer and refuse: batches, malformed gradients, budgets that nothing fits.

``solvers.descent.oracles`` states the program.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from solvers.arrays import FloatArray
from solvers.results import Result, Status
from solvers.sets import BudgetedBlocks


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Answers to k gradients.

    Attributes:
        status: of all of them: whether anything fits does not depend on the gradient.
        x: (k, dimension) vertices; None where nothing fits.
        primal, bound: (k,) objectives and lower bounds.
        dual: (k, m) multipliers >= 0.
        violation: (k,) greatest excess over a budget.
        seconds: what the call took.
        message: the least cost there is, where nothing fits.
    """

    status: Status
    x: FloatArray | None
    primal: FloatArray
    bound: FloatArray
    dual: FloatArray
    violation: FloatArray
    seconds: float
    message: str = ""


def require_finite(costs: FloatArray) -> None:
    """Refuse a gradient that is not finite. A sum is finite only if every term is; a sum that overflows takes the exact look."""
    if not math.isfinite(float(costs.sum())) and not np.isfinite(costs).all():
        refuse(costs, costs.shape[-1])


def refuse(costs: FloatArray, dimension: int) -> NoReturn:
    """Say what is wrong with a gradient."""
    if costs.shape[-1:] != (dimension,) or costs.ndim > 2:
        raise ValueError(f"gradient: expected shape ({dimension},), got {costs.shape}")
    position = np.argwhere(np.isnan(costs))
    if len(position):
        at = int(position[0][0]) if costs.ndim == 1 else tuple(position[0].tolist())
        raise ValueError(f"gradient: NaN at index {at}")
    raise ValueError("gradient: expected finite entries, got an infinite one")


def infeasible(feasible: BudgetedBlocks, iterations: int, seconds: float) -> Result:
    """Name the budgets that cannot be met, or say that they clash."""
    blocks = feasible.blocks
    least = (np.minimum.reduceat(feasible.weights, blocks.offsets[:-1], axis=1) @ blocks.totals).tolist()
    missed = [
        f"budget {row} is {capacity!r}, the least possible cost is {cost!r}"
        for row, (capacity, cost) in enumerate(zip(feasible.capacities.tolist(), least, strict=True))
        if cost > capacity
    ]
    clash = f"each of the {len(least)} budgets can be met alone, not all together (least possible costs {least})"
    return Result(None, Status.INFEASIBLE, None, iterations, seconds, "; ".join(missed) or clash)


def no_batch(feasible: BudgetedBlocks, rows: int, message: str, seconds: float) -> Batch:
    """The batch of ``rows`` gradients that nothing fits."""
    figures, dual = np.full((3, rows), np.inf), np.zeros((rows, len(feasible.capacities)))
    return Batch(Status.INFEASIBLE, None, figures[0], figures[1], dual, figures[2], seconds, message)

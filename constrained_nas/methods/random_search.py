"""Random architectures that fit: the baseline every search must beat.

Architectures are drawn uniformly, decision by decision, until one meets the budgets, whatever their costs are. Decisions that a
shallow network leaves unused are drawn too, so each depth is as likely as another, before the budgets have their say. Where the
budgets are so tight that the allowed number of draws finds none, random scores are projected onto them instead: exact, though no
longer uniform, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from constrained_nas.ask_tell import SearchResult
from constrained_nas.methods.staged import project_point
from constrained_nas.problem import SearchProblem
from solvers import StagedBlocks


@dataclass(frozen=True, slots=True)
class RandomFeasible:
    """A random architecture that fits, the draws it took, and whether it is uniform among the choices that fit."""

    result: SearchResult
    draws: int
    uniform: bool


def random_feasible(
    problem: SearchProblem, staged: StagedBlocks, generator: np.random.Generator, draws: int = 20_000
) -> RandomFeasible:
    """A random architecture that meets every budget; after ``draws`` uniform draws random scores are projected instead.

    Raises:
        InfeasibleError: nothing fits; with the least cost there is.
        ValueError: no draw fits, and a cost has no relaxed form to project onto.
    """
    sizes = staged.blocks.sizes
    # Points are cheaper to price than architectures: those that a relaxed cost refuses are dropped first.
    relaxed = [(quadratic, budget.limit) for budget in problem.budgets if (quadratic := budget.quadratic) is not None]
    for draw in range(draws):
        point = staged.blocks.vertex([int(choice) for choice in generator.integers(sizes)])
        if all(quadratic.value(point) <= limit for quadratic, limit in relaxed):
            architecture = problem.space.architecture(point)
            if problem.fits(architecture):
                result = SearchResult(architecture, problem.costs(architecture), True, point, None)
                return RandomFeasible(result, draw + 1, True)
    scores = generator.random(staged.blocks.dimension)
    found = project_point(problem, staged, scores, scores)
    at_its_vertex = replace(found, point=problem.space.point(found.architecture))  # random scores are no point of the space
    return RandomFeasible(at_its_vertex, draws, False)

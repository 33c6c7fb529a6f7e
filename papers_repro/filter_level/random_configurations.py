"""What a search must beat: configurations drawn at random that fit the same budget.

The law's parameters are drawn instead of learned, and answered as a search's are: by the most probable counts within the budget.
One that uses little of it would be easily beaten, so a draw counts that uses most of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from constrained_nas.methods.filter_level import FilterLevel
from constrained_nas.problem import Budget, SearchProblem
from papers_repro.filter_level.setup import FilterSetup, Kind, cost_of, space_of
from papers_repro.filter_level.trainings import Candidate, candidate

_SPREAD = 1.5  # of the logits: probabilities of .05 to .95
_USED = 0.95  # of the budget
_DRAWS = 50


def random_configurations(setup: FilterSetup, kind: Kind, target: str, limit: float, number: int, seed: int) -> list[Candidate]:
    """``number`` different configurations that cost ``limit`` or little less, named after the budget's ``target``.

    Fewer where the space has no more. Of a space too coarse to come near the limit, those that come nearest.
    """
    space = space_of(setup, kind)
    cost = cost_of(space)
    problem = SearchProblem(space.space, (Budget(cost, limit, cost.unit),))
    method = FilterLevel(space, hard=True)
    generator = np.random.default_rng([seed, number])
    state = method.init(problem, generator)
    drawn: dict[tuple[tuple[int, ...], ...], Candidate] = {}
    for _ in range(_DRAWS * number):
        parameters = generator.normal(scale=_SPREAD, size=len(state.parameters))
        found = method.finish(problem, replace(state, parameters=parameters)).architecture
        each = candidate(setup, kind, "", space.decision_counts(found))
        drawn.setdefault(each.counts, each)
        if sum(each.cost >= _USED * limit for each in drawn.values()) == number:
            break
    nearest = sorted(drawn.values(), key=lambda each: each.cost < _USED * limit and limit - each.cost)[:number]
    return [replace(each, name=f"random {place} to {target}") for place, each in enumerate(nearest, start=1)]

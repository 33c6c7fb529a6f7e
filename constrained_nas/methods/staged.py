"""Where searches of blocks and depths begin and end: a start that fits, and the exact joint projection; and their samples.

Reference: Nayman et al., HardCoRe-NAS, Eq. 13; Appendix E for the starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import numpy as np

from constrained_nas.ask_tell import Proposal, SearchResult
from constrained_nas.methods.distributions import gumbel_rows
from constrained_nas.problem import SearchProblem
from graphs import SearchSpace
from solvers import Quadratic, Result, StagedBlocks, balanced_start, cheapest_start, maximum_entropy_start, project_jointly
from solvers.arrays import FloatArray

Start = Literal["cheapest", "balanced", "entropy"]


def start_point(problem: SearchProblem, staged: StagedBlocks, start: Start) -> FloatArray:
    """A feasible relaxed architecture (HardCoRe-NAS, Appendix E).

    The starts are programs under one budget. Under several, the start of each budget alone is tried first; where every one breaks
    another budget, the costs are added up as shares of their limits, and the sum's own limit is lowered (by bisection) until its
    start meets them all. Where none does the search begins at an architecture, found by the joint projection.

    Raises:
        ValueError: an unknown start, or a cost without a relaxed form.
        InfeasibleError: nothing fits.
    """
    if start not in _STARTS:
        raise ValueError(f"start: expected 'balanced', 'cheapest' or 'entropy', got {start!r}")
    begin, quadratics, limits = _STARTS[start], problem.quadratics("HardCoRe-NAS"), problem.limits
    points = [cast(FloatArray, begin(staged, q, limit).require_feasible().x) for q, limit in zip(quadratics, limits, strict=True)]

    def fits(point: FloatArray) -> bool:
        return all(cost.value(point) <= limit for cost, limit in zip(quadratics, limits, strict=True))

    alone = next((point for point in points if fits(point)), None)
    if alone is not None:
        return alone
    shares = Quadratic.of(
        sum(q.offset / limit for q, limit in zip(quadratics, limits, strict=True)),
        np.sum([q.linear / limit for q, limit in zip(quadratics, limits, strict=True)], axis=0),
        np.sum([q.theta / limit for q, limit in zip(quadratics, limits, strict=True)], axis=0),
    )
    cheapest = cast(FloatArray, cheapest_start(staged, shares, float(len(limits))).require_feasible().x)
    low, high, best = shares.value(cheapest), float(len(limits)), None
    for _ in range(20):  # to a millionth of the sum's range: the start changes no more than that
        middle = 0.5 * (low + high)
        point = begin(staged, shares, middle).x
        if point is not None and fits(point):
            low, best = middle, point
        else:
            high = middle
    if best is not None:
        return best
    return cast(FloatArray, project_jointly(staged, points[0], quadratics, limits).require_feasible().x)


_STARTS: dict[str, Callable[[StagedBlocks, Quadratic, float], Result]] = {
    "balanced": balanced_start,
    "cheapest": cheapest_start,
    "entropy": maximum_entropy_start,
}


def project_point(problem: SearchProblem, staged: StagedBlocks, point: FloatArray, scores: FloatArray) -> SearchResult:
    """The architecture of greatest score that meets every budget, exactly and with a certificate.

    Raises:
        InfeasibleError: nothing fits.
    """
    found = project_jointly(staged, scores, problem.quadratics("the joint projection"), problem.limits).require_feasible()
    architecture = problem.space.architecture(cast(FloatArray, found.x))
    return SearchResult.of(problem, architecture, point, found.certificate, objective=Quadratic.of(0.0, scores))


def sample_rows(
    space: SearchSpace,
    point: FloatArray,
    rows: int,
    generator: np.random.Generator,
    differentiable: Sequence[str],
    noise: dict[str, FloatArray],
) -> Proposal:
    """An architecture a row from the product of the point's categorical distributions (multi-path sampling, Eq. 4-5)."""
    gates, draws = {}, dict(noise)
    for block, decision in enumerate(space.decisions):
        gates[decision.name], draws[decision.name] = gumbel_rows(point[space.blocks.slice(block)], rows, generator)
    return Proposal(gates, frozenset(differentiable), draws)

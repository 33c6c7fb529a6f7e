"""Joint projection and maximum-entropy start at the size of HardCoRe-NAS, against general solvers of the same programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from solvers import Stage, StagedBlocks, StagedCost, balanced_start, cheapest_start, maximum_entropy_start, project_jointly

__all__ = ["entropy_start_times", "joint_projection_times"]

_STAGES = [Stage((12, 12, 12, 12), (2, 3, 4))] * 5  # 5 stages x 4 blocks x 12 configurations, depth 2 to 4
_REPEATS = 7


def _median(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def _times(rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.random((20, 12)) * rng.uniform(0.5, 2.0, (20, 1)), axis=1).ravel()


def joint_projection_times(count: int, seed: int) -> tuple[list[float], list[float], float, str, str]:
    """Seconds of ours and of ``scipy.optimize.milp`` on the same program, and how far ours is behind at worst."""
    staged, rng = StagedBlocks.of(_STAGES), np.random.default_rng([seed, 3])
    ours: list[float] = []
    theirs: list[float] = []
    worst, violated = -np.inf, 0
    for _ in range(count):
        times, logits = _times(rng), rng.normal(size=staged.blocks.dimension) * rng.uniform(0.5, 3.0)
        cost = StagedCost.of(staged, 0.5, times)
        # The point a search leaves is its own credits, and it meets the budget tightly.
        scores = np.concatenate([np.exp(row) / np.exp(row).sum() for row in staged.blocks.split(logits)])
        budget = staged.cost(0.5, times).value(scores) * float(rng.uniform(1.0, 1.05))
        found = project_jointly(staged, scores, cost, budget)
        ours.append(_median(partial(project_jointly, staged, scores, cost, budget)))
        began = time.perf_counter()
        reference = project_jointly(staged, scores, cost, budget, backend="scipy")
        theirs.append(time.perf_counter() - began)
        if found.certificate is not None and reference.certificate is not None:
            behind = reference.certificate.primal - found.certificate.primal
            worst = max(worst, behind / max(1.0, abs(found.certificate.primal)))
            violated += found.certificate.violation > 0.0
    return ours, theirs, worst, "scipy.optimize.milp, model included", f"{violated} violations"


def entropy_start_times(count: int, seed: int) -> tuple[list[float], list[float], float, str, str]:
    """Seconds of ours and of the QP alternation of Eq. 27 by HiGHS; how far ours exceeds its budget at worst, relative."""
    staged, rng = StagedBlocks.of(_STAGES), np.random.default_rng([seed, 4])
    ours: list[float] = []
    theirs: list[float] = []
    worst, failed = 0.0, 0
    while len(ours) < count:
        times = _times(rng)
        dense, flat = staged.cost(0.5, times), StagedCost.of(staged, 0.5, times)
        ends = cheapest_start(staged, flat, np.inf).certificate
        least, uniform = (ends.primal if ends else 0.5), dense.value(staged.blocks.uniform())
        budget = least + float(rng.uniform(0.1, 0.9)) * (uniform - least)
        found = maximum_entropy_start(staged, flat, budget)
        if found.x is not None:
            worst = max(worst, abs(dense.value(found.x) - budget) / budget, staged.blocks.residual(found.x))
        ours.append(_median(partial(maximum_entropy_start, staged, flat, budget)))
        began = time.perf_counter()
        try:
            balanced_start(staged, dense, budget, backend="highs")
        except RuntimeError:  # its QP solver gives up on some tight budgets; the time until then counts
            failed += 1
        theirs.append(time.perf_counter() - began)
    return ours, theirs, worst, "HiGHS QP alternation (27)", f"behind = residual; HiGHS failed on {failed}"

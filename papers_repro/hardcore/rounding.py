"""Schemes that turn a relaxed point into a network: the ones HardCoRe-NAS's Table 2 compares, and exact ones, on the same points.

Reference: Nayman et al., HardCoRe-NAS, Sec. 3.4, Eq. 13.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from papers_repro.hardcore.points import Instance, expected_latency, running_shares
from papers_repro.harness import ProgressBars
from solvers import InfeasibleError, argmax_projection, project_jointly, project_separately, project_sequentially, project_to_budget
from solvers.arrays import FloatArray

SCHEMES = ("argmax", "separate LP", "separate exact", "sequential", "joint")
# Rounding of a sum of some dozens of latencies, relative: a network beyond its budget by more than this does not fit.
_ROUND_OFF = 1e-12


@dataclass(frozen=True, slots=True)
class Projected:
    """One scheme's network for one point, None where it found none; ``excess`` relative to the budget, ``seconds`` of the call."""

    instance: int
    family: str
    share: float
    scheme: str
    latency: float | None
    excess: float | None
    credit: float | None
    seconds: float

    @property
    def fits(self) -> bool:
        """A network within its budget."""
        return self.excess is not None and self.excess <= _ROUND_OFF

    @property
    def violates(self) -> bool:
        """A network beyond its budget."""
        return self.excess is not None and self.excess > _ROUND_OFF


@dataclass(frozen=True, slots=True)
class Checks:
    """Points beyond their own budgets by family, the joint scheme's greatest gap, and how it compares with HiGHS."""

    outside: dict[str, int]
    greatest_gap: float
    compared: int
    greatest_difference: float


def project_point(number: int, each: Instance) -> list[Projected]:
    """All schemes on one point. Times include reading and checking the input, as a caller pays for it."""
    arguments = (each.staged, each.point, each.cost, each.budget)
    rows = []
    for scheme in SCHEMES:
        began = time.perf_counter()
        if scheme == "argmax":
            x = argmax_projection(*arguments).x
        elif scheme == "separate LP":
            x = project_separately(*arguments, each.point).x
        elif scheme == "separate exact":
            x = _separate_exact(each)
        elif scheme == "sequential":
            x = project_sequentially(*arguments, each.point).x
        else:
            x = project_jointly(*arguments).x
        seconds = time.perf_counter() - began
        if x is None:
            rows.append(Projected(number, each.family, each.share, scheme, None, None, None, seconds))
            continue
        latency = expected_latency(each.staged, each.cost, x)
        excess = max(0.0, latency / each.budget - 1.0)
        rows.append(Projected(number, each.family, each.share, scheme, latency, excess, float(each.point @ x), seconds))
    return rows


def _separate_exact(each: Instance) -> FloatArray | None:
    """Eq. 13 with its two programs solved as 0-1 programs; None where one of them has no point.

    The fixed latency is a group of one option, so that the budget stays one sum and is met to the last bit.
    """
    staged, blocks = each.staged, each.staged.blocks
    alpha, beta = each.point[staged.alpha], each.point[staged.beta]
    runs = running_shares(staged, beta)
    times = each.cost.per_configuration * np.repeat(runs, blocks.sizes[: len(runs)])
    per_block = np.add.reduceat(alpha * each.cost.per_configuration, blocks.offsets[: len(runs)])
    chosen: list[int] = []
    halves = ((alpha, times, blocks.sizes[: len(runs)]), (beta, staged.runs() @ per_block, blocks.sizes[len(runs) :]))
    for credits, costs, sizes in halves:
        cuts = np.cumsum(sizes)[:-1]
        groups = [np.zeros(1), *np.split(credits, cuts)]
        try:
            found = project_to_budget(groups, [np.array([each.cost.fixed]), *np.split(costs, cuts)], each.budget)
        except InfeasibleError:
            return None
        chosen += found.choices[1:]
    return blocks.vertex(chosen)


def check_joint(instances: Sequence[Instance], cross_checks: int, progress: ProgressBars) -> Checks:
    """Certificates of all joint projections, and the same programs by HiGHS for the first points of each family."""
    outside = dict.fromkeys((each.family for each in instances), 0)
    seen = dict.fromkeys(outside, 0)
    gap, difference, compared = 0.0, 0.0, 0
    shuffled = np.random.default_rng(0).permutation(len(instances))  # checks from every budget
    for number in progress.track(shuffled.tolist(), "checks"):
        each = instances[number]
        outside[each.family] += expected_latency(each.staged, each.cost, each.point) > each.budget * (1 + _ROUND_OFF)
        ours = project_jointly(each.staged, each.point, each.cost, each.budget).require_feasible().certificate
        if ours is None or ours.gap is None:
            raise RuntimeError("a feasible joint projection carries a bound")
        gap = max(gap, ours.gap)
        if seen[each.family] < cross_checks:
            seen[each.family] += 1
            compared += 1
            theirs = project_jointly(each.staged, each.point, each.cost, each.budget, backend="highs").certificate
            difference = max(difference, abs(ours.primal - theirs.primal) if theirs is not None else float("inf"))
    return Checks(outside, gap, compared, difference)

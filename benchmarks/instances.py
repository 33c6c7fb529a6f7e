"""The instance families of the solver benchmark: seeded tables of scores and costs with a budget.

Pisinger's families (uncorrelated, weakly and strongly correlated, subset-sum), those that are hard on bounds or on ties, budgets at
the edges, and latencies measured on this machine when the benchmark runs.

Reference: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 1995, Sec. 6.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import FloatArray

__all__ = ["FAMILIES", "Instance", "draw_scores", "make", "second_costs"]


FAMILIES = (
    "uniform",
    "weakly correlated",
    "strongly correlated",
    "subset-sum",
    "proportional",
    "zero-cost options",
    "duplicated options",
    "groups of one",
    "measured latency",
    "budget: least cost",
    "budget: just above",
    "budget: beyond",
)
_TIGHTNESS = 0.3  # of the way from the least to the greatest cost: where most options of a group are still in play
_REPEATS = 3  # timings of a measured operation; the median counts


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """Scores and costs (n,) with groups at ``offsets``, and the budget."""

    scores: FloatArray
    costs: FloatArray
    offsets: NDArray[np.intp]
    budget: float

    @property
    def rows(self) -> tuple[list[FloatArray], list[FloatArray]]:
        """Scores and costs group by group."""
        inner = self.offsets[1:-1]
        return np.split(self.scores, inner), np.split(self.costs, inner)


def make(family: str, groups: int, options: int, seed: int) -> Instance:
    """One instance of a family.

    Raises:
        ValueError: an unknown family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family: expected one of {', '.join(FAMILIES)}, got {family!r}")
    rng = np.random.default_rng([seed, groups, options, FAMILIES.index(family)])
    sizes = np.full(groups, options)
    if family == "groups of one":
        sizes[rng.random(groups) < 0.5] = 1
    n = int(sizes.sum())
    costs = rng.random(n)
    if family == "zero-cost options":
        costs[rng.random(n) < 0.4] = 0.0
    elif family == "duplicated options":
        costs = rng.choice([0.1, 0.2, 0.3, 0.7], n)
    elif family == "measured latency":
        table = _measured_ms()
        costs = table[rng.integers(len(table), size=groups)][:, np.arange(options) % table.shape[1]]
        costs = (costs * rng.uniform(0.95, 1.05, costs.shape)).ravel()  # the spread of repeated measurements
    scores = draw_scores(family, costs, rng)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    least = math.fsum(np.minimum.reduceat(costs, offsets[:-1]).tolist())
    greatest = math.fsum(np.maximum.reduceat(costs, offsets[:-1]).tolist())
    budget = least + _TIGHTNESS * (greatest - least)
    if family == "budget: least cost":
        budget = least
    elif family == "budget: just above":
        budget = least * (1.0 + 1e-6)
    elif family == "budget: beyond":
        budget = 1.1 * greatest
    return Instance(scores, costs, offsets, budget)


def draw_scores(family: str, costs: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Scores (n,) of a family for given costs (n,)."""
    n = len(costs)
    if family == "weakly correlated":
        return costs + 0.1 * rng.random(n)
    if family == "strongly correlated":
        return costs + 0.1 * rng.integers(1, 4, n)
    if family == "subset-sum":
        return costs.copy()
    if family == "proportional":
        return 3.7 * costs
    if family == "duplicated options":
        return rng.choice([0.0, 0.1, 0.5], n)
    if family == "measured latency":
        return np.log1p(costs) + 0.2 * rng.random(n)  # costlier configurations are better, with falling returns
    return rng.random(n)


def second_costs(instance: Instance, seed: int) -> tuple[FloatArray, float]:
    """The costs (n,) of a second, uncorrelated budget, and that budget."""
    costs = np.random.default_rng([seed, 2]).random(len(instance.costs))
    least = np.minimum.reduceat(costs, instance.offsets[:-1]).sum()
    greatest = np.maximum.reduceat(costs, instance.offsets[:-1]).sum()
    return costs, float(least + _TIGHTNESS * (greatest - least))


@functools.cache
def _measured_ms() -> FloatArray:
    """Milliseconds of inverted residuals, expansion {3, 4, 6} x kernel {3, 5} x squeeze {off, on}, at 20 shapes; (20, 12)."""
    import torch
    from torch import nn

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table = np.empty((20, 12))
    with torch.no_grad():
        for block in range(20):
            width, side = (8, 12, 16, 24, 32)[block // 4], (28, 28, 14, 14, 7)[block // 4]
            images = torch.zeros(1, width, side, side)
            for option in range(12):
                wide, kernel = width * (3, 4, 6)[option // 4], (3, 5)[option // 2 % 2]
                layers = [nn.Conv2d(width, wide, 1), nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide)]
                if option % 2:
                    layers += [nn.Conv2d(wide, wide, 1)]
                network = nn.Sequential(*layers, nn.Conv2d(wide, width, 1)).eval()
                network(images)
                seconds = []
                for _ in range(_REPEATS):
                    began = time.perf_counter()
                    network(images)
                    seconds.append(time.perf_counter() - began)
                table[block, option] = 1000.0 * float(np.median(seconds))
    torch.set_num_threads(threads)
    return table

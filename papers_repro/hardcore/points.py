"""Relaxed points to project, with their budgets: random, from Frank-Wolfe on made-up losses, and made to be hard to round.

A search under a hard budget ends on or near the budget's border, so points are made there: the random families tilt a point by
``exp(-lambda latency)`` until its expected latency equals the budget (from below, to rounding). The made-up latencies grow with the
multiply-adds of the paper's blocks and are scattered, a table an instance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphs import hardcore_imagenet
from graphs.costs import mac_cost
from solvers import StagedBlocks, StagedCost, balanced_start, block_frank_wolfe
from solvers.arrays import FloatArray
from solvers.descent import open_loop

_SCATTER = 0.2  # standard deviation of the log of a made-up latency: what operation counts do not explain on a real machine
_HALVINGS = 70  # of an interval at most 2e5 times the unit of what is sought: down to rounding


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A point (dimension,) of ``staged`` to project, its credits being the point itself, under ``budget`` on ``cost`` (ms).

    ``share`` says where the budget lies between the cheapest network (0) and the costliest (1).
    """

    family: str
    staged: StagedBlocks
    cost: StagedCost
    share: float
    budget: float
    point: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticSpace:
    """The paper's space with what its multiply-adds would take: ``fixed`` ms, and ``mean`` ms (alpha dimension,) a block."""

    staged: StagedBlocks
    fixed: float
    mean: FloatArray

    def draw(self, generator: np.random.Generator) -> StagedCost:
        """A table: the means, scattered."""
        return StagedCost.of(self.staged, self.fixed, self.mean * np.exp(_SCATTER * generator.standard_normal(len(self.mean))))


def synthetic_space() -> SyntheticSpace:
    """Five stages of four blocks of twelve configurations; 12 GMAC/s, and 0.1 ms a block that does not depend on its size."""
    space = hardcore_imagenet("paper")
    macs = mac_cost(space).quadratic
    mean = 0.1 + space.staged.per_configuration(macs) / 12e6
    return SyntheticSpace(space.staged, macs.offset / 12e6, mean)


def running_shares(staged: StagedBlocks, beta: FloatArray) -> FloatArray:
    """(blocks,) the probability that each block runs under depth shares ``beta``."""
    return beta @ staged.runs()


def expected_latency(staged: StagedBlocks, cost: StagedCost, point: FloatArray) -> float:
    """The expected latency of a point, in ms (Eq. 3)."""
    per_block = np.add.reduceat(point[staged.alpha] * cost.per_configuration, _block_starts(staged))
    return cost.fixed + float(running_shares(staged, point[staged.beta]) @ per_block)


def random_point(
    family: str,
    staged: StagedBlocks,
    cost: StagedCost,
    share: float,
    generator: np.random.Generator,
    *,
    concentration: float = 0.5,
    free_option: bool = False,
) -> Instance:
    """A Dirichlet point tilted onto a budget.

    Args:
        concentration: of the Dirichlet draws; the smaller, the nearer to one option a block.
        free_option: one configuration of every block costs nothing, as skipping it would.

    Raises:
        ValueError: a share outside (0, 1).
    """
    if free_option:
        cost = _with_free_option(staged, cost, generator)
    logs = np.concatenate([np.log(generator.dirichlet(np.full(size, concentration)) + 1e-300) for size in staged.blocks.sizes])
    budget = _budget(staged, cost, share)
    bound = 1e5 / float(cost.per_configuration.mean())  # leaves only the cheapest (or costliest) options
    tilt = _last_fitting(lambda tilt: expected_latency(staged, cost, _tilted(staged, cost, logs, -tilt)), budget, -bound, bound)
    return Instance(family, staged, cost, share, budget, _tilted(staged, cost, logs, -tilt))


def undecided_point(
    family: str, staged: StagedBlocks, cost: StagedCost, share: float, generator: np.random.Generator, *, scatter: float = 0.02
) -> Instance:
    """A point on a budget at which every decision hangs between its cheapest option, which is free in a block, and its costliest.

    The costliest have nearly the same share everywhere. Each half of Eq. 13 then spends what the other half's indecision leaves, on
    the same stages: those that are cheap. Made to be hard for it; no search is known to end there.

    Args:
        cost: its latencies; a configuration of each block is made free.
        scatter: standard deviation of the shares around their common value.

    Raises:
        ValueError: a share outside (0, 1).
    """
    cost = _with_free_option(staged, cost, generator)
    offset = scatter * generator.standard_normal(staged.blocks.count)
    cheapest, costliest = [], []
    for block in range(staged.blocks.count - len(staged.stages)):
        times = cost.per_configuration[staged.blocks.slice(block)]
        cheapest.append(int(times.argmin()))
        costliest.append(int(times.argmax()))
    depths = [len(stage.depths) - 1 for stage in staged.stages]
    low = staged.blocks.vertex([*cheapest, *(0 for _ in depths)])
    high = staged.blocks.vertex([*costliest, *depths])

    def mixed(common: float) -> FloatArray:
        mix = np.repeat(np.clip(common + offset, 0.0, 1.0), staged.blocks.sizes)
        return mix * high + (1.0 - mix) * low

    budget = _budget(staged, cost, share)
    reach = float(np.abs(offset).max())  # beyond it all shares are 0 or 1
    common = _last_fitting(lambda common: expected_latency(staged, cost, mixed(common)), budget, -reach, 1.0 + reach)
    return Instance(family, staged, cost, share, budget, mixed(common))


def frank_wolfe_point(
    family: str,
    staged: StagedBlocks,
    cost: StagedCost,
    share: float,
    generator: np.random.Generator,
    *,
    iterations: int = 100,
    noise: float = 1.0,
) -> Instance:
    """Where Algorithm 1 ends on a made-up loss: every running block gains accuracy, with diminishing returns in its latency.

    Args:
        iterations: steps from the balanced start at the paper's 4 / (t + 4).
        noise: of a gradient's entries, relative to their root mean square.

    Raises:
        ValueError: a share outside (0, 1).
    """
    budget = _budget(staged, cost, share)
    latency = staged.cost(cost.fixed, cost.per_configuration)
    gains = np.sqrt(cost.per_configuration) * np.exp(0.3 * generator.standard_normal(staged.alpha.stop))
    gain = staged.cost(0.0, gains)
    start = balanced_start(staged, latency, budget).require_feasible().x
    if start is None:
        raise RuntimeError("a feasible start holds a point")

    def gradient(x: FloatArray) -> FloatArray:
        exact = -gain.gradient(x)
        return exact + noise * math.sqrt(float(exact @ exact) / len(exact)) * generator.standard_normal(len(exact))

    run = block_frank_wolfe(
        gradient,
        staged.blocks,
        (staged.alpha, staged.beta),
        latency,
        budget,
        start,
        iterations=iterations,
        generator=generator,
        step_rule=open_loop(4),
    )
    point = run.result.x
    if point is None:
        raise RuntimeError("block Frank-Wolfe starts at a point and keeps one")
    return Instance(family, staged, cost, share, budget, point)


def _block_starts(staged: StagedBlocks) -> np.ndarray:
    return np.array(staged.blocks.offsets[: staged.blocks.count - len(staged.stages)], dtype=np.intp)


def _with_free_option(staged: StagedBlocks, cost: StagedCost, generator: np.random.Generator) -> StagedCost:
    """The same latencies, with a configuration of each block drawn to cost nothing."""
    times = cost.per_configuration.copy()
    sizes = staged.blocks.sizes[: staged.blocks.count - len(staged.stages)]
    times[_block_starts(staged) + np.array([generator.integers(size) for size in sizes])] = 0.0
    return StagedCost.of(staged, cost.fixed, times)


def _budget(staged: StagedBlocks, cost: StagedCost, share: float) -> float:
    """The budget at ``share`` of the way from the cheapest network to the costliest."""
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number strictly between 0 and 1, got {share}")
    starts, runs = _block_starts(staged), staged.runs()
    offsets = np.cumsum([0, *(len(stage.depths) for stage in staged.stages)])
    shallow, deep = runs[offsets[:-1]].sum(axis=0), runs[offsets[1:] - 1].sum(axis=0)
    least = cost.fixed + float(shallow @ np.minimum.reduceat(cost.per_configuration, starts))
    most = cost.fixed + float(deep @ np.maximum.reduceat(cost.per_configuration, starts))
    return least + share * (most - least)


def _tilted(staged: StagedBlocks, cost: StagedCost, logs: FloatArray, tilt: float) -> FloatArray:
    """The point with these log weights, tilted: configurations by their latency, depths by that of the blocks they run."""
    starts, sizes = np.array(staged.blocks.offsets[:-1], dtype=np.intp), np.array(staged.blocks.sizes)
    point = np.empty(staged.blocks.dimension)
    blocks = len(sizes) - len(staged.stages)
    alpha = logs[staged.alpha] - tilt * cost.per_configuration
    point[staged.alpha] = _shares(alpha, starts[:blocks], sizes[:blocks])
    per_block = np.add.reduceat(point[staged.alpha] * cost.per_configuration, starts[:blocks])
    beta = logs[staged.beta] - tilt * (staged.runs() @ per_block)
    point[staged.beta] = _shares(beta, starts[blocks:] - staged.beta.start, sizes[blocks:])
    return point


def _shares(logs: FloatArray, starts: np.ndarray, sizes: np.ndarray) -> FloatArray:
    """Softmax of every group."""
    weights = np.exp(logs - np.repeat(np.maximum.reduceat(logs, starts), sizes))
    return weights / np.repeat(np.add.reduceat(weights, starts), sizes)


def _last_fitting(latency: Callable[[float], float], budget: float, low: float, high: float) -> float:
    """The greatest argument in [low, high] at which a rising latency fits, by bisection to rounding, from below."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if latency(middle) <= budget:
            low = middle
        else:
            high = middle
    return low

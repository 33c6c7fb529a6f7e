"""Relaxed points to project, with their budgets: random, from Frank-Wolfe, learnt on data, and families that are hard to round.

A search under a hard budget ends on or near the budget's border, so points are made there: the random families tilt a point by
``exp(-lambda latency)`` until its expected latency equals the budget (from below, to rounding). The made-up latencies grow with the
multiply-adds of the paper's blocks and are scattered, a table an instance; learnt points come with the measured table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from constrained_nas.methods import HardCoRe, SoftPenalty
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.search import SearchMethod, SearchOptions, search
from graphs import hardcore_imagenet
from graphs.costs import mac_cost
from papers_repro.hardcore_setup import Prepared
from papers_repro.progress import ProgressBars
from solvers import StagedBlocks, StagedCost, balanced_start, block_frank_wolfe
from solvers.sets import FloatArray
from solvers.step_rules import open_loop

__all__ = [
    "Instance",
    "SyntheticSpace",
    "expected_latency",
    "frank_wolfe_point",
    "learnt_points",
    "random_point",
    "running_shares",
    "synthetic_space",
]

_SCATTER = 0.2  # standard deviation of the log of a made-up latency: what operation counts do not explain on a real machine
_HALVINGS = 80  # of the interval of the tilt, 2e5 over the mean latency wide: down to rounding


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A point (dimension,) of ``staged`` to project, its credits being the point itself, under ``budget`` on ``cost`` (ms).

    ``share`` says where the budget lies between the cheapest network (0) and the dearest (1).
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
    even_depths: bool = False,
) -> Instance:
    """A Dirichlet point tilted onto a budget.

    Args:
        family: name of the instance's family.
        staged: the space.
        cost: its latencies.
        share: of the budget, strictly between 0 and 1.
        generator: source of all randomness.
        concentration: of the Dirichlet draws; the smaller, the nearer to one option a block.
        free_option: one configuration of every block costs nothing, as skipping it would.
        even_depths: the depths of every stage share alike, so that each block runs in part.

    Raises:
        ValueError: a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number strictly between 0 and 1, got {share}")
    if free_option:
        times = cost.per_configuration.copy()
        sizes = staged.blocks.sizes[: staged.blocks.count - len(staged.stages)]
        times[_block_starts(staged) + np.array([generator.integers(size) for size in sizes])] = 0.0
        cost = StagedCost.of(staged, cost.fixed, times)
    logs = np.concatenate([np.log(generator.dirichlet(np.full(size, concentration)) + 1e-300) for size in staged.blocks.sizes])
    low, high = _extremes(staged, cost)
    budget = low + share * (high - low)

    def latency(tilt: float) -> float:
        return expected_latency(staged, cost, _tilted(staged, cost, logs, tilt, even_depths))

    if even_depths:  # the cheapest and dearest networks are out of reach: keep the budget between what the point can attain
        least, most = latency(_bound(cost)), latency(-_bound(cost))
        budget = least + share * (most - least)
    fitting = _fitting_tilt(latency, budget, _bound(cost))
    return Instance(family, staged, cost, share, budget, _tilted(staged, cost, logs, fitting, even_depths))


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
        family: name of the instance's family.
        staged: the space.
        cost: its latencies.
        share: of the budget, strictly between 0 and 1.
        generator: source of all randomness.
        iterations: steps from the balanced start at the paper's 4 / (t + 4).
        noise: of a gradient's entries, relative to their root mean square.
    """
    low, high = _extremes(staged, cost)
    budget = low + share * (high - low)
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


def learnt_points(
    prepared: Prepared,
    shares: Sequence[float],
    seeds: Sequence[int],
    options: SearchOptions,
    fabric: Fabric,
    progress: ProgressBars,
) -> Iterator[Instance]:
    """Where searches on a trained super-network end: HardCoRe-NAS, and the soft penalty, which nothing holds to the budget.

    Args:
        prepared: super-network, data, latencies.
        shares: one budget each.
        seeds: one search each per budget and method.
        options: of a search; its seed is replaced.
        fabric: the super-network's device.
        progress: shows bars.
    """
    space, quadratic = prepared.space, prepared.cost.quadratic
    cost = StagedCost.read(space.staged, quadratic)
    methods: dict[str, SearchMethod[Any]] = {
        "learnt": HardCoRe(space.space, space.staged),
        "soft penalty": SoftPenalty(space.space, space.staged),
    }
    runs = [(share, seed, family) for share in shares for seed in seeds for family in methods]
    for share, seed, family in progress.track(runs, "searches"):
        (budget,) = prepared.latencies.budgets([share])
        problem = SearchProblem(space.space, (Budget(prepared.cost, budget, "ms"),))
        seeded = SearchOptions(options.epochs, options.batch_size, options.batch_statistics, options.workers, seed)
        run = search(problem, methods[family], prepared.supernet, prepared.data.architecture, seeded, fabric)
        yield Instance(family, space.staged, cost, share, budget, run.result.point)


def _block_starts(staged: StagedBlocks) -> np.ndarray:
    return np.array(staged.blocks.offsets[: staged.blocks.count - len(staged.stages)], dtype=np.intp)


def _extremes(staged: StagedBlocks, cost: StagedCost) -> tuple[float, float]:
    """Latency of the cheapest and the dearest network."""
    starts, runs = _block_starts(staged), staged.runs()
    offsets = np.cumsum([0, *(len(stage.depths) for stage in staged.stages)])
    shallow, deep = runs[offsets[:-1]].sum(axis=0), runs[offsets[1:] - 1].sum(axis=0)
    least = shallow @ np.minimum.reduceat(cost.per_configuration, starts)
    most = deep @ np.maximum.reduceat(cost.per_configuration, starts)
    return cost.fixed + float(least), cost.fixed + float(most)


def _tilted(staged: StagedBlocks, cost: StagedCost, logs: FloatArray, tilt: float, even_depths: bool) -> FloatArray:
    """The point with these log weights, tilted: configurations by their latency, depths by that of the blocks they run."""
    starts, sizes = np.array(staged.blocks.offsets[:-1], dtype=np.intp), np.array(staged.blocks.sizes)
    point = np.empty(staged.blocks.dimension)
    blocks = len(sizes) - len(staged.stages)
    alpha = logs[staged.alpha] - tilt * cost.per_configuration
    point[staged.alpha] = _shares(alpha, starts[:blocks], sizes[:blocks])
    depths = np.zeros(staged.beta.stop - staged.beta.start)
    if not even_depths:
        per_block = np.add.reduceat(point[staged.alpha] * cost.per_configuration, starts[:blocks])
        depths = logs[staged.beta] - tilt * (staged.runs() @ per_block)
    point[staged.beta] = _shares(depths, starts[blocks:] - staged.beta.start, sizes[blocks:])
    return point


def _shares(logs: FloatArray, starts: np.ndarray, sizes: np.ndarray) -> FloatArray:
    """Softmax of every group."""
    weights = np.exp(logs - np.repeat(np.maximum.reduceat(logs, starts), sizes))
    return weights / np.repeat(np.add.reduceat(weights, starts), sizes)


def _bound(cost: StagedCost) -> float:
    """A tilt that leaves only the cheapest options: differences of a thousandth of the mean latency weigh 1e-43."""
    return 1e5 / float(cost.per_configuration.mean())


def _fitting_tilt(latency: Callable[[float], float], budget: float, bound: float) -> float:
    """The least tilt at which the latency fits, by bisection; latency falls as the tilt rises."""
    below, above = -bound, bound
    for _ in range(_HALVINGS):
        middle = 0.5 * (below + above)
        if latency(middle) <= budget:
            above = middle
        else:
            below = middle
    return above

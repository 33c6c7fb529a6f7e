"""How many searches it takes to land just under a wanted latency: alpha found by bisection, against one search with a hard budget.

The expected latency falls as alpha rises, but a search is noisy and its network one of finitely many: bisection on the logarithm of
alpha may need many runs, and may not end. A hard budget takes one: what survived is projected onto it exactly, which fits for
certain, and lands under the limit by as little as blocks and widths allow.

Reference: PruNet, Eq. 2 (alpha); the hard budget goes beyond the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from papers_repro.harness import ProgressBars, Reports, run_seeds
from papers_repro.prunet.searches import Pruned, SearchSpec, run_search
from papers_repro.prunet.setup import SetupOptions, WidthLatencies, load_data


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """Landing under a wanted latency by alpha."""

    seeds: int = 1
    """How many seeds look for an alpha, for every budget."""
    runs: int = 6
    """Searches after which the bisection gives up."""
    alphas: tuple[float, float] = (0.02, 8.0)
    """Where it looks; the first guess is their geometric mean."""
    tolerance: float = 0.01
    """How far under the budget still counts as landed, as a share of it."""

    def __post_init__(self) -> None:
        if self.runs < 1 or not 0 < self.alphas[0] < self.alphas[1] or not 0 < self.tolerance < 1:
            raise ValueError(f"--match: expected a run or more, alphas 0 < low < high, and a tolerance in (0, 1); got {self}")


@dataclass(frozen=True, slots=True)
class Matched:
    """One bisection.

    Attributes:
        budget: number of the budget.
        seed: of all its searches.
        landed: whether a network came out within the tolerance under the limit.
        tried: (alpha, latency in ms) of every run, in order.
        best: the run that landed, else that of greatest latency under the limit; None if all were above.
    """

    budget: int
    seed: int
    landed: bool
    tried: tuple[tuple[float, float], ...]
    best: Pruned | None


def match_budgets(
    limits: Sequence[float],
    seeds: Sequence[int],
    options: MatchOptions,
    setup: SetupOptions,
    latencies: WidthLatencies,
    folder: Path,
    progress: ProgressBars,
) -> list[Matched]:
    """Bisect for every budget (ms) and seed, side by side."""
    tasks = tuple((budget, seed) for budget in range(len(limits)) for seed in seeds)
    if not tasks:
        return []
    if setup.data == "digits":
        for seed in seeds:
            load_data(setup, seed)
    work = partial(_match, tasks, tuple(limits), options, setup, latencies, folder)
    return run_seeds(work, range(len(tasks)), setup.side_by_side(len(tasks)), progress)


def _match(
    tasks: Sequence[tuple[int, int]],
    limits: Sequence[float],
    options: MatchOptions,
    setup: SetupOptions,
    latencies: WidthLatencies,
    folder: Path,
    number: int,
    progress: Reports,
) -> Matched:
    budget, seed = tasks[number]
    limit, (low, high) = limits[budget], map(math.log, options.alphas)
    tried: list[tuple[float, float]] = []
    best: tuple[SearchSpec, float] | None = None
    landed = False
    while len(tried) < options.runs and not landed:
        middle = 0.5 * (low + high)
        spec = SearchSpec(f"match_budget{budget}_seed{seed}_run{len(tried) + 1}", seed, math.exp(middle))
        latency = run_search(spec, setup, latencies, folder, progress, retrain=False).record.latency_ms
        tried.append((spec.alpha, latency))
        if latency <= limit and (best is None or latency > best[1]):
            best = spec, latency
        landed = (1 - options.tolerance) * limit <= latency <= limit
        low, high = (middle, high) if latency > limit else (low, middle)
    found = None if best is None else run_search(best[0], setup, latencies, folder, progress)
    return Matched(budget, seed, landed, tuple(tried), found)

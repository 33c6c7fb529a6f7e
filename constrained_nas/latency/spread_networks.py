"""Random networks spread evenly over a space's range of costs; uniform draws alone crowd the middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from graphs import Architecture, MBConvSpace
from graphs.costs import QuadraticCost

DRAWS = 60  # for each network wanted: the nearest of them is within a percent of the range from where it should be
TILT = 6.0  # exp(6) times as likely to take the slowest option as the fastest, or the other way round


def spread_networks(space: MBConvSpace, cost: QuadraticCost, count: int, generator: np.random.Generator) -> list[Architecture]:
    """``count`` different random networks whose costs are nearest to evenly spaced ones, in order of cost.

    Networks are drawn with every decision leaning to its costly or to its cheap options, more or less so from draw to draw; of
    these the ones nearest to even spacing between the cheapest and the costliest draw are taken.

    Raises:
        ValueError: fewer than two networks, or a space with fewer networks than are wanted.
    """
    if not 2 <= count <= space.architectures:
        raise ValueError(f"networks: expected 2 to {space.architectures}, as many as the space has, got {count}")
    ranks = _ranks(space, cost)
    points: dict[bytes, NDArray[np.float64]] = {}
    for draw in range(100 * DRAWS * count):
        if draw >= DRAWS * count and len(points) >= count:
            break
        tilt = generator.uniform(-TILT, TILT)
        parts = [_one_hot(rank, tilt, generator) for rank in ranks]
        point = np.concatenate(parts)
        points.setdefault(_running(space, point), point)
    if len(points) < count:
        raise ValueError(f"networks: expected {count} different ones, found {len(points)} in {100 * DRAWS * count} draws")
    drawn = list(points.values())
    costs = np.array([cost.quadratic.value(point) for point in drawn])
    free = np.ones(len(drawn), dtype=bool)
    taken = []
    for target in np.linspace(costs.min(), costs.max(), count):
        nearest = int(np.where(free, np.abs(costs - target), np.inf).argmin())
        free[nearest] = False
        taken.append(nearest)
    return [space.space.architecture(drawn[index]) for index in sorted(taken, key=lambda index: costs[index])]


def _ranks(space: MBConvSpace, cost: QuadraticCost) -> list[NDArray[np.float64]]:
    """0 for the cheapest option of a decision to 1 for the costliest; depths are in order as they are."""
    times = space.staged.per_configuration(cost.quadratic).reshape(len(space.block_names), -1)
    orders = [*(row.argsort().argsort() for row in times), *(np.arange(len(space.settings.depths)) for _ in space.settings.stages)]
    return [order / max(1, len(order) - 1) for order in orders]


def _one_hot(rank: NDArray[np.float64], tilt: float, generator: np.random.Generator) -> NDArray[np.float64]:
    weights = np.exp(tilt * (rank - rank.max()))
    chosen = generator.choice(len(rank), p=weights / weights.sum())
    return (np.arange(len(rank)) == chosen).astype(np.float64)


def _running(space: MBConvSpace, point: NDArray[np.float64]) -> bytes:
    """The same for points that differ only in blocks beyond their stage's depth: they are one network."""
    settings, options = space.settings, len(space.configurations)
    per_stage = settings.blocks_per_stage * options
    kept = point.copy()
    start = len(space.block_names) * options
    for stage in range(len(settings.stages)):
        chosen = kept[start + stage * len(settings.depths) :][: len(settings.depths)]
        depth = settings.depths[int(chosen.argmax())]
        kept[stage * per_stage + depth * options : (stage + 1) * per_stage] = 0
    return kept.tobytes()

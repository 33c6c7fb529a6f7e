"""Random networks spread evenly over a space's range of costs; uniform draws alone crowd the middle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from graphs import Architecture, ChoiceSpace, DagSpace, FilterSpace, GPUNetSpace, MBConvSpace
from graphs.costs import CostModel, QuadraticCost
from solvers.arrays import FloatArray

Spread = MBConvSpace | GPUNetSpace | ChoiceSpace | DagSpace | FilterSpace
DRAWS = 60  # for each network wanted: the nearest of them is within a percent of the range from where it should be
TILT = 6.0  # exp(6) times as likely to take the slowest option as the fastest, or the other way round


def spread_networks(space: Spread, cost: CostModel, count: int, generator: np.random.Generator) -> list[Architecture]:
    """``count`` different random networks whose costs are nearest to evenly spaced ones, in order of cost.

    Networks are drawn with every decision leaning to its costly or to its cheap options, more or less so from draw to draw, and
    layers that may be skipped are, from none of them to almost all; of these networks the ones nearest to even spacing between the
    cheapest and the costliest draw are taken.

    Raises:
        ValueError: fewer than two networks, or a space with fewer networks than are wanted.
    """
    if isinstance(space, DagSpace | FilterSpace):
        drawn = _drawn(space, DRAWS * count, generator)
        if not 2 <= count <= len(drawn):
            raise ValueError(f"networks: expected 2 to {len(drawn)}, as many as were found different, got {count}")
        return _evenly(drawn, np.array([cost.cost(one) for one in drawn]), count)
    assert isinstance(cost, QuadraticCost)  # the tables of these spaces make no others
    different, ranks, skippable, network_of = _described(space, cost)
    if not 2 <= count <= different:
        raise ValueError(f"networks: expected 2 to {different}, as many as the space has, got {count}")
    points: dict[bytes, FloatArray] = {}
    for draw in range(100 * DRAWS * count):
        if draw >= DRAWS * count and len(points) >= count:
            break
        tilt = generator.uniform(-TILT, TILT)
        skips = 0.95 * generator.random() if any(skippable) else 0.0
        parts = [_one_hot(rank, tilt, skips if may else None, generator) for rank, may in zip(ranks, skippable, strict=True)]
        point = np.concatenate(parts)
        points.setdefault(network_of(point), point)
    if len(points) < count:
        raise ValueError(f"networks: expected {count} different ones, found {len(points)} in {100 * DRAWS * count} draws")
    found = list(points.values())
    costs = np.array([cost.quadratic.value(point) for point in found])
    return _evenly([space.space.architecture(point) for point in found], costs, count)


def _evenly(drawn: Sequence[Architecture], costs: FloatArray, count: int) -> list[Architecture]:
    free = np.ones(len(drawn), dtype=bool)
    taken = []
    for target in np.linspace(costs.min(), costs.max(), count):
        nearest = int(np.where(free, np.abs(costs - target), np.inf).argmin())
        free[nearest] = False
        taken.append(nearest)
    return [drawn[index] for index in sorted(taken, key=lambda index: costs[index])]


def _drawn(space: DagSpace | FilterSpace, draws: int, generator: np.random.Generator) -> list[Architecture]:
    """Different random networks, of few modules or filters and of many: connected sub-graphs, or widths."""
    found: dict[bytes, Architecture] = {}
    for draw in range(draws):
        share, count = generator.random() if draw else 1.0, len(space.space.decisions)  # the whole is among them
        if isinstance(space, DagSpace):
            one = space.switched(generator.random(count) < share)
            running = space.connectivity.running(space.space, one)
            if running.any():
                found.setdefault(running.tobytes(), one)
        else:
            wide = np.clip(share + generator.normal(0.0, 0.15, count), 0.0, 1.0)
            options = [[int(option) for option in decision.options] for decision in space.space.decisions]
            widths = [known[round(part * (len(known) - 1))] for part, known in zip(wide, options, strict=True)]
            found.setdefault(bytes(str(widths), "ascii"), space.architecture(widths))
    return list(found.values())


def _described(
    space: MBConvSpace | GPUNetSpace | ChoiceSpace, cost: QuadraticCost
) -> tuple[int, list[FloatArray], list[bool], Callable[[FloatArray], bytes]]:
    """How many networks there are; the options of every decision ranked from 0 for the cheapest to 1 for the costliest, without the
    skip, which is the last; whether there is one; and what is the same for two points of one network."""
    linear = [cost.quadratic.linear[space.space.slice(decision.name)] for decision in space.space.decisions]
    if isinstance(space, MBConvSpace):
        times = space.staged.per_configuration(cost.quadratic).reshape(len(space.block_names), -1)
        depths = [np.arange(len(space.settings.depths)) for _ in space.settings.stages]  # in order as they are
        return space.architectures, [*map(_ranked, [*times, *depths])], [False] * len(linear), partial(_running, space)
    layers = {} if isinstance(space, ChoiceSpace) else space.layers
    skippable = [shape.skippable for shape in layers.values()] or [False] * len(linear)
    ranks = [_ranked(part[: len(part) - skips]) for part, skips in zip(linear, skippable, strict=True)]
    return math.prod(map(len, linear)), ranks, skippable, np.ndarray.tobytes


def _ranked(times: ArrayLike) -> FloatArray:
    order = np.asarray(times).argsort().argsort()
    return np.asarray(order / max(1, len(order) - 1))


def _one_hot(rank: FloatArray, tilt: float, skips: float | None, generator: np.random.Generator) -> FloatArray:
    """A random option; one more, the last, with probability ``skips`` where that is not None."""
    weights = np.exp(tilt * (rank - rank.max()))
    chosen = generator.choice(len(rank), p=weights / weights.sum())
    if skips is not None and generator.random() < skips:
        chosen = len(rank)
    return (np.arange(len(rank) + (skips is not None)) == chosen).astype(np.float64)


def _running(space: MBConvSpace, point: FloatArray) -> bytes:
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

"""What is timed of a space whose tables are measured part by part: options of choices, modules of graphs, layers of filters.

Parts of a network with choices are its options, alone, on what their choices were given. Parts of a graph are its modules and the
additions in its layers. Those of a network with fewer filters are its layers, in context, at full and at half width: times in
between are interpolated in proportion to multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from constrained_nas.latency import (
    Measurement,
    Progress,
    Subject,
    Timer,
    corrected_times,
    hooked,
    inliers,
    measure_module_table,
    timed_rounds,
    timed_run,
)
from graphs import Architecture, ChoiceSpace, DagSpace, FilterSpace
from graphs.costs import (
    FULL,
    HALF,
    CostModel,
    LatencyEntry,
    LatencyTable,
    choice_latency,
    connected_latency,
    half_widths,
    slimmable_latency,
)
from graphs.supernet import layer_of
from solvers.arrays import FloatArray

_FEW = 6  # decisions, whose sub-graphs are counted
Entries = Callable[[Timer, int, np.random.Generator, Progress | None], tuple[list[LatencyEntry], float]]


@dataclass(frozen=True, slots=True, eq=False)
class TimedParts:
    """A space with all that measuring its table takes.

    Attributes:
        networks: how many different ones it has; a great number where it has many.
        context: how its parts are timed, as tables state it.
        image: the shape of one.
        network: the bare network of an architecture, with any weights.
        cost_of: the cost that a table makes.
        entries: measures all parts in so many rounds; and what is fixed besides.
    """

    space: ChoiceSpace | DagSpace | FilterSpace
    networks: int
    context: Literal["network", "isolated"]
    image: tuple[int, ...]
    network: Callable[[Architecture], nn.Module]
    cost_of: Callable[[LatencyTable], CostModel]
    entries: Entries


def choice_parts(space: ChoiceSpace) -> TimedParts:
    """Options alone; what is fixed is a whole network less its options."""

    def entries(
        timer: Timer, rounds: int, generator: np.random.Generator, progress: Progress | None
    ) -> tuple[list[LatencyEntry], float]:
        traced, decisions = len(space.example[0]), space.space.decisions
        first = space.space.architecture(space.space.blocks.vertex([0] * len(decisions)))
        images = _rows(space.example[0], traced, timer)
        subjects: dict[str, Subject] = {"whole": timed_run(partial(timer.place(space.extract(first)), images), timer)}
        for decision in decisions:
            for place, option in enumerate(decision.options):
                module = timer.place(space.option(decision.name, place))
                for call, inputs in enumerate(space.inputs[decision.name]):
                    given = [_rows(value, traced, timer) for value in inputs]
                    subjects[f"{decision.name}\n{option}\n{call}"] = timed_run(partial(module, *given), timer)
        kept = timed_rounds(subjects, timer, rounds, generator, progress, "timing options")
        times = {name: column[:, 0] for name, column in corrected_times(kept)[0].items()}
        found = []
        for decision in decisions:
            for option in decision.options:
                calls = range(len(space.inputs[decision.name]))
                together = np.sum([times[f"{decision.name}\n{option}\n{call}"] for call in calls], axis=0)
                found.append(_entry(decision.name, option, together))
        parts = [next(entry.median for entry in found if entry.block == decision.name) for decision in decisions]
        return found, max(0.0, float(np.median(times["whole"])) - sum(parts))

    different = prod(len(decision.options) for decision in space.space.decisions)
    return TimedParts(
        space,
        different,
        "isolated",
        tuple(space.example[0].shape[1:]),
        space.extract,
        partial(_swapped, choice_latency, space),
        entries,
    )


def dag_parts(space: DagSpace) -> TimedParts:
    """Modules and additions alone; those made alike are timed once."""
    supernet = space.supernet()

    def entries(
        timer: Timer, rounds: int, generator: np.random.Generator, progress: Progress | None
    ) -> tuple[list[LatencyEntry], float]:
        seed = int(generator.integers(2**31))
        return list(measure_module_table(space, timer, rounds, seed, progress).entries), 0.0

    image = layer_of(space.dag, space.connectivity.nodes[0]).shape
    return TimedParts(
        space, _subgraphs(space), "isolated", image, supernet.extract, partial(_swapped, connected_latency, space), entries
    )


def filter_parts(space: FilterSpace, image: tuple[int, ...], network: Callable[[Architecture], nn.Module]) -> TimedParts:
    """Layers inside the network of all filters, and inside that of half of them; what is fixed is what other modules take."""

    def entries(
        timer: Timer, rounds: int, generator: np.random.Generator, progress: Progress | None
    ) -> tuple[list[LatencyEntry], float]:
        names, widths = [layer.name for layer in space.topology.layers], {FULL: space.units, HALF: half_widths(space)}
        images = timer.images(image)
        subjects = {
            width: hooked(timer.place(network(space.architecture(counts))), names, images, timer, dotted=True)
            for width, counts in widths.items()
        }
        times, _ = corrected_times(timed_rounds(subjects, timer, rounds, generator, progress, "timing layers"))
        found = [_entry(name, width, times[width][:, place]) for place, name in enumerate(names) for width in widths]
        return found, float(np.median(times[HALF][:, -1]))

    different = prod(len(decision.options) for decision in space.space.decisions)
    return TimedParts(space, different, "network", image, network, partial(_swapped, slimmable_latency, space), entries)


def _subgraphs(space: DagSpace) -> int:
    """Different connected sub-graphs, of which there are many where there are many decisions."""
    count = len(space.space.decisions)
    if count > _FEW:
        return 2**count
    running = [space.connectivity.running(space.space, space.switched(np.array(on))) for on in product((False, True), repeat=count)]
    return len({one.tobytes() for one in running if one.any()})


def _swapped(cost: Callable[[LatencyTable, Any], CostModel], space: Any, table: LatencyTable) -> CostModel:
    return cost(table, space)


def _entry(block: str, option: str, samples: FloatArray) -> LatencyEntry:
    kept = inliers(samples)
    found = Measurement.of(kept.tolist())
    dropped = len(samples) - len(kept)
    return LatencyEntry(
        block=block, configuration=option, median=found.median, spread=found.spread, samples=found.samples, dropped=dropped
    )


def _rows(value: Any, traced: int, timer: Timer) -> Any:
    """As many rows as the timer has images, of an input that was traced with ``traced``."""
    if not isinstance(value, Tensor) or not value.ndim or len(value) != traced:
        return value
    return timer.placed(value[:1].repeat(timer.batch, *([1] * (value.ndim - 1))))

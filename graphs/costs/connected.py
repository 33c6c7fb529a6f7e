"""Costs of the connected part of a sampled sub-graph: multiply-adds, parameters and latencies of the modules that really run.

A cost of this kind adds up a fixed part, a number for every running module, and a number for every addition that running modules
make where they meet: ``fan-in - 1`` additions at a layer of fan-in 1 or more, the fan-in counted on the sub-graph. That is linear
once layers have variables of their own, which is how ``solvers`` optimizes it exactly.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.1; costs are of the sub-graph that joins input and output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import nn

from graphs.blocks import UpsampledConvolution
from graphs.costs.conditions import measured_name, medians_by_key
from graphs.costs.counts import Counts, count
from graphs.costs.latency import LatencyTable
from graphs.costs.models import CostModel
from graphs.space import Architecture
from graphs.spaces import DagSpace
from graphs.supernet import Connectivity, EdgeKey, edge_of, layer_of
from solvers.arrays import BoolArray, FloatArray

Mode = Literal["published", "exact"]


@runtime_checkable
class SubgraphCost(CostModel, Protocol):
    """A cost that also prices sampled sub-graphs of ``dag_space`` by the modules that run, many at once."""

    @property
    def dag_space(self) -> DagSpace: ...

    def cost_of_running(self, running: BoolArray) -> FloatArray:
        """The costs (rows,) of sub-graphs whose modules (rows, E) run, as ``Connectivity.connected`` gives them."""


@dataclass(frozen=True, slots=True, eq=False)
class ConnectedCost:
    """``fixed + per_edge'running + sum over layers of per_addition x (fan-in - 1)``.

    Attributes:
        fixed: what every network pays: the modules without a decision that all paths lead through, such as stem and head.
        per_edge: (E,) of every other module, as ``dag_space.connectivity.edges`` numbers them; 0 for those in ``fixed``.
        per_addition: (layers,) of every running module but one that leads into a layer, as ``connectivity.nodes`` numbers them.

    Raises:
        ValueError: arrays of another length, or numbers that are not finite.
    """

    name: str
    unit: str
    dag_space: DagSpace
    fixed: float
    per_edge: FloatArray
    per_addition: FloatArray

    def __post_init__(self) -> None:
        parts = self.dag_space.connectivity
        for what, numbers, length in (
            ("per_edge", self.per_edge, len(parts.edges)),
            ("per_addition", self.per_addition, len(parts.nodes)),
        ):
            array = np.array(numbers, dtype=np.float64)
            if array.shape != (length,) or not np.isfinite(array).all():
                raise ValueError(f"cost {self.name!r}: expected {length} finite numbers {what}, got shape {array.shape}: {array}")
            array.flags.writeable = False
            object.__setattr__(self, what, array)
        if not math.isfinite(self.fixed):
            raise ValueError(f"cost {self.name!r}: expected a finite fixed cost, got {self.fixed}")

    def cost(self, architecture: Architecture) -> float:
        """The cost of the connected part of an architecture, in ``unit``; modules on no path cost nothing.

        Raises:
            ValueError: the architecture is of another space, or joins nothing to the output.
        """
        return float(self.cost_of_running(running_modules(self.dag_space, architecture, self.name)[None])[0])

    def cost_of_running(self, running: BoolArray) -> FloatArray:
        """The costs (rows,) of sub-graphs whose modules (rows, E) run, as ``Connectivity.connected`` gives them.

        Where none runs (a disconnected sub-graph) only the fixed part is paid. Whole numbers below 2^53 come out exact.
        """
        parts = self.dag_space.connectivity
        x = np.asarray(running, dtype=np.float64)
        surplus = np.maximum(x @ _incidence(parts) - 1, 0)  # (rows, layers)
        total: FloatArray = self.fixed + x @ self.per_edge + surplus @ self.per_addition
        return total


def connected_macs(space: DagSpace, mode: Mode = "published") -> ConnectedCost:
    """Multiply-adds of one example: convolutions, linear layers, and one for every number that an addition takes in.

    ``exact`` counts what runs; ``published`` counts convolutions after up-sampling at the size before it, a fourth, as the
    published figures of convolutional neural fabrics do.

    Raises:
        ValueError: an unknown mode, or a module that cannot take its layer's shape; names the edge.

    Example:
        >>> from graphs import resnet
        >>> int(connected_macs(resnet(3)).cost(resnet(3).whole))  # ResNet-20
        40899200
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected one of {', '.join(get_args(Mode))}, got {mode!r}")
    dag = space.dag

    def macs(module: nn.Module, counts: Counts) -> int:
        upsampled = mode == "published" and isinstance(module, UpsampledConvolution)
        return counts.macs // 4 if upsampled else counts.macs

    sizes = [math.prod(layer_of(dag, node).shape) for node in space.connectivity.nodes]
    return _summed("macs", "MACs", space, macs, np.array(sizes, dtype=np.float64))


def connected_parameters(space: DagSpace) -> ConnectedCost:
    """Parameters of the modules that run.

    Raises:
        ValueError: a module that cannot take its layer's shape; names the edge.

    Example:
        >>> from graphs import resnet
        >>> int(connected_parameters(resnet(3)).cost(resnet(3).whole))  # ResNet-20
        273258
    """
    free = np.zeros(len(space.connectivity.nodes))
    return _summed("parameters", "parameters", space, lambda _, counts: counts.parameters, free)


def connected_latency(table: LatencyTable, space: DagSpace) -> ConnectedCost:
    """Latency in ms, or energy in mJ, by a table of modules and additions, summed over what runs; every network pays its ``fixed``.

    Raises:
        ValueError: the table is of another space, or has none or two entries for a module or an addition; names the first.
    """
    modules, additions = module_entries(space)
    entries = (((entry.block, entry.configuration), entry.median) for entry in table.entries)
    medians = medians_by_key(table, space.space.name, entries, [*modules, *additions], "{!r}, {!r}".format)
    per_edge, per_addition = (np.array([medians[key] for key in keys]) for keys in (modules, additions))
    return ConnectedCost(measured_name(table), table.unit, space, table.fixed, per_edge, per_addition)


def module_entries(space: DagSpace) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """How a latency table calls the modules (E,) and the additions (layers,): where they lead, and what they are."""
    parts = space.connectivity
    return [(f"{source} -> {target}", str(key)) for source, target, key in parts.edges], [(str(n), "addition") for n in parts.nodes]


def running_modules(space: DagSpace, architecture: Architecture, cost: str) -> BoolArray:
    """The modules (E,) that an architecture's network is made of, for the cost of that name.

    Raises:
        ValueError: the architecture is of another space, or joins nothing to the output.
    """
    running = space.connectivity.running(space.space, architecture)
    if not running.any():
        source, sink = space.connectivity.nodes[0], space.connectivity.nodes[-1]
        raise ValueError(
            f"cost {cost!r}: no path of modules that are on joins {source!r} to {sink!r}: a disconnected network has no cost"
        )
    return running


def _summed(
    name: str, unit: str, space: DagSpace, number: Callable[[nn.Module, Counts], int], per_addition: FloatArray
) -> ConnectedCost:
    parts = space.connectivity
    alike: dict[object, float] = {}  # fabrics repeat a few modules hundreds of times
    per_edge = np.zeros(len(parts.edges))
    for edge, key in enumerate(parts.edges):
        factory, shape = edge_of(space.dag, key).factory, layer_of(space.dag, key[0]).shape
        same = (_made_of(factory), shape)
        if same not in alike:
            alike[same] = float(_counted(key, factory, shape, number))
        per_edge[edge] = alike[same]
    everywhere = (parts.columns < 0) & _unavoidable(parts)
    fixed = float(per_edge[everywhere].sum())
    return ConnectedCost(name, unit, space, fixed, np.where(everywhere, 0.0, per_edge), per_addition)


def _made_of(factory: Callable[[], nn.Module]) -> object:
    """Equal for factories that make modules alike, as far as that can be told."""
    parts = (factory.func, factory.args, tuple(factory.keywords.items())) if isinstance(factory, partial) else factory
    try:
        hash(parts)
    except TypeError:  # made with a list, say: like no other factory
        return id(factory)
    return parts


def _counted(
    key: EdgeKey, factory: Callable[[], nn.Module], shape: tuple[int, ...], number: Callable[[nn.Module, Counts], int]
) -> int:
    try:
        with torch.device("meta"):  # no weights, no arithmetic
            module = factory()
            return number(module, count(module, shape))
    except ValueError as error:
        raise ValueError(f"edge {key!r}: {error}") from error


def _unavoidable(parts: Connectivity) -> BoolArray:
    """Which modules (E,) lie on every path from the source to the sink."""
    without = ~np.eye(len(parts.edges), dtype=np.bool_)
    unavoidable: BoolArray = ~parts.forwards(without)[:, -1]
    return unavoidable


def _incidence(parts: Connectivity) -> FloatArray:
    """(E, layers): 1 where a module leads into a layer."""
    incidence = np.zeros((len(parts.edges), len(parts.nodes)))
    incidence[np.arange(len(parts.edges)), parts.targets] = 1
    return incidence

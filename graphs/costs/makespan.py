"""How many steps a sub-graph takes on n machines that work side by side: list scheduling of modules and additions.

What is scheduled are modules (one step each, the identity none) and the additions at layers that add up (one step each, or none). A
priority order of all of them is fixed once, on the whole super-network. In every step the machines take, in that order, the first n
whose predecessors in the sub-graph were finished in an earlier step; the cost is the number of steps. The order matters:

- ``published`` is the one behind the published numbers: the reverse post-order of a depth-first search from the source that visits
  the modules out of a layer in reverse order of insertion.
- ``critical_path`` puts first what has the longest path left in the whole super-network (ties as published). Nothing guarantees
  that its schedules are shorter, but those of the whole convolutional fabrics of BSN are.

Reference: Véniat & Denoyer, Budgeted Super Networks, Fig. 8; Graham, Bounds on multiprocessing timing anomalies (list
scheduling); Hu, Parallel sequencing and assembly line problems (critical path first).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import networkx as nx
import numpy as np
import torch
from torch import nn

from graphs.costs.connected import running_modules
from graphs.space import Architecture
from graphs.spaces import DagSpace
from graphs.supernet import EdgeKey, edge_of, layer_of
from solvers.arrays import BoolArray, FloatArray

Order = Literal["published", "critical_path"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a machine does in one step: the module of an ``edge``, or the addition at a ``layer``; the other is None."""

    edge: EdgeKey | None
    layer: Hashable | None


@dataclass(frozen=True)
class MakespanCost:
    """Steps on ``machines`` machines. Build it with :func:`makespan_cost`, which says what the fields mean."""

    name: str
    unit: str
    dag_space: DagSpace
    machines: int
    order: Order
    additions: int

    def cost(self, architecture: Architecture) -> float:
        """Steps of the connected part of an architecture.

        Raises:
            ValueError: the architecture is of another space, or joins nothing to the output.
        """
        return float(len(self._steps(running_modules(self.dag_space, architecture, self.name))))

    def cost_of_running(self, running: BoolArray) -> FloatArray:
        """Steps (rows,) of sub-graphs whose modules (rows, E) run, as ``Connectivity.connected`` gives them; 0 where none does."""
        return np.array([float(len(self._steps(row))) for row in np.asarray(running)])

    @property
    def least(self) -> float:
        """Steps of the shortest path from source to sink, on however many machines: no connected sub-graph takes fewer."""
        plan, parts = self._plan, self.dag_space.connectivity
        edges, steps = len(parts.edges), plan.steps
        shortest = [0, *([len(steps)] * (len(parts.nodes) - 1))]
        for source, out in enumerate(plan.out_edges):
            for edge in out:
                target = plan.targets[edge]
                shortest[target] = min(shortest[target], shortest[source] + steps[edge] + steps[edges + target])
        return float(shortest[-1])

    def schedule(self, architecture: Architecture) -> list[list[Task]]:
        """What is done in every step of :meth:`cost`, at most ``machines`` tasks each, the first in order first.

        Raises:
            ValueError: as :meth:`cost`.
        """
        parts = self.dag_space.connectivity
        count = len(parts.edges)
        return [
            [Task(parts.edges[task], None) if task < count else Task(None, parts.nodes[task - count]) for task in step]
            for step in self._steps(running_modules(self.dag_space, architecture, self.name))
        ]

    def _steps(self, running: BoolArray) -> list[list[int]]:
        """Tasks done in every step: number of an edge, or number of edges + number of a layer."""
        plan, parts = self._plan, self.dag_space.connectivity
        edges = len(parts.edges)
        on: list[bool] = running.tolist()
        missing: list[int] = np.bincount(parts.targets[running], minlength=len(parts.nodes)).tolist()
        ready: list[int] = []  # ranks of tasks, a heap

        def finish(task: int) -> None:
            """Make ready what only waited for ``task``; what takes no step is finished at once."""
            finished = [task]
            while finished:
                done = finished.pop()
                if done >= edges:
                    followers = [edge for edge in plan.out_edges[done - edges] if on[edge]]
                else:
                    target = plan.targets[done]
                    missing[target] -= 1
                    followers = [] if missing[target] else [edges + target]
                for follower in followers:
                    if plan.steps[follower]:
                        heapq.heappush(ready, plan.rank[follower])
                    else:
                        finished.append(follower)

        steps: list[list[int]] = []
        finish(edges)  # the source layer, number 0
        while ready:
            step = [plan.task[heapq.heappop(ready)] for _ in range(min(self.machines, len(ready)))]
            steps.append(step)
            for task in step:
                finish(task)
        return steps

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan.of(self.dag_space, self.order, self.additions)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Tasks of the whole super-network: first the edges, then the layers.

    Attributes:
        steps: (tasks,) 0 or 1. Layers that do not add up (the source among them) and modules that are the identity take none.
        rank, task: (tasks,) place of a task in the order, and the task at a place.
        targets: (E,) layer an edge leads to.
        out_edges: (layers, ...) edges out of a layer.
    """

    steps: list[int]
    rank: list[int]
    task: list[int]
    targets: list[int]
    out_edges: list[list[int]]

    @classmethod
    def of(cls, space: DagSpace, order: Order, additions: int) -> _Plan:
        parts = space.connectivity
        edges, layers = len(parts.edges), len(parts.nodes)
        out_edges: list[list[int]] = [[] for _ in range(layers)]
        for edge, source in enumerate(parts.sources.tolist()):
            out_edges[source].append(edge)
        targets = parts.targets.tolist()
        with torch.device("meta"):
            steps = [int(not isinstance(edge_of(space.dag, key).factory(), nn.Identity)) for key in parts.edges]
        steps += [additions * int(layer_of(space.dag, node).aggregation in ("sum", "sum_relu")) for node in parts.nodes]
        steps[edges] = 0  # the source
        task = _reverse_post_order(edges, out_edges, targets)
        if order == "critical_path":
            tail = list(steps)  # steps from the start of a task to the end
            for layer in range(layers - 1, -1, -1):
                for edge in out_edges[layer]:
                    tail[edge] = steps[edge] + tail[edges + targets[edge]]
                tail[edges + layer] += max((tail[edge] for edge in out_edges[layer]), default=0)
            task.sort(key=lambda other: -tail[other])  # stable: ties stay as published
        rank = [0] * len(task)
        for place, other in enumerate(task):
            rank[other] = place
        return cls(steps, rank, task, targets, out_edges)


def _reverse_post_order(edges: int, out_edges: list[list[int]], targets: list[int]) -> list[int]:
    """Tasks in the reverse post-order of a depth-first search from layer 0, the edges out of a layer last first."""
    tasks = nx.DiGraph()
    for layer, out in enumerate(out_edges):
        tasks.add_node(edges + layer)
        tasks.add_edges_from((edges + layer, edge) for edge in reversed(out))
    tasks.add_edges_from((edge, edges + target) for edge, target in enumerate(targets))
    return list(nx.dfs_postorder_nodes(tasks, edges))[::-1]


def makespan_cost(
    space: DagSpace, machines: int, order: Order = "published", additions: int = 1, name: str | None = None
) -> MakespanCost:
    """Sequential steps of the connected part of a sub-graph on ``machines`` machines.

    Args:
        order: ``published`` or ``critical_path``, see the top of this file.
        additions: steps that the addition at a layer takes, 0 or 1; identities take none.
        name: of the cost; ``steps on 2 machines`` and the like if not given.

    Raises:
        ValueError: no machine, an unknown order, or additions of other than 0 or 1 steps.

    Example:
        >>> from graphs import resnet
        >>> makespan_cost(resnet(3), machines=2).cost(resnet(3).whole)
        20.0
    """
    if machines < 1:
        raise ValueError(f"expected one machine or more, got {machines}")
    if order not in get_args(Order):
        raise ValueError(f"order: expected one of {', '.join(get_args(Order))}, got {order!r}")
    if additions not in (0, 1):
        raise ValueError(f"additions: expected 0 or 1 steps, got {additions}")
    called = name or f"steps on {machines} machine{'s' if machines > 1 else ''}"
    return MakespanCost(called, "steps", space, machines, order, additions)

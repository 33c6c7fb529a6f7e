"""Compile a super-network graph into torch, run it under gates, and extract bare networks from it.

``Supernet.forward(images, gates)`` takes one gate a decision: a distribution over its options, for the whole batch (options,) or
one a row (B, options). One-hot gates run one architecture (or one a row); gates that need gradients run the mixture, so that the
gradient of every option is right. Modules that no row uses, or whose output cannot reach the sink, do not run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Set
from itertools import pairwise
from typing import Any, cast

import networkx as nx
import torch
from torch import Tensor, nn

from graphs.dag import Edge, EdgeKey, edge_of, layer_of, reachable_nodes, validate_dag
from graphs.feature_maps import FeatureMaps, rectified_layers
from graphs.space import Architecture, SearchSpace

__all__ = ["ExtractedNetwork", "Gates", "Supernet", "compile_supernet"]

Gates = Mapping[str, Tensor]


class Supernet(nn.Module):
    """All modules of a super-network with shared weights. Build it with :func:`compile_supernet`."""

    def __init__(self, dag: nx.MultiDiGraph, space: SearchSpace) -> None:
        super().__init__()
        self.source, self.sink = validate_dag(dag, space)
        self.dag, self.space = dag, space
        self.order: list[Hashable] = list(nx.topological_sort(dag))
        self.edge_keys: list[EdgeKey] = list(dag.edges(keys=True))
        self.edge_modules = nn.ModuleList(edge_of(dag, key).factory() for key in self.edge_keys)
        self.rectified = rectified_layers(dag)
        self._connected: dict[tuple[int, ...], list[int]] = {}

    def gates(self, architecture: Architecture, device: torch.device | None = None) -> dict[str, Tensor]:
        """The one-hot gates of an architecture of one-unit decisions, each of shape (options,)."""
        x = torch.as_tensor(self.space.point(architecture), dtype=torch.get_default_dtype(), device=device)
        return {decision.name: x[self.space.slice(decision.name)] for decision in self.space.decisions}

    def forward(self, images: Tensor, gates: Gates) -> Tensor:
        """The output at the sink for ``images`` (B, *source shape).

        Raises:
            ValueError: a gate is missing or has the wrong shape, or no module with a gate above zero joins the source to the sink.
        """
        self._check_gates(gates, len(images))
        maps = FeatureMaps(self.source, images, self.rectified)
        for index in self._running_edges(gates):
            source, target, _ = key = self.edge_keys[index]
            maps.add(target, self._run_edge(index, edge_of(self.dag, key), maps.read(source), gates))
        return maps.read(self.sink)

    def _run_edge(self, index: int, edge: Edge, features: Tensor, gates: Gates) -> Tensor:
        module = self.edge_modules[index]
        if edge.decision is None:
            return cast(Tensor, module(features))
        gate = gates[edge.decision]
        if edge.option is None:
            return cast(Tensor, module(features, gate))
        output: Tensor = module(features)
        weight = gate[..., edge.option].to(output.dtype)
        if weight.ndim == 0:
            return output if not weight.requires_grad and float(weight) == 1.0 else output * weight
        return output * weight.reshape(-1, *([1] * (output.ndim - 1)))

    def _running_edges(self, gates: Gates) -> list[int]:
        """Edges in topological order that some row uses (or whose gate needs a gradient) on a path from source to sink."""
        live = tuple(index for index, key in enumerate(self.edge_keys) if _is_on(edge_of(self.dag, key), gates))
        if live not in self._connected:
            if len(self._connected) > 4096:  # sampling visits many sub-graphs: forget them before they fill the memory
                self._connected.clear()
            self._connected[live] = self._connect(live)
        return self._connected[live]

    def _connect(self, live: tuple[int, ...]) -> list[int]:
        graph = nx.MultiDiGraph()
        graph.add_nodes_from((self.source, self.sink))
        graph.add_edges_from(self.edge_keys[index] for index in live)
        kept = reachable_nodes(graph, self.source, self.sink)
        if self.sink not in nx.descendants(graph, self.source):
            raise ValueError(f"no module with a gate above zero joins {self.source!r} to {self.sink!r}: the gates disconnect them")
        position = {node: place for place, node in enumerate(self.order)}
        running = [index for index in live if self.edge_keys[index][0] in kept and self.edge_keys[index][1] in kept]
        return sorted(running, key=lambda index: position[self.edge_keys[index][0]])

    def _check_gates(self, gates: Gates, rows: int) -> None:
        for decision in self.space.decisions:
            gate = gates.get(decision.name)
            options = len(decision.options)
            if gate is None or tuple(gate.shape) not in {(options,), (rows, options)}:
                got = "no gate" if gate is None else f"a gate of shape {tuple(gate.shape)}"
                raise ValueError(
                    f"decision {decision.name!r}: expected a gate of shape ({options},) or ({rows}, {options}), got {got}"
                )

    def extract(self, architecture: Architecture) -> nn.Module:
        """The bare network of an architecture: plain modules with copies of the weights, the same output as the super-network's.

        A chain becomes an ``nn.Sequential``, anything else an :class:`ExtractedNetwork`. Torch's random state is left alone.

        Raises:
            ValueError: a decision of several units (its counts would scale outputs), or gates that disconnect the network.
        """
        for decision in self.space.decisions:
            architecture.choice(decision.name)
        selected: list[tuple[EdgeKey, nn.Module]] = []
        with torch.random.fork_rng(devices=[]):  # fresh modules draw weights, which copies then replace
            for index in self._running_edges(self.gates(architecture)):
                key = self.edge_keys[index]
                edge, module = edge_of(self.dag, key), self.edge_modules[index]
                if edge.decision is not None and edge.option is None:
                    narrow = cast(Callable[[int], nn.Module], module.narrow)
                    selected.append((key, narrow(architecture.choice(edge.decision))))
                else:
                    selected.append((key, _copy(module, edge)))
        if all(before[1] == after[0] for (before, _), (after, _) in pairwise(selected)):
            return self._chain(selected).train(self.training)
        return ExtractedNetwork(selected, self.source, self.sink, self.rectified).train(self.training)

    def _chain(self, selected: list[tuple[EdgeKey, nn.Module]]) -> nn.Sequential:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for (_, target, _), module in selected:
            name = str(target).replace(".", "_")
            if not isinstance(module, nn.Identity):
                parts[name] = module
            if target in self.rectified:
                parts[f"{name}_relu"] = nn.ReLU()
        return nn.Sequential(parts)


class ExtractedNetwork(nn.Module):
    """Plain modules on the edges of a DAG; outputs that meet are added, and rectified in the layers ``rectified``."""

    def __init__(
        self, edges: list[tuple[EdgeKey, nn.Module]], source: Hashable, sink: Hashable, rectified: Set[Hashable] = frozenset()
    ) -> None:
        super().__init__()
        self.source, self.sink, self.rectified = source, sink, frozenset(rectified)
        self.keys = [key for key, _ in edges]
        self.edge_modules = nn.ModuleList(module for _, module in edges)

    def forward(self, images: Tensor) -> Tensor:
        maps = FeatureMaps(self.source, images, self.rectified)
        for (source, target, _), module in zip(self.keys, self.edge_modules, strict=True):
            maps.add(target, module(maps.read(source)))
        return maps.read(self.sink)


def compile_supernet(dag: nx.MultiDiGraph, space: SearchSpace) -> Supernet:
    """Build the modules of a validated super-network and check that every edge maps its source's shape to its target's.

    Raises:
        ValueError: as :func:`graphs.validate_dag`, or an edge whose module fails on, or gives another shape than, its layers say.
    """
    supernet = Supernet(dag, space)
    was_training = supernet.training
    supernet.eval()
    with torch.no_grad():
        for key, module in zip(supernet.edge_keys, supernet.edge_modules, strict=True):
            _check_shape(dag, space, key, module)
    return supernet.train(was_training)


def _check_shape(dag: nx.MultiDiGraph, space: SearchSpace, key: EdgeKey, module: nn.Module) -> None:
    source, target, _ = key
    edge = edge_of(dag, key)
    images = torch.zeros(1, *layer_of(dag, source).shape)
    arguments: tuple[Any, ...] = (images,)
    if edge.decision is not None and edge.option is None:
        options = next(len(d.options) for d in space.decisions if d.name == edge.decision)
        arguments = (images, torch.full((options,), 1 / options))
    try:
        shape = tuple(module(*arguments).shape[1:])
    except RuntimeError as error:
        raise ValueError(
            f"edge {key!r}: its module cannot take the shape {layer_of(dag, source).shape} of {source!r}: {error}"
        ) from error
    if shape != layer_of(dag, target).shape:
        raise ValueError(f"edge {key!r}: its module gives shape {shape}, but {target!r} has shape {layer_of(dag, target).shape}")


def _is_on(edge: Edge, gates: Gates) -> bool:
    if edge.decision is None or edge.option is None:
        return True
    gate = gates[edge.decision]
    return bool(gate.requires_grad) or bool((gate[..., edge.option] != 0).any())


def _copy(module: nn.Module, edge: Edge) -> nn.Module:
    twin = edge.factory()
    reference = next(module.parameters(), None)
    if reference is not None:
        twin = twin.to(reference)
    twin.load_state_dict(module.state_dict())
    return twin.train(module.training)

"""The feature maps of one forward pass through a DAG of modules.

Outputs that meet in a layer are added, those of some rows of the batch into their rows alone; a ``sum_relu`` layer is rectified
once all of them are there. Modules must be run in the order of their source layers, so that a layer is complete when it is first
read; what the layers before it held is forgotten then.
"""

from __future__ import annotations

from collections.abc import Hashable, Set

import networkx as nx
from torch import Tensor

from graphs.supernet.dag import layer_of
from graphs.supernet.rows import add_rows


class FeatureMaps:
    """The layers between the modules that have run and those that have not."""

    def __init__(self, source: Hashable, images: Tensor, rectified: Set[Hashable]) -> None:
        self._node, self._finished = source, images
        self._rows = images.shape[0]  # not len: torch.export would take the batch size for a constant
        self._rectified = rectified
        self._sums: dict[Hashable, Tensor] = {}  # of outputs of all rows
        self._parts: dict[Hashable, tuple[list[Tensor], list[Tensor]]] = {}  # outputs of some rows, and which

    def __contains__(self, node: Hashable) -> bool:
        """Whether anything has been added to ``node`` (or it was read last)."""
        return node == self._node or node in self._sums or node in self._parts

    def read(self, node: Hashable) -> Tensor:
        """The finished map of ``node``; nothing may be added to it afterwards, and the layer read before is forgotten."""
        if node != self._node:
            features = self._sums.pop(node, None)
            if node in self._parts:
                outputs, sets = self._parts.pop(node)
                whole = () if features is None else (features,)
                features = add_rows(self._rows, [*whole, *outputs], [*[None for _ in whole], *sets])
            if features is None:
                raise KeyError(f"layer {node!r} is read before anything was added to it")
            self._node, self._finished = node, features.relu() if node in self._rectified else features
        return self._finished

    def add(self, node: Hashable, output: Tensor, rows: Tensor | None = None) -> None:
        """Add a module's output, of all rows of the batch or of the (distinct) ``rows`` alone; what is never added to is zero."""
        if rows is not None:
            outputs, sets = self._parts.setdefault(node, ([], []))
            outputs.append(output)
            sets.append(rows)
        elif node in self._sums:
            self._sums[node] = self._sums[node] + output
        else:
            self._sums[node] = output


def rectified_layers(dag: nx.MultiDiGraph) -> frozenset[Hashable]:
    """The layers of ``dag`` that are rectified once their outputs are added; never the source, which nothing is added to."""
    return frozenset(node for node in dag if dag.in_degree(node) and layer_of(dag, node).aggregation == "sum_relu")

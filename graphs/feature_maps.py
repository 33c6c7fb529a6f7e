"""The feature maps of one forward pass through a DAG of modules.

Outputs that meet in a layer are added, those of some rows of the batch into their rows alone; a ``sum_relu`` layer is rectified
once all of them are there. Modules must be run in the order of their source layers, so that a layer is complete when it is first
read; what the layers before it held is forgotten then.
"""

from __future__ import annotations

from collections.abc import Hashable, Set

import networkx as nx
import torch
from torch import Tensor

from graphs.dag import layer_of

__all__ = ["FeatureMaps", "rectified_layers", "scatter"]


class FeatureMaps:
    """The layers between the modules that have run and those that have not."""

    def __init__(self, source: Hashable, images: Tensor, rectified: Set[Hashable]) -> None:
        self._node, self._finished = source, images
        self._rows = len(images)
        self._rectified = rectified
        self._sums: dict[Hashable, Tensor] = {}
        self._own: set[Hashable] = set()  # sums that no module has seen: these may be changed in place

    def __contains__(self, node: Hashable) -> bool:
        """Whether anything has been added to ``node`` (or it was read last)."""
        return node == self._node or node in self._sums

    def read(self, node: Hashable) -> Tensor:
        """The finished map of ``node``; nothing may be added to it afterwards, and the layer read before is forgotten."""
        if node != self._node:
            features = self._sums.pop(node)
            self._node, self._finished = node, features.relu() if node in self._rectified else features
        return self._finished

    def add(self, node: Hashable, output: Tensor, rows: Tensor | None = None) -> None:
        """Add a module's output, of all rows of the batch or of the (distinct) ``rows`` alone; what is never added to is zero."""
        total = self._sums.get(node)
        if total is None:
            self._sums[node] = output if rows is None else scatter(output, rows, self._rows)
            if rows is not None:
                self._own.add(node)
            return
        if total.dtype != output.dtype:  # under autocast modules differ in what they return
            dtype = torch.promote_types(total.dtype, output.dtype)
            total, output = total.to(dtype), output.to(dtype)
        # The first output is its module's own tensor (an identity's is even the layer before), which backward may need unchanged.
        if rows is None:
            self._sums[node] = total.add_(output) if node in self._own else total + output
        else:
            self._sums[node] = total.index_add_(0, rows, output) if node in self._own else total.index_add(0, rows, output)
        self._own.add(node)


def rectified_layers(dag: nx.MultiDiGraph) -> frozenset[Hashable]:
    """The layers of ``dag`` that are rectified once their outputs are added; never the source, which nothing is added to."""
    return frozenset(node for node in dag if dag.in_degree(node) and layer_of(dag, node).aggregation == "sum_relu")


def scatter(output: Tensor, rows: Tensor, count: int) -> Tensor:
    """``output`` in ``rows`` of a batch of ``count``, zero elsewhere, in the memory layout of ``output``."""
    channels_last = output.ndim == 4 and not output.is_contiguous() and output.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    empty = torch.empty((count, *output.shape[1:]), dtype=output.dtype, device=output.device, memory_format=layout)
    return empty.zero_().index_copy_(0, rows, output)

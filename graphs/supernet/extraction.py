"""Bare networks: what is left of a super-network once an architecture is chosen.

Plain modules with copies of the weights, nothing that is switched off or leads nowhere, and no gates. A chain of modules becomes an
``nn.Sequential``, anything else an :class:`ExtractedNetwork`.

Reference: Véniat & Denoyer, Budgeted Super Networks, Sec. 3.1 (the network that a sub-graph defines).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence, Set
from itertools import pairwise

from torch import Tensor, nn

from graphs.supernet.dag import Edge, EdgeKey
from graphs.supernet.feature_maps import FeatureMaps


class ExtractedNetwork(nn.Module):
    """Modules between the layers of a DAG; outputs that meet are added, and rectified in the layers ``rectified``.

    Its modules lie in ``edge_modules`` under readable names (``a -> b``, with the edge's key where it has one), dots replaced.

    Args:
        edges: the modules, in the order of their source layers.
        source, sink: where the images come in and the output goes out.
        rectified: layers with a ReLU after the sum.
    """

    def __init__(
        self, edges: Sequence[tuple[EdgeKey, nn.Module]], source: Hashable, sink: Hashable, rectified: Set[Hashable] = frozenset()
    ) -> None:
        super().__init__()
        self.source, self.sink = source, sink
        self.keys = [key for key, _ in edges]
        self.rectified = tuple(dict.fromkeys(target for _, target, _ in self.keys if target in rectified))
        self.edge_modules = nn.ModuleDict()
        for (start, end, key), module in edges:
            name = f"{start} -> {end}" if key is None or key == 0 else f"{start} -> {end} {key}"
            self.edge_modules[_unused(name, self.edge_modules.keys())] = module

    def forward(self, images: Tensor) -> Tensor:
        """The output (B, *sink shape) for ``images`` (B, *source shape)."""
        maps = FeatureMaps(self.source, images, frozenset(self.rectified))
        for (source, target, _), module in zip(self.keys, self.edge_modules.values(), strict=True):
            maps.add(target, module(maps.read(source)))
        return maps.read(self.sink)

    def extra_repr(self) -> str:
        rectified = f"; ReLU after the sum in {', '.join(map(str, self.rectified))}" if self.rectified else ""
        return f"{self.source} -> {self.sink}{rectified}"


def bare_network(
    edges: Sequence[tuple[EdgeKey, nn.Module]], source: Hashable, sink: Hashable, rectified: Set[Hashable]
) -> nn.Sequential | ExtractedNetwork:
    """The network of the modules ``edges``, which are in the order of their source layers and all lie on paths to the sink."""
    if any(before[1] != after[0] for (before, _), (after, _) in pairwise(edges)):
        return ExtractedNetwork(edges, source, sink, rectified)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for (_, target, _), module in edges:
        if not isinstance(module, nn.Identity):
            parts[_unused(str(target), parts.keys())] = module
        if target in rectified:
            parts[_unused(f"{target}_relu", parts.keys())] = nn.ReLU()
    return nn.Sequential(parts)


def copy_module(module: nn.Module, edge: Edge) -> nn.Module:
    """A fresh module of the edge's factory with copies of the weights and statistics of ``module``."""
    twin = edge.factory()
    reference = next(module.parameters(), None)
    if reference is not None:
        twin = twin.to(reference)
    twin.load_state_dict(module.state_dict())
    return twin.train(module.training)


def _unused(name: str, taken: Set[str]) -> str:
    """``name`` as torch allows it (no dots), numbered if it is taken."""
    name = name.replace(".", "_")
    if name not in taken:
        return name
    return next(f"{name} ({number})" for number in range(2, len(taken) + 3) if f"{name} ({number})" not in taken)

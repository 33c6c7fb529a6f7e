"""A network whose layers take counts of operations, or widths, all from one set of weights.

Made from a user's network by ``graphs.filters.conversion.filter_network``. ``configure`` sets it to the counts of an architecture
and chooses the batch statistics; ``constrained_nas.training.loop.recalibrate`` works on the statistics in use and on no others.

Reference: Zur et al., Sec. 3; Fig. A.1.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, fx, nn

from graphs.filters.layers import FRESH, FilterActivation, FilterAddition, FilterConv, LeadingLinear, SwitchableNorm
from graphs.filters.quantization import CLAMP_SIGMAS
from graphs.filters.space import FilterTopology, Operation


class FilterNetwork(nn.Module):
    """A network whose layers take counts of operations, or widths; made by ``filter_network``.

    Attributes:
        topology: its layers, for spaces and costs.
        operations: what filters may be given.
        sets: the names of the statistics, ``fresh`` last.
    """

    def __init__(
        self,
        body: fx.GraphModule,
        topology: FilterTopology,
        operations: Sequence[Operation],
        sets: Sequence[str],
        owners: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.body = body
        self.topology = topology
        self.operations = tuple(operations)
        self.sets = tuple(dict.fromkeys((*sets, FRESH)))
        self.owners = dict(owners)  # module of the body: the layer whose filters it works on

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.body(images))

    def configure(self, layer_counts: ArrayLike, statistics: str = FRESH) -> None:
        """Set every layer.

        Args:
            layer_counts: (layers, operations) in the topology's order, as ``FilterSpace.layer_counts`` has them; of a network
                with one operation they are widths.
            statistics: the set of batch statistics; ``fresh`` ones start anew: recalibrate before evaluation.

        Raises:
            ValueError: another shape, counts that are not whole, negative, of no or too many filters; a shortcut's convolution of
                another width than the layer it is added to; an unknown set of statistics.
        """
        counts = np.asarray(layer_counts)
        layers = self.topology.layers
        if counts.shape != (len(layers), len(self.operations)) or (counts != np.rint(counts)).any() or (counts < 0).any():
            expected = (len(layers), len(self.operations))
            raise ValueError(f"expected whole counts, none negative, of shape {expected}, got shape {counts.shape}")
        if statistics not in self.sets:
            raise ValueError(f"no statistics {statistics!r}; there are {', '.join(self.sets)}")
        widths = dict(zip((layer.name for layer in layers), counts.sum(1).astype(int).tolist(), strict=True))
        for layer in layers:
            if not 1 <= widths[layer.name] <= layer.filters:
                raise ValueError(f"layer {layer.name!r}: expected 1 to {layer.filters} filters, got {widths[layer.name]}")
            if layer.follows is not None and widths[layer.follows] != widths[layer.name]:
                found = f"{widths[layer.name]} and {widths[layer.follows]}"
                raise ValueError(f"layers {layer.name!r} and {layer.follows!r} are added: expected one width, got {found}")
        rows = dict(zip(widths, counts.astype(int).tolist(), strict=True))
        for name, owner in self.owners.items():
            module = self.body.get_submodule(name)
            if isinstance(module, FilterConv | FilterActivation):
                module.assign(rows[owner])
        for module in self.modules():
            if isinstance(module, SwitchableNorm):
                module.switch(statistics)

    def inject_noise(self, share: float, generator: torch.Generator | None) -> None:
        """In training, give ``share`` of the weights uniform noise in place of rounding (5 % in the paper); 0 turns it off.

        Raises:
            ValueError: a share out of [0, 1], or no generator for it.
        """
        if not 0.0 <= share <= 1.0 or (share > 0.0 and generator is None):
            raise ValueError(f"expected a share in [0, 1] and, above 0, a torch.Generator; got {share} and {generator}")
        for module in self.modules():
            if isinstance(module, FilterConv):
                module.noise_share, module.noise = share, generator

    @torch.no_grad()
    def calibrate_activations(self, batches: Iterable[Tensor]) -> None:
        """Set all bounds to mean + 3.45 sigma of the positive activations, in floating point, over ``batches`` of images.

        The network runs as it is set and in its mode, with its activations unrounded.

        Raises:
            ValueError: no batches, or an activation that is never positive.
        """
        activations = {name: module for name, module in self.named_modules() if isinstance(module, FilterActivation)}
        for module in activations.values():
            module.observed = []
        try:
            for images in batches:
                self(images)
            for name, module in activations.items():
                total, squares, number = map(sum, zip(*(module.observed or [(0.0, 0.0, 0)]), strict=True))
                if not number:
                    raise ValueError(f"{name}: no positive activation was seen; calibrate on images, after training")
                mean = total / number
                module.bound.fill_(mean + CLAMP_SIGMAS * max(0.0, squares / number - mean**2) ** 0.5)
        finally:
            for module in activations.values():
                module.observed = None

    @torch.no_grad()
    def extract(self) -> fx.GraphModule:
        """A network of plain modules with copies of what the present setting uses: narrow convolutions with rounded weights.

        Activations of fewer than 32 bits stay rounded (``RoundedReLU``), additions stay modules; all else is ``torch.nn``.
        """
        plain = copy.deepcopy(self.body)
        widths = {
            layer: cast(FilterConv, self.body.get_submodule(layer)).width for layer in self.owners if layer in self.topology.index
        }
        inputs = {layer.name: layer.channels if layer.source is None else widths[layer.source] for layer in self.topology.layers}
        for name, layer in self.owners.items():
            module, width = plain.get_submodule(name), widths[layer]
            if isinstance(module, FilterConv):
                narrow: nn.Module = module.eval().narrow(inputs[layer])
            elif isinstance(module, LeadingLinear):
                full = self.topology.layers[self.topology.index[layer]].filters
                narrow = module.narrow(module.in_features // full * width)
            elif isinstance(module, FilterAddition):
                narrow = module.narrow(width, widths.get(module.source, width))
            else:
                narrow = cast("SwitchableNorm | FilterActivation", module).narrow(width)
            parent, _, child = name.rpartition(".")
            plain.get_submodule(parent).add_module(child, narrow.train(module.training))
        return plain.train(self.training)

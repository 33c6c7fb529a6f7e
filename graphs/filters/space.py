"""The filters of a network as a search space: how many of each layer get which operation, or how many there are.

A ``FilterTopology`` is what costs need to know of a network of convolutions, normalization, ReLU and shortcuts: each layer's
filters, window, output positions, and the layer whose (quantized) output it reads. A ``FilterSpace`` says what is decided:
counts of operations, one decision of ``units = C`` a layer ("quantization"), or widths ("width"); layers may share a decision, as
a shortcut's convolution shares that of the layer it is added to, or all layers of a stage one width.

Layer counts are arrays (..., layers, operations) in the topology's order. In a width space there is one operation, so
(..., layers, 1) are widths.

Reference: Zur et al., Towards Learning of Filter-Level Heterogeneous Compression of CNNs, Sec. 3 and Fig. A.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.filters.quantization import FLOAT_BITS
from graphs.space import Architecture, Decision, SearchSpace


@dataclass(frozen=True, slots=True)
class Operation:
    """The bit widths of a filter's weights and of what it puts out. 32 means floating point.

    Raises:
        ValueError: weights below 2 bits, activations below 1, or more than 16 that are not 32.

    Example:
        >>> Operation(weight_bits=2, activation_bits=4).name
        'w2a4'
    """

    weight_bits: int
    activation_bits: int

    def __post_init__(self) -> None:
        for what, bits, least in (("weight", self.weight_bits, 2), ("activation", self.activation_bits, 1)):
            if not (least <= bits <= 16 or bits == FLOAT_BITS):
                raise ValueError(f"operation: expected {least} to 16 {what} bits, or {FLOAT_BITS} for floats, got {bits}")

    @property
    def name(self) -> str:
        """``w2a4``: the option's name in files and tables."""
        return f"w{self.weight_bits}a{self.activation_bits}"


FLOAT = Operation(FLOAT_BITS, FLOAT_BITS)
PAPER_OPERATIONS = (Operation(2, 2), Operation(2, 4), Operation(3, 3), Operation(8, 8))


@dataclass(frozen=True, slots=True)
class FilterLayer:
    """A convolution: ``filters`` of ``window`` (k^2) x input channels, at ``positions`` (H W) output pixels.

    Attributes:
        source: the layer whose activations it reads; None: the image.
        channels: input channels at full width.
        stage: layers of one stage put out one shape.
        follows: the layer whose width is also its own: that which the convolution of a shortcut is added to, that which a depthwise
            convolution reads, that which squeeze-and-excitation scales.
        depthwise: each filter reads the one channel of its own number.
    """

    name: str
    filters: int
    window: int
    positions: int
    source: str | None
    channels: int
    stage: str
    follows: str | None = None
    depthwise: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """An identity shortcut from the activations of ``source`` onto ``target``.

    Where their widths differ a 1x1 projection of ``positions`` output pixels is inserted, and counted.
    """

    source: str
    target: str
    positions: int


@dataclass(frozen=True)
class FilterTopology:
    """Layers in the order in which they run, and identity shortcuts.

    Raises:
        ValueError: no layers, repeated names, a source that does not run before its reader, or channels that are not its filters.

    Example:
        >>> conv = FilterLayer("conv", filters=16, window=9, positions=32 * 32, source=None, channels=3, stage="first")
        >>> FilterTopology("toy", (conv,)).quantization_space().architecture([[4, 4, 0, 8]]).counts
        {'conv': (4, 4, 0, 8)}
    """

    name: str
    layers: tuple[FilterLayer, ...]
    joins: tuple[Join, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError(f"topology {self.name!r}: expected at least one layer")
        filters: dict[str, int] = {}
        for layer in self.layers:
            if layer.name in filters:
                raise ValueError(f"topology {self.name!r}: two layers are named {layer.name!r}")
            if layer.source is not None and filters.get(layer.source) != layer.channels:
                raise ValueError(
                    f"layer {layer.name!r} reads {layer.channels} channels of {layer.source!r}, which "
                    + (f"has {filters[layer.source]} filters" if layer.source in filters else "does not run before it")
                )
            if min(layer.filters, layer.window, layer.positions, layer.channels) < 1:
                raise ValueError(f"layer {layer.name!r}: expected positive sizes, got {layer}")
            filters[layer.name] = layer.filters
        for layer in self.layers:
            if layer.follows is not None and filters.get(layer.follows) != layer.filters:
                raise ValueError(f"layer {layer.name!r} follows {layer.follows!r}, which is no layer of {layer.filters} filters")

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each layer."""
        return {layer.name: position for position, layer in enumerate(self.layers)}

    @cached_property
    def last(self) -> int:
        """Position of the layer that the classifier reads: the last that follows no other."""
        return max(position for position, layer in enumerate(self.layers) if layer.follows is None)

    @cached_property
    def filters(self) -> NDArray[np.int64]:
        """Filters of each layer, (layers,)."""
        return np.array([layer.filters for layer in self.layers])

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """Position of each layer's source, (layers,); -1 for the image."""
        return np.array([-1 if layer.source is None else self.index[layer.source] for layer in self.layers])

    def quantization_space(
        self, operations: Sequence[Operation] = PAPER_OPERATIONS, *, shortcuts: Literal["follow", "own"] = "follow"
    ) -> FilterSpace:
        """Counts of ``operations`` in each layer; a shortcut's convolution follows the layer it is added to, or decides for itself.

        Raises:
            ValueError: no operations, or one named twice; a depthwise layer.
        """
        depthwise = next((layer.name for layer in self.layers if layer.depthwise), None)
        if depthwise is not None:
            raise ValueError(f"layer {depthwise!r} is depthwise: its filters have widths, no operations of their own")
        names = tuple(operation.name for operation in operations)
        owners = [layer.follows if layer.follows and shortcuts == "follow" else layer.name for layer in self.layers]
        decisions = tuple(Decision(name, names, self.layers[self.index[name]].filters) for name in dict.fromkeys(owners))
        return FilterSpace(self, "quantization", tuple(operations), SearchSpace(f"{self.name}-bits", decisions), tuple(owners))

    def width_space(
        self, *, per: Literal["layer", "stage"] = "layer", widths: Mapping[str, Sequence[int]] | None = None
    ) -> FilterSpace:
        """The width of each layer, or one of each stage: any from 1 to C, or those of ``widths[decision]``.

        Raises:
            ValueError: widths of an unknown decision, or out of 1 to C.
        """
        leads = [self.layers[self.index[layer.follows or layer.name]] for layer in self.layers]
        owners = [lead.stage if per == "stage" else lead.name for lead in leads]
        filters = dict(zip(owners, (layer.filters for layer in self.layers), strict=True))
        unknown = sorted(set(widths or {}) - set(filters))
        if unknown:
            raise ValueError(f"widths of unknown decisions {unknown}; there are {sorted(filters)}")
        decisions = []
        for name, most in filters.items():
            offered = list((widths or {}).get(name, range(1, most + 1)))
            if not offered or min(offered) < 1 or max(offered) > most:
                raise ValueError(f"widths of {name!r}: expected numbers from 1 to {most}, got {offered}")
            decisions.append(Decision(name, tuple(map(str, offered))))
        return FilterSpace(self, "width", (FLOAT,), SearchSpace(f"{self.name}-widths", tuple(decisions)), tuple(owners))


@dataclass(frozen=True)
class FilterSpace:
    """What is decided about the filters of a topology; build it by the topology's methods.

    Attributes:
        topology: the layers.
        kind: ``quantization`` (counts of operations) or ``width``.
        operations: in the order in which sorted filters get them (Fig. A.1).
        space: the decisions.
        owners: (layers,) the decision of each layer.
    """

    topology: FilterTopology
    kind: Literal["quantization", "width"]
    operations: tuple[Operation, ...]
    space: SearchSpace
    owners: tuple[str, ...]

    @cached_property
    def owner_index(self) -> NDArray[np.int64]:
        """(layers,) position of each layer's decision."""
        position = {decision.name: index for index, decision in enumerate(self.space.decisions)}
        return np.array([position[owner] for owner in self.owners])

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """(decisions,) filters that each decision speaks of at full width."""
        filters = np.zeros(len(self.space.decisions), dtype=np.int64)
        filters[self.owner_index] = self.topology.filters
        return filters

    @property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of configurations."""
        if self.kind == "width":
            return math.fsum(math.log10(len(decision.options)) for decision in self.space.decisions)
        options = len(self.operations)
        return math.fsum(math.log10(math.comb(int(units) + options - 1, options - 1)) for units in self.units)

    def decision_counts(self, architecture: Architecture) -> NDArray[np.int64]:
        """(decisions, operations) counts, in a width space (decisions, 1) widths.

        Raises:
            ValueError: the architecture is of another space.
        """
        self.space.point(architecture)  # checks it
        if self.kind == "quantization":
            return np.array([architecture.counts[decision.name] for decision in self.space.decisions])
        return np.array([[int(d.options[architecture.choice(d.name)])] for d in self.space.decisions])

    def layer_counts(self, architecture: Architecture) -> NDArray[np.int64]:
        """(layers, operations): :meth:`decision_counts` of each layer's decision."""
        counts: NDArray[np.int64] = self.decision_counts(architecture)[self.owner_index]
        return counts

    def architecture(self, decision_counts: ArrayLike) -> Architecture:
        """The architecture of (decisions, operations) counts, or (decisions, 1) or (decisions,) widths.

        Raises:
            ValueError: another shape, counts that are not whole or do not sum to the filters, a width that is not offered.
        """
        given = np.asarray(decision_counts)
        if self.kind == "width":
            given = given.reshape(-1)
        decisions = len(self.space.decisions)
        expected = (decisions, len(self.operations)) if self.kind == "quantization" else (decisions,)
        if given.shape != expected or (given != np.rint(given)).any():
            raise ValueError(f"space {self.space.name!r}: expected whole counts {expected}, got shape {given.shape}: {given}")
        whole = given.astype(int).tolist()
        if self.kind == "width":
            return self.space.choose({d.name: str(width) for d, width in zip(self.space.decisions, whole, strict=True)})
        architecture = Architecture({d.name: tuple(row) for d, row in zip(self.space.decisions, whole, strict=True)})
        self.space.point(architecture)  # checks it
        return architecture

    def homogeneous(self, operation: int = 0, share: float = 1.0) -> Architecture:
        """Every filter at one operation; in a width space every layer at ``share`` of its filters (rounded, at least one)."""
        if self.kind == "width":
            return self.architecture(np.maximum(1, np.rint(share * self.units)))
        counts = np.zeros((len(self.units), len(self.operations)))
        counts[:, operation] = self.units
        return self.architecture(counts)

"""From a user's network of convolution, normalization, ReLU and shortcuts to one whose filters have operations or widths.

``filter_network`` traces the module with ``torch.fx`` and follows the channels: a convolution reads the image or activations, its
output is normalized, perhaps added to a shortcut, and activated; pooling passes channels on; flattening ends them at the
classifier. Where filters are given widths alone (``(FLOAT,)``), inverted residuals are part of the picture: depthwise convolutions
take the width of what they read, projections need no activation before they are added or read, activations may be others than ReLU,
and squeeze-and-excitation has a width of its own inside and takes that of what it scales. Whatever does not fit is refused by name.
The weights are copied, so a trained network keeps what it learned: at full width and in floating point the result computes exactly
what the module did.

The activations after an addition belong to the main path's last convolution: its counts say their bits. Of two convolutions that
meet, the one with the larger window is the main path, of equal ones the first operand.

Reference: Zur et al., Sec. 3; Fig. A.1.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from graphs.filters.layers import FilterActivation, FilterAddition, FilterConv, LeadingLinear, PaddedShortcut, SwitchableNorm
from graphs.filters.network import FilterNetwork
from graphs.filters.space import FLOAT, PAPER_OPERATIONS, FilterLayer, FilterTopology, Join, Operation

Kind = Literal["image", "linear", "sum", "padded", "active", "gate", "features", "free"]

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.Identity)
_POOL_CALLS = (
    functional.max_pool2d,
    functional.avg_pool2d,
    functional.adaptive_avg_pool2d,
    functional.dropout,
    functional.dropout2d,
    torch.max_pool2d,
)
_ACTIVATIONS = (nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.ELU, nn.Mish)  # of networks with widths alone
_GATES = (nn.Sigmoid, nn.Hardsigmoid)
_FLATTENINGS = ("flatten", "mean", "view", "reshape")


@dataclass(frozen=True, slots=True)
class _Flow:
    """What a value holds: the channels of ``source``, how far they have come, and the stride of a padded shortcut."""

    kind: Kind
    source: str | None = None
    stride: int = 1


def filter_network(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    operations: Sequence[Operation] = PAPER_OPERATIONS,
    *,
    sets: Sequence[str] = (),
    own_weights: bool = False,
    name: str | None = None,
) -> FilterNetwork:
    """Convert a network.

    Args:
        module: convolutions (one group; for widths alone also depthwise), ``BatchNorm2d``, ReLU, additions, pooling, flattening,
        linear layers. It is left as it is. input_shape: (channels, H, W) of its images. operations: what filters may be given; all
        start with the first. ``(FLOAT,)`` for widths alone. sets: names of batch statistics for settings that are trained; all
        start from the module's own. own_weights: master weights for every operation instead of shared ones. name: of the topology;
        the module's class by default.

    Raises:
        ValueError: the module cannot be traced, or holds something that has no place in the picture; says what and where.

    Example:
        >>> body = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        >>> network = filter_network(nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 10)), (3, 16, 16))
        >>> network.configure([[2, 2, 0, 4]])  # filters of each operation, a layer a row
    """
    if not operations or len(set(operations)) < len(operations):
        raise ValueError(f"expected different operations, at least one, got {list(operations)}")
    copied = copy.deepcopy(module)
    sides = _output_sides(copied, input_shape)
    try:
        graph = _Tracer().trace(copied)
    except Exception as error:  # fx raises whatever the module's control flow meets
        raise ValueError(f"cannot trace {type(module).__name__}: {error}; its forward must not branch on values") from error
    conversion = _Conversion(copied, graph, tuple(operations), tuple(sets), own_weights)
    body = conversion.convert()
    topology = conversion.topology(name or type(module).__name__.lower(), sides)
    return FilterNetwork(body, topology, operations, sets, conversion.owners).train(module.training)


def _output_sides(module: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    """(H, W) of each convolution's output."""
    sides: dict[str, tuple[int, int]] = {}

    def record(name: str, output: Tensor) -> None:
        sides[name] = (output.shape[-2], output.shape[-1])

    convs = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    hooks = [part.register_forward_hook(lambda _m, _i, output, name=name: record(name, output)) for name, part in convs]
    parameter = next(module.parameters(), torch.empty(0))
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype))
    except Exception as error:  # whatever the module's own code raises
        raise ValueError(f"cannot run {type(module).__name__} on images of shape {input_shape}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes.items():
            part.training = training
    return sides


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PaddedShortcut) or super().is_leaf_module(m, module_qualified_name)


class _Conversion:
    """One walk over the traced graph: what each value holds, and the layers that take the place of the module's."""

    def __init__(
        self, module: nn.Module, graph: fx.Graph, operations: tuple[Operation, ...], sets: tuple[str, ...], own_weights: bool
    ) -> None:
        self.operations, self.sets, self.own_weights = operations, sets, own_weights
        self.graph = graph
        self.widths_alone = operations == (FLOAT,)
        self.modules = dict(module.named_modules())
        self.body = fx.GraphModule(module, graph)
        self.flows: dict[fx.Node, _Flow] = {}
        self.convs: dict[str, str | None] = {}  # layer: its source
        self.follows: dict[str, str] = {}
        self.joins: list[tuple[str, str]] = []
        self.owners: dict[str, str] = {}  # module: the layer whose filters it works on
        self.activated: set[str] = set()

    def convert(self) -> fx.GraphModule:
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        if len(placeholders) != 1:
            raise ValueError(f"expected a forward of one argument, the images, got {[node.name for node in placeholders]}")
        for node in list(self.graph.nodes):
            if node.op == "placeholder":
                self.flows[node] = _Flow("image")
            elif node.op == "call_module":
                self.flows[node] = self._module(node, self.modules[str(node.target)])
            elif node.op in ("call_function", "call_method"):
                self.flows[node] = self._call(node)
            elif node.op == "get_attr":
                self._refuse(node, "a bare parameter or buffer")
        if not self.convs:
            raise ValueError("the network has no convolution: there are no filters to decide about")
        self.graph.eliminate_dead_code()
        self.body.delete_all_unused_submodules()
        self.body.recompile()
        return self.body

    def topology(self, name: str, sides: dict[str, tuple[int, int]]) -> FilterTopology:
        layers = []
        for conv, source in self.convs.items():
            layer = cast(FilterConv, self.body.get_submodule(conv))
            height, width = sides[conv]
            stage = f"{layer.filters}x{height}x{width}"
            window = layer.kernel[0] * layer.kernel[1]
            follows = None if self._lead(conv) == conv else self._lead(conv)
            layers.append(
                FilterLayer(conv, layer.filters, window, height * width, source, layer.channels, stage, follows, layer.depthwise)
            )
        joins = tuple(Join(source, target, sides[target][0] * sides[target][1]) for source, target in self.joins)
        return FilterTopology(name, tuple(layers), joins)

    def _module(self, node: fx.Node, module: nn.Module) -> _Flow:
        flow, target = self._flow(node, 0), str(node.target)
        if flow.kind == "free":
            return flow
        if isinstance(module, nn.Conv2d):
            return self._conv(node, module, flow)
        if isinstance(module, nn.BatchNorm2d):
            if flow.kind != "linear":
                self._refuse(node, "batch normalization that does not follow a convolution directly")
            self._replace(target, SwitchableNorm(module, self.sets), node, str(flow.source))
            return flow
        if isinstance(module, nn.ReLU):
            return self._activate(node, flow)
        if self.widths_alone and isinstance(module, _ACTIVATIONS) and flow.kind in ("linear", "sum", "active"):
            return _Flow("active", flow.source)
        if self.widths_alone and isinstance(module, _GATES) and flow.kind == "linear":
            return _Flow("gate", flow.source)
        if isinstance(module, nn.Linear):
            if flow.kind != "features":
                self._refuse(node, "a linear layer on channels that are not pooled and flattened")
            self._replace(target, LeadingLinear(module), node, str(flow.source))
            return _Flow("free")
        if isinstance(module, nn.Flatten):
            return self._flatten(node, flow)
        if isinstance(module, PaddedShortcut):
            if flow.kind != "active":
                self._refuse(node, "a padded shortcut that does not start at activations")
            return _Flow("padded", flow.source, module.stride)
        if isinstance(module, _POOLS):
            return flow
        return self._refuse(node, type(module).__name__)

    def _call(self, node: fx.Node) -> _Flow:
        called: Any = node.target
        if called in (operator.add, operator.iadd, torch.add, "add", "add_"):
            return self._add(node)
        given = [self.flows[argument] for argument in node.all_input_nodes]
        if called in (operator.mul, torch.mul, "mul") and sorted(flow.kind for flow in given) == ["active", "gate"]:
            return self._scale(*given)
        if getattr(called, "__name__", "") == "stochastic_depth":  # torchvision's: in evaluation it changes nothing
            return given[0]
        if all(flow.kind == "free" for flow in given):
            return _Flow("free")
        if called in (torch.relu, functional.relu, "relu", "relu_", torch.relu_, functional.relu_):
            return self._activate(node, given[0])
        if called in _POOL_CALLS or getattr(called, "__name__", "").startswith("boolean_dispatch"):
            return given[0]
        if called is torch.flatten or called is torch.mean or called in _FLATTENINGS:
            return self._flatten(node, given[0])
        if called in ("size", getattr):
            return _Flow("free")
        return self._refuse(node, f"the operation {getattr(called, '__name__', called)!r}")

    def _conv(self, node: fx.Node, conv: nn.Conv2d, flow: _Flow) -> _Flow:
        if flow.kind not in ("image", "active", *(("linear", "sum") if self.widths_alone else ())):
            self._refuse(node, "a convolution that reads neither the image nor the output of a ReLU: its input cannot be quantized")
        depthwise = self.widths_alone and conv.groups == conv.in_channels == conv.out_channels and flow.source is not None
        if (conv.groups != 1 and not depthwise) or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            self._refuse(node, "a convolution in groups, or padded otherwise than by zeros of a given width")
        self._replace(str(node.target), FilterConv(conv, self.operations, self.own_weights), node, str(node.target))
        self.convs[str(node.target)] = flow.source
        if depthwise and conv.groups > 1:
            self.follows[str(node.target)] = self._lead(str(flow.source))
        return _Flow("linear", str(node.target))

    def _activate(self, node: fx.Node, flow: _Flow) -> _Flow:
        if flow.kind == "active":
            return flow
        if flow.kind not in ("linear", "sum") or flow.source is None:
            self._refuse(node, "a ReLU that follows neither a convolution nor an addition")
        if flow.source in self.activated:
            self._refuse(node, f"a second ReLU on the output of {flow.source!r}")
        activation = FilterActivation(self.operations)
        activation.assign([self._filters(str(flow.source))] + [0] * (len(self.operations) - 1))
        self.activated.add(str(flow.source))
        self._call_instead(node, "activation", str(flow.source), activation, (node.args[0],))
        return _Flow("active", flow.source)

    def _add(self, node: fx.Node) -> _Flow:
        operands = [argument for argument in node.args if isinstance(argument, fx.Node)]
        flows = [self.flows[argument] for argument in operands]
        if len(flows) == 2 and all(flow.kind == "free" for flow in flows):
            return _Flow("free")
        sums = [position for position, flow in enumerate(flows) if flow.kind == "sum" and self.widths_alone]
        linear = [position for position, flow in enumerate(flows) if flow.kind == "linear" or position in sums]
        kinds = ("linear", "active", "padded", *(("sum",) if self.widths_alone else ()))
        if len(flows) != 2 or not linear or len(sums) > 1 or any(flow.kind not in kinds for flow in flows):
            self._refuse(node, "an addition that is not of a convolution's output and a shortcut before the ReLU")
        main = max(linear, key=lambda at: (at in sums, self._window(str(flows[at].source)), -at))
        target, other = str(flows[main].source), flows[1 - main]
        shortcut = str(other.source)
        if other.kind == "linear":
            if self._lead(shortcut) != self._lead(target):
                self.follows[self._lead(shortcut)] = self._lead(target)
        elif other.kind == "active":
            self.joins.append((shortcut, target))
        channels = self._filters(target), self._filters(shortcut)
        stride = other.stride if other.kind == "padded" else None
        addition = FilterAddition(channels, stride, self.sets, other.kind == "active", shortcut)
        start = operands[1 - main]
        if other.kind == "padded":  # the addition takes the pixels and the channels that fit, whatever the widths
            start = cast(fx.Node, start.args[0])
        self._call_instead(node, "addition", target, addition, (operands[main], start))
        return _Flow("sum", target)

    def _scale(self, first: _Flow, second: _Flow) -> _Flow:
        """Squeeze-and-excitation: its last convolution has the width of what it scales."""
        gate, scaled = (first, second) if first.kind == "gate" else (second, first)
        if self._lead(str(gate.source)) != self._lead(str(scaled.source)):
            self.follows[self._lead(str(gate.source))] = self._lead(str(scaled.source))
        return scaled

    def _lead(self, layer: str) -> str:
        """The layer that decides the width of another, or itself."""
        while layer in self.follows:
            layer = self.follows[layer]
        return layer

    def _flatten(self, node: fx.Node, flow: _Flow) -> _Flow:
        if flow.kind not in ("active", "features"):
            self._refuse(node, "flattening of what is not activated")
        return _Flow("features", flow.source)

    def _flow(self, node: fx.Node, position: int) -> _Flow:
        argument = node.args[position] if len(node.args) > position else None
        if not isinstance(argument, fx.Node):
            return self._refuse(node, "a module called without its input in place")
        return self.flows[argument]

    def _filters(self, layer: str) -> int:
        return cast(FilterConv, self.body.get_submodule(layer)).filters

    def _window(self, layer: str) -> int:
        kernel = cast(FilterConv, self.body.get_submodule(layer)).kernel
        return kernel[0] * kernel[1]

    def _replace(self, target: str, module: nn.Module, node: fx.Node, layer: str) -> None:
        if target in self.owners:
            self._refuse(node, "a module that is used twice")
        self.owners[target] = layer
        like = next(self.body.get_submodule(target).parameters())
        parent, _, child = target.rpartition(".")
        self.body.get_submodule(parent).add_module(child, module.to(like.device, like.dtype))

    def _call_instead(self, node: fx.Node, what: str, layer: str, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        name = f"{what}_{layer}".replace(".", "_")
        while hasattr(self.body, name):
            name += "_"
        self.owners[name] = layer
        like = next(self.body.parameters())
        self.body.add_module(name, module.to(like.device, like.dtype))
        node.op, node.target, node.args, node.kwargs = "call_module", name, arguments, {}

    def _refuse(self, node: fx.Node, what: str) -> Any:
        place = f"{node.target!r}" if node.op == "call_module" else f"step {node.name!r}"
        more = "" if self.widths_alone else "; inverted residuals and their activations may have widths alone: operations=(FLOAT,)"
        raise ValueError(
            f"{place}: {what}. Expected blocks of convolution, batch normalization and ReLU, shortcuts added before the ReLU, "
            f"pooling, and a classifier after flattening{more}"
        )

"""A found network to scale: a box a block, as wide as its channels and as high as its expansion, coloured by what it costs.

Shapes and counts are those of a pass of one image through the network, whatever kind of network it is; where a budget's cost adds
up over the blocks' options (a latency table, say), a block's share of that cost is told instead of multiply-adds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from constrained_nas.reports.svg import element, picture, short, words
from graphs import Architecture, SearchSpace
from graphs.costs import CostModel, RelaxedCost

_MOST = 150  # blocks: more are not told apart
_LAYERS = (nn.Conv2d, nn.Linear)
_TALL, _WIDE = 72.0, 74.0  # pixels of the greatest expansion and of the most channels


@dataclass(frozen=True, slots=True)
class DrawnBlock:
    """A block as it ran on one image.

    Attributes:
        name: of the module.
        channels, side: of its output; the side is 0 behind the pooling.
        expansion: the most channels inside over those that come in, where that is more than at either end; else 1.
        kernel: the greatest side of its kernels.
        macs, parameters: of its convolutions and linear layers, and of all in it.
        option: that the search chose for it; empty where there was no choice.
        cost: in the unit of a budget; None where that is not known.
    """

    name: str
    channels: int
    side: int
    expansion: float
    kernel: int
    macs: float
    parameters: int
    option: str = ""
    cost: float | None = None


@torch.no_grad()
def traced_blocks(network: nn.Module, shape: tuple[int, int, int]) -> list[DrawnBlock]:
    """The blocks of a network in the order in which they run on an image (channels, side, side).

    Raises:
        ValueError: more blocks than can be drawn.
    """
    blocks = dict(_blocks(network))
    if len(blocks) > _MOST:
        raise ValueError(f"{len(blocks)} blocks are too many to draw")
    seen: dict[str, list[tuple[nn.Module, Tensor, Tensor]]] = {}
    hooks = []
    for name, block in blocks.items():
        for layer in block.modules():
            if isinstance(layer, _LAYERS):

                def note(module: nn.Module, inputs: Any, output: Any, block: str = name) -> None:
                    seen.setdefault(block, []).append((module, inputs[0], output))

                hooks.append(layer.register_forward_hook(note))
    was = network.training
    try:
        network.eval()(torch.zeros(1, *shape, device=next(iter(network.parameters()), torch.zeros(())).device))
    finally:
        network.train(was)
        for hook in hooks:
            hook.remove()
    return [_drawn(name, blocks[name], layers) for name, layers in seen.items()]


def _blocks(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The modules that are no mere containers."""
    found = list[tuple[str, nn.Module]]()
    for name, child in module.named_children():
        container = type(child) in (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Module)
        if container and len(list(child.modules())) > 1:
            found += _blocks(child, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", child))
    return found


def _drawn(name: str, block: nn.Module, layers: Sequence[tuple[nn.Module, Tensor, Tensor]]) -> DrawnBlock:
    macs, inner, kernel = 0.0, 0, 1
    for layer, _, output in layers:
        weight = layer.weight if isinstance(layer.weight, Tensor) else torch.zeros(1, 1)
        macs += output.numel() * weight[0].numel()
        inner = max(inner, output.shape[1])
        kernel = max(kernel, *weight.shape[2:], 1)
    first, last = layers[0][1], layers[-1][2]
    comes, goes = first.shape[1], last.shape[1]
    side = last.shape[-1] if last.ndim == 4 else 0
    expansion = inner / comes if inner > max(comes, goes) else 1.0
    return DrawnBlock(name, goes, side, expansion, kernel, macs, sum(parameter.numel() for parameter in block.parameters()))


def with_choices(
    blocks: Sequence[DrawnBlock], space: SearchSpace, architecture: Architecture, cost: CostModel | None
) -> list[DrawnBlock]:
    """The blocks with the options that were chosen for them, and what those cost where ``cost`` adds up over the options."""
    told = space.describe(architecture)
    decisions = {_plain(name): name for name in told}
    shares = {} if cost is None else _shares(space, architecture, cost)
    made = []
    for block in blocks:
        name = decisions.get(_plain(block.name))
        option = "" if name is None else _option(told[name])
        made.append(replace(block, option=option, cost=None if name is None else shares.get(name)))
    return made


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", ".", name)


def _option(option: str | Mapping[str, int]) -> str:
    if isinstance(option, str):
        return option
    return ", ".join(f"{count} {name}" for name, count in option.items() if count)


def _shares(space: SearchSpace, architecture: Architecture, cost: CostModel) -> dict[str, float]:
    """What every decision's option adds to a cost that is linear in each of them; none where the parts do not make up the whole."""
    if not isinstance(cost, RelaxedCost):
        return {}
    point, quadratic = space.point(architecture), cost.quadratic
    slopes = quadratic.gradient(point)
    depths = [decision.name for decision in space.decisions if decision.name.endswith(".depth")]
    parts = {d.name: float(point[space.slice(d.name)] @ slopes[space.slice(d.name)]) for d in space.decisions}
    parts = {name: part for name, part in parts.items() if name not in depths}
    whole = cost.cost(architecture) - quadratic.offset
    return parts if abs(sum(parts.values()) - whole) <= 1e-6 * max(1.0, abs(whole)) else {}


def draw_blocks(blocks: Sequence[DrawnBlock], unit: str) -> str:
    """The row of boxes as markup, which goes on below where the page is narrow; ``unit`` of the blocks' costs, if they have any."""
    costs = [block.cost for block in blocks]
    counted = not any(costs)
    values = [block.macs if counted else (block.cost or 0.0) for block in blocks]
    most, widest, tallest = max(values), max(block.channels for block in blocks), max(block.expansion for block in blocks)
    figures, side = [], None
    for block, value in zip(blocks, values, strict=True):
        if block.side != side:
            side = block.side
            figures.append(f'<div class="side">{f"{side} × {side}" if side else "pooled"}</div>')
        figures.append(_figure(block, value, most, widest, tallest, "multiply-adds" if counted else unit))
    what = "multiply-adds" if counted else f"cost in {words(unit)}"
    legend = (
        f"Width: channels (at most {widest}). Height: expansion (at most {tallest:.3g}). Colour: {what} of the block, from none "
        f'<span class="ramp"></span> to {words(short(most))}. A mark stands where the side of the feature map changes.'
    )
    return f'<div class="network">{"".join(figures)}</div><p class="faint">{legend}</p>'


def _figure(block: DrawnBlock, value: float, most: float, widest: int, tallest: float, unit: str) -> str:
    wide = max(5.0, _WIDE * block.channels / widest)
    tall = max(6.0, _TALL * block.expansion / tallest)
    share = 0.0 if most <= 0 else value / most
    facts = f"{block.channels} channels, {short(value)} {unit}, {short(block.parameters)} parameters"
    label = f"{block.name}: {block.option or 'fixed'}, {facts}"
    top = (_TALL - tall) / 2 + 2
    box: dict[str, str | float] = {"x": 2.0, "y": top, "width": wide, "height": tall, "rx": 2.0}
    shape = element(
        "rect", box | {"class": "box" if block.option else "box fixed", "style": f"fill-opacity:{0.06 + 0.94 * share:.3f}"}
    )
    name = block.name.replace("_", ".") if block.option else block.name
    lines = "".join(f"<span>{words(line)}</span>" for line in (name, block.option, f"{block.channels} ch"))
    return f'<div class="block">{picture(wide + 4, _TALL + 4, label, shape, fixed=True)}{lines}</div>'

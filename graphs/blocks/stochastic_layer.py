"""A layer that is still undecided: candidate blocks, each of any width, or no block at all.

The options of a layer are all its blocks at all their widths and, where the shapes allow it, the skip. A gate has one weight an
option; options of weight zero do not run. PruNet gives each surviving block two non-zero weights, those of its Prunode's
candidates. Blocks that are pruned are removed, parameters and all.

Reference: PruNet, Sec. 3 (stochastic layer, multi-blocks, layer skipping).
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from torch import Tensor, nn

from graphs.blocks.inverted_residuals import FusedInvertedResidual, ResidualConvolution
from graphs.blocks.operators import InvertedResidual
from graphs.blocks.widths import BlockChoice, Prunode, scaled
from solvers.arrays import BoolArray, FloatArray

Operator = Literal["convolution", "fused", "inverted"]


@dataclass(frozen=True, slots=True)
class LayerOption:
    """A block (by its index among the layer's) and its hidden width; ``block`` None is the skip, convolutions have width 0."""

    block: int | None
    width: int
    name: str


@dataclass(frozen=True)
class LayerShape:
    """Everything a layer's cost depends on. Two layers of equal shape cost the same under equal options.

    Attributes:
        operator: of all the layer's blocks: a convolution, or a fused or ordinary inverted residual.
        inputs, outputs, stride: channels and stride.
        side: of the input, in pixels.
        blocks: the candidates.
        widths: the permissible hidden widths, rising; empty for convolutions.
        skippable: whether the layer may be left out; only layers that keep the shape may.
    """

    operator: Operator
    inputs: int
    outputs: int
    stride: int
    side: int
    blocks: tuple[BlockChoice, ...]
    widths: tuple[int, ...] = ()
    skippable: bool = False

    def __post_init__(self) -> None:
        names = [block.name for block in self.blocks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a layer needs different blocks, at least one; got {names}")
        if any(block.kernel % 2 == 0 for block in self.blocks):
            raise ValueError(f"kernels must be odd, so that padding keeps the side; got {names}")
        if self.operator == "convolution" and (self.widths or any(block.squeeze_excite for block in self.blocks)):
            raise ValueError(f"convolutions have no hidden width and no squeeze-and-excitation; got {self.widths}, {names}")
        rising = all(low < high for low, high in zip((0, *self.widths), self.widths, strict=False))
        if self.operator != "convolution" and not (self.widths and rising):
            raise ValueError(f"widths must rise from 1 or more; got {self.widths}")
        if self.skippable and not self.keeps_shape:
            raise ValueError(f"a layer from {self.inputs} to {self.outputs} channels at stride {self.stride} cannot be skipped")

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output have the same shape."""
        return self.stride == 1 and self.inputs == self.outputs

    @property
    def name(self) -> str:
        """``inverted_64-64_s1_r72``: the layer in tables; together with an option's name it says what runs."""
        return f"{self.operator}_{self.inputs}-{self.outputs}_s{self.stride}_r{self.side}"

    @cached_property
    def options(self) -> tuple[LayerOption, ...]:
        """All blocks in order, each at all widths, narrow to wide; then the skip."""
        options = []
        for index, block in enumerate(self.blocks):
            if self.widths:
                options += [LayerOption(index, width, f"{block.name}_w{width}") for width in self.widths]
            else:
                options.append(LayerOption(index, 0, block.name))
        return (*options, LayerOption(None, 0, "skip")) if self.skippable else tuple(options)

    def index(self, block: int | None, width: int = 0) -> int:
        """The number of an option; ``block`` None is the skip.

        Raises:
            ValueError: no such option.
        """
        if block is None and self.skippable:
            return len(self.options) - 1
        if block is None or not 0 <= block < len(self.blocks) or (width if not self.widths else width not in self.widths):
            raise ValueError(f"layer {self.name}: no option of block {block} and width {width}")
        return block * len(self.widths) + self.widths.index(width) if self.widths else block


def plain_block(shape: LayerShape, option: int) -> nn.Module:
    """What an option stands for, with fresh weights; an identity for the skip."""
    chosen = shape.options[option]
    if chosen.block is None:
        return nn.Identity()
    block = shape.blocks[chosen.block]
    if shape.operator == "convolution":
        return ResidualConvolution(shape.inputs, shape.outputs, block.kernel, shape.stride, block.activation)
    kind = FusedInvertedResidual if shape.operator == "fused" else InvertedResidual
    reduced = block.reduced(shape.inputs)
    return kind(shape.inputs, chosen.width, shape.outputs, block.kernel, shape.stride, reduced, block.activation)


class StochasticLayer(nn.Module):
    """All options of ``shape``: (B, inputs, side, side) -> (B, outputs, side / stride, side / stride).

    The widths of a block share its weights; ``separate`` gives each its own, as in searches that know no Prunodes (FBNet).
    """

    takes_values = True

    def __init__(self, shape: LayerShape, separate: bool = False) -> None:
        super().__init__()
        self.shape, self.separate = shape, separate
        widest = {self._name(option): option for option in shape.options}  # of a module's options the last is the widest
        self.blocks = nn.ModuleDict(
            {name: self._candidate(shape.blocks[option.block or 0], option.width) for name, option in widest.items() if name}
        )

    def _name(self, option: LayerOption) -> str | None:
        """Of the module that runs an option; None for the skip."""
        if option.block is None:
            return None
        return option.name if self.separate else self.shape.blocks[option.block].name

    def _candidate(self, block: BlockChoice, maximum: int) -> nn.Module:
        s = self.shape
        if s.operator == "convolution":
            return ResidualConvolution(s.inputs, s.outputs, block.kernel, s.stride, block.activation)
        return Prunode(s.inputs, s.outputs, s.stride, block, maximum, fused=s.operator == "fused")

    def forward(self, images: Tensor, gate: Tensor, values: FloatArray | None = None, used: BoolArray | None = None) -> Tensor:
        """``sum_o gate_o option_o(images)`` over the options whose gate is not zero; only they get a gradient.

        Args:
            images: (B, inputs, side, side).
            gate: (options,) for the whole batch, or (B, options).
            values: the gate as the host has it, so that it need not be read from the device.
            used: (options,), those that rows use of the batch of which these are a part; None where they are all of it.

        Raises:
            ValueError: an option of a block that was removed has a gate that is not zero, or all gates are zero.
        """
        known = gate.detach().cpu().numpy() if values is None else values
        active = np.flatnonzero((known != 0).reshape(-1, gate.shape[-1]).any(0) if used is None else used).tolist()
        whole = not gate.requires_grad and len(active) == 1 and bool((known[..., active[0]] == 1).all())
        outputs = []
        for name, members in self._grouped(active):
            if name is None:
                outputs.append(images if whole else scaled(images, gate[..., members[0]]))
                continue
            if name not in self.blocks:
                raise ValueError(f"layer {self.shape.name}: block {name!r} was removed but has a gate above zero")
            module = self.blocks[name]
            if isinstance(module, Prunode):
                outputs.append(module(images, [self.shape.options[m].width for m in members], gate[..., members], whole))
            else:
                features = module(images)
                outputs.append(features if whole else scaled(features, gate[..., members[0]]))
        if not outputs:
            raise ValueError(f"layer {self.shape.name}: all gates are zero")
        return sum(outputs[1:], outputs[0])

    def _grouped(self, options: list[int]) -> list[tuple[str | None, list[int]]]:
        groups: dict[str | None, list[int]] = {}
        for option in options:
            groups.setdefault(self._name(self.shape.options[option]), []).append(option)
        return list(groups.items())

    def keep(self, blocks: Collection[int]) -> list[nn.Parameter]:
        """Remove all blocks but these (by index) and return the parameters that went, for the optimizer to forget."""
        return self.keep_options([index for index, option in enumerate(self.shape.options) if option.block in blocks])

    def keep_options(self, options: Collection[int]) -> list[nn.Parameter]:
        """Remove all blocks that none of these options (by index) needs and return the parameters that went."""
        kept = {self._name(self.shape.options[option]) for option in options}
        removed: list[nn.Parameter] = []
        for name in [name for name in self.blocks if name not in kept]:
            removed += self.blocks.pop(name).parameters()
        return removed

    def narrow(self, option: int) -> nn.Module:
        """A plain module with copies of the weights that an option uses; an identity for the skip.

        Raises:
            ValueError: the option's block was removed.
        """
        chosen = self.shape.options[option]
        name = self._name(chosen)
        if name is None:
            return nn.Identity()
        if name not in self.blocks:
            raise ValueError(f"layer {self.shape.name}: block {name!r} was removed")
        module = self.blocks[name]
        return module.narrow(chosen.width) if isinstance(module, Prunode) else copy.deepcopy(module)

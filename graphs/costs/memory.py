"""How much memory the feature maps of a network take at once: the peak over its schedule, and a cost for budgets on it.

A network runs once on one example, and every operation is noted with what it reads and gives. A feature map lives from the
operation that gives it to the last that reads it; what is alive at an operation, its output included, adds up, and the peak is the
greatest of these sums. As runtimes do, an operation on single numbers (normalization, activation, addition) writes over what it
reads where nothing reads that later. Weights, and what kernels need inside themselves, are not counted.

In a chain of decisions the peak is a maximum, of what is fixed and of one number for each option that runs. A budget on a maximum
forbids the options above it, so that methods for sums hold it exactly: see :class:`PeakCost`.

Reference: Liberis et al., μNAS (peak memory as the live tensors of a schedule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphs.choices import Choice, ChoiceSpace
from graphs.costs.models import PeakCost
from graphs.spaces import BlockShape, MacroSpace, MBConvSpace
from solvers import Quadratic

_NAME, _UNIT = "activation_memory", "bytes"


def peak_activations(network: nn.Module, inputs: Tensor | Sequence[Any]) -> int:
    """The most bytes that the feature maps of a network take at once, in evaluation mode; without gradients.

    Args:
        inputs: of one example; on the meta device nothing is computed.

    Example:
        >>> peak_activations(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), torch.zeros(1, 3, 8, 8))  # 3 x 64 + 8 x 16 numbers
        1280
    """
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    modes = [(part, part.training) for part in network.modules()]
    try:
        network.eval()
        with torch.no_grad(), _Schedule(given) as schedule:
            schedule.ends(network(*given))
    finally:
        for part, training in modes:
            part.training = training
    return max(schedule.live(), default=0)


def choice_memory(space: ChoiceSpace) -> PeakCost:
    """The peak of a network with choices, for one example.

    What a choice gives counts as a tensor of its own, also where its option hands its input on: in such networks the cost may be
    more than what they take, never less.

    Example:
        >>> from graphs import choice_space
        >>> block = Choice("block", {"wide": nn.Sequential(nn.Conv2d(3, 9, 1), nn.Conv2d(9, 3, 1)), "skip": nn.Identity()})
        >>> choice_memory(choice_space(nn.Sequential(block), torch.zeros(1, 3, 8, 8))).peaks.tolist()
        [3072.0, 1536.0]
    """
    decisions = space.space.decisions
    batch = next(len(value) for value in space.example if isinstance(value, Tensor))
    rows = tuple(value[:1].clone() if value.ndim and len(value) == batch else value for value in space.example)
    supernet, peaks, fixed = space.supernet(), [np.zeros(len(d.options)) for d in decisions], 0.0
    modes = [(part, part.training) for part in supernet.modules()]
    try:
        supernet.eval()
        for turn in range(max(len(d.options) for d in decisions)):  # what one choice picks does not matter to the others
            places = [turn % len(d.options) for d in decisions]
            with torch.no_grad(), _Schedule(rows) as schedule:
                hooks = [hook for part in supernet.modules() if isinstance(part, Choice) for hook in schedule.watch(part)]
                try:
                    schedule.ends(supernet.settled(rows, space.space.architecture(space.space.blocks.vertex(places))))
                finally:
                    for hook in hooks:
                        hook.remove()
            live, outside = np.array(schedule.live(), dtype=np.float64), np.ones(len(schedule.steps), dtype=bool)
            for decision, place, row in zip(decisions, places, peaks, strict=True):
                for start, end in schedule.windows[decision.name]:
                    row[place] = max(row[place], live[start:end].max(initial=0.0))
                    outside[start:end] = False
            fixed = max(fixed, live[outside].max(initial=0.0))
    finally:
        for part, training in modes:
            part.training = training
    return PeakCost(_NAME, _UNIT, space.space, fixed, np.concatenate(peaks), lambda values: Quadratic.of(0.0, values))


def block_memory(space: MBConvSpace | MacroSpace) -> PeakCost:
    """The peak of networks that are chains of blocks, for one image.

    Example:
        >>> from graphs import hardcore_small
        >>> space = hardcore_small()
        >>> block_memory(space).cost(space.heaviest())
        61440.0
    """
    with torch.device("meta"):
        of_shape = {shape: _block_peaks(space, shape) for shape in set(space.block_shapes)}
        fixed = max(peak_activations(module, torch.zeros(1, *shape)) for module, shape in space.fixed_modules())
    peaks = np.array([peak for shape in space.block_shapes for peak in of_shape[shape]], dtype=np.float64)
    options = np.zeros(space.space.blocks.dimension)
    options[: len(peaks)] = peaks
    staged, blocks = space.staged, len(peaks)
    return PeakCost(_NAME, _UNIT, space.space, float(fixed), options, lambda values: staged.cost(0.0, values[:blocks]))


@lru_cache(maxsize=256)
def _block_peaks(space: MBConvSpace | MacroSpace, shape: BlockShape) -> tuple[int, ...]:
    images = torch.zeros(1, shape.inputs, shape.side, shape.side)
    return tuple(peak_activations(module, images) for module in space.option_modules(shape))


@dataclass
class _Step:
    """An operation: numbers of the storages that it reads and gives, and whether it may write over what it reads."""

    reads: list[int]
    gives: list[int]
    pointwise: bool


@dataclass
class _Schedule(TorchDispatchMode):
    """Notes every operation inside the block; ``windows``: the steps of each call of a choice, first and end."""

    inputs: Sequence[Any]
    steps: list[_Step] = field(default_factory=list)
    windows: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._numbers: dict[int, int] = {}
        self._bytes: list[int] = []
        self._kept: list[Tensor] = []  # so that no storage takes the place of another
        self._last: list[int] = []  # what is given back at the end
        self._known = len([self._number(value, new=True) for value in self.inputs if isinstance(value, Tensor)])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        output = func(*args, **kwargs)
        reads = [number for number in map(self._number, read) if number is not None]
        before = len(self._bytes)
        own = {each.untyped_storage()._cdata for each in read}  # views of weights are weights
        made = [each for each in tree_leaves(output) if isinstance(each, Tensor) and each.untyped_storage()._cdata not in own]
        given = [self._number(each, new=True) for each in made]
        gives = [number for number in given if number is not None and number >= before]
        self.steps.append(_Step(reads, gives, torch.Tag.pointwise in func.tags or "batch_norm" in str(func)))
        return output

    def ends(self, output: Any) -> None:
        """What the network gives back lives to the end."""
        self._last = [number for each in tree_leaves(output) if (number := self._number(each)) is not None]

    def watch(self, choice: Choice) -> list[Any]:
        """Hooks that note the calls of a choice, and make what it gives a tensor of its own."""
        opened: list[tuple[int, int]] = []

        def before(module: nn.Module, inputs: Any) -> None:
            opened.append((len(self.steps), len(self._bytes)))

        def after(module: nn.Module, inputs: Any, output: Any) -> Any:
            start, known = opened.pop()
            number = self._number(output)
            own = output if number is not None and number >= known else output.clone()
            self.windows.setdefault(choice.name, []).append((start, len(self.steps)))
            return own

        return [choice.register_forward_pre_hook(before), choice.register_forward_hook(after)]

    def live(self) -> list[int]:
        """Bytes that are alive at each step."""
        born = [0] * len(self._bytes)
        dies: list[int | None] = [0 if number < self._known else None for number in range(len(born))]
        for place, step in enumerate(self.steps):
            for number in step.gives:
                born[number] = place
            for number in (*step.gives[:1], *step.reads):  # what else is given, and never read, is not kept
                dies[number] = place
        for number in self._last:
            dies[number] = len(self.steps) - 1
        changes = np.zeros(len(self.steps) + 1, dtype=np.int64)
        for size, first, last in zip(self._bytes, born, dies, strict=True):
            if last is not None:
                changes[first] += size
                changes[last + 1] -= size
        total = changes.cumsum()[:-1]
        for place, step in enumerate(self.steps):
            if (
                step.pointwise
                and len(step.gives)
                and any(self._written_over(number, step, dies[number], place) for number in step.reads)
            ):
                total[place] -= self._bytes[step.gives[0]]
        return [int(size) for size in total]

    def _written_over(self, number: int, step: _Step, dies: int | None, place: int) -> bool:
        return number >= self._known and dies == place and self._bytes[number] == self._bytes[step.gives[0]]

    def _number(self, value: Any, new: bool = False) -> int | None:
        """Of a tensor's storage; None for those that are no feature maps, such as weights."""
        if not isinstance(value, Tensor):
            return None
        storage = value.untyped_storage()
        known = self._numbers.get(storage._cdata)
        if known is None and new:
            known = self._numbers[storage._cdata] = len(self._bytes)
            self._bytes.append(storage.nbytes())
            self._kept.append(value)
        return known

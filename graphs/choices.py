"""A user's own network as a search space: ``Choice`` modules anywhere inside it.

    self.block = Choice("block2", {"conv3": nn.Conv2d(8, 8, 3, padding=1), "skip": nn.Identity()})

``choice_space(module, example)`` finds them, runs the module once to see what comes in and that all options of a choice give the
same shape, and makes every outermost choice a decision. A choice inside an option of another is settled together with it: the
options of the decision are the joint ones (``wide(kernel=5)``). The super-network runs the module under gates, as
:class:`graphs.Supernet` does: the output of a choice is the gated sum of its joint options, and only options with a gate above zero
(or whose gate needs a gradient) run.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from graphs.files import out_of_memory
from graphs.space import Architecture, Decision, SearchSpace

MOST_JOINT_OPTIONS = 4096  # of one decision: nested choices multiply

Picks = tuple[tuple[str, str], ...]  # (choice, option): the decision's own choice first, then those inside the option


class Choice(nn.Module):
    """One of ``options`` in a user's network. It runs inside a :class:`ChoiceSupernet`, which tells it what to run.

    Args:
        name: of the decision; different for every choice of a network.
        options: modules that take the same inputs and give one tensor, all of the same shape.

    Raises:
        ValueError: no options, or a name that is empty or has a dot, which torch does not allow.
    """

    def __init__(self, name: str, options: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not options or not name:
            raise ValueError(f"choice {name!r}: expected a name and at least one option")
        wrong = [option for option in options if not isinstance(option, str) or not option or "." in option]
        if wrong:
            raise ValueError(f"choice {name!r}: options need names without dots, got {wrong[0]!r}")
        self.name = name
        self.option_names = tuple(options)
        self.option_modules = nn.ModuleList(options.values())
        self._plan: str | tuple[tuple[Picks, ...], Tensor, dict[str, Choice]] | None = None

    def option(self, name: str) -> nn.Module:
        """The module of an option."""
        return self.option_modules[self.option_names.index(name)]

    def forward(self, *inputs: Any) -> Any:
        """The gated sum of the options.

        Raises:
            ValueError: outside a :class:`ChoiceSupernet`, or no option has a gate above zero.
        """
        if self._plan is None:
            raise ValueError(f"choice {self.name!r} was not told what to run: run the network by choice_space(...).supernet()")
        if isinstance(self._plan, str):
            return self.option(self._plan)(*inputs)
        joint, gate, choices = self._plan
        total: Tensor | None = None
        for place, picks in enumerate(joint):
            if not (gate.requires_grad or bool((gate[..., place] != 0).any())):
                continue
            for choice, option in picks[1:]:
                choices[choice]._plan = option
            output = self.option(picks[0][1])(*inputs)
            weighted = self._weigh(output, gate[..., place])
            total = weighted if total is None else total + weighted
        if total is None:
            raise ValueError(f"choice {self.name!r}: no option has a gate above zero")
        return total

    def _weigh(self, output: Tensor, weight: Tensor) -> Tensor:
        if weight.ndim == 0:
            return output if not weight.requires_grad and float(weight) == 1.0 else output * weight.to(output.dtype)
        if len(output) != len(weight):
            raise ValueError(
                f"choice {self.name!r}: {len(weight)} gates for the {len(output)} rows of its output; put the batch first"
            )
        return output * weight.to(output.dtype).reshape(-1, *([1] * (output.ndim - 1)))

    def extra_repr(self) -> str:
        return f"{self.name}: {', '.join(self.option_names)}"


@dataclass(frozen=True, eq=False)
class ChoiceSpace:
    """Where the choices of a network are. Build it with :func:`choice_space`.

    Attributes:
        module: the user's network, not copied.
        example: its inputs when it was traced.
        space: one decision an outermost choice.
        joint: for each decision, what each of its options picks.
        inputs: for each decision, what its choice was given, one entry a call.
    """

    module: nn.Module
    example: tuple[Tensor, ...] = field(repr=False)
    space: SearchSpace
    joint: Mapping[str, tuple[Picks, ...]]
    inputs: Mapping[str, tuple[tuple[Any, ...], ...]] = field(repr=False)

    def supernet(self) -> ChoiceSupernet:
        """The network under gates; it shares the weights of ``module``."""
        return ChoiceSupernet(self.module, self.space, self.joint)

    def extract(self, architecture: Architecture) -> nn.Module:
        """A copy of the network with every choice replaced by what it picks; weights and modes are copied too.

        Raises:
            ValueError: an architecture of another space.
        """
        self.space.point(architecture)
        picked = dict(pick for d in self.space.decisions for pick in self.joint[d.name][architecture.choice(d.name)])
        return _settle(self.module, picked, {})

    def option(self, decision: str, place: int) -> nn.Module:
        """A copy of one option of a decision, choices inside it settled."""
        picks = self.joint[decision][place]
        return _settle(_choices(self.module)[decision].option(picks[0][1]), dict(picks), {})

    def table(self, values: ArrayLike) -> dict[str, dict[str, float]]:
        """``{decision: {option: value}}`` of a vector over all options (dimension,), as ``solvers.project_to_budget`` takes it.

        Raises:
            ValueError: another number of values.
        """
        row = np.asarray(values, dtype=np.float64)
        if row.shape != (self.space.blocks.dimension,):
            raise ValueError(f"expected {self.space.blocks.dimension} values, one an option, got shape {row.shape}")
        return {d.name: dict(zip(d.options, row[self.space.slice(d.name)].tolist(), strict=True)) for d in self.space.decisions}


class ChoiceSupernet(nn.Module):
    """A user's network that runs under gates; made by :meth:`ChoiceSpace.supernet`."""

    def __init__(self, module: nn.Module, space: SearchSpace, joint: Mapping[str, tuple[Picks, ...]]) -> None:
        super().__init__()
        self.module, self.space, self.joint = module, space, joint

    def gates(self, architecture: Architecture, device: torch.device | None = None) -> dict[str, Tensor]:
        """The one-hot gates of an architecture, each of shape (options,)."""
        x = torch.as_tensor(self.space.point(architecture), dtype=torch.get_default_dtype(), device=device)
        return {decision.name: x[self.space.slice(decision.name)] for decision in self.space.decisions}

    def forward(self, images: Tensor | Sequence[Tensor], gates: Mapping[str, Tensor]) -> Any:
        """The network's output for ``images`` (B, ...), or for several inputs.

        Args:
            images: the input, or a sequence of inputs.
            gates: of every decision, (options,) for the whole batch or (B, options).

        Raises:
            ValueError: a gate is missing or of another shape, or a choice has no gate above zero.
        """
        inputs = (images,) if isinstance(images, Tensor) else tuple(images)
        choices = _choices(self.module)
        for decision in self.space.decisions:
            gate, options = gates.get(decision.name), len(decision.options)
            if gate is None or tuple(gate.shape) not in {(options,), (len(inputs[0]), options)}:
                got = "no gate" if gate is None else f"a gate of shape {tuple(gate.shape)}"
                wanted = f"({options},) or ({len(inputs[0])}, {options})"
                raise ValueError(f"decision {decision.name!r}: expected a gate of shape {wanted}, got {got}")
        try:
            for decision in self.space.decisions:
                choices[decision.name]._plan = self.joint[decision.name], gates[decision.name], choices
            return self.module(*inputs)
        finally:
            for choice in choices.values():
                choice._plan = None

    def settled(self, inputs: Sequence[Tensor], architecture: Architecture) -> Any:
        """The output of one architecture's network, without gates: options run alone, as in what is extracted."""
        choices = _choices(self.module)
        try:
            for decision in self.space.decisions:
                for name, option in self.joint[decision.name][architecture.choice(decision.name)]:
                    choices[name]._plan = option
            return self.module(*inputs)
        finally:
            for choice in choices.values():
                choice._plan = None

    def extract(self, architecture: Architecture) -> nn.Module:
        """As :meth:`ChoiceSpace.extract`, from the weights as they are now."""
        return ChoiceSpace(self.module, (), self.space, self.joint, {}).extract(architecture)


def choice_space(module: nn.Module, example_input: Tensor | Sequence[Tensor], name: str = "choices") -> ChoiceSpace:
    """The search space of a network with choices.

    The network runs once on ``example_input`` in evaluation mode, and so does every joint option on what its choice was given.

    Args:
        example_input: one input, or a sequence of several, with the batch first.
        name: of the space, for files and messages.

    Raises:
        ValueError: no choices, two of the same name, one that is in two places that exclude each other or that never runs, a
            decision of more than 4096 joint options, or options that fail or give different shapes; says which.

    Example:
        >>> block = Choice("block", {"conv": nn.Conv2d(4, 4, 3, padding=1), "skip": nn.Identity()})
        >>> found = choice_space(nn.Sequential(nn.Conv2d(3, 4, 1), block), torch.zeros(1, 3, 8, 8))
        >>> found.extract(found.space.choose({"block": "skip"}))[1]
        Identity()
    """
    example = (example_input,) if isinstance(example_input, Tensor) else tuple(example_input)
    found = _find(module)
    roots = [choice for choice, parent in found.values() if parent is None]
    inside: dict[tuple[str, str], list[Choice]] = {}
    for choice, parent in found.values():
        if parent is not None:
            inside.setdefault(parent, []).append(choice)
    for root in roots:
        if (count := _count(root, inside)) > MOST_JOINT_OPTIONS:
            raise ValueError(
                f"choice {root.name!r} has {count:,} joint options with the choices inside it, at most {MOST_JOINT_OPTIONS:,} are "
                "flattened: put nested choices one after the other instead"
            )
    named = {root.name: list(_joint(root, inside)) for root in roots}
    decisions = tuple(Decision(root, tuple(label for label, _ in options)) for root, options in named.items())
    joint = {root: tuple(picks for _, picks in options) for root, options in named.items()}
    space = SearchSpace(name, decisions)
    return ChoiceSpace(module, example, space, joint, _trace(ChoiceSupernet(module, space, joint), example))


def _find(module: nn.Module) -> dict[str, tuple[Choice, tuple[str, str] | None]]:
    """Every choice by name, with the (choice, option) it lies in."""
    found: dict[str, tuple[Choice, tuple[str, str] | None]] = {}

    def walk(part: nn.Module, parent: tuple[str, str] | None) -> None:
        if not isinstance(part, Choice):
            for child in part.children():
                walk(child, parent)
            return
        known = found.get(part.name)
        if known is not None:
            if known[0] is not part:
                raise ValueError(f"two choices are called {part.name!r}: give every choice a name of its own")
            if known[1] != parent:
                raise ValueError(f"choice {part.name!r} is one module in two places of which not always both run: copy it")
            return
        found[part.name] = part, parent
        for option in part.option_names:
            walk(part.option(option), (part.name, option))

    walk(module, None)
    if not found:
        raise ValueError(
            "the network has no choices: put graphs.Choice(name, {option: module, ...}) where something is to be chosen"
        )
    return found


def _count(choice: Choice, inside: Mapping[tuple[str, str], Sequence[Choice]]) -> int:
    return sum(prod(_count(c, inside) for c in inside.get((choice.name, option), ())) for option in choice.option_names)


def _joint(choice: Choice, inside: Mapping[tuple[str, str], Sequence[Choice]]) -> Iterator[tuple[str, Picks]]:
    """The joint options of a choice: their names, and all that they pick."""
    for option in choice.option_names:
        nested = inside.get((choice.name, option), ())
        for combination in product(*(list(_joint(inner, inside)) for inner in nested)):
            settled = ", ".join(f"{inner.name}={label}" for inner, (label, _) in zip(nested, combination, strict=True))
            picks = (pick for _, inner_picks in combination for pick in inner_picks)
            yield (f"{option}({settled})" if nested else option), ((choice.name, option), *picks)


@torch.no_grad()
def _trace(supernet: ChoiceSupernet, example: tuple[Tensor, ...]) -> dict[str, tuple[tuple[Any, ...], ...]]:
    """What every decision's choice is given; checks that each joint option takes it and gives the shape of the first."""
    choices = _choices(supernet.module)
    calls: dict[str, list[tuple[tuple[Any, ...], Any]]] = {decision.name: [] for decision in supernet.space.decisions}

    def note(choice: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[cast(Choice, choice).name].append((inputs, output))

    modes = [(part, part.training) for part in supernet.modules()]
    hooks = [choices[name].register_forward_hook(note) for name in calls]
    first = {d.name: tuple(int(place == 0) for place in range(len(d.options))) for d in supernet.space.decisions}
    try:
        supernet.eval()(example, supernet.gates(Architecture(first), example[0].device))
        for hook in hooks:
            hook.remove()
        for name, seen in calls.items():
            if not seen:
                raise ValueError(f"choice {name!r} never ran on the example input: it cannot be searched")
            for inputs, output in seen:
                _check_shapes(supernet, choices, name, inputs, output)
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
        for choice in choices.values():
            choice._plan = None
    return {name: tuple(inputs for inputs, _ in seen) for name, seen in calls.items()}


def _check_shapes(supernet: ChoiceSupernet, choices: Mapping[str, Choice], name: str, inputs: tuple[Any, ...], output: Any) -> None:
    if not isinstance(output, Tensor):
        raise ValueError(f"choice {name!r}: an option gives {type(output).__name__}; options must give one tensor")
    options = next(decision.options for decision in supernet.space.decisions if decision.name == name)
    for label, picks in zip(options, supernet.joint[name], strict=True):
        for choice, option in picks:
            choices[choice]._plan = option
        try:
            shape = tuple(choices[name](*inputs).shape)
        except (RuntimeError, TypeError, AttributeError) as error:
            if out_of_memory(error):
                raise
            shapes = [tuple(value.shape) for value in inputs if isinstance(value, Tensor)]
            raise ValueError(f"choice {name!r}, option {label!r} cannot take inputs of shapes {shapes}: {error}") from error
        if shape != tuple(output.shape):
            raise ValueError(f"choice {name!r}, option {label!r} gives shape {shape}, {options[0]!r} gives {tuple(output.shape)}")


def _choices(module: nn.Module) -> dict[str, Choice]:
    return {part.name: part for part in module.modules() if isinstance(part, Choice)}


def _settle(module: nn.Module, picked: Mapping[str, str], memo: dict[int, Any]) -> nn.Module:
    """A deep copy in which every choice that is picked from is its option; the options left out are not copied."""
    for choice in reversed(_choices(module).values()):  # inner ones come after those they lie in
        if choice.name in picked:
            memo[id(choice)] = _copied(choice, picked, memo)
    return cast(nn.Module, memo[id(module)] if id(module) in memo else copy.deepcopy(module, memo))


def _copied(choice: Choice, picked: Mapping[str, str], memo: dict[int, Any]) -> nn.Module:
    return copy.deepcopy(choice.option(picked[choice.name]), memo)

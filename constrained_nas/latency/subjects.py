"""Everything that a round of profiling runs: networks with hooks around their blocks, chains, blocks alone, whole networks.

Names say what they are: ``uniform e3_k5`` (ms of every block, then of the rest), ``alone stage1.block1 e3_k5``, ``chain`` (a block
behind what comes ``before`` it), ``fixed 0`` (stem, separable block, head), ``network 3``, ``reference``, ``wall clock`` (the
reference once more, by the wall clock).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from constrained_nas.latency.names import Progress, RuntimeName
from constrained_nas.latency.rounds import Subject, timed_run
from constrained_nas.latency.runtimes import prepare_run
from constrained_nas.latency.timer import Timer
from graphs import Architecture, MBConvSpace, Supernet
from graphs.spaces import BlockShape

Context = Literal["network", "chain", "isolated"]


def uniform_architecture(space: MBConvSpace, configuration: int) -> Architecture:
    """Every block in the same configuration, every stage at full depth."""
    choices = dict.fromkeys(space.block_names, space.configurations[configuration].name)
    deepest = str(space.settings.depths[-1])
    choices |= {f"stage{stage + 1}.depth": deepest for stage in range(len(space.settings.stages))}
    return space.space.choose(choices)


def reference_architecture(space: MBConvSpace) -> Architecture:
    """The uniform network of the middle configuration: measured with a table, and again with everything held against it."""
    return uniform_architecture(space, len(space.configurations) // 2)


def profile_subjects(
    space: MBConvSpace,
    contexts: Sequence[Context],
    drawn: Sequence[Architecture],
    runtime: RuntimeName,
    timer: Timer,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Subject]:
    """Everything that a round runs, prepared for the runtime.

    Weights (drawn from ``seed``) do not matter to the time.

    Raises:
        ValueError: the runtime cannot take a module.
    """
    supernet = seeded_supernet(space, seed)
    names = space.block_names
    images = timer.images(space)
    uniform = [supernet.extract(uniform_architecture(space, option)) for option in range(len(space.configurations))]
    found: dict[str, Subject] = {}
    wanted: list[tuple[str, nn.Module, torch.Tensor]] = []
    if "network" in contexts:
        for configuration, network in zip(space.configurations, uniform, strict=True):
            found[f"uniform {configuration.name}"] = hooked(timer.place(network), names, images, timer)
    if "isolated" in contexts:
        wanted += _different_blocks(space, uniform, timer)
    if "chain" in contexts:
        wanted += _chains(space, uniform, timer)
    if "chain" in contexts or "isolated" in contexts:
        wanted += [(f"fixed {place}", part, timer.noise(shape)) for place, (part, shape) in enumerate(space.fixed_modules())]
    wanted += [(f"network {place}", supernet.extract(architecture), images) for place, architecture in enumerate(drawn)]
    wanted.append(("reference", supernet.extract(reference_architecture(space)), images))
    return found | prepared_subjects(wanted, runtime, timer, progress, wall_clock=timer.clock == "processor")


def prepared_subjects(
    wanted: Sequence[tuple[str, nn.Module, torch.Tensor]],
    runtime: RuntimeName,
    timer: Timer,
    progress: Progress | None = None,
    wall_clock: bool = False,
) -> dict[str, Subject]:
    """Named modules with their inputs, prepared for the runtime; the ``reference`` by the wall clock too, if asked for."""
    found: dict[str, Subject] = {}
    for done, (name, module, inputs) in enumerate(wanted, 1):
        run = prepare_run(module, inputs, runtime, timer)
        found[name] = timed_run(run, timer)
        if name == "reference" and wall_clock:
            found["wall clock"] = timed_run(run, replace(timer, clock="wall"))
        if progress:
            progress(done, len(wanted), "preparing")
    return found


def seeded_supernet(space: MBConvSpace, seed: int) -> Supernet:
    """The super-network of a space with weights drawn from ``seed``; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return space.supernet()


def hooked(network: nn.Module, names: Sequence[str], images: torch.Tensor, timer: Timer, dotted: bool = False) -> Subject:
    """One pass of a network: ms of each of its modules called ``names``, in order, and of everything else.

    Dots in names are underscores in extracted networks, unless ``dotted``.
    """
    modules = [network.get_submodule(name if dotted else name.replace(".", "_")) for name in names]

    def once() -> list[float]:
        stamps: list[list[float]] = [[] for _ in modules]
        hooks = []
        for module, at in zip(modules, stamps, strict=True):
            hooks.append(module.register_forward_pre_hook(lambda *_, at=at: at.append(timer.now())))
            hooks.append(module.register_forward_hook(lambda *_, at=at: at.append(timer.now())))
        began = timer.now()
        network(images)
        total = timer.now() - began
        for hook in hooks:
            hook.remove()
        times = [left - entered for entered, left in stamps]
        return [*times, total - sum(times)]

    return once


def _different_blocks(space: MBConvSpace, uniform: Sequence[nn.Module], timer: Timer) -> list[tuple[str, nn.Module, torch.Tensor]]:
    """Every block that differs from the others, alone; named by the first of its shape."""
    blocks = []
    for name, shape in first_of_shape(space).items():
        inputs = timer.noise((shape.inputs, shape.side, shape.side))
        for configuration, network in zip(space.configurations, uniform, strict=True):
            blocks.append((f"alone {name} {configuration.name}", network.get_submodule(name.replace(".", "_")), inputs))
    return blocks


def _chains(space: MBConvSpace, uniform: Sequence[nn.Module], timer: Timer) -> list[tuple[str, nn.Module, torch.Tensor]]:
    """For every different block a chain of what comes before it and the block, and what comes before it alone."""
    names = list(space.block_names)
    chains: list[tuple[str, nn.Module, torch.Tensor]] = []
    for name in first_of_shape(space):
        place = names.index(name)
        if place:
            shape = space.block_shapes[place - 1]
            before = uniform[0].get_submodule(names[place - 1].replace(".", "_"))
            inputs = timer.noise((shape.inputs, shape.side, shape.side))
        else:
            before, fixed = space.fixed_modules()[-2]  # the last before the blocks; the head comes after them
            inputs = timer.noise(fixed)
        chains.append((f"before {name}", before, inputs))
        for configuration, network in zip(space.configurations, uniform, strict=True):
            block = network.get_submodule(name.replace(".", "_"))
            chains.append((f"chain {name} {configuration.name}", nn.Sequential(before, block), inputs))
    return chains


def first_of_shape(space: MBConvSpace) -> dict[str, BlockShape]:
    """Blocks of the same shape cost the same: the first block of every shape, and its shape."""
    first: dict[BlockShape, str] = {}
    for name, shape in zip(space.block_names, space.block_shapes, strict=True):
        first.setdefault(shape, name)
    return {name: shape for shape, name in first.items()}

"""A machine without clocks: every network takes what a table says it does, slow spells and interruptions included where wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from constrained_nas import profile_subjects, validation
from constrained_nas.timing import device_name
from graphs import MBConvSpace
from graphs.costs import LatencyEntry, LatencyTable
from graphs.operators import InvertedResidual


def true_table(space: MBConvSpace) -> LatencyTable:
    """Random times of 0.1 to 1 ms, the same for blocks of one shape."""
    generator = np.random.default_rng(3)
    shapes = dict(zip(space.block_names, space.block_shapes, strict=True))
    times = {(shape, c.name): float(generator.uniform(0.1, 1)) for shape in shapes.values() for c in space.configurations}
    entries = tuple(
        LatencyEntry(block=block, configuration=c.name, median=times[shape, c.name], spread=0.01, samples=10)
        for block, shape in shapes.items()
        for c in space.configurations
    )
    return LatencyTable(
        unit="ms",
        space=space.space.name,
        device=device_name("cpu"),
        runtime="torch eager, channels last",
        threads=1,
        dtype="float32",
        batch=1,
        resolution=space.settings.resolution,
        torch_version="",
        fixed=0.7,
        entries=entries,
    )


Slowness = Callable[[int], float]  # the factor of a subject's n-th run


class SimulatedMachine:
    """Blocks take the table's medians, networks these and ``overhead``; every run is multiplied by ``slowness(run)``.

    ``install`` replaces the clocks of profiling and validation by it.
    """

    def __init__(
        self, space: MBConvSpace, table: LatencyTable, slowness: Slowness = lambda run: 1.0, overhead: float = 0.0
    ) -> None:
        self.space, self.table, self.slowness, self.overhead = space, table, slowness, overhead
        self.medians = {(entry.block, entry.configuration): entry.median for entry in table.entries}
        self.shapes = dict(zip(space.block_names, space.block_shapes, strict=True))

    def block(self, module: InvertedResidual, name: str | None = None) -> float:
        """The time of a block; where its name is not known, that of a block of its shape."""
        expand, depthwise = module.expand.conv, module.depthwise.conv
        inputs, hidden = expand.in_channels, expand.out_channels  # type: ignore[union-attr]
        kernel, stride = depthwise.kernel_size[0], depthwise.stride[0]  # type: ignore[union-attr,index]
        option = f"e{hidden // inputs}_k{kernel}" + ("" if isinstance(module.squeeze_excite, nn.Identity) else "_se")  # type: ignore[operator]
        outputs = module.project.conv.out_channels  # type: ignore[union-attr]
        if name is None:
            wanted = (inputs, outputs, stride, "relu" if isinstance(module.expand.activation, nn.ReLU) else "hard_swish")
            name = next(n for n, s in self.shapes.items() if (s.inputs, s.outputs, s.stride, s.activation) == wanted)
        return self.medians[name, option]

    def network(self, module: nn.Module) -> float:
        """The time of a network, of a chain of blocks, of one block, or of a part of what is fixed."""
        if isinstance(module, InvertedResidual):
            return self.block(module)
        parts = dict(module.named_children())
        blocks = {name: part for name, part in parts.items() if isinstance(part, InvertedResidual)}
        if "logits" in parts and blocks:
            return self.table.fixed + self.overhead + sum(self.block(b, n.replace("_", ".")) for n, b in blocks.items())
        if blocks:  # a chain: what stands before the block is a block, or the module before the blocks
            return sum(self.network(part) for part in parts.values())
        return self.table.fixed / len(self.space.fixed_modules())

    def hooked(self, network: nn.Module, names: Any, images: Any, timer: Any) -> Callable[[], list[float]]:
        times = [self.block(network.get_submodule(name.replace(".", "_")), name) for name in names]  # type: ignore[arg-type]
        return self._runs([*times, self.table.fixed])

    def timed(self, run: nn.Module, timer: Any) -> Callable[[], list[float]]:
        return self._runs([self.network(run)])

    def _runs(self, times: list[float]) -> Callable[[], list[float]]:
        runs = 0

        def once() -> list[float]:
            nonlocal runs
            runs += 1
            return [time * self.slowness(runs) for time in times]

        return once

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (profile_subjects, validation):
            monkeypatch.setattr(module, "prepare_run", lambda network, *_: network)
            monkeypatch.setattr(module, "timed_run", self.timed)
        monkeypatch.setattr(profile_subjects, "_hooked", self.hooked)

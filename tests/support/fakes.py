"""Made records of searches, and a machine without clocks on which networks take what a table says: nothing is trained or timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from constrained_nas.latency import DeviceAttempt, device_name
from constrained_nas.latency import subjects as profile_subjects
from constrained_nas.records import BudgetRecord
from constrained_nas.runs import CertificateRecord, NetworkRecord, RunRecord
from constrained_nas.runs.record import MeasuredBudget
from graphs import MBConvSpace, hardcore_small
from graphs.blocks import InvertedResidual
from graphs.costs import LatencyEntry, LatencyTable

UNITS = {"latency": "ms", "parameters": "parameters"}


def small_choices(option: str = "e3_k3_se", depth: str = "2") -> dict[str, str | dict[str, int]]:
    """A network of hardcore-small: one option in every block, one depth in every stage."""
    return {d.name: depth if d.name.endswith("depth") else option for d in hardcore_small().space.decisions}


def made_search(latency: float = 3.9, limit: float = 4.0, accuracy: float | None = 95.5, **changes: Any) -> RunRecord:
    """A search under a latency and a parameter budget, with a certificate, a history and two references."""
    choices = small_choices()
    fields: dict[str, Any] = {
        "space": "hardcore-small",
        "method": "hardcore",
        "data": "digits",
        "seed": 0,
        "settings": {"space": "hardcore-small", "epochs": 3},
        "budgets": (
            BudgetRecord(cost="latency", unit="ms", limit=limit, value=latency, fits=latency <= limit),
            BudgetRecord(cost="parameters", unit="parameters", limit=90_000, value=61_234, fits=True),
        ),
        "found": NetworkRecord(
            name="found", choices=choices, costs={"latency": latency, "parameters": 61_234.0}, accuracy=accuracy
        ),
        "references": (
            NetworkRecord(name="cheapest", choices=choices, costs={"latency": 2.2, "parameters": 32_042.0}, accuracy=90.25),
            NetworkRecord(name="largest", choices=choices, costs={"latency": 7.4, "parameters": 190_146.0}),
        ),
        "units": UNITS,
        "certificate": CertificateRecord(
            primal=1.25, bound=1.5, gap=0.25, violation=0.0, maximize=True, prices={"latency": 0.125, "parameters": 0.0}
        ),
        "history": tuple({"epoch": epoch, "loss": 2 / epoch, "costs": {"latency": 5.0 - epoch}} for epoch in (1, 2, 3)),
        "seconds": {"search": 9.5},
        "remarks": ("made up for a test",),
    }
    return RunRecord(**(fields | changes))


def made_measurement(median: float, bound: float, limit: float = 4.0) -> MeasuredBudget:
    """A latency measured on the device after a first attempt that was too slow."""
    first = DeviceAttempt(limit=limit, estimated=limit - 0.01, median=limit + 0.1, bound=limit + 0.2, samples=40, fits=False)
    last = DeviceAttempt(limit=limit - 0.2, estimated=limit - 0.21, median=median, bound=bound, samples=40, fits=bound <= limit)
    return MeasuredBudget(
        cost="latency",
        unit="ms",
        limit=limit,
        median=median,
        bound=bound,
        samples=40,
        fits=bound <= limit,
        confidence=0.95,
        attempts=(first, last),
    )


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
        monkeypatch.setattr(profile_subjects, "prepare_run", lambda network, *_: network)
        monkeypatch.setattr(profile_subjects, "timed_run", self.timed)
        monkeypatch.setattr(profile_subjects, "hooked", self.hooked)

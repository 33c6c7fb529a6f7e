"""Spaces, data and searches small enough for tests: of inverted residuals, of PruNet, and from the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from constrained_nas.methods.prunet import PruNet
from constrained_nas.methods.prunet.state import PruNetState, layer_of, with_layers
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.runs import RunRecord, RunSettings, begin_run, carry_out
from graphs import (
    Architecture,
    GPUNetSettings,
    GPUNetSpace,
    GPUNetStage,
    MBConvSettings,
    MBConvSpace,
    SearchSpace,
    StageSetting,
    Supernet,
)
from graphs.blocks import BlockChoice
from graphs.costs import LatencyEntry, LatencyTable, QuadraticCost, width_count_cost
from solvers import Quadratic


@cache
def tiny() -> GPUNetSpace:
    """Five layers of two blocks, four of them Prunodes and three skippable; 16x16 grey images of three classes."""
    blocks = (BlockChoice(3, False, "relu"), BlockChoice(5, True, "relu"))
    convolutions = (BlockChoice(3, False, "relu"), BlockChoice(5, False, "relu"))
    stages = (
        GPUNetStage("convolution", 1, 1, 8, convolutions),
        GPUNetStage("fused", 2, 2, 8, blocks),
        GPUNetStage("inverted", 2, 1, 16, blocks),
    )
    settings = GPUNetSettings(
        "tiny prunet", 16, 3, stages, image_channels=1, stem_channels=8, expansion=4, granularity=8, head_channels=16
    )
    return GPUNetSpace(settings)


def latency_of(space: GPUNetSpace) -> QuadraticCost:
    """Milliseconds that rise with the multiply-adds of a block, and a part that every block has."""
    macs = width_count_cost(space, "macs").quadratic
    return QuadraticCost("latency", "ms", space.space, Quadratic.of(0.1, 2e-6 * macs.linear + 0.05 * (macs.linear > 0)))


def method(space: GPUNetSpace | None = None, **settings: Any) -> PruNet:
    where = space or tiny()
    return PruNet(where, latency_of(where), **({"warm_up": 1} | settings))


def free(space: GPUNetSpace | None = None) -> SearchProblem:
    return SearchProblem((space or tiny()).space, ())


def limited(limit: float) -> SearchProblem:
    return SearchProblem(tiny().space, (Budget(latency_of(tiny()), limit, "ms"),))


def fresh(space: GPUNetSpace | None = None) -> Supernet:
    torch.manual_seed(0)
    return (space or tiny()).supernet()


def extremes(space: GPUNetSpace) -> tuple[float, float]:
    """The latencies of the fastest and of the slowest network."""
    q = latency_of(space).quadratic
    parts = [q.linear[space.space.slice(name)] for name in space.layers]
    return q.offset + sum(part.min() for part in parts), q.offset + sum(part.max() for part in parts)


def stirred(how: PruNet, seed: int) -> PruNetState:
    """A state in the middle of a search: one layer has lost a block, in another the skip competes, Prunodes have moved."""
    generator = np.random.default_rng(seed)
    state = replace(how, hard=False).init(free(how.space), generator)
    layers = [layer_of(state, how.layout, number) for number in range(len(how.layout.layers))]
    layers[1] = replace(layers[1], blocks=np.array([False, True]))
    layers[4] = replace(layers[4], blocks=np.array([True, False]), skip="competes")
    state = with_layers(state, how.layout, layers)
    count = len(state.small)
    small = how.layout.granularity * generator.integers(1, 3, count)
    return replace(
        state,
        logits=generator.normal(size=len(state.logits)),
        width_logits=generator.normal(size=count),
        small=small,
        large=small + how.layout.granularity * generator.integers(1, 3, count),
    )


TINY: dict[str, Any] = {
    "resolution": 16,
    "training_digits": 40,
    "draws": 1,
    "epochs": 2,
    "warm_up": 1,
    "train_epochs": 1,
    "batch_size": 8,
    "fine_tune_epochs": 1,
    "samples": 2,
    "evaluations": 16,
    "judged_images": 8,
    "test_references": False,
}


def settings(space: str, *budget: str, **more: Any) -> RunSettings:
    return RunSettings(space=space, budget=budget, **{**TINY, **more})  # type: ignore[arg-type]


def run(folder: Path, asked: RunSettings) -> RunRecord:
    return carry_out(folder, asked=begin_run(asked, folder))


def tiny_space(
    expansions: tuple[int, ...] = (2, 3), squeeze_excite: tuple[bool, ...] = (False, True), dropout: float = 0.0
) -> MBConvSpace:
    """Two stages of two blocks, eight configurations by default, 5184 networks on 16x16 grey images of three classes."""
    stages = (StageSetting(8, 2, "relu"), StageSetting(8, 1))  # the second stage's blocks all have a skip
    settings = MBConvSettings(
        "tiny",
        16,
        3,
        stages,
        image_channels=1,
        stem_channels=8,
        separable_channels=4,
        blocks_per_stage=2,
        depths=(1, 2),
        expansions=expansions,
        squeeze_excite=squeeze_excite,
        head_channels=16,
        features=16,
        dropout=dropout,
    )
    return MBConvSpace(settings)


def random_architecture(space: SearchSpace, generator: np.random.Generator) -> Architecture:
    """One option a decision, uniformly."""
    return space.choose({decision.name: str(generator.choice(decision.options)) for decision in space.decisions})


def stir(network: nn.Module, seed: int) -> None:
    """Give every bias and batch statistic a value of its own, so that a wrong or forgotten channel shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low in (
                    (module.running_mean, -0.5),
                    (module.running_var, 0.5),
                    (module.weight, 0.5),
                    (module.bias, -0.5),
                ):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)


def images(rows: int, space: MBConvSpace, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Noise in the space's input shape."""
    settings = space.settings
    shape = (rows, settings.image_channels, settings.resolution, settings.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def striped_data(count: int, seed: int) -> TensorDataset:
    """Three classes on 16x16: horizontal stripes, vertical stripes, none; under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    stripes = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(4)
    patterns = torch.stack([stripes[:, None].expand(16, 16), stripes[None, :].expand(16, 16), torch.zeros(16, 16)])
    noise = 0.5 * torch.randn((count, 1, 16, 16), generator=generator)
    return TensorDataset(patterns[labels][:, None] + noise, labels)


def table_of(space: MBConvSpace, generator: np.random.Generator, **changes: object) -> LatencyTable:
    """Random times of 0.1 to 1 ms under every entry of a space."""
    entries = tuple(
        LatencyEntry(block=block, configuration=c.name, median=float(generator.uniform(0.1, 1)), spread=0.01, samples=10)
        for block in space.block_names
        for c in space.configurations
    )
    content: dict[str, object] = {
        "unit": "ms",
        "space": space.space.name,
        "device": "cpu",
        "runtime": "made by a test",
        "threads": 1,
        "dtype": "float32",
        "batch": 1,
        "resolution": space.settings.resolution,
        "torch_version": torch.__version__,
        "fixed": 0.7,
        "entries": entries,
    }
    return LatencyTable.model_validate(content | changes)


def killer(what: str, at: int) -> Callable[[int, int, str], None]:
    """A callback of progress that interrupts the run at that step of that part."""

    def progress(done: int, total: int, now: str) -> None:
        if now == what and done == at:
            raise KeyboardInterrupt

    return progress

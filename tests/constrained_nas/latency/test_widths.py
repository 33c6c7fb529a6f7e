"""Measuring widths: every wanted block is in a network, tables are complete, calibrations are exact on data without noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from constrained_nas.latency import (
    Measurement,
    Timer,
    block_table,
    calibrate_width_table,
    device_name,
    measure_width_table,
    spread_networks,
)
from constrained_nas.latency import widths as width_calibration
from constrained_nas.latency.widths import covering_architectures
from graphs import Architecture
from graphs.blocks import BlockChoice
from graphs.costs import layer_latencies, width_latency_cost
from graphs.costs.width_latency import blocks_to_measure
from graphs.spaces import GPUNetSettings, GPUNetSpace, GPUNetStage, gpunet_imagenet


def tiny() -> GPUNetSpace:
    """Three layers, two blocks each: a convolution, and inverted residuals of four widths."""
    blocks = (BlockChoice(3), BlockChoice(5, True))
    stages = (GPUNetStage("convolution", 1, 1, 8, (BlockChoice(3),)), GPUNetStage("inverted", 3, 2, 8, blocks))
    return GPUNetSpace(GPUNetSettings("tiny", 16, 3, stages, 1, stem_channels=8, expansion=4, granularity=8, head_channels=16))


def test_a_table_is_complete() -> None:
    space = tiny()
    state = torch.get_rng_state()
    table = measure_width_table(space, Timer(batch=2), 3, np.random.default_rng(0), widths_per_block=3)
    assert torch.equal(state, torch.get_rng_state())
    assert (table.unit, table.space, table.batch, table.threads, table.resolution) == ("ms", "tiny", 2, 1, 16)
    assert (table.device, table.torch_version) == (device_name("cpu"), torch.__version__)
    assert [(entry.layer, entry.option) for entry in table.entries] == list(space.unique_blocks)
    assert all(entry.median > 0 for entry in table.entries)
    assert table.fixed > 0
    assert table.interpolation is not None
    assert table.interpolation.checked == 4  # two shapes x two blocks, one width between the ends
    assert {(entry.layer, entry.option) for entry in table.entries if entry.samples} == set(blocks_to_measure(space, 3))
    with pytest.raises(ValueError, match="rounds: expected at least 3 for a median, got 2"):
        measure_width_table(space, Timer(), 2, np.random.default_rng(0))


@pytest.mark.parametrize("widths_per_block", [2, 6, None])
def test_networks_cover_what_is_wanted(widths_per_block: int | None) -> None:
    space = gpunet_imagenet()
    wanted = set(blocks_to_measure(space, widths_per_block))
    architectures = covering_architectures(space, wanted, np.random.default_rng(0))
    seen = {
        (space.layers[name].name, option.name)
        for architecture in architectures
        for name, option in space.chosen(architecture).items()
    }
    assert seen == wanted
    # The first layers of stages are alone of their shape: that of stage 6 has 4 x 72 options.
    assert len(architectures) == 4 * (widths_per_block or 72)


def test_calibration_is_exact_on_a_device_without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    space = tiny()
    timer, generator = Timer(), np.random.default_rng(0)
    table = measure_width_table(space, timer, 3, generator, widths_per_block=2)
    cost = width_latency_cost(table, space)
    drawn = spread_networks(space, cost, 8, np.random.default_rng(1))
    times = [cost.cost(architecture) for architecture in drawn]
    assert times == sorted(times)
    assert times[-1] > times[0]

    def measured(architectures: dict[str, Architecture], *_: object) -> dict[str, Measurement]:
        return {name: Measurement(2.0 * cost.cost(one) + 0.5, 0.0, 3) for name, one in architectures.items()}

    monkeypatch.setattr(block_table, "spread_networks", lambda *_: drawn)
    monkeypatch.setattr(width_calibration, "time_networks", measured)
    scaled, before, after = calibrate_width_table(table, space, timer, 8, 3, generator)
    assert (before.slope, before.intercept) == (pytest.approx(2.0, rel=1e-9), pytest.approx(0.5, rel=1e-9))
    assert after.worst < 1e-9
    assert scaled.slope == pytest.approx(2.0, rel=1e-9)
    for name, times_of_layer in layer_latencies(scaled, space).items():
        np.testing.assert_allclose(times_of_layer, 2.0 * layer_latencies(table, space)[name], rtol=1e-9)
    with pytest.raises(ValueError, match="networks: expected at least 6"):
        calibrate_width_table(table, space, timer, 5, 3, generator)

    def falling(architectures: dict[str, Architecture], *_: object) -> dict[str, Measurement]:
        return {name: Measurement(9.0 * times[-1] - cost.cost(one), 0.0, 3) for name, one in architectures.items()}

    monkeypatch.setattr(width_calibration, "time_networks", falling)
    with pytest.raises(ValueError, match="do not rise"):  # faster the longer the table thinks they take
        calibrate_width_table(table, space, timer, 8, 3, generator)


def test_drawn_networks_are_of_every_depth() -> None:
    space = tiny()
    table = measure_width_table(space, Timer(), 3, np.random.default_rng(0), widths_per_block=2)
    drawn = spread_networks(space, width_latency_cost(table, space), 24, np.random.default_rng(1))
    skips = [sum(choice == "skip" for choice in space.describe(one).values()) for one in drawn]
    skippable = sum(shape.skippable for shape in space.layers.values())
    assert min(skips) == 0 and max(skips) == skippable

"""Tables over widths: complete, monotone, honest about interpolation; counted costs equal the networks' counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import random_architecture

from graphs.blocks import BlockChoice
from graphs.costs import (
    BlockKey,
    Device,
    Measured,
    WidthLatencyTable,
    count,
    layer_latencies,
    load_width_latency_table,
    tabulate_widths,
    width_count_cost,
    width_latency_cost,
)
from graphs.costs.width_latency import blocks_to_measure, monotone_latencies
from graphs.files import save_json
from graphs.spaces import GPUNetSettings, GPUNetSpace, GPUNetStage, gpunet_imagenet, gpunet_small

DEVICE = Device("a test", "made up", 1, "float32", 1, "2")


@dataclass(frozen=True)
class Made:
    median: float
    spread: float = 0.01
    samples: int = 7


@cache
def small() -> GPUNetSpace:
    return gpunet_small()


def made_up(space: GPUNetSpace, curve: Callable[[int], float], noise: float = 0.0) -> Callable[[Collection[BlockKey]], Measured]:
    """A device on which a block takes ``curve(width)`` ms (and its kernel's share), convolutions 0.1 ms."""
    generator = np.random.default_rng(0)

    def latency(key: BlockKey) -> float:
        shape, index = space.unique_blocks[key]
        option = shape.options[index]
        kernel = shape.blocks[option.block or 0].kernel
        return (0.1 if not option.width else curve(option.width) + 0.01 * kernel) * (1 + noise * generator.standard_normal())

    return lambda keys: Measured({key: Made(latency(key)) for key in keys}, 0.7)


def test_what_is_measured() -> None:
    space = gpunet_imagenet()
    assert len(blocks_to_measure(space, None)) == 1690
    some = blocks_to_measure(space, 6)
    assert len(some) == len(set(some)) == 2 + 10 * 4 * 6
    widths: dict[tuple[str, str], list[int]] = {}
    for layer, option in some:
        block, _, width = option.rpartition("_w")
        if block:
            widths.setdefault((layer, block), []).append(int(width))
    assert widths["inverted_448-448_s1_r9", "k3_relu"] == [32, 736, 1440, 2176, 2880, 3584]
    assert widths["fused_24-64_s2_r144", "k5_se_swish"] == [32, 64, 96, 128, 160, 192]
    with pytest.raises(ValueError, match=r"widths_per_block: expected 2 or more, .* got 1"):
        blocks_to_measure(space, 1)


def test_a_smooth_device_is_interpolated_well() -> None:
    space = small()
    table = tabulate_widths(space, made_up(space, lambda width: 0.05 + 0.002 * width**1.2), 5, DEVICE)
    truth = tabulate_widths(space, made_up(space, lambda width: 0.05 + 0.002 * width**1.2), None, DEVICE)
    assert truth.interpolation is None
    assert len(table.entries) == len(truth.entries) == len(space.unique_blocks)
    assert table.interpolation is not None
    # Each of the curves with more than five widths is checked at the three measured ones between its ends.
    curves = {(shape.name, block.name) for shape in space.layers.values() for block in shape.blocks if len(shape.widths) > 5}
    assert table.interpolation.checked == 3 * len(curves)
    assert table.interpolation.worst < 0.05
    for one, other in zip(table.entries, truth.entries, strict=True):
        assert (one.layer, one.option) == (other.layer, other.option)
        assert one.median == pytest.approx(other.median, rel=0.02)
    measured = {(entry.layer, entry.option) for entry in table.entries if entry.samples}
    assert measured == set(blocks_to_measure(space, 5))


def test_noise_never_makes_a_wider_block_faster() -> None:
    space = small()
    table = tabulate_widths(space, made_up(space, lambda width: 0.05 + 0.0005 * width, noise=0.2), 6, DEVICE)
    times = layer_latencies(table, space)
    for name, shape in space.layers.items():
        for block in range(len(shape.blocks)):
            curve = [times[name][shape.index(block, width)] for width in shape.widths]
            # A flat stretch of a cubic is flat up to rounding.
            assert all(low <= high + 1e-12 for low, high in pairwise(curve))


def test_measured_in_full_nothing_is_smoothed() -> None:
    space = small()
    table = tabulate_widths(space, made_up(space, lambda width: 0.2 if width % 16 else 0.1), None, DEVICE)
    times = layer_latencies(table, space)["stage2.layer2"]
    shape = space.layers["stage2.layer2"]
    assert times[shape.index(0, 24)] > times[shape.index(0, 32)]
    assert all(entry.samples == 7 for entry in table.entries)


def test_monotone_curves() -> None:
    np.testing.assert_allclose(monotone_latencies([8, 16, 32], [1.0, 2.0, 4.0], [8, 12, 24, 32]), [1.0, 1.5, 3.0, 4.0])
    # 3 before 2 becomes 2.5 twice.
    np.testing.assert_allclose(monotone_latencies([8, 16, 24, 32], [1.0, 3.0, 2.0, 4.0], [16, 20, 24]), [2.5, 2.5, 2.5])
    with pytest.raises(ValueError, match="two or more rising widths"):
        monotone_latencies([8], [1.0], [8])
    with pytest.raises(ValueError, match="two or more rising widths"):
        monotone_latencies([16, 8], [1.0, 2.0], [8])
    with pytest.raises(ValueError, match="must lie between 8 and 16"):
        monotone_latencies([8, 16], [1.0, 2.0], [24])


def test_the_cost_is_the_sum_over_the_layers() -> None:
    space = small()
    table = tabulate_widths(space, made_up(space, lambda width: 0.002 * width), 5, DEVICE)
    cost = width_latency_cost(table, space)
    entries = {(entry.layer, entry.option): entry.median for entry in table.entries}
    generator = np.random.default_rng(0)
    for _ in range(20):
        architecture = random_architecture(space.space, generator)
        chosen = space.chosen(architecture)
        expected = 0.7 + sum(
            entries[space.layers[name].name, option.name] for name, option in chosen.items() if option.block is not None
        )
        assert cost.cost(architecture) == pytest.approx(expected, rel=1e-12)  # the same numbers in another order
    assert (cost.name, cost.unit) == ("latency", "ms")


@pytest.mark.parametrize("what", ["macs", "parameters"])
@pytest.mark.parametrize("space", [gpunet_small(), gpunet_imagenet(resolution=64, classes=10, depths=(2, 1, 2, 1, 2))])
def test_counted_costs_equal_the_counts_of_networks(space: GPUNetSpace, what: Any) -> None:
    cost = width_count_cost(space, what)
    generator = np.random.default_rng(1)
    s = space.settings
    for _ in range(6):
        architecture = random_architecture(space.space, generator)
        with torch.device("meta"):
            counted = count(space.network(architecture), (s.image_channels, s.resolution, s.resolution))
        assert cost.cost(architecture) == getattr(counted, what)


def test_unknown_counts() -> None:
    with pytest.raises(ValueError, match="expected 'macs' or 'parameters', got 'flops'"):
        width_count_cost(small(), "flops")  # type: ignore[arg-type]


def test_blocks_that_stages_share_are_one_entry() -> None:
    def stage(*kernels: int) -> GPUNetStage:
        return GPUNetStage("inverted", 2, 1, 8, tuple(BlockChoice(kernel) for kernel in kernels))

    settings = GPUNetSettings("shared", 16, 3, (stage(3, 5), stage(5, 7)), 1, stem_channels=8, expansion=4, granularity=8)
    space = GPUNetSpace(settings)
    assert len(space.unique_blocks) == 3 * 4
    table = tabulate_widths(space, made_up(space, lambda width: 0.01 * width), None, DEVICE)
    times = layer_latencies(table, space)
    assert times["stage1.layer1"][4:8].tolist() == times["stage2.layer2"][:4].tolist()


def test_files(tmp_path: Path) -> None:
    space = small()
    table = tabulate_widths(space, made_up(space, lambda width: 0.01 * width), 4, DEVICE)
    path = tmp_path / "table.json"
    save_json(table, path)
    assert load_width_latency_table(path) == table
    content = json.loads(path.read_text(encoding="utf-8"))

    def spoilt(message: str, **changes: object) -> None:
        path.write_text(json.dumps(content | changes), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            load_width_latency_table(path)

    spoilt("unit: .*the table is in 's', expected 'ms'", unit="s")
    spoilt("schema_version", schema_version=2)
    spoilt("holds a record of kind .latency table., expected .width latency table.", kind="latency table")
    spoilt("fixed: ", fixed=-1.0)
    path.write_text(json.dumps(content)[:-30], encoding="utf-8")
    with pytest.raises(ValueError, match="not complete JSON"):
        load_width_latency_table(path)


def test_tables_of_another_space_or_with_holes() -> None:
    space = small()
    table: WidthLatencyTable = tabulate_widths(space, made_up(space, lambda width: 0.01 * width), 4, DEVICE)
    with pytest.raises(ValueError, match="table is of space 'other'"):
        layer_latencies(table.model_copy(update={"space": "other"}), space)
    with pytest.raises(ValueError, match="no entry for convolution_8-8_s1_r16 k3_relu"):
        layer_latencies(table.model_copy(update={"entries": table.entries[1:]}), space)
    with pytest.raises(ValueError, match="two entries for convolution_8-8_s1_r16 k3_relu"):
        layer_latencies(table.model_copy(update={"entries": (*table.entries, table.entries[0])}), space)
    with pytest.raises(ValueError, match=r"\d+ of \d+ blocks were not measured, the first is 'convolution_8-8_s1_r16 k3_relu'"):
        tabulate_widths(space, lambda keys: Measured({}, 1.0), 4, DEVICE)

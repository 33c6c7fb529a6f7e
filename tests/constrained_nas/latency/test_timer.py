"""Measuring: tables are complete and positive, equal blocks are pooled, calibrations are exact on data without noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import tiny_space
from torch import Tensor, nn

from constrained_nas.latency import (
    Clock,
    Measurement,
    TableFit,
    Timer,
    block_table,
    calibrate,
    device_name,
    measure_networks,
    measure_table,
    uniform_architecture,
)
from graphs import MBConvSpace, Supernet
from graphs.costs import LatencyTable, latency_cost


@cache
def setting() -> tuple[MBConvSpace, Supernet, LatencyTable]:
    space = tiny_space(expansions=(2,))  # four configurations
    net = space.supernet()
    return space, net, measure_table(space, net, Timer(batch=2), 5, np.random.default_rng(0))


def test_tables_are_complete_positive_and_pooled() -> None:
    space, _, table = setting()
    assert (table.unit, table.space, table.batch, table.threads, table.resolution) == ("ms", "tiny", 2, 1, 16)
    assert (table.device, table.dtype, table.torch_version) == (device_name("cpu"), "float32", torch.__version__)
    assert (table.slope, table.intercept) == (1.0, 0.0)
    expected = [(block, c.name) for block in space.block_names for c in space.configurations]
    assert [(entry.block, entry.configuration) for entry in table.entries] == expected
    assert all(entry.median > 0 for entry in table.entries)
    assert all(entry.spread >= 0 for entry in table.entries)
    assert table.fixed > 0
    latency_cost(table, space)
    shapes = dict(zip(space.block_names, space.block_shapes, strict=True))
    pooled: dict[object, set[tuple[float, float, int]]] = {}
    for entry in table.entries:
        pooled.setdefault((shapes[entry.block], entry.configuration), set()).add((entry.median, entry.spread, entry.samples))
    assert all(len(found) == 1 for found in pooled.values()), "blocks of one shape are one block"
    by_block = {entry.block: entry.samples for entry in table.entries}
    same = list(space.block_shapes)
    assert by_block == {name: 5 * same.count(shape) for name, shape in shapes.items()}
    assert sorted(set(by_block.values())) == [5, 10]  # the last two blocks of the space see the same shape


def test_measuring_restores_threads_hooks_and_weights() -> None:
    space, net, _ = setting()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    threads = torch.get_num_threads()
    during: set[int] = set()
    calls: list[tuple[int, int, str]] = []

    def note(*call: Any) -> None:
        calls.append(call)
        during.add(torch.get_num_threads())

    torch.set_num_threads(2)
    try:
        measure_table(space, net, Timer(threads=1), 3, np.random.default_rng(0), note)
        assert during == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert calls == [(1, 3, "timing blocks"), (2, 3, "timing blocks"), (3, 3, "timing blocks")]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_measurements() -> None:
    assert Measurement.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Measurement(3.0, 2.0, 5)


class Sleeper(nn.Module):
    """Takes a known time, and notes whether it was timed as it should be."""

    def __init__(self, milliseconds: float, log: list[float]) -> None:
        super().__init__()
        self.milliseconds, self.log = milliseconds, log

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.log.append(self.milliseconds)
        time.sleep(self.milliseconds / 1000)
        return images


def test_networks_are_timed_in_turns() -> None:
    log: list[float] = []
    rounds = 6
    found = measure_networks([Sleeper(2.0, log), Sleeper(8.0, log)], torch.zeros(1), Timer(), rounds, np.random.default_rng(0))
    assert [measurement.samples for measurement in found] == [rounds, rounds]
    assert log[:4] == [2.0, 2.0, 8.0, 8.0]  # warm-up
    turns = [tuple(log[4 + 2 * r : 6 + 2 * r]) for r in range(rounds)]
    assert set(turns) == {(2.0, 8.0), (8.0, 2.0)}, "both orders, every network once a round"
    assert found[0].median >= 2.0  # sleeping takes at least as long as asked; how much longer depends on the machine
    assert found[1].median >= 8.0


def test_fits_are_exact_on_synthetic_data() -> None:
    estimated = [1.0, 2.0, 4.0, 7.0]
    fit = TableFit.of(estimated, [0.5 + 1.25 * x for x in estimated])
    assert (fit.slope, fit.intercept, fit.r_squared) == pytest.approx((1.25, 0.5, 1.0), rel=1e-12)
    assert fit.worst == pytest.approx(max(abs(x / (0.5 + 1.25 * x) - 1) for x in estimated), rel=1e-12)
    noisy = TableFit.of([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert (noisy.slope, noisy.intercept, noisy.r_squared) == pytest.approx((0.5, 1.0, 0.25), rel=1e-12)


@pytest.mark.parametrize(
    ("estimated", "measured"),
    [
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]),
        ([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]),
    ],
)
def test_fits_that_cannot_be(estimated: list[float], measured: list[float]) -> None:
    with pytest.raises(ValueError, match="estimates and positive measurements of at least three different networks"):
        TableFit.of(estimated, measured)


def test_calibration_is_exact_where_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose networks take exactly 0.3 + 1.1 x the table's sum, the calibrated table predicts them exactly."""
    space, net, table = setting()
    raw = latency_cost(table, space)

    def exact(networks: list[nn.Module], *_: object) -> list[Measurement]:
        return [Measurement(0.3 + 1.1 * times[id(network)], 0.0, 1) for network in networks]

    times: dict[int, float] = {}
    kept: list[nn.Module] = []
    extract = net.extract

    def remember(architecture: object) -> nn.Module:
        network = extract(architecture)  # type: ignore[arg-type]
        times[id(network)] = raw.cost(architecture)  # type: ignore[arg-type]
        kept.append(network)  # an id is only its own while the object lives
        return network

    monkeypatch.setattr(block_table, "measure_networks", exact)
    monkeypatch.setattr(net, "extract", remember, raising=False)
    scaled, before, after = calibrate(table, space, net, Timer(), 8, 1, np.random.default_rng(0))
    assert (before.slope, before.intercept, before.r_squared) == pytest.approx((1.1, 0.3, 1.0), rel=1e-9)  # least squares of 4
    assert (after.slope, after.intercept, after.r_squared) == pytest.approx((1.0, 0.0, 1.0), rel=1e-9, abs=1e-9)
    assert after.worst < 1e-9
    assert (scaled.slope, scaled.intercept) == (before.slope, before.intercept)
    assert scaled.fixed == pytest.approx(1.1 * table.fixed + 0.3, rel=1e-9)
    for old, new in zip(table.entries, scaled.entries, strict=True):
        assert (new.median, new.spread) == pytest.approx((1.1 * old.median, 1.1 * old.spread), rel=1e-9)
    # Calibrating once more against the same machine changes nothing, and the table still states both steps as one.
    twice, _, _ = calibrate(scaled, space, net, Timer(), 8, 1, np.random.default_rng(1))
    assert (twice.slope, twice.intercept) == pytest.approx((1.1, 0.3), rel=1e-6)


def test_calibration_on_this_machine() -> None:
    space, net, table = setting()
    scaled, before, after = calibrate(table, space, net, Timer(batch=2), 6, 3, np.random.default_rng(0))
    assert all(entry.median > 0 for entry in scaled.entries)
    assert scaled.slope > 0
    assert np.isfinite([before.slope, before.intercept, before.worst, after.slope, after.worst]).all()
    latency_cost(LatencyTable.model_validate(scaled.model_dump()), space)


def test_too_few_rounds_or_networks() -> None:
    space, net, table = setting()
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="rounds: expected at least 3 for a median, got 2"):
        measure_table(space, net, Timer(), 2, generator)
    with pytest.raises(ValueError, match="networks: expected at least 6, half to calibrate and half to check, got 5"):
        calibrate(table, space, net, Timer(), 5, 3, generator)
    with pytest.raises(ValueError, match="rounds: expected at least one, got 0"):
        measure_networks([nn.Identity()], torch.zeros(1), Timer(), 0, generator)


def test_uniform_architectures() -> None:
    space = tiny_space()
    architecture = uniform_architecture(space, 5)
    assert {architecture.choice(block) for block in space.block_names} == {5}
    assert [architecture.choice(f"stage{stage}.depth") for stage in (1, 2)] == [1, 1]


@pytest.mark.parametrize(("clock", "nanoseconds"), [("processor", time.thread_time_ns), ("wall", time.perf_counter_ns)])
def test_both_clocks_tell_milliseconds(clock: Clock, nanoseconds: Callable[[], int]) -> None:
    timer = Timer(clock=clock)
    outer, begun, inner = nanoseconds(), timer.now(), nanoseconds()
    while nanoseconds() < inner + 5_000_000:
        pass
    within = nanoseconds() - inner
    ended = timer.now()
    around = nanoseconds() - outer
    assert within / 1e6 - 1e-6 <= ended - begun <= around / 1e6 + 1e-6  # to the rounding of a sum

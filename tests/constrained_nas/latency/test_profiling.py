"""Profiling on a simulated machine: tables are exact, drift and interruptions leave no trace, killed runs go on; and for real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.fakes import SimulatedMachine, true_table
from support.tiny import tiny_space

from constrained_nas.latency import ProfileSettings, Timer, device_name, profile_space, profiling
from constrained_nas.latency.rounds import MeasurementLog
from graphs import MBConvSpace
from graphs.costs import LatencyTable, latency_cost

SETTINGS = ProfileSettings(rounds=12, networks=8)


def small() -> MBConvSpace:
    return tiny_space(expansions=(2,))  # four configurations; the last two blocks see one shape


def medians(table: LatencyTable) -> list[float]:
    return [entry.median for entry in table.entries]


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize("timing", ["in-context", "isolated"])
def test_tables_are_exact_on_a_machine_without_noise(monkeypatch: pytest.MonkeyPatch, runtime: str, timing: str) -> None:
    space = small()
    truth = true_table(space)
    SimulatedMachine(space, truth, overhead=0.25).install(monkeypatch)
    monkeypatch.setattr(profiling, "require_runtime", lambda *_: None)
    monkeypatch.setattr(profiling, "runtime_title", lambda *_: "simulated")
    found = profile_space(space, replace(SETTINGS, runtime=runtime, timing=timing))  # type: ignore[arg-type]
    # The overhead of whole networks is what the calibration finds; entries stay, the rest of the network takes it.
    assert (found.before.slope, found.before.intercept) == pytest.approx((1.0, 0.25), rel=1e-6)
    assert medians(found.table) == pytest.approx(medians(truth), rel=1e-6)  # differences of chains and least squares round
    assert found.table.fixed == pytest.approx(truth.fixed + 0.25, rel=1e-6)
    assert (found.check.slope, found.check.r_squared) == pytest.approx((1.0, 1.0), rel=1e-6)
    assert found.check.worst < 1e-6
    assert [one.context for one in found.table.evidence] == list(replace(SETTINGS, runtime=runtime, timing=timing).contexts)  # type: ignore[arg-type]
    assert all(one.r_squared > 1 - 1e-9 and one.worst_calibrated < 1e-6 for one in found.table.evidence)
    assert found.table.context == found.table.evidence[0].context
    assert not any(entry.noisy for entry in found.table.entries)
    reference = found.table.reference
    assert reference is not None
    assert reference.median == pytest.approx(latency_cost(found.table, space).cost(space.space.choose(reference.choices)), rel=1e-6)


def test_slow_spells_and_interruptions_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    space = small()
    truth = true_table(space)
    generator = np.random.default_rng(0)

    def slowness(run: int) -> float:
        spell = 1.6 if run in (5, 6, 9) else 1.0  # the first two runs are the warm-up
        jitter = 1 + 0.002 * generator.standard_normal()
        return float(spell * jitter * (8 if generator.random() < 0.03 else 1))

    SimulatedMachine(space, truth, slowness).install(monkeypatch)
    found = profile_space(space, replace(SETTINGS, rounds=30))
    assert sorted(np.round(found.drift, 1))[-4:] == [1.0, 1.6, 1.6, 1.6]
    # Medians of 30 samples with 0.2 % noise: half a percent is eight of their standard errors.
    assert medians(found.table) == pytest.approx(medians(truth), rel=0.005)
    assert sum(entry.dropped for entry in found.table.entries) > 0
    assert all(entry.samples + entry.dropped in (30, 60) for entry in found.table.entries)
    assert not any(entry.noisy for entry in found.table.entries)
    assert found.check.worst < 0.01


def test_noise_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    space = small()
    generator = np.random.default_rng(0)
    SimulatedMachine(space, true_table(space), lambda run: float(np.exp(0.5 * generator.standard_normal()))).install(monkeypatch)
    found = profile_space(space, SETTINGS)
    assert sum(entry.noisy for entry in found.table.entries) > 0.8 * len(found.table.entries)


def test_a_killed_run_goes_on_and_ends_in_the_same_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    space = small()
    SimulatedMachine(space, true_table(space)).install(monkeypatch)
    whole = profile_space(space, SETTINGS).table
    path = tmp_path / "t.partial.jsonl"
    seen: list[tuple[int, int, str]] = []

    def kill(done: int, total: int, what: str) -> None:
        seen.append((done, total, what))
        if what == "timing" and done == 5 and len([entry for entry in seen if entry[2] == "timing"]) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile_space(space, SETTINGS, path, kill)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1 + 5
    before = len(seen)
    assert profile_space(space, SETTINGS, path, kill).table == whole
    timing = [entry for entry in seen[before:] if entry[2] == "timing"]
    assert timing[0] == (5, 12, "timing") and timing[-1] == (12, 12, "timing")
    # Another batch must not be mixed in; what is complete needs no measuring.
    with pytest.raises(ValueError, match="with batch 1, not 4"):
        profile_space(space, replace(SETTINGS, timer=Timer(batch=4)), path)
    monkeypatch.setattr(profiling, "profile_subjects", None)
    assert profile_space(space, SETTINGS, path).table == whole


def test_orders_differ_from_round_to_round_and_are_drawn_from_the_seed() -> None:
    from constrained_nas.latency.rounds import measure_rounds

    def orders(seed: int, first: int) -> list[str]:
        ran: list[str] = []
        subjects = {name: (lambda name=name: [float(not ran.append(name))]) for name in "abcdefgh"}
        log = MeasurementLog.opened(None, {})
        log.rounds.extend([{}] * first)
        measure_rounds(subjects, Timer(), 4, seed, log)  # type: ignore[arg-type]
        assert len(log.rounds) == 4
        return ["".join(ran[16 + 8 * number : 24 + 8 * number]) for number in range(4 - first)]

    all_four = orders(0, 0)
    assert all(sorted(order) == list("abcdefgh") for order in all_four)
    assert len(set(all_four)) == 4
    assert orders(0, 2) == all_four[2:]
    assert orders(1, 0) != all_four


def test_for_real() -> None:
    """On this machine: complete, positive, stated as measured; how long anything takes is not the test's business."""
    space = small()
    threads = torch.get_num_threads()
    found = profile_space(space, ProfileSettings(timer=Timer(clock="processor"), rounds=6, networks=6)).table
    assert torch.get_num_threads() == threads
    assert (found.device, found.clock, found.runtime, found.batch) == (
        device_name("cpu"),
        "processor",
        "torch eager, channels last",
        1,
    )
    assert len(found.entries) == 16 and min(medians(found)) > 0
    assert LatencyTable.model_validate_json(found.model_dump_json()) == found
    shapes = dict(zip(space.block_names, space.block_shapes, strict=True))
    pooled = {(shapes[e.block], e.configuration): (e.median, e.samples + e.dropped) for e in found.entries}
    assert sorted({count for _, count in pooled.values()}) == [6, 12]
    assert len(pooled) == 12


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 6 networks and 6 rounds, got 5 and 6"):
        ProfileSettings(networks=5, rounds=6)
    with pytest.raises(ValueError, match="processor clock sees one thread on the CPU, not 2 on cpu"):
        Timer(threads=2, clock="processor")

"""Validation on a simulated machine: a right table is right on a slower machine too, a wrong one is told by how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.fakes import SimulatedMachine, true_table
from support.tiny import tiny_space

from constrained_nas.latency import Timer, Validation, timer_of, validate_table
from constrained_nas.latency.block_table import scale_table
from constrained_nas.latency.subjects import reference_architecture
from constrained_nas.reports import draw_validation
from graphs import hardcore_small
from graphs.costs import LatencyTable, ReferenceLatency, latency_cost
from graphs.files import load_json, save_json

SPACE = tiny_space()


def with_reference(table: LatencyTable) -> LatencyTable:
    reference = reference_architecture(SPACE)
    median = latency_cost(table, SPACE).cost(reference)
    return table.model_copy(update={"reference": ReferenceLatency(choices=SPACE.space.describe(reference), median=median)})


def test_a_right_table_on_a_slower_machine_with_slow_spells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = with_reference(true_table(SPACE))
    SimulatedMachine(SPACE, table, lambda run: 1.3 * (2.0 if run % 5 == 4 else 1.0)).install(monkeypatch)
    found = validate_table(table, SPACE, timer_of(table), networks=9, rounds=10, seed=0)
    assert found.speed == pytest.approx(1.3, rel=1e-9)
    assert (found.slope, found.ratio, found.r_squared) == pytest.approx((1.0, 1.0, 1.0), rel=1e-9)
    assert found.intercept == pytest.approx(0.0, abs=1e-9)
    assert found.worst < 1e-9
    cost = latency_cost(table, SPACE)
    for one in found.networks:
        assert one.estimated == cost.cost(SPACE.space.choose(one.choices))
        assert one.low <= one.measured <= one.high
        assert one.uncorrected == pytest.approx(1.3 * one.estimated, rel=1e-9)
    estimates = [one.estimated for one in found.networks]
    assert np.abs(np.diff(estimates) / np.mean(np.diff(estimates)) - 1).max() < 0.5  # evenly spaced, within the draws
    save_json(found, tmp_path / "validation.json")
    assert load_json(tmp_path / "validation.json", Validation, "table validation") == found
    draw_validation(found, tmp_path / "deep" / "scatter.png")
    assert (tmp_path / "deep" / "scatter.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="cannot draw this kind of file"):
        draw_validation(found, tmp_path / "scatter.nothing")


def test_a_wrong_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine takes 1.2 x what the table says and 0.4 ms; without a reference nothing can be divided out."""
    table = true_table(SPACE)
    slow = scale_table(table, 1.2, 0.4)
    SimulatedMachine(SPACE, slow).install(monkeypatch)
    found = validate_table(table, SPACE, Timer(), networks=5, rounds=6)
    assert found.speed == 1.0
    assert (found.slope, found.intercept, found.r_squared) == pytest.approx((1.2, 0.4, 1.0), rel=1e-6)
    worst = max(abs(one.estimated / one.measured - 1) for one in found.networks)
    assert found.worst == pytest.approx(worst, rel=1e-9)
    x, y = (np.array([getattr(one, what) for one in found.networks]) for what in ("estimated", "measured"))
    assert found.ratio == pytest.approx(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0], rel=1e-9)


def test_tables_that_do_not_suit(monkeypatch: pytest.MonkeyPatch) -> None:
    table = true_table(SPACE)
    other = table.model_copy(update={"device": "another processor"})
    with pytest.raises(ValueError, match=r"device 'another processor' where '.+' is asked for"):
        timer_of(other)
    with pytest.raises(ValueError, match="batch 1 where 8 is asked for"):
        validate_table(table, SPACE, Timer(batch=8))
    with pytest.raises(ValueError, match="runtime is 'TFLite': networks can be measured here in torch eager"):
        validate_table(table.model_copy(update={"runtime": "TFLite"}), SPACE, Timer())
    with pytest.raises(ValueError, match="is of space 'tiny'"):
        validate_table(table, hardcore_small(), Timer())
    with pytest.raises(ValueError, match="at least 3 networks and 6 rounds, got 2 and 30"):
        validate_table(table, SPACE, Timer(), networks=2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda: torch sees no GPU"):
        timer_of(table, "cuda")

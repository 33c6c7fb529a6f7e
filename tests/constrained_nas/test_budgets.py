"""Budgets as people write them: units, multiples, shares, bounds; and what is said of those that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from constrained_nas.budgets import read_budgets

NAMES = ("latency_ms", "energy_mj", "params", "macs", "size", "activation_memory")


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("latency_ms=40", "latency_ms", 40.0),
        ("latency=40ms", "latency_ms", 40.0),
        ("latency = 0.04 s", "latency_ms", 40.0),
        ("latency_ms=2300us", "latency_ms", 2.3),
        ("latency=12µs", "latency_ms", 0.012),
        ("energy=1.5mJ", "energy_mj", 1.5),
        ("params=5M", "params", 5e6),
        ("parameters=40k", "params", 40e3),
        ("params=2B", "params", 2e9),
        ("macs=300M", "macs", 300e6),
        ("size=2MB", "size", 2e6),
        ("size=2M", "size", 2e6),
        ("size=2MiB", "size", 2**21),
        ("activation_memory=512KB", "activation_memory", 512e3),
        ("params=60%", "params", "60%"),
        ("params=6e4", "params", 6e4),
        ("params=1_000", "params", 1000.0),
        ("size=1MB..2MB", "size", (1e6, 2e6)),
        ("params=..50%", "params", (None, "50%")),
    ],
)
def test_what_is_read(text: str, name: str, limit: Any) -> None:
    assert read_budgets([text], NAMES) == {name: limit}


def test_columns_of_any_name_keep_their_unit() -> None:
    assert read_budgets(["MB=3GB", "a=b_us=2ms", "odd=3M"]) == {"MB": 3000.0, "a=b_us": 2000.0, "odd": 3e6}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params", "expected NAME=LIMIT"),
        ("params=x", "a number"),
        ("params=1,5", "a number"),
        ("params=5m", "names no unit"),
        ("params=5ms", "names no unit"),
        ("latency=5MB", "is a time, in s, ms"),
        ("latancy=5", "did you mean latency_ms"),
        ("flops=5M", "half as many"),
        ("weight=3", "there are: latency_ms, energy_mj"),
        ("params=0%", "above 0 %"),
        ("params=1..2..3", "LOWER..UPPER"),
        ("params=..", "LOWER..UPPER"),
        ("params=1.2.3", "a number"),
    ],
)
def test_what_is_not(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read_budgets([text], NAMES)
    assert text in str(error.value)


def test_a_name_has_one_budget() -> None:
    with pytest.raises(ValueError, match="'latency_ms' has a budget already"):
        read_budgets(["latency=1ms", "latency_ms=2"], NAMES)

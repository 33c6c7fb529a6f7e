"""Made records of searches from the command line, for tests of reports, comparisons and sweeps: nothing is trained or measured."""

from __future__ import annotations

from typing import Any

from constrained_nas.device_budget import DeviceAttempt
from constrained_nas.records import BudgetRecord
from constrained_nas.run_record import CertificateRecord, MeasuredBudget, NetworkRecord, RunRecord
from graphs import hardcore_small

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
            primal=1.25, bound=1.5, gap=0.25, violation=0.0, maximise=True, prices={"latency": 0.125, "parameters": 0.0}
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

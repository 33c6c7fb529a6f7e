"""Spans of a chain: against enumeration of all covers, with one budget and several."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import CertificateError, InfeasibleError, Status, project_chain

LOSS = {0: {"a": 0.1, "b": 0.4}, 1: {"a": 0.3, "b": 0.5}, 2: {"a": 0.1, "b": 0.4}, (0, 1): {"pair": 0.2}}
COST = {0: {"a": 2, "b": 1}, 1: {"a": 2, "b": 1}, 2: {"a": 2, "b": 1}, (0, 1): {"pair": 2}}


def covers(scores: dict[Any, dict[str, float]], start: int, layers: int) -> Iterator[list[tuple[Any, str]]]:
    """Every way to cover the layers from ``start`` on."""
    if start == layers:
        yield []
        return
    for span, options in scores.items():
        if span[0] == start:
            for rest in covers(scores, span[-1] + 1, layers):
                for option in options:
                    yield [(span, option), *rest]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_chains_equal_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers, budgets = int(rng.integers(1, 6)), int(rng.integers(1, 3))
    spans = [tuple(range(a, b)) for a in range(layers) for b in range(a + 1, layers + 1) if b == a + 1 or rng.random() < 0.4]
    scores = {span: {str(k): float(rng.normal()) for k in range(rng.integers(1, 3))} for span in spans}
    costs = [{span: {o: float(np.round(rng.random(), 2)) for o in own} for span, own in scores.items()} for _ in range(budgets)]
    every = list(covers(scores, 0, layers))
    pick = every[int(rng.integers(len(every)))]
    exact = [[sum(Fraction(repr(table[s][o])) for s, o in cover) for cover in every] for table in costs]
    limits = [sums[every.index(pick)] for sums in exact]  # attained
    fits = [i for i in range(len(every)) if all(sums[i] <= limit for sums, limit in zip(exact, limits, strict=True))]
    best = max(math.fsum(scores[s][o] for s, o in every[i]) for i in fits)
    named = {str(j): table for j, table in enumerate(costs)}, {str(j): float(limit) for j, limit in enumerate(limits)}
    found = project_chain(range(layers), scores, *named)
    assert found.value == pytest.approx(best, abs=1e-8) and found.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert found.certificate.gap is not None and found.certificate.gap <= 1e-8
    assert list(found.by_group.items()) in [every[i] for i in fits]
    found.verify(scores, *named)


def test_overlapping_spans_and_losses() -> None:
    found = project_chain([0, 1, 2], LOSS, COST, 4.0, minimize=True)
    assert found.by_group == {(0, 1): "pair", (2,): "a"} and found.value == pytest.approx(0.3) and found.cost == 4.0
    wider = {**LOSS, (1, 2): {"pair": 0.0}}, {**COST, (1, 2): {"pair": 2}}
    found = project_chain([0, 1, 2], *wider, 4.0, minimize=True)
    assert found.by_group == {(0,): "a", (1, 2): "pair"}
    found.verify(*wider, 4.0)
    with pytest.raises(CertificateError, match="do not cover the chain once"):
        replace(found.certificate, spans=((0,), (2,))).verify(*wider, 4.0)
    with pytest.raises(CertificateError, match="bound"):
        replace(found.certificate, bound=0.2).verify(*wider, 4.0)
    with pytest.raises(CertificateError, match="is none"):
        loose = project_chain([0, 1, 2], *wider, 3.5, minimize=True).certificate
        loose.verify(*wider, 4.0)


@pytest.mark.parametrize(
    ("chain", "loss", "budget", "message"),
    [
        ([], LOSS, 4.0, "chain: expected one layer or more"),
        ([0, 1, 1], LOSS, 4.0, "chain: expected one layer or more, each once"),
        ([0, 1, 2], LOSS | {(0, 2): {"pair": 0.1}}, 4.0, r"the layers \(0, 2\) are not consecutive"),
        ([0, 1, 2], LOSS | {3: {"a": 0.1}}, 4.0, "3 is neither a layer of the chain nor a tuple"),
        ([0, 1, 2], LOSS | {(0,): {"a": 0.1}}, 4.0, r"the span \(0,\) is given twice"),
        ([0, 1, 2], LOSS, "60%", "budget: expected limits from above as numbers"),
        ([0, 1, 2, 3], LOSS, 4.0, "no allowed options cover the chain up to the layer 3"),
        ([0, 1, 2], LOSS, 1.5, r"the budget is 1\.5, the least possible cost is 3\.0"),
        ([0, 1, 2], [[1.0]], 1.5, "scores: expected a mapping of spans to options"),
    ],
)
def test_malformed_chains_are_named(chain: Any, loss: Any, budget: Any, message: str) -> None:
    cost = {span: {o: COST.get(span, {}).get(o, 1) for o in own} for span, own in loss.items()} if isinstance(loss, dict) else loss
    with pytest.raises(ValueError, match=message) as caught:
        project_chain(chain, loss, cost, budget, minimize=True)
    assert isinstance(caught.value, InfeasibleError) == ("least" in message or "cover the chain up" in message)

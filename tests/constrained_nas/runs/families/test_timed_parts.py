"""Tables measured part by part: made times come back as the latency of networks, and searches of graphs and filters hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny import TINY

from constrained_nas.latency import Timer, spread_networks
from constrained_nas.runs import RunSettings, begin_run, carry_out, make_space
from constrained_nas.runs.families import dag_parts, filter_parts, measure_option_table
from graphs import resnet_fabric
from graphs.costs import (
    FULL,
    HALF,
    LatencyEntry,
    LatencyTable,
    SlimmableMacs,
    connected_latency,
    connected_macs,
    half_widths,
    module_entries,
    slimmable_latency,
)
from graphs.files import save_json
from solvers.arrays import FloatArray

DAG = resnet_fabric(1, classes=3, image_channels=1, side=8, widths=(4, 8))
WIDTHS = make_space("resnet8-widths", 10, 1, 16)


def made(space: str, entries: dict[tuple[str, str], float], fixed: float = 0.5, resolution: int = 16) -> LatencyTable:
    return LatencyTable(
        unit="ms",
        space=space,
        device="made",
        runtime="made",
        threads=1,
        dtype="float32",
        batch=1,
        resolution=resolution,
        torch_version="",
        fixed=fixed,
        entries=tuple(LatencyEntry(block=b, configuration=c, median=ms, spread=0.0, samples=1) for (b, c), ms in entries.items()),
    )


def test_a_graphs_latency_is_that_of_its_modules_and_additions() -> None:
    counted = connected_macs(DAG, "exact")
    modules, additions = module_entries(DAG)
    times = [*counted.per_edge.tolist(), *counted.per_addition.tolist()]
    entries = {name: ms / 1e4 for name, ms in zip([*modules, *additions], times, strict=True)}
    cost, generator = connected_latency(made(DAG.name, entries), DAG), np.random.default_rng(0)
    for one in spread_networks(DAG, counted, 6, generator):
        assert cost.cost(one) == pytest.approx(0.5 + (counted.cost(one) - counted.fixed) / 1e4)
    entries.popitem()
    with pytest.raises(ValueError, match="has no entry for 'logits', 'addition'"):
        connected_latency(made(DAG.name, entries), DAG)


def test_spread_graphs_are_connected_and_different() -> None:
    cost = connected_macs(DAG, "exact")
    drawn = spread_networks(DAG, cost, 8, np.random.default_rng(1))
    costs = [cost.cost(one) for one in drawn]
    assert costs == sorted(costs) and costs[0] < 0.7 * costs[-1]
    assert len({str(DAG.space.describe(one)) for one in drawn}) == 8


def widths_table(rate: float, fixed: float) -> LatencyTable:
    """Every layer takes a tenth of a millisecond and ``rate`` a multiply-add."""
    space, entries = WIDTHS.space, {}  # type: ignore[attr-defined]
    topology = space.topology
    for name, widths in ((FULL, space.units), (HALF, half_widths(space))):
        own: FloatArray = widths[space.owner_index]
        for layer, source, filters in zip(topology.layers, topology.sources, own, strict=True):
            read = layer.channels if source < 0 else own[source]
            entries[layer.name, name] = 0.1 + rate * float(layer.window * layer.positions * filters * read)
    return made(space.space.name, entries, fixed)


def test_a_filters_latency_is_proportional_to_its_multiply_adds() -> None:
    space = WIDTHS.space  # type: ignore[attr-defined]
    cost, macs, generator = slimmable_latency(widths_table(1e-6, 0.5), space), SlimmableMacs(space), np.random.default_rng(0)
    assert (cost.name, cost.unit) == ("latency", "ms")
    for one in spread_networks(space, macs, 5, generator):
        assert cost.cost(one) == pytest.approx(0.5 + 0.1 * len(space.topology.layers) + 1e-6 * macs.cost(one))
    assert cost.expectation(np.ones(len(space.units))) == pytest.approx(cost.of_widths(space.units))
    counts = np.stack([0.5 * cost.units, 0.5 * cost.units], 1)
    assert cost.linearize(counts).offset + float((cost.linearize(counts).coefficients * counts).sum()) == pytest.approx(
        cost.of_counts(counts)
    )


@pytest.mark.parametrize("parts", [lambda: dag_parts(DAG), lambda: filter_parts(WIDTHS.space, (1, 16, 16), WIDTHS.network)])  # type: ignore[attr-defined]
def test_measured_tables_price_every_network(parts: object) -> None:
    found = parts()  # type: ignore[operator]
    table, before, check = measure_option_table(found, Timer(clock="processor"), networks=12, rounds=6)
    cost = found.cost_of(table)
    assert before is not None and check is not None and np.isfinite(check.r_squared)
    drawn = spread_networks(found.space, cost, 4, np.random.default_rng(0))
    assert all(cost.cost(one) > 0 for one in drawn)


@pytest.mark.parametrize("space", ["resnet-fabric-small", "resnet8-widths"])
def test_a_search_holds_a_latency(tmp_path: Path, space: str) -> None:
    family = make_space(space, 10, 1, 16)
    if space == "resnet8-widths":
        table = widths_table(1e-5, 0.0)
    else:
        modules, additions = module_entries(family.space)  # type: ignore[attr-defined]
        generator = np.random.default_rng(0)
        table = made(family.decisions.name, {name: float(generator.uniform(0.01, 0.1)) for name in (*modules, *additions)})
    save_json(table, tmp_path / "table.json")
    cost = family.latency(table)
    limit = 0.5 * (cost.cost(family.cheapest(cost)) + cost.cost(family.largest(cost)))
    asked = {"budget": (f"latency_ms={limit}",), "table": tmp_path / "table.json", "measure": False, "latency_device": "made"}
    begin_run(RunSettings(space=space, **asked, **TINY), tmp_path / "run")  # type: ignore[arg-type]
    record = carry_out(tmp_path / "run")
    assert record.budgets[0].fits and 0 < record.budgets[0].value <= limit

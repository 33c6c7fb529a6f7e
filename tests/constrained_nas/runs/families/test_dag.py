"""Latencies of graphs from the command line: a table of modules is measured, read and refused, and a search keeps its budget."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from support.tiny import run, settings

from constrained_nas.latency import Timer, device_name, measure_alone, measure_module_table, spread_networks
from constrained_nas.records import load_architecture
from constrained_nas.runs import begin_run, make_space
from constrained_nas.runs.families import Prepared, measure_option_table
from constrained_nas.runs.families.dag import DagFamily
from graphs import DagSpace, resnet_fabric
from graphs.costs import LatencyEntry, LatencyTable, connected_latency, load_latency_table, module_entries
from graphs.files import save_json


def made_table(space: DagSpace, resolution: int) -> LatencyTable:
    """Random times of 0.1 to 1 ms, 0.5 ms fixed."""
    generator, (modules, additions) = np.random.default_rng(3), module_entries(space)
    entries = tuple(
        LatencyEntry(block=block, configuration=kind, median=float(generator.uniform(0.1, 1)), spread=0.01, samples=10)
        for block, kind in (*modules, *additions)
    )
    under = {"device": device_name("cpu"), "runtime": "made by a test", "threads": 1, "dtype": "float32", "batch": 1}
    return LatencyTable(
        unit="ms", space=space.space.name, **under, resolution=resolution, torch_version="", fixed=0.5, entries=entries
    )


def test_a_table_sums_the_modules_and_additions_that_run() -> None:
    space = resnet_fabric(1, widths=(4, 8), side=8)
    table, parts = made_table(space, 8), space.connectivity
    times = {(entry.block, entry.configuration): entry.median for entry in table.entries}
    cost = connected_latency(table, space)
    generator = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.switched(generator.random(len(space.space.decisions)) < 0.8)
        running = parts.running(space.space, architecture)
        if not running.any():
            continue
        keys = [edge for edge, runs in zip(parts.edges, running, strict=True) if runs]
        expected = 0.5 + sum(times[f"{source} -> {target}", key] for source, target, key in keys)
        for node in parts.nodes:
            fan_in = sum(target == node for _, target, _ in keys)
            expected += max(fan_in - 1, 0) * times[str(node), "addition"]
        assert cost.cost(architecture) == pytest.approx(expected, rel=1e-12)
    short = table.model_copy(update={"entries": table.entries[1:]})
    with pytest.raises(ValueError, match="no entry for 'image -> stem', 'stem'"):
        connected_latency(short, space)


def test_a_measured_table_is_calibrated_on_whole_networks(tmp_path: Path) -> None:
    family = DagFamily(resnet_fabric(1, widths=(4, 8), side=8))
    timer = Timer(batch=1)
    table = measure_module_table(family.space, timer, rounds=3)
    assert {entry.samples for entry in table.entries} <= {1, 2, 3} and table.fixed == 0
    free = [entry.block for entry in table.entries if entry.configuration == "skip" and entry.median == 0]
    assert free == ["stem -> group1.block1"]  # the identity
    before, whole = connected_latency(table, family.space), family.space.whole
    networks = spread_networks(family.space, before, 6, np.random.default_rng(0))
    costs = [before.cost(network) for network in networks]
    assert networks[-1] == whole and costs == sorted(costs) and costs[0] < 0.75 * costs[-1]
    scaled, raw, check = measure_option_table(family.parts(), timer, networks=6, rounds=6)
    assert raw is not None and check is not None and scaled.slope > 0
    alone = {(entry.block, entry.configuration): entry.median / scaled.slope for entry in scaled.entries}
    summed = sum(alone[key] for key in module_entries(family.space)[0])
    assert connected_latency(scaled, family.space).cost(whole) >= scaled.fixed + scaled.slope * summed
    with pytest.raises(ValueError, match="at least 6"):
        measure_option_table(family.parts(), timer, networks=5, rounds=6)
    prepared = cast(Prepared, None)  # the graph is built anew, whatever was prepared
    assert len(measure_alone(*family.timed(prepared), timer, rounds=2)(whole)) == 2
    family.measure_table(timer, 0, tmp_path / "table.json", None)
    assert load_latency_table(tmp_path / "table.json").space == family.space.space.name


def test_a_search_keeps_a_budget_in_milliseconds(tmp_path: Path) -> None:
    family = make_space("cnf-small", 10, 1, 16)
    assert isinstance(family, DagFamily)
    table = made_table(family.space, 16)
    save_json(table, tmp_path / "table.json")
    cost = connected_latency(table, family.space)
    least, most = cost.cost(family.cheapest(cost)), cost.cost(family.space.whole)
    limit = round(0.7 * least + 0.3 * most, 3)
    asked = settings("cnf-small", f"latency_ms={limit}", "params=12e3", table=tmp_path / "table.json", measure=False)
    record = run(tmp_path / "run", asked)
    found = load_architecture(tmp_path / "run" / "architecture.json", family.decisions)
    assert 0.6 * limit < cost.cost(found) <= limit  # it uses the budget, and keeps it
    assert record.budgets[0].unit == "ms" and record.budgets[0].value == pytest.approx(cost.cost(found))
    with pytest.raises(ValueError, match="the latency table is of space 'cnf"):
        begin_run(settings("resnet-fabric-small", "latency_ms=3", table=tmp_path / "table.json"), tmp_path / "other")

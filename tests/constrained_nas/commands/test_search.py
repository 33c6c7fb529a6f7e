"""Searches from the command line on tiny settings: budgets hold, what cannot be done is refused, killed runs end as others do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.fakes import true_table
from support.tiny import TINY, killer, run, settings

from constrained_nas.commands.cli import main
from constrained_nas.data import digits
from constrained_nas.latency import device_name
from constrained_nas.records import load_architecture
from constrained_nas.reports import verdict
from constrained_nas.runs import begin_run, carry_out, costs_of, load_run, load_settings, make_space
from constrained_nas.runs import latency as run_latency
from constrained_nas.runs.families import HardCoReFamily
from graphs import Architecture, MBConvSpace, hardcore_small
from graphs.costs import QuadraticCost, latency_cost
from graphs.files import save_json
from graphs.folder_lock import owned
from solvers import InfeasibleError


@pytest.mark.parametrize(
    ("space", "method", "budget"),
    [
        ("hardcore-small", "hardcore", ("params=60e3", "macs=170e3")),
        ("hardcore-small", "soft-penalty", ("params=60e3", "macs=170e3")),
        ("hardcore-small", "surrogate", ("params=60e3", "macs=170e3")),
        ("hardcore-small", "random", ("params=90e3", "macs=300e3")),
        ("cnf-small", "budgeted", ("params=12e3", "macs=700e3")),
        ("gpunet-small", "prunet", ("params=40e3", "macs=500e3")),
        ("resnet8-bits", "filter-level", ("bops=30e6",)),
        ("resnet8-widths", "filter-level", ("macs=2e5",)),
    ],
)
def test_every_method_ends_within_all_its_budgets(tmp_path: Path, space: str, method: str, budget: tuple[str, ...]) -> None:
    record = run(tmp_path, settings(space, *budget, method=method))
    asked = {name: float(limit) for name, limit in (text.split("=") for text in budget)}
    made = make_space(space, 10, 1, 16)  # type: ignore[arg-type]
    costs = costs_of(made)
    found = load_architecture(tmp_path / "architecture.json", made.decisions)
    for name, limit in asked.items():  # counted again from the file
        assert costs[name].cost(found) <= limit
    assert [entry.limit for entry in record.budgets] == list(asked.values()) and all(entry.fits for entry in record.budgets)
    assert record.method == method
    network = made.network(found).eval()
    network.load_state_dict(load_file(tmp_path / "network.safetensors"))
    test = digits(16, TINY["training_digits"], TINY["draws"], 1, 0.2, 0).test
    images, labels = test.tensors  # type: ignore[attr-defined]
    with torch.no_grad():
        right = network(images).argmax(1) == labels
    assert record.found.accuracy == pytest.approx(100 * right.double().mean().item())
    names = [reference.name for reference in record.references]
    assert names[:2] == ["cheapest", "largest"] and names[2:] in ([], ["random"], ["uniform"], ["random", "uniform"])
    first = record.budgets[0]
    cheapest, largest = (reference.costs[first.cost] for reference in record.references[:2])
    assert cheapest <= first.value <= largest
    for other in record.references[2:]:  # those fit
        assert all(other.costs[budget.cost] <= budget.limit for budget in record.budgets)
    for near in record.nearby:
        assert near.costs[near.cost] <= near.limit
        assert all(near.costs[budget.cost] <= budget.limit for budget in record.budgets if budget.cost != near.cost)
    assert load_run(tmp_path) == record
    if "parameters" in record.found.costs:  # statistics of the normalizations are in the file, but no parameters
        tensors = load_file(tmp_path / "network.safetensors")
        counted = sum(tensor.numel() for name, tensor in tensors.items() if "running" not in name and "tracked" not in name)
        assert counted == record.found.costs["parameters"]


def test_the_network_in_the_folder_loads_into_its_architecture(tmp_path: Path) -> None:
    run(tmp_path, settings("hardcore-small", "params=60e3"))
    space = hardcore_small(10, 16, 1)
    network = space.supernet().extract(load_architecture(tmp_path / "architecture.json", space.space))
    network.load_state_dict(load_file(tmp_path / "network.safetensors"))
    assert network.eval()(torch.zeros(1, 1, 16, 16)).isfinite().all()


@pytest.mark.parametrize(
    ("space", "budget", "more", "said"),
    [
        ("hardcore-small", (), {}, "no budget: give at least one of params, macs"),
        ("hardcore-small", ("bops=1e6",), {}, "has no cost bops: budgets there are on params, macs"),
        ("hardcore-small", ("params=1e3",), {}, "1000 parameters is below the cheapest network .* .32042 parameters."),
        ("hardcore-small", ("params=6e4",), {"method": "budgeted"}, "use --method surrogate or hardcore or soft-penalty or random"),
        (
            "cnf-small",
            ("params=1e4",),
            {"method": "hardcore"},
            "--method hardcore searches .*use --method budgeted",
        ),
        ("hardcore-small", ("latency_ms=3",), {}, "constrained-nas profile hardcore-small --out table.json"),
        ("resnet8-bits", ("latency_ms=3",), {}, "no latency tables of resnet8-bits: use bops"),
        ("cnf-small", ("latency_ms=3",), {}, "constrained-nas profile cnf-small"),
        ("resnet8-bits", ("params=1e4",), {}, "has no cost params: budgets there are on bops"),
        ("resnet8-bits", ("bops=1e9", "params=1e4"), {}, "filter-level holds one budget, got 2"),
        ("hardcore-small", ("params=6e4",), {"data": "nowhere"}, "no folder 'nowhere'"),
        ("hardcore-small", ("params=6e4",), {"batch_size": 16}, "--batch-size 16: a split has 8 examples"),
        ("cnf-small", ("params=6e4",), {"batch_size": 33}, "--batch-size 33: a split has 32 examples"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path: Path, space: str, budget: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        begin_run(settings(space, *budget, **more), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("params", "expected NAME=LIMIT"),
        ("weight=3", "there are: latency_ms"),
        ("params=x", "a number"),
        ("params=-1", "positive"),
    ],
)
def test_budgets_that_cannot_be_read(budget: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings("hardcore-small", budget)


def test_training_on_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda: torch sees no GPU"):
        begin_run(settings("hardcore-small", "params=60e3", device="cuda"), tmp_path / "run")


@pytest.mark.parametrize(
    ("space", "budget", "kills"),
    [
        ("hardcore-small --method surrogate", "params=60e3", [("search", 2), ("search", 11)]),
        ("hardcore-small", "params=60e3", [("heaviest network", 2), ("sampled paths", 6), ("search", 2), ("training: network", 2)]),
        ("cnf-small", "params=12e3", [("search", 6), ("training: network", 6)]),
        ("gpunet-small", "params=40e3", [("search", 6), ("training: network", 2)]),
        ("resnet8-bits", "bops=30e6", [("search", 1), ("iteration 2: shared weights", 2), ("training: network", 1)]),
    ],
)
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path: Path, space: str, budget: str, kills: list[tuple[str, int]]) -> None:
    space, *method = space.split(" --method ")
    asked = settings(space, budget, train_epochs=2, fine_tune_epochs=2, method=method[0] if method else None)
    whole = run(tmp_path / "whole", asked)
    begin_run(asked, tmp_path / "killed")
    for what, at in kills:
        with pytest.raises(KeyboardInterrupt):
            carry_out(tmp_path / "killed", killer(what, at))
    resumed = carry_out(tmp_path / "killed")
    timed = {"seconds", "remarks"}
    assert resumed.model_dump(exclude=timed) == whole.model_dump(exclude=timed)
    networks = [load_file(tmp_path / name / "network.safetensors") for name in ("whole", "killed")]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items())  # bit for bit


def timed_space() -> tuple[MBConvSpace, QuadraticCost]:
    space = hardcore_small(10, 16, 1)
    return space, latency_cost(true_table(space), space)


def slower_device(monkeypatch: pytest.MonkeyPatch, ratio: float) -> list[Architecture]:
    """Networks take ``ratio`` times what the table says; the networks measured so far."""
    cost, measured = timed_space()[1], list[Architecture]()

    def alone(space: Any, build: Any, timer: Any, rounds: int, runtime: str) -> Callable[[Architecture], list[float]]:
        def measure(architecture: Architecture) -> list[float]:
            measured.append(architecture)
            noise = np.random.default_rng(len(measured)).normal(1, 0.01, rounds)
            return (ratio * cost.cost(architecture) * noise).tolist()

        return measure

    monkeypatch.setattr(run_latency, "measure_alone", alone)
    return measured


def test_a_latency_budget_holds_on_a_device_slower_than_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, cost = timed_space()
    save_json(true_table(space), tmp_path / "table.json")
    measured = slower_device(monkeypatch, 1.2)
    begin_run(settings("hardcore-small", "latency_ms=4", "params=90e3", table=tmp_path / "table.json"), tmp_path / "run")
    (tmp_path / "table.json").unlink()  # the run has a copy
    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", killer("training: network", 2))
    attempts = len(measured)
    record = carry_out(tmp_path / "run")
    assert len(measured) == attempts  # nothing is measured twice
    assert record.measured is not None and record.measured.fits and record.measured.bound <= 4
    assert len(record.measured.attempts) == attempts > 1 and not record.measured.attempts[0].fits
    found = load_architecture(tmp_path / "run" / "architecture.json", space.space)
    assert found == measured[-1] and 1.2 * cost.cost(found) <= 4 * 1.01  # the noise of the median is below 1 %
    assert all(budget.fits for budget in record.budgets)


def test_a_latency_budget_is_used_on_a_device_faster_than_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = timed_space()[0]
    save_json(true_table(space), tmp_path / "table.json")
    slower_device(monkeypatch, 0.6)
    asked = settings("hardcore-small", "latency_ms=3", table=tmp_path / "table.json", method="random")
    record = run(tmp_path / "run", asked)
    assert record.measured is not None and record.measured.fits and len(record.measured.attempts) > 1
    (budget,) = record.budgets
    assert budget.value > 3 >= record.measured.bound  # costlier by the table than the budget, and within it on the device
    assert budget.fits and budget.measured == record.measured.median
    written = json.loads((tmp_path / "run" / "architecture.json").read_text())
    assert written["budgets"][0]["fits"] and written["budgets"][0]["measured"] == budget.measured
    assert load_architecture(tmp_path / "run" / "architecture.json", space.space)
    assert "fits its budget" in verdict(record)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "run.json").unlink()  # as if killed after measuring: the same network again
    assert carry_out(tmp_path / "run").found == record.found


def test_budgets_that_no_network_meets_at_once(tmp_path: Path) -> None:
    space, cost = timed_space()
    save_json(true_table(space), tmp_path / "table.json")
    family = HardCoReFamily(space)
    fastest, parameters = cost.cost(family.cheapest(cost)), family.counted()["params"]
    smallest = parameters.cost(family.cheapest(parameters))
    budget = (f"latency_ms={fastest + 1e-6}", f"params={smallest}")  # each is met by one network alone, and these differ
    with pytest.raises(InfeasibleError, match=r"no network of .* meets latency <= .* ms, parameters <= 32042 parameters"):
        begin_run(settings("hardcore-small", *budget, table=tmp_path / "table.json"), tmp_path / "run")


def test_a_device_that_no_network_suits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_json(true_table(timed_space()[0]), tmp_path / "table.json")
    slower_device(monkeypatch, 10.0)
    begin_run(settings("hardcore-small", "latency_ms=4", table=tmp_path / "table.json"), tmp_path / "run")
    with pytest.raises(InfeasibleError, match="even the cheapest network is too slow"):
        carry_out(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"device": "a phone"}, {}, "device 'a phone' where '.*' is asked for"),
        ({}, {"latency_batch": 8}, "batch 1 where 8 is asked for"),
        ({}, {"latency_threads": 2}, "threads 1 where 2 is asked for"),
        ({"space": "another"}, {}, "of space 'another'.* 'hardcore-small-16-1x10'"),
        ({}, {"latency_device": "a phone"}, "'a phone' is asked for"),
        ({"device": "a phone"}, {"latency_device": "a phone"}, "only cpu and cuda can be measured; --no-measure"),
        ({}, {"rounds": 5}, "a confidence of 0.95 over 8 attempts needs 8"),
        ({"resolution": 224}, {"measure": False}, "resolution 224 where 16 is asked for"),
        ({"dtype": "float16"}, {"measure": False}, "numbers of type 'float16'; networks are searched and measured in float32"),
        ({"runtime": "TensorRT 8"}, {"measure": False}, "measured in 'TensorRT 8', which runs on a GPU, for --latency-device cpu"),
        ({"runtime": "CUDA graphs"}, {"measure": False, "latency_device": device_name("cpu")}, "which runs on a GPU, for --lat"),
        (
            {"device": "a GPU", "runtime": "CUDA graphs", "clock": "processor"},
            {"measure": False, "latency_device": "a GPU"},
            "measured in 'CUDA graphs' by the processor's clock",
        ),
        ({"device": "a GPU", "runtime": "CUDA graphs"}, {"latency_device": "a GPU"}, "only cpu and cuda can be measured"),
        ({"entries": ()}, {"measure": False}, "has no entry for block"),
    ],
)
def test_a_table_for_other_conditions_is_an_error(tmp_path: Path, change: dict[str, Any], more: dict[str, Any], said: str) -> None:
    table = true_table(timed_space()[0]).model_copy(update=change)
    save_json(table, tmp_path / "table.json")
    with pytest.raises(ValueError, match=said):
        begin_run(settings("hardcore-small", "latency_ms=4", table=tmp_path / "table.json", **more), tmp_path / "run")


def test_a_table_of_nothing_or_of_more_than_the_space_is_an_error(tmp_path: Path) -> None:
    table = true_table(timed_space()[0])
    zeros = tuple(entry.model_copy(update={"median": 0.0}) for entry in table.entries)
    unknown = (*table.entries, table.entries[0].model_copy(update={"block": "stage9.block1"}))
    for entries, said in (
        (zeros, "no block takes any time"),
        (unknown, r"block .stage9\.block1., .* which .* has not"),
    ):
        save_json(table.model_copy(update={"entries": entries}), tmp_path / "table.json")
        with pytest.raises(ValueError, match=said):
            begin_run(settings("hardcore-small", "latency_ms=4", table=tmp_path / "table.json", measure=False), tmp_path / "run")


def test_the_table_of_another_device_is_trusted_if_asked_to(tmp_path: Path) -> None:
    elsewhere = {"device": "a GPU", "runtime": "CUDA graphs"}  # whatever runs there, and whether or not a GPU is here
    save_json(true_table(timed_space()[0]).model_copy(update=elsewhere), tmp_path / "table.json")
    asked = {"table": tmp_path / "table.json", "latency_device": "a GPU", "measure": False, "fine_tune_epochs": 0}
    record = run(tmp_path / "run", settings("hardcore-small", "latency_ms=4", **asked))
    assert record.measured is None and record.budgets[0].fits


def test_one_search_a_folder(tmp_path: Path) -> None:
    with owned(tmp_path / "run"), pytest.raises(BlockingIOError, match=r"is in use by process .*give another folder"):
        begin_run(settings("hardcore-small", "params=60e3"), tmp_path / "run")
    begin_run(settings("hardcore-small", "params=60e3"), tmp_path / "run")
    with owned(tmp_path / "run"), pytest.raises(BlockingIOError, match="is in use by process"):
        carry_out(tmp_path / "run")


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_removed_meanwhile_is_an_error(tmp_path: Path, again: bool) -> None:
    folder = tmp_path / "run"
    begin_run(settings("hardcore-small", "params=60e3"), folder)

    def remove(done: int, total: int, now: str) -> None:
        if (now, done) == ("search", 1):
            folder.rename(tmp_path / "moved")
            if again:
                folder.mkdir()

    with pytest.raises(FileNotFoundError, match="run was removed while it was written to"):
        carry_out(folder, remove)


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def typed(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["constrained-nas", *arguments])
        main()
        return " ".join(capsys.readouterr().out.split())

    folder = str(tmp_path / "run")
    tiny = [part for name, value in TINY.items() if value is not False for part in (f"--{name}".replace("_", "-"), str(value))]
    said = typed("search", "hardcore-small", "--budget", "params=60e3", "--no-test-references", "--out", folder, *tiny)
    assert "parameters" in said and "60,000" in said and "gap" in said
    kept = load_settings(Path(folder))
    assert (kept.method, kept.epochs, kept.fine_tune_rate) == ("surrogate", 2, 0.05)  # as given, or by default
    assert "is finished: nothing to resume" in typed("resume", folder)
    with pytest.raises(SystemExit, match=r"already contains a run; continue it with constrained-nas resume .*run"):
        typed("search", "hardcore-small", "--budget", "params=60e3", "--out", folder)
    with pytest.raises(SystemExit, match="no search has begun there"):
        typed("resume", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit) as refused:
        typed("search", "hardcore-small", "--budget", "weight=1")
    assert refused.value.code == 2
    assert "--budget weight=1: no name 'weight'; there are: latency_ms, params" in capsys.readouterr().err

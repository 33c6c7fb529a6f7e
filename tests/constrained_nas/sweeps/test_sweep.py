"""A sweep: its grid and keys, what is searched and what only projected, resuming, fronts. One tiny super-network serves all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from support.fakes import true_table
from support.tiny import settings

from constrained_nas.commands.cli import main
from constrained_nas.commands.sweep import Sweep, draw_sweep, sweep
from constrained_nas.runs import NetworkRecord, RunSettings, TrainingSettings, plan_of
from constrained_nas.sweeps import SweepOptions, SweepRecord, parse_grid, run_sweep
from constrained_nas.sweeps import sweep as sweep_module
from constrained_nas.sweeps.cell import SweepTask, compute_cell
from constrained_nas.sweeps.grid import Cell, cells_of, key_of, settings_key, weights_hash
from constrained_nas.sweeps.record import CellRecord, fronts_of
from constrained_nas.training import load_checkpoint
from graphs import hardcore_small
from graphs.files import load_json, save_json

SETTINGS = RunSettings(
    space="hardcore-small",
    resolution=16,
    training_digits=100,
    draws=1,
    epochs=1,
    warm_up=1,
    train_epochs=1,
    batch_size=16,
    fine_tune_epochs=0,
)
GRID = tuple(parse_grid(("params=20e3,60e3,90e3,120e3",)))
OPTIONS = SweepOptions(GRID, methods=("hardcore", "random"))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole sweep, with tests."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    run_sweep(SETTINGS, OPTIONS, folder)
    return folder


@pytest.fixture
def trained(swept: Path, tmp_path: Path) -> Path:
    """A new folder with that super-network and the tests of its networks, but no search and no cell."""
    folder = tmp_path / "sweep"
    (folder / "checkpoints").mkdir(parents=True)
    for path in (swept / "checkpoints").glob("supernet*"):
        shutil.copy(path, folder / "checkpoints")
    shutil.copytree(swept / "tests", folder / "tests")
    return folder


def _record(folder: Path) -> SweepRecord:
    return load_json(folder / "sweep.json", SweepRecord, "sweep")


def _computed(folder: Path) -> int:
    return int(json.loads((folder / "times.json").read_text())[-1]["cells computed"])


def test_a_grid_is_every_combination() -> None:
    assert parse_grid(("latency_ms=2:3:3", "params=1e3,2e3")) == [
        (("latency_ms", ms), ("params", params)) for ms in (2.0, 2.5, 3.0) for params in (1000.0, 2000.0)
    ]
    assert parse_grid(("macs=5e5",)) == [(("macs", 5e5),)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "no budget"),
        (("latency_ms",), "expected NAME=LOW:HIGH:COUNT"),
        (("speed=3",), "no name 'speed'"),
        (("params=3:2:5",), "LOW below HIGH"),
        (("params=1:2:1",), "at least 2"),
        (("params=1:2",), "expected LOW:HIGH:COUNT"),
        (("params=-1,2",), "positive"),
        (("params=2,2",), "twice"),
        (("params=1", "params=2"), "has limits already"),
    ],
)
def test_a_grid_that_is_none(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_grid(given)


def test_everything_a_result_depends_on_changes_its_key() -> None:
    limits, other = (("params", 6e4),), (("params", 7e4),)
    cell, settings = Cell("hardcore", "t", limits, limits), settings_key(SETTINGS)
    keys = [
        key_of(cell, "w", settings, True),
        key_of(cell, "v", settings, True),
        key_of(cell, "w", settings, False),
        key_of(cell, "w", settings_key(SETTINGS.model_copy(update={"epochs": 2})), True),
        key_of(Cell("random", "t", limits, limits), "w", settings, True),
        key_of(Cell("hardcore", "u", limits, limits), "w", settings, True),
        key_of(Cell("hardcore", "t", other, limits), "w", settings, True),
        key_of(Cell("hardcore", "t", limits, other), "w", settings, True),
    ]
    assert len(set(keys)) == len(keys)
    assert settings_key(SETTINGS.model_copy(update={"workers": 2, "confidence": 0.9})) == settings


def test_the_hash_of_weights_sees_the_last_bit() -> None:
    network = hardcore_small(10, 16).supernet()
    before = weights_hash(network)
    assert weights_hash(network) == before
    parameter = next(network.parameters())
    parameter.data[0] = parameter.data[0].nextafter(parameter.data[0] + 1)
    assert weights_hash(network) != before


def test_one_search_is_projected_onto_the_other_budgets(swept: Path) -> None:
    record = _record(swept)
    assert [(cell.method, cell.how) for cell in record.cells] == [
        *(("hardcore", how) for how in ("impossible", "projected", "searched", "projected")),
        *(("random", how) for how in ("impossible", "drawn", "drawn", "drawn")),
    ]
    assert "below the cheapest network" in record.cells[0].remark
    for cell in record.cells[1:4]:
        assert cell.fits
        assert cell.searched == {"params": 90e3}
        assert cell.certificate is not None
        assert cell.certificate.gap == pytest.approx(0.0, abs=1e-9)  # the joint projection is exact up to rounding
    scores = [cell.certificate.primal for cell in record.cells[1:4] if cell.certificate]
    assert scores == sorted(scores)  # of one search: a greater budget never scores worse
    found = [str(cell.network.choices) for cell in record.cells[1:4] if cell.network]
    said = [remark for remark in record.remarks if remark.startswith(f"hardcore: 3 budgets led to {len(set(found))} different")]
    assert len(said) == (len(set(found)) < 3)
    assert [network.name for network in record.references] == ["cheapest", "largest"]
    assert record.tested == "with the super-network's weights"


def test_the_front_and_its_hypervolume(swept: Path) -> None:
    record = _record(swept)
    (front,) = record.fronts
    points = {
        cell.key: (cell.network.costs["parameters"] / front.reference, (cell.network.accuracy or 0) / 100)
        for cell in record.cells
        if cell.network is not None
    }
    best = [
        key
        for key, (cost, accuracy) in points.items()
        if not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in points.values())
    ]
    assert {points[key] for key in front.keys} == {points[key] for key in best}
    volume, highest = 0.0, 0.0
    for cost, accuracy in sorted(points[key] for key in front.keys):  # the staircase, summed by hand
        volume += (1 - cost) * (accuracy - highest)
        highest = accuracy
    assert front.hypervolume == pytest.approx(volume, rel=1e-12)
    assert front.hypervolume >= max(front.by_method.values())
    assert front.reference == record.references[1].costs["parameters"]


def test_a_killed_sweep_ends_in_the_same_file(swept: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def killed(task: SweepTask, **loaded: object) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        compute_cell(task, **loaded)  # type: ignore[arg-type] # the prepared super-network
        done.append(task)

    monkeypatch.setattr(sweep_module, "compute_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SETTINGS, OPTIONS, trained)
    assert not (trained / "sweep.json").exists()
    monkeypatch.undo()
    run_sweep(SETTINGS, OPTIONS, trained)
    assert _computed(trained) == 4
    assert (trained / "sweep.json").read_bytes() == (swept / "sweep.json").read_bytes()
    run_sweep(SETTINGS, OPTIONS, trained)
    assert _computed(trained) == 0
    assert (trained / "sweep.json").read_bytes() == (swept / "sweep.json").read_bytes()


def test_more_budgets_cost_only_themselves_and_tables_count(trained: Path) -> None:
    space = hardcore_small(10, 16, 1)
    table = true_table(space)
    slower = table.model_copy(
        update={"entries": tuple(entry.model_copy(update={"median": 2 * entry.median}) for entry in table.entries)}
    )
    for name, one in (("a", table), ("b", slower)):
        save_json(one, trained / f"{name}.json")
    few = SweepOptions(tuple(parse_grid(("latency_ms=5,6",))), (trained / "a.json",), searched=(("latency_ms", 5.0),), test=False)
    first = run_sweep(SETTINGS, few, trained)
    assert [cell.how for cell in first.cells] == ["searched", "projected"]
    assert first.fronts == ()  # nothing was tested
    more = SweepOptions(
        tuple(parse_grid(("latency_ms=5,6,7",))),
        (trained / "a.json", trained / "b.json"),
        searched=(("latency_ms", 7.0),),
        test=False,
    )
    every = SweepOptions(more.grid, (trained / "a.json",), search="every", searched=None, test=False)
    assert [cell.how for cell in run_sweep(SETTINGS, every, trained).cells] == ["searched"] * 3
    assert _computed(trained) == 2  # the search at 5 was one of its own already
    record = run_sweep(SETTINGS, more, trained)
    keys = [cell.key for cell in record.cells if cell.key]
    assert len(set(keys)) == len(keys)
    assert {cell.table for cell in record.cells} == {one.hash for one in record.tables}
    assert len(record.tables) == 2


def test_fronts_of_two_tables_are_two() -> None:
    def cell(table: str, cost: float, accuracy: float) -> CellRecord:
        network = NetworkRecord(name="found", choices={"a": "b"}, costs={"latency": cost}, accuracy=accuracy)
        budget = {"cost": "latency", "unit": "ms", "limit": 9.0, "value": cost, "fits": True}
        return CellRecord(
            key=f"{table}{cost}",
            method="hardcore",
            table=table,
            limits={"latency_ms": 9.0},
            how="projected",
            budgets=(budget,),
            network=network,  # type: ignore[arg-type]
        )

    cells = [cell("a", 1.0, 50.0), cell("a", 2.0, 40.0), cell("b", 4.0, 60.0)]
    fronts = fronts_of(cells, {"a": {"latency": 4.0}, "b": {"latency": 8.0}}, {"latency": "ms"})
    assert [(front.table, front.keys, front.hypervolume) for front in fronts] == [
        ("a", ("a1.0",), pytest.approx(0.75 * 0.5)),
        ("b", ("b4.0",), pytest.approx(0.5 * 0.6)),
    ]


def test_cells_of_a_grid() -> None:
    low, high = (("params", 1.0),), (("params", 2.0),)
    once = cells_of([low, high], ["t"], ["hardcore", "random"], "once", {"t": high})
    assert [cell.how for cell in once] == ["projected", "searched", "drawn", "drawn"]
    assert {cell.how for cell in cells_of([low, high], ["t"], ["hardcore"], "every", {})} == {"searched"}


def test_what_cannot_be_swept_is_said_before_training(tmp_path: Path) -> None:
    for options, said in (
        (SweepOptions(tuple(parse_grid(("latency_ms=5,6",)))), "needs a latency table"),
        (SweepOptions(GRID, tables=(tmp_path / "t.json",)), "without a budget in latency_ms"),
        (SweepOptions(tuple(parse_grid(("params=1,2",)))), "no network meets any of the budgets"),
        (SweepOptions(GRID, jobs=0), "jobs: expected at least 1, got 0"),
        (SweepOptions(GRID, methods=("prunet",)), "--method prunet searches blocks with widths"),
        (SweepOptions(tuple(parse_grid(("bops=5",)))), "has no cost bops"),
    ):
        with pytest.raises(ValueError, match=said):
            run_sweep(SETTINGS, options, tmp_path / "never")
    other = RunSettings(space="gpunet-small")
    with pytest.raises(ValueError, match="gpunet-small has other decisions: use --method prunet"):
        run_sweep(other, OPTIONS, tmp_path / "never")
    assert not (tmp_path / "never" / "checkpoints").exists()


def test_the_command_prints_and_draws(
    swept: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(swept / "cells", trained / "cells")
    command = Sweep(
        "hardcore-small",
        trained,
        budget=("params=20e3,60e3,90e3,120e3",),
        method=("hardcore", "random"),
        training=TrainingSettings(resolution=16, training_digits=100, draws=1, epochs=1, warm_up=1, train_epochs=1, batch_size=16),
    )
    sweep(command)
    assert _computed(trained) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "hypervolume" in said
    assert "impossible" in said
    log = (trained / "log.txt").read_text()
    assert "hypervolume" in log and "written to" in log
    sweep(replace(command, quiet=True))
    assert capsys.readouterr().out == "" and len((trained / "log.txt").read_text()) > 1.5 * len(log)
    assert (trained / "front_parameters.png").read_bytes().startswith(b"\x89PNG")
    assert draw_sweep(_record(trained).model_copy(update={"fronts": ()}), trained) == []
    with pytest.raises(ValueError, match="--search-at: expected a limit for each of params"):
        sweep(Sweep("hardcore-small", trained, budget=("params=60e3,90e3",), search_at=("macs=3",)))
    monkeypatch.setattr(sys, "argv", ["constrained-nas", "sweep", "hardcore-small", "--out", str(trained), "--batch-size", "0"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert re.search(r"^constrained-nas: --batch-size: .* \(got 0\)$", capsys.readouterr().err, re.MULTILINE)
    with pytest.raises(ValueError, match="is for --search once"):
        sweep(Sweep("hardcore-small", trained, budget=("params=60e3",), search_at=("params=6e4",), search="every"))


def test_a_search_by_whole_networks_is_as_long_as_asked(trained: Path) -> None:
    told = SETTINGS.model_dump(include=set(TrainingSettings.model_fields)) | {"evaluations": 9, "judged_images": 8}
    length = TrainingSettings(**told)
    sweep(Sweep("hardcore-small", trained, budget=("params=60e3,90e3",), method=("surrogate",), training=length, test=False))
    (searched,) = (trained / "checkpoints").glob("search_*.safetensors")
    assert len(load_checkpoint(searched)[0]["losses"]) == 9
    record = _record(trained)
    assert [cell.how for cell in record.cells] == ["projected", "searched"] and all(cell.fits for cell in record.cells)
    assert (record.settings["evaluations"], record.settings["judged_images"]) == (9, 8)


def test_a_damaged_cell_is_named(swept: Path, trained: Path) -> None:
    shutil.copytree(swept / "cells", trained / "cells")
    path = min((trained / "cells").glob("*.json"))
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=rf"{path.name}.*not complete JSON .* delete it"):
        run_sweep(SETTINGS, OPTIONS, trained)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["joblib", "ray"])
def test_other_processes_write_the_same_file(backend: str, swept: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "ray":
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'constrained-nas[ray]'")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = SweepOptions(GRID, methods=OPTIONS.methods, jobs=2, backend=backend)  # type: ignore[arg-type] # one of two words
    run_sweep(SETTINGS, options, trained)
    assert _computed(trained) == 6
    assert (trained / "sweep.json").read_bytes() == (swept / "sweep.json").read_bytes()


@pytest.mark.parametrize(
    ("space", "budget"),
    [
        ("resnet-fabric-small", "macs=3e5,1e6"),
        pytest.param("gpunet-small", "macs=3e5,1e6", marks=pytest.mark.slow),
        pytest.param("resnet8-widths", "macs=1e5,3e5", marks=pytest.mark.slow),
        pytest.param("resnet8-bits", "bops=2e7,4e7", marks=pytest.mark.slow),
    ],
)
def test_searches_that_train_their_own_weights(space: str, budget: str, tmp_path: Path) -> None:
    plan = plan_of(settings(space))
    options = SweepOptions(tuple(parse_grid((budget,))), methods=(plan.method,))  # type: ignore[arg-type]
    record = run_sweep(settings(space, threads=1), options, tmp_path)
    assert {cell.how for cell in record.cells} <= {"searched", "projected", "impossible"}
    tested = [cell for cell in record.cells if cell.network is not None]
    assert tested
    assert all(cell.fits and cell.network.accuracy is not None for cell in tested if cell.network)
    assert run_sweep(settings(space, threads=1), options, tmp_path) == record


def test_a_cell_that_fails_is_listed_and_tried_again(trained: Path, swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(task: SweepTask, prepared: Any = None) -> None:
        if task.cell.limits == GRID[1]:
            raise OSError("no space left")
        compute_cell(task, prepared)

    monkeypatch.setattr(sweep_module, "compute_cell", failing)
    record = run_sweep(SETTINGS, OPTIONS, trained)
    failed = [cell for cell in record.cells if cell.how == "failed"]
    assert [(cell.method, cell.remark) for cell in failed] == [(method, "OSError: no space left") for method in OPTIONS.methods]
    assert record.remarks[-1] == "2 of 6 cells failed; the same command tries them again"
    monkeypatch.undo()
    assert run_sweep(SETTINGS, OPTIONS, trained) == _record(swept)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["joblib", "ray"])
def test_two_hundred_cells_outlive_killed_workers(
    backend: Literal["joblib", "ray"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "ray":
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'constrained-nas[ray]'")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = SweepOptions(tuple(parse_grid(("params=40e3:140e3:200",))), test=False, jobs=2, backend=backend)
    folder, killed = tmp_path / "sweep", list[int]()

    def progress(done: int, total: int, what: str) -> None:
        if what == "cells" and done in (20, 90) and len(killed) < 2:
            workers = [child for child in _workers(os.getpid()) if child not in killed]
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])

    record = run_sweep(SETTINGS, options, folder, progress)
    assert len(killed) == 2
    assert [cell.how for cell in record.cells].count("failed") == 0
    alone = SweepOptions(options.grid, test=False)
    shutil.copytree(folder / "checkpoints", tmp_path / "alone" / "checkpoints")
    shutil.copy(folder / "threads.json", tmp_path / "alone")
    assert run_sweep(SETTINGS, alone, tmp_path / "alone") == record


def _workers(process: int) -> list[int]:
    """Worker processes of joblib or Ray that descend from a process."""
    try:
        children = [
            int(child) for task in Path(f"/proc/{process}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except FileNotFoundError:  # ended meanwhile
        return []
    found = []
    for child in children:
        command = Path(f"/proc/{child}/cmdline").read_text() if Path(f"/proc/{child}").exists() else ""
        if "popen_loky" in command or (command.startswith("ray::") and "Agent" not in command):
            found.append(child)
        found += _workers(child)
    return found

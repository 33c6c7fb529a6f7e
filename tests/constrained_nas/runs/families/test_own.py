"""A network of one's own from the command line: a file, budgets, a latency table, a search, an export; and what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.own import GRAPH, NETWORK
from support.tiny import TINY

from constrained_nas.commands.cli import main
from constrained_nas.latency import Timer
from constrained_nas.runs import RunSettings, begin_run, load_network, load_run, make_space, trusted_run
from constrained_nas.runs.families import choice_parts, measure_option_table
from graphs.costs import choice_latency, load_latency_table, peak_activations

OPTIONS = ("skip", "narrow", "wide")
FLAGS = [part for name, value in TINY.items() if value is not False for part in (f"--{name}".replace("_", "-"), str(value))]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mynet.py").write_text(NETWORK)
    (tmp_path / "mygraph.py").write_text(GRAPH)
    return tmp_path


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["constrained-nas", *map(str, arguments)])
    main()


def test_from_a_file_to_a_network_that_fits(own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(own)
    typed(monkeypatch, "profile", "mynet.py:build", "--resolution", 16, "--rounds", 6, "--networks", 6, "--out", "table.json")
    table = load_latency_table(own / "table.json")
    asked = ["--budget", "params=60%", "--budget", "size=20KB", "--budget", "latency=10s", "--table", "table.json", "--rounds", 12]
    typed(monkeypatch, "search", "mynet.py:build", *asked, "--out", "run", *FLAGS)
    assert "next: constrained-nas report run" in capsys.readouterr().out
    record = load_run(own / "run")
    family = make_space(f"{own / 'mynet.py'}:build", 10, 1, 16)
    costs = family.counted()
    most = costs["params"].cost(family.largest(costs["params"]))
    spent = {budget.cost: budget for budget in record.budgets}
    assert spent["parameters"].limit == pytest.approx(0.6 * most) and all(budget.fits for budget in record.budgets)
    assert spent["size"].limit == 20e3 and spent["size"].value == 4 * spent["parameters"].value
    assert spent["latency"].measured is not None and spent["latency"].measured > 0
    assert any("decides nothing" in remark for remark in record.remarks)  # of the latency: ten seconds are enough for any
    assert table.space == record.space
    network = load_network(own / "run").network
    assert sum(parameter.numel() for parameter in network.parameters()) == spent["parameters"].value
    monkeypatch.chdir("/")  # the run knows where its file is
    typed(monkeypatch, "export", own / "run")
    assert "same outputs to the bit" in " ".join(capsys.readouterr().out.split())


def test_random_networks_fit(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(
        monkeypatch,
        "search",
        f"{own / 'mynet.py'}:build",
        "--budget",
        "params=30%",
        "--method",
        "random",
        "--out",
        own / "run",
        *FLAGS,
    )
    assert all(budget.fits for budget in load_run(own / "run").budgets)


def test_energy_and_memory_are_held_by_the_soft_penalty(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    energies = "".join(
        f"{name} {option}: {2 * place}\n" for name in ("one", "two", "three") for place, option in enumerate(OPTIONS)
    )
    (own / "measured.txt").write_text(energies + "fixed: 1\n")
    imported = ["--unit", "mJ", "--device", "board", "--batch", 1, "--resolution", 16]
    typed(monkeypatch, "import-table", "measured.txt", "mynet.py:build", *imported, "--out", "energy.json")
    asked = ["--budget", "energy=6mJ", "--budget", "activation_memory=5KB", "--energy-table", "energy.json"]
    typed(monkeypatch, "search", "mynet.py:build", "--method", "soft-penalty", *asked, "--out", "run", *FLAGS)
    (own / "energy.json").unlink()  # the run keeps its own
    record = trusted_run(own / "run")
    spent = {budget.cost: budget for budget in record.budgets}
    assert set(spent) == {"energy", "activation_memory"} and all(budget.fits for budget in record.budgets)
    assert spent["energy"].value == 1 + sum(2 * OPTIONS.index(option) for option in record.found.choices.values()) <= 6
    network = load_network(own / "run").network
    assert peak_activations(network, torch.zeros(1, 1, 16, 16)) <= spent["activation_memory"].value <= 5000
    with pytest.raises(SystemExit, match="is below the cheapest network"):
        typed(monkeypatch, "search", "mynet.py:build", "--budget", "activation_memory=1KB", "--out", "other", *FLAGS)
    with pytest.raises(SystemExit, match="a budget in energy_mj needs energies"):
        typed(monkeypatch, "search", "mynet.py:build", "--budget", "energy_mj=6", "--out", "other", *FLAGS)
    with pytest.raises(SystemExit, match="activation_memory is held in hardcore and ofa spaces and networks with choices"):
        typed(monkeypatch, "search", "mygraph.py:build", "--budget", "activation_memory=1MB", "--out", "other", *FLAGS)


def test_a_graph(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "search", f"{own / 'mygraph.py'}:build", "--budget", "macs=70%", "--out", own / "run", *FLAGS)
    record = load_run(own / "run")
    assert record.found.choices == {"conv": "off", "copy": "on"} and record.budgets[0].fits


def test_a_graph_under_a_latency_that_is_measured(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["--budget", "latency=10s", "--budget", "macs=70%", "--measure-table", "--rounds", 12]
    typed(monkeypatch, "search", f"{own / 'mygraph.py'}:build", *asked, "--out", own / "run", *FLAGS)
    record = trusted_run(own / "run")
    spent = {budget.cost: budget for budget in record.budgets}
    assert spent["latency"].measured and all(budget.fits for budget in record.budgets)
    table = load_latency_table(own / "run" / "table.json")
    assert {(entry.block, entry.configuration) for entry in table.entries} >= {("first -> second", "conv"), ("second", "addition")}


def test_a_table_is_calibrated_on_whole_networks(own: Path) -> None:
    space = make_space(f"{own / 'mynet.py'}:build", 10, 1, 16).space  # type: ignore[attr-defined]
    table, _, check = measure_option_table(choice_parts(space), Timer(clock="processor"), networks=8, rounds=8)
    cost = choice_latency(table, space)
    assert {(entry.block, entry.configuration) for entry in table.entries} == {
        (decision.name, option) for decision in space.space.decisions for option in decision.options
    }
    wide, narrow = (space.space.choose(dict.fromkeys(("one", "two", "three"), option)) for option in ("wide", "skip"))
    assert cost.cost(wide) > cost.cost(narrow) > 0 and check is not None and np.isfinite(check.r_squared)
    with pytest.raises(ValueError, match="is of space"):
        choice_latency(table.model_copy(update={"space": "another"}), space)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("nowhere.py:build", "nowhere.py: no such file"),
        ("mynet.py:biuld", "has no callable 'biuld'; it has block, build, without, broken"),
        ("mynet.py:without", "the network has no choices"),
        ("mynet.py:broken", "failed: RuntimeError: no such luck"),
    ],
)
def test_what_goes_wrong_is_named(own: Path, monkeypatch: pytest.MonkeyPatch, space: str, said: str) -> None:
    monkeypatch.chdir(own)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        begin_run(RunSettings(space=space, budget=("params=1e3",)), own / "run")


def test_the_weights_are_those_of_the_seed(own: Path) -> None:
    family = make_space(f"{own / 'mynet.py'}:build", 10, 1, 16)
    torch.manual_seed(3)
    first = family.supernet()
    torch.manual_seed(3)
    again = family.supernet()
    assert first is not None and again is not None
    for ours, theirs in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_sweep_over_budgets(own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(own)
    searched = {"--samples", "--evaluations", "--judged-images"}  # sweeps do not take these
    small = [word for at, word in enumerate(FLAGS) if not searched & {*FLAGS[max(0, at - 1) : at + 1]}]
    typed(monkeypatch, "sweep", "mynet.py:build", "--budget", "params=2K:3K:2", "--method", "random", "--out", "swept", *small)
    assert "2 cells" in capsys.readouterr().out
    assert (own / "swept" / "front_parameters.png").exists()
    with pytest.raises(SystemExit, match="has no callable 'bild'"):
        typed(monkeypatch, "sweep", "mynet.py:bild", "--budget", "params=2K:3K:2", "--out", "other")

"""What a finished run's record says is believed only as far as it can be computed again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fakes import made_search, true_table
from support.tiny import run, settings

from constrained_nas.records import architecture_of
from constrained_nas.reports import compare_runs
from constrained_nas.runs import carry_out, contradictions, load_network, load_objective, load_run, make_space, trusted_run
from constrained_nas.runs.families import costs_of
from constrained_nas.runs.record import CertificateRecord, save_run
from constrained_nas.runs.verification import hash_files
from constrained_nas.sweeps import SweepOptions, parse_grid, run_sweep
from graphs import Decision, SearchSpace, hardcore_small
from graphs.costs import QuadraticCost
from graphs.files import read_json, save_json
from solvers import Quadratic

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    save_json(true_table(hardcore_small(10, 16, 1)), folder / "table.json")
    asked = settings("hardcore-small", "params=60e3", "latency_ms=4", table=folder / "table.json", measure=False)
    run(folder / "run", asked)
    return folder / "run"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edited(folder: Path, edit: Edit, name: str = "run.json") -> None:
    content = read_json(folder / name, "record")
    edit(content)
    save_json(content, folder / name)


def other_option(content: dict[str, Any]) -> None:
    name, option = next((name, option) for name, option in content["found"]["choices"].items() if not name.endswith("depth"))
    content["found"]["choices"][name] = "e6_k5_se" if option != "e6_k5_se" else "e3_k3"


def both_costs(factor: float) -> Edit:
    """A lie that agrees with itself."""

    def edit(content: dict[str, Any]) -> None:
        budget = next(budget for budget in content["budgets"] if budget["cost"] == "parameters")
        budget["value"] = content["found"]["costs"]["parameters"] = factor * budget["value"]
        budget["fits"] = budget["value"] <= budget["limit"]

    return edit


def measured_over_its_limit(content: dict[str, Any]) -> None:
    """A bound just over the limit, and said to fit."""
    budget = next(budget for budget in content["budgets"] if budget["cost"] == "latency")
    limit, median = budget["limit"], 0.9 * budget["limit"]
    attempt = {"limit": limit, "estimated": budget["value"], "median": median, "bound": 1.005 * limit, "samples": 9, "fits": True}
    about = {"cost": "latency", "unit": "ms", "confidence": 0.95, "attempts": [attempt]}
    content["measured"] = about | {name: attempt[name] for name in ("limit", "median", "bound", "samples", "fits")}
    budget["measured"] = median


def moved(content: dict[str, Any]) -> None:
    """A certificate that agrees with itself."""
    certificate = content["certificate"]
    certificate.update(primal=certificate["primal"] + 0.01, bound=certificate["primal"] + 0.01, gap=0.0)


LIES: list[tuple[Edit, str]] = [
    (lambda c: c["budgets"][0].update(value=9e9), "and 9000000000 under its budget"),
    (both_costs(0.5), "costs .* parameters in the record, and .* by computing it|architecture.json and run.json"),
    (lambda c: c["budgets"][0].update(fits=False), "fits is no for parameters, with .* under a limit of 60000"),
    (lambda c: c["budgets"][0].update(limit=1.0), "fits is yes for parameters, with .* under a limit of 1"),
    (
        lambda c: c["budgets"][0].update(limit=0.995 * c["budgets"][0]["value"]),
        "fits is yes for parameters, with .* under a limit of",
    ),
    (lambda c: c["budgets"][0].update(limit=9e9), "architecture.json and run.json are not of the same search|its limits are"),
    (lambda c: c["budgets"][0].update(measured=1.0), "is nowhere among the measurements"),
    (measured_over_its_limit, "fits is yes for a bound of .* under a limit of"),
    (lambda c: c["budgets"].clear(), "not of the same search"),
    (lambda c: c["certificate"].update(bound=c["certificate"]["primal"] + 1), "which none can be"),
    (lambda c: c["certificate"].update(bound=c["certificate"]["primal"] - 1), "the certificate's gap is .*, and 1"),
    (moved, "the certificate's value is .*, and .* by computing it"),
    (lambda c: c["certificate"].update(gap=None), "the certificate's gap is None"),
    (lambda c: c["certificate"].update(gap=float("nan")), r"certificate\.gap"),
    (lambda c: c["found"].update(accuracy=float("nan")), r"found\.accuracy"),
    (lambda c: c["found"].update(accuracy=101.0), r"found\.accuracy"),
    (lambda c: c["references"][1]["costs"].update(parameters=1.0), "the largest network costs 1 parameters in the record, and 19"),
    (lambda c: c["references"][0]["costs"].update(beauty=1.0), "costs 1 beauty in the record, and None"),
    (other_option, "architecture.json and run.json name different networks"),
    (lambda c: c.update(seed=7), "it is of method surrogate and seed 7"),
    (lambda c: c["settings"].update(training_digits=1700), "training_digits is 1700, and 40 in settings.json"),
    (lambda c: c.update(method="random"), "not of the same search"),
    (lambda c: c["files"].update({"network.safetensors": "0" * 64}), "not as the run left it"),
    (lambda c: c["files"].update({"../../etc/passwd": "0" * 64}), "is no file of a run"),
    (lambda c: c["images"].update(classes=11), "space 'hardcore-small-16-1x10', and 'hardcore-small-16-1x11'"),
]


@pytest.mark.parametrize(("lie", "said"), LIES)
def test_a_record_that_says_what_is_not_so_is_an_error(copy: Path, lie: Edit, said: str) -> None:
    edited(copy, lie)
    with pytest.raises(ValueError, match=said):
        trusted_run(copy)
    with pytest.raises(ValueError, match=said):
        compare_runs([copy])
    with pytest.raises(ValueError, match=said):
        carry_out(copy)


@pytest.mark.parametrize(("spent", "refuted"), [(0.995, True), (1.005, False)])
def test_a_bound_is_refuted_by_networks_that_fit_alone(spent: float, refuted: bool) -> None:
    space = SearchSpace("one choice", (Decision("block", ("found", "better")),))
    found, better = (space.choose({"block": option}) for option in ("found", "better"))
    cost = QuadraticCost("parameters", "parameters", space, Quadratic.of(0.0, np.array([0.5, spent])))
    certificate = CertificateRecord(primal=1.0, bound=1.0, gap=0.0, violation=0.0, maximize=True)
    objective = Quadratic.of(0.0, np.array([1.0, 2.0]))
    for others, free in (({"another": better}, False), ({}, True)):  # told of it, and found by one change
        said = list(contradictions(certificate, objective, space, found, others, {cost: 1.0}, free))
        assert bool(said) == refuted


def test_a_worse_network_that_is_called_the_best_is_refuted(copy: Path) -> None:
    """All of it agrees, checksums too: the record of a network that is not the best, said to be proven best."""
    family = make_space("hardcore-small", 10, 1, 16)
    costs = costs_of(family, family.read_table(copy / "table.json"))
    cheapest, space = family.cheapest(costs["latency_ms"]), family.decisions
    content = read_json(copy / "run.json", "record")
    content["found"]["choices"] = space.describe(cheapest)
    content["found"]["costs"] = {model.name: model.cost(cheapest) for model in costs.values()}
    for budget in content["budgets"]:
        budget["value"] = content["found"]["costs"][budget["cost"]]
    value = load_objective(copy / "objective.safetensors", space).value(space.point(cheapest))
    content["certificate"].update(primal=value, bound=value, gap=0.0)
    content["references"] = []  # which might be better, too
    edited(copy, lambda c: c.update(choices=content["found"]["choices"], budgets=content["budgets"]), "architecture.json")
    content["files"] = hash_files(copy)
    save_json(content, copy / "run.json")
    with pytest.raises(ValueError, match=r"no network within the budgets is better than .*, and the found one with .* has"):
        trusted_run(copy)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of bit widths and of widths, under budgets that the most probable counts meet, so that they are proven best, and do not."""
    folder = tmp_path_factory.mktemp("filtered")
    small = {"epochs": 2, "train_epochs": 1, "fine_tune_epochs": 1, "warm_up": 0, "samples": 2}
    run(folder / "proven", settings("resnet8-bits", "bops=1e9", **small))
    run(folder / "held", settings("resnet8-bits", "bops=16e6", **small))
    run(folder / "widths", settings("resnet8-widths", "macs=200e3", **small))
    return folder


@pytest.mark.parametrize("kind", ["proven", "held", "widths"])
def test_the_probability_of_filters_is_computed_again(filtered: Path, tmp_path: Path, kind: str) -> None:
    copy = Path(shutil.copytree(filtered / kind, tmp_path / "run"))
    record = trusted_run(copy)
    assert record.certificate is not None
    bounded = record.certificate.bound is not None
    assert kind == "widths" or bounded == (kind == "proven")
    assert not any("was not computed again" in remark for remark in record.remarks)

    def higher(content: dict[str, Any]) -> None:
        value = content["certificate"]["primal"] + 0.01
        content["certificate"].update(primal=value, **({"bound": value} if bounded else {}))

    edited(copy, higher)
    with pytest.raises(ValueError, match=r"the certificate's value is .*, and .* by computing it"):
        trusted_run(copy)


def test_filters_of_another_bit_width_that_are_called_the_likeliest_are_refuted(filtered: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(filtered / "proven", tmp_path / "run"))
    space = make_space("resnet8-bits", 10, 1, 16).decisions
    objective, content = load_objective(copy / "objective.safetensors", space), read_json(copy / "run.json", "record")
    found = load_run(copy).found
    point = space.point(architecture_of(found.choices, space))
    first = space.slice(space.decisions[0].name)
    other = next(place for place in range(first.start, first.stop) if point[place] >= 2)
    point[[other, first.start if other != first.start else first.start + 1]] += -2.0, 2.0
    value = objective.value(point)
    certificate = load_run(copy).certificate
    assert certificate is not None and value < certificate.primal
    told = content["certificate"] | {"primal": value, "bound": value, "gap": 0.0}
    lie = type(certificate).model_validate(told)
    assert list(contradictions(lie, objective, space, space.architecture(point), {}, {}, free=True))
    assert not list(contradictions(certificate, objective, space, architecture_of(found.choices, space), {}, {}, free=True))
    with pytest.raises(ValueError, match="of another space"):
        load_objective(copy / "objective.safetensors", make_space("hardcore-small", 10, 1, 16).decisions)


def test_files_that_were_exchanged_or_are_gone(copy: Path) -> None:
    edited(copy, lambda c: c["entries"][0].update(median=9.0), "table.json")
    with pytest.raises(ValueError, match=r"table\.json: not as the run left it"):
        trusted_run(copy)
    edited(copy, lambda c: c["files"].pop("table.json"))
    with pytest.raises(ValueError, match=r"costs .* latency in the record, and"):
        trusted_run(copy)
    (copy / "network.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"network\.safetensors is not there any more"):
        load_network(copy)


def test_a_flipped_bit_of_the_weights_is_an_error(copy: Path) -> None:
    path, generator = copy / "network.safetensors", random.Random(1)
    content = path.read_bytes()
    for _ in range(112):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"network\.safetensors: not as the run left it"):
            trusted_run(copy)
    path.write_bytes(content)
    assert trusted_run(copy) == load_run(copy)  # nothing to remark


def test_a_record_of_an_older_version_is_read_and_says_what_is_not_known(copy: Path, tmp_path: Path) -> None:
    def older(content: dict[str, Any]) -> None:
        del content["files"], content["images"]
        content["schema_version"] = 1

    edited(copy, older)
    assert trusted_run(copy).remarks[-1] == "the record holds no checksums of its files, as of an older version"
    assert load_network(copy).record.choices  # and the weights are still loaded
    save_run(made_search(), tmp_path / "alone")
    assert "costs were not computed again" in trusted_run(tmp_path / "alone").remarks[-1]


def test_a_sweep_believes_no_cell(tmp_path: Path) -> None:
    options = SweepOptions(tuple(parse_grid(("params=60e3,90e3",))), methods=("random",))
    asked = settings("hardcore-small", fine_tune_epochs=0)
    run_sweep(asked, options, tmp_path)
    first, second = sorted((tmp_path / "cells").iterdir())
    kept = first.read_bytes()
    lies: list[Edit] = [
        lambda c: c["budgets"][0].update(limit=9e9),
        lambda c: c["budgets"][0].update(fits=False),
        lambda c: c["network"]["costs"].update(parameters=1.0),
        lambda c: c["network"].update(accuracy=None),
        lambda c: c["network"].update(accuracy=200.0),
        lambda c: c.update(network=None),
        lambda c: c.update(method="hardcore"),
    ]
    for lie in lies:
        edited(tmp_path / "cells", lie, first.name)
        with pytest.raises(ValueError, match=first.name):
            run_sweep(asked, options, tmp_path)
        first.write_bytes(kept)
    first.write_bytes(second.read_bytes())
    with pytest.raises(ValueError, match="of another cell than its name says"):
        run_sweep(asked, options, tmp_path)
    first.write_bytes(kept)
    searching = replace(options, methods=("hardcore",), test=False)
    run_sweep(asked, searching, tmp_path)
    third = next(path for path in (tmp_path / "cells").iterdir() if read_json(path, "cell")["method"] == "hardcore")
    for change in (moved, lambda c: c["certificate"].update(bound=c["certificate"]["primal"] - 1)):
        kept = third.read_bytes()
        edited(tmp_path / "cells", change, third.name)
        with pytest.raises(ValueError, match=f"{third.name}.* the certificate's value"):
            run_sweep(asked, searching, tmp_path)
        third.write_bytes(kept)
    (tmp_path / "times.json").write_text('[{"cells": 1')
    with pytest.raises(ValueError, match=r"times\.json: not complete JSON"):
        run_sweep(asked, options, tmp_path)

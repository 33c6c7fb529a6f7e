"""Architecture files: round trip, and what damaged or foreign ones say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.tiny import random_architecture, tiny_space

from constrained_nas.ask_tell import SearchResult
from constrained_nas.methods.staged import project_point
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import load_architecture, save_architecture
from graphs import Architecture, Decision, SearchSpace, hardcore_small
from graphs.costs import parameter_cost


def _problem(limit: float) -> SearchProblem:
    space = tiny_space()
    return SearchProblem(space.space, (Budget(parameter_cost(space), limit, "parameters"),))


def test_round_trip_with_budgets_and_certificate(tmp_path: Path) -> None:
    space, problem = tiny_space(), _problem(1e6)
    scores = np.random.default_rng(0).random(space.staged.blocks.dimension)
    result = project_point(problem, space.staged, scores, scores)
    record = save_architecture(problem, result, "projection", tmp_path / "deep" / "found.json")
    assert load_architecture(tmp_path / "deep" / "found.json", space.space) == result.architecture
    assert record.budgets[0].fits
    assert record.budgets[0].value == result.costs["parameters"]
    assert result.certificate is not None
    assert record.bound == result.certificate.bound
    assert not list((tmp_path / "deep").glob("*.partial*"))


def test_a_violated_budget_is_written_as_such(tmp_path: Path) -> None:
    space = tiny_space()
    generous, tight = _problem(1e9), _problem(1.0)
    scores = np.ones(space.staged.blocks.dimension)
    record = save_architecture(tight, project_point(generous, space.staged, scores, scores), "argmax", tmp_path / "a.json")
    assert not record.budgets[0].fits


@pytest.mark.parametrize(("share", "fits"), [(1.0, True), (0.9999, False)])
def test_a_budget_is_met_to_the_last_parameter(tmp_path: Path, share: float, fits: bool) -> None:
    """A limit that equals the cost is met; one a little less is not, by the problem and by the record."""
    space = tiny_space()
    scores = np.ones(space.staged.blocks.dimension)
    result = project_point(_problem(1e9), space.staged, scores, scores)
    problem = _problem(share * result.costs["parameters"])
    assert problem.fits(result.architecture) == fits
    assert SearchResult.of(problem, result.architecture, result.point).feasible == fits
    assert save_architecture(problem, result, "projection", tmp_path / "a.json").budgets[0].fits == fits


def test_damaged_and_foreign_files_say_what_is_wrong(tmp_path: Path) -> None:
    space, problem = tiny_space(), _problem(1e9)
    scores = np.ones(space.staged.blocks.dimension)
    path = tmp_path / "a.json"
    save_architecture(problem, project_point(problem, space.staged, scores, scores), "ours", path)
    whole = path.read_text()
    with pytest.raises(ValueError, match=r"is of space .* expected 'hardcore-small"):
        load_architecture(path, hardcore_small().space)
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not complete JSON"):
        load_architecture(path, space.space)
    path.write_text(json.dumps(json.loads(whole) | {"schema_version": 3}))
    with pytest.raises(ValueError, match="no valid architecture: schema_version"):
        load_architecture(path, space.space)
    content = json.loads(whole)
    content["choices"].popitem()
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="missing decisions"):
        load_architecture(path, space.space)
    with pytest.raises(FileNotFoundError):
        load_architecture(tmp_path / "none.json", space.space)


def test_random_architectures_survive(tmp_path: Path) -> None:
    space, problem = tiny_space(), _problem(1e9)
    generator = np.random.default_rng(1)
    for _ in range(10):
        architecture = random_architecture(space.space, generator)
        point = space.space.point(architecture)
        save_architecture(problem, project_point(problem, space.staged, point, point), "any", tmp_path / "a.json")
        assert load_architecture(tmp_path / "a.json", space.space) == architecture


def test_counts_and_choices_round_trip_and_are_checked(tmp_path: Path) -> None:
    space = SearchSpace("mixed", (Decision("conv", ("w2a2", "w8a8"), 5), Decision("depth", ("1", "2"))))
    problem = SearchProblem(space, ())
    architecture = Architecture({"conv": (3, 2), "depth": (0, 1)})
    result = SearchResult(architecture, {}, True, space.point(architecture), None)
    record = save_architecture(problem, result, "hard", tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert record.schema_version == content["schema_version"] == 2
    assert content["counts"] == {"conv": {"w2a2": 3, "w8a8": 2}} and content["choices"] == {"depth": "2"}
    assert load_architecture(tmp_path / "a.json", space) == architecture
    for change, message in (
        ({"counts": {"conv": {"w2a2": 3, "w8a8": 3}}}, "sum to 5"),
        ({"counts": {"conv": {"w2a2": 3, "w4a4": 2}}}, r"no options \['w4a4'\]"),
        ({"counts": {"conv": {"w2a2": 5}, "more": {"a": 1}}}, r"unknown decisions \['more'\]"),
        ({"choices": {}}, "missing decision 'depth'"),
    ):
        (tmp_path / "b.json").write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=message):
            load_architecture(tmp_path / "b.json", space)


def test_files_without_counts_stay_of_version_1(tmp_path: Path) -> None:
    space, problem = tiny_space(), _problem(1e9)
    scores = np.ones(space.staged.blocks.dimension)
    save_architecture(problem, project_point(problem, space.staged, scores, scores), "ours", tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["schema_version"] == 1 and "counts" not in content  # what read version 1 before still does

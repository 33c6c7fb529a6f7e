"""Architecture files: round trip, and what damaged or foreign ones say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_spaces import random_architecture, tiny_space

from constrained_nas.methods.hardcore import project_point
from constrained_nas.problem import Budget, SearchProblem
from constrained_nas.records import load_architecture, save_architecture
from graphs import hardcore_small
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
    assert not list((tmp_path / "deep").glob("*.partial"))


def test_a_violated_budget_is_written_as_such(tmp_path: Path) -> None:
    space = tiny_space()
    generous, tight = _problem(1e9), _problem(1.0)
    scores = np.ones(space.staged.blocks.dimension)
    record = save_architecture(tight, project_point(generous, space.staged, scores, scores), "argmax", tmp_path / "a.json")
    assert not record.budgets[0].fits


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
    path.write_text(json.dumps(json.loads(whole) | {"schema_version": 2}))
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

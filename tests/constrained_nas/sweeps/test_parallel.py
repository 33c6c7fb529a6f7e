"""Tasks in this process, in joblib's processes and on a local Ray."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.tasks import Square, die, square_unless_odd, write_square

from constrained_nas.commands.console import told
from constrained_nas.sweeps import Backend, parallel
from constrained_nas.sweeps.parallel import run_surviving, run_tasks


def _squares(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in folder.glob("*.txt")}


@pytest.mark.parametrize(("jobs", "backend"), [(1, "joblib"), (2, "joblib"), pytest.param(2, "ray", marks=pytest.mark.slow)])
def test_every_task_is_done_and_counted(jobs: int, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "ray":
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'constrained-nas[ray]'")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))  # Ray's workers do not get sys.path
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    told: list[int] = []
    run_tasks(write_square, [Square(str(tmp_path), number) for number in range(5)], jobs, backend, told.append)
    assert _squares(tmp_path) == {"0": "0", "1": "1", "2": "4", "3": "9", "4": "16"}
    assert told[-1] == 5
    assert told == sorted(told)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_task_raises_arrives(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no negative number, got -1"):
        run_tasks(write_square, [Square(str(tmp_path), -1), Square(str(tmp_path), 1)], jobs, "joblib")


def test_no_jobs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        run_tasks(write_square, [Square(str(tmp_path), 1)], 0, "joblib")


def test_a_worker_that_is_killed_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as raised:  # of a kind that is loky's own
        run_tasks(die, [Square(str(tmp_path), 1), Square(str(tmp_path), 2)], 2, "joblib")
    assert told(raised.value).startswith(
        "a worker process was killed, perhaps for memory: started again, what is missing is computed"
    )


@pytest.mark.parametrize(
    "backend",
    ["joblib", pytest.param("slurm", marks=pytest.mark.slow), pytest.param("ray", marks=pytest.mark.slow)],
)
def test_tasks_that_die_or_fail_are_named_and_the_others_done(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend != "joblib":
        pytest.importorskip(
            {"ray": "ray", "slurm": "submitit"}[backend], reason="an extra: pip install 'constrained-nas[ray,slurm]'"
        )
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    numbers, told = [0, 3, 5, 7, 8], list[int]()
    tasks = [Square(str(tmp_path), number) for number in numbers]
    failed = run_surviving(square_unless_odd, tasks, 2, backend, told.append, tmp_path / "jobs")
    assert {numbers[place] for place in failed} == {3, 7}
    assert str(failed[numbers.index(7)]) == "expected no negative number, got -1"
    assert _squares(tmp_path) == {"0": "0", "5": "25", "8": "64"}
    assert told == [1, 2, 3]


@pytest.mark.parametrize("failures", [0, 2, 3])
def test_ray_that_does_not_start_in_time_is_started_again(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def init(**options: object) -> None:
        assert options["num_cpus"] == 2
        calls.append("init")
        if calls.count("init") <= failures:
            raise Exception("The current node timed out during startup.")

    fake = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: calls.append("shutdown"))
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[misc, arg-type]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(Exception, match="timed out") if failures == 3 else nullcontext(), parallel.workers("ray", 2):
        calls.append("work")
    assert calls == ["init", "shutdown"] * failures + ["init", "work", "shutdown"] * (failures < 3)


def test_a_job_without_a_sign_of_life_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted = SimpleNamespace(done=lambda: False, cancel=lambda: None)
    job = parallel._Job(4, submitted, tmp_path / "beat")
    monkeypatch.setattr(parallel, "_SILENT_SECONDS", 0.05)
    time.sleep(0.1)
    assert not job.ended()  # it has not begun
    job.beat.touch()
    assert not job.ended()
    time.sleep(0.1)
    assert job.ended()
    place, outcome = job.outcome()
    assert place == 4
    assert isinstance(outcome, TimeoutError)

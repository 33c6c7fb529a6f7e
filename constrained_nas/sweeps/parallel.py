"""The same function on many tasks, in this process or in others: joblib's on this machine, Ray's on a cluster, jobs of Slurm.

Functions and tasks must be importable and picklable between our own processes. Results go through files that the functions write,
so that a killed batch loses only what was under way. A task that fails does not end the others: it is tried again where that may
help, also after its worker was killed, and told of at the end. (Slurm's jobs are handed over by submitit, in pickles of its own in
a folder that must be nobody else's.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

Backend = Literal["joblib", "ray", "slurm"]
Task = TypeVar("Task")
Outcome = BaseException | None

_SILENT_SECONDS = 180.0  # after which a job of Slurm that gives no sign of life is taken for dead
_BEAT_SECONDS = 10.0
_STARTS = 3  # of Ray
_HOPELESS = (ValueError, FloatingPointError, ImportError)  # the same again: what was asked cannot be done


def run_tasks(
    function: Callable[[Task], None],
    tasks: Sequence[Task],
    jobs: int,
    backend: Backend,
    done: Callable[[int], None] | None = None,
    folder: Path | None = None,
) -> None:
    """Call ``function`` on every task; the first failure ends it.

    Args:
        function: writes its result to a file.
        tasks: in the order they are begun.
        jobs: processes at a time; with 1 and joblib the tasks run in this process.
        backend: ``joblib`` (processes here), ``ray`` (the extra ``ray``: the cluster that RAY_ADDRESS names, else a local one) or
            ``slurm`` (the extra ``slurm``: submitit, which takes processes here where there is no Slurm).
        done: told how many tasks have ended.
        folder: of submitit's files.

    Raises:
        ValueError: fewer than one job.
        ImportError: Ray or submitit is asked for and not installed.
    """
    for ended, (_, outcome) in enumerate(_outcomes(function, tasks, jobs, backend, folder), start=1):
        if outcome is not None:
            raise outcome
        if done:
            done(ended)


def run_surviving(
    function: Callable[[Task], None],
    tasks: Sequence[Task],
    jobs: int,
    backend: Backend,
    done: Callable[[int], None] | None = None,
    folder: Path | None = None,
    attempts: int = 3,
) -> dict[int, BaseException]:
    """:func:`run_tasks` to the end of all tasks whatever becomes of some; the last failure of those that stay undone, by place.

    A task that raised an error of what was asked is not tried again. The last attempt runs the tasks one by one, so that one that
    kills its worker takes no other with it.
    """
    left, failed = list(range(len(tasks))), dict[int, BaseException]()
    for attempt in range(attempts):
        alone = attempt > 0 and attempt == attempts - 1
        for group in [[place] for place in left] if alone else [left]:
            outcomes = _outcomes(function, [tasks[place] for place in group], jobs, backend, folder)
            while True:
                try:
                    at, outcome = next(outcomes)
                except StopIteration:
                    break
                except _HOPELESS:  # of the backend
                    raise
                except Exception as error:  # a worker was lost, and the pool with it
                    failed |= {place: error for place in group if not isinstance(failed.get(place), (_Done, *_HOPELESS))}
                    break
                failed[group[at]] = outcome or _Done()
                if outcome is None and done:
                    done(sum(isinstance(each, _Done) for each in failed.values()))
        left = [place for place in left if not isinstance(failed.get(place), (_Done, *_HOPELESS))]
        if not left:
            break
    return {place: failed[place] for place in sorted(failed) if not isinstance(failed[place], _Done)}


class _Done(Exception):  # noqa: N818 - stands where an error might
    """No failure."""


@dataclass(frozen=True, slots=True)
class _Caught(Generic[Task]):
    """A function whose errors are values: they cross to other processes and end nothing."""

    function: Callable[[Task], None]

    def __call__(self, place: int, task: Task) -> tuple[int, Outcome]:
        try:
            self.function(task)
        except Exception as error:
            return place, error
        return place, None


def _outcomes(
    function: Callable[[Task], None], tasks: Sequence[Task], jobs: int, backend: Backend, folder: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """The place of every task as it ends, and its error; raises where workers are lost."""
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    caught = _Caught(function)
    if backend == "ray":
        yield from _with_ray(caught, tasks, jobs)
    elif backend == "slurm":
        yield from _with_slurm(caught, tasks, jobs, folder or Path("slurm"))
    elif jobs == 1:
        yield from (caught(place, task) for place, task in enumerate(tasks))
    else:
        from joblib import Parallel, delayed

        # Threads of a worker: loky gives each its share of the cores.
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(caught)(place, task) for place, task in enumerate(tasks)
        )


@contextmanager
def workers(backend: Backend, jobs: int) -> Iterator[None]:
    """Have Ray running inside the block, if it is asked for: it takes seconds to start, once for several rounds of tasks.

    Raises:
        ImportError: Ray is asked for and not installed.
    """
    if backend != "ray":
        yield
        return
    try:
        import ray
    except ImportError as error:
        raise ImportError("--backend ray needs Ray: pip install 'constrained-nas[ray]'") from error
    if ray.is_initialized():
        yield
        return
    here: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):  # a cluster has its own number
        # Ray's workers give way to everything else (nice 15): on a busy machine they would not even come to import torch.
        here = {"num_cpus": jobs, "_system_config": {"worker_niceness": 0}}
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, **here)
            break
        except _HOPELESS:
            raise
        except Exception:  # Ray waits for itself for 30 seconds, which may not be enough on a busy machine
            ray.shutdown()
            if attempt == _STARTS:
                raise
    try:
        yield
    finally:
        ray.shutdown()


def _with_ray(caught: _Caught[Any], tasks: Sequence[Any], jobs: int) -> Iterator[tuple[int, Outcome]]:
    with workers("ray", jobs):
        import ray

        # Ray itself runs a task again whose worker or machine was lost.
        remote: Any = ray.remote(max_retries=3)(lambda place, task: caught(place, task))
        waiting, pending = list(enumerate(tasks)), dict[Any, int]()
        while waiting or pending:
            while waiting and len(pending) < jobs:
                place, task = waiting.pop(0)
                pending[remote.remote(place, task)] = place
            for finished in ray.wait(list(pending))[0]:
                place = pending.pop(finished)
                try:
                    yield ray.get(finished)
                except ray.exceptions.RayError as error:
                    yield place, error


def _with_slurm(caught: _Caught[Any], tasks: Sequence[Any], jobs: int, folder: Path) -> Iterator[tuple[int, Outcome]]:
    try:
        import submitit
    except ImportError as error:
        raise ImportError("--backend slurm needs submitit: pip install 'constrained-nas[slurm]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    executor = submitit.AutoExecutor(folder=folder)  # of Slurm where there is one, else processes here
    executor.update_parameters(timeout_min=24 * 60, name="constrained-nas")
    waiting, pending = list(enumerate(tasks)), list[_Job]()
    try:
        while waiting or pending:
            while waiting and len(pending) < jobs:
                place, task = waiting.pop(0)
                beat = folder / f"beat_{os.getpid()}_{place}_{time.monotonic_ns()}"
                pending.append(_Job(place, executor.submit(_beating, caught, place, task, beat), beat))
            for job in [job for job in pending if job.ended()]:
                pending.remove(job)
                job.beat.unlink(missing_ok=True)
                yield job.outcome()
            time.sleep(0.2)
    finally:
        for job in pending:
            job.submitted.cancel()


@dataclass(slots=True)
class _Job:
    """A task that was submitted; ``seen`` is its last sign of life and when it was seen, by this machine's clock."""

    place: int
    submitted: Any
    beat: Path
    seen: tuple[float, float] = field(default_factory=lambda: (0.0, time.monotonic()))

    def ended(self) -> bool:
        return bool(self.submitted.done()) or self.silent()

    def silent(self) -> bool:
        """Whether it has begun, and has long given no sign of life."""
        try:
            stamp = self.beat.stat().st_mtime
        except FileNotFoundError:
            return False  # it waits for a machine
        if stamp != self.seen[0]:
            self.seen = stamp, time.monotonic()
        return time.monotonic() - self.seen[1] > _SILENT_SECONDS

    def outcome(self) -> tuple[int, Outcome]:
        if not self.submitted.done():
            self.submitted.cancel()
            return self.place, TimeoutError(f"a job of Slurm gave no sign of life for {_SILENT_SECONDS:g} seconds")
        try:
            place, outcome = self.submitted.result()
        except Exception as error:  # submitit's: the job was killed, or ran into its limit
            return self.place, RuntimeError(f"a job of Slurm ended without a result: {error}")
        return place, outcome


def _beating(caught: _Caught[Any], place: int, task: Any, beat: Path) -> tuple[int, Outcome]:
    """In the job: sign life until the task has ended."""
    over = threading.Event()

    def sign() -> None:
        while True:
            beat.touch()
            if over.wait(_BEAT_SECONDS):
                return

    signing = threading.Thread(target=sign, daemon=True)
    signing.start()
    try:
        return caught(place, task)
    finally:
        over.set()
        signing.join()

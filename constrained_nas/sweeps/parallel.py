"""The same function on many tasks, in this process or in others: joblib's on this machine, Ray's on a cluster.

Functions and tasks must be importable and picklable between our own processes; nothing is ever unpickled from a file. Results go
through files that the functions write, so that a killed batch loses only what was under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

Backend = Literal["joblib", "ray"]
Task = TypeVar("Task")


def run_tasks(
    function: Callable[[Task], None], tasks: Sequence[Task], jobs: int, backend: Backend, done: Callable[[int], None] | None = None
) -> None:
    """Call ``function`` on every task.

    Args:
        function: writes its result to a file.
        tasks: in the order they are begun.
        jobs: processes at a time; with 1 and joblib the tasks run in this process.
        backend: ``joblib`` (processes here) or ``ray`` (the extra ``ray``): the cluster that RAY_ADDRESS names, else a local one.
        done: told how many tasks have ended.

    Raises:
        ValueError: fewer than one job.
        ImportError: Ray is asked for and not installed.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    if backend == "ray":
        _with_ray(function, tasks, jobs, done)
        return
    if jobs == 1:
        for number, task in enumerate(tasks, start=1):
            function(task)
            if done:
                done(number)
        return
    from joblib import Parallel, delayed

    # Threads of a worker: loky gives each its share of the cores.
    ended = Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(function)(task) for task in tasks)
    for number, _ in enumerate(ended, start=1):
        if done:
            done(number)


def _with_ray(function: Callable[[Task], None], tasks: Sequence[Task], jobs: int, done: Callable[[int], None] | None) -> None:
    try:
        import ray
    except ImportError as error:
        raise ImportError("--backend ray needs Ray: pip install 'constrained-nas[ray]'") from error
    began = not ray.is_initialized()
    if began:
        here: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": jobs}  # a cluster has its own number
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, **here)
    try:
        remote: Any = ray.remote(function)
        waiting, pending, ended = list(tasks), list[Any](), 0
        while waiting or pending:
            while waiting and len(pending) < jobs:
                pending.append(remote.remote(waiting.pop(0)))
            finished, pending = ray.wait(pending)
            ray.get(finished)  # raises what the task raised
            ended += len(finished)
            if done:
                done(ended)
    finally:
        if began:
            ray.shutdown()

"""Seeds side by side: one process each, as many at a time as there are cores, with their progress shown in one place.

Small networks gain little from several threads, and threads that share busy cores wait for one another; whole seeds side by side
use the cores better. A process gets its share of the cores as threads, of torch and of numpy's matrix products. Latencies are never
measured while seeds run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from papers_repro.harness.progress import ProgressCallback, Reports

Answer = TypeVar("Answer")
Piece = TypeVar("Piece", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class QueuedProgress:
    """``Reports`` from another process; ``queue`` is of multiprocessing."""

    queue: Queue[Any]

    def callback(self, label: str = "") -> ProgressCallback:
        """A callback whose bar is named ``label: what``."""
        return lambda done, total, what: self.update(f"{label}: {what}" if label else what, done, total)

    def update(self, description: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps are done."""
        self.queue.put((description, done, total))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def at_a_time(asked: int, seeds: int, device: str = "cpu") -> int:
    """Seeds to run side by side: ``asked`` for, or one a core (0); one by one where they would share an accelerator."""
    return min(asked or available_cores(), seeds) if device == "cpu" else 1


def run_seeds(
    work: Callable[[Piece, Reports], Answer],
    seeds: Sequence[Piece],
    processes: int,
    progress: Reports,
    after: Mapping[Piece, Piece] | None = None,
) -> list[Answer]:
    """``work(seed, progress)`` for every seed, in their order; the first failure is raised once the running seeds have ended.

    Args:
        work: picklable, such as ``functools.partial`` of a function at the top of a module; so is what it returns.
        seeds: or pieces of them; hashable, picklable, no two equal. What comes first begins first.
        processes: seeds at a time; 1 runs them here, one after another, with torch's own number of threads.
        after: pieces that begin when another one, which comes before them, has ended.
    """
    if processes <= 1:
        return [work(seed, progress) for seed in seeds]
    context = get_context("spawn")  # a forked child would inherit torch's threads in an unknown state
    threads = max(1, available_cores() // processes)
    queue: Queue[Any] = context.Queue()  # a manager's would take a process more, which imports the script first
    futures: dict[Piece, Future[Answer]] = {}
    with ProcessPoolExecutor(processes, context, _begin, (queue, threads)) as pool:
        while len(futures) < len(seeds) or not all(future.done() for future in futures.values()):
            for seed in seeds:
                first = (after or {}).get(seed)
                if seed not in futures and (first is None or (first in futures and futures[first].done())):
                    if first is not None:
                        futures[first].result()
                    futures[seed] = pool.submit(_reported, work, seed)
            _show(queue, progress)
            time.sleep(0.05)
        time.sleep(0.05)  # the last words may still be on their way
        _show(queue, progress)
        return [futures[seed].result() for seed in seeds]


_queues: list[Queue[Any]] = []  # in a worker the one it was begun with: a queue reaches a process only as it begins


def _begin(queue: Queue[Any], threads: int) -> None:
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
    queue.cancel_join_thread()  # a worker whose words nobody reads any more, as after an interrupt, ends all the same
    _queues.append(queue)


def _reported(work: Callable[[Piece, Reports], Answer], seed: Piece) -> Answer:
    return work(seed, QueuedProgress(_queues[-1]))


def _show(queue: Queue[Any], progress: Reports) -> None:
    while True:
        try:
            progress.update(*queue.get_nowait())
        except Empty:
            return

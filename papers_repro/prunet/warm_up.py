"""The warm-up that all searches of a seed share, as those of the paper's Table 6 do.

Until it ends the architecture's parameters stay equal, so that nothing depends on alpha, the thresholds, phi, lambda or a budget:
it is run once, by whichever search comes first, and every search goes on from its checkpoint. A search ends as it would have by
itself.

Reference: PruNet, Sec. 4 (70 of 200 epochs), Table 6.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from filelock import FileLock

from constrained_nas.search import branch_search
from constrained_nas.training import Checkpoint, Stopped
from graphs.files import Record, load_json, save_json

FREE = ("alpha", "first_threshold", "last_threshold", "scales", "hard", "hard_epochs", "least_use")
"""Settings of the method that decide nothing before the warm-up ends."""

Progress = Callable[[int, int, str], None]


class WarmUp(Record):
    """Processor seconds of every epoch of a warm-up; none where they are not known."""

    processor_seconds: tuple[float, ...]


def begin_warm(
    target: Checkpoint, identity: Mapping[str, Any], epochs: int, run: Callable[[Checkpoint, Progress], object], progress: Progress
) -> WarmUp:
    """Let the checkpoint ``target`` of a search be that of the end of its warm-up, which is run if none has done so.

    Args:
        identity: of the search (``constrained_nas.search.search_identity``).
        epochs: of the warm-up, at least one.
        run: the search itself, given where to keep it and whom to tell of its progress.
    """
    settings = {name: value for name, value in identity["settings"].items() if name not in FREE}
    key = json.dumps({**identity, "settings": settings, "budgets": None}, sort_keys=True)
    path = target.path.with_name(f"warm_up_{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors")
    source, note = replace(target, path=path), path.with_suffix(".json")
    with FileLock(path.with_suffix(".lock")):  # searches side by side wait for the one that runs it
        if not note.exists():
            save_json(_run(source, identity["options"]["epochs"], epochs, run, progress), note)
    branch_search(source, target, dict(identity), FREE)
    return load_json(note, WarmUp, "note of a warm-up")


def _run(
    source: Checkpoint, all_epochs: int, epochs: int, run: Callable[[Checkpoint, Progress], object], progress: Progress
) -> WarmUp:
    stamps, resumed = [time.process_time()], source.exists()

    def told(done: int, total: int, what: str) -> None:
        steps = total // all_epochs
        progress(done, epochs * steps, "warm-up")
        if done % steps == 0:
            stamps.append(time.process_time())
        if done == epochs * steps:
            raise Stopped

    with suppress(Stopped):
        run(source, told)
    return WarmUp(processor_seconds=() if resumed else tuple(np.diff(stamps).tolist()))

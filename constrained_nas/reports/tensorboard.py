"""The curves of a run as TensorBoard's events, written while the run goes on, or from the file of a finished one.

The events always follow the file: where lines were taken back, because a run was killed and resumed, they are written anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from constrained_nas.latency import Progress
from constrained_nas.training import CURVES_FILE, read_curves
from graphs.files import own_folder

EVENTS_FOLDER = "tensorboard"
_EVERY = 5.0  # seconds
_MOST = 500  # options whose probabilities are written


def writer_class() -> Any:
    """What writes events: that of torch with ``tensorboard``, else that of ``tensorboardX``.

    Raises:
        ImportError: neither is installed; says how to.
    """
    for module in ("torch.utils.tensorboard", "tensorboardX"):
        with suppress(ImportError):
            return import_module(module).SummaryWriter
    raise ImportError("--tensorboard needs tensorboard: pip install 'constrained-nas[tensorboard]'")


class EventsOfCurves:
    """Events in the folder ``tensorboard`` of a run that follow its curves."""

    def __init__(self, run: Path) -> None:
        self.make, self.run, self.written = writer_class(), run, list[dict[str, Any]]()
        self.writer: Any = None
        self.last = 0.0

    def after(self, progress: Progress) -> Progress:
        """A callback that passes on and, now and then, follows."""

        def told(done: int, total: int, what: str) -> None:
            progress(done, total, what)
            if time.monotonic() - self.last >= _EVERY:
                self.follow()

        return told

    def follow(self) -> None:
        """Write what the file has and the events have not."""
        self.last = time.monotonic()
        lines = read_curves(self.run / CURVES_FILE)
        if self.writer is None or lines[: len(self.written)] != self.written:
            self._begin()
        for line in lines[len(self.written) :]:
            for name, value in scalars(line):
                self.writer.add_scalar(name, value, line["step"])
        self.written = lines
        self.writer.flush()

    def close(self) -> None:
        """Write the last of it."""
        self.follow()
        self.writer.close()

    def _begin(self) -> None:
        if self.writer is not None:
            self.writer.close()
        folder = own_folder(self.run, EVENTS_FOLDER)
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        self.writer, self.written = self.make(str(folder)), []


def scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a line by TensorBoard's names, ``phase/number``."""
    phase = _tag(line["phase"])
    for name, value in line.items():
        if name == "probabilities":
            if sum(len(options) for options in value.values()) <= _MOST:
                for decision, options in value.items():
                    yield from ((f"{phase} {_tag(decision)}/{_tag(option)}", float(chance)) for option, chance in options.items())
        elif isinstance(value, Mapping):
            yield from ((f"{phase}/{name} {_tag(inner)}", float(number)) for inner, number in value.items())
        elif name not in ("phase", "epoch", "step"):
            yield f"{phase}/{name}", float(value)


def _tag(name: str) -> str:
    return re.sub(r"[^\w.> -]", "_", name)

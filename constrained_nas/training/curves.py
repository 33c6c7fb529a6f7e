"""Curves of a run: losses, accuracies, learning rates and what a search has come to, as JSON lines of one file.

A line is of a phase and says how many of its steps were done; its numbers are means over the steps since the line before. A process
that is killed loses nothing and repeats nothing: lines are on the disk before the checkpoint that counts their steps, and what was
written after the last checkpoint is taken back when the phase goes on, so that the file ends as that of an unbroken run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from graphs.files import MOST_BYTES, append_text, read_text, require_size, save_text

CURVES_FILE = "curves.jsonl"
_LINES = 20  # of an epoch of training
_VALIDATED = 256  # images that are validated after every epoch: their accuracy has a standard error of at most 3 %
_DIGITS = 6  # of a number: processes that add up in another order write the same

Total = Callable[[Tensor], Tensor]  # the sum over the processes


@dataclass(frozen=True, slots=True)
class Curves:
    """The file of a run's curves, and the images that no weight learns from, if there are any.

    Attributes:
        path: of the file.
        validation: (image, label) pairs; a fixed part of them is looked at after every epoch.
    """

    path: Path
    validation: Dataset[Any] | None = None

    def of(self, phase: str) -> Curve:
        """The lines of one phase."""
        data = self.validation
        if data is not None and len(data) > _VALIDATED:  # type: ignore[arg-type] # a map-style data set has a length
            places = np.linspace(0, len(data) - 1, _VALIDATED).astype(int)  # type: ignore[arg-type]
            data = Subset(data, places.tolist())
        return Curve(self.path, phase, data)


@dataclass(slots=True, eq=False)
class Curve:
    """The lines of one phase. Get it from :meth:`Curves.of`.

    Attributes:
        validation: what to look at after every epoch; None for nothing.
        seen: sums since the last line, each with its weight.
        steps: of an epoch, as :meth:`begin` was told.
        every: steps to a line.
        total: adds up over processes that see a part each; None where all see the same.
    """

    path: Path
    phase: str
    validation: Dataset[Any] | None = None
    seen: dict[str, tuple[list[Tensor], float]] = field(default_factory=dict)
    steps: int = 1
    every: int = 1
    total: Total | None = None

    def begin(
        self,
        epochs: int,
        within: int,
        steps: int,
        kept: Mapping[str, Any] | None = None,
        lines: int = _LINES,
        total: Total | None = None,
    ) -> None:
        """Take back what was written of steps that are to be done again.

        Args:
            epochs: that are done.
            within: steps that are done of the next.
            steps: of an epoch.
            kept: what :meth:`state` gave at that place.
            lines: about how many there are to be of an epoch.
            total: see the class.
        """
        self.steps, self.every, self.total = steps, max(1, math.ceil(steps / lines)), total
        self.seen = {name: ([torch.tensor(value)], weight) for name, (value, weight) in (kept or {}).items()}
        if self.path.is_symlink():  # of a folder that was sent: what is written would land elsewhere
            self.path.unlink()
        if not self.path.is_file():
            return
        done = epochs * steps + within
        require_size(self.path, MOST_BYTES)
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]  # a line that was cut off is of steps after the last checkpoint
        left = "".join(line + "\n" for line in whole.splitlines() if self._stays(line, epochs, done))
        if left != text:
            save_text(left, self.path)

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        """Count a number or a row of numbers into the mean of the next line; it stays on its device until then."""
        values, before = self.seen.get(name, ([], 0.0))
        self.seen[name] = [*values, value.detach()], before + weight

    def due(self, done: int) -> bool:
        """Whether a line is written after so many steps of an epoch."""
        return done % self.every == 0 or done == self.steps

    def step(self, epoch: int, done: int, more: Mapping[str, Any]) -> None:
        """Write a line if it is due, with the means and ``more``: ``done`` steps of an epoch (from 1) are done."""
        if self.due(done):
            self.write(epoch, done, {**self.means(), **more})

    def means(self) -> dict[str, Any]:
        """What was counted since the last line, divided by its weight; the next line begins."""
        means = {name: _plain(np.array(value) / weight) for name, (value, weight) in self.state().items() if weight}
        self.seen = {}
        return means

    def write(self, epoch: int, done: int, numbers: Mapping[str, Any]) -> None:
        """Append a line at that place."""
        line = {"phase": self.phase, "epoch": epoch, "step": (epoch - 1) * self.steps + done, **numbers}
        append_text(json.dumps(line) + "\n", self.path)

    def epoch(self, epochs: int, numbers: Mapping[str, Any]) -> None:
        """The only line of an epoch, the last of so many: for work that notes nothing in between, before its checkpoint."""
        self.begin(epochs - 1, 0, 1)
        self.write(epochs, 1, numbers)
        self.settle()

    def state(self) -> dict[str, tuple[Any, float]]:
        """The sums since the last line and their weights, over all processes, JSON-ready."""
        sums = {}
        for name, (values, weight) in self.seen.items():
            whole, count = torch.zeros_like(values[0], dtype=torch.float64, device="cpu"), torch.tensor(weight, dtype=torch.float64)
            for value in values:
                whole = whole + value.double().cpu()
            if self.total is not None:
                whole, count = self.total(whole), self.total(count)
            sums[name] = whole.tolist(), float(count)
        return sums

    def settle(self) -> None:
        """Have everything on the disk, before a checkpoint that counts on it."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def _stays(self, line: str, epochs: int, done: int) -> bool:
        try:
            told = json.loads(line)
            return told["phase"] != self.phase or told["epoch"] <= epochs or (told["step"] <= done and "validation" not in told)
        except (ValueError, KeyError, TypeError, RecursionError):
            return False  # damaged


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of curves, in order; none where there is no file. A last line that was cut off is left out.

    Raises:
        ValueError: a line is none of a curve; says which.
    """
    if not path.exists():
        return []
    lines, text = list[dict[str, Any]](), read_text(path, "file of curves", MOST_BYTES)
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            told = json.loads(line)
            known = isinstance(told["phase"], str) and isinstance(told["epoch"], int) and isinstance(told["step"], int)
        except (ValueError, KeyError, TypeError, RecursionError):
            known = False
        if not known:
            raise ValueError(f"{path}, line {number}: no line of a curve: phase, epoch and step are missing or of another kind")
        lines.append(told)
    return lines


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Numbers with as many digits as lines have."""
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def _plain(value: np.ndarray) -> Any:
    return rounded([float(value)])[0] if value.ndim == 0 else rounded(value.reshape(-1))

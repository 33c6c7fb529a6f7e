"""Measurements that a killed run leaves behind: a file of one line a round, beside the file they are for.

The first line says what is measured and how; it must be the same when the run goes on. A last line that was cut off is dropped, and
with it that round.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MeasurementLog", "RoundTimes", "log_beside"]

RoundTimes = dict[str, list[float]]  # ms by the name of what ran


def log_beside(path: Path | str) -> Path:
    """Where the partial measurements of a file are kept."""
    target = Path(path)
    return target.with_name(target.name + ".partial.jsonl")


@dataclass(frozen=True, slots=True)
class MeasurementLog:
    """Rounds measured so far under ``header``. Make it with :meth:`opened`."""

    path: Path | None
    header: Mapping[str, Any]
    rounds: list[RoundTimes]

    @classmethod
    def opened(cls, path: Path | None, header: Mapping[str, Any]) -> MeasurementLog:
        """Begin a log, or read the one that is there; without a path it stays in memory.

        Raises:
            ValueError: the file is of other settings (names the first that differs), or is no log.
        """
        if path is None:
            return cls(None, header, [])
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _append(path, header)
            return cls(path, header, [])
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        complete = [line for line in lines if line.endswith("\n")]
        try:
            found, *rounds = [json.loads(line) for line in complete] or [None]
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: no measurements ({error.msg}); delete the file to begin anew") from error
        if found is None:  # killed while the first line was written
            path.unlink()
            return cls.opened(path, header)
        for name in {**header, **found}:
            if found.get(name) != header.get(name):
                raise ValueError(
                    f"{path}: holds measurements with {name} {found.get(name)!r}, not {header.get(name)!r}: finish them with the "
                    "settings they were begun with, or delete the file to begin anew"
                )
        if len(complete) < len(lines):  # what follows must not be appended to half a line
            partial = path.with_name(path.name + ".rewritten")
            partial.write_text("".join(complete), encoding="utf-8")
            os.replace(partial, path)
        return cls(path, header, rounds)

    def add(self, times: RoundTimes) -> None:
        """Keep one more round, in memory and in the file."""
        self.rounds.append(times)
        if self.path is not None:
            _append(self.path, times)

    def close(self) -> None:
        """Remove the file: what it was kept for is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _append(path: Path, content: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(content) + "\n")
        file.flush()
        os.fsync(file.fileno())

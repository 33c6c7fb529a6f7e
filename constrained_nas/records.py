"""Files that say which network was found: versioned JSON, readable without this library.

Reference for the choices: the names of ``graphs.SearchSpace`` decisions and options.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from constrained_nas.ask_tell import SearchResult
from constrained_nas.problem import SearchProblem
from graphs import Architecture, SearchSpace

__all__ = ["ArchitectureRecord", "BudgetRecord", "load_architecture", "save_architecture"]


class BudgetRecord(BaseModel):
    """What one budget asked for and what the architecture costs, in ``unit``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cost: str
    unit: str
    limit: float
    value: float
    fits: bool


class ArchitectureRecord(BaseModel):
    """An architecture of ``space``: the option of every decision, and how it stands to its budgets.

    ``bound`` is the certificate's bound on the projection's objective and ``gap`` what is left to it; None without a certificate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["architecture"] = "architecture"
    schema_version: Literal[1] = 1
    space: str
    method: str
    choices: dict[str, str]
    budgets: tuple[BudgetRecord, ...] = ()
    bound: float | None = None
    gap: float | None = Field(default=None, ge=0)


def save_architecture(problem: SearchProblem, result: SearchResult, method: str, path: Path | str) -> ArchitectureRecord:
    """Write a found architecture (of one-unit decisions), whole or not at all, and return what was written."""
    budgets = tuple(
        BudgetRecord(cost=b.cost.name, unit=b.unit, limit=b.limit, value=value, fits=value <= b.limit)
        for b in problem.budgets
        for value in [b.cost.cost(result.architecture)]
    )
    certificate = result.certificate
    record = ArchitectureRecord(
        space=problem.space.name,
        method=method,
        choices={name: str(option) for name, option in problem.space.describe(result.architecture).items()},
        budgets=budgets,
        bound=None if certificate is None else certificate.bound,
        gap=None if certificate is None else certificate.gap,
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    os.replace(partial, target)
    return record


def load_architecture(path: Path | str, space: SearchSpace) -> Architecture:
    """Read an architecture of ``space``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, is no architecture record of this version, or is of another space.
    """
    try:
        record = ArchitectureRecord.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not complete JSON (line {error.lineno}: {error.msg}); was the file cut off?") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: no valid architecture: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}") from error
    if record.space != space.name:
        raise ValueError(f"{path}: the architecture is of space {record.space!r}, expected {space.name!r}")
    return space.choose(record.choices)

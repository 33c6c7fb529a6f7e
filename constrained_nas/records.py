"""Files that say which network was found: versioned JSON, readable without this library.

Reference for the choices: the names of ``graphs.SearchSpace`` decisions and options.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from constrained_nas.ask_tell import SearchResult
from constrained_nas.problem import SearchProblem
from graphs import Architecture, SearchSpace
from graphs.files import Record, load_json, save_text


class BudgetRecord(Record):
    """What one budget asked for and what the architecture costs by table or count, in ``unit``.

    Where the network was measured, ``measured`` is its median on the device, and ``fits`` speaks of that instead.
    """

    cost: str
    unit: str
    limit: float
    value: float
    fits: bool
    measured: float | None = None


class ArchitectureRecord(Record):
    """An architecture of ``space``: the option of every decision, and how it stands to its budgets.

    Decisions that share one unit are ``choices``, those that share more (filters among operations) ``counts``; files without counts
    stay of version 1. ``bound`` is the certificate's bound on the projection's objective and ``gap`` what is left to it; None
    without a certificate.
    """

    kind: Literal["architecture"] = "architecture"
    schema_version: Literal[1, 2] = 1
    space: str
    method: str
    choices: dict[str, str]
    counts: dict[str, dict[str, int]] = Field(default_factory=dict)
    budgets: tuple[BudgetRecord, ...] = ()
    bound: float | None = None
    gap: float | None = Field(default=None, ge=0)


def budget_records(
    problem: SearchProblem, architecture: Architecture, measured: Mapping[str, tuple[float, bool]] | None = None
) -> tuple[BudgetRecord, ...]:
    """Every budget and what the architecture costs under it; ``measured``: (median, whether it fits) by the cost's name."""
    records = []
    for name, value in problem.costs(architecture).items():
        budget = next(budget for budget in problem.budgets if budget.cost.name == name)
        median, fits = (measured or {}).get(name, (None, value <= budget.limit))
        records.append(BudgetRecord(cost=name, unit=budget.unit, limit=budget.limit, value=value, fits=fits, measured=median))
    return tuple(records)


def save_architecture(
    problem: SearchProblem,
    result: SearchResult,
    method: str,
    path: Path | str,
    measured: Mapping[str, tuple[float, bool]] | None = None,
) -> ArchitectureRecord:
    """Write a found architecture, whole or not at all, and return what was written; ``measured`` as in :func:`budget_records`."""
    budgets = budget_records(problem, result.architecture, measured)
    certificate = result.certificate
    described = problem.space.describe(result.architecture)
    counts = {name: given for name, given in described.items() if isinstance(given, dict)}
    record = ArchitectureRecord(
        schema_version=2 if counts else 1,
        space=problem.space.name,
        method=method,
        choices={name: str(option) for name, option in described.items() if name not in counts},
        counts=counts,
        budgets=budgets,
        bound=None if certificate is None else certificate.bound,
        gap=None if certificate is None else certificate.gap,
    )
    save_text(record.model_dump_json(indent=1, exclude=None if counts else {"counts"}), path)
    return record


def load_architecture(path: Path | str, space: SearchSpace) -> Architecture:
    """Read an architecture of ``space``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut off, is no architecture record of this version, or is of another space.
    """
    record = load_json(path, ArchitectureRecord, "architecture")
    if record.space != space.name:
        raise ValueError(f"{path}: the architecture is of space {record.space!r}, expected {space.name!r}")
    try:
        return architecture_of({**record.choices, **record.counts}, space)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def architecture_of(choices: Mapping[str, str | Mapping[str, int]], space: SearchSpace) -> Architecture:
    """The architecture that ``space.describe`` describes so.

    Raises:
        ValueError: a decision is missing or unknown, or has no such option or number of units.
    """
    if all(isinstance(given, str) for given in choices.values()):
        return space.choose({name: str(given) for name, given in choices.items()})
    counts: dict[str, tuple[int, ...]] = {}
    for decision in space.decisions:
        given = choices.get(decision.name)
        if given is None:
            raise ValueError(f"space {space.name!r}: missing decision {decision.name!r}")
        named = {given: 1} if isinstance(given, str) else given
        unknown = sorted(set(named) - set(decision.options))
        if unknown:
            raise ValueError(f"decision {decision.name!r}: no options {unknown}; there are {', '.join(decision.options)}")
        counts[decision.name] = tuple(named.get(option, 0) for option in decision.options)
    foreign = sorted(set(choices) - set(counts))
    if foreign:
        raise ValueError(f"space {space.name!r}: unknown decisions {foreign}")
    architecture = Architecture(counts)
    space.point(architecture)  # checks the sums
    return architecture

"""The record of a filter-level search: which algorithm, which law it came to, what it proposes; versioned JSON.

Both answers are kept side by side: the expected configuration, which may miss the budget, and the method's own (with ``hard`` the
most probable that meets it).

Reference: Zur et al., Appendix C and Fig. B.5, B.6 (parameters over time).
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from constrained_nas.ask_tell import SearchResult
from constrained_nas.methods.filter_level.algorithms import FilterSearchOptions
from constrained_nas.methods.filter_level.loop import FilterRun
from constrained_nas.methods.filter_level.method import FilterLevel
from constrained_nas.problem import SearchProblem
from constrained_nas.records import BudgetRecord, budget_records
from graphs.files import Record, load_json, save_json


class ProposalRecord(Record):
    """A configuration (per decision its width, or how many filters each operation has) and how it stands to the budgets.

    ``violation`` and ``bound`` are those of the certificate; None without one, or where no bound is known.
    """

    decisions: dict[str, str | dict[str, int]]
    budgets: tuple[BudgetRecord, ...]
    violation: float | None = None
    bound: float | None = None


class FilterSearchRecord(Record):
    """A search.

    Attributes:
        algorithm: what it was called, e.g. ``C.3``.
        settings, options: of the method and of the loop.
        history: an entry an iteration, as ``FilterRun.history`` has them.
        references: (cost, loss) of the homogeneous configurations of Eq. 7.
        expected, result: what was proposed.
    """

    kind: Literal["filter_search"] = "filter_search"
    schema_version: Literal[1] = 1
    algorithm: str
    space: str
    settings: dict[str, str | float | bool]
    options: dict[str, Any]
    losses: tuple[float, ...]
    history: tuple[dict[str, Any], ...]
    references: tuple[tuple[float, float], ...] | None
    expected: ProposalRecord
    result: ProposalRecord


def save_filter_search(
    problem: SearchProblem, method: FilterLevel, options: FilterSearchOptions, run: FilterRun, algorithm: str, path: Path | str
) -> FilterSearchRecord:
    """Write the record, whole or not at all, and return it."""
    settings = {f.name: getattr(method, f.name) for f in fields(method)}
    references = run.references
    record = FilterSearchRecord(
        algorithm=algorithm,
        space=problem.space.name,
        settings={name: value for name, value in settings.items() if isinstance(value, str | float | int)},
        options=asdict(options),
        losses=tuple(run.losses),
        history=tuple(run.history),
        references=None if references is None else tuple(zip(references.costs, references.losses, strict=True)),
        expected=_proposal(problem, run.expected),
        result=_proposal(problem, run.result),
    )
    save_json(record, path)
    return record


def load_filter_search(path: Path | str) -> FilterSearchRecord:
    """Read a record; raises as ``graphs.files.load_json``."""
    return load_json(path, FilterSearchRecord, "record of a filter search")


def _proposal(problem: SearchProblem, result: SearchResult) -> ProposalRecord:
    certificate = result.certificate
    return ProposalRecord(
        decisions=problem.space.describe(result.architecture),
        budgets=budget_records(problem, result.architecture),
        violation=None if certificate is None else certificate.violation,
        bound=None if certificate is None else certificate.bound,
    )

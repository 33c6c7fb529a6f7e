"""Selections from a table: options with scores and costs in a CSV file, the best that fits as JSON or CSV.

A line is an option of a group; columns ``group``, ``option`` and ``score`` must be there, every other column is a cost, named with
its unit (``latency_ms``). Every group gives one option; the summed score is as great as the budgets on summed costs allow.
"""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from constrained_nas.selections.delimited import SEPARATORS, separator_of, with_point
from graphs.files import Record, csv_cell, require_file, save_json, shortened, visible, written_whole
from solvers import Selection, minimize_cost, project_to_budget

_COLUMNS = ("group", "option", "score")
_SMALL = 1000  # options


@dataclass(frozen=True, slots=True)
class SelectionTable:
    """``scores[group][option]`` and ``costs[cost][group][option]``, as ``solvers.project_to_budget`` takes them.

    Infinite costs (and a score of -inf) forbid their option. ``read_as`` says how a file that is no ordinary CSV was read.
    """

    source: str
    scores: Mapping[str, Mapping[str, float]]
    costs: Mapping[str, Mapping[str, Mapping[str, float]]]
    read_as: str = ""


class SpentBudget(Record):
    """A budget, what the selection spends of it, and its price: what one unit more is worth, in score (0: not used up).

    ``floor`` is its bound from below, where there is one; the price is negative where that binds.
    """

    limit: float
    spent: float
    price: float | None
    floor: float | None = None


class SelectionRecord(Record):
    """A selection and the evidence for it: nothing within the budgets scores better than ``bound``.

    Where a cost was ``minimized``, nothing that is as good costs less than ``bound``.
    """

    kind: Literal["selection"] = "selection"
    schema_version: Literal[1] = 1
    table: str
    choices: dict[str, str]
    score: float
    totals: dict[str, float]
    budgets: dict[str, SpentBudget]
    status: str
    bound: float | None
    gap: float | None = Field(ge=0)
    minimize: bool = False
    minimized: str | None = None
    links: tuple[tuple[str, ...], ...] = ()


def read_selection_table(path: Path | str) -> SelectionTable:
    """Read a table; groups and options keep the order of the file. Semicolons or tabs may stand for commas, and commas for points.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a missing or repeated column, a line of another length, an empty cell, something that is no number, NaN, a
            negative cost, an option given twice; says in which line and column. Groups or options that look alike.
    """
    require_file(path)
    with Path(path).open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets put a byte order mark in front
        try:
            first = file.readline()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: no text in UTF-8; save the table as CSV (UTF-8)") from error
        if first.lstrip()[:1] in ("{", "["):
            raise ValueError(f"{path}: looks like JSON; expected CSV with the columns {', '.join(_COLUMNS)} and the costs")
        separator = separator_of(first, _COLUMNS)
        file.seek(0)
        reader = csv.reader(file, delimiter=separator)
        try:
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: not readable as CSV in UTF-8: {error}") from error
    if not lines:
        raise ValueError(f"{path}: empty; expected a line of column names: {', '.join(_COLUMNS)} and the costs")
    (number, header), *rows = lines
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        hint = "; columns are separated by commas here" if len(header) == 1 else f"; expected {', '.join(_COLUMNS)} and the costs"
        raise ValueError(f"{path}, line {number}: no column {missing[0]!r}; found {', '.join(map(repr, header))}{hint}")
    repeated = [column for column in header if header.count(column) > 1]
    if repeated or "" in header:
        what = f"column {repeated[0]!r} is there twice" if repeated and repeated[0] else "a column has no name"
        raise ValueError(f"{path}, line {number}: {what}")
    if not rows:
        raise ValueError(f"{path}: no options below the column names")
    for column in header:
        _require_visible(column, f"{path}, line {number}")
    cost_names = [column for column in header if column not in _COLUMNS]
    decimal_commas, scores = False, dict[str, dict[str, float]]()
    costs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in cost_names}
    for number, cells in rows:
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {number}: {len(cells)} cells, the line of column names has {len(header)}")
        line = dict(zip(header, cells, strict=True))
        for column in ("group", "option"):
            if not line[column]:
                raise ValueError(f"{path}, line {number}, column {column!r}: empty")
            _require_visible(line[column], f"{path}, line {number}, column {column!r}")
        group, option = line["group"], line["option"]
        if option in scores.setdefault(group, {}):
            raise ValueError(f"{path}, line {number}, column 'option': group {group!r} already has an option {option!r}")
        for column in ("score", *cost_names):
            cell = with_point(line[column], separator)
            decimal_commas |= cell != line[column]
            value = _number(cell, f"{path}, line {number}, column {column!r}", column != "score")
            table = scores if column == "score" else costs[column]
            table.setdefault(group, {})[option] = value
    _require_different(scores, str(path))
    for options in scores.values():
        _require_different(options, str(path))
    said = [f"columns are separated by {SEPARATORS[separator]}"] if separator != "," else []
    said += ["numbers have decimal commas"] if decimal_commas else []
    return SelectionTable(str(path), scores, costs, ", ".join(said))


def select(
    table: SelectionTable,
    budgets: Mapping[str, Any],
    *,
    links: Sequence[tuple[str, ...]] = (),
    minimize: bool = False,
    verify: bool = False,
    time_limit_seconds: float | None = None,
    gap: float | str = 0.0,
    backend: Literal["native", "numpy", "highs", "scipy"] | None = None,
) -> SelectionRecord:
    """The selection of greatest score (least, with ``minimize``) within all budgets, exactly.

    Args:
        budgets: limits by cost column, in the column's unit; also shares and pairs, see ``solvers.project_to_budget``.
        links: groups that take the same option.
        verify: have an independent solver recheck the certificate.
        time_limit_seconds: stop then with the best so far and its true gap.
        gap: stop once no selection can be better by more: a number, or a share such as ``"0.1%"``.
        backend: as of ``solvers.project_to_budget``; None takes for small tables what is done before kernels are loaded.

    Raises:
        InfeasibleError: nothing fits; with the least cost there is.
        ValueError: no budgets, or one on a column that is not there.
        CertificateError: ``verify``, and the certificate does not hold.
    """
    if not budgets:
        raise ValueError(f"expected at least one budget; cost columns of {table.source}: {', '.join(table.costs) or 'none'}")
    for name in budgets:
        _require(table, name, "budget")
    costs = {name: table.costs[name] for name in budgets}
    # Small tables are done before the compiled kernels would be loaded.
    small = backend is None and sum(map(len, table.scores.values())) <= _SMALL
    quick: Any = "numpy" if len(budgets) == 1 else "highs"
    solve = partial(project_to_budget, table.scores, costs, dict(budgets), minimize=minimize, links=list(links) or None)
    limits: dict[str, Any] = {"time_limit_seconds": time_limit_seconds, "gap": gap}
    found = solve(**limits, backend=quick if small else backend or "native")
    if small and found.certificate.gap != 0:  # HiGHS proves to a tolerance
        found = solve(**limits)
    if verify:
        found.certificate.verify(table.scores, costs, dict(budgets))
    return _record(table, found, minimize, links)


def select_cheapest(
    table: SelectionTable,
    column: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    links: Sequence[tuple[str, ...]] = (),
    verify: bool = False,
    time_limit_seconds: float | None = None,
) -> SelectionRecord:
    """The selection of least cost with a summed score of ``at_least``, or a loss of ``at_most``: see ``solvers.minimize_cost``.

    Raises:
        InfeasibleError: nothing is as good; with the best there is.
        ValueError: a column that is not there, or not exactly one of the two limits.
        CertificateError: ``verify``, and the certificate does not hold.
    """
    _require(table, column, "cost")
    costs = table.costs[column]
    asked: dict[str, Any] = {"at_least": at_least, "at_most": at_most}
    found = minimize_cost(table.scores, costs, **asked, links=list(links) or None, time_limit_seconds=time_limit_seconds)
    if verify:
        found.verify(table.scores, costs, at_least if at_most is None else at_most)
    return _record(table, found, at_most is not None, links, column)


def save_selection(record: SelectionRecord, table: SelectionTable, path: Path | str) -> None:
    """Write a selection whole or not at all: everything as ``.json``, or as ``.csv`` the chosen lines of the table.

    Raises:
        ValueError: another kind of file.
    """
    target = Path(path)
    if target.suffix not in (".json", ".csv"):
        raise ValueError(f"{path}: expected a name that ends in .json or .csv")
    if target.suffix == ".json":
        save_json(record, target)
        return
    with written_whole(target) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_COLUMNS, *map(csv_cell, table.costs)])
        for group, option in record.choices.items():
            prices = [cost[group][option] for cost in table.costs.values()]
            writer.writerow([csv_cell(group), csv_cell(option), *map(repr, [table.scores[group][option], *prices])])


def _require_visible(name: str, where: str) -> None:
    if (told := visible(name)) != name:
        raise ValueError(f"{where}: a control character in '{shortened(told, 60)}'")


def _require_different(names: Iterable[str], path: str) -> None:
    """Refuse names that look alike: letters and accents in one sign or in two, signs that are not seen."""
    seen: dict[str, str] = {}
    for name in names:
        if name.isascii():
            look = name
        else:
            look = "".join(sign for sign in unicodedata.normalize("NFC", name) if unicodedata.category(sign) != "Cf")
        if seen.setdefault(look, name) != name:
            raise ValueError(f"{path}: {seen[look]!a} and {name!a} look alike; write one name in one way")


def _require(table: SelectionTable, column: str, what: str) -> None:
    if column not in table.costs:
        known = ", ".join(table.costs) or "none"
        raise ValueError(f"{what} {column!r}: {table.source} has no such cost column; there are: {known}")


def _record(
    table: SelectionTable, found: Selection, minimize: bool, links: Sequence[tuple[str, ...]], minimized: str | None = None
) -> SelectionRecord:
    choices = {str(group): str(option) for group, option in found.by_group.items()}
    totals = {name: math.fsum(cost[group][option] for group, option in choices.items()) for name, cost in table.costs.items()}
    certificate = found.certificate
    bounds = {} if minimized else {str(name): ends for name, ends in found.bounds.items()}
    duals = [None] * len(bounds) if certificate.dual is None else [float(price) for price in certificate.dual]
    spent = {
        name: SpentBudget(limit=upper, spent=totals[name], price=price, floor=None if lower == -math.inf else lower)
        for (name, (lower, upper)), price in zip(bounds.items(), duals, strict=not minimized)
    }
    return SelectionRecord(
        table=table.source,
        choices=choices,
        score=found.value,
        totals=totals,
        budgets=spent,
        status=found.status.value,
        bound=certificate.bound,
        gap=certificate.gap,
        minimize=minimize,
        minimized=minimized,
        links=tuple(map(tuple, links)),
    )


def _number(cell: str, where: str, cost: bool) -> float:
    if not cell:
        raise ValueError(f"{where}: empty; expected a number" + (" (inf forbids the option)" if cost else ""))
    try:
        value = float(cell)
    except ValueError as error:
        raise ValueError(f"{where}: expected a number, got {cell!r}") from error
    if math.isnan(value):
        raise ValueError(f"{where}: is NaN; leave the line out, or forbid the option by a cost of inf")
    if cost and value < 0:
        raise ValueError(f"{where}: a cost cannot be negative, got {cell}")
    return value
